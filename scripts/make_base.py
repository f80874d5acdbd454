"""Make a base that has seen generated documents: `python -m scripts.make_base`.

Receipts, forms, letters and invoices of several countries, none of anybody's, teach a graft what names, dates and sums
look like before a project's first page. It is kept in LAYOUTLOOP_HOME, and made again only where its text encoder or
the generator has changed; interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from layoutloop.processes.command import as_command
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.training import GRAFT_PREFIX, MINILM_BASE
from training.fit.documents_base import STEPS, make_documents_base

_NICENESS = 10
"""As trainings: serving has the processor first."""


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Make the base where it is not there yet, and print the setting that trainings begin at it with."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_base", description=__doc__.split("\n\n")[0])
    parser.add_argument("--base", default=MINILM_BASE, help=f"the graft to begin at (default: {MINILM_BASE})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of the optimizer (default: {STEPS})")
    options = parser.parse_args(arguments)
    if not options.base.startswith(GRAFT_PREFIX) or options.base == GRAFT_PREFIX:
        parser.error(f"--base is {GRAFT_PREFIX}<text encoder>, got {options.base!r}")
    if options.steps < 1:
        parser.error(f"--steps is at least 1, got {options.steps}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.nice(_NICENESS)
    folder = make_documents_base(options.base, NodeSettings.from_env(os.environ).home / "bases", options.steps)
    print(f"LAYOUTLOOP_TRAIN_BASE={GRAFT_PREFIX}{folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
