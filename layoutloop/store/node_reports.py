"""What the watcher of each node reports in `MODEL_DIR/.nodes/<node>.json`: checked as it is read, each file by itself.

A report is written by another machine, perhaps of another release, and may lie in a folder that anyone can write to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from layoutloop.foreign_json import mapping_of, number_of, parse_json, texts_of
from layoutloop.moments import age_s
from layoutloop.store.manifest import NODE_SILENT_S
from layoutloop.store.path import StorePath, children


@dataclass(frozen=True, slots=True)
class NodeReports:
    """The reports of nodes that were heard of lately.

    Args:
        live: by node.
        problems: sentences about files that are no report.
    """

    live: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_reports(folder: StorePath, silent_s: float | None = None) -> NodeReports:
    """Return the reports in a folder that are no older than `silent_s`, or than each says; one bad file hides no other.

    Raises:
        OSError: of a folder at a URL, which cannot be listed.
    """
    live: dict[str, dict[str, Any]] = {}
    problems = []
    for path in children(folder, "*.json"):
        try:
            report = parse_report(path.read_bytes())
        except FileNotFoundError:
            continue  # its node ended in this moment
        except (OSError, ValueError) as error:
            problems.append(f"{path} is no report of a node ({error}); its watcher writes it anew, or delete it")
            continue
        patience_s = report.get("silent_s", NODE_SILENT_S) if silent_s is None else silent_s
        if age_s(report["time"]) < patience_s:
            live[path.stem] = report
    return NodeReports(live, tuple(problems))


def parse_report(text: bytes) -> dict[str, Any]:
    """Return a report; what other releases leave out or add is as they wrote it.

    Raises:
        ValueError: it is none.
    """
    body = mapping_of(parse_json(text), "a report")
    report = {**body, "time": time_of(body)}
    if "silent_s" in body:
        report["silent_s"] = number_of(body["silent_s"], "`silent_s`")
    if body.get("away_since") is not None:
        report["away_since"] = number_of(body["away_since"], "`away_since`")
    report["holds"] = {
        name: list(texts_of(versions, f"`holds` of {name:.80}"))
        for name, versions in mapping_of(body.get("holds") or {}, "`holds`").items()
    }
    report["errors"] = {what: str(why) for what, why in mapping_of(body.get("errors") or {}, "`errors`").items()}
    report["asleep"] = list(texts_of(body.get("asleep", []), "`asleep`"))
    report["checked"] = {
        name: number_of(moment, f"`checked` of {name:.80}")
        for name, moment in mapping_of(body.get("checked", {}), "`checked`").items()
    }
    return report


def time_of(report: object) -> float:
    """Return when a report was written, Unix seconds.

    Raises:
        ValueError: it does not say.
    """
    return number_of(mapping_of(report, "a report").get("time"), "`time`")
