"""The TorchServe nodes: which there are, which has least to do, and which lately failed.

DNS is the list of nodes: a name with several addresses (a headless service of Kubernetes, a service that Compose
scales) means a node behind each. No node is left out for good, since only a request shows that it is back.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import urlsplit

from layoutloop.errors import TorchServeUnavailable

logger = logging.getLogger(__name__)

RESOLVE_S = 5.0
"""How long an answer of DNS is used; a node that joins is known as soon."""
RESOLVE_AFTER_FAILURE_S = 1.0
RESOLVE_WAIT_S = 1.0
"""How long the request that starts a look-up waits for it, where nodes are known; others go on with those at once."""
REFUSAL_S = 60.0
"""For so long a refusal is reported; a node that got no request since may have been repaired."""
AVOID_S = 5.0
"""How long a node that failed comes last; then one request tries it, and the others when that was answered."""


@dataclass(slots=True)
class _Node:
    """One node as its requests found it.

    Args:
        in_flight: requests it is answering, by path.
        turn: number of the last request that it got.
        avoid: until when (monotonic seconds) it comes last, by path; "" is for all.
        refusal: why it refused the last page, for all that it holds the version; empty where it did not.
        refused_at: when that was, monotonic seconds.
    """

    in_flight: dict[str, int] = field(default_factory=dict)
    turn: int = 0
    avoid: dict[str, float] = field(default_factory=dict)
    refusal: str = ""
    refused_at: float = 0.0

    def avoided_until(self, path: str, now: float) -> float:
        """Return until when it comes last, 0 where it does not."""
        until = max(self.avoid.get("", 0.0), self.avoid.get(path, 0.0))
        return until if until > now else 0.0


@dataclass(frozen=True, slots=True)
class Refusals:
    """Nodes that refuse every page.

    Args:
        sentences: why, of each.
        of_all: whether no other node is known.
    """

    sentences: tuple[str, ...] = ()
    of_all: bool = False


class Nodes:
    """Chooses among nodes; for use from many threads.

    Args:
        urls: like http://torchserve:7080; each is one node or, where its name has several addresses, several.
        resolve: returns the address of every node behind one of them.
    """

    def __init__(self, urls: Sequence[str], resolve: Callable[[Sequence[str]], list[str]] | None = None) -> None:
        """Resolve nothing yet."""
        self._urls = tuple(urls)
        self._addresses_of = resolve or addresses_of
        self._known: dict[str, list[str]] = {}
        self._nodes: dict[str, _Node] = {}
        self._resolve_at = 0.0
        self._turns = 0
        self._lock = threading.Lock()
        self._lookup: threading.Thread | None = None

    def count(self, wait_s: float = 0.0) -> int:
        """Return how many nodes seem to answer, at least 1; DNS has `wait_s` to list them."""
        self._resolve(wait_s)
        with self._lock:
            return max(1, sum("" not in node.avoid for node in self._nodes.values()))

    def others(self, tried: Set[str]) -> bool:
        """Return whether there is a node besides those."""
        with self._lock:
            return not self._nodes.keys() <= tried

    def take(self, path: str, tried: Set[str] = frozenset(), wait_s: float = RESOLVE_S) -> str:
        """Return the address of the node with least to do; one that was tried only where all were. Hand it back.

        Fewest requests for the same path count first, then fewest of all, then the turn that is longest ago.

        Args:
            path: of the request.
            tried: nodes that it was sent to already.
            wait_s: for so long DNS is waited for where no node is known.

        Raises:
            TorchServeUnavailable: the name has no address, so there is no node.
        """
        self._resolve(wait_s)
        now = time.monotonic()
        with self._lock:
            if not self._nodes:
                raise TorchServeUnavailable(f"{', '.join(self._urls)}: no address is known for this name")
            left = {url: node for url, node in self._nodes.items() if url not in tried} or self._nodes

            def order(url: str) -> tuple[float, int, int, int]:
                node = left[url]
                busy = node.in_flight
                return node.avoided_until(path, now), busy.get(path, 0), sum(busy.values()), node.turn

            url = min(left, key=order)
            node = left[url]
            for what in {"", path} & node.avoid.keys():
                node.avoid[what] = max(node.avoid[what], now + AVOID_S)  # this request tries it, not all at once
            node.in_flight[path] = node.in_flight.get(path, 0) + 1
            self._turns += 1
            node.turn = self._turns
            return url

    def hand_back(self, url: str, path: str) -> None:
        """Count a request as over."""
        with self._lock:
            if node := self._nodes.get(url):
                node.in_flight[path] = node.in_flight.get(path, 1) - 1
                if node.in_flight[path] <= 0:
                    del node.in_flight[path]

    def succeeded(self, url: str, path: str) -> None:
        """Note that a node answered."""
        with self._lock:
            if node := self._nodes.get(url):
                node.avoid.pop("", None)
                node.avoid.pop(path, None)

    def failed(self, url: str, path: str = "") -> None:
        """Note that a node did not answer, or not for this path; it comes last for a while."""
        with self._lock:
            if node := self._nodes.get(url):
                node.avoid[path] = time.monotonic() + AVOID_S
                if path:
                    node.avoid.pop("", None)  # it did answer
            self._resolve_at = min(self._resolve_at, time.monotonic() + RESOLVE_AFTER_FAILURE_S)

    def note_refusal(self, url: str, refusal: str) -> None:
        """Note why a node that answered refuses every page; "" where it does not."""
        with self._lock:
            if node := self._nodes.get(url):
                node.refusal, node.refused_at = refusal, time.monotonic()

    def refusals(self) -> Refusals:
        """Return why nodes lately refused the last page sent to them; sends nothing."""
        since = time.monotonic() - REFUSAL_S
        with self._lock:
            known = [node for _, node in sorted(self._nodes.items())]
            lately = tuple(node.refusal for node in known if node.refusal and node.refused_at > since)
            return Refusals(lately, of_all=0 < len(lately) == len(known))

    def _resolve(self, wait_s: float) -> None:
        """Look the names up again where the answer is old, and wait for it for a while.

        DNS may take a minute, so a thread of its own waits for it, and no request waits beyond its time.
        """
        with self._lock:
            known = bool(self._nodes)
            is_old = time.monotonic() >= self._resolve_at and not (self._lookup and self._lookup.is_alive())
            if is_old:
                self._lookup = threading.Thread(target=self._look_up, name="nodes", daemon=True)
                self._lookup.start()
            lookup = self._lookup
        if lookup and (is_old or not known):
            lookup.join(min(wait_s, RESOLVE_WAIT_S) if known else wait_s)

    def _look_up(self) -> None:
        """Look every name up; what was known of one stays where DNS does not answer."""
        answers = {url: self._addresses_of([url]) for url in self._urls}
        self._known |= {url: addresses for url, addresses in answers.items() if addresses}
        found = sorted(set(chain.from_iterable(self._known.values())))
        with self._lock:
            if set(found) != set(self._nodes):
                logger.info("TorchServe nodes: %s", ", ".join(found))
                self._nodes = {url: self._nodes.get(url) or _Node() for url in found}
            pause = RESOLVE_S if any(answers.values()) else RESOLVE_AFTER_FAILURE_S
            self._resolve_at = time.monotonic() + pause


def addresses_of(urls: Sequence[str]) -> list[str]:
    """Return the address of every node behind `urls`, sorted; none for a name that has no address.

    Of a name that has IPv4 and IPv6 addresses the first kind counts alone: both lead to the same nodes.
    """
    found: set[str] = set()
    for url in urls:
        parts = urlsplit(url)
        try:
            answers = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the second where it is not even a name
            logger.info("%s has no address: %s", parts.hostname, error)
            continue
        hosts = {str(address[0]) for family, *_, address in answers if family == socket.AF_INET}
        hosts = hosts or {f"[{address[0]}]" for family, *_, address in answers if family == socket.AF_INET6}
        found |= {f"http://{host}:{parts.port or 80}" for host in hosts}
    return sorted(found)
