"""What is in service: `python -m scripts.rollout` brings this node's TorchServe to the desired state, once.

`--watch` goes on for ever (the supervisor runs it beside TorchServe). `--project 7 --to VERSION` puts an archived
version into service, `--back-to VERSION` an older one, under a new stamp; `--list` shows every project's versions.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from handler.errors import HandlerError
from scripts.node import LOOPBACK, ServeSettings
from shim.errors import LayoutLoopError, ModelNotReady
from shim.serving import NODE_SILENT_S, live_nodes, models_in, project_model, read_card, read_serving
from shim.settings import Settings
from shim.torchserve import InferenceClient, TokenFile
from training.management import ManagementClient
from training.packing import ArchiveFailed
from training.retirement import retire
from training.rollout import RolloutFailed, promote
from training.smoke import smoke_test
from training.watcher import Watcher
from training.worker_counts import WorkerCounts

_INTERVAL_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it did what was asked."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.to is None and options.back_to is None) != (options.project is None):
        parser.error("--project and --to (or --back-to) belong together")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = ServeSettings.from_env(os.environ)
        if options.list:
            _print_versions(settings.model_dir)
            return 0
        if options.to:
            promote(settings.model_dir, project_model(options.project), options.to, untested=options.untested)
            return 0
        if options.back_to:
            print(f"in service again, as {_restore(settings, options)}")
            return 0
        watcher = make_watcher(settings)
        return _watch(watcher, settings.node_report) if options.watch else _once(watcher)
    except (ArchiveFailed, HandlerError, LayoutLoopError, RolloutFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.rollout", description=__doc__.split("\n\n")[0])
    parser.add_argument("--watch", action="store_true", help="keep at it")
    parser.add_argument("--list", action="store_true", help="show every version in the model store")
    parser.add_argument("--project", type=int, help="Label Studio's project id (with --to or --back-to)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--to", metavar="VERSION", help="put this archived version into service")
    which.add_argument("--back-to", metavar="VERSION", help="archive this older version anew and put it into service")
    parser.add_argument("--untested", action="store_true", help="also where no TorchServe runs that could try it")
    return parser


def _restore(settings: ServeSettings, options: argparse.Namespace) -> str:
    from training.restore import restore  # torch takes seconds, and the other commands need none of it

    client = InferenceClient(
        f"http://{LOOPBACK}:{settings.torchserve_port}", TokenFile(settings.torchserve / "key_file.json")
    )
    folder = settings.home / "training" / project_model(options.project) / f"back-to-{options.back_to}"
    version = restore(
        settings.model_dir,
        options.project,
        options.back_to,
        folder=folder,
        client=client,
        still_mine=lambda: None,
        untested=options.untested,
    )
    shutil.rmtree(folder, ignore_errors=True)
    return version


def make_watcher(settings: ServeSettings) -> Watcher:
    """Make the watcher of this node's TorchServe."""
    keys = TokenFile(settings.torchserve / "key_file.json")
    client = InferenceClient(f"http://{LOOPBACK}:{settings.torchserve_port}", keys)
    shim = Settings.from_env(os.environ)
    return Watcher(
        model_dir=settings.model_dir,
        archives=settings.archives,
        management=ManagementClient(f"http://{LOOPBACK}:{settings.torchserve_port + 1}", keys),
        smoke=functools.partial(smoke_test, client, settings.model_dir),
        workers=WorkerCounts(settings.model_dir, shim.ocr_workers, shim.project_workers, shim.idle_s),
        node=settings.node,
    )


def _watch(watcher: Watcher, report: Path) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ended = threading.Event()
    threading.Thread(target=_heartbeat, args=(watcher, ended), daemon=True).start()
    watcher.clear_copies()
    try:
        while True:
            retire(watcher.model_dir)
            watcher.converge()
            watcher.wait(_INTERVAL_S)
    except SystemExit:
        ended.set()
        report.unlink(missing_ok=True)  # a node that stops in order holds up no promotion
        raise


def _heartbeat(watcher: Watcher, ended: threading.Event) -> None:
    """Report also while a large model loads: a node that fell silent would not be waited for."""
    while not ended.wait(NODE_SILENT_S / 6):
        watcher.report()


def _once(watcher: Watcher) -> int:
    done = watcher.converge()
    for what, why in watcher.errors.items():
        print(f"{what}: {why}", file=sys.stderr)
    return 0 if done else 1


def _print_versions(model_dir: Path) -> None:
    nodes, names = live_nodes(model_dir), models_in(model_dir)
    if not names:
        print(f"no versions in {model_dir} (MODEL_DIR)", file=sys.stderr)
    for name in names:
        serving = read_serving(model_dir, name)
        for path in sorted((model_dir / name).glob(f"{name}-*.mar"), reverse=True):
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
                f"{', '.join(card.labels)}  on {len(where)} nodes{origin}"
            )


def _figures(model_dir: Path, name: str, version: str) -> str:
    """Return pages and F1 of a version that was trained here, in words for a table; "" for one archived by hand."""
    from training.report import read_report, report_path  # brings matplotlib along, and the watcher stays small

    path = report_path(model_dir, name, version)
    if not path.is_file():
        return ""
    try:
        report = read_report(path)
    except ModelNotReady:  # damaged; the versions after it are shown all the same
        return "no figures  "
    f1 = f"F1 {report.scores.overall.f1:.3f}" if report.scores else "F1 unknown"
    return f"{report.trained_pages} + {report.validation_pages} pages  {f1}  "


if __name__ == "__main__":
    sys.exit(main())
