"""`python -m shim`: the shim on gunicorn, in one process with threads. Flags win over the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from layoutloop.processes.command import as_command
from layoutloop.processes.logs import set_up_logging
from layoutloop.settings.serving import Settings
from layoutloop.store.path import store_path
from shim.app import create_app
from shim.connections import Worker

_SPARE_THREADS = 16
"""Threads beyond the admitted predicts, for /health, /setup, webhooks and refused predicts."""


class Server(BaseApplication):
    """gunicorn with our configuration and no command line of its own."""

    def __init__(self, make_app: Callable[[], Flask], deadline_s: float, options: dict[str, Any]) -> None:
        """Keep the options until gunicorn loads them."""
        self.deadline_s = deadline_s
        self._make_app = make_app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Hand over the options."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the app, in the worker process."""
        return self._make_app()


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes."""
    given = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    settings = replace(Settings.from_env(os.environ), **given)
    set_up_logging(settings.log_level)
    options = {
        "bind": f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}",
        "workers": 1,
        "worker_class": Worker,
        "threads": settings.max_predicts + _SPARE_THREADS,
        "graceful_timeout": 5,
        "loglevel": "warning",
    }
    Server(lambda: create_app(settings), settings.deadline_s, options).run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shim", description=__doc__)
    parser.add_argument("--host", help="address to listen on (LAYOUTLOOP_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (LAYOUTLOOP_PORT)")
    parser.add_argument("--log-level", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="(LAYOUTLOOP_LOG_LEVEL)")
    parser.add_argument("--model-dir", type=store_path, help="the model store, a folder or a URL (MODEL_DIR)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
