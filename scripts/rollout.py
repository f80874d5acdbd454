"""What is in service: `python -m scripts.rollout` brings this node's TorchServe to the desired state, once.

`--watch` goes on for ever (the supervisor runs it beside TorchServe). `--project 7 --to VERSION` puts an archived
version into service, `--back-to VERSION` an older one, under a new stamp; `--list` shows every project's versions.
`--ready` tells, for a readiness probe, whether this node holds all that is in service.

A probe runs every few seconds: what takes time to import is imported where it is needed.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Sequence

from layoutloop.errors import ModelNotReady, SettingsInvalid
from layoutloop.plural import counted
from layoutloop.processes.command import as_command
from layoutloop.settings.node import NodeSettings, shim_settings
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import store_access
from rollout.promotion import promote
from rollout.readiness import readiness_problem


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it succeeded, or when the node is ready."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.to is None and options.back_to is None) != (options.project is None):
        parser.error("--project and --to (or --back-to) belong together")
    if options.ready:
        return _ready()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    node, store = NodeSettings.from_env(os.environ), shim_settings(os.environ).open_store()
    with store_access(store.path):
        return _run(node, store, options)


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


def _ready() -> int:
    try:
        # The note lies in the home; a model store at a URL would first load its driver.
        problem = readiness_problem(shim_settings(os.environ | {"MODEL_DIR": os.devnull}))
    except SettingsInvalid as error:
        problem = str(error)
    print(problem or "ready")
    return 1 if problem else 0


def _run(node: NodeSettings, store: ModelStore, options: argparse.Namespace) -> int:
    if options.list:
        _print_versions(store)
    elif options.to:
        promote(store, project_model(options.project), options.to, untested=options.untested)
    elif options.back_to:
        print(f"in service again, as {_restore(node, store, options)}")
    else:
        return _converge(node, store, options)
    return 0


def _converge(node: NodeSettings, store: ModelStore, options: argparse.Namespace) -> int:
    from rollout.process import make_watcher, store_here, watch

    if options.watch:
        watch(node, store)
    with store_here(node) as folder:
        watcher = make_watcher(node, store, folder)
        done = watcher.converge()
    for what, why in watcher.errors.items():
        print(f"{what}: {why}", file=sys.stderr)
    return 0 if done else 1


def _restore(node: NodeSettings, store: ModelStore, options: argparse.Namespace) -> str:
    from layoutloop.torchserve.inference import inference_client
    from training.publish import Publisher, forget
    from training.restore import restore

    folder = node.home / "training" / project_model(options.project) / f"back-to-{options.back_to}"
    client = inference_client(shim_settings(os.environ))
    publisher = Publisher(store, options.project, folder, client, lambda: None, options.untested)
    version = restore(publisher, options.back_to)
    shutil.rmtree(folder, ignore_errors=True)
    forget(store, options.project, folder)
    return version


def _print_versions(store: ModelStore) -> None:
    nodes, names = store.live_nodes(), store.models()
    if not names:
        print(f"no versions in {store.path} (MODEL_DIR)", file=sys.stderr)
    for name in names:
        manifest = store.manifest(name)
        for version in reversed(store.archived(name)):
            try:
                card = store.card(name, version)
            except ModelNotReady as error:
                print(f"{name}  {version}  {error}")
                continue
            state = "current" if manifest and version == manifest.current else ""
            state = state or ("loaded" if manifest and version in manifest.load else "kept")
            where = [node for node, report in nodes.items() if version in str(report["holds"])]
            origin = f"  as {card.restored_from}" if card.restored_from else ""
            print(
                f"{name}  {version}  {state:8} {card.created}  {_figures(store, name, version)}"
                f"{', '.join(card.labels)}  on {counted(len(where), 'node')}{origin}"
            )


def _figures(store: ModelStore, name: str, version: str) -> str:
    """Return pages and F1 of a version that was trained here, in words for a table; "" for one archived by hand."""
    path = store.report_path(name, version)
    if not path.is_file():
        return ""
    from training.report.files import read_report  # brings matplotlib along

    try:
        report = read_report(path)
    except ModelNotReady:  # damaged; the versions after it are shown all the same
        return "no figures  "
    measure = "F1 by boxes" if report.counted_by == "boxes" else "F1"  # the two do not compare
    f1 = f"{measure} {report.scores.overall.f1:.3f}" if report.scores else "F1 unknown"
    return f"{report.trained_pages} + {counted(report.validation_pages, 'page')}  {f1}  "


if __name__ == "__main__":
    sys.exit(main())
