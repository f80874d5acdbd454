"""What scores are made with, as a file that may come from anywhere, and in decoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.errors import CheckpointInvalid
from handler.page import Box, Page, Size, Word
from handler.tagging.box_prior import MOST_COUNTED, BoxPrior
from handler.tagging.calibration import FILE, Calibration, Evidence
from handler.tagging.decoding import decode, decode_boxes
from handler.tagging.junctions import FEATURES, FORMS
from handler.tagging.labels import LabelSet

MADE = Calibration((0.55605, 0.50733, -0.09014), 61)
TAGS = LabelSet.from_names(["date"])


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(MADE.to_json()))
    assert Calibration.find(tmp_path) == MADE


def test_a_checkpoint_may_have_none(tmp_path: Path) -> None:
    assert Calibration.find(tmp_path) is None


WEIGHTS: dict[str, Any] = {"words": 1.0, "count": 0.0, "always": 0.0}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        pytest.param("{", "cannot be read", id="cut off"),
        pytest.param("[]", "must be a JSON object, got list", id="a list"),
        pytest.param({}, "weights must be words, count, always", id="no weights"),
        pytest.param({"weights": [1, 0, 0], "boxes": 60}, "weights must be", id="weights without names"),
        pytest.param({"weights": {"words": 1.0}, "boxes": 60}, "weights must be", id="one is missing"),
        pytest.param({"weights": WEIGHTS | {"label": 1.0}, "boxes": 60}, "weights must be", id="of a later release"),
        pytest.param({"weights": WEIGHTS | {"words": "1"}, "boxes": 60}, "weights must be", id="text"),
        pytest.param({"weights": WEIGHTS | {"words": True}, "boxes": 60}, "weights must be", id="a truth"),
        pytest.param({"weights": WEIGHTS | {"words": float("nan")}, "boxes": 60}, "within 100", id="NaN"),
        pytest.param({"weights": WEIGHTS | {"words": 10**400}, "boxes": 60}, "within 100", id="a huge integer"),
        pytest.param({"weights": WEIGHTS, "boxes": 1.5}, "boxes must be", id="half a box"),
        pytest.param({"weights": WEIGHTS}, "boxes must be", id="no boxes"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, content: Any, part: str) -> None:
    (tmp_path / FILE).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CheckpointInvalid, match=part):
        Calibration.find(tmp_path)


@pytest.mark.parametrize(
    ("weights", "evidence", "score"),
    [
        pytest.param((1.0, 0.0, 0.0), Evidence(0.8), 0.8, id="as the model says"),
        pytest.param((0.5, 0.0, 0.0), Evidence(0.8), 2 / 3, id="less sure"),
        pytest.param((1.0, 0.5, 0.0), Evidence(0.8, -2.0), 4 / (4 + np.e), id="one box more than usual"),
        pytest.param((1.0, 0.0, 0.0), Evidence(1.0), 0.999, id="no model is certain"),
        pytest.param((1.0, 0.0, 0.0), Evidence(0.0), 0.001, id="nor certain of the contrary"),
        pytest.param((100.0, 100.0, -100.0), Evidence(0.0, -50.0), 0.0, id="the farthest"),
    ],
)
def test_a_score_is_a_probability(weights: tuple[float, float, float], evidence: Evidence, score: float) -> None:
    assert Calibration(weights, 60).score(evidence) == pytest.approx(score)


def test_a_second_box_of_what_a_page_has_once_speaks_against_both() -> None:
    """Two dates, far apart and labelled alike, where pages have one: neither is as sure as the one of another page."""
    flat = np.zeros((1, len(FEATURES)))
    flat[:, 0] = -3.0  # boxes rarely go on to the next word
    counts = np.log(np.array([[0.02, 0.75, 0.2, 0.02, 0.01]]))
    assert counts.shape[1] == MOST_COUNTED + 1
    prior = BoxPrior(("date",), flat, flat, np.zeros((1, len(FORMS))), counts)
    words = tuple(Word("12/11/2018", Box(20, 60 * row, 90, 60 * row + 20), line=row) for row in range(3))
    page = Page(Size(400, 300), "given", words)
    twice = np.array([[-8, 8, -8], [8, -8, -8], [-8, 8, -8]], dtype=np.float32)
    once = np.array([[-8, 8, -8], [8, -8, -8], [8, -8, -8]], dtype=np.float32)
    alone, both = (decode_boxes(page, said, TAGS, prior) for said in (once, twice))
    assert [box.words for box in alone] == [(0,)]
    assert [box.words for box in both] == [(0,), (2,)]
    assert alone[0].evidence.count == pytest.approx(np.log(0.75 / 0.02))
    assert [box.evidence.count for box in both] == pytest.approx([np.log(0.2 / 0.75)] * 2)
    scores = [region.score for region in decode(page, twice, TAGS, prior, Calibration((1.0, 1.0, 0.0), 60))]
    (sure,) = decode(page, once, TAGS, prior, Calibration((1.0, 1.0, 0.0), 60))
    assert scores == pytest.approx([scores[0]] * 2)
    assert max(scores) < sure.score
    assert [region.score for region in decode(page, twice, TAGS, prior)] == pytest.approx([1.0, 1.0], abs=1e-3)


def test_word_by_word_nothing_is_known_of_how_many_are_usual() -> None:
    page = Page(Size(400, 300), "given", (Word("12/11/2018", Box(20, 20, 90, 40)),))
    said = np.array([[0, 2, 0]], dtype=np.float32)
    (box,) = decode_boxes(page, said, TAGS)
    (raw,) = decode(page, said, TAGS)
    (calibrated,) = decode(page, said, TAGS, None, MADE)
    assert box.evidence == Evidence(pytest.approx(raw.score), 0.0)  # type: ignore[arg-type]
    assert calibrated.score == MADE.score(box.evidence)
    assert (calibrated.label, calibrated.words, calibrated.box) == (raw.label, raw.words, raw.box)
