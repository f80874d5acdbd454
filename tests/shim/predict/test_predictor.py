"""Predict from the HTTP request to the prediction: the real app, a real model store, TorchServe faked at the socket."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from layoutloop.errors import LabelConfigUnsupported, LayoutLoopError, RequestInvalid
from layoutloop.settings.serving import Settings
from layoutloop.store.changes import add_to_load, flip
from layoutloop.store.manifest import VersionCard
from layoutloop.store.model_store import ModelStore
from layoutloop.store.thresholds import write_thresholds
from layoutloop.store.writing import write_json
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.image_fetcher import ImageFetcher
from layoutloop.torchserve.in_service import InServiceModels
from layoutloop.torchserve.inference import inference_client
from shim.app import create_app
from shim.predict.answer_cache import AnswerCache
from shim.predict.answering import PageAnswer, PageAnswerer, _PageJob
from shim.predict.metrics import Metrics
from shim.predict.pool import PagePool
from shim.predict.predictor import Predictor
from shim.predict.request import parse_predict, parse_project
from tests.far_servers import IMAGE, LEGACY_KEY, LabelStudio, Seen, _Server, serve
from tests.layoutloop.torchserve.test_inference import DISK_FULL, FakeTorchServe, Reply, data_uri, start

V1, V2 = "20261122T083000Z", "20261122T093000Z"
ENGINE = "pytesseract-5.3.0-eng-psm3"
OCR_CARD = VersionCard(model="ocr", version="20261101T000000Z", engine=ENGINE)
WIDTH, HEIGHT = 1000, 2000
RECTANGLES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="Total" predicted_values="total"/><Label value="Date" predicted_values="date"/>'
    "</RectangleLabels></View>"
)
PAGES = RECTANGLES.replace('value="$image"', 'valueList="$pages"')
OCR_TEMPLATE = (
    '<View><Image name="image" value="$ocr"/><Labels name="label" toName="image">'
    '<Label value="Total" predicted_values="total"/></Labels><Rectangle name="bbox" toName="image"/>'
    '<Polygon name="poly" toName="image"/><TextArea name="text" toName="image" perRegion="true"/></View>'
)
WAIT_S = 20.0


def put_into_service(model_dir: Path, card: VersionCard) -> None:
    """What archive and promotion leave in the store, with a few bytes for an archive."""
    archive = ModelStore(model_dir).archive_path(card.model, card.version)
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(card.version.encode())
    write_json(ModelStore(model_dir).card_path(card.model, card.version), card.to_json())
    add_to_load(ModelStore(model_dir), card.model, card.version)
    flip(ModelStore(model_dir), card.model, card.version)


def read_page(content: bytes, engine: str = ENGINE) -> dict[str, Any]:
    """Page JSON of an image whose bytes are the text that stands on it; line by line, 100 pixels a word."""
    text = "Total 12.50" if content == IMAGE else content.decode()
    words = [
        {"text": word, "box": [100 * x, 50 * y, 100 * x + 90, 50 * y + 40], "confidence": 0.9, "line": y}
        for y, line in enumerate(text.splitlines())
        for x, word in enumerate(line.split())
    ]
    return {"format": 1, "width": WIDTH, "height": HEIGHT, "engine": engine, "words": words}


def ocr(seen: Seen) -> Reply:
    """The model `ocr`; a page that begins with `unreadable` is refused as the handler refuses it."""
    if seen.body.startswith(b"unreadable"):
        return 422, {"error": {"code": "image_unreadable", "message": "the bytes are no image that is opened here"}}
    return 200, read_page(seen.body)


def tagging(version: str) -> Callable[[Seen], Reply]:
    """A project's model: every word is a region labelled with itself in small letters; `?` makes it unsure."""

    def tag(seen: Seen) -> Reply:
        regions = [
            {
                "label": word["text"].lower().rstrip("?"),
                "box": word["box"],
                "score": 0.3 if word["text"].endswith("?") else 0.95,
                "text": word["text"],
                "words": [index],
            }
            for index, word in enumerate(json.loads(seen.body)["words"])
        ]
        return 200, {"format": 1, "model_version": version, "windows": 1, "regions": regions}

    return tag


