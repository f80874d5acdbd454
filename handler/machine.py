"""What the machine lacks, told apart from what is wrong with a page: disk, memory, open files, processes."""

from __future__ import annotations

import errno

from handler.errors import MachineFailed

_DISK = "free space on its disk (LAYOUTLOOP_HOME)"
_MEMORY = "give it more memory, or fewer workers (LAYOUTLOOP_OCR_WORKERS, LAYOUTLOOP_PROJECT_WORKERS)"
_FILES = "raise its limit of open files (ulimit -n)"
_ADVICE = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EROFS: "its disk can only be read: mount it for writing",
    errno.EIO: "its disk fails",
    errno.ESTALE: "its network file system was lost: mount it again",
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: f"it starts no further process: {_MEMORY}, and see its limit of processes (ulimit -u)",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
}


def is_of_machine(error: BaseException) -> bool:
    """Return whether the machine lacks something, so that the same may go well another time."""
    return isinstance(error, MachineFailed | MemoryError) or (isinstance(error, OSError) and error.errno in _ADVICE)


def machine_failed(error: OSError | MemoryError) -> MachineFailed:
    """Return the error that says what the machine lacks, and what to do."""
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM
    found = (error.strerror if isinstance(error, OSError) else "") or str(error) or "not enough memory"
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    advice = _ADVICE.get(number or 0, "see that its disk works, and that LAYOUTLOOP_HOME may be written")
    return MachineFailed(f"the machine could not do this: {found}{where}; {advice}")
