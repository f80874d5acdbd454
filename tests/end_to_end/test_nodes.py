"""Two TorchServe nodes on one model store: one is killed and comes back while people go on working."""

from __future__ import annotations

import base64
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import requests

from demo.tasks import label_config
from handler.images import ImageLimits
from handler.ocr_settings import OcrSettings
from handler.page import TaggedPage
from handler.reading.reader import Reader
from handler.tagging.tagger import Tagger, TaggerSettings
from layoutloop.settings.node import REPOSITORY, NodeSettings
from layoutloop.store.manifest import OCR_MODEL, project_model
from layoutloop.store.model_store import ModelStore
from node.processes import instance_processes, stop_processes
from tests.checkpoints import make_checkpoint, word_piece
from tests.containers.stack import count_tagged
from tests.end_to_end.conftest import free_settings, kill_at_once, wait_for
from tests.end_to_end.training_stack import LABELS, draw_page

pytestmark = pytest.mark.end_to_end
PROJECT = 31
CLIENTS, PAGES = 8, 8
PAUSE_S = 0.5
"""Of a client between two asks; without it the clients alone take both cores, and nodes take minutes to start."""
SILENT_S = 6.0
HOSTS = ("127.0.0.2", "127.0.0.3")
Found = tuple[tuple[str, str], ...]


@dataclass
class Part:
    """One `scripts.serve --parts` and its home."""

    settings: NodeSettings
    parts: str
    environ: dict[str, str]
    out: Path

    def start(self) -> None:
        with self.out.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scripts.serve", "--parts", self.parts],
                cwd=REPOSITORY,
                env=self.environ,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self, line: str) -> None:
        wait_for(lambda: self.process.poll() is not None or line in self.out.read_text())
        assert self.process.poll() is None, self.out.read_text()

    def kill(self) -> None:
        """End all of it as a machine that loses power does."""
        kill_at_once(lambda: [psutil.Process(self.process.pid), *instance_processes(self.settings.home)])
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(100)
        left = instance_processes(self.settings.home)
        stop_processes(left)
        assert not left, f"left behind: {left}"

    def is_ready(self) -> bool:
        """Whether a readiness probe would send pages here."""
        return self.command("scripts.rollout", "--ready").returncode == 0

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with this part's settings."""
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=REPOSITORY, env=self.environ, capture_output=True, text=True
        )

    def pages_tagged(self) -> int:
        """What this node's TorchServe counted since it started."""
        settings = self.settings
        text = requests.get(f"http://{settings.torchserve_host}:{settings.torchserve_port + 2}/metrics", timeout=5).text
        return count_tagged(text)


@dataclass(frozen=True)
class Answer:
    """What one client got for a page, and of which version."""

    page: int
    stamp: str
    found: Found


