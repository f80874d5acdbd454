"""A further look at a page whose words are known already: it may make them better, and must not cost them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from handler.errors import OcrTimeout

logger = logging.getLogger(__name__)

Seen = TypeVar("Seen")


def in_time(look: Callable[[], Seen], known: Seen) -> Seen:
    """Return what a further look finds; what is known already where the page's time is over, which is logged."""
    try:
        return look()
    except OcrTimeout as error:
        logger.warning("a page keeps what its first reading found, though that is unsure: %s", error)
        return known
