"""Reports of nodes that are gone for good: killed, or their container replaced by one of another name."""

from __future__ import annotations

import json
import logging
import time

from layoutloop.store.path import StorePath

logger = logging.getLogger(__name__)

LOST_AFTER_S = 86400.0
"""Long after its silence held up nobody any more, and long enough for a person to see in it what became of a node."""


def forget_lost_nodes(model_dir: StorePath) -> None:
    """Delete the reports of nodes that were not heard of for a day; what is no report stays."""
    for path in (model_dir / ".nodes").glob("*.json"):
        try:
            if time.time() - float(json.loads(path.read_text())["time"]) > LOST_AFTER_S:
                path.unlink(missing_ok=True)
                logger.info("node %s was not heard of for a day, its report is deleted", path.stem)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.info("%s stays: %s", path, error)
