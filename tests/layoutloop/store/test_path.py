from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fsspec.exceptions import FSTimeoutError

from layoutloop.errors import SettingsInvalid, StoreUnavailable
from layoutloop.settings.serving import Settings
from layoutloop.store.path import children, store_access, store_path

REDIS = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("/srv/models", Path("/srv/models"), id="a folder"),
        pytest.param("models", Path.cwd() / "models", id="made absolute"),
        pytest.param("file:///srv/models", Path("/srv/models"), id="a folder as a URL"),
    ],
)
def test_a_folder_is_a_plain_path(text: str, path: Path) -> None:
    assert store_path(text) == path
    assert isinstance(store_path(text), Path)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        pytest.param("s3://bucket/some/prefix", "s3://bucket/some/prefix", id="as given"),
        pytest.param("s3://bucket/prefix/", "s3://bucket/prefix", id="without its last slash"),
        pytest.param("memory://store", "memory://store", id="another scheme"),
    ],
)
def test_a_url_is_none(text: str, written: str) -> None:
    path = store_path(text)
    assert not isinstance(path, Path)
    assert str(path) == written
    assert (path / "ocr" / "serving.json").name == "serving.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("nonsense://bucket", "neither a folder nor a URL that fsspec knows", id="no such scheme"),
        pytest.param("gs://bucket", r"not installed .*pip install -r requirements/s3.txt", id="no driver"),
        pytest.param("s3://key:secret@bucket", "a user or a password", id="a password"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message) as refused:
        store_path(text)
    assert "secret" not in str(refused.value)


def test_a_url_needs_redis_for_its_locks() -> None:
    with pytest.raises(SettingsInvalid, match="set REDIS_URL"):
        Settings.from_env({"MODEL_DIR": "memory://store"})
    settings = Settings.from_env({"MODEL_DIR": "memory://store", "REDIS_URL": REDIS})
    assert str(settings.model_dir) == "memory://store"


@pytest.mark.parametrize(
    ("text", "number", "raised"),
    [
        pytest.param("memory://store", errno.EIO, StoreUnavailable, id="another try may do"),
        pytest.param("memory://store", errno.EACCES, StoreUnavailable, id="it refuses our keys"),
        pytest.param("memory://store", errno.ENOENT, FileNotFoundError, id="it does not have this"),
        pytest.param("/srv/models", errno.EIO, OSError, id="a folder's own error"),
        pytest.param("/srv/models", errno.EACCES, PermissionError, id="a folder that may not be read"),
    ],
)
def test_a_store_that_does_not_answer(text: str, number: int, raised: type[Exception]) -> None:
    with pytest.raises(raised) as error, store_access(store_path(text)):
        raise OSError(number, "Reduce your request rate.")
    assert isinstance(error.value, raised)
    assert isinstance(error.value, StoreUnavailable) == (raised is StoreUnavailable)
    assert ("refuses its keys" in str(error.value)) == (number == errno.EACCES and raised is StoreUnavailable)


@pytest.mark.parametrize("text", ["memory://store", "/srv/models"], ids=["a URL", "a folder"])
@pytest.mark.parametrize("kind", [TimeoutError, ConnectionError, ConnectionResetError, FSTimeoutError])
def test_errors_without_a_number_mean_a_store_at_a_url(text: str, kind: type[Exception]) -> None:
    away = kind is FSTimeoutError or "://" in text  # only drivers raise that one
    with pytest.raises(StoreUnavailable if away else kind), store_access(store_path(text)):
        raise kind()


@pytest.mark.parametrize(
    ("filename", "sentence"),
    [
        pytest.param("/srv/layoutloop/store/shim", "what this machine keeps of the model store", id="the copy"),
        pytest.param("bucket/ocr/serving.json", "refuses its keys", id="a file of the store"),
        pytest.param(None, "refuses its keys", id="no name"),
    ],
)
def test_an_unwritable_copy_is_no_fault_of_the_keys(filename: str | None, sentence: str) -> None:
    with pytest.raises(StoreUnavailable, match=sentence) as told, store_access(store_path("memory://store")):
        raise PermissionError(errno.EACCES, "Permission denied", filename)
    assert ("its keys" in str(told.value)) == (sentence == "refuses its keys")


@pytest.mark.parametrize("text", ["memory://children", ""], ids=["a URL", "a folder"])
def test_children_are_in_order(text: str, tmp_path: Path) -> None:
    folder = store_path(text) if text else tmp_path
    assert children(folder / "project-7", "*.json") == []
    for name in ("b.json", "a.json", "c.mar"):
        (folder / "project-7").mkdir(exist_ok=True, parents=True)
        (folder / "project-7" / name).write_bytes(b"{}")
    assert [path.name for path in children(folder / "project-7", "*.json")] == ["a.json", "b.json"]
