"""Connect Label Studio's projects with the shim: `python -m scripts.connect --project 7`, or `--all`.

Says in a sentence each what it did, or found already right; run twice it changes nothing. `--remove` deletes the ML
backend and its webhook, and leaves predictions and annotations.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from layoutloop.connect.backend import connect, disconnect
from layoutloop.connect.queries import project_rows, who_am_i
from layoutloop.connect.shim_address import ShimAddress, check_shim, tell_disconnected
from layoutloop.errors import LayoutLoopError, NotConnected, SettingsInvalid
from layoutloop.processes.command import as_command
from layoutloop.settings.node import NodeSettings
from layoutloop.settings.serving import Settings
from layoutloop.studio.api_key_file import KEY_FILE_VARIABLE, KEY_VARIABLE
from layoutloop.studio.client import StudioClient, open_studio

_TIMEOUT_S = 130.0
"""Label Studio itself waits 100 s for a test prediction, and sends the shim a few requests before it."""


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when every project is connected (or free of the shim, with --remove)."""
    options = _parser().parse_args(arguments)
    node = NodeSettings.from_env(os.environ)
    settings = Settings.from_env(os.environ | node.environment())
    if not settings.label_studio_api_key:
        raise SettingsInvalid(
            f"{KEY_VARIABLE} is not set (nor {KEY_FILE_VARIABLE}): make a key in Label Studio, Account & Settings"
        )
    shim = ShimAddress.of(options.shim_url or node.address, settings)
    with open_studio(settings.label_studio_url, settings.label_studio_api_key, _TIMEOUT_S) as client:
        print(f"Label Studio answers at {settings.label_studio_url}; the {client.key_kind} is {who_am_i(client)}'s")
        if not options.remove:
            _check_shim(shim, given=bool(options.shim_url))
        projects = sorted(project_rows(client)) if options.all else [options.project]
        if not projects:
            print("there is no project that this key may see")
        return _each(client, projects, shim, options.remove)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.connect", description=(__doc__ or "").split("\n\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--project", type=int, help="Label Studio's project id")
    which.add_argument("--all", action="store_true", help="every project that the key may see")
    parser.add_argument("--remove", action="store_true", help="delete the ML backend and its webhook")
    parser.add_argument(
        "--shim-url", metavar="URL", help="the shim as Label Studio reaches it (default: this machine, LAYOUTLOOP_PORT)"
    )
    return parser


def _check_shim(shim: ShimAddress, *, given: bool) -> None:
    """See that the shim answers; an address that was given may be one that Label Studio alone can reach."""
    try:
        print(check_shim(shim))
    except NotConnected as error:
        if not given:
            raise
        print(f"from here, {error}. Label Studio may reach it all the same, so it is tested from there")


def _each(client: StudioClient, projects: Sequence[int], shim: ShimAddress, remove: bool) -> int:
    """Do one project after the other; one that fails keeps none of the others back."""
    told: set[str] = set()
    for project in projects:
        try:
            changed = _one(client, project, shim, remove)
        except LayoutLoopError as error:
            again = "the same again" if str(error) in told else str(error)
            print(f"project {project}: error: {again}", file=sys.stderr)
            told.add(str(error))
        else:
            if not changed:
                print(f"project {project}: nothing had to be changed")
    return 1 if told else 0


def _one(client: StudioClient, project: int, shim: ShimAddress, remove: bool) -> bool:
    def say(sentence: str) -> None:
        print(f"project {project}: {sentence}", flush=True)

    if not remove:
        return connect(client, project, shim, say).changed
    if not disconnect(client, project, shim, say):
        return False
    try:
        tell_disconnected(shim, project)
    except NotConnected as error:  # it need not be up to be removed
        say(str(error))
    return True


if __name__ == "__main__":
    sys.exit(main())
