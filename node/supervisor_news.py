"""What supervisord logged about programs that ended, as sentences for the terminal."""

from __future__ import annotations

import re
from pathlib import Path

ENDED = re.compile(r"(?:exited|gave up): (?P<name>\S+) (?P<how>.*)")


class SupervisorNews:
    """Returns, once each, what supervisord logged about programs that ended."""

    def __init__(self, log: Path) -> None:
        self.logs = log.parent
        self.log = log
        self.read = self.log.stat().st_size if self.log.exists() else 0

    def ended(self) -> list[str]:
        """Return a sentence for each program that ended since the last call."""
        if not self.log.exists():
            return []
        if self.log.stat().st_size < self.read:
            self.read = 0  # the log was rotated
        with self.log.open("rb") as log:
            log.seek(self.read)
            news = log.read()
        self.read += len(news)
        return [self._sentence(match) for match in ENDED.finditer(news.decode(errors="replace"))]

    def _sentence(self, match: re.Match[str]) -> str:
        log = self.logs / f"{match['name']}.log"
        said = last_line(log)
        return f"{match['name']} ended {match['how']} and is started again; {log}" + (
            f" ends with: {said}" if said else ""
        )


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty, at most 300 characters of it."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
