"""The parts of the dashboard one by one: sentences on jobs, figures of reports, charts, warnings, titles."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layoutloop.errors import AddressRefused
from layoutloop.jobs.job import Job
from layoutloop.settings.serving import Settings
from layoutloop.studio.status import DISCONNECTED, SILENT_S, STATUS_FILE, read_studio_status
from shim.app import create_app
from shim.dashboard import job_sentences as sentences
from shim.dashboard.charts import HEIGHT, LEFT, RIGHT, WIDTH, Point, ScoreChart
from shim.dashboard.page import f1_chart, figure, when
from shim.project_titles import DAY_S, LATELY_S, ProjectTitles
from shim.recent_warnings import KEPT, RecentWarnings, keep_warnings
from shim.version_reports import ScoreDot, VersionReport, VersionReports, parse_report

NOW = 1_795_420_000.0
QUEUED = Job("0123456789ab", 7, "retrain", "api", NOW, updated=NOW, not_before=NOW)
RUNNING = replace(QUEUED, id="ba9876543210", state="running", worker="box-7080", attempt=1, updated=NOW)


@pytest.mark.parametrize(
    ("job", "others", "later_s", "part"),
    [
        pytest.param(QUEUED, (), 30, "Waits for a worker.", id="just asked for"),
        pytest.param(QUEUED, (), 61, "No worker has taken it for 61 s", id="no trainer runs"),
        pytest.param(
            QUEUED, (replace(RUNNING, updated=NOW + 3600),), 3600, "job of this project", id="its own project"
        ),
        pytest.param(QUEUED, (replace(RUNNING, project=8),), 30, "busy with project 8", id="another project"),
        pytest.param(QUEUED, (replace(RUNNING, project=8),), 300, "No worker has taken it for 5 min", id="lost worker"),
        pytest.param(replace(QUEUED, not_before=NOW + 5), (), 0, "Waits 5 s for further annotations", id="a burst"),
        pytest.param(
            replace(QUEUED, not_before=NOW + 20, attempt=2), (), 0, "Try 2 of 5 broke off; the next one", id="a retry"
        ),
        pytest.param(
            *(replace(QUEUED, kind="prelabel"), (replace(RUNNING, kind="prelabel", project=8),)),
            *(30, "Waits for the pre-labelling of project 8"),
            id="a pre-labelling",
        ),
        pytest.param(QUEUED, (replace(RUNNING, kind="prelabel"),), 30, "Waits for a worker.", id="of another lane"),
        pytest.param(
            *(replace(QUEUED, kind="prelabel", trigger="tasks", not_before=NOW + 5), (), 0, "further tasks"),
            id="an import",
        ),
        pytest.param(replace(QUEUED, not_before=NOW + 500), (), 510, "Waits for a worker.", id="counted from its time"),
    ],
)
def test_why_a_job_waits(job: Job, others: tuple[Job, ...], later_s: float, part: str) -> None:
    assert part in sentences.waiting_for(job, (job, *others), NOW + later_s)


@pytest.mark.parametrize(
    ("changes", "text", "share"),
    [
        pytest.param({}, "Starting", None, id="nothing yet"),
        pytest.param({"step": "read pages", "done": 12, "total": 40}, "Reading pages, 12 of 40", 0.3, id="pages"),
        pytest.param({"step": "read pages", "done": 0, "total": 12345}, "Reading pages, 0 of 12,345", 0.0, id="many"),
        pytest.param(
            {
                "step": "train",
                "done": 1,
                "total": 2,
                "epoch": 2.5,
                "epochs": 10.0,
                "loss": 0.5,
                "f1": 0.8,
                "eta_s": 200,
            },
            "Training, epoch 2.5 of 10, loss 0.500, F1 0.800, about 3 min left",
            0.25,
            id="training",
        ),
        pytest.param(
            {"step": "train", "epoch": 81.0, "epochs": 150.0}, "Training, epoch 81 of 150", 0.54, id="a whole epoch"
        ),
        pytest.param(
            {"step": "tidy up", "done": 50, "total": 40}, "tidy up, 50 of 40", 1.0, id="another release's step"
        ),
        pytest.param(
            {"step": "export", "done": -3, "total": 4}, "Exporting annotations, -3 of 4", 0.0, id="below zero"
        ),
        pytest.param(
            dict.fromkeys(("done", "total", "epoch", "epochs", "loss", "eta_s", "f1")) | {"step": "train"},
            "Training",
            None,
            id="null",
        ),
        pytest.param(
            dict.fromkeys(("done", "total", "epoch", "epochs", "loss", "eta_s", "f1"), 10**400) | {"step": "train"},
            "Training",
            None,
            id="400 digits",
        ),
        pytest.param(
            dict.fromkeys(("done", "total", "epoch", "epochs", "loss", "eta_s", "f1"), math.nan) | {"step": "train"},
            "Training",
            None,
            id="NaN",
        ),
        pytest.param(
            dict.fromkeys(("done", "total", "epoch", "epochs", "loss", "eta_s", "f1"), math.inf),
            "Starting",
            None,
            id="inf",
        ),
    ],
)
def test_what_a_job_does(changes: dict[str, Any], text: str, share: float | None) -> None:
    job = Job.from_json(RUNNING.to_json() | changes)
    assert (sentences.doing(job), sentences.fraction(job)) == (text, share)


def test_a_silent_worker_is_told() -> None:
    assert sentences.silence(RUNNING, NOW + 60) == ""
    assert "No progress report for 2 min: its worker (box-7080) has stopped" in sentences.silence(RUNNING, NOW + 120)
    assert sentences.silence(QUEUED, NOW + 120) == ""


def test_what_is_read_aloud_changes_in_steps() -> None:
    def brief(done: int) -> str:
        return sentences.in_brief([replace(RUNNING, step="train", done=done, total=100), replace(QUEUED, project=8)])

    assert brief(41) == brief(49) == "project 7: training, 40 %; project 8: waits"
    assert brief(50) != brief(49)
    assert sentences.in_brief([replace(RUNNING, state="done")]) == sentences.in_brief([]) == "No job runs or waits"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.2, "1 s"), (89, "89 s"), (100, "2 min"), (7200, "2 h"), (200_000, "2 days"), (math.nan, "an un")],
)
def test_duration(seconds: float, text: str) -> None:
    assert sentences.duration(seconds).startswith(text)


def test_what_was_asked_for() -> None:
    assert sentences.what(replace(QUEUED, options={"dry_run": True, "force": True})) == "Training (dry run, force)"
    assert sentences.what(replace(QUEUED, kind="prelabel")) == "Pre-labelling"
    assert sentences.what(replace(QUEUED, kind="restore", options={"version": "V"})) == "Restore of V"


@pytest.mark.parametrize("moment", [None, math.nan, math.inf, 1e15, -1e15], ids=str)
def test_a_moment_that_is_none(moment: float | None) -> None:
    assert when(moment) == "at an unknown time"


def test_figures_and_words() -> None:
    assert when(NOW) == '<time datetime="2026-11-23T07:46:40Z">2026-11-23 07:46 UTC</time>'
    assert [figure(one) for one in (0.0, 1.0, 0.81249)] == ["0.000", "1.000", "0.812"]
    assert figure(None) == figure(math.nan) == figure(1e300) != "0.000"


def dots(chart: str) -> list[tuple[float, float]]:
    found = ElementTree.fromstring(chart).iter("circle")  # noqa: S314 - our own
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in found]


def test_a_chart_is_drawn_to_scale_with_gaps() -> None:
    f1s = [0.0, 0.25, None, 0.75, 1.0]
    chart = f1_chart([Point(f"v{index}", f1, index == 4) for index, f1 in enumerate(f1s)], "c")
    heights = [y for _, y in dots(chart)]
    assert heights[0] - heights[1] == pytest.approx((heights[0] - heights[3]) / 4, abs=0.11)
    assert chart.count("<polyline") == 2, "none across the version without a figure"
    assert ">1.000</text>" in chart
    assert "v0: 0.000; v1: 0.250; v2: not measured; v3: 0.750; v4 (in service): 1.000." in chart
    assert 'role="img" aria-labelledby="c-title c-text"' in chart


def test_no_line_joins_f1_by_words_and_by_boxes() -> None:
    points = [Point(f"v{index}", 0.5, by_boxes=index in (2, 3)) for index in range(6)]
    chart = f1_chart(points, "c")
    assert chart.count("<polyline") == 3
    assert [one.count("boxes") for one in chart.split("<circle")[1:]] == [0, 0, 1, 1, 0, 0]
    assert "v1: 0.500; v2: 0.500 by boxes; v3: 0.500 by boxes; v4: 0.500;" in chart


@pytest.mark.parametrize(
    ("f1s", "axis"),
    [
        pytest.param([0.5], "0.5", id="one"),
        pytest.param([0.9, 0.95], "0.5", id="all high: the axis begins at 0.5"),
        pytest.param([0.49, 0.95], "0.0", id="one low: at 0"),
        pytest.param([0.1 + 0.015 * number for number in range(50)], "0.0", id="fifty"),
    ],
)
def test_a_chart_stays_inside_its_frame(f1s: list[float], axis: str) -> None:
    chart = f1_chart([Point(f"{number} Nov", f1, True) for number, f1 in enumerate(f1s)], "c")
    assert len(dots(chart)) == len(f1s)
    for element in ElementTree.fromstring(chart).iter():  # noqa: S314 - our own
        for name, limit in (("x", WIDTH), ("cx", WIDTH), ("y", HEIGHT), ("cy", HEIGHT)):
            assert 0 < float(element.attrib.get(name, 1)) < limit
    names = [float(one.attrib["x"]) for one in ElementTree.fromstring(chart).iter("text") if "Nov" in str(one.text)]  # noqa: S314
    assert all(abs(one - other) >= 56 for one, other in itertools.pairwise(names))
    assert f">{axis}</text>" in chart
    assert "<script" not in f1_chart([Point("<script>", 0.5)], "c")


def test_a_chart_that_begins_at_a_half_is_to_scale_too() -> None:
    lowest, highest = dots(f1_chart([Point("a", 0.5), Point("b", 1.0)], "c"))
    low, high = dots(f1_chart([Point("a", 0.0), Point("b", 1.0)], "c"))
    assert (lowest, highest) == (low, high)


def test_without_a_figure_there_is_no_chart() -> None:
    assert f1_chart([], "c") == f1_chart([Point("v", None)], "c") == ""


GOOD: dict[str, Any] = {
    "reliability": {
        "boxes": 226,
        "calibrated_on": 226,
        "served": {"error": 0.02, "brier": 0.05, "bins": [{"score": 0.5, "right": 0.75, "boxes": 226}]},
        "sure": {"score": 0.97, "boxes": 140, "wrong": 0, "of": 226},
        "by_label": {"a": {"score": 0.9, "boxes": 30, "wrong": 1, "of": 40}},
    },
    "scores": {
        "overall": {"label": "all labels", "precision": 1, "recall": 0.5, "f1": 0.667, "support": 4, "predicted": 2},
        "labels": [{"label": "a", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "predicted": 3}],
        "pages": [{}],
    },
    "trained_pages": 3,
    "validation_pages": 1,
    "ended": "2026-11-23T08:00:00+00:00",
}


def test_a_report_is_read() -> None:
    report = parse_report(GOOD)
    assert (report.f1, report.trained_pages, report.validation_pages, report.problem) == (0.667, 3, 1, "")
    assert report.ended == 1795420800.0
    overall, label = report.rows
    assert (overall.precision, overall.recall, overall.support) == (1.0, 0.5, 4)
    assert (label.precision, label.recall, label.f1) == (0.0, None, 0.0)
    scored = report.scored
    assert scored is not None
    assert scored.sure is not None
    assert scored.sure.sentence == "at 0.97 and above, 62% of the boxes, none wrong of 140"
    assert scored.by_label["a"].sentence == "at 0.90 and above, 75% of the boxes, 1 wrong of 30"
    assert (scored.calibrated, scored.dots) == (True, (ScoreDot(0.5, 0.75),))


def test_what_scores_are_worth_is_drawn_to_scale() -> None:
    chart = ScoreChart((ScoreDot(0.0, 0.0), ScoreDot(1.0, 1.0), ScoreDot(0.5, 0.75)))
    left, right, between = chart.dots
    assert (left, right) == ((LEFT, chart.ticks[0][0]), (RIGHT, chart.ticks[-1][0]))
    assert between == (pytest.approx((LEFT + RIGHT) / 2), pytest.approx(left[1] + 0.75 * (right[1] - left[1])))
    assert chart.text.endswith("Of boxes with score 0.50, 75% are right.")


@pytest.mark.parametrize(
    ("counted_by", "measure"),
    [
        pytest.param("boxes", "F1 by boxes", id="boxes"),
        pytest.param("words", "F1", id="words"),
        pytest.param(["boxes"], "F1", id="not as expected"),
    ],
)
def test_what_an_f1_is_called(counted_by: object, measure: str) -> None:
    assert parse_report({**GOOD, "counted_by": counted_by}).measure == measure
    assert parse_report(GOOD).measure == "F1", "reports of earlier releases do not say"


@pytest.mark.parametrize(
    "value",
    [None, [], {}, "x", -1, math.nan, math.inf, True, 10**400, [None], {"labels": 5}],
    ids=lambda one: repr(one)[:9],
)
@pytest.mark.parametrize(
    "where",
    [
        *("", "scores", "scores.overall", "scores.labels", "scores.overall.f1", "ended", "tasks"),
        *("reliability", "reliability.boxes", "reliability.served", "reliability.served.bins", "reliability.sure"),
        *("reliability.sure.of", "reliability.by_label", "reliability.by_label.a"),
    ],
)
def test_a_report_that_is_none_raises_nothing(where: str, value: Any) -> None:
    body: Any = json.loads(json.dumps(GOOD))
    *parents, last = where.split(".")
    at = body
    for name in parents:
        at = at[name]
    if where:
        at[last] = value
    report = parse_report(body if where else value)
    assert report.f1 is None or 0 <= report.f1 <= 1
    assert bool(report.problem) == (not where and not isinstance(value, dict))


def test_a_report_without_validation_pages_has_no_figures() -> None:
    report = parse_report({**GOOD, "scores": {**GOOD["scores"], "pages": []}})
    assert (report.f1, report.rows, report.trained_pages) == (None, (), 3)


def test_a_report_is_read_once_for_as_long_as_it_stays(tmp_path: Path) -> None:
    path, reports = tmp_path / "a.report.json", VersionReports()
    assert "No report is beside this version" in reports.of(path).problem
    path.write_text(json.dumps(GOOD))
    first = reports.of(path)
    assert first.f1 == 0.667
    assert reports.of(path) is first
    path.write_text("[" * 100_000)
    assert "is damaged" in reports.of(path).problem
    path.write_bytes(b"\xff\xfe")
    assert "is damaged" in reports.of(path).problem
    path.unlink()
    path.mkdir()
    assert reports.of(path).problem
    assert VersionReport().problem == ""


def warned(*lines: tuple[Any, ...]) -> RecentWarnings:
    kept = RecentWarnings()
    for line in lines:
        kept.handle(logging.LogRecord("shim.x", logging.WARNING, "x.py", 1, line[0], line[1:], None))
    return kept


def test_a_warning_names_its_task_and_its_error() -> None:
    refused = AddressRefused("10.0.0.1 is private")
    (one,) = warned(("project %s task %s: %s: %s", 7, 101, refused.code, refused)).newest()
    assert (one.project, one.task, one.code, one.sentence) == ("7", "101", "address_refused", "10.0.0.1 is private")
    (one,) = warned(("project-8 %s", "x" * 9999)).newest()
    assert (one.project, one.task, one.code, len(one.sentence)) == ("8", "", "", 500)


def test_equal_warnings_take_one_place_and_the_newest_stay() -> None:
    kept = warned(("first",), *[("again",)] * 1000, *[("number %d", number) for number in range(KEPT - 1)], ("again",))
    found = kept.newest()
    assert len(found) == KEPT
    assert (found[0].sentence, found[0].count) == ("again", 1001)
    assert (found[1].sentence, found[-1].sentence) == (f"number {KEPT - 2}", "number 0")


def test_warnings_of_the_shim_are_kept_for_as_long_as_the_app_lives(tmp_path: Path) -> None:
    logger = logging.getLogger("shim")
    before = len(logger.handlers)
    app = create_app(Settings(model_dir=tmp_path, home=tmp_path))
    logging.getLogger("shim.predict.predictor").warning("seen")
    logging.getLogger("shim.predict.predictor").info("not seen")
    logging.getLogger("layoutloop.torchserve.inference").warning("seen as well")
    app.test_client().post("/predict", data="x")
    state = app.extensions["layoutloop"]
    assert [one.code for one in state.warnings.newest()] == ["request_invalid", "", "", ""]
    assert [one.sentence for one in state.warnings.newest()][1:3] == ["seen as well", "seen"]
    state.jobs.close()
    del app, state
    gc.collect()
    assert len(logger.handlers) <= before


class _Owner:
    pass


def test_the_handler_goes_with_its_owner() -> None:
    owner = _Owner()
    kept = keep_warnings(owner)
    assert all(kept in logging.getLogger(package).handlers for package in ("shim", "layoutloop"))
    del owner
    assert not any(kept in logging.getLogger(package).handlers for package in ("shim", "layoutloop"))


def project(number: object, title: object) -> dict[str, object]:
    return {"action": "X", "project": {"id": number, "title": title}}


def test_titles_are_learned_from_webhooks_and_last(tmp_path: Path) -> None:
    app = create_app(Settings(model_dir=tmp_path, home=tmp_path / "var"))
    body = project(7, "  Invoices\n2026 ") | {"action": "PROJECT_UPDATED"}
    assert app.test_client().post("/webhook", json=body).status_code == 200
    assert ProjectTitles(tmp_path / "var" / "project-titles.json").all() == {7: "Invoices 2026"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="none"),
        pytest.param({"project": 7}, id="an id alone"),
        pytest.param(project(True, "x"), id="no number"),
        pytest.param(project("7", "x"), id="text"),
        pytest.param(project(-1, "x"), id="below zero"),
        pytest.param(project(10**18, "x"), id="too large"),
        pytest.param(project(7, " "), id="blank"),
        pytest.param(project(7, ["x"]), id="a list"),
    ],
)
def test_what_is_no_title(tmp_path: Path, body: dict[str, object]) -> None:
    titles = ProjectTitles(tmp_path / "titles.json")
    titles.note(body)
    assert titles.all() == {}
    assert not (tmp_path / "titles.json").exists()


def test_titles_are_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    told = {str(number): {"title": "x", "told": 1000 + (number + 500) % 1000} for number in range(1000)}
    (tmp_path / "titles.json").write_text(json.dumps(told))
    titles = ProjectTitles(tmp_path / "titles.json")
    titles.note(project(3, "y" * 999))
    titles.note(project(5000, "one more"))
    known = ProjectTitles(tmp_path / "titles.json").all()
    assert len(known) == 1000
    assert (known[3], known[5000]) == ("y" * 120, "one more")
    assert 500 not in known, "told first of all"


def test_a_title_that_nobody_tells_any_more(tmp_path: Path) -> None:
    now = [NOW]
    path = tmp_path / "titles.json"
    titles = ProjectTitles(path, lambda: now[0])
    titles.note(project(7, "Invoices"))
    titles.note(project(8, "Receipts"))
    written = path.stat().st_mtime_ns
    now[0] += DAY_S / 2
    titles.note(project(7, "Invoices"))
    assert path.stat().st_mtime_ns == written, "not for every annotation"
    now[0] += DAY_S
    titles.note(project(7, "Invoices"))
    now[0] = NOW + LATELY_S + 1
    again = ProjectTitles(path, lambda: now[0])
    assert (again.lately(), again.all()) == ({7}, {7: "Invoices", 8: "Receipts"})


@pytest.mark.parametrize("action", ["PROJECT_DELETED", DISCONNECTED])
def test_a_project_that_is_gone_has_no_title(tmp_path: Path, action: str) -> None:
    titles = ProjectTitles(tmp_path / "titles.json")
    titles.note(project(7, "Invoices"))
    titles.note({"action": action, "project": {"id": 8}})
    titles.note({"action": action, "project": {"id": 7}})
    assert titles.all() == ProjectTitles(tmp_path / "titles.json").all() == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("{", id="half"),
        pytest.param("[]", id="a list"),
        pytest.param('{"x": 1}', id="no id"),
        pytest.param('{"7": "Receipts"}', id="no mapping"),
        pytest.param('{"7": {"title": "Receipts"}}', id="no time"),
        pytest.param('{"7": {"title": "Receipts", "told": NaN}}', id="NaN"),
        pytest.param('{"7": {"title": "Receipts", "told": Infinity}}', id="inf"),
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_a_damaged_file_of_titles_is_written_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "titles.json"
    path.write_text(content)
    titles = ProjectTitles(path)
    assert titles.all() == {}
    titles.note(project(7, "Invoices"))
    assert ProjectTitles(path).all() == {7: "Invoices"}


def test_titles_that_cannot_be_written_are_known_until_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    titles = ProjectTitles(tmp_path / "file" / "titles.json")
    titles.note(project(7, "Invoices"))
    assert titles.all() == {7: "Invoices"}


@pytest.mark.parametrize(
    ("content", "state", "asked", "part"),
    [
        pytest.param(None, "never", None, "", id="no file"),
        pytest.param({"time": NOW - 9, "ok": True, "sentence": "fine"}, "answers", NOW - 9, "", id="fine"),
        pytest.param({"time": NOW + 99, "ok": True}, "answers", NOW + 99, "", id="the clock was set back"),
        pytest.param(
            {"time": NOW, "ok": False, "sentence": "the key\nis refused"}, "fails", NOW, "the key is refused", id="not"
        ),
        pytest.param({"time": NOW, "ok": False, "sentence": "x" * 9999}, "fails", NOW, "x" * 500, id="long"),
        pytest.param({"time": NOW, "ok": "yes"}, "fails", NOW, "trainer.log says why", id="nobody knows"),
        pytest.param(
            {"time": NOW - SILENT_S - 1, "ok": True},
            "silent",
            NOW - SILENT_S - 1,
            "last tried at 2026-11-23 07:41 UTC; is the trainer running",
            id="old",
        ),
        pytest.param(
            {"time": NOW + 3600, "ok": True}, "silent", NOW + 3600, "last tried at", id="the clock was set back an hour"
        ),
        pytest.param({"time": 10**400, "ok": True}, "silent", None, "is damaged", id="400 digits"),
        pytest.param({"time": math.nan, "ok": True}, "silent", None, "is damaged", id="NaN"),
        pytest.param({"time": True, "ok": True}, "silent", None, "is damaged", id="true"),
        pytest.param([], "silent", None, "is damaged", id="a list"),
        pytest.param({"sentence": "x" * 70000}, "silent", None, "is damaged", id="too long"),
    ],
)
def test_how_label_studio_was_met(tmp_path: Path, content: object, state: str, asked: float | None, part: str) -> None:
    if content is not None:
        (tmp_path / STATUS_FILE).write_text(json.dumps(content))
    status = read_studio_status(tmp_path, NOW)
    assert (status.state, status.asked) == (state, asked)
    assert part in status.problem
    assert bool(part) == bool(status.problem)
    assert len(status.problem) <= 500


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / STATUS_FILE).mkdir()
    assert "Is a directory" in read_studio_status(tmp_path, NOW).problem
