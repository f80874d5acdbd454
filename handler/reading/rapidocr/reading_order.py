"""The order in which a person reads the lines of a page: columns one after another, rows from left to right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PROSE = 8.0  # a column of text has lines at least so many times as long as high; a column of prices has not
_LEAST_LINES = 3  # of a column
_LEAST_LONG = 2  # of them, by their median
_PATIENCE = 3  # bands of one column that may come before the first of the other
_SHRINK_X, _SHRINK_Y = 0.3, 0.25  # of a line's height: boxes are cut a little larger than the ink
_SAME_ROW = 0.5  # share of the lower of two boxes' heights that they overlap

Boxes = NDArray[np.float64]
"""(N, 4): left, top, right, bottom."""


def reading_order(corners: NDArray[np.float32]) -> list[int]:
    """Return the numbers of the lines as a person reads them.

    Args:
        corners: (N, 4, 2) in pixels, each line's from its text's top left clockwise; so a page that lies on its side
            or upside down is read as its text runs.
    """
    if len(corners) == 0:
        return []
    return _ordered(_level_boxes(corners), list(range(len(corners))))


def _level_boxes(corners: NDArray[np.float32]) -> Boxes:
    """Return boxes around the lines, turned so that most text runs to the right."""
    x, y = (corners[:, 1] + corners[:, 2] - corners[:, 0] - corners[:, 3]).sum(axis=0, dtype=np.float64)
    length = float(np.hypot(x, y)) or 1.0
    turned = corners.astype(np.float64) @ np.array([[x, -y], [y, x]]) / length
    return np.concatenate([turned.min(axis=1), turned.max(axis=1)], axis=1)


def _ordered(boxes: Boxes, lines: list[int]) -> list[int]:
    """Order some of the lines: bands below one another, side by side within those that have columns."""
    if len(lines) < 2 * _LEAST_LINES or _long_ones(boxes, lines) < 2 * _LEAST_LONG:
        return _by_rows(boxes, lines)
    bands = _parts(boxes, lines, axis=1, shrink=_SHRINK_Y)
    order: list[int] = []
    start = 0
    while start < len(bands):
        stop, columns = _longest_run(boxes, bands, start)
        if columns:
            for column in columns:
                order += _ordered(boxes, column)
        else:
            order += _by_rows(boxes, bands[start])
        start = stop
    return order


def _longest_run(boxes: Boxes, bands: Sequence[list[int]], start: int) -> tuple[int, list[list[int]]]:
    """Return where the longest run of bands with common columns ends, and its columns; none where there are none."""
    best: tuple[int, list[list[int]]] = (start + 1, [])
    run: list[int] = []
    for stop in range(start, len(bands)):
        run = run + bands[stop]
        parts = _parts(boxes, run, axis=0, shrink=_SHRINK_X)
        if len(parts) < 2 and (best[1] or stop - start >= _PATIENCE):
            break
        prose = [_is_prose(boxes, part) for part in parts]
        lines = {line for part, is_prose in zip(parts, prose, strict=True) if is_prose for line in part}
        if sum(prose) > 1 and not lines.isdisjoint(bands[stop]):  # a page number below them is no part of the columns
            best = (stop + 1, _joined(parts, prose))
    return best


def _joined(parts: Sequence[list[int]], prose: Sequence[bool]) -> list[list[int]]:
    """Join parts side by side to columns, what is no prose to what stands before it."""
    columns: list[list[int]] = []
    has_prose = False
    for part, is_prose in zip(parts, prose, strict=True):
        if columns and not (is_prose and has_prose):
            columns[-1] = columns[-1] + part
        else:
            columns.append(part)
        has_prose = has_prose or is_prose
    return columns


def _is_prose(boxes: Boxes, lines: Sequence[int]) -> bool:
    if len(lines) < _LEAST_LINES:
        return False
    return float(np.median(_slenderness(boxes, lines))) >= _PROSE


def _long_ones(boxes: Boxes, lines: Sequence[int]) -> int:
    """Count lines long enough for prose; a table of thousands of cells has none, and no columns are looked for."""
    return int((_slenderness(boxes, lines) >= _PROSE).sum())


def _slenderness(boxes: Boxes, lines: Sequence[int]) -> NDArray[np.float64]:
    """Return how many times as long as high each line is."""
    left, top, right, bottom = boxes[list(lines)].T
    return np.asarray((right - left) / np.maximum(bottom - top, 1))


def _parts(boxes: Boxes, lines: Sequence[int], axis: int, shrink: float) -> list[list[int]]:
    """Part lines where nothing stands between them along an axis (0: side by side, 1: below one another)."""
    chosen = boxes[list(lines)]
    margin = shrink * np.minimum(chosen[:, 3] - chosen[:, 1], chosen[:, 2] - chosen[:, 0])
    starts, ends = chosen[:, axis] + margin, chosen[:, axis + 2] - margin
    parts: list[list[int]] = []
    reached = -np.inf
    for number in np.argsort(starts, kind="stable"):
        if starts[number] > reached:
            parts.append([])
        parts[-1].append(lines[number])
        reached = max(reached, ends[number])
    return parts


def _by_rows(boxes: Boxes, lines: Sequence[int]) -> list[int]:
    """Order lines by rows from the top, each from left to right."""
    rows: list[list[int]] = []
    for line in sorted(lines, key=lambda line: boxes[line, 1] + boxes[line, 3]):
        if rows and _in_row(boxes, line, rows[-1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: boxes[line, 0])]


def _in_row(boxes: Boxes, line: int, row: Sequence[int]) -> bool:
    """Return whether a line stands beside the row's last, not below it."""
    top, bottom = boxes[line, 1], boxes[line, 3]
    other_top, other_bottom = boxes[row[-1], 1], boxes[row[-1], 3]
    shared = min(bottom, other_bottom) - max(top, other_top)
    return bool(shared >= _SAME_ROW * min(bottom - top, other_bottom - other_top))
