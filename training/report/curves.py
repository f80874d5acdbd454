"""Curves of a training as SVG, with the objects of matplotlib alone: `pyplot` would keep global state."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_LINE = "#0a5ac8"
_BEST = "#cd4b00"


def loss_curve(points: Sequence[tuple[float, float]]) -> str:
    """Return the SVG of (step, loss); a loss that is not finite is a gap."""
    return _curve(points, "step", "loss")


def f1_curve(points: Sequence[tuple[float, float]]) -> str:
    """Return the SVG of (epoch, entity F1), with the best one marked: its weights are the candidate."""
    return _curve(points, "epoch", "entity F1", best=True)


def _curve(points: Sequence[tuple[float, float]], x: str, y: str, *, best: bool = False) -> str:
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    # A single point, or one between two gaps, has no line.
    axes.plot(xs, ys, color=_LINE, marker="o" if len(points) <= 60 else None, markersize=3, linewidth=1.6)
    finite = [point for point in points if math.isfinite(point[1])]
    if best and finite:
        where, highest = max(finite, key=lambda point: point[1])
        axes.plot([where], [highest], color=_BEST, marker="o", markersize=7, fillstyle="none")
        axes.annotate(
            f"{highest:.3f}", (where, highest), xytext=(0, -14), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(*((0.0, 1.02) if best else (0.0, None)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
