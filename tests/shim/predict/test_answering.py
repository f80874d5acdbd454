"""Pages whose words came with the task: not read, checked against the image, never answered from other words."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.far_servers import LEGACY_KEY, LabelStudio, Seen
from tests.layoutloop.torchserve.test_inference import Reply, data_uri
from tests.shim.predict.test_interactive import WITH_TEXT, ask, rectangle
from tests.shim.predict.test_predictor import (
    OCR_CARD,
    OCR_TEMPLATE,
    PAGES,
    Bench,
    image,
    labels,
    open_bench,
    read_page,
    texts,
)

SIZE = {"width": 1000, "height": 2000}
ADDRESS = "/data/upload/7/0a1b2c3d-page.json"


def words(*lines: str, **more: Any) -> dict[str, Any]:
    """A page of words as the fake `ocr` lays them out, with its size."""
    found = [
        {"text": word, "box": [100 * x, 50 * y, 100 * x + 90, 50 * y + 40], "line": y}
        for y, line in enumerate(lines)
        for x, word in enumerate(line.split())
    ]
    return {"format": 1, **SIZE, "words": found, **more}


def picture(seen: Seen) -> Reply:
    """The model `ocr` of today; it gives no words where none are wanted, and turns the page as requested."""
    assert seen.headers["X-LayoutLoop-Words"] == "0"
    turn = {"turn": float(seen.headers["X-LayoutLoop-Turn"])} if "X-LayoutLoop-Turn" in seen.headers else {}
    thumbnail = {"thumbnail": "cGl4ZWxz"} if seen.headers.get("X-LayoutLoop-Thumbnail") == "1" else {}
    return 200, {"format": 1, **SIZE, "engine": "", "words": [], **thumbnail, **turn}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as opened:
        opened.fake.models["ocr", OCR_CARD.version] = picture
        yield opened


def files(bench: Bench) -> dict[str, bytes]:
    answer = bench.studio.answer
    assert isinstance(answer, LabelStudio)
    return answer.files


class NeverTheSame(dict[str, bytes]):
    """Files of a source that gives other bytes each time: white space at the end of the text that stands on a page."""

    def __getitem__(self, path: str) -> bytes:
        self[path] = super().__getitem__(path) + b" "
        return super().__getitem__(path)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("at_an_address", [False, True], ids=["in the data", "at an address"])
def test_a_task_is_answered_with_its_own_words(
    bench: Bench, at_an_address: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bench.serve_project(uses_image=True, engine="pytesseract-5.3.0-eng-psm3")
    page = words("Date Total", engine="azure")
    files(bench)[ADDRESS] = json.dumps(page).encode()
    answer = bench.predict(image("unread") | {"words": ADDRESS if at_an_address else page})
    assert labels(answer["results"][0]) == ["Date", "Total"]
    sent = json.loads(bench.fake.seen[-1].body)
    assert (sent["engine"], sent["thumbnail"]) == ("task", "cGl4ZWxz")
    assert all(seen.headers["Authorization"] == f"Token {LEGACY_KEY}" for seen in bench.studio.seen)
    assert (bench.metric("other_ocr_engine_total"), warnings(caplog)) == (0, [])


def test_cold_start_draws_the_lines_that_came_with_the_task(bench: Bench) -> None:
    (entry,) = bench.predict({"ocr": data_uri(b"x"), "words": words("Total 12.50", "Thanks")}, config=OCR_TEMPLATE)[
        "results"
    ]
    assert texts(entry) == ["Total 12.50", "Thanks"]


def test_a_page_that_lies_on_its_side_is_turned_for_the_model(bench: Bench) -> None:
    bench.serve_project(uses_image=True)
    bench.predict(image("x") | {"words": words("Total", turn=90)})
    reading, labelling = bench.fake.seen
    assert reading.headers["X-LayoutLoop-Turn"] == "90"
    sent = json.loads(labelling.body)
    assert (sent["turn"], sent["thumbnail"]) == (90, "cGl4ZWxz")


@pytest.mark.parametrize("turn", [359.99999, 89.123456789, 1e-9])
def test_a_turn_reaches_ocr_with_all_its_digits(bench: Bench, turn: float) -> None:
    bench.serve_project()
    answer = bench.predict(image("x") | {"words": words("Total", turn=turn)})
    assert float(bench.fake.seen[0].headers["X-LayoutLoop-Turn"]) == turn
    assert labels(answer["results"][0]) == ["Total"]


def test_an_ocr_archive_of_before_reads_the_page_and_its_words_do_not_count(bench: Bench) -> None:
    bench.serve_project()
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: (200, read_page(b"Date Date"))
    assert labels(bench.predict(image("x") | {"words": words("Total")})["results"][0]) == ["Total"]


def test_changed_words_are_never_answered_from_the_cache(bench: Bench) -> None:
    bench.serve_project()
    files(bench)[ADDRESS] = json.dumps(words("Total")).encode()
    for _ in range(2):
        assert labels(bench.predict(image("Date") | {"words": ADDRESS})["results"][0]) == ["Total"]
    assert bench.fake.count("project-7") == 1
    files(bench)[ADDRESS] = json.dumps(words("Date Total")).encode()
    assert labels(bench.predict(image("Date") | {"words": ADDRESS})["results"][0]) == ["Date", "Total"]
    assert labels(bench.predict(image("Date") | {"words": words("Date Date")})["results"][0]) == ["Date", "Date"]
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: (200, read_page(b"Date"))
    assert labels(bench.predict(image("Date"))["results"][0]) == ["Date"]


def test_a_rectangle_drawn_roughly_gets_the_text_of_the_words_that_came(bench: Bench) -> None:
    bench.serve_project()
    entry = ask(
        bench,
        {"result": rectangle(0, 0, 20, 3)},
        WITH_TEXT,
        image=data_uri(b"x"),
        words=words("Total 12,50"),
    )
    assert texts(entry) == ["Total 12,50"]


def test_a_fault_of_one_page_costs_that_page_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project()
    files(bench)[ADDRESS] = b"no JSON"
    other_size = words("Total") | {"width": 500}
    data = {
        "pages": [data_uri(b"a"), data_uri(b"b"), data_uri(b"c"), data_uri(b"d")],
        "words": [words("Total"), other_size, ADDRESS, words("Date")],
    }
    (entry,) = bench.predict(data, config=PAGES)["results"]
    assert [(item["item_index"], item["value"]["rectanglelabels"]) for item in entry["result"]] == [
        (0, ["Total"]),
        (3, ["Date"]),
    ]
    assert entry["score"] == 0
    size, no_json = warnings(caplog)
    assert "page 2 of 4: words_invalid: the words are of a page of 500 x 2000 pixels, and the image" in size
    assert "page 3 of 4: words_invalid: the file of the page's words holds no JSON" in no_json


def test_a_source_of_words_that_is_refused_or_gone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project()
    elsewhere = image("x") | {"words": "http://stranger.example/page.json"}
    files(bench)["/data/upload/7/missing/page.json"] = b""
    gone = image("x") | {"words": "/data/upload/7/page.json/../missing.json"}
    answer = bench.predict(elsewhere, gone, image("x") | {"words": words("Total")})
    assert [labels(entry) if entry else entry for entry in answer["results"]] == [[], [], ["Total"]]
    assert "address_refused: the file of the page's words: " in warnings(caplog)[0]


def test_somebodys_own_column_is_left_alone_and_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve_project()
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: (200, read_page(b"Date"))
    for _ in range(2):
        answer = bench.predict(image("x") | {"words": "ten words"}, image("y") | {"words": 10})
        assert [labels(entry) for entry in answer["results"]] == [["Date"], ["Date"]]
    (line,) = warnings(caplog)
    assert line.startswith('project 7: "words" in the data of task 100 is a text, neither a page of words nor')


@pytest.mark.parametrize("comes_back", [True, False], ids=["ocr comes", "ocr never comes"])
def test_a_page_that_is_another_each_time_is_answered_or_ends(bench: Bench, comes_back: bool) -> None:
    bench.make_app(deadline_s=4.0)
    bench.serve_project()
    answer = bench.studio.answer
    assert isinstance(answer, LabelStudio)
    answer.files = NeverTheSame({"/data/upload/7/page.png": b"Total"})
    bench.fake.models["ocr", "another"] = bench.fake.models.pop(("ocr", OCR_CARD.version))
    if comes_back:
        back = {("ocr", OCR_CARD.version): lambda seen: (200, read_page(seen.body))}
        threading.Timer(1.0, bench.fake.models.update, (back,)).start()
    (entry,) = bench.predict({"image": "/data/upload/7/page.png"})["results"]
    assert bool(entry) == comes_back
    bench.wait_until_idle()
    assert bench.metric("pages_waiting") == 0
    assert len(bench.studio.seen) < 6
