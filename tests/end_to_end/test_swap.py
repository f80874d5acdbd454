"""Versions change under load, and nobody notices: sixteen clients ask in a closed loop while four swaps go on."""

from __future__ import annotations

import base64
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests

from demo.tasks import label_config
from handler.images import ImageLimits
from handler.ocr_settings import OcrSettings
from handler.page import Page, TaggedPage
from handler.reading.reader import Reader
from handler.tagging.tagger import Tagger, TaggerSettings
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from tests.checkpoints import make_checkpoint, word_piece
from tests.end_to_end.conftest import Stack
from tests.end_to_end.training_stack import LABELS, draw_page

pytestmark = pytest.mark.end_to_end
PROJECT = 21
CLIENTS, PAGES, LEAST = 16, 40, 500
PAUSE_S = 0.15
"""Of a client between two asks; without it the clients alone take both cores, and the swaps take minutes."""
SLACK_S = 0.1
"""How late the thread below may see a flip; it looks every hundredth of a second, on a machine that is busy."""


@dataclass(frozen=True)
class Answer:
    """One request: which page, when it was asked and answered, and what came."""

    page: int
    asked: float
    answered: float
    stamp: str
    found: tuple[tuple[str, str], ...]


class Flips(threading.Thread):
    """Notes when which version was current, each from its moment to that of the next."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__(daemon=True)
        self._model_dir = model_dir
        self.ended = threading.Event()
        self.seen: list[tuple[float, str]] = []

    def run(self) -> None:
        while not self.ended.wait(0.01):
            serving = ModelStore(self._model_dir).manifest(project_model(PROJECT))
            if serving and serving.current and (not self.seen or self.seen[-1][1] != serving.current):
                self.seen.append((time.monotonic(), serving.current))

    def was_current(self, answer: Answer) -> bool:
        """Whether the version an answer names was current at some moment between ask and answer."""
        ends = [*(moment for moment, _ in self.seen[1:]), float("inf")]
        return any(
            version == answer.stamp and began <= answer.answered + SLACK_S and answer.asked <= end + SLACK_S
            for (began, version), end in zip(self.seen, ends, strict=True)
        )


def ask(session: requests.Session, stack: Stack, number: int, png: bytes) -> Answer:
    image = "data:image/png;base64," + base64.b64encode(png).decode()
    config = label_config(LABELS, "ocr")
    body = {"tasks": [{"id": number, "data": {"image": image}}], "project": f"{PROJECT}.1", "label_config": config}
    asked = time.monotonic()
    response = session.post(f"{stack.url}/predict", json=body, timeout=100)
    answered = time.monotonic()
    assert response.status_code == 200, response.text
    (entry,) = response.json()["results"]
    assert entry, "a task without an answer"
    texts = {one["id"]: one["value"]["text"][0] for one in entry["result"] if one["type"] == "textarea"}
    found = tuple((one["value"]["labels"][0], texts[one["id"]]) for one in entry["result"] if one["type"] == "labels")
    return Answer(number, asked, answered, str(entry["model_version"]).partition("-")[0], found)


def offline(tagger: Tagger, page: Page) -> tuple[tuple[str, str], ...]:
    (answer,) = tagger.tag([page])
    assert isinstance(answer, TaggedPage)
    return tuple((region.label, region.text) for region in answer.regions)


def test_no_request_notices_three_promotions_and_a_restore(
    stack: Stack, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    checkpoints = [
        make_checkpoint(tmp_path / str(seed), tokenizer=word_piece(), labels=LABELS, seed=seed, outside_bias=-9)
        for seed in range(4)
    ]

    def promote(checkpoint: Path) -> None:
        done = stack.command(
            "scripts.archive", "--project", str(PROJECT), "--checkpoint", str(checkpoint), "--serve", "--device", "cpu"
        )
        assert done.returncode == 0, done.stderr

    promote(checkpoints[0])
    flips = Flips(stack.settings.model_dir)
    flips.start()
    pages = [draw_page(number).png for number in range(PAGES)]
    swapped = threading.Event()
    turns = itertools.count()

    def client() -> list[Answer]:
        answers = []
        with requests.Session() as session:
            while not swapped.is_set() or len(answers) < LEAST // CLIENTS + 1:
                number = next(turns) % PAGES
                answers.append(ask(session, stack, number, pages[number]))
                time.sleep(PAUSE_S)
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        try:
            running = [pool.submit(client) for _ in range(CLIENTS)]
            time.sleep(2)
            for checkpoint in checkpoints[1:]:
                promote(checkpoint)
            first = flips.seen[0][1]
            restored = stack.command("scripts.rollout", "--project", str(PROJECT), "--back-to", first)
            assert restored.returncode == 0, restored.stderr
        finally:
            swapped.set()
        answers = [answer for future in running for answer in future.result()]
    time.sleep(0.1)
    flips.ended.set()
    flips.join()

    assert len(answers) >= LEAST
    versions = [version for _, version in flips.seen]
    assert versions == sorted(set(versions))
    assert len(versions) == 5
    assert ModelStore(stack.settings.model_dir).card(project_model(PROJECT), versions[-1]).restored_from == versions[0]
    assert {answer.stamp for answer in answers} == set(versions), "each version answered somebody"
    assert [answer for answer in answers if not flips.was_current(answer)] == []
    reader = Reader(OcrSettings(), ImageLimits(), cache=None)
    read = [reader.read(png) for png in pages]
    as_served = TaggerSettings(device="cpu", threads=1)
    loaded = [Tagger.load(checkpoint, as_served) for checkpoint in (*checkpoints, checkpoints[0])]
    taggers = dict(zip(versions, loaded, strict=True))
    expected = {
        (version, number): offline(taggers[version], page) for version in versions for number, page in enumerate(read)
    }
    assert all(expected.values()), "a page on which nothing is found proves nothing"
    assert [answer for answer in answers if answer.found != expected[answer.stamp, answer.page]] == []
    times = np.array([answer.answered - answer.asked for answer in answers]) * 1000
    p50, p99 = np.percentile(times, [50, 99])
    record_property(
        "figures",
        f"{len(answers)} answers across 4 swaps: p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {times.max():.0f} ms",
    )
