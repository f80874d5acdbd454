"""What a person names on a command line and cannot be used: one sentence and an exit status, never a traceback."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.tasks import OCR, exported_task, label_config

COMMANDS = (
    *(f"scripts.{name}" for name in ("archive", "connect", "dataset", "evaluate", "import_documents", "predict")),
    *("scripts.retrain", "scripts.rollout", "rollout.process", "training.restore", "training.worker.job"),
    *("demo.invoices", "demo.run", "demo.tasks"),
)
"""With what they import only when they need it."""
NOBODY = 65534


class Ground:
    """A folder with a file of every kind, which anyone may search; nobody may read the locked ones."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.names = {name: folder / name for name in ("missing", "folder", "latin1", "empty", "locked")}
        self.names |= {"export": folder / "export.json", "config": folder / "config.xml"}
        self.names["checkpoint"] = Path(shutil.copytree(checkpoint, folder / "checkpoint"))
        self.names["inside"] = folder / "locked-folder" / "file"
        self.names["checkpoint"].chmod(0o755)
        for name in ("folder", "locked-folder"):
            (folder / name).mkdir()
        self.names["latin1"].write_bytes("Beträge\n".encode("latin-1"))
        self.names["empty"].write_bytes(b"")
        self.names["inside"].write_text("x")
        self.names["locked"].write_text("x")
        self.names["locked"].chmod(0)
        self.names["export"].write_text(json.dumps([exported_task(1, "page.png", [])]))
        self.names["config"].write_text(label_config(["total"], OCR))
        (folder / "locked-folder").chmod(0)

    def fill(self, text: str) -> str:
        return text.format_map({name: str(path) for name, path in self.names.items()})


@pytest.fixture(scope="module")
def ground(text_checkpoint: Path) -> Iterator[Ground]:
    for name in COMMANDS:
        importlib.import_module(name)  # while this process may read the modules, see `as_nobody`
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)  # noqa: S103
        yield Ground(Path(above), text_checkpoint)
        os.chmod(Path(above) / "locked-folder", 0o755)  # noqa: S103


