from __future__ import annotations

import resource
from pathlib import Path

from handler.reading.free_memory import return_free_memory

BLOCK, COUNT = 100_000, 1_000
"""Bytes of a block, below what glibc maps for itself."""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_is_free_between_lasting_blocks_goes_back() -> None:
    blocks = [bytearray(BLOCK) for _ in range(COUNT)]
    for block in blocks:
        block[:] = b"x" * BLOCK
    lasting = [bytearray(BLOCK), *blocks[::100]]
    del blocks, block
    before = resident()
    return_free_memory()
    assert before - resident() > 0.5 * BLOCK * COUNT, "the lasting ones keep glibc's own trimming from it"
    assert all(lasting[1:])
