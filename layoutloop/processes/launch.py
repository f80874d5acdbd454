"""Start a program that ends with its parent: `python -m layoutloop.processes.launch [options] -- program arguments...`.

supervisord cannot stop its children when it is killed with SIGKILL. The kernel can: this launcher requests SIGTERM at
the death of the parent and then becomes the program, so the process id stays the one the parent knows.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; survives exec, is not inherited by children."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def program_environment(
    environ: Mapping[str, str], keep: Sequence[str] | None, additions: Sequence[str]
) -> dict[str, str]:
    """Choose what the program sees of the environment.

    Args:
        environ: the launcher's own environment.
        keep: the only names passed on (those that are set); None passes on everything.
        additions: `NAME=VALUE` pairs, which win over what is passed on.
    """
    chosen = dict(environ) if keep is None else {name: environ[name] for name in keep if name in environ}
    return chosen | dict(pair.split("=", 1) for pair in additions)


def main(arguments: Sequence[str]) -> None:
    """Become the program named after `--`."""
    parser = argparse.ArgumentParser(prog="python -m layoutloop.processes.launch", description=__doc__)
    parser.add_argument("--keep", help="comma separated names: the only variables passed on (default: all)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable to add")
    parser.add_argument("--chdir", type=Path, help="the program's working folder")
    parser.add_argument("--nice", type=int, default=0, help="how much less the processor is its own")
    parser.add_argument("--parent", type=int, help="the process that must be the parent still; else nothing is started")
    parser.add_argument("program", nargs="+", help="the program and its arguments, after --")
    options = parser.parse_args(arguments)
    die_with_parent()
    if options.parent is not None and os.getppid() != options.parent:
        sys.exit(1)  # it ended before the kernel was set to end this one with it
    os.nice(options.nice)
    if options.chdir:
        os.chdir(options.chdir)
    keep = options.keep.split(",") if options.keep is not None else None
    os.execvpe(options.program[0], options.program, program_environment(os.environ, keep, options.set))  # noqa: S606 -- exec without a shell is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
