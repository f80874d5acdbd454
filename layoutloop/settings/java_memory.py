"""How many bytes of pages one TorchServe gets at a time, and the heap that its Java needs for them.

Measured (TorchServe 0.12.0, 12 workers, 60 pages of 24 MB): with 512 MiB, enough for four workers, it answered 18 of
them and lost the connections of the others.
"""

from __future__ import annotations

_MIB = 2**20
_LARGEST_MIB = 32
"""A page at max_request_size: one for each worker, whatever else is small."""
_LEAST_WORKERS = 2
CLIENTS = 3
"""That send pages to one TorchServe at a time: two shims, as in deploy/kubernetes, and a trainer or a command."""
_ITSELF_MIB = 256
_LEAST_HEAP_MIB = 512


def bytes_in_flight(ocr_workers: int) -> int:
    """Return how many bytes of pages one client sends to one TorchServe at a time."""
    return _LARGEST_MIB * _MIB * max(_LEAST_WORKERS, ocr_workers)


def heap_mib(ocr_workers: int) -> int:
    """Return the MiB of Java's heap: the pages of all clients, and what it needs itself."""
    return max(_LEAST_HEAP_MIB, _ITSELF_MIB + CLIENTS * bytes_in_flight(ocr_workers) // _MIB)
