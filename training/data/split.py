"""Which documents validate and which train: decided by a hash of the task id, and never changed again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from layoutloop.errors import TrainingRefused
from layoutloop.foreign_json import mapping_of, parse_json
from layoutloop.store.path import StorePath

VALIDATION_SHARE = 0.2
FEWEST_DOCUMENTS = 5
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Split:
    """Task ids of a project's annotated documents; `natural`, `forced` and `training` have none in common.

    Args:
        natural: validation by their hash.
        forced: validation because there were too few; the caller keeps them and hands them in as `held_out`.
        training: the others.
    """

    natural: frozenset[int]
    forced: frozenset[int]
    training: frozenset[int]

    @property
    def validation(self) -> frozenset[int]:
        """All that are validated on."""
        return self.natural | self.forced


def validation_tasks(
    task_ids: Collection[int], held_out: Collection[int] = (), fresh: Collection[int] | None = None
) -> Split:
    """Split a project's documents.

    A document is a task: its pages look alike, so they stay together, or validation would measure memory. Ids whose
    hash is in the lowest fifth validate. The hash depends on nothing else, so a document stays on its side while
    others come and go: a model is never measured on a page that it, or the version it is compared with, has seen.

    Two things bend that rule, both only for documents that no version was trained on:

    - From 5 documents on at least a tenth, and at least one, validate, so that there is something to decide by.
      Where chance gave fewer, those with the lowest hashes are forced in. They stay there through `held_out`.
    - Something must train. Where nothing is left for it, the document with the highest hash trains. It stays there
      because it is not in `fresh` any more.

    Args:
        task_ids: of the annotated documents.
        held_out: once forced into validation; those that are gone do not matter.
        fresh: ids that no version was ever trained on, so also those that have always validated; all by default.
    """
    documents = frozenset(task_ids)
    untrained = documents if fresh is None else documents & frozenset(fresh)
    forced = untrained & frozenset(held_out)
    natural = frozenset(task for task in untrained - forced if position(task) < VALIDATION_SHARE)
    if documents and documents == natural | forced:
        spared = {max(documents, key=position)}
        natural, forced = natural - spared, forced - spared
    if len(documents) >= FEWEST_DOCUMENTS:
        missing = max(1, len(documents) // 10) - len(natural | forced)
        candidates = sorted(untrained - natural - forced, key=position)
        forced |= frozenset(candidates[: max(0, missing)])
    return Split(natural, forced, documents - natural - forced)


def split_as_trained(path: StorePath, task_ids: Collection[int]) -> Split:
    """Split documents with what a project's earlier trainings left in their `split.json`; the file stays as it is.

    Without that file it is the split of a first training.
    """
    trained, held_out = read_history(path)
    return validation_tasks(task_ids, held_out, frozenset(task_ids) - trained)


def read_history(path: StorePath) -> tuple[frozenset[int], frozenset[int]]:
    """Return the documents of a `split.json` that ever trained, and those forced into validation; none without it.

    Raises:
        TrainingRefused: it cannot be understood.
    """
    try:
        body = mapping_of(parse_json(path.read_bytes()), "split.json")
        return _documents(body["trained"]), _documents(body["held_out"])
    except FileNotFoundError:
        return frozenset(), frozenset()
    except (ValueError, KeyError) as error:
        # To go on without it would train on what was held out, and every later score would be too good.
        raise TrainingRefused(
            f"{path}, which says which documents ever trained, cannot be understood ({error}): restore it, or delete "
            "it together with the project's older versions"
        ) from error


def _documents(value: object) -> frozenset[int]:
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        raise ValueError("its documents are lists of task ids")
    return frozenset(value)


def position(task_id: int) -> float:
    """Return where a task stands in [0, 1): the first 64 bits of the sha256 of its decimal id."""
    digest = hashlib.sha256(str(task_id).encode("ascii")).digest()
    return int.from_bytes(digest[:_HASH_BYTES], "big") / (1 << 8 * _HASH_BYTES)
