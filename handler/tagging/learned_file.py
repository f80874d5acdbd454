"""A JSON file beside a checkpoint's weights, with what was learned from annotations; it may come from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from handler.errors import CheckpointInvalid

_MOST_BYTES = 2**24


def read_learned(path: Path) -> Any:
    """Return what the file says; None where a checkpoint has none.

    Raises:
        CheckpointInvalid: it is damaged.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise CheckpointInvalid(f"{path} has {size:,} bytes, more than {_MOST_BYTES:,}")
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointInvalid(f"{path} cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise CheckpointInvalid(f"{path.name} must be a JSON object, got {type(body).__name__}")
    return body
