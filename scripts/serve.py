"""Start TorchServe, the rollout watcher, the shim and the trainer under one supervisor: `python -m scripts.serve`."""

from __future__ import annotations

import sys

from node.serve import main
from node.supervision import Commands
from rollout.readiness import readiness_problem

COMMANDS = Commands(
    archive=(sys.executable, "-m", "scripts.archive", "--ocr", "--wait"),
    rollout=(sys.executable, "-m", "scripts.rollout", "--watch"),
    shim=(sys.executable, "-m", "shim"),
    worker=(sys.executable, "-m", "scripts.worker"),
    node_problem=readiness_problem,
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], COMMANDS))