class Bench:
    """The app, its model store with `ocr` in it, a fake TorchServe and a fake Label Studio."""

    def __init__(self, folder: Path, fake: FakeTorchServe, torchserve: _Server, studio: _Server) -> None:
        self.model_dir = folder / "model_store"
        self.fake = fake
        self.studio = studio
        self._settings = {
            "label_studio_url": f"http://127.0.0.1:{studio.port}",
            "label_studio_api_key": LEGACY_KEY,
            "model_dir": self.model_dir,
            "home": folder / "var",
            "torchserve_port": torchserve.port,
            "deadline_s": 10.0,
            "ocr_workers": 1,
            "score_threshold": 0.0,
        }
        fake.models["ocr", OCR_CARD.version] = ocr
        put_into_service(self.model_dir, OCR_CARD)
        self.app = self.make_app()

    def make_app(self, **settings: Any) -> Flask:
        self.app = create_app(Settings(**self._settings | settings))
        return self.app

    def serve_project(self, number: int = 7, version: str = V1, **card: Any) -> None:
        name = f"project-{number}"
        self.fake.models[name, version] = tagging(version)
        put_into_service(self.model_dir, VersionCard(name, version, ("total", "date"), **card))

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        answer = self.app.test_client().post(path, json=body)
        return answer.status_code, answer.get_json()

    def setup(self, config: str = RECTANGLES, project: object = "7.1795327242") -> str:
        status, body = self.post("/setup", {"project": project, "schema": config, "hostname": "", "access_token": ""})
        assert status == 200, body
        return str(body["model_version"])

    def predict(self, *data: Mapping[str, object], config: str = RECTANGLES, project: object = 7) -> dict[str, Any]:
        tasks = [{"id": 100 + index, "data": one} for index, one in enumerate(data)]
        body = {"tasks": tasks, "label_config": config, "project": f"{project}.1795327242", "params": {}}
        status, answer = self.post("/predict", body)
        assert status == 200, answer
        assert set(answer) == {"results", "model_version"}
        assert len(answer["results"]) == len(data)
        assert not any(holds_null(entry) for entry in answer["results"])
        return dict(answer)

    def metric(self, name: str, **labels: str) -> float:
        registry = self.app.extensions["layoutloop"].metrics.registry
        return float(registry.get_sample_value(f"layoutloop_{name}", labels) or 0.0)

    def wait_until_idle(self) -> None:
        end = time.monotonic() + WAIT_S
        while self.metric("pages_waiting") and time.monotonic() < end:
            time.sleep(0.02)
        assert self.metric("pages_waiting") == 0


@contextmanager
def open_bench(folder: Path) -> Iterator[Bench]:
    key_file = folder / "var" / "torchserve" / "key_file.json"
    with start(key_file) as (fake, torchserve), serve("127.0.0.1", LabelStudio()) as studio:
        yield Bench(folder, fake, torchserve, studio)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as opened:
        yield opened


def holds_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(holds_null, value.values()))
    return any(map(holds_null, value)) if isinstance(value, list) else value is None


def image(text: str) -> dict[str, str]:
    return {"image": data_uri(text.encode())}


def labels(entry: Any) -> list[str]:
    return [label for item in entry["result"] for label in item["value"].get("rectanglelabels", [])]


def texts(entry: Any) -> list[str]:
    return [text for item in entry["result"] for text in item["value"].get("text", [])]


def test_one_entry_per_task_in_order(bench: Bench) -> None:
    bench.serve_project()
    answer = bench.predict(*(image("Total\n" * count) for count in range(1, 13)))
    assert [len(entry["result"]) for entry in answer["results"]] == list(range(1, 13))
    assert bench.metric("tasks_total", outcome="ok") == 12


def test_a_prediction_in_full(bench: Bench) -> None:
    bench.serve_project()
    answer = bench.predict(image("Total Date?"))
    (entry,) = answer["results"]
    assert entry["model_version"] == answer["model_version"] == bench.setup()
    assert entry["score"] == 0.3
    first, second = entry["result"]
    assert {key: first[key] for key in first if key != "id"} == {
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "prediction",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "score": 0.95,
        "value": {"x": 0.0, "y": 0.0, "width": 9.0, "height": 2.0, "rotation": 0, "rectanglelabels": ["Total"]},
    }
    assert first["id"] != second["id"]


def test_the_pages_are_read_as_the_model_was_trained(bench: Bench) -> None:
    bench.serve_project(language="deu+eng", psm=6, uses_image=True)
    bench.predict(image("Total"))
    reading, labelling = bench.fake.seen
    assert reading.target == f"/predictions/ocr/{OCR_CARD.version}"
    assert reading.body == b"Total"
    sent = {name: value for name, value in reading.headers.items() if name.startswith("X-LayoutLoop")}
    assert sent == {
        "X-LayoutLoop-Engine": "pytesseract",
        "X-LayoutLoop-Language": "deu+eng",
        "X-LayoutLoop-Psm": "6",
        "X-LayoutLoop-Thumbnail": "1",
    }
    assert labelling.target == f"/predictions/project-7/{V1}"
    assert json.loads(labelling.body) == read_page(b"Total")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param({"text": "none"}, 'task_invalid: task 101 has no "image"', id="no image in the task"),
        pytest.param({"image": 7}, "task_invalid", id="a number for an image"),
        pytest.param({"image": None}, "task_invalid", id="null for an image"),
        pytest.param({"image": "http://stranger.example/a.png"}, "address_refused", id="a host that is not allowed"),
        pytest.param({"image": "file:///etc/passwd"}, "address_refused", id="a file"),
        pytest.param({"image": "/data/upload/1/missing"}, "image_unavailable", id="gone from Label Studio"),
        pytest.param({"image": "data:image/png;base64,###"}, "image_unavailable", id="broken base64"),
        pytest.param(image("unreadable"), "image_unreadable: the bytes are no image", id="refused by the handler"),
    ],
)
def test_a_task_that_fails_is_an_empty_list_and_a_line_in_the_log(
    bench: Bench, data: dict[str, object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve_project()
    answer = bench.predict(image("Total"), data, image("Date"))
    assert [labels(entry) if entry else entry for entry in answer["results"]] == [["Total"], [], ["Date"]]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith(f"project 7 task 101: {reason}")
    assert bench.metric("errors_total", code=reason.split(":")[0]) == 1
    assert bench.metric("tasks_total", outcome="failed") == 1


@pytest.mark.parametrize("data", [None, [], "text", 5], ids=str)
def test_a_task_without_data(bench: Bench, data: object) -> None:
    bench.serve_project()
    body = {"tasks": [{"id": 1, "data": data}, {}], "label_config": RECTANGLES, "project": "7.1"}
    assert bench.post("/predict", body)[1]["results"] == [[], []]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        pytest.param((200, {"format": 2}), "format_unsupported", id="another wire format"),
        pytest.param((200, {"format": 1, "width": 0}), "torchserve_unavailable", id="no Page"),
        pytest.param((200, b"<html>"), "torchserve_unavailable", id="no JSON"),
        pytest.param((413, b""), "image_too_large", id="too large for TorchServe"),
    ],
)
def test_what_ocr_may_answer_wrongly(bench: Bench, reply: Reply, code: str) -> None:
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: reply
    assert bench.predict({"ocr": data_uri(b"x")}, config=OCR_TEMPLATE)["results"] == [[]]
    assert bench.metric("errors_total", code=code) == 1


