from __future__ import annotations

import pytest
import yaml

from handler.ocr_settings import OcrSettings
from layoutloop.errors import SettingsInvalid
from layoutloop.settings.node import REPOSITORY
from layoutloop.settings.ocr import ocr_settings


def test_what_is_not_set_is_the_default() -> None:
    assert ocr_settings({}) == OcrSettings()
    assert ocr_settings({"LAYOUTLOOP_OCR_ENGINE": "", "LAYOUTLOOP_OCR_PSM": ""}) == OcrSettings()


def test_each_setting_has_its_variable() -> None:
    environ = {"ENGINE": "pytesseract", "LANGUAGE": "deu+eng", "PSM": "6", "TIMEOUT_S": "12.5", "DEVICE": "gpu"}
    settings = ocr_settings({f"LAYOUTLOOP_OCR_{name}": value for name, value in environ.items()})
    assert settings == OcrSettings("pytesseract", "deu+eng", 6, 12.5, "gpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("ENGINE", "easyocr", id="engine"),
        pytest.param("LANGUAGE", "deu,eng", id="language"),
        pytest.param("PSM", "many", id="no number"),
        pytest.param("PSM", "0", id="mode without words"),
        pytest.param("TIMEOUT_S", "0", id="no time"),
        pytest.param("DEVICE", "tpu", id="device"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=rf"LAYOUTLOOP_OCR_\*: .*{value}.*engines: rapidocr, pytesseract"):
        ocr_settings({f"LAYOUTLOOP_OCR_{name}": value})


@pytest.mark.parametrize("value", ["35.5", "40", "3600"])
def test_a_time_limit_torchserve_would_not_wait_for(value: str) -> None:
    with pytest.raises(SettingsInvalid, match=rf"LAYOUTLOOP_OCR_TIMEOUT_S is at most 35, got {value}"):
        ocr_settings({"LAYOUTLOOP_OCR_TIMEOUT_S": value})


def test_the_longest_time_limit_ends_before_torchserves() -> None:
    config = yaml.safe_load((REPOSITORY / "handler" / "config" / "ocr.yaml").read_text())
    assert ocr_settings({"LAYOUTLOOP_OCR_TIMEOUT_S": "35"}).timeout_s + 5 <= config["responseTimeout"]
