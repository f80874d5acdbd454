"""The label set: model class ids <-> entity labels, in the order stored with the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.errors import LabelMismatch

OUTSIDE = "O"


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The classes of a token-classification head.

    Args:
        tags: one per class id: `O`, `B-total`, `I-total`; or plain names where the checkpoint has no BIO scheme.
        names: entity labels without prefix, in the order of their first class id.
    """

    tags: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def from_names(cls, names: Sequence[str]) -> LabelSet:
        """Make the BIO label set of a project's labels: O, then B- and I- of each, in the given order."""
        if len(set(names)) != len(names) or not names:
            raise LabelMismatch(f"labels must be at least one and all different, got {list(names)}")
        tags = (OUTSIDE, *(f"{prefix}-{name}" for name in names for prefix in "BI"))
        return cls(tags, tuple(names))

    @classmethod
    def from_id2label(cls, id2label: Mapping[int, str]) -> LabelSet:
        """Read a checkpoint's `id2label`.

        A set is BIO when it has `O` and every other tag begins with `B-` or `I-`. Any other set is plain:
        its names are taken whole (cutting two characters off `Answer` is how others got `swer`).

        Raises:
            LabelMismatch: ids with gaps, tags twice, or Hugging Face's untrained `LABEL_0`, `LABEL_1`, ...
        """
        if sorted(id2label) != list(range(len(id2label))) or len(set(id2label.values())) != len(id2label):
            raise LabelMismatch(f"id2label must number different tags from 0 without gaps, got {dict(id2label)}")
        tags = tuple(id2label[index] for index in range(len(id2label)))
        if all(tag == f"LABEL_{index}" for index, tag in enumerate(tags)):
            raise LabelMismatch(
                f"the checkpoint has only untrained labels ({', '.join(tags[:3])}, ...); "
                "fine-tune it first, or name its labels (`python -m scripts.archive --labels FILE`)"
            )
        cut = 2 if _is_bio(tags) else 0
        names = dict.fromkeys(tag[cut:] for tag in tags if tag != OUTSIDE)
        return cls(tags, tuple(names))

    @property
    def is_bio(self) -> bool:
        """Whether tags carry B- and I- prefixes."""
        return _is_bio(self.tags)

    def name_ids(self) -> NDArray[np.int64]:
        """Return (tags,) integers: the position in `names` of each tag's entity, -1 for outside."""
        position = {name: index for index, name in enumerate(self.names)}
        cut = 2 if self.is_bio else 0
        return np.array([-1 if tag == OUTSIDE else position[tag[cut:]] for tag in self.tags], dtype=np.int64)

    def begins(self) -> NDArray[np.bool_]:
        """Return (tags,) booleans: whether a tag always starts a new entity (B-)."""
        return np.array([self.is_bio and tag.startswith("B-") for tag in self.tags], dtype=np.bool_)


def _is_bio(tags: Sequence[str]) -> bool:
    return OUTSIDE in tags and all(tag == OUTSIDE or tag[:2] in ("B-", "I-") for tag in tags)