def test_no_tasks(bench: Bench) -> None:
    assert bench.predict()["results"] == []


def test_images_from_label_studio(bench: Bench) -> None:
    bench.serve_project()
    answer = bench.predict({"image": "/data/upload/7/a.png"}, {"image": "/data/local-files/?d=docs/b.png"})
    assert [labels(entry) for entry in answer["results"]] == [["Total"], ["Total"]]
    assert [seen.headers["Authorization"] for seen in bench.studio.seen] == [f"Token {LEGACY_KEY}"] * 2
    assert all(LEGACY_KEY not in f"{seen.headers}" for seen in bench.fake.seen)


def test_cold_start_draws_the_text_lines_of_an_ocr_project(bench: Bench) -> None:
    answer = bench.predict({"ocr": data_uri(b"Total 12.50\nThank you")}, config=OCR_TEMPLATE)
    (entry,) = answer["results"]
    assert texts(entry) == ["Total 12.50", "Thank you"]
    assert {item["type"] for item in entry["result"]} == {"rectangle", "textarea"}
    assert answer["model_version"].startswith("ocr-")
    assert bench.setup(OCR_TEMPLATE) == answer["model_version"] == entry["model_version"]


def test_cold_start_of_a_rectangle_project_says_why_there_is_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shim")
    assert bench.predict(image("Total"), image("Date"))["results"] == [[], []]
    kept = bench.app.extensions["layoutloop"]
    assert kept.metrics.registry.get_sample_value("layoutloop_tasks_total", {"outcome": "no_model"}) == 2
    assert kept.warnings.newest() == ()
    assert caplog.text.count("nothing for 2 tasks: no model is in service for this project yet") == 1
    assert f"Looked for in {bench.model_dir}: if the project has a model elsewhere, name that" in caplog.text
    notes = bench.app.test_client().get("/health").get_json()["notes"]
    assert any("with RectangleLabels no boxes" in note for note in notes)


def test_another_projects_model_is_not_used(bench: Bench) -> None:
    bench.serve_project(7)
    answer = bench.predict({"ocr": data_uri(b"Total")}, config=OCR_TEMPLATE, project=8)
    assert [item["type"] for item in answer["results"][0]["result"]] == ["rectangle", "textarea"]
    assert bench.fake.count("project-7") == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"load": 5}', '{"current": "x"}', ""], ids=repr)
@pytest.mark.parametrize("name", ["ocr", "project-7"])
def test_a_broken_serving_json_is_no_cold_start(bench: Bench, name: str, content: str) -> None:
    bench.serve_project()
    (bench.model_dir / name / "serving.json").write_text(content)
    task = {"id": 1, "data": {"ocr": data_uri(b"Total")}}
    for path, body in (
        ("/predict", {"tasks": [task], "label_config": OCR_TEMPLATE, "project": "7.1"}),
        ("/setup", {"schema": OCR_TEMPLATE, "project": "7.1"}),
    ):
        status, answer = bench.post(path, body)
        assert (status, answer["error"]["code"]) == (503, "model_not_ready")
        assert "serving.json cannot be understood" in answer["error"]["message"]
    assert bench.fake.seen == []


def test_a_missing_card_is_no_cold_start(bench: Bench) -> None:
    bench.serve_project()
    ModelStore(bench.model_dir).card_path("project-7", V1).unlink()
    status, answer = bench.post("/setup", {"schema": OCR_TEMPLATE, "project": "7.1"})
    assert status == 503
    assert "archive the checkpoint again" in answer["error"]["message"]


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param("ocr/serving.json", id="no model of ours"),
        pytest.param("ocr", id="an empty folder"),
        pytest.param(".", id="no such folder"),
    ],
)
def test_nothing_in_service_at_all(bench: Bench, gone: str) -> None:
    (bench.model_dir / gone).rename(bench.model_dir.parent / "elsewhere")
    task = {"id": 1, "data": {"image": data_uri(b"Total")}}
    for path, body in (
        ("/predict", {"tasks": [task], "label_config": RECTANGLES, "project": "7.1"}),
        ("/setup", {"schema": RECTANGLES, "project": "7.1"}),
    ):
        status, answer = bench.post(path, body)
        assert status == 503
        assert f"not in service in {bench.model_dir}; `python -m scripts.archive --ocr`" in answer["error"]["message"]
        assert "MODEL_DIR" in answer["error"]["message"]


