"""scripts/setup.sh in a project of its own whose requirement files ask for nothing, so that no network is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from layoutloop.settings.node import REPOSITORY

OURS = ("LAYOUTLOOP_VENV", "LAYOUTLOOP_LABEL_STUDIO_VENV")
REQUIREMENTS = ("torch.txt", "serve.txt", "test.txt", "reader.txt", "encoder.txt", "label-studio.txt")


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
    return run_bash(f"source {project}/scripts/setup.sh; setup {kind}", **variables)


def run_bash(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    settings = environ | {"PIP_NO_INDEX": "1"} | variables
    return subprocess.run(["bash", "-c", script], env=settings, capture_output=True, text=True, check=False)


def program(path: Path, script: str) -> None:
    """Write an executable."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


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


@pytest.mark.parametrize(
    ("programs", "variable", "found"),
    [
        pytest.param({}, "", False, id="none"),
        pytest.param({"chromium": "exit 0"}, "", True, id="Debian's"),
        pytest.param({"google-chrome": "exit 0"}, "", True, id="Chrome"),
        pytest.param({"chromium-browser": "exit 10"}, "", False, id="Ubuntu's, which only points at the snap"),
        pytest.param({"chromium-browser": "exit 10", "google-chrome": "exit 0"}, "", True, id="the next one starts"),
        pytest.param({"chromium": "exit 0"}, "/gone/chrome", False, id="the variable counts alone"),
        pytest.param({"mine": "exit 0"}, "mine", True, id="the variable"),
    ],
)
def test_a_browser_is_one_that_starts(
    installed: Path, tmp_path: Path, programs: dict[str, str], variable: str, found: bool
) -> None:
    for name, script in programs.items():
        program(tmp_path / name, script)
    script = f"source {installed}/scripts/setup.sh; PATH={tmp_path}; has_chromium"
    assert (run_bash(script, LAYOUTLOOP_CHROMIUM=variable).returncode == 0) == found


@pytest.mark.parametrize(
    ("said", "offered"),
    [
        pytest.param("chromium:\n  Installed: (none)\n  Candidate: 120.0.1-1~deb12u1\n", True, id="Debian"),
        pytest.param("chromium:\n  Installed: (none)\n  Candidate: (none)\n", False, id="named by others only"),
        pytest.param("chromium:\n  Installed: (none)\n  Candidate: 2:1snap1-0ubuntu2\n", False, id="a snap's stub"),
        pytest.param("", False, id="unknown"),
    ],
)
def test_apt_offers_a_browser(installed: Path, tmp_path: Path, said: str, offered: bool) -> None:
    (tmp_path / "said").write_text(said)
    program(tmp_path / "apt-cache", f"cat {tmp_path}/said")
    script = f"source {installed}/scripts/setup.sh; PATH={tmp_path}:$PATH; offers_chromium"
    assert (run_bash(script).returncode == 0) == offered


def test_a_wrong_browser_stops_the_tests_alone(installed: Path) -> None:
    done = run_setup(installed, "test", LAYOUTLOOP_CHROMIUM="/gone/chrome")
    assert done.returncode == 1
    assert "LAYOUTLOOP_CHROMIUM=/gone/chrome is no browser that starts" in done.stderr
    assert run_setup(installed, "serve", LAYOUTLOOP_CHROMIUM="/gone/chrome").returncode == 0


def test_no_browser_to_install_is_one_sentence(installed: Path, tmp_path: Path) -> None:
    for name in ("bash", "dirname", "realpath", "python3", "sed", "java", "tesseract", "redis-server", "env"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    for name in ("apt-cache", "apt-get", "sudo"):  # as where the lists know no Chromium
        program(tmp_path / name, "exit 0")
    done = run_setup(installed, "test", PATH=str(tmp_path), LAYOUTLOOP_CHROMIUM="")
    assert done.returncode == 1
    assert "the tests need Chromium or Chrome, and apt has none here" in done.stderr
    assert "set LAYOUTLOOP_CHROMIUM" in done.stderr


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("a store", "{here}/a store", id="a folder"),
        pytest.param("/store", "/store", id="absolute"),
        pytest.param("s3://bucket/prefix", "s3://bucket/prefix", id="a URL"),
    ],
)
def test_where_the_model_store_is_meant(installed: Path, tmp_path: Path, given: str, passed: str) -> None:
    shutil.copy(REPOSITORY / "scripts" / "serve.sh", installed / "scripts")
    (installed / "scripts" / "serve.py").write_text("import os\nprint(os.environ['MODEL_DIR'])\n")
    environ = {name: value for name, value in os.environ.items() if name not in OURS} | {"MODEL_DIR": given}
    command = ["bash", str(installed / "scripts" / "serve.sh")]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == passed.format(here=tmp_path) + "\n", done.stderr


def test_an_installation_that_is_stopped_says_so(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "python", "kill -INT $PPID; exit 1")
    done = run_bash(f"source {installed}/scripts/setup.sh; pip_install {tmp_path} nothing")
    assert (done.returncode, done.stderr) == (1, "setup: stopped. The next start goes on.\n")


def test_who_waits_for_an_installation_says_so(installed: Path) -> None:
    setup = f"source {installed}/scripts/setup.sh"
    held = f"exec 8<{installed}/requirements; flock 8; {setup}; (sleep 0.5; exec 8<&-) & exec 8<&-; one_at_a_time true"
    assert "another start is installing; waiting for its end" in run_bash(held).stderr
    assert run_bash(f"{setup}; one_at_a_time true").stderr == ""


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(["--pages", "a b", "--count", "3"], ["--pages", "{here}/a b", "--count", "3"], id="two words"),
        pytest.param(["--pages=a b", "--home=h"], ["--pages={here}/a b", "--home={here}/h"], id="one word"),
        pytest.param(["--home", "/h", "--pages=/p"], ["--home", "/h", "--pages=/p"], id="absolute"),
        pytest.param(["--pages"], ["--pages"], id="no folder"),
    ],
)
def test_the_demos_folders_are_meant_from_here(
    installed: Path, tmp_path: Path, typed: list[str], passed: list[str]
) -> None:
    shutil.copy(REPOSITORY / "scripts" / "demo.sh", installed / "scripts")
    (installed / "demo").mkdir(exist_ok=True)
    (installed / "demo" / "run.py").write_text("import json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    command = ["bash", str(installed / "scripts" / "demo.sh"), *typed]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [one.format(here=tmp_path) for one in passed]
