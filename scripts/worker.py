"""Run jobs, each in a process of its own: `python -m scripts.worker`."""

from __future__ import annotations

import sys

from training.worker.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