def test_pages_of_one_task_carry_their_number(bench: Bench) -> None:
    bench.serve_project()
    pages = [data_uri(text) for text in (b"Total", b"nothing", b"Date Total", b" ")]
    (entry,) = bench.predict({"pages": pages}, config=PAGES)["results"]
    drawn = [(item["item_index"], *item["value"]["rectanglelabels"]) for item in entry["result"]]
    assert drawn == [(0, "Total"), (1,), (2, "Date"), (2, "Total")]
    assert len({item["id"] for item in entry["result"]}) == 4


def test_an_empty_file_is_named(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    assert bench.predict(image(""))["results"] == [[]]
    assert "task 100: image_unavailable: the image file is empty" in caplog.text


def test_labels_that_the_config_does_not_know_are_named_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    put_into_service(bench.model_dir, VersionCard("project-7", V1, ("surprise", "total")))
    bench.fake.models["project-7", V1] = tagging(V1)
    for _ in range(2):
        bench.predict(image("Surprise"), image("Surprise Total"))
    assert caplog.text.count("the model's labels surprise are not in the label config") == 1


def test_the_same_page_twice_in_a_task_is_two_pages(bench: Bench) -> None:
    bench.serve_project()
    (entry,) = bench.predict({"pages": [data_uri(b"Total")] * 2}, config=PAGES)["results"]
    assert [item["item_index"] for item in entry["result"]] == [0, 1]
    assert len({item["id"] for item in entry["result"]}) == 2
    assert bench.fake.count("ocr") == 1


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        pytest.param(data_uri(b"unreadable"), "image_unreadable: the bytes are no image", id="damaged"),
        pytest.param("data:image/png;base64,###", "image_unavailable: a data: URI is not valid base64", id="no base64"),
        pytest.param("/data/upload/1/missing", "image_unavailable: Label Studio answered 404", id="gone"),
    ],
)
def test_a_page_that_can_never_be_read_costs_itself_alone(
    bench: Bench, page: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve_project()
    pages = [data_uri(b"Total"), page, data_uri(b"Date")]
    answer = bench.predict({"pages": pages}, {"pages": data_uri(b"Date")}, {"pages": []}, config=PAGES)
    document, single, empty = answer["results"]
    assert [(item["item_index"], *item["value"]["rectanglelabels"]) for item in document["result"]] == [
        (0, "Total"),
        (2, "Date"),
    ]
    assert (document["score"], document["model_version"]) == (0.0, bench.setup(PAGES))
    assert (single["score"], empty) == (0.95, [])
    assert f"project 7 task 100 page 2 of 3: {reason}" in caplog.text
    code, sentence = reason.split(": ", 1)
    (warned,) = [one for one in bench.app.extensions["layoutloop"].warnings.newest() if one.code == code]
    assert (warned.project, warned.task) == ("7", "100")
    assert warned.sentence.startswith(f"page 2 of 3: {sentence}")
    assert bench.metric("errors_total", code=code) == 1
    assert bench.metric("tasks_total", outcome="ok") == 2


def test_a_document_without_a_page_that_can_be_read_is_an_empty_list(bench: Bench) -> None:
    bench.serve_project()
    assert bench.predict({"pages": [data_uri(b"unreadable")] * 2}, config=PAGES)["results"] == [[]]
    assert bench.metric("tasks_total", outcome="failed") == 1


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("/data/upload/1/broken", id="Label Studio is down"),
        pytest.param("/data/upload/1/busy", id="Label Studio is busy"),
        pytest.param("http://elsewhere.test/a.png", id="a host that a setting may allow"),
    ],
)
def test_a_page_that_may_be_read_another_time_leaves_its_task_to_be_asked_again(bench: Bench, page: str) -> None:
    bench.serve_project()
    assert bench.predict({"pages": [data_uri(b"Total"), page]}, config=PAGES)["results"] == [[]]


def test_a_promotion_between_two_pages_of_a_task(bench: Bench) -> None:
    """Page 1 is labelled by V1; before page 2 is, V2 takes over and V1 goes: both pages come from V2."""
    bench.serve_project()
    blocked, promoted = threading.Event(), threading.Event()
    v1_tags = tagging(V1)

    def v1(seen: Seen) -> Reply:
        if b"Date" not in seen.body:
            return v1_tags(seen)
        blocked.set()
        assert promoted.wait(WAIT_S)
        return 404, {"code": 404, "type": "ModelVersionNotFoundException", "message": "gone"}

    bench.fake.models["project-7", V1] = v1
    with ThreadPoolExecutor(1) as threads:
        pages = {"pages": [data_uri(b"Total"), data_uri(b"Date")]}
        asked = threads.submit(bench.predict, pages, config=PAGES)
        assert blocked.wait(WAIT_S)
        while sum(b"Total" in seen.body and "project" in seen.target for seen in bench.fake.seen) < 1:
            time.sleep(0.01)
        time.sleep(0.2)
        bench.serve_project(version=V2)
        promoted.set()
        (entry,) = asked.result(WAIT_S)["results"]
    assert [(item["item_index"], *item["value"]["rectanglelabels"]) for item in entry["result"]] == [
        (0, "Total"),
        (1, "Date"),
    ]
    assert entry["model_version"] == bench.setup(PAGES)
    assert entry["model_version"].startswith(V2)
    tagged = [
        (seen.target.rpartition("/")[2], b"Total" in seen.body) for seen in bench.fake.seen if "project" in seen.target
    ]
    assert sorted(tagged) == [(V1, False), (V1, True), (V2, False), (V2, True)]


