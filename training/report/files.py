"""The files of a report, beside the version that it is about: JSON, and a page for people."""

from __future__ import annotations

from collections.abc import Sequence

from layoutloop.errors import ModelNotReady
from layoutloop.foreign_json import parse_json
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import AnyPath, StorePath, store_access
from layoutloop.store.writing import write_bytes, write_json
from training.report.drawing import Drawing
from training.report.page import render
from training.report.report import Report

KEPT_REJECTED = 5
_JSON, _HTML = ".report.json", ".report.html"


def read_report(path: StorePath) -> Report:
    """Return a report.

    Raises:
        ModelNotReady: it is missing or cannot be understood.
    """
    try:
        with store_access(path):
            text = path.read_bytes()
        return Report.from_json(parse_json(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotReady(f"the report {path} cannot be read ({error})") from error


def write_report(folder: AnyPath, stem: str, report: Report, drawings: Sequence[Drawing] = ()) -> AnyPath:
    """Write a report as JSON and as one HTML file that needs nothing else; return the JSON's path.

    Args:
        folder: where.
        stem: beginning of the file names.
        report: what to write.
        drawings: pages to show.

    Raises:
        OSError: they cannot be written.
    """
    path = folder / f"{stem}{_JSON}"
    write_json(path, report.to_json())
    # For its owner alone: the pages drawn in it may be confidential.
    write_bytes(folder / f"{stem}{_HTML}", render(report, drawings).encode("utf-8", "replace"), mode=0o600)
    return path


def keep_report(store: ModelStore, report: Report, drawings: Sequence[Drawing] = ()) -> StorePath:
    """Write the report of a training beside the version that it is about; return the JSON's path.

    A report without a version is called `rejected-<stamp>`, or `dry-run-<stamp>` where it was only tried. Of
    either kind the newest five are kept.

    Raises:
        OSError: it cannot be written.
    """
    folder = store.folder(report.name)
    if report.version is not None:
        return write_report(folder, f"{report.name}-{report.version}", report, drawings)
    kind = "dry-run" if report.dry_run else "rejected"
    path = write_report(folder, f"{kind}-{store.new_stamp(report.name)}", report, drawings)
    _prune(folder, kind)
    return path


def _prune(folder: StorePath, kind: str) -> None:
    stems = sorted(path.name.removesuffix(_JSON) for path in folder.glob(f"{kind}-*{_JSON}"))
    for stem in stems[:-KEPT_REJECTED]:
        for suffix in (_JSON, _HTML):
            (folder / f"{stem}{suffix}").unlink(missing_ok=True)
