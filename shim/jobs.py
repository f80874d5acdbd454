"""What a training job is: its record, which Label Studio's users see under /jobs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Kind = Literal["retrain", "restore"]
Trigger = Literal["start_training", "annotations", "api", "command", "dashboard"]
State = Literal["queued", "running", "done", "failed"]
Verdict = Literal["promoted", "rejected", "skipped", "dry run"]
Scalar = bool | int | float | str
"""What an option may be."""

DEBOUNCE_S = 5.0
"""Annotations come in bursts: a job that they start waits this long for the rest of the burst."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job as its record tells it. Times are Unix seconds.

    Args:
        id: short random hex.
        project: Label Studio's project id.
        kind: "restore" brings an old version back under a new stamp.
        trigger: who asked; a job that annotations started may be skipped when too few are new.
        options: what differs from an ordinary job, such as {"force": True}; options that are off are left out.
        attempt: 0 before the first claim. It only grows and is the fencing number: whoever works on the job names
            it with every change, and a process of an earlier attempt is refused.
        interruptions: attempts that were ended on purpose and do not count as tried.
        worker: who runs it, or ran it last.
        started: of the newest attempt.
        updated: last sign of life.
        not_before: it is not claimed earlier.
        step: what is being done: "export", "read pages", "train", "evaluate", "archive", "rollout".
        done: of `total`, within the step.
        epoch: may be a fraction, of `epochs`.
        loss: of training, the newest.
        eta_s: seconds until the end, as far as can be told.
        f1: entity F1 on the validation pages, 0 to 1.
        message: the outcome in a sentence.
        version: the model version that was made.
        error: why the newest attempt that went wrong did so.
    """

    id: str
    project: int
    kind: Kind
    trigger: Trigger
    created: float
    options: Mapping[str, Scalar] = field(default_factory=dict)
    state: State = "queued"
    attempt: int = 0
    interruptions: int = 0
    worker: str = ""
    started: float | None = None
    updated: float = 0.0
    ended: float | None = None
    not_before: float = 0.0
    step: str = ""
    done: int = 0
    total: int = 0
    epoch: float = 0.0
    epochs: float = 0.0
    loss: float | None = None
    eta_s: float | None = None
    f1: float | None = None
    verdict: Verdict | Literal[""] = ""
    message: str = ""
    version: str = ""
    error: str = ""

    @property
    def tries(self) -> int:
        """Attempts that count."""
        return self.attempt - self.interruptions

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Job:
        """Read what `to_json` wrote; fields that another release of the program knows are left out."""
        return cls(**{one.name: body[one.name] for one in fields(cls) if one.name in body})


def new_job(project: int, kind: Kind, trigger: Trigger, options: Mapping[str, Scalar | None], now: float) -> Job:
    """Return a queued job; options that are off are left out, so that equal wishes are equal."""
    chosen = {name: value for name, value in options.items() if value is not None and value is not False}
    not_before = now + DEBOUNCE_S if trigger == "annotations" else now
    return Job(secrets.token_hex(6), project, kind, trigger, now, chosen, updated=now, not_before=not_before)
