from __future__ import annotations

import pytest

from layoutloop.errors import SettingsInvalid
from layoutloop.settings.training import TrainSettings


def test_defaults() -> None:
    settings = TrainSettings.from_env({})
    assert (settings.base, settings.box_level, settings.language, settings.psm) == ("graft:minilm", "words", "eng", 3)


@pytest.mark.parametrize(
    ("environ", "language", "psm"),
    [
        pytest.param({"LAYOUTLOOP_OCR_LANGUAGE": "deu", "LAYOUTLOOP_OCR_PSM": "6"}, "deu", 6, id="as `ocr` is set"),
        pytest.param(
            {"LAYOUTLOOP_OCR_PSM": "6", "LAYOUTLOOP_TRAIN_PSM": "4"}, "eng", 4, id="training's own comes first"
        ),
        pytest.param({"LAYOUTLOOP_TRAIN_PSM": " "}, "eng", 3, id="blank is not set"),
    ],
)
def test_pages_are_read_as_serving_reads_them(environ: dict[str, str], language: str, psm: int) -> None:
    settings = TrainSettings.from_env(environ)
    assert (settings.language, settings.psm) == (language, psm)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("LAYOUTLOOP_TRAIN_BASES", "x", id="mistyped name"),
        pytest.param("LAYOUTLOOP_TRAIN_PSM", "0", id="mode without words"),
        pytest.param("LAYOUTLOOP_TRAIN_BOX_LEVEL", "pages", id="box level"),
        pytest.param("LAYOUTLOOP_TRAIN_EPOCHS", "many", id="no number"),
        pytest.param("LAYOUTLOOP_TRAIN_EPOCHS", "-1", id="negative"),
        pytest.param("LAYOUTLOOP_TRAIN_LEARNING_RATE", "nan", id="nan"),
        pytest.param("LAYOUTLOOP_TRAIN_KEEP", "0", id="keeps nothing"),
        pytest.param("LAYOUTLOOP_TRAIN_DEVICE", "tpu", id="device"),
        pytest.param("LAYOUTLOOP_TRAIN_BASE", "graft:", id="graft of nothing"),
        pytest.param("LAYOUTLOOP_TRAIN_IMAGE", "perhaps", id="switch"),
    ],
)
def test_what_cannot_work_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=variable):
        TrainSettings.from_env({variable: value})


def test_the_number_of_annotations_is_the_shims() -> None:
    assert TrainSettings.from_env({"LAYOUTLOOP_TRAIN_EVERY": "5"}) == TrainSettings()