def test_a_version_that_torchserve_does_not_hold_yet_is_waited_for(bench: Bench) -> None:
    bench.serve_project()
    model = bench.fake.models.pop(("project-7", V1))
    timer = threading.Timer(0.7, lambda: bench.fake.models.update({("project-7", V1): model}))
    timer.start()
    assert labels(bench.predict(image("Total"))["results"][0]) == ["Total"]
    timer.join()


def test_a_version_that_never_comes_is_an_empty_list(bench: Bench) -> None:
    bench.serve_project()
    bench.fake.models.clear()
    bench.make_app(deadline_s=1.0)
    began = time.monotonic()
    assert bench.predict(image("Total"))["results"] == [[]]
    assert time.monotonic() - began < 2.0


def test_a_model_that_says_it_is_another_version_is_not_believed(bench: Bench) -> None:
    bench.serve_project()
    bench.fake.models["project-7", V1] = tagging(V2)
    bench.make_app(deadline_s=1.0)
    assert bench.predict(image("Total"))["results"] == [[]]


def test_slow_pages_are_left_out_and_found_done_next_time(bench: Bench) -> None:
    def slowly(seen: Seen) -> Reply:
        time.sleep(0.4)
        return ocr(seen)

    bench.fake.models["ocr", OCR_CARD.version] = slowly
    bench.make_app(deadline_s=1.5)
    data = [{"ocr": data_uri(b"page %d" % number)} for number in range(12)]
    began = time.monotonic()
    first = bench.predict(*data, config=OCR_TEMPLATE)["results"]
    assert time.monotonic() - began < 2.2
    done = [bool(entry) for entry in first]
    assert True in done
    assert False in done
    assert bench.metric("tasks_total", outcome="deferred") == done.count(False)
    bench.wait_until_idle()
    began = time.monotonic()
    second = bench.predict(*data, config=OCR_TEMPLATE)["results"]
    assert time.monotonic() - began < 1.0
    assert [texts(entry) for entry in second] == [[f"page {number}"] for number in range(12)]
    assert bench.fake.count("ocr") == 12
    assert bench.metric("cached_pages_total", stage="read") == 12


def test_a_predict_beyond_the_limit_gets_empty_lists_at_once(bench: Bench) -> None:
    started, go = threading.Event(), threading.Event()

    def held(seen: Seen) -> Reply:
        started.set()
        assert go.wait(WAIT_S)
        return ocr(seen)

    bench.fake.models["ocr", OCR_CARD.version] = held
    bench.make_app(max_predicts=1)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(bench.predict, {"ocr": data_uri(b"one")}, config=OCR_TEMPLATE)
        assert started.wait(WAIT_S)
        began = time.monotonic()
        second = bench.predict({"ocr": data_uri(b"two")}, {"ocr": data_uri(b"three")}, config=OCR_TEMPLATE)
        assert time.monotonic() - began < 0.5
        assert second["results"] == [[], []]
        assert second["model_version"] == bench.setup(OCR_TEMPLATE)
        go.set()
        assert texts(first.result(WAIT_S)["results"][0]) == ["one"]
    assert bench.metric("tasks_total", outcome="deferred") == 2
    assert texts(bench.predict({"ocr": data_uri(b"two")}, config=OCR_TEMPLATE)["results"][0]) == ["two"]


def test_more_pages_than_may_wait_are_empty_lists(bench: Bench) -> None:
    bench.make_app(max_waiting_pages=3)
    go = threading.Event()

    def held(seen: Seen) -> Reply:
        assert go.wait(WAIT_S)
        return ocr(seen)

    bench.fake.models["ocr", OCR_CARD.version] = held
    timer = threading.Timer(0.5, go.set)
    timer.start()
    answer = bench.predict(*({"ocr": data_uri(b"%d" % number)} for number in range(5)), config=OCR_TEMPLATE)
    timer.join()
    assert [bool(entry) for entry in answer["results"]] == [True, True, True, False, False]
    assert bench.metric("errors_total", code="overloaded") == 2


def test_the_same_page_asked_for_twice_at_a_time_is_done_once(bench: Bench) -> None:
    """Label Studio asks twice when a task is opened by its address. The marker shows that the second ask is in."""
    go, marked = threading.Event(), threading.Event()

    def held(seen: Seen) -> Reply:
        if seen.body == b"marker":
            marked.set()
        assert go.wait(WAIT_S)
        return ocr(seen)

    bench.fake.models["ocr", OCR_CARD.version] = held
    same = {"ocr": data_uri(b"same")}
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(bench.predict, same, config=OCR_TEMPLATE)
        while not bench.fake.seen:
            time.sleep(0.01)
        second = threads.submit(bench.predict, same, {"ocr": data_uri(b"marker")}, config=OCR_TEMPLATE)
        assert marked.wait(WAIT_S)
        go.set()
        assert first.result(WAIT_S)["results"][0] == second.result(WAIT_S)["results"][0]
    assert sorted(seen.body for seen in bench.fake.seen) == [b"marker", b"same"]
    assert bench.metric("cached_pages_total", stage="read") == 0


