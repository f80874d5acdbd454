"""What a soak sends: small pages, a server in Label Studio's place, and clients that count what becomes of requests."""

from __future__ import annotations

import io
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from PIL import Image, ImageDraw

from benchmarks.running import PROJECT
from benchmarks.task_files import KEY, Files
from demo.sheet import GoldRegion
from demo.tasks import annotation_result, exported_task, label_config
from handler.page import Box

PLAIN = PROJECT + 1
"""A project without a model: text lines."""
CONFIG = label_config(("vendor", "total"), "ocr")
TRAINED_PAGES = 12
BEHIND_S = 60.0
"""A shim that was killed answers again well within this; in it a connection that breaks is not a loss."""
_SIZE = (420, 260)


def draw_page(number: int) -> tuple[bytes, list[dict[str, Any]]]:
    """Return a page of three lines as PNG, and what an annotation of it draws."""
    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    vendor, total = ("Acme", "Globex", "Initech")[number % 3], f"{12 + number % 7}.50"
    regions = []
    for row, (word, value, label) in enumerate((("", vendor, "vendor"), ("Invoice", str(1000 + number), ""),
                                                 ("Total", total, "total"))):  # fmt: skip
        left, top = (150 if word else 30), 30 + 75 * row
        draw.text((30, top), word, fill="black", font_size=28)
        draw.text((left, top), value, fill="black", font_size=28)
        if label:
            box = draw.textbbox((left, top), value, font_size=28)
            regions.append(
                GoldRegion(label, Box(int(box[0]) - 4, int(box[1]) - 4, int(box[2]) + 4, int(box[3]) + 4), value)
            )
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue(), annotation_result(regions, *_SIZE, "ocr")


def studio(pages: int) -> type[Files]:
    """Return a server for so many pages, and for what a training asks: the project, its counts, its export."""
    drawn = [draw_page(number) for number in range(pages)]
    exported = [exported_task(number, reference(number), result) for number, (_, result) in enumerate(drawn)]
    counts = {"task_number": pages, "num_tasks_with_annotations": TRAINED_PAGES}
    answers: dict[str, object] = {
        "/api/current-user/whoami": {"id": 1, "email": "soak@example.com"},
        "/api/ml": [],
        "/api/projects": {"count": 0, "next": None, "results": []},
        "/api/tasks": {"total": TRAINED_PAGES, "tasks": []},
        f"/api/projects/{PROJECT}/export": exported[:TRAINED_PAGES],
        **{
            f"/api/projects/{project}/": {"id": project, "title": f"soak {project}", "label_config": CONFIG, **counts}
            for project in (PROJECT, PLAIN)
        },
    }

    class Studio(Files):
        files = {f"{number}.png": png for number, (png, _) in enumerate(drawn)}  # noqa: RUF012

        def do_GET(self) -> None:  # noqa: N802
            answer = answers.get(urlsplit(self.path).path)
            if answer is None or self.headers.get("Authorization") != f"Token {KEY}":
                super().do_GET()
                return
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Studio


def reference(number: int) -> str:
    """Return a page as Label Studio's tasks name it."""
    return f"/data/local-files/?d={number}.png"


