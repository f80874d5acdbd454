"""What is in service: `python -m scripts.rollout` brings this node's TorchServe to the desired state, once.

`--watch` goes on for ever (the supervisor runs it beside TorchServe). `--project 7 --to VERSION` puts an archived
version into service, `--back-to VERSION` an older one, under a new stamp; `--list` shows every project's versions.
`--ready` tells, for a readiness probe, whether this node holds all that is in service.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from layoutloop.errors import SettingsInvalid
from layoutloop.processes.command import as_command
from layoutloop.settings.node import shim_settings
from rollout.readiness import readiness_problem


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it did what was asked, or when the node is ready."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.to is None and options.back_to is None) != (options.project is None):
        parser.error("--project and --to (or --back-to) belong together")
    if options.ready:
        return _ready()
    from scripts.rollout_commands import run  # takes a second to load, which a probe must not cost every time

    return run(options)


def _ready() -> int:
    try:
        # The note lies in the home; a model store at a URL would first load its driver.
        problem = readiness_problem(shim_settings(os.environ | {"MODEL_DIR": os.devnull}))
    except SettingsInvalid as error:
        problem = str(error)
    print(problem or "ready")
    return 1 if problem else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.rollout", description=__doc__.split("\n\n")[0])
    parser.add_argument("--watch", action="store_true", help="keep at it")
    parser.add_argument("--ready", action="store_true", help="say whether this node holds all that is in service")
    parser.add_argument("--list", action="store_true", help="show every version in the model store")
    parser.add_argument("--project", type=int, help="Label Studio's project id (with --to or --back-to)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--to", metavar="VERSION", help="put this archived version into service")
    which.add_argument("--back-to", metavar="VERSION", help="archive this older version anew and put it into service")
    parser.add_argument("--untested", action="store_true", help="also where no TorchServe runs that could try it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
