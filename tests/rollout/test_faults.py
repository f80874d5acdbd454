"""A table of what can be wrong with a node's machine and files: what the watcher does and says, and that it recovers.

Each fault is real, as in `tests/shim/test_faults.py`. Whatever it is: what TorchServe holds it goes on holding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path

import pytest

from layoutloop.settings.node import NodeSettings, note_path
from layoutloop.settings.serving import Settings
from layoutloop.store.manifest import archive_name
from layoutloop.store.writing import write_json
from rollout.process import WatcherProcess
from rollout.readiness import readiness_problem
from tests import wrong_files
from tests.full_disk import filled, small_disk
from tests.layoutloop.torchserve.test_management import V1, V2, open_management
from tests.rollout.test_promotion import NODE, Site

HOUR_S = 3600.0
Fault = Callable[["Node"], AbstractContextManager[None]]


class Node:
    """A watcher's process, but for its endless loop."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder, self.site = folder, site
        self.node = NodeSettings(home=folder / "home", model_dir=site.model_dir)
        self.settings = Settings(home=folder / "home")
        self.process = WatcherProcess(site.watcher, self.node, self.settings)

    def look(self) -> None:
        """As `WatcherProcess.run` does, which goes on after an OSError."""
        with suppress(OSError):
            self.process.look()
        self.process.note()  # the heartbeat's

    @property
    def problem(self) -> str:
        """What the readiness probe says; empty while this node is ready."""
        return readiness_problem(self.settings) or ""


def folder_in_place_of(where: Callable[[Node], Path]) -> Fault:
    return lambda node: wrong_files.folder_in_place_of(where(node))


def content_of(where: Callable[[Node], Path], content: bytes) -> Fault:
    return lambda node: wrong_files.content_of(where(node), content)


def full_disk(node: Node) -> AbstractContextManager[None]:
    return filled(node.folder / "home")


def note(node: Node) -> Path:
    return note_path(node.settings.home)


def report(node: Node) -> Path:
    return node.site.model_dir / ".nodes" / f"{NODE}.json"


def other_report(node: Node) -> Path:
    return node.site.model_dir / ".nodes" / "other-7080.json"


def manifest(node: Node) -> Path:
    return node.site.store.manifest_path("project-7")


def new_archive(node: Node) -> Path:
    return node.site.fake.archives / archive_name("project-8", V1)


def marks(node: Node) -> Path:
    return node.site.model_dir / ".asked"


WRONG = [b"", b"[]", b"7", b'{"load": 5}', b'{"load": ["../../x"], "current": "../../x"}', b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize(
    ("fault", "said", "is_ready"),
    [
        pytest.param(
            folder_in_place_of(note), "whether this node is ready cannot be written", False, id="note: a folder"
        ),
        pytest.param(
            folder_in_place_of(report), "what this node holds cannot be reported", True, id="report: a folder"
        ),
        pytest.param(folder_in_place_of(other_report), "", True, id="another's report: a folder"),
        pytest.param(folder_in_place_of(manifest), "Is a directory", True, id="serving.json: a folder"),
        pytest.param(folder_in_place_of(new_archive), "Is a directory", True, id="an archive: a folder"),
        pytest.param(content_of(marks, b"in the way"), "", True, id="the marks' folder: a file"),
        pytest.param(full_disk, "cannot be written", True, id="a full disk"),
        *(pytest.param(content_of(note, wrong), "", True, id=f"note: {wrong[:12]!r}") for wrong in WRONG),
        *(pytest.param(content_of(report, wrong), "", True, id=f"report: {wrong[:12]!r}") for wrong in WRONG),
        *(pytest.param(content_of(other_report, wrong), "", True, id=f"another's: {wrong[:12]!r}") for wrong in WRONG),
        *(
            pytest.param(content_of(manifest, wrong), "cannot be understood", True, id=f"serving.json: {wrong[:12]!r}")
            for wrong in WRONG
        ),
    ],
)
def test_a_fault_of_a_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Fault, said: str, is_ready: bool
) -> None:
    with ExitStack() as kept:
        kept.enter_context(small_disk(tmp_path / "home", 8) if fault is full_disk else nullcontext())
        node = Node(tmp_path, Site(tmp_path, kept.enter_context(open_management(tmp_path / "home" / "torchserve"))))
        node.site.ask_for("ocr", V1, current=V1)
        node.site.ask_for("project-7", V1, current=V1)
        node.look()
        assert not node.problem
        held = node.site.fake.held()
        with fault(node):
            caplog.clear()
            node.site.ask_for("project-8", V1, current=V1)
            for _ in range(3):
                node.look()
            assert held.items() <= node.site.fake.held().items(), "what is held stays held"
            assert (not node.problem) == is_ready, node.problem
            told = [*caplog.messages, *node.site.watcher.errors.values()]
            assert not said or any(said in one for one in told), told
            assert len(caplog.messages) <= 6, "once, not with every look"
        node.site.watcher._failed.clear()  # instead of half a minute
        node.look()
        assert not node.problem
        assert node.site.fake.held() == {**held, "project-8": [V1]}
        assert list(node.site.store.live_nodes()) == [NODE]


@pytest.mark.parametrize("moved_s", [HOUR_S, -HOUR_S], ids=["an hour ahead", "an hour back"])
def test_a_moved_clock(tmp_path: Path, moved_s: float) -> None:
    """What was noted before the clock moved is off by an hour: it is told as old, until a look writes it anew."""
    with open_management(tmp_path / "torchserve") as fake:
        node = Node(tmp_path, Site(tmp_path, fake))
        node.site.ask_for("ocr", V1, current=V1)
        node.look()
        before = time.time() - moved_s
        write_json(note(node), {"time": before, "holds": {"ocr": [V1]}, "missing": [], "errors": {}})
        node.site.say(NODE, V1, age_s=moved_s)
        node.site.say("gone-7080", V1, age_s=moved_s)
        assert "last heard of 3600 s ago, or the clock was moved" in node.problem
        assert node.site.store.live_nodes() == {}, "a node that stopped in that hour is not waited for"
        node.site.watcher._reported = float("-inf")
        node.look()
        assert not node.problem
        assert list(node.site.store.live_nodes()) == [NODE]
        node.site.ask_for("ocr", V2, current=V2)
        assert node.site.serving("ocr").load == (V2, V1)
        write_json(node.site.store.manifest_path("ocr"), {**node.site.serving("ocr").to_json(), "left": {V1: before}})
        node.look()
        assert node.site.serving("ocr").load == (V2,), "nor does a replaced version stay for an hour more"
