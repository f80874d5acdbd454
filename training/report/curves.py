"""Curves of a training as SVG, with the objects of matplotlib alone: `pyplot` would keep global state."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.measure.reliability import Reliability

_LINE = "#0a5ac8"
_BEST = "#cd4b00"
_FAINT = "#8a8f96"


def loss_curve(points: Sequence[tuple[float, float]]) -> str:
    """Return the SVG of (step, loss); a loss that is not finite is a gap."""
    return _curve(points, "step", "loss")


def f1_curve(points: Sequence[tuple[float, float]]) -> str:
    """Return the SVG of (epoch, entity F1), with the best one marked: its weights are the candidate."""
    return _curve(points, "epoch", "entity F1", best=True)


def reliability_plot(reliability: Reliability) -> str:
    """Return the SVG of score against the share of boxes that are right; on the diagonal a score says what it is."""
    figure, axes = _axes("score", "share of boxes that are right", size=(5.2, 3.6))
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1.0, linestyle="--")
    for curve, colour, name in (
        (reliability.raw if reliability.calibrated_on else None, _BEST, "before calibration"),
        (reliability.served, _LINE, "as served"),
    ):
        if curve is not None:
            xs, ys = [one.score for one in curve.bins], [one.right for one in curve.bins]
            axes.plot(xs, ys, color=colour, linewidth=1.2, marker="o", markersize=5, label=name)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.05)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return _svg(figure)


def _curve(points: Sequence[tuple[float, float]], x: str, y: str, *, best: bool = False) -> str:
    figure, axes = _axes(x, y)
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
    axes.set_ylim(*((0.0, 1.02) if best else (0.0, None)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    return _svg(figure)


def _axes(x: str, y: str, size: tuple[float, float] = (5.2, 3.0)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
