from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.errors import AnswerInvalid, HandlerError
from handler.page import Box, Page, Region, Size, TaggedPage, Word
from layoutloop.errors import ImageUnavailable, ModelNotReady
from layoutloop.store.model_store import ModelStore
from layoutloop.sure import Sure
from training.data.examples import Entity, Example
from training.data.left_out import Reason
from training.fit.machine import Machine
from training.measure.gate import Verdict, decide
from training.measure.reliability import Bin, Curve, Reliability
from training.measure.scoring import Compared, Scores, score
from training.report.curves import f1_curve, loss_curve
from training.report.drawing import (
    MARKED,
    MAX_JPEG_BYTES,
    MAX_SIDE_PIXELS,
    PREDICTED,
    draw_comparison,
    draw_worst,
    to_jpeg,
)
from training.report.files import KEPT_REJECTED, keep_report, read_report, write_report
from training.report.report import Report
from training.report.text import score_table

HOSTILE = "<script>alert(\"1\")</script> & 'quoted' {{ 7 * 7 }}"
LABELS = ("total", "vendor", HOSTILE)
VERSION = "20261123T043000Z"


def example(task: int, *entities: Entity) -> Example:
    words = tuple(Word(f"word{index}", Box(20 + 60 * index, 40, 60 + 60 * index, 60)) for index in range(5))
    return Example(task, 0, Page(Size(400, 300), "given", words), entities)


def entity(label: str, *words: int) -> Entity:
    return Entity(label, Box(20 + 60 * min(words), 40, 60 + 60 * max(words), 60), words)


def tagged(*entities: Entity) -> TaggedPage:
    return TaggedPage(tuple(Region(one.label, one.box, 0.9, "", one.words) for one in entities), 1)


EXAMPLES = (
    example(1, entity("total", 0), entity("vendor", 1, 2)),
    example(2, entity("total", 0)),
    example(3, entity("total", 0), Entity("vendor", Box(5, 200, 50, 220), ())),
)
ANSWERS: tuple[TaggedPage | HandlerError, ...] = (
    tagged(entity("total", 0), entity(HOSTILE, 1), entity("vendor", 3)),
    tagged(entity("total", 0)),
    AnswerInvalid(f"not finite {HOSTILE}"),
)


RELIABILITY = Reliability(
    boxes=226,
    calibrated_on=226,
    served=Curve(0.021, 0.05, (Bin(0.6, 0.55, 113), Bin(0.98, 0.99, 113))),
    raw=Curve(0.134, 0.09, (Bin(0.9, 0.55, 113), Bin(1.0, 0.99, 113))),
    sure=Sure(0.97, 140, 0, 226),
    by_label={HOSTILE: Sure(0.9, 30, 1, 40)},
)


def scores() -> Scores:
    return score(EXAMPLES, ANSWERS, LABELS)


def full_report() -> Report:
    best = score(EXAMPLES, [tagged(*one.entities[:1]) for one in EXAMPLES], LABELS)
    return Report(
        name="project-7",
        labels=LABELS,
        version=VERSION,
        verdict=decide(scores(), best, name=f"version {HOSTILE}"),
        scores=scores(),
        compared=(Compared("20261122T083000Z", best),),
        reliability=RELIABILITY,
        base=f"graft:{HOSTILE}",
        base_kind="graft",
        settings={"learning_rate": 1e-4, "epochs": 20, "note": HOSTILE, "unset": None},
        new_labels=(HOSTILE,),
        tasks=12,
        trained_pages=9,
        validation_pages=3,
        trained_tasks=(4, 5),
        held_out=(2,),
        left_out={"label not in the config": Reason(3, (f"task 7: {HOSTILE}",))},
        annotations={"12": "2026-11-23T01:00:00Z", "12/1": "2026-11-23T01:00:00Z"},
        reading_ceiling=0.8,
        losses=((10, 2.5), (20, 0.5)),
        f1s=((1.0, 0.2), (2.0, 0.6)),
        seconds={"export": 0.5, HOSTILE: 60.0},
        engine="pytesseract-5.3.0-eng-psm3",
        machine=Machine(2, "cpu", "float32"),
        started="2026-11-23T04:30:00+00:00",
        ended="2026-11-23T04:32:05+00:00",
    )


def page_bytes(size: tuple[int, int] = (400, 300)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "white").save(buffer, format="PNG")
    return buffer.getvalue()


