"""How far a training is: `progress.json`, written by the training process and read by the job's."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from layoutloop.store.writing import write_json

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """One moment of a training.

    Args:
        step: optimizer steps done.
        steps: of how many.
        epoch: passes over the pages done, with its fraction.
        epochs: of how many.
        loss: mean since it was last logged; None before the first time.
        eta_s: seconds left at the pace so far.
        f1: the best entity F1 on the validation pages so far.
        losses: (step, loss) as logged.
        f1s: (epoch, F1) as evaluated.
    """

    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    epochs: int = 0
    loss: float | None = None
    eta_s: float | None = None
    f1: float | None = None
    losses: list[tuple[int, float]] = field(default_factory=list)
    f1s: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Progress | None:
        """Return what was last written; None where nothing was yet."""
        try:
            return cls(**json.loads((folder / "progress.json").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:  # it only shows how far a training is
            logger.warning("%s cannot be understood: %s", folder / "progress.json", error)
            return None

    def write(self, folder: Path) -> None:
        """Replace what was written before."""
        write_json(folder / "progress.json", asdict(self))
