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
            # First the archive: what is left of a version without one is promoted by nobody.
            report = report_path(model_dir, name, version)
            files = (archive_path(model_dir, name, version), card_path(model_dir, name, version), report)
            for path in (*files, report.with_suffix(".html")):
                path.unlink(missing_ok=True)
            shutil.rmtree(folder / f"checkpoint-{version}", ignore_errors=True)
    if old:
        logger.info("%s: deleted %s, the newest %d are kept", name, ", ".join(old), keep)
    return old
