"""The picture of benchmarks/learning_curve.py, with the objects of matplotlib alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

GOALS = ((10, 0.75), (40, 0.88))
"""Annotated pages, and the entity F1 wanted after them on unseen pages of the project's layouts."""
_TITLES = {"seen": "the project's layouts", "mixed": "all layouts mixed", "unseen": "layouts never seen"}
_COLOURS = ("#0a5ac8", "#8a5a00", "#6b6b6b", "#1d7a3c")

Point = tuple[str, int, Mapping[str, float]]
"""Base, annotated pages, and F1 on each set of test pages; one for each seed."""


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw one panel for each set of test pages: the mean over seeds as a line, lowest to highest as a band."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    panels = figure.subplots(1, len(_TITLES), sharey=True)
    for axes, (name, title) in zip(panels, _TITLES.items(), strict=True):
        _panel(axes, [(base, pages, f1[name]) for base, pages, f1 in points])
        axes.set_title(f"20 pages, {title}" if name != "mixed" else f"28 pages, {title}", fontsize=10)
    panels[0].set_ylabel("entity F1")
    for pages, f1 in GOALS:
        panels[0].plot([pages], [f1], marker="_", markersize=16, color="#c03000", markeredgewidth=2)
        panels[0].annotate(
            f"goal {f1:g}", (pages, f1), xytext=(0, -11), textcoords="offset points", ha="center", fontsize=8
        )
    panels[-1].legend(fontsize=8, loc="upper left", frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, points: Sequence[tuple[str, int, float]]) -> None:
    ticks = sorted({pages for _, pages, _ in points})
    for colour, base in zip(_COLOURS, dict.fromkeys(base for base, _, _ in points), strict=False):
        values = {
            pages: [f1 for other, count, f1 in points if (other, count) == (base, pages)]
            for pages in ticks
            if any((other, count) == (base, pages) for other, count, _ in points)
        }
        axes.plot(list(values), [mean(one) for one in values.values()], color=colour, marker="o", label=base)
        lowest, highest = ([pick(one) for one in values.values()] for pick in (min, max))
        axes.fill_between(list(values), lowest, highest, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("annotated pages")
    axes.set_ylim(0.0, 1.0)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
