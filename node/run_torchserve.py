"""Run one TorchServe in the foreground and leave nothing of it behind: `python -m node.run_torchserve`.

TorchServe's command line starts Java and waits for it, but stops nothing when it is killed. This program removes what
an earlier run left (Java process, workers, sockets, keys), starts the command line, and stops Java and its workers
however the command line ends, or where Java gives no answer any more. Its environment is TorchServe's: TMPDIR must be a
folder of this instance alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from layoutloop.settings.node import REPOSITORY
from node.java_watch import HANGS_S, JavaWatch, inference_url
from node.processes import stop_processes, torchserve_processes

JAVA_GRACE_S = 8.0
LOOK_S = 5.0


def clear_leftovers(folder: Path, tmp: Path) -> None:
    """Stop what still runs from an earlier start, then remove its keys, sockets, pid file and unpacked archives."""
    stop_processes(torchserve_processes(tmp), JAVA_GRACE_S)
    (folder / "key_file.json").unlink(missing_ok=True)
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(mode=0o700, parents=True, exist_ok=True)


def torchserve_command(folder: Path, config: Path, archives: Path, log_config: Path) -> list[str]:
    """Return the command line, wrapped so that it ends with this process and runs in `folder`."""
    launcher = [sys.executable, "-m", "layoutloop.processes.launch", "--chdir", str(folder), "--"]
    torchserve = [str(Path(sys.executable).parent / "torchserve"), "--start", "--foreground", "--ncs"]
    paths = ["--ts-config", str(config), "--model-store", str(archives), "--log-config", str(log_config)]
    return [*launcher, *torchserve, *paths]


def run(command: Sequence[str], tmp: Path, java: JavaWatch) -> int:
    """Run TorchServe until it ends, hangs, or SIGTERM comes.

    Returns:
        1: TorchServe should run until it is stopped, so an end of its own is a failure.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    torchserve = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        while not _has_ended(torchserve):
            if java.hangs():
                print(f"TorchServe gave no answer for {HANGS_S:.0f} s: it is stopped and started again", flush=True)
                return 1
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torchserve.terminate()  # first the one that could still start a Java process
        torchserve.wait()
        stop_processes(torchserve_processes(tmp), JAVA_GRACE_S)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(LOOK_S)
    return process.returncode is not None


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(arguments: Sequence[str]) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m node.run_torchserve", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="TorchServe's private working folder")
    parser.add_argument("--config", type=Path, required=True, help="the rendered config.properties")
    parser.add_argument("--archives", type=Path, required=True, help="the folder models are registered from")
    parser.add_argument("--log-config", type=Path, required=True, help="log4j2.xml")
    options = parser.parse_args(arguments)
    tmp = Path(os.environ["TMPDIR"])
    clear_leftovers(options.folder, tmp)
    java = JavaWatch(inference_url(options.config))
    try:
        return run(torchserve_command(options.folder, options.config, options.archives, options.log_config), tmp, java)
    finally:
        (options.folder / "key_file.json").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
