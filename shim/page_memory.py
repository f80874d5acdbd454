"""Pages that were read, kept in memory: a new model version asks for them again, without their images."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Hashable
from typing import Any

import cachetools

_LIMIT_BYTES = 32 * 2**20
"""Compressed: some thousand pages, or 700 with the thumbnail (43 kB) that a model with an image branch needs."""
_FAST = 1


class PageMemory:
    """Page JSON by what it was made of; what was not asked for longest goes first.

    Args:
        limit_bytes: of all pages, compressed.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._pages: cachetools.LRUCache[Hashable, bytes] = cachetools.LRUCache(limit_bytes, getsizeof=len)

    def get(self, key: Hashable) -> dict[str, Any] | None:
        """Return a page, None where it is not known (any more)."""
        with self._lock:
            packed = self._pages.get(key)
        if packed is None:
            return None
        page: dict[str, Any] = json.loads(zlib.decompress(packed))
        return page

    def put(self, key: Hashable, page: dict[str, Any]) -> None:
        """Keep a page; one larger than the limit is not kept."""
        packed = zlib.compress(json.dumps(page).encode(), _FAST)
        with self._lock:
            if len(packed) <= self._pages.maxsize:
                self._pages[key] = packed