class Tags(HTMLParser):
    """What a browser would make of a page: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "tags are nested"

    def handle_data(self, data: str) -> None:
        self.text += data


def written(folder: Path, report: Report, **options: object) -> Tags:
    path = write_report(folder, "report", report, **options)  # type: ignore[arg-type]
    page = Tags(path.with_suffix(".html").read_text(encoding="utf-8"))
    assert page.open == [], "every tag is closed"
    return page


def words_of(page: Tags) -> str:
    return " ".join(page.text.split())


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = keep_report(ModelStore(tmp_path), full_report())
    assert path == ModelStore(tmp_path).report_path("project-7", VERSION)
    assert read_report(path) == full_report()


def test_a_bare_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = Report("project-7", ("total",), version=VERSION)
    assert read_report(write_report(tmp_path, "report", report)) == report


def test_a_loss_that_exploded_is_no_number_in_json(tmp_path: Path) -> None:
    report = replace(full_report(), losses=((1, 2.0), (2, math.nan), (3, math.inf)), f1s=((1, math.nan),))
    path = write_report(tmp_path, "report", report)
    assert "NaN" not in path.read_text()
    assert json.loads(path.read_text())["losses"] == [[1, 2.0], [2, None], [3, None]]
    losses = read_report(path).losses
    assert losses[0] == (1, 2.0)
    assert math.isnan(losses[2][1])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"name": "x", "labels": [], "surplus": 1}', '{"name": "x", "labels": [], "verdict": {"a": 1}}'],
)
def test_a_damaged_report_says_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.report.json").write_text(content)
    with pytest.raises(ModelNotReady, match=r"the report .*x\.report\.json cannot be read"):
        read_report(tmp_path / "x.report.json")


def test_a_missing_report_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotReady, match="cannot be read"):
        read_report(tmp_path / "x.report.json")


def test_nothing_that_users_wrote_becomes_a_tag(tmp_path: Path) -> None:
    page = written(tmp_path, full_report())
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form", "base"})
    assert page.text.count(HOSTILE) >= 8, "and every place shows it as it is"
    assert "49" not in re.findall(r"\b49\b", page.text.replace(HOSTILE, "")), "and none is a template"


def test_the_page_asks_nobody_for_anything(tmp_path: Path) -> None:
    drawings = draw_worst(EXAMPLES, ANSWERS, scores(), lambda _: page_bytes())
    page = written(tmp_path, full_report(), drawings=drawings)
    images = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 + 1 + 2, "two curves, what scores are worth, and the pages with a wrong entity"
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", source) for source in images)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert not any({"href", "srcset", "onclick"} & set(attributes) for _, attributes in page.tags)
    assert "url(" not in (tmp_path / "report.report.html").read_text().split("</style>")[0]


def test_the_page_says_what_happened(tmp_path: Path) -> None:
    text = words_of(written(tmp_path, full_report()))
    assert text.index("Promoted.") < text.index("Scores by label"), "the verdict comes first"
    for sentence in (
        "too few pages to reject anything",
        "In 20.0% of the marked boxes no word was read",
        "New since the version before: <script>",
        "The model gave no answer for 1 page; they count",
        "task 3, page 1: not finite",
        "label not in the config",
        "2 min 5 s",
        "2 cores, cpu, float32",
        "Annotations1 Setting",
        "Of 226 boxes: at 0.97 and above, 62% of the boxes, none wrong of 140.",
        "0.134 before and 0.021 after",
        "pytesseract-5.3.0-eng-psm3",
    ):
        assert sentence in text
    assert "unset" not in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"calibrated_on": 0}, "drew 226 boxes on the pages held out, and fewer than 50", id="too few"),
        pytest.param({"sure": None}, "No score is so high that hardly a box above it is wrong", id="nothing is sure"),
        pytest.param({"raw": None}, "calibrated on 226 boxes in its training", id="measured later"),
    ],
)
def test_what_scores_are_worth_is_said(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    report = replace(full_report(), reliability=replace(RELIABILITY, **changes))  # type: ignore[arg-type]
    assert sentence in words_of(written(tmp_path, report))


def test_every_label_has_a_row_with_a_signed_difference(tmp_path: Path) -> None:
    html = write_report(tmp_path, "report", full_report()).with_suffix(".html").read_text()
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    rows = [re.sub(r"\s*<[^>]+>\s*", " ", row).split() for row in body.split("</tr>")[:-1]]
    # all labels: the candidate has 2 right of 5 marked and 4 predicted; the other 3 right of 5 and 3
    minus, dash = "\N{MINUS SIGN}", "\N{EN DASH}"
    assert rows[0][2:] == ["5", "0.444", "0.750", f"{minus}0.306", "0.500", "0.400", "4", "1.000", "0.600", "3"]
    assert rows[1] == ["total", "3", "0.800", "1.000", f"{minus}0.200", "1.000", "0.667", "2", "1.000", "1.000", "3"]
    assert rows[2] == ["vendor", "2", "0.000", "0.000", "±0.000", "0.000", "0.000", "1", dash, "0.000", "0"]
    assert rows[3][-10:] == ["0", "0.000", dash, dash, "0.000", dash, "1", dash, dash, "0"], "support 0 is shown (P20)"
    assert 'class="down"' in body


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        pytest.param({"verdict": Verdict(True, "Better.")}, "Promoted. Better.", id="promoted"),
        pytest.param(
            {"verdict": Verdict(False, "Worse."), "version": None}, "Rejected, nothing changed. Worse.", id="rejected"
        ),
        pytest.param(
            {"verdict": Verdict(True, "Better."), "version": None, "dry_run": True},
            "Dry run: would be promoted. Better.",
            id="dry run",
        ),
        pytest.param({"verdict": None, "scores": scores()}, "Measured. F1 0.444 on 3 pages.", id="evaluation"),
        pytest.param(
            {"verdict": None, "restored_from": "20261101T000000Z"},
            "Restored. The checkpoint of version 20261101T000000Z was archived again",
            id="restored",
        ),
    ],
)
def test_the_headline(tmp_path: Path, changes: dict[str, object], headline: str) -> None:
    report = replace(Report("project-7", LABELS, version=VERSION), **changes)  # type: ignore[arg-type]
    assert headline in words_of(written(tmp_path, report))


def test_a_wrong_box_is_told_from_what_was_not_found(tmp_path: Path) -> None:
    pages = [example(1, entity("total", 0), entity("vendor", 1, 2)), example(2, entity("total", 0), entity("total", 1))]
    answers = [tagged(entity("total", 0), entity("vendor", 1, 2, 3)), tagged(entity("total", 0))]
    measured = score(pages, answers, LABELS)
    report = replace(full_report(), scores=measured, compared=())
    text = words_of(written(tmp_path, report))
    assert "Box right50% Label right, other box25% Not found25%" in text
    assert "box right 2, label right but another box 1, not found 1" in score_table(report)
    drawn = draw_worst(pages, answers, measured, lambda _: page_bytes())
    assert [(page.task, page.right, page.marked, page.other_box) for page in drawn] == [(1, 1, 2, 1), (2, 1, 2, 0)]
    shown = words_of(written(tmp_path, report, drawings=drawn))
    assert "Task 1, page 1: 1 of 2 right, 1 with another box, 0 not found; 1 predicted wrongly" in shown


def test_no_validation_pages_are_said(tmp_path: Path) -> None:
    empty = score([], [], LABELS)
    report = Report("project-7", LABELS, version=VERSION, verdict=decide(empty, None), scores=empty, tasks=2)
    text = words_of(written(tmp_path, report))
    assert "There were no validation pages, so nothing was measured." in text
    assert "Nothing: every annotation of the 2 tasks could be used." in text


def test_no_disagreement_is_said(tmp_path: Path) -> None:
    perfect = score(EXAMPLES[:2], [tagged(*one.entities) for one in EXAMPLES[:2]], LABELS)
    assert "There is none: every marked entity was found" in words_of(
        written(tmp_path, replace(full_report(), scores=perfect, compared=()))
    )


def test_rejected_reports_are_kept_but_not_for_ever(tmp_path: Path) -> None:
    store, folder = ModelStore(tmp_path), tmp_path / "project-7"
    keep_report(store, full_report())
    rejected = replace(full_report(), version=None, verdict=Verdict(False, "Worse."))
    paths = [keep_report(store, rejected) for _ in range(KEPT_REJECTED + 2)]
    keep_report(store, replace(rejected, dry_run=True))
    assert paths == sorted(set(paths)), "each has its own stamp, also within one second"
    assert re.fullmatch(r"rejected-\d{8}T\d{6}Z\.report\.json", paths[0].name)
    left = sorted(path.name for path in folder.glob("*.json"))
    assert [name for name in left if name.startswith("rejected")] == [path.name for path in paths[2:]]
    assert sum(name.startswith("dry-run") for name in left) == 1
    assert f"project-7-{VERSION}.report.json" in left
    assert {path.with_suffix(".html").name for path in folder.glob("*.json")} == {
        path.name for path in folder.glob("*.html")
    }


def test_drawn_pages_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = write_report(tmp_path, "report", full_report())
    assert path.with_suffix(".html").stat().st_mode & 0o777 == 0o600


def test_the_worst_pages_are_drawn_worst_first() -> None:
    drawings = draw_worst(EXAMPLES, ANSWERS, scores(), lambda _: page_bytes())
    assert [(one.task, one.right, one.marked, one.predicted) for one in drawings] == [(1, 1, 2, 3), (3, 0, 2, 0)]
    assert [one.task for one in draw_worst(EXAMPLES, ANSWERS, scores(), lambda _: page_bytes(), limit=1)] == [1]


@pytest.mark.parametrize(
    "error", [ImageUnavailable("gone"), AnswerInvalid("x"), OSError("x"), None], ids=["gone", "handler", "disk", "text"]
)
def test_a_page_without_an_image_is_passed_over(error: Exception | None) -> None:
    def image_of(page: Example) -> bytes:
        if page.task == 1 and error is not None:
            raise error
        return page_bytes() if page.task == 3 else b"no image"

    assert [one.task for one in draw_worst(EXAMPLES, ANSWERS, scores(), image_of)] == [3]


def test_what_only_one_side_has_is_drawn_in_its_colour() -> None:
    image = Image.new("RGB", (400, 300), "white")
    regions = tagged(entity("total", 0), entity("vendor", 3)).regions
    drawn = draw_comparison(image, EXAMPLES[0].entities, regions)
    assert drawn.getpixel((78, 50)) == MARKED, "vendor, words 1 and 2"
    assert drawn.getpixel((198, 50)) == PREDICTED, "vendor, word 3"
    assert drawn.getpixel((20, 50)) == PREDICTED, "total: both have it, one thin line"
    assert drawn.getpixel((18, 50)) == (255, 255, 255)
    pixels = np.asarray(drawn).astype(int)
    assert (abs(pixels[65:80, 205:215] - PREDICTED).sum(axis=2) < 60).any(), "its label is below"
    assert (abs(pixels[20:36, 85:95] - MARKED).sum(axis=2) < 80).any(), "its label is above"


def test_drawing_follows_the_projects_labels() -> None:
    image = Image.new("RGB", (400, 300), "white")
    marked, found = [entity("Summe", 0)], tagged(entity("total", 0)).regions
    assert (
        draw_comparison(image, marked, found).tobytes()
        != draw_comparison(image, marked, found, {"total": "Summe"}).tobytes()
    )


@pytest.mark.parametrize("label", ["two\nlines", "", "x" * 500, "\N{GREEK SMALL LETTER OMEGA}\u4e2d"], ids=ascii)
def test_any_label_can_be_drawn(label: str) -> None:
    image = Image.new("RGB", (400, 300), "white")
    assert draw_comparison(image, [entity(label, 0)], []).size == (400, 300)


def test_large_pages_become_small_pictures() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (2600, 1800, 3), dtype=np.uint8))
    drawn = draw_comparison(noise, [entity("total", 0)], [])
    assert max(drawn.size) == MAX_SIDE_PIXELS
    data = to_jpeg(drawn, MAX_JPEG_BYTES)
    assert len(data) <= MAX_JPEG_BYTES
    assert max(Image.open(io.BytesIO(data)).size) > 300, "it is still to be seen"


@pytest.mark.parametrize("size", [(1, 1), (5000, 2)], ids=str)
def test_odd_page_sizes_can_be_drawn(size: tuple[int, int]) -> None:
    assert draw_comparison(Image.new("RGB", size), [entity("total", 0)], []).size[1] >= 1


@pytest.mark.parametrize("draw", [loss_curve, f1_curve])
@pytest.mark.parametrize(
    "points",
    [
        pytest.param([(1, 0.5)], id="one point"),
        pytest.param([(1, 0.5), (2, math.nan), (3, math.inf), (4, 0.7)], id="gaps"),
        pytest.param([(1, math.nan)], id="nothing finite"),
        pytest.param([(step, 1 / step) for step in range(1, 3000)], id="long"),
    ],
)
def test_curves(draw: object, points: list[tuple[float, float]]) -> None:
    assert callable(draw)
    svg = draw(points)
    assert "<svg" in svg
    assert len(svg) < 200_000


def test_the_table_on_a_terminal() -> None:
    lines = score_table(full_report()).splitlines()
    assert lines[1] == f"{VERSION} on 3 pages"
    assert lines[3].split() == ["total", "3", "2", "1.000", "0.667", "0.800"]
    assert "20261122T083000Z on 3 pages" in lines
    assert "no answer for 1 page" in lines
    assert "scores: Of 226 boxes: at 0.97 and above, 62% of the boxes, none wrong of 140." in lines
    assert "80.0% of the marked boxes hold a word that was read" in lines
    assert "left out: 3 x label not in the config" in lines
