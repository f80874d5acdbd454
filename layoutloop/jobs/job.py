"""What a job is: its record, which Label Studio's users see under /jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

Kind = Literal["retrain", "restore", "prelabel"]
Lane = Literal["training", "prelabelling"]
"""Jobs of one lane wait for each other; those of the other never do."""
Trigger = Literal["start_training", "annotations", "api", "command", "dashboard", "promotion", "tasks"]
State = Literal["queued", "running", "done", "failed"]
JobVerdict = Literal["promoted", "rejected", "skipped", "dry run", "done", "stopped"]
Scalar = bool | int | float | str
"""What an option may be."""

DEBOUNCE_S = 5.0
"""Annotations come in bursts: a job that they queue waits this long for the rest of the burst."""
IMPORT_S = 10.0
"""So do new tasks; an import sends an event for each of its parts."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job as its record says. Times are Unix seconds.

    Args:
        id: short random hex.
        project: Label Studio's project id.
        kind: "restore" brings an old version back under a new stamp; "prelabel" draws waiting tasks.
        trigger: what queued it; a job of annotations may be skipped when too few are new.
        options: what differs from an ordinary job, such as {"force": True}; options that are off are left out.
        attempt: 0 before the first claim. It only grows and is the fencing number: a process that works on the job
            names it with every change, and one of an earlier attempt is refused.
        interruptions: attempts that were ended on purpose and do not count as tried.
        away: attempts that failed because a service was down; they do not count as tried either.
        worker: name of the one that runs it, or ran it last.
        started: of the newest attempt.
        updated: when its record last changed.
        not_before: it is not claimed earlier.
        step: "export", "read pages", "train", "evaluate", "archive", "rollout"; of a pre-labelling "draw", "remove".
        done: of `total`, within the step.
        epoch: may be a fraction, of `epochs`.
        loss: of training, the newest.
        eta_s: estimated seconds until the end.
        f1: entity F1 on the validation pages, 0 to 1.
        message: the outcome in a sentence; of a pre-labelling that runs, what holds it up.
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
    away: int = 0
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
    verdict: JobVerdict | Literal[""] = ""
    message: str = ""
    version: str = ""
    error: str = ""

    @property
    def lane(self) -> Lane:
        """Whose turn it waits for."""
        return "prelabelling" if self.kind == "prelabel" else "training"

    @property
    def tries(self) -> int:
        """Attempts that count."""
        return self.attempt - self.interruptions - self.away

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: object) -> Job:
        """Read what `to_json` wrote; fields of another release, and progress that is no finite number, are left out.

        Others may be able to write records, and an id becomes the name of a folder: each field is checked.

        Raises:
            ValueError: not a job's record; names the field.
        """
        if not isinstance(body, Mapping):
            raise ValueError(f"a job's record is a JSON object, got {type(body).__name__}")
        known = {one.name: body[one.name] for one in fields(cls) if one.name in body}
        missing = [name for name in _NEEDED if name not in known]
        if missing:
            raise ValueError(f"a job's record has {', '.join(_NEEDED)}; {', '.join(missing)} is missing")
        for name, value in known.items():
            if not _CHECKS[name](value):
                raise ValueError(f"`{name}` of a job's record cannot be {value!r:.80}")
        return cls(**{name: value for name, value in known.items() if name not in _NUMBERS or _is_finite(value)})


_ID = re.compile(r"[0-9a-f]{12}")
_NEEDED = ("id", "project", "kind", "trigger", "created")
_NUMBERS = ("done", "total", "epoch", "epochs", "loss", "eta_s", "f1")
_LIMIT = 1e15


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_finite(value: object) -> bool:
    """Whether it can be compared, with the clock for example; a NaN cannot."""
    return _is_number(value) and -_LIMIT < value < _LIMIT  # type: ignore[operator]


def _is_options(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(one, bool | int | float | str) for one in value.values())


def _is_one_of(*names: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in names


_CHECKS: Mapping[str, Callable[[object], bool]] = {
    "id": lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None,
    "kind": _is_one_of(*get_args(Kind)),
    "trigger": _is_one_of(*get_args(Trigger)),
    "state": _is_one_of(*get_args(State)),
    "verdict": _is_one_of("", *get_args(JobVerdict)),
    "options": _is_options,
    **dict.fromkeys(("project", "attempt", "interruptions", "away"), lambda value: type(value) is int and value >= 0),
    **dict.fromkeys(("created", "updated", "not_before"), _is_finite),
    **dict.fromkeys(("started", "ended"), lambda value: value is None or _is_finite(value)),
    **dict.fromkeys(_NUMBERS, lambda value: value is None or _is_number(value)),
    **dict.fromkeys(("worker", "step", "message", "version", "error"), lambda value: isinstance(value, str)),
}
