"""scripts/setup.sh in a project of its own whose requirement files ask for nothing, so that no network is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.node import REPOSITORY

REQUIREMENTS = ("torch.txt", "serve.txt", "test.txt", "encoder.txt", "label-studio.txt")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was set up for tests once."""
    project = tmp_path_factory.mktemp("project")
    (project / "scripts").mkdir()
    (project / "requirements").mkdir()
    shutil.copy(REPOSITORY / "scripts" / "setup.sh", project / "scripts")
    for name in REQUIREMENTS:
        (project / "requirements" / name).write_text("# nothing\n")
    done = run_setup(project, "test")
    assert done.returncode == 0, done.stderr
    assert "making the virtual environment" in done.stderr
    return project


def run_setup(project: Path, kind: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != "LAYOUTLOOP_VENV"}
    command = ["bash", "-c", f"source {project}/scripts/setup.sh; setup {kind}"]
    settings = environ | {"PIP_NO_INDEX": "1"} | variables
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)


def test_a_second_start_installs_nothing(installed: Path) -> None:
    for kind in ("test", "serve"):
        done = run_setup(installed, kind)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_requirement_is_installed(installed: Path) -> None:
    (installed / "requirements" / "serve.txt").write_text("# nothing yet\n")
    assert "installing Python packages" in run_setup(installed, "serve").stderr
    assert run_setup(installed, "serve").stderr == ""


def test_label_studio_has_an_environment_of_its_own(installed: Path) -> None:
    assert (installed / ".venv-label-studio" / "bin" / "python").exists()
    (installed / "requirements" / "label-studio.txt").write_text("# nothing yet\n")
    assert run_setup(installed, "serve").stderr == ""
    assert "installing Label Studio" in run_setup(installed, "demo").stderr
    assert run_setup(installed, "demo").stderr == ""


def test_a_failed_installation_is_repeated(installed: Path) -> None:
    (installed / "requirements" / "encoder.txt").write_text("no-such-package-at-all\n")
    for _ in range(2):
        done = run_setup(installed, "serve")
        assert done.returncode == 1
        assert "pip could not install everything" in done.stderr
    (installed / "requirements" / "encoder.txt").write_text("# nothing again\n")
    assert run_setup(installed, "serve").returncode == 0


def test_a_torchvision_is_refused(installed: Path) -> None:
    (packages,) = (installed / ".venv" / "lib").glob("python3*/site-packages")
    (packages / "torchvision").mkdir()
    done = run_setup(installed, "serve")
    (packages / "torchvision").rmdir()
    assert done.returncode == 1
    assert "there is a torchvision in" in done.stderr


def test_a_folder_with_other_files_is_left_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = run_setup(installed, "serve", LAYOUTLOOP_VENV=str(tmp_path))
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_without_apt_the_missing_packages_are_named(installed: Path, tmp_path: Path) -> None:
    for name in ("bash", "dirname", "realpath", "python3"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    done = run_setup(installed, "serve", PATH=str(tmp_path), JAVA_HOME="")
    assert done.returncode == 1
    assert "missing: openjdk-17-jre-headless tesseract-ocr tesseract-ocr-eng." in done.stderr