def test_a_page_is_asked_once_per_version_whatever_its_address(bench: Bench) -> None:
    bench.serve_project()
    first = bench.predict({"image": "/data/upload/7/a.png"})
    second = bench.predict({"image": "/data/upload/7/the-same-bytes.png"})
    assert first == second
    assert (bench.fake.count("ocr"), bench.fake.count("project-7")) == (1, 1)
    bench.serve_project(version=V2)
    third = bench.predict({"image": "/data/upload/7/a.png"})
    assert third["results"][0]["model_version"].startswith(V2)
    assert (bench.fake.count("ocr"), bench.fake.count("project-7")) == (1, 2), "what was read stays read"


def test_a_model_that_reads_otherwise_has_pages_read_again(bench: Bench) -> None:
    bench.serve_project()
    bench.predict(image("Total"))
    bench.serve_project(version=V2, psm=6)
    bench.predict(image("Total"))
    assert bench.fake.count("ocr") == 2


@pytest.mark.parametrize("copied", [True, False])
def test_a_shim_that_still_copies_its_store_is_waited_for(bench: Bench, copied: bool) -> None:
    """Else a trained project would get lines of text, or Label Studio an error it shows to a person."""
    bench.make_app(deadline_s=2.0)
    filling = bench.model_dir / ".filling"
    filling.touch()

    def copy() -> None:
        time.sleep(0.8)
        if copied:
            bench.serve_project()
            filling.unlink()

    with ThreadPoolExecutor(1) as copying:
        copying.submit(copy)
        tasks = [{"id": 1, "data": image("Total")}]
        status, body = bench.post("/predict", {"tasks": tasks, "label_config": RECTANGLES, "project": "7.1"})
    assert status == (200 if copied else 503)
    assert ("Total" in str(body)) == copied


def test_predicts_that_wait_for_a_copy_leave_others_a_thread(bench: Bench) -> None:
    bench.make_app(deadline_s=3.0, max_predicts=1)
    (bench.model_dir / ".filling").touch()
    body = {"tasks": [{"id": 1, "data": image("Total")}], "label_config": RECTANGLES, "project": "7.1"}
    with ThreadPoolExecutor(1) as waiting:
        first = waiting.submit(bench.post, "/predict", body)
        time.sleep(0.5)
        began = time.monotonic()
        assert bench.post("/predict", body)[0] == 503
        assert time.monotonic() - began < 1.0
        assert not first.done()


class Faulty(PageAnswerer):
    """Has a fault that nobody foresaw, on one page."""

    def fetch(self, reference: str, task_id: int | None) -> bytes:
        if task_id == 1:
            raise ZeroDivisionError("nobody foresaw this")
        return super().fetch(reference, task_id)


