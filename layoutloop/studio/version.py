"""The version string that Label Studio gets; it skips tasks that already hold this very string."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict

from layoutloop.store.thresholds import Thresholds
from layoutloop.studio.label_config import LabelConfig

_VERSION = re.compile(r"(ocr|\d{8}T\d{6}Z)-[0-9a-f]{8}")


def is_version(version: str | None) -> bool:
    """Return whether this has the form of the versions that `reported_version` makes; no person's has."""
    return _VERSION.fullmatch(version or "") is not None


def config_fingerprint(config: LabelConfig, engine: str, thresholds: Thresholds, *, read_only: bool = False) -> str:
    """Return 8 hex characters that change with anything that changes what is drawn."""
    drawn_with = {name: value for name, value in asdict(config).items() if name != "columns"}
    seen = {"config": drawn_with, "engine": engine, "threshold": float(thresholds.usual), "read_only": read_only}
    if thresholds.own:  # else the string is as before there were any: no prediction becomes stale by an update
        seen["thresholds"] = dict(thresholds.own)
    canonical = json.dumps(seen, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def reported_version(stamp: str | None, fingerprint: str) -> str:
    """Return the version in answers to /setup and /predict alike: `<stamp, or "ocr">-<fingerprint>`.

    Label Studio skips tasks that already hold this very string, so it must change when results would.
    """
    return f"{stamp or 'ocr'}-{fingerprint}"
