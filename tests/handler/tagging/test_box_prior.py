"""What was learned about boxes, as a file that may come from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.errors import CheckpointInvalid
from handler.tagging.box_prior import FILE, MOST_COUNTED, BoxPrior
from handler.tagging.junctions import FEATURES, FORMS

NAMES = ("date", "total")


def made() -> BoxPrior:
    generator = np.random.default_rng(0)
    weights = generator.normal(0, 1, (2, len(NAMES), len(FEATURES))).round(5)
    holds = generator.normal(0, 1, (2, len(FORMS))).round(5)
    return BoxPrior(NAMES, weights[0], weights[1], holds, generator.normal(0, 1, (2, MOST_COUNTED + 1)).round(5))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    prior = made()
    (tmp_path / FILE).write_text(json.dumps(prior.to_json()))
    read = BoxPrior.find(tmp_path, NAMES)
    assert read is not None
    assert read.labels == NAMES
    for name in ("goes_on", "came_from", "holds", "counts"):
        assert np.array_equal(getattr(read, name), getattr(prior, name))


def test_a_checkpoint_may_have_none(tmp_path: Path) -> None:
    assert BoxPrior.find(tmp_path, NAMES) is None


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        pytest.param({"labels": ["total", "date"]}, "other labels", id="labels in another order"),
        pytest.param({"labels": 7}, "other labels", id="no labels"),
        pytest.param({"features": ["always"]}, "other features", id="features of another release"),
        pytest.param({"goes_on": None}, "goes_on must have 2 rows", id="a table is missing"),
        pytest.param({"came_from": [[0.0] * len(FEATURES)]}, "came_from must have 2 rows", id="a row is missing"),
        pytest.param({"counts": [[0.0], [0.0]]}, "row of counts must be 5 numbers", id="short rows"),
        pytest.param({"counts": [[0.0] * 5, [0.0, 0.0, 0.0, 0.0, "1"]]}, "numbers", id="text"),
        pytest.param({"counts": [[0.0] * 5, [0.0, 0.0, 0.0, 0.0, True]]}, "numbers", id="a truth value"),
        pytest.param({"counts": [[0.0] * 5, [0.0, 0.0, 0.0, 0.0, float("nan")]]}, "numbers", id="NaN"),
        pytest.param({"counts": [[0.0] * 5, [0.0, 0.0, 0.0, 0.0, 1e300]]}, "within 10,000", id="a huge number"),
        pytest.param({"counts": [[0.0] * 5, [0.0, 0.0, 0.0, 0.0, 10**400]]}, "within 10,000", id="a huge integer"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    (tmp_path / FILE).write_text(json.dumps(made().to_json() | changes))
    with pytest.raises(CheckpointInvalid, match=part):
        BoxPrior.find(tmp_path, NAMES)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b" " * (2**24 + 1)],
    ids=["empty", "a list", "cut", "no text", "deep", "huge"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(CheckpointInvalid, match=FILE):
        BoxPrior.find(tmp_path, NAMES)
