"""Memory that a page needed and that is free again goes back to the system."""

from __future__ import annotations

import ctypes


def return_free_memory() -> None:
    """Have glibc give back what is free between allocations that last; elsewhere nothing is done.

    Its own thresholds only look at the end of the heap. After 20 pages a worker has 36 MiB less (benchmarks/README.md).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