@dataclass
class Load:
    """Clients of one shim, and what came of their requests.

    Args:
        url: the shim's.
        pages: how many different pages there are.
        most: requests to send; None for no end.
        outcomes: how often each came: `right`, `wrong: ...`, `lost: ...`, `refused: ...`, `unnamed: ...`.
        jobs: ids that /train accepted.
        killed_at: when the shim was killed last, on the monotonic clock.
    """

    url: str
    pages: int
    most: int | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    jobs: set[str] = field(default_factory=set)
    killed_at: float = float("-inf")
    seen: dict[tuple[int, str], str] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _ids: Any = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, clients: int) -> list[threading.Thread]:
        """Start the clients; each sends one request after the other until `end`, or all are sent."""
        threads = [threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(clients)]
        for thread in threads:
            thread.start()
        return threads

    def end(self) -> None:
        """Let the clients end with the request that they have begun."""
        self._ended.set()

    @property
    def sent(self) -> int:
        """How many requests have their outcome."""
        with self._lock:
            return sum(self.outcomes.values())

    def _client(self, number: int) -> None:
        """Ask for predictions all the time; the first client asks for all else, and waits for no page."""
        chance = random.Random(number)
        others = (self.webhook, self.setup, self.health, self.health, self.dashboard, self.listed)
        while not self._ended.is_set() and (self.most is None or next(self._numbers) <= self.most):
            outcome = self.outcome_of(self.predict if number else chance.choice(others), chance)
            with self._lock:
                self.outcomes[outcome] += 1
            time.sleep(0.02 if number else 0.2)

    def outcome_of(self, way: Callable[[random.Random], str], chance: random.Random) -> str:
        """Send one request and say what came of it."""
        began = time.monotonic()
        try:
            return way(chance)
        except requests.RequestException as error:
            # Label Studio's client says the same to its user: that nobody is there.
            if self.killed_at >= began - BEHIND_S:
                return "no answer: the shim was killed"
            return f"lost: {way.__name__}: {type(error).__name__}"

    def predict(self, chance: random.Random) -> str:
        """Ask for the predictions of some tasks, none of which was asked before."""
        project = chance.choice((PROJECT, PLAIN))
        numbers = [chance.randrange(self.pages) for _ in range(chance.choice((1, 1, 1, 2, 5)))]
        return self.ask(project, numbers)

    def ask(self, project: int, numbers: list[int]) -> str:
        """Ask for these pages; the outcome of the worst of them."""
        with self._lock:
            tasks = [{"id": 10**6 + next(self._ids), "data": {"image": reference(number)}} for number in numbers]
        body = {"tasks": tasks, "project": project, "label_config": CONFIG, "background": True}
        answer = requests.post(f"{self.url}/predict", json=body, timeout=100)
        if answer.status_code != 200:
            return refusal(answer)
        found = answer.json()
        if len(found["results"]) != len(tasks):
            return "wrong: another number of results"
        worst = "right: predict"
        for number, entry, error in zip(numbers, found["results"], found["errors"], strict=True):
            if not entry:
                worst = f"refused: {error['code']}" if error else "unnamed: a task without a result"
            elif not self.is_as_before(number, entry):
                return f"wrong: project {project}, page {number}: {entry['model_version']}"
        return worst

    def is_as_before(self, number: int, entry: Mapping[str, Any]) -> bool:
        """Whether a page's answer is the one that the same version gave when it was asked first."""
        drawn = sorted(
            json.dumps({"type": one["type"], "value": one["value"]}, sort_keys=True) for one in entry["result"]
        )
        with self._lock:
            return self.seen.setdefault((number, str(entry["model_version"])), json.dumps(drawn)) == json.dumps(drawn)

    def webhook(self, _: random.Random) -> str:
        """Tell of a new annotation."""
        event = {"action": "ANNOTATION_CREATED", "project": {"id": PROJECT, "title": "soak"}, "annotation": {"id": 1}}
        return told(requests.post(f"{self.url}/webhook", json=event, timeout=30), "webhook")

    def setup(self, _: random.Random) -> str:
        """Check the label config."""
        return told(
            requests.post(f"{self.url}/setup", json={"project": PROJECT, "schema": CONFIG}, timeout=30), "setup"
        )

    def health(self, _: random.Random) -> str:
        """Ask whether it is up."""
        return told(requests.get(f"{self.url}/health", timeout=30), "health")

    def dashboard(self, _: random.Random) -> str:
        """Look at the dashboard."""
        return told(requests.get(f"{self.url}/dashboard", timeout=30), "dashboard")

    def listed(self, _: random.Random) -> str:
        """List the jobs."""
        return told(requests.get(f"{self.url}/jobs", timeout=30), "jobs")

    def train(self) -> str:
        """Ask for a training, and keep the id of one that is accepted."""
        try:
            answer = requests.post(f"{self.url}/train", json={"project": PROJECT, "force": True}, timeout=30)
        except requests.RequestException:
            return "no answer"
        if answer.status_code == 202:
            self.jobs.add(answer.json()["job"])
        return told(answer, "train")

    def jobs_lost(self) -> dict[str, str]:
        """Return those accepted jobs that no one knows any more, or that failed, with what is said of them."""
        lost = {}
        for job in self.jobs:
            answer = requests.get(f"{self.url}/jobs/{job}", timeout=30)
            body = answer.json()
            if answer.status_code != 200 or body["state"] == "failed":
                lost[job] = str(body.get("error"))
        return lost


def told(answer: requests.Response, name: str) -> str:
    """Return the outcome of a request whose body is not looked into."""
    return f"right: {name}" if answer.ok else refusal(answer)


def refusal(answer: requests.Response) -> str:
    """Return the name that a refusal gives, which each must."""
    try:
        return f"refused: {answer.json()['error']['code']}"
    except (ValueError, KeyError, TypeError):
        return f"unnamed: {answer.status_code} {answer.text[:80]!r}"
