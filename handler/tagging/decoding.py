"""Logits to Regions: with what was learned about a project's boxes (`segmentation`), or word by word.

The rules without it, applied to the words that have a token, in reading order:

- a word's class is the most probable tag of its first token;
- its probability is that of the entity, B- and I- together;
- B-X starts a region; I-X continues the region of X that the word before belongs to, else it starts one
  (the usual repair of a broken sequence); O ends a region;
- a region may go on over lines; its box is the smallest around its words;
- without a BIO scheme, neighbours with the same label join only on one text line, so that two answers
  below each other stay two;
- a word without a token (blank, or characters the tokenizer drops) is outside and ends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.joining import text_of
from handler.page import Box, Page, Region
from handler.tagging.box_prior import BoxPrior
from handler.tagging.calibration import Calibration, Evidence
from handler.tagging.labels import LabelSet
from handler.tagging.segmentation import segment


@dataclass(frozen=True, slots=True)
class WordLabels:
    """What the model says about each word of a page.

    Args:
        tags: (words,) class ids; -1 for a word that has no token.
        scores: (words,) probability in [0, 1] of the word's entity (or of being outside); 0 without a token.
    """

    tags: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DecodedBox:
    """A box as it was decoded: label, words in reading order, and what speaks for it."""

    label: str
    words: tuple[int, ...]
    evidence: Evidence


def decode(
    page: Page,
    logits: NDArray[np.float32],
    labels: LabelSet,
    prior: BoxPrior | None = None,
    calibration: Calibration | None = None,
) -> tuple[Region, ...]:
    """Return the regions of a page, in reading order of their first word.

    Args:
        page: the words that were labelled.
        logits: (words, tags) of the first token of each word; NaN rows for words without a token.
        labels: the meaning of the second dimension.
        prior: what was learned about the project's boxes; None for a checkpoint without it.
        calibration: what scores are made with; without it, a score is the mean probability of the words.
    """
    return tuple(_region(page, box, calibration) for box in decode_boxes(page, logits, labels, prior))


def decode_boxes(
    page: Page, logits: NDArray[np.float32], labels: LabelSet, prior: BoxPrior | None = None
) -> list[DecodedBox]:
    """Return the boxes of a page, before any score; the arguments are those of `decode`."""
    if prior is None:
        return joined_words(page, label_words(logits, labels), labels)
    return [
        DecodedBox(labels.names[label], tuple(members), evidence)
        for label, members, evidence in segment(page, logits, labels, prior)
    ]


def label_words(logits: NDArray[np.float32], labels: LabelSet) -> WordLabels:
    """Choose one label for each word.

    Args:
        logits: (words, tags) of the first token of each word; NaN rows for words without a token.
        labels: the meaning of the second dimension.
    """
    known = ~np.isnan(logits).any(axis=1)
    tags = np.full(len(logits), -1, dtype=np.int64)
    scores = np.zeros(len(logits), dtype=np.float32)
    if not known.any():
        return WordLabels(tags, scores)
    shifted = np.exp(logits[known] - logits[known].max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    best = probabilities.argmax(axis=1)
    names = labels.name_ids()
    same_entity = names[best][:, None] == names[None, :]
    tags[known] = best
    scores[known] = (probabilities * same_entity).sum(axis=1).clip(0.0, 1.0)
    return WordLabels(tags, scores)


def joined_words(page: Page, words: WordLabels, labels: LabelSet) -> list[DecodedBox]:
    """Join labelled words to boxes, in reading order of their first word."""
    # Lists, not arrays: a page has hundreds of words, and to index an array one by one takes ten times as long.
    tags, scores = words.tags.tolist(), words.scores.tolist()
    names, begins = labels.name_ids().tolist(), labels.begins().tolist()
    groups: list[tuple[int, list[int]]] = []
    before: int | None = None
    for index, tag in enumerate(tags):
        if tag < 0:
            continue
        name = names[tag]
        continues = (
            before is not None
            and name >= 0
            and names[tags[before]] == name
            and not begins[tag]
            and (labels.is_bio or page.words[before].line == page.words[index].line)
        )
        if continues:
            groups[-1][1].append(index)
        elif name >= 0:
            groups.append((name, [index]))
        before = index
    return [
        DecodedBox(labels.names[name], tuple(members), Evidence(sum(scores[index] for index in members) / len(members)))
        for name, members in groups
    ]


def _region(page: Page, box: DecodedBox, calibration: Calibration | None) -> Region:
    score = calibration.score(box.evidence) if calibration else min(box.evidence.words, 1.0)
    around = Box.around(page.words[index].box for index in box.words)
    return Region(label=box.label, box=around, score=score, text=text_of(page, box.words), words=box.words)
