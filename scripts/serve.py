"""Start TorchServe, the rollout watcher, the shim and the trainer under one supervisor: `python -m scripts.serve`."""

from __future__ import annotations

import sys

from node.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
