"""Stop signals that a program looks at between its steps."""

from __future__ import annotations

import signal
from types import FrameType


class StopSignals:
    """Counts SIGINT and SIGTERM from its creation on, instead of ending this process."""

    def __init__(self) -> None:
        self.received = 0
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGTERM, self._count)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.received += 1
