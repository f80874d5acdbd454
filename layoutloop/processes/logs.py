"""The log of a program that runs for long."""

from __future__ import annotations

import logging


def set_up_logging(level: str) -> None:
    """Log to standard error; never request bodies, and no addresses with signatures in them."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its other levels print whole addresses
