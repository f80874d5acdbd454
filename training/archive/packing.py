"""A card, a configuration and a checkpoint to one .mar, by way of torch-model-archiver.

Three traps of torch-model-archiver 0.12.0 decide the shape of this file. It works in `$TMPDIR/<model name>`, which
it deletes first, so each run gets a TMPDIR of its own. It writes its output in place, so that goes to a temporary
folder and is moved. It copies the contents of an extra folder flat, so the staging folder contains `handler/`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from layoutloop.errors import ArchiveFailed
from layoutloop.store.manifest import OCR_MODEL, VersionCard, archive_name
from layoutloop.store.writing import file_mode, write_json

HANDLER = Path(__file__).resolve().parents[2] / "handler"
_WORK_PREFIX = ".archiving-"
_STALE_S = 3600
"""No build takes so long: a work folder older than this was left by one that was killed."""


def handler_sha256() -> str:
    """Return the digest of the handler package as it would travel."""
    digest = hashlib.sha256()
    for path in _handler_files():
        digest.update(str(path.relative_to(HANDLER)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _handler_files() -> list[Path]:
    return sorted(path for path in HANDLER.rglob("*") if path.suffix in (".py", ".yaml"))


def pack(folder: Path, card: VersionCard, config: dict[str, Any], checkpoint: Path | None) -> VersionCard:
    """Write the archive of a card, and the card beside it; return it with digest and time.

    Args:
        folder: of the model.
        card: of the new version.
        config: its model-config.yaml.
        checkpoint: folder that travels as `checkpoint/`, if any.

    Raises:
        ArchiveFailed: nothing was left behind.
    """
    card = replace(
        card,
        handler_sha256=handler_sha256(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    target = folder / archive_name(card.model, card.version)
    beside = target.with_suffix(".json")
    folder.mkdir(parents=True, exist_ok=True)
    _clear_stale(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=_WORK_PREFIX) as scratch:
            work = Path(scratch)
            _stage(work / "staging", card, config, checkpoint)
            archive = _archive(work, card)
            # First the card: one without an archive is harmless, an archive without a card cannot be served.
            write_json(beside, card.to_json())
            archive.chmod(file_mode(folder))
            os.replace(archive, target)
    except OSError as error:
        for path in (target, beside):
            if path.is_file():
                path.unlink()
        raise ArchiveFailed(f"{target.name} cannot be written: {error}") from error
    return card


def _clear_stale(folder: Path) -> None:
    """Remove what builds that were killed left in a model's folder."""
    for path in folder.glob(f"{_WORK_PREFIX}*"):
        try:
            age_s = time.time() - path.stat().st_mtime
        except OSError:
            continue  # another build's, which ended at this moment
        if age_s > _STALE_S:
            shutil.rmtree(path, ignore_errors=True)


def _stage(staging: Path, card: VersionCard, config: dict[str, Any], checkpoint: Path | None) -> None:
    for path in _handler_files():
        copy = staging / "handler" / path.relative_to(HANDLER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    if checkpoint is not None:
        (staging / "checkpoint").symlink_to(checkpoint.resolve())  # the archiver copies what it points to
    write_json(staging / "card.json", card.to_json())
    (staging.parent / "model-config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def _archive(work: Path, card: VersionCard) -> Path:
    """Run torch-model-archiver; stored, not deflated, since weights do not compress."""
    entry = "ocr_handler.py" if card.model == OCR_MODEL else "layoutlmv3_handler.py"
    temporary = work / "tmp"
    temporary.mkdir()
    command = [
        *(sys.executable, "-m", "model_archiver.model_packaging"),
        *("--model-name", card.model, "--version", card.version),
        *("--handler", str(work / "staging" / "handler" / entry)),
        *("--extra-files", str(work / "staging")),
        *("--config-file", str(work / "model-config.yaml")),
        *("--archive-format", "zip-store", "--export-path", str(work)),
    ]
    run = subprocess.run(command, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True)
    output = work / f"{card.model}.mar"
    if run.returncode != 0 or not output.exists():
        raise ArchiveFailed(f"torch-model-archiver failed: {run.stderr.strip()[-500:]}")
    return output
