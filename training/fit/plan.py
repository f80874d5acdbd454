"""What one training process is told: `plan.json` in its folder."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from handler.page import BoxLevel
from layoutloop.store.writing import write_json
from training.job_files import read_job_file


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained.

    Args:
        base: see `training.fit.bases.make_base`.
        labels: entity labels, in order.
        box_level: `words` or `lines`.
        image: build the image branch into a graft.
        continue_from: checkpoint folder of the version to go on from, instead of the base.
        learning_rate: instead of the recipe's.
        batch_pages: instead of the recipe's.
        epochs: instead of the recipe's.
        seed: of everything random.
    """

    base: str
    labels: tuple[str, ...]
    box_level: BoxLevel = "words"
    image: bool = False
    continue_from: str | None = None
    learning_rate: float | None = None
    batch_pages: int | None = None
    epochs: int | None = None
    seed: int = 0

    def write(self, folder: Path) -> None:
        """Write it to its folder."""
        write_json(folder / "plan.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read it from its folder, where it must be."""
        if (found := cls.find(folder)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / "plan.json"))
        return found

    @classmethod
    def find(cls, folder: Path) -> Plan | None:
        """Read it where it is there.

        Raises:
            TrainingRefused: it is damaged.
        """
        return read_job_file(folder / "plan.json", lambda body: cls(**{**body, "labels": tuple(body["labels"])}))