def test_a_fault_of_ours_costs_one_task_and_not_its_request(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    state = bench.app.extensions["layoutloop"]
    models = InServiceModels(ModelStore(bench.model_dir), inference_client(state.settings))
    fetcher = ImageFetcher(state.settings.label_studio_url, LabelStudioKey(state.settings.label_studio_url, LEGACY_KEY))
    pool: PagePool[PageAnswer] = PagePool(2, 10)
    metrics = Metrics(lambda: pool.waiting)
    memory = AnswerCache(state.settings.home / "of-this-test.db")
    predictor = Predictor(state.settings, Faulty(models, fetcher, metrics, memory, 10.0), pool, metrics)
    bench.serve_project()
    tasks = [{"id": number, "data": image(f"Total {number}")} for number in range(3)]
    response = predictor.predict(parse_predict({"tasks": tasks, "project": 7, "label_config": RECTANGLES}, 10))
    assert [bool(entry) for entry in response.results] == [True, False, True]
    assert "nobody foresaw this" in caplog.text
    fetcher.close()


def test_more_tasks_than_are_taken_are_refused_with_a_sentence(bench: Bench) -> None:
    bench.make_app(max_tasks=3)
    bench.serve_project()
    body = {"tasks": [{"id": 1, "data": image("Total")}] * 4, "label_config": RECTANGLES, "project": "7.1"}
    status, answer = bench.post("/predict", body)
    assert (status, answer["error"]["code"]) == (413, "too_many_tasks")
    assert "4 tasks, at most 3 are taken" in answer["error"]["message"]
    assert "LAYOUTLOOP_MAX_TASKS" in answer["error"]["message"]
    assert bench.post("/predict", body | {"tasks": body["tasks"][:3]})[0] == 200


def test_tasks_that_fail_for_one_reason_are_one_line(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.make_app(max_waiting_pages=1)
    bench.serve_project()
    addresses = [{"image": f"http://stranger-{number}.example/a.png"} for number in range(40)]
    bench.predict(image("unreadable"), *(image("Total") for _ in range(60)), *addresses)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("overloaded" in line for line in lines) <= 1
    assert len(lines) <= 10
    assert bench.metric("errors_total", code="overloaded") + bench.metric("errors_total", code="address_refused") >= 98


def test_forty_reasons_of_one_kind_are_six_lines(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project()
    bench.predict(*({"image": f"http://stranger-{number}.example/a.png"} for number in range(40)))
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.partition(": address_refused")[0] for line in lines] == [
        *(f"project 7 task {100 + number}" for number in range(5)),
        "project 7: 35 more tasks",
    ]
    assert bench.metric("errors_total", code="address_refused") == 40


@pytest.mark.parametrize("lacks", ["model", "ocr"])
def test_a_page_that_waits_holds_no_image(bench: Bench, lacks: str) -> None:
    """Its image is fetched anew where the next try needs it, which it does not where the page was read already."""
    bench.serve_project()
    name, version = ("project-7", V1) if lacks == "model" else ("ocr", OCR_CARD.version)
    served = bench.fake.models.pop((name, version))
    bench.fake.models[name, "another"] = served
    big = 2**20
    text = "Total" + " " * big
    threading.Timer(2.0, lambda: bench.fake.models.update({(name, version): served})).start()
    reference = {"image": data_uri(text.encode())}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(bench.predict, reference)
        time.sleep(1.5)
        # Of each object its type alone: the attributes of others' objects may warn, or import what they stand for.
        held = [one for one in gc.get_objects() if type(one) is _PageJob]
        assert held, "it waits"
        assert not any(len(job._content.image) >= big for job in held if job._content)
        assert labels(waiting.result(WAIT_S)["results"][0]) == ["Total"]


def test_a_machine_that_lacks_something_for_a_while_costs_no_page(bench: Bench) -> None:
    bench.serve_project()
    bench.fake.script += [(507, DISK_FULL)] * 4
    assert labels(bench.predict(image("Total"))["results"][0]) == ["Total"]
    assert bench.metric("tasks_total", outcome="ok") == 1


def test_a_machine_that_goes_on_to_lack_something_is_told_and_no_fault_of_the_page(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.make_app(deadline_s=1.5)
    bench.serve_project()
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: (507, DISK_FULL)
    assert bench.predict(image("Total"))["results"] == [[]]
    bench.wait_until_idle()
    assert (bench.metric("tasks_total", outcome="deferred"), bench.metric("tasks_total", outcome="failed")) == (1, 0)
    health = bench.app.test_client().get("/health").get_json()
    assert any("No space left on device" in note for note in health["notes"])
    assert "No space left on device" in bench.app.test_client().get("/dashboard").get_data(as_text=True)
    bench.fake.models["ocr", OCR_CARD.version] = ocr
    assert labels(bench.predict(image("Total"))["results"][0]) == ["Total"]
    health = bench.app.test_client().get("/health").get_json()
    assert not any("No space left on device" in note for note in health["notes"])


def test_a_failure_is_not_remembered(bench: Bench) -> None:
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: (200, b"broken")
    assert bench.predict({"ocr": data_uri(b"Total")}, config=OCR_TEMPLATE)["results"] == [[]]
    bench.fake.models["ocr", OCR_CARD.version] = ocr
    assert texts(bench.predict({"ocr": data_uri(b"Total")}, config=OCR_TEMPLATE)["results"][0]) == ["Total"]


def test_a_label_that_the_config_does_not_know_is_counted(bench: Bench) -> None:
    bench.serve_project()
    (entry,) = bench.predict(image("Total Vendor IBAN"))["results"]
    assert labels(entry) == ["Total"]
    assert bench.metric("unknown_labels_total") == 2
    assert "layoutloop_unknown_labels_total 2.0" in bench.app.test_client().get("/metrics").text


def test_pages_read_by_another_engine_are_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project(engine="pytesseract-5.0.0-eng-psm3")
    bench.predict(image("Total"))
    assert bench.metric("other_ocr_engine_total") == 1
    assert "was trained on pages of pytesseract-5.0.0-eng-psm3, this one was read by pytesseract-5.3.0" in caplog.text


def test_regions_below_the_threshold_are_not_drawn(bench: Bench) -> None:
    bench.serve_project()
    bench.make_app(score_threshold=0.5)
    (entry,) = bench.predict(image("Total? Date"))["results"]
    assert labels(entry) == ["Date"]


def test_a_project_has_thresholds_of_its_own_for_its_labels(bench: Bench) -> None:
    bench.serve_project()
    before = bench.setup()
    write_thresholds(bench.model_dir, "project-7", {"Date": 0.97})
    after = bench.predict(image("Total? Date"))
    assert labels(after["results"][0]) == ["Total"]
    assert after["model_version"] == after["results"][0]["model_version"] == bench.setup() != before
    bench.serve_project(8)
    assert labels(bench.predict(image("Total? Date"), project=8)["results"][0]) == ["Total", "Date"]
    write_thresholds(bench.model_dir, "project-7", {})
    assert bench.setup() == before


def test_thresholds_that_cannot_be_read_draw_nothing(bench: Bench) -> None:
    bench.serve_project()
    (bench.model_dir / "project-7" / "thresholds.json").write_text('{"Date": 97}')
    status, answer = bench.post("/predict", {"tasks": [], "label_config": RECTANGLES, "project": 7})
    assert status == 503
    assert "the threshold of 'Date' is between 0 and 1, got 97" in answer["error"]["message"]


@pytest.mark.parametrize("read_only", [True, False])
def test_read_only_boxes(bench: Bench, read_only: bool) -> None:
    bench.serve_project()
    bench.make_app(read_only_boxes=read_only)
    (entry,) = bench.predict(image("Total"))["results"]
    assert entry["result"][0].get("readonly", False) is read_only


@pytest.mark.parametrize(
    "config", [pytest.param(RECTANGLES, id="rectangles"), pytest.param(OCR_TEMPLATE, id="ocr template")]
)
@pytest.mark.parametrize("project", [7, 8], ids=["with a model", "cold start"])
def test_setup_and_predict_say_the_same_version(bench: Bench, config: str, project: int) -> None:
    bench.serve_project(7)
    key = "ocr" if config == OCR_TEMPLATE else "image"
    answer = bench.predict({key: data_uri(b"Total")}, config=config, project=project)
    said = {bench.setup(config, f"{project}.1"), bench.setup(config, project), bench.setup(config, str(project))}
    said |= {answer["model_version"], *(entry["model_version"] for entry in answer["results"] if entry)}
    assert len(said) == 1


def test_the_version_changes_with_what_changes_the_result(bench: Bench) -> None:
    bench.serve_project()
    seen = [bench.setup()]
    assert bench.setup(RECTANGLES.replace("<View>", "<View><Header value='hello'/>")) == seen[0]
    seen.append(bench.setup(RECTANGLES.replace('"total"', '"total,amount"')))
    bench.make_app(score_threshold=0.5)
    seen.append(bench.setup())
    bench.make_app()
    bench.serve_project(version=V2)
    seen.append(bench.setup())
    put_into_service(bench.model_dir, VersionCard("ocr", "20261123T000000Z", engine="tesserocr-5.5.4-eng-psm3"))
    seen.append(bench.setup())
    assert len(set(seen)) == len(seen)
    assert [version.split("-")[0] for version in seen] == [V1, V1, V1, V2, V2]


def test_a_new_default_engine_changes_nothing_for_a_project_that_keeps_its_own(bench: Bench) -> None:
    bench.serve_project(engine=ENGINE)
    new = VersionCard("ocr", "20261123T000000Z", engine="tesserocr-5.5.4-eng-psm3")
    before, cold = bench.setup(), bench.setup(project=8)
    put_into_service(bench.model_dir, new)
    assert bench.setup() == before
    assert bench.setup(project=8) != cold
    bench.fake.models["ocr", new.version] = bench.fake.models["ocr", OCR_CARD.version]
    assert bench.predict(image("Total"))["model_version"] == before
    assert bench.fake.seen[-2].headers["X-LayoutLoop-Engine"] == "pytesseract"


TASK = {"id": 1, "data": {"image": "/data/upload/1/a.png"}, "project": 4}


@pytest.mark.parametrize(
    ("value", "project_id"),
    [
        pytest.param("7.1795327242", 7, id="as Label Studio writes it"),
        pytest.param("7", 7, id="text"),
        pytest.param(7, 7, id="number"),
        pytest.param(0, 0, id="zero"),
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param(10**18 - 1, 10**18 - 1, id="the largest"),
    ],
)
def test_parse_project(value: object, project_id: int | None) -> None:
    assert parse_project(value) == project_id


@pytest.mark.parametrize(
    "value",
    ["../x", "7/../8", "seven", "-1", "٣", "7 ", "1e5", "." + "7", 10**18, 10**400, True, [7], {"id": 7}, float("inf")],
    ids=lambda value: f"{value!r:.12}",
)
def test_what_is_no_project(value: object) -> None:
    with pytest.raises(RequestInvalid, match="`project` is a project id such as 7") as refused:
        parse_project(value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("body", "project_id"),
    [
        pytest.param({"project": "7.1"}, 7, id="named"),
        pytest.param({}, 4, id="as the tasks say"),
        pytest.param({"tasks": []}, None, id="no tasks, no project"),
        pytest.param({"tasks": [{"id": 1}]}, None, id="interactive tasks name none"),
    ],
)
def test_parse_predict(body: dict[str, object], project_id: int | None) -> None:
    request = parse_predict({"tasks": [TASK], "label_config": RECTANGLES, **body}, 10)
    assert request.project_id == project_id
    assert request.model == (None if project_id is None else f"project-{project_id}")
    assert request.config.labels == ("Total", "Date")


@pytest.mark.parametrize(
    ("body", "error", "sentence"),
    [
        pytest.param([], RequestInvalid, "takes a JSON object", id="a list"),
        pytest.param({"label_config": RECTANGLES}, RequestInvalid, "`tasks` is a list of task objects", id="no tasks"),
        pytest.param({"tasks": {}, "label_config": RECTANGLES}, RequestInvalid, "got dict", id="tasks: an object"),
        pytest.param({"tasks": [None], "label_config": RECTANGLES}, RequestInvalid, "`tasks` is", id="tasks: null"),
        pytest.param({"tasks": [TASK]}, RequestInvalid, "`label_config` is the label config", id="no config"),
        pytest.param({"tasks": [], "label_config": "<View/>"}, LabelConfigUnsupported, "found", id="nothing to draw"),
    ],
)
def test_what_is_no_predict(body: object, error: type[LayoutLoopError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        parse_predict(body, 10)
