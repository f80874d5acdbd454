from __future__ import annotations

from pathlib import Path

import pytest

from tests.containers.pip_settings import PipSettings


def test_a_folder_of_the_machine_is_mounted_elsewhere(tmp_path: Path) -> None:
    settings = PipSettings.of(f"global.find-links='{tmp_path}'\n")
    assert settings.volumes == {str(tmp_path): "/mnt/0"}
    assert settings.config == "[global]\nfind-links = /mnt/0\n"


def test_an_index_in_files_is_mounted_with_what_lies_beside_it(tmp_path: Path) -> None:
    index = tmp_path / "simple"
    index.mkdir()
    settings = PipSettings.of(f"global.extra-index-url='file://{index} https://example.org/simple'\n")
    assert settings.volumes == {str(tmp_path): "/mnt/0"}
    assert settings.config == "[global]\nextra-index-url = file:///mnt/0/simple https://example.org/simple\n"


@pytest.mark.parametrize(
    ("listed", "config"),
    [
        pytest.param("", "[global]\n", id="no settings"),
        pytest.param("install.target='/elsewhere'\n", "[global]\n", id="not of where packages come from"),
        pytest.param(
            "global.index-url='https://a.example/simple'\n:env:.index-url='https://b.example/simple'\n",
            "[global]\nindex-url = https://b.example/simple\n",
            id="the environment wins",
        ),
        pytest.param(
            "global.cert='/not/here.pem'\n", "[global]\ncert = /not/here.pem\n", id="a file that is not there"
        ),
    ],
)
def test_what_pip_is_told(listed: str, config: str) -> None:
    settings = PipSettings.of(listed)
    assert settings.config == config
    assert settings.volumes == {}


def test_the_configuration_is_a_secret_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    options = PipSettings("[global]\n", {"/somewhere": "/mnt/0"}).options(tmp_path)
    path = tmp_path / "pip.conf"
    assert options == ["--secret", f"id=pip.conf,src={path}", "--volume", "/somewhere:/mnt/0:ro"]
    assert path.stat().st_mode & 0o077 == 0
