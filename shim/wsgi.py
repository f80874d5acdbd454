"""The importable app: `gunicorn --workers 1 --threads 24 --worker-class shim.connections.Worker shim.wsgi:app`.

One process: caches live in it.
"""

from __future__ import annotations

import os

from layoutloop.processes.logs import set_up_logging
from layoutloop.settings.serving import Settings
from shim.app import create_app

_settings = Settings.from_env(os.environ)
set_up_logging(_settings.log_level)
app = create_app(_settings)
