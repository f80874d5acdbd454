"""What a model that is right about most words would say: annotations with mistakes, to try a decoder on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handler.tagging.labels import LabelSet
from training.data.examples import Example

MISTAKES = 0.1
"""Share of the words in and around boxes that are labelled wrongly."""
NEAR = 3
"""A word so near to a box may get its label."""
SURE = 4.0
"""How far the logit of a word's label stands above the others, which are normally distributed around 0."""


def simulated_logits(example: Example, labels: LabelSet, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return (words, tags) logits that say what is annotated, but for mistakes.

    A word of a box is taken for one outside, for a box's first where it is not (or the reverse), or for a word of any
    other label; a word near a box is taken for one of it.
    """
    right = example.tags(labels)
    said = right.copy()
    for word in np.flatnonzero(generator.random(len(right)) < MISTAKES).tolist():
        said[word] = _mistake(right, word, len(labels.tags), generator)
    logits = generator.normal(0.0, 1.0, (len(right), len(labels.tags)))
    logits[np.arange(len(right)), said] += SURE
    return logits.astype(np.float32)


def _mistake(right: NDArray[np.int64], word: int, tags: int, generator: np.random.Generator) -> int:
    if right[word] == 0:
        near = right[max(0, word - NEAR) : word + NEAR + 1]
        near = near[near > 0]
        return _either(int(generator.choice(near)), generator) if len(near) else 0
    kind = generator.integers(3)
    if kind == 0:
        return 0
    # Class ids are O, then B- and I- of each label: odd ones begin.
    return int((right[word] - 1) ^ 1) + 1 if kind == 1 else int(generator.integers(1, tags))


def _either(tag: int, generator: np.random.Generator) -> int:
    """Return B- or I- of a tag's label."""
    return tag - (tag - 1) % 2 + int(generator.integers(2))
