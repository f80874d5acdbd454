"""What the shim counts; one registry per app, so that two apps in one process do not add up."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_STAGES_S = (0.01, 0.03, 0.1, 0.3, 1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and times, named as Prometheus wants them.

    Args:
        pages_waiting: called at each scrape.
    """

    def __init__(self, pages_waiting: Callable[[], int]) -> None:
        """Make an empty registry."""
        self.registry = CollectorRegistry()
        self.tasks = Counter(
            "layoutloop_tasks", "tasks of predict requests by outcome", ["outcome"], registry=self.registry
        )
        self.errors = Counter("layoutloop_errors", "pages and requests refused", ["code"], registry=self.registry)
        self.unknown_labels = Counter(
            "layoutloop_unknown_labels", "regions whose label the label config has not", registry=self.registry
        )
        self.other_engine = Counter(
            "layoutloop_other_ocr_engine",
            "pages read by another engine or version than their model was trained with",
            registry=self.registry,
        )
        self.cached = Counter(
            "layoutloop_cached_pages", "pages whose answer was cached, by stage", ["stage"], registry=self.registry
        )
        self.seconds = Histogram(
            "layoutloop_page_seconds", "time of one page by stage", ["stage"], buckets=_STAGES_S, registry=self.registry
        )
        waiting = Gauge("layoutloop_pages_waiting", "pages that wait or run", registry=self.registry)
        waiting.set_function(pages_waiting)
