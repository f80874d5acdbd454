from __future__ import annotations

import numpy as np
import pytest

from handler.errors import OcrFailed
from handler.reading.rapidocr.detection import choose_canvas
from handler.reading.rapidocr.languages import LATIN, needed_columns, needs_wide
from handler.reading.rapidocr.model_files import DETECTOR, RECOGNISER, read_model
from handler.reading.rapidocr.networks import OnnxNetwork, open_network

LETTERS = {
    "ces": "ěščřžýáíéúůďťň",
    "deu": "äöüßÄÖÜ",
    "fra": "àâçéèêëîïôùûœ",
    "hun": "őűáéíóöúü",
    "isl": "ðþæö",
    "lav": "āčēģīķļņšūž",
    "pol": "ąćęłńóśźż",
    "ron": "ăâîșț",
    "tur": "çğıöşüİ",
}
PAGE = np.random.default_rng(0).integers(0, 255, (2, 48, 160, 3), np.uint8)


def test_the_network_answers_as_if_its_other_columns_were_never_there() -> None:
    model = read_model(RECOGNISER)
    full = open_network(model, "cpu", 1)
    cut = open_network(model, "cpu", 1, lambda characters: needed_columns(needs_wide("eng"), characters))
    columns = needed_columns(needs_wide("eng"), full.characters)
    expected = full(PAGE)[..., columns].copy()
    expected /= expected.sum(axis=-1, keepdims=True)
    assert len(columns) < 0.1 * (len(full.characters) + 2)
    np.testing.assert_allclose(cut(PAGE), expected, atol=0.02)  # bfloat16 where the CPU has it


def test_east_asian_languages_keep_every_column() -> None:
    characters = open_network(read_model(RECOGNISER), "cpu", 1).characters
    assert needed_columns(needs_wide("chi_sim+eng"), characters) == list(range(len(characters) + 2))
    kept = {characters[column - 1] for column in needed_columns(needs_wide("eng"), characters)[1:-1]}
    assert set("aZ09.,:;()[]%&@#$€£§©®°±–—“”’•") <= kept  # noqa: RUF001
    assert not set("中あア한🙂！") & kept  # noqa: RUF001


def test_the_letters_of_the_languages_are_known() -> None:
    characters = set(open_network(read_model(RECOGNISER), "cpu", 1).characters)
    assert LETTERS.keys() <= LATIN
    assert {language for language, letters in LETTERS.items() if not set(letters) <= characters} == set()
    assert not set("ắếộữ") <= characters, "Vietnamese"


def test_a_fixed_network_takes_one_shape_after_another() -> None:
    network = open_network(read_model(DETECTOR), "cpu", 1, fixed=True)
    free = open_network(read_model(DETECTOR), "cpu", 1)
    for height, width in ((64, 96), (96, 64), (64, 64), (32, 96), (64, 96)):
        images = np.full((1, height, width, 3), 255, np.uint8)
        images[:, 20:28, 10:50] = 0
        found = network(images).copy()
        assert found.shape == (1, 1, height, width)
        np.testing.assert_allclose(found, free(images), atol=0.1)


def test_what_onnxruntime_gives_up_on_is_a_runtime_error() -> None:
    """On its CPU provider: the errors are of the same classes as on a GPU."""
    network = OnnxNetwork(read_model(RECOGNISER), None, "CPUExecutionProvider")
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
        network(np.zeros((1, 7, 40, 3), np.uint8))
    assert network(PAGE).shape[0] == 2, "the next is read"
    with pytest.raises(OcrFailed, match="cannot load the networks onto the GPU"):
        OnnxNetwork(b"no network", None, "CPUExecutionProvider")


def test_the_smallest_canvas_that_shows_nearly_as_much() -> None:
    assert choose_canvas(2200, 1700, 1280 / 2200) == ((1280, 960), 960 / 1700)
    assert choose_canvas(1700, 2200, 1280 / 2200) == ((960, 1280), 960 / 1700)
    assert choose_canvas(1000, 762, 1.0) == ((960, 768), 0.96)
    assert choose_canvas(10, 10, 4.0) == ((640, 640), 4.0)
    assert choose_canvas(1, 1280, 1.0) == ((640, 1280), 1.0)
