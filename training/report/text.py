"""A report as text for a terminal."""

from __future__ import annotations

from layoutloop.plural import counted
from training.measure.scoring import Found
from training.report.report import Report


def score_table(report: Report) -> str:
    """Return the per-label table of each model as text."""
    measured = [(report.version or report.name, report.scores)] if report.scores else []
    measured += [(one.version, one.scores) for one in report.compared]
    lines: list[str] = []
    for name, scores in measured:
        rows = [*scores.labels, scores.overall]
        width = max(len("label"), *(len(row.label) for row in rows))
        lines += ["", f"{name} on {counted(len(scores.pages), 'page')}"]
        lines.append(f"{'label':{width}}  marked  predicted  precision  recall     F1")
        lines += [
            f"{row.label:{width}}  {row.support:6}  {row.predicted:9}"
            f"  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:.3f}"
            for row in rows
        ]
        if found := Found.on(scores.pages):
            other = f"label right but another box {found.other_box}"
            lines.append(f"box right {found.right}, {other}, not found {found.missed}")
        failed = sum(page.error is not None for page in scores.pages)
        lines += [f"no answer for {counted(failed, 'page')}"] if failed else []
    if report.reliability is not None:
        lines += ["", f"scores: {report.reliability.sentence}"]
    if report.reading_ceiling is not None:
        lines += ["", f"{report.reading_ceiling:.1%} of the marked boxes hold a word that was read"]
    lines += [f"left out: {found.count} x {reason}" for reason, found in report.left_out.items()]
    return "\n".join(lines)
