"""A rectangle drawn roughly -> the words it covers, their text, and the label the model gives them.

What Label Studio 1.23.2's editor does, as drawn with its smart rectangle in a browser and as its bundle reads:

- `params.context` holds the new rectangle and every other one of the annotation with the same label (none is a
  label too), whoever made them, in the order of their making. So only the last is answered, and only where its
  `origin` is a person's hand: when a smart rectangle is deleted, the editor sends those that are left.
- An answer is a suggestion. Accepted (at once with "Auto-Accept Suggestions"), a suggestion with the id of a
  region takes that region's place; one with another id is added, and rectangles of the smart tool are removed.
  So the answer has the rectangle's own id, and rough and snapped box are never shown together.
- A rectangle that got no answer stays, but is removed with the next accepted suggestion, and whatever was typed
  into it. So a rectangle without words comes back as it was drawn, and `[]` is only for what cannot be answered.
- Accepting sets the label that the person has selected, if any, whatever the answer says. The model's label
  remains where none is selected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handler.joining import text_of
from handler.page import Box, Page, Region, Word
from layoutloop.errors import RequestInvalid
from layoutloop.studio.drawn import RECTANGLES, LabelledBox, drawn_regions, grouped, labelled_box
from layoutloop.studio.label_config import LabelConfig
from layoutloop.studio.rectangle import TiltedBox, has_numbers, held
from layoutloop.studio.results import (
    PredictionDict,
    Rendering,
    regions_to_results,
    results_to_prediction,
    tilted_geometry,
)
from shim.predict.answering import PageAnswer, PageSource

_BY_HAND = ("manual", None)  # other origins: a prediction, or one that the person has corrected


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rectangle of an interactive request.

    Args:
        region_id: Label Studio's. The answer has it too, so that it takes the rectangle's place in the editor.
        page: index of the page it is on.
        results: as the editor sent them: the rectangle, and its labels and text where it has some.
    """

    region_id: str
    page: int
    results: tuple[Mapping[str, object], ...]


def parse_context(context: object, config: LabelConfig) -> Drawn | None:
    """Read `params.context` of an interactive request; None where its newest region is no rectangle drawn by hand.

    Points, polygons, numbers that are no drawing, another control or type altogether: none of it is an error here.
    """
    results = context.get("result") if isinstance(context, Mapping) else None
    groups = grouped(results)
    newest = list(groups.values())[-1] if groups else []
    for region in drawn_regions(newest, config):
        rectangle = next((result for result in region.ours if result.get("type") in RECTANGLES), None)
        by_hand = all(result.get("origin") in _BY_HAND for result in newest)
        named = all(isinstance(result.get("id"), str | int | None) for result in newest)
        if rectangle is not None and by_hand and named and has_numbers(rectangle.get("value")):
            pages = [page for result in region.ours if type(page := result.get("item_index")) is int]
            return Drawn(region.identity, pages[-1] if config.is_list and pages else 0, region.ours)
    return None


def page_drawn_on(drawn: Drawn | None, pages: Sequence[PageSource]) -> PageSource:
    """Return which of a task's pages has the rectangle.

    Raises:
        RequestInvalid: none of them.
    """
    if drawn is None:
        raise RequestInvalid(
            "an interactive request whose newest region is no rectangle drawn by hand with the control that is served; "
            "draw one with its Rectangle tool, other shapes are not answered"
        )
    if not 0 <= drawn.page < len(pages):
        raise RequestInvalid(f"a rectangle on page {drawn.page} of a task with pages 0 to {len(pages) - 1}")
    return pages[drawn.page]


def drawn_to_prediction(drawn: Drawn, page: PageAnswer, rendering: Rendering) -> PredictionDict:
    """Return the rectangle as its words make it; as it was drawn, and still the person's, where it covers none.

    A tilted one keeps its place: the upright box around the words of a tilted line holds those of its neighbours too.

    Args:
        drawn: the rectangle.
        page: the one it is on.
        rendering: how results are drawn; labels below their threshold are not taken.

    Raises:
        RequestInvalid: no person can have meant the rectangle, for example one that is not on the page.
    """
    rough = labelled_box(drawn.results, page.size)
    if isinstance(rough, str):
        raise RequestInvalid(f"the rectangle drawn cannot be used: {rough}")
    region = snap(rough, page, rendering)
    by_hand = Rendering(rendering.config, rendering.version)  # a label that a person chose has no score
    prediction = results_to_prediction([regions_to_results([region], page.size, by_hand, drawn.page)])
    for item in prediction["result"]:
        item["id"] = drawn.region_id
        if rough.tilted:
            item["value"].update(tilted_geometry(rough.tilted, page.size))
        if not region.text:
            item["origin"] = "manual"
    return prediction


def snap(rough: LabelledBox, page: PageAnswer, rendering: Rendering) -> Region:
    """Return a rectangle's words as one region, in pixels; the rectangle itself, without text, where it has none.

    Words are joined in reading order. The label is the one that the model gives most of those words it labels
    (the first in reading order where two are equal), and the score the mean of theirs. Where it labels none, the
    label is the one the person chose, if any, and the score the mean confidence with which the words were read.
    """
    chosen = rendering.config.project_label(rough.label)
    covered = covered_words(page.words, rough.outline)
    if not covered:
        return Region(chosen, rough.box, 1.0, "", ())
    words = [page.words[index] for index in covered]
    votes = _votes(page, covered, rendering)
    label = Counter(label for label, _ in votes).most_common(1)[0][0] if votes else chosen
    scores = [score for voted, score in votes if voted == label] or [word.confidence for word in words]
    box = Box.around(word.box for word in words)
    text = text_of(Page(page.size, "", page.words, turn=page.turn), covered)
    return Region(label, box, sum(scores) / len(scores), text, tuple(covered))


def covered_words(words: Sequence[Word], rough: Box | TiltedBox) -> list[int]:
    """Return the indices of the words, blank ones apart, that `rough` holds, as in a training."""
    holds = held([word.box for word in words], rough)
    return [index for index, word in enumerate(words) if word.text.strip() and holds[index]]


def _votes(page: PageAnswer, words: Sequence[int], rendering: Rendering) -> list[tuple[str, float]]:
    """Return the project's label and its score for each of the words that the model gives one, in their order."""
    votes: dict[int, tuple[str, float]] = {}
    for region in page.regions:
        label = rendering.config.project_label(region.label)
        if label is not None and rendering.draws(region):
            votes |= dict.fromkeys(region.words, (label, region.score))
    return [votes[word] for word in words if word in votes]
