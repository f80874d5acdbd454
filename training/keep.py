"""How much of a project's past is kept: the newest versions, with archive, checkpoint, card and report."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from shim.serving import Serving, archive_path, card_path, project_model, read_serving
from training.report import report_path
from training.store import locked

logger = logging.getLogger(__name__)


def prune(model_dir: Path, project: int, keep: int) -> list[str]:
    """Delete all but the newest `keep` versions; what is or was lately in service stays. Return what went.

    The caller holds no lock of the model.
    """
    name = project_model(project)
    folder = model_dir / name
    with locked(model_dir, name):
        serving = read_serving(model_dir, name) or Serving()
        versions = sorted(
            {path.stem.removeprefix(f"{name}-") for path in folder.glob(f"{name}-*.mar")}
            | {path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")},
            reverse=True,
        )
        old = [version for version in versions[keep:] if version not in (*serving.load, serving.current)]
        for version in old:
            _delete(model_dir, name, version)
            for path in _reports(model_dir, name, version):
                path.unlink(missing_ok=True)
    if old:
        logger.info("%s: deleted %s, the newest %d are kept", name, ", ".join(old), keep)
    return old


def discard(model_dir: Path, project: int, version: str) -> None:
    """Delete a version that could not be put into service; its report stays, as `failed-<version>`.

    What is, or is to be, in service stays. The caller holds no lock of the model.
    """
    name = project_model(project)
    with locked(model_dir, name):
        serving = read_serving(model_dir, name) or Serving()
        if version in (*serving.load, serving.current):
            return
        _delete(model_dir, name, version)
        for path in _reports(model_dir, name, version):
            if path.exists():
                path.replace(path.with_name(path.name.replace(f"{name}-", "failed-", 1)))


def _delete(model_dir: Path, name: str, version: str) -> None:
    """Delete the archive first: what is left of a version without one is promoted by nobody."""
    archive_path(model_dir, name, version).unlink(missing_ok=True)
    card_path(model_dir, name, version).unlink(missing_ok=True)
    shutil.rmtree(model_dir / name / f"checkpoint-{version}", ignore_errors=True)


def _reports(model_dir: Path, name: str, version: str) -> tuple[Path, Path]:
    report = report_path(model_dir, name, version)
    return report, report.with_suffix(".html")
