"""Annotations to what the decoder knows of a project's boxes: fitted here, and kept only where it helps."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from handler.page import TaggedPage
from handler.tagging.box_prior import MOST_COUNTED, BoxPrior
from handler.tagging.decoding import decode
from handler.tagging.junctions import FEATURES, FORMS, form_of, junctions
from handler.tagging.labels import LabelSet
from training.data.examples import Example
from training.fit.simulated import simulated_logits
from training.measure.scoring import score

logger = logging.getLogger(__name__)

STRENGTH = 1.0
"""Inverse of the penalty on weights (scikit-learn's C)."""
MOST_PAGES = 400
"""So many of the training pages say how boxes are drawn."""
FOLDS = 4
_WORDS_BEFOREHAND = 5.0
"""Words that each label is credited with, of the forms that words have everywhere."""
_MOST_OF_A_FORM = 2.0
"""Less than what the model says of a word that it is sure of."""
_LEAST_OF_A_COUNT, _FARTHER = 0.5, 0.3
"""Pages that a number of boxes is credited with beforehand, and how much less that is for each step from one seen."""


def learn_prior(examples: Sequence[Example], labels: Sequence[str]) -> BoxPrior | None:
    """Learn how a project's boxes are drawn; None where decoding with that would not be better than without.

    What is better is measured on the training pages, each with what was learned from others: words are labelled as
    annotated but for simulated mistakes, and the boxes that each decoder makes of that are compared with those drawn.
    No model is needed for it, so that eight pages suffice.

    Args:
        examples: annotated pages; one without a box says that a page may have none.
        labels: entity labels, in order; boxes of others are left aside.
    """
    pages = _spread([one for one in examples if not one.entities or any(entity.words for entity in one.entities)])
    folds = [fold for fold in (pages[start::FOLDS] for start in range(FOLDS)) if fold]
    if sum(any(one.entities for one in fold) for fold in folds) < 2:
        return None
    with_prior, without = _compare(folds, labels)
    logger.info("boxes as drawn: F1 %.3f with what was learned about them, %.3f without", with_prior, without)
    return fit_prior(pages, labels) if with_prior > without else None


def fit_prior(examples: Sequence[Example], labels: Sequence[str]) -> BoxPrior:
    """Learn how boxes begin, end and go on, and how many of each label a page has."""
    nothing = (np.zeros((0, len(FEATURES))), *np.zeros((3, 0), dtype=np.int64))
    columns = zip(nothing, *(_junctions(example, labels) for example in examples), strict=True)
    features, before, after, same = (np.concatenate(column) for column in columns)
    return BoxPrior(
        tuple(labels),
        _weights(features, before, same.astype(bool), len(labels)),
        _weights(features, after, same.astype(bool), len(labels)),
        _forms(examples, labels),
        _counts(examples, labels),
    )


def _spread(pages: Sequence[Example]) -> Sequence[Example]:
    """Return at most MOST_PAGES evenly, and beside them those with a label that none of these has."""
    step = max(1, -(-len(pages) // MOST_PAGES))
    taken = pages[::step]
    known = {entity.label for page in taken for entity in page.entities}
    return [*taken, *(page for page in pages if any(entity.label not in known for entity in page.entities))]


def _compare(folds: Sequence[Sequence[Example]], labels: Sequence[str]) -> tuple[float, float]:
    """Return the F1 of exact boxes with a prior that other pages gave, and without."""
    names, tags = tuple(labels), LabelSet.from_names(labels)
    pages = [example for fold in folds for example in fold]
    learned: list[TaggedPage] = []
    today: list[TaggedPage] = []
    for number, fold in enumerate(folds):
        prior = fit_prior([example for other in folds if other is not fold for example in other], labels)
        for example, logits in _simulated(fold, tags, number):
            learned.append(TaggedPage(decode(example.page, logits, tags, prior), 1))
            today.append(TaggedPage(decode(example.page, logits, tags), 1))
    return score(pages, learned, names).overall.f1, score(pages, today, names).overall.f1


def _simulated(examples: Sequence[Example], tags: LabelSet, seed: int) -> Iterator[tuple[Example, NDArray[np.float32]]]:
    generator = np.random.default_rng(seed)
    for example in examples:
        yield example, simulated_logits(example, tags, generator)


def _junctions(example: Example, labels: Sequence[str]) -> tuple[NDArray[np.float64], ...]:
    """Return a page's junctions: features, label of the box before and after (-1 for none), whether it is one box."""
    words = example.page.words
    label, box = np.full(len(words), -1), np.full(len(words), -1)
    for number, entity in enumerate(example.entities):
        if entity.label in labels:
            label[list(entity.words)], box[list(entity.words)] = labels.index(entity.label), number
    read = np.array([index for index, word in enumerate(words) if word.text.strip()], dtype=np.int64)
    before, after = read[:-1], read[1:]
    same = (box[before] == box[after]) & (box[before] >= 0)
    pairs = list(zip(before.tolist(), after.tolist(), strict=True))
    return junctions(example.page, pairs), label[before], label[after], same


def _weights(
    features: NDArray[np.float64], label: NDArray[np.int64], same: NDArray[np.bool_], labels: int
) -> NDArray[np.float64]:
    """Return (labels, features): weights of all labels plus those of one, so that a rare label is like the others."""
    inside = label >= 0
    features, label, same = features[inside], label[inside], same[inside]
    if same.all() or not same.any():  # the regression needs both cases
        share = (same.sum() + 0.5) / (len(same) + 1)
        weights = np.zeros((labels, features.shape[1]))
        weights[:, 0] = math.log(share / (1 - share))
        return weights
    shared = sparse.csr_matrix(features)
    own = [sparse.diags((label == one).astype(np.float64)) @ shared for one in range(labels)]
    model = LogisticRegression(C=STRENGTH, fit_intercept=False, max_iter=500)
    model.fit(sparse.hstack([shared, *own], format="csr"), same)
    weights = model.coef_[0].reshape(labels + 1, -1)
    return np.asarray(weights[0] + weights[1:])


def _forms(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float64]:
    seen = np.zeros((len(labels), len(FORMS)))
    everywhere = np.zeros(len(FORMS))
    for example in examples:
        forms = np.array([form_of(word.text) for word in example.page.words], dtype=np.int64)
        everywhere += np.bincount(forms, minlength=len(FORMS))
        for entity in example.entities:
            if entity.label in labels:
                seen[labels.index(entity.label)] += np.bincount(forms[list(entity.words)], minlength=len(FORMS))
    outside = np.maximum(everywhere - seen, 0) + 1
    outside /= outside.sum(axis=1, keepdims=True)
    usual = everywhere + 1
    inside = seen + _WORDS_BEFOREHAND * usual / usual.sum()
    inside /= inside.sum(axis=1, keepdims=True)
    return np.asarray(np.log(inside / outside).clip(-_MOST_OF_A_FORM, _MOST_OF_A_FORM))


def _counts(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float64]:
    seen = np.zeros((len(labels), MOST_COUNTED + 1))
    for example in examples:
        for row, label in enumerate(labels):
            seen[row, min(sum(entity.label == label for entity in example.entities), MOST_COUNTED)] += 1
    # The farther from what was seen, the less: else nothing would speak against a fourth box where one is usual.
    every = np.arange(MOST_COUNTED + 1)
    apart = np.where(seen[:, None, :] > 0, abs(every[:, None] - every), MOST_COUNTED).min(axis=2)
    likely = seen + _LEAST_OF_A_COUNT * _FARTHER**apart
    return np.asarray(np.log(likely / likely.sum(axis=1, keepdims=True)))