class Clients:
    """Ask for page after page, each once, from a thread each, until told to end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ended = threading.Event()
        self.answers: list[Answer] = []
        self._numbers = itertools.count()
        self._pages = [draw_page(number).png for number in range(PAGES)]

    def ask(self, session: requests.Session) -> Answer:
        number = next(self._numbers)
        # Bytes behind the image make it another one to every cache, and the same page to read.
        image = base64.b64encode(self._pages[number % PAGES] + str(number).encode()).decode()
        task = {"id": number, "data": {"image": f"data:image/png;base64,{image}"}}
        body = {"tasks": [task], "project": f"{PROJECT}.1", "label_config": label_config(LABELS, "ocr")}
        response = session.post(f"{self.url}/predict", json=body, timeout=100)
        assert response.status_code == 200, response.text
        (entry,) = response.json()["results"]
        assert entry, "a task without an answer"
        texts = {one["id"]: one["value"]["text"][0] for one in entry["result"] if one["type"] == "textarea"}
        labels = [(one["value"]["labels"][0], one["id"]) for one in entry["result"] if one["type"] == "labels"]
        found = tuple((label, texts[region]) for label, region in labels)
        return Answer(number % PAGES, str(entry["model_version"]).partition("-")[0], found)

    def _run(self) -> None:
        with requests.Session() as session:
            while not self.ended.is_set():
                self.answers.append(self.ask(session))
                time.sleep(PAUSE_S)

    def more(self, count: int) -> None:
        """Wait until so many more answers came."""
        enough = len(self.answers) + count
        wait_for(lambda: len(self.answers) >= enough or self.ended.is_set())

    @contextmanager
    def asking(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            futures = [pool.submit(self._run) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self.ended.set()
            for future in futures:
                future.result()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Part, Part, Part]]:
    """Two nodes and a shim, each with a home of its own, on one model store; not started yet."""
    store = tmp_path / "store"
    nodes, taken = [], 0
    for number, host in enumerate(HOSTS):
        free = free_settings(tmp_path / f"node-{number}")
        first = max(free.torchserve_port, taken)
        taken = first + 20
        nodes.append(replace(free, model_dir=store, torchserve_host=host, torchserve_port=first, port=first + 5))
    front = replace(nodes[0], home=tmp_path / "front", torchserve_host="127.0.0.1")
    shared = {
        "LAYOUTLOOP_ALLOW_OPEN_BIND": "1",
        "LAYOUTLOOP_OCR_WORKERS": "1",
        "LAYOUTLOOP_PROJECT_WORKERS": "1",
        "LAYOUTLOOP_NODE_SILENT_S": str(SILENT_S),
        "LAYOUTLOOP_TORCHSERVE_URL": ",".join(f"http://{one.torchserve_host}:{one.torchserve_port}" for one in nodes),
        "OMP_NUM_THREADS": "1",
    }

    def part(settings: NodeSettings, parts: str) -> Part:
        places = settings.environment() | {"LAYOUTLOOP_TORCHSERVE_HOST": settings.torchserve_host}
        return Part(settings, parts, os.environ | shared | places, settings.home.with_suffix(".out"))

    parts = (*(part(node, "torchserve,rollout") for node in nodes), part(front, "shim"))
    try:
        yield parts
    finally:
        running = [one for one in parts if hasattr(one, "process")]
        for one in running:
            one.process.terminate()  # all at once, and then wait for each
        for one in running:
            one.stop()


def offline(checkpoint: Path) -> list[Found]:
    """What the model finds on each page, without any server."""
    reader, tagger = (
        Reader(OcrSettings(), ImageLimits(), cache=None),
        Tagger.load(checkpoint, TaggerSettings(threads=1)),
    )
    found = []
    for number in range(PAGES):
        (answer,) = tagger.tag([reader.read(draw_page(number).png)])
        assert isinstance(answer, TaggedPage)
        found.append(tuple((region.label, region.text) for region in answer.regions))
    assert all(found), "a page on which nothing is found proves nothing"
    return found


def test_a_node_that_is_killed_and_comes_back_is_not_noticed(
    site: tuple[Part, Part, Part], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    first, second, front = site
    store = front.settings.model_dir
    checkpoints = [
        make_checkpoint(tmp_path / str(seed), tokenizer=word_piece(), labels=LABELS, seed=seed, outside_bias=-9)
        for seed in range(2)
    ]

    def promote(checkpoint: Path, *more: str) -> str:
        arguments = ("--project", str(PROJECT), "--checkpoint", str(checkpoint), "--serve", "--device", "cpu", *more)
        done = front.command("scripts.archive", *arguments)
        assert done.returncode == 0, done.stderr
        serving = ModelStore(store).manifest(project_model(PROJECT))
        assert serving is not None
        assert serving.current is not None
        return serving.current

    versions = [promote(checkpoints[0], "--untested")]
    assert not first.is_ready(), "nothing runs yet"
    for part in site:
        part.start()
    for node in (first, second):
        node.wait_until_ready("TorchServe holds all that is in service")
        assert node.is_ready()
    front.wait_until_ready("LayoutLoop is ready")
    assert len(list((store / OCR_MODEL).glob("*.mar"))) == 1, "both nodes started, and one of them built it"
    health = requests.get(f"{front.settings.address}/health", timeout=10).json()
    assert sorted(health["nodes"]) == sorted(node.settings.node for node in (first, second))

    clients = Clients(front.settings.address)
    before = [node.pages_tagged() for node in (first, second)]  # their watchers asked the version once or twice
    with clients.asking():
        clients.more(40)
        assert all(node.pages_tagged() > asked + 5 for node, asked in zip((first, second), before, strict=True))
        second.kill()
        clients.more(10)
        began = time.monotonic()
        versions.append(promote(checkpoints[1]))
        promoted_s = time.monotonic() - began
        assert list(ModelStore(store).live_nodes()) == [first.settings.node]
        clients.more(10)
        second.start()
        second.wait_until_ready("TorchServe holds all that is in service")
        wait_for(lambda: second.pages_tagged() > 5)
    second.stop()
    assert list(ModelStore(store).live_nodes()) == [first.settings.node], "a node that leaves in order says so"

    expected = dict(zip(versions, map(offline, checkpoints), strict=True))
    assert {answer.stamp for answer in clients.answers} == set(versions)
    assert [one for one in clients.answers if one.found != expected[one.stamp][one.page]] == []
    record_property("figures", f"{len(clients.answers)} answers; promoted after {promoted_s:.0f} s without the node")