@pytest.fixture
def places(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """The settings of an instance there, where something listens as TorchServe does."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listening:
        os.chmod(folder, 0o777)  # noqa: S103
        settings = {"MODEL_DIR": f"{folder}/store", "LAYOUTLOOP_HOME": f"{folder}/home", "REDIS_URL": ""}
        settings["LAYOUTLOOP_TORCHSERVE_PORT"] = str(listening.getsockname()[1])
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield ground


@contextmanager
def as_nobody(arguments: str) -> Iterator[None]:
    """Whoever runs the tests may read nothing that is locked, where the arguments name it."""
    is_root = os.geteuid() == 0 and ("locked" in arguments or "inside" in arguments)
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def run(command: str, arguments: str) -> int | str | None:
    """The exit status of a command, as its process would have it."""
    module, *first = command.split()
    try:
        return int(importlib.import_module(module).main([*first, *arguments.split()]))
    except SystemExit as stopped:
        return stopped.code


ARCHIVE = "scripts.archive --project 7"
DATASET = "scripts.dataset --local-ocr"
EVALUATE = "scripts.evaluate --local-ocr --all-pages"
RETRAIN = "scripts.retrain --project 7 --here --untested"
MISSING, DIRECTORY, DENIED = "No such file or directory", "Is a directory", "Permission denied"


@pytest.mark.parametrize(
    ("command", "arguments", "status", "sentence"),
    [
        (ARCHIVE, "", 2, "--project needs --checkpoint FOLDER"),
        (ARCHIVE, "--checkpoint {missing}", 1, f"--checkpoint {{missing}} cannot be read: {MISSING}; it is a"),
        (ARCHIVE, "--checkpoint {empty}", 1, "--checkpoint {empty} cannot be read: Not a directory; it is a"),
        (ARCHIVE, "--checkpoint {inside}", 1, f"--checkpoint {{inside}} cannot be read: {DENIED}; it is a"),
        (ARCHIVE, "--checkpoint {folder}", 1, f"--checkpoint {{folder}} cannot be read: {MISSING}; it is a"),
        *(
            (
                ARCHIVE,
                f"--checkpoint {{checkpoint}} --labels {{{name}}}",
                1,
                f"--labels {{{name}}} cannot be read: {why}",
            )
            for name, why in (
                ("missing", f"{MISSING}; it is a file with one label a line"),
                ("folder", f"{DIRECTORY}; it is a file with one label a line"),
                ("locked", f"{DENIED}; it is a file with one label a line"),
                ("latin1", "it is no text in UTF-8 (byte 4 is 0xE4); it is a file with one label a line"),
            )
        ),
        *(
            (
                command,
                f"--annotations {{{annotations}}} --label-config {{{config}}}{more}",
                1,
                f"{option} {{{annotations if option == '--annotations' else config}}} {why}",
            )
            for command, more in (
                (DATASET, " --out {missing}"),
                (EVALUATE, " --checkpoint {checkpoint}"),
                (RETRAIN, ""),
            )
            for annotations, config, option, why in (
                ("missing", "config", "--annotations", f"cannot be read: {MISSING}"),
                ("folder", "config", "--annotations", f"cannot be read: {DIRECTORY}"),
                ("locked", "config", "--annotations", f"cannot be read: {DENIED}"),
                ("inside", "config", "--annotations", f"cannot be read: {DENIED}"),
                ("latin1", "config", "--annotations", "is no JSON; choose Export > JSON in Label Studio"),
                ("empty", "config", "--annotations", "is no JSON; choose Export > JSON in Label Studio"),
                ("export", "missing", "--label-config", f"cannot be read: {MISSING}"),
                ("export", "folder", "--label-config", f"cannot be read: {DIRECTORY}"),
                ("export", "locked", "--label-config", f"cannot be read: {DENIED}"),
                ("export", "latin1", "--label-config", "cannot be read: it is no text in UTF-8 (byte 4 is 0xE4)"),
            )
        ),
        *(
            (command, f"--annotations {{export}} --label-config {{config}} --images {{{name}}}{more}", 2, why)
            for command, more in ((DATASET, " --out {missing}"), (EVALUATE, ""), (RETRAIN, ""))
            for name, why in (
                ("missing", "--images {missing} is no folder that can be read"),
                ("empty", "--images {empty} is no folder that can be read"),
                ("inside", "--images {inside} is no folder that can be read"),
            )
        ),
        (DATASET, "--project 7 --out {empty}", 2, "--out {empty} is there already and is not an empty folder"),
        (DATASET, "--project 7 --out {inside}", 1, f"--out {{inside}} cannot be read: {DENIED}; it is a new folder"),
        (EVALUATE, "--project 7 --checkpoint {missing}", 1, "{missing} is neither a checkpoint folder"),
        (EVALUATE, "--project 7 --checkpoint {empty}", 1, "{empty} is no .mar archive"),
        (EVALUATE, "--project 7 --checkpoint {locked}", 1, f"{{locked}} cannot be measured: .*{DENIED}"),
        (EVALUATE, "--project 7 --checkpoint {inside}", 1, f"--checkpoint {{inside}} cannot be read: {DENIED}; it"),
        ("scripts.import_documents --project 7", "{folder}", 1, "these folders hold no files"),
        ("scripts.connect --project 7", "--shim-url nonsense", 2, "the shim's address 'nonsense' cannot be used"),
        ("demo.tasks", "--count 1 --out {empty}", 1, "--out {empty} cannot be written: File exists; it is a folder"),
        ("demo.tasks", "--count 1 --out {inside}/x", 1, f"--out {{inside}}/x cannot be written: {DENIED}; it is a"),
        ("demo.invoices", "--count 1 --out {empty}", 1, "--out {empty} cannot be written: File exists; it is a folder"),
        ("demo.run", "--home {empty}", 1, "--home {empty} cannot be written: File exists; it is a folder"),
        ("demo.run", "--pages {missing}", 2, "--pages: {missing} is no folder"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_sentence(
    places: Ground,
    command: str,
    arguments: str,
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "f" * 40)
    with as_nobody(arguments):
        assert run(command, places.fill(arguments)) == status
    said = capsys.readouterr().err.splitlines()[-1]
    error = re.fullmatch(r"(?:python -m [\w.]+: |scripts/demo\.sh: )?error: (.*)", said)
    assert error is not None, said
    wanted = re.escape(places.fill(sentence)).replace(re.escape(".*"), ".*")
    assert re.match(wanted, error[1]), said


@pytest.mark.parametrize("name", ["missing", "folder", "locked", "inside", "empty"])
def test_a_document_that_cannot_be_read_is_an_answer(
    places: Ground, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with as_nobody(name):
        assert run("scripts.predict", places.fill(f"{{{name}}}")) == 1
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert (answer["file"], answer["error"]["code"]) == (str(places.names[name]), "document_unreadable")
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("setting", "status", "sentence"),
    [
        ({"MODEL_DIR": "{empty}"}, 0, ""),
        ({"MODEL_DIR": "{inside}"}, 1, f"{{inside}}/.nodes: {DENIED}"),
    ],
)
def test_a_model_store_that_cannot_be_read(
    places: Ground,
    setting: dict[str, str],
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, value in setting.items():
        monkeypatch.setenv(variable, places.fill(value))
    with as_nobody(str(setting)):
        assert run("scripts.rollout", "--list") == status
    assert places.fill(sentence) in capsys.readouterr().err
