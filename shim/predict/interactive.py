"""A rectangle drawn roughly -> the words it covers, their text, and the label the model gives them.

What Label Studio 1.23.2's editor does, as drawn with its smart rectangle in a browser and as its bundle reads:

- `params.context` holds the new rectangle and every other one of the annotation with the same label (none is a
  label too), whoever made them, in the order of their making. So only the last is answered, and only where its
  `origin` is a person's hand: when a smart rectangle is deleted, the editor sends those that are left.
- An answer is a suggestion. Accepted (at once with "Auto-Accept Suggestions"), a suggestion that bears the id of a
  region takes that region's place; one with another id is added, and rectangles of the smart tool are removed.
  So the answer bears the rectangle's own id, and rough and snapped box are never shown together.
- A rectangle that got no answer stays, but is removed with the next accepted suggestion, and whatever was typed
  into it. So a rectangle without words comes back as it was drawn, and `[]` is only for what cannot be answered.
- Accepting sets the label that the person has selected, if any, whatever the answer says. The model's label
  remains where none is selected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handler.page import Box, Region, Size, Word
from layoutloop.errors import RequestInvalid
from layoutloop.studio.label_config import LabelConfig
from layoutloop.studio.results import PredictionDict, regions_to_results, results_to_prediction, results_to_regions
from shim.predict.answering import PageAnswer

_COVERED = 0.5  # of a word's area; what is covered less was not meant
_BY_HAND = ("manual", None)  # other origins: a prediction, or one that the person has corrected


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rectangle of an interactive request.

    Args:
        region_id: Label Studio's. The answer bears it too, so that the editor puts it in the rectangle's place.
        page: index of the page it is on.
        results: as the editor sent them: the rectangle, and its labels and text where it has some.
    """

    region_id: str
    page: int
    results: tuple[Mapping[str, object], ...]


def parse_context(context: object, config: LabelConfig) -> Drawn | None:
    """Read `params.context` of an interactive request; None where its newest region is no rectangle drawn by hand.

    Points, polygons, numbers that are no drawing, another type altogether: none of it is an error here.
    """
    results = context.get("result") if isinstance(context, Mapping) else None
    groups: dict[str, list[Mapping[str, object]]] = {}
    for position, result in enumerate(results if isinstance(results, list) else []):
        if isinstance(result, Mapping) and isinstance(result.get("id"), str | int | None):
            groups.setdefault(str(result.get("id") or f"drawn{position}"), []).append(result)
    if not groups:
        return None
    region_id, newest = list(groups.items())[-1]
    # The page's size is not known yet; a rectangle can be drawn on any page or on none.
    boxes = results_to_regions(newest, Size(100, 100), to_name=config.to_name)
    if not boxes or any(result.get("origin") not in _BY_HAND for result in newest):
        return None
    return Drawn(region_id, (boxes[0].item_index or 0) if config.is_list else 0, tuple(newest))


def reference_drawn_on(drawn: Drawn | None, references: Sequence[str]) -> str:
    """Return which of a task's image references has the rectangle.

    Raises:
        RequestInvalid: none of them.
    """
    if drawn is None:
        raise RequestInvalid(
            "an interactive request whose newest region is no rectangle drawn by hand; "
            "draw one with the Rectangle tool, other shapes are not answered"
        )
    if not 0 <= drawn.page < len(references):
        raise RequestInvalid(f"a rectangle on page {drawn.page} of a task with pages 0 to {len(references) - 1}")
    return references[drawn.page]


def drawn_to_prediction(
    drawn: Drawn, page: PageAnswer, config: LabelConfig, threshold: float, version: str
) -> PredictionDict:
    """Return the rectangle as its words make it; as it was drawn, and still the person's, where it covers none.

    Args:
        drawn: the rectangle.
        page: the one it is on.
        config: of the project.
        threshold: labels below this score are not taken.
        version: the reported one.
    """
    region = snap(drawn, page, config, threshold)
    results = regions_to_results(
        [region],
        config,
        page.size,
        item_index=drawn.page,
        threshold=0.0,  # a label that a person chose has no score
        read_only=False,
        model_version=version,
    )
    prediction = results_to_prediction([results])
    for item in prediction["result"]:
        item["id"] = drawn.region_id
        if not region.text:
            item["origin"] = "manual"
    return prediction


def snap(drawn: Drawn, page: PageAnswer, config: LabelConfig, threshold: float) -> Region:
    """Return a rectangle's words as one region, in pixels; the rectangle itself, without text, where it has none.

    Words are joined in reading order. The label is the one that the model gives most of those words it labels
    (the first in reading order where two are equal), and the score the mean of theirs. Where it labels none, the
    label is the one the person chose, if any, and the score the mean confidence with which the words were read.
    """
    (rough,) = results_to_regions(drawn.results, page.size, to_name=config.to_name)
    chosen = config.project_label(rough.label)
    covered = covered_words(page.words, rough.box)
    if not covered:
        return Region(chosen, rough.box, 1.0, "", ())
    words = [page.words[index] for index in covered]
    votes = _votes(page, covered, config, threshold)
    label = Counter(label for label, _ in votes).most_common(1)[0][0] if votes else chosen
    scores = [score for voted, score in votes if voted == label] or [word.confidence for word in words]
    text = " ".join(word.text.strip() for word in words)
    return Region(label, Box.around(word.box for word in words), sum(scores) / len(scores), text, tuple(covered))


def covered_words(words: Sequence[Word], rough: Box) -> list[int]:
    """Return the indices of the words, blank ones apart, of which `rough` covers at least half the area."""
    return [
        index
        for index, word in enumerate(words)
        if word.text.strip()
        and _share(word.box.left, word.box.right, rough.left, rough.right)
        * _share(word.box.top, word.box.bottom, rough.top, rough.bottom)
        >= _COVERED
    ]


def _votes(page: PageAnswer, words: Sequence[int], config: LabelConfig, threshold: float) -> list[tuple[str, float]]:
    """Return the project's label and its score for each of the words that the model gives one, in their order."""
    votes: dict[int, tuple[str, float]] = {}
    for region in page.regions:
        label = config.project_label(region.label)
        if label is not None and region.score >= threshold:
            votes |= dict.fromkeys(region.words, (label, region.score))
    return [votes[word] for word in words if word in votes]


def _share(low: float, high: float, start: float, end: float) -> float:
    """Return how much of [low, high] lies within [start, end], in 0..1; a single point lies within or not."""
    if low == high:
        return float(start <= low <= end)
    return max(0.0, min(high, end) - max(low, start)) / (high - low)
