from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from handler.errors import OcrFailed
from handler.reading.rapidocr.model_files import DETECTOR, RECOGNISER, SHA256, VERSION, read_model

ROOT = Path(__file__).parents[4]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the models' folder of an installation of its own, which is found before the real one."""
    real = Path(str(distribution("rapidocr").locate_file("")))
    shutil.copytree(real / f"rapidocr-{VERSION}.dist-info", tmp_path / f"rapidocr-{VERSION}.dist-info")
    shutil.copytree(real / "rapidocr" / "models", tmp_path / "rapidocr" / "models")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "rapidocr" / "models"


@pytest.mark.parametrize("name", [DETECTOR, RECOGNISER])
def test_the_published_files_are_read(copy: Path, name: str) -> None:
    assert read_model(name) == (copy / name).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="cut short"),
        pytest.param(lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], id="one bit"),
        pytest.param(lambda data: data[:0], id="empty"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(copy: Path, damage) -> None:
    path = copy / RECOGNISER
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(OcrFailed, match=f"{RECOGNISER} is damaged .sha256 .*{SHA256[RECOGNISER]}.*force-reinstall"):
        read_model(RECOGNISER)
    assert path.read_bytes() == damaged, "nothing is fetched in its place"


def test_a_missing_file_is_named_with_what_to_do(copy: Path) -> None:
    (copy / DETECTOR).rename(copy / "other.onnx")
    with pytest.raises(OcrFailed, match=f"{DETECTOR} cannot be read .No such file.*force-reinstall"):
        read_model(DETECTOR)


def test_another_release_is_refused(copy: Path) -> None:
    metadata = copy.parents[1] / f"rapidocr-{VERSION}.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace(f"Version: {VERSION}", "Version: 3.11.0", 1))
    with pytest.raises(OcrFailed, match=f"reads with rapidocr {VERSION}, 3.11.0 is installed"):
        read_model(DETECTOR)


def test_a_package_that_is_not_installed() -> None:
    """In a Python without site-packages."""
    program = f"from handler.reading.rapidocr.model_files import read_model; read_model({DETECTOR!r})"
    run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1
    assert re.search(rf"OcrFailed: .*needs rapidocr {VERSION}: `pip install --no-deps -r requirements/.*`", run.stderr)
