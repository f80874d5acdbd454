"""What `scripts.rollout` does, apart from its command line: promote, go back, list, watch."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from typing import TYPE_CHECKING

from layoutloop.errors import ModelNotReady
from layoutloop.plural import counted
from layoutloop.settings.node import NodeSettings, shim_settings
from layoutloop.store.manifest import live_nodes, models_in, project_model, read_card, read_manifest
from layoutloop.store.path import StorePath, children, store_access
from layoutloop.store.writing import open_leases
from layoutloop.torchserve.inference import inference_client
from rollout.process import make_watcher, store_here, watch
from rollout.promotion import promote
from rollout.watcher import Watcher

if TYPE_CHECKING:
    from layoutloop.store.redis_locks import Leases


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; 0 when that was done."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = NodeSettings.from_env(os.environ)
    with store_access(settings.model_dir):
        return _run(settings, options)


def _run(settings: NodeSettings, options: argparse.Namespace) -> int:
    leases = open_leases(shim_settings(os.environ).redis_url)
    if options.list:
        _print_versions(settings.model_dir)
        return 0
    if options.to:
        name = project_model(options.project)
        promote(settings.model_dir, name, options.to, untested=options.untested, leases=leases)
        return 0
    if options.back_to:
        print(f"in service again, as {_restore(settings, options, leases)}")
        return 0
    if options.watch:
        watch(settings, leases)
    with store_here(settings) as model_dir:
        return _once(make_watcher(settings, model_dir))


def _restore(settings: NodeSettings, options: argparse.Namespace, leases: Leases | None) -> str:
    from training.publish import forget  # torch takes seconds, and the other commands need none of it
    from training.restore import restore

    folder = settings.home / "training" / project_model(options.project) / f"back-to-{options.back_to}"
    version = restore(
        settings.model_dir,
        options.project,
        options.back_to,
        folder=folder,
        client=inference_client(shim_settings(os.environ)),
        still_mine=lambda: None,
        untested=options.untested,
        leases=leases,
    )
    shutil.rmtree(folder, ignore_errors=True)
    forget(folder, settings.model_dir, options.project, leases)
    return version


def _once(watcher: Watcher) -> int:
    done = watcher.converge()
    for what, why in watcher.errors.items():
        print(f"{what}: {why}", file=sys.stderr)
    return 0 if done else 1


def _print_versions(model_dir: StorePath) -> None:
    nodes, names = live_nodes(model_dir), models_in(model_dir)
    if not names:
        print(f"no versions in {model_dir} (MODEL_DIR)", file=sys.stderr)
    for name in names:
        serving = read_manifest(model_dir, name)
        for path in reversed(children(model_dir / name, f"{name}-*.mar")):
            version = path.stem.removeprefix(f"{name}-")
            try:
                card = read_card(model_dir, name, version)
            except ModelNotReady as error:
                print(f"{name}  {version}  {error}")
                continue
            state = "current" if serving and version == serving.current else ""
            state = state or ("loaded" if serving and version in serving.load else "kept")
            where = [node for node, report in nodes.items() if version in str(report["holds"])]
            origin = f"  as {card.restored_from}" if card.restored_from else ""
            print(
                f"{name}  {version}  {state:8} {card.created}  {_figures(model_dir, name, version)}"
                f"{', '.join(card.labels)}  on {counted(len(where), 'node')}{origin}"
            )


def _figures(model_dir: StorePath, name: str, version: str) -> str:
    """Return pages and F1 of a version that was trained here, in words for a table; "" for one archived by hand."""
    from training.report.files import read_report, report_path  # brings matplotlib along, and the watcher stays small

    path = report_path(model_dir, name, version)
    if not path.is_file():
        return ""
    try:
        report = read_report(path)
    except ModelNotReady:  # damaged; the versions after it are shown all the same
        return "no figures  "
    f1 = f"F1 {report.scores.overall.f1:.3f}" if report.scores else "F1 unknown"
    return f"{report.trained_pages} + {counted(report.validation_pages, 'page')}  {f1}  "
