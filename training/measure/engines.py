"""How well OCR engines read a project's annotated pages: boxes with a word, transcriptions read exactly, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handler.errors import HandlerError
from handler.joining import is_same_text, join_words
from handler.ocr_settings import engine_kind
from handler.page import Box, Page, Size, Word
from layoutloop.plural import counted
from layoutloop.studio.drawn import LabelledBox, Result, labelled_box
from layoutloop.studio.rectangle import TiltedBox
from training.data.annotations import AnnotatedPage
from training.data.dataset import assign_words
from training.data.page_readers import Images

READ_BY_A_PERSON = ("manual", "prediction-changed")
"""What Label Studio notes as `origin` of a result that a person made or changed."""
_ANY_SIZE = Size(1000, 1000)
"""Pixels of a page that was not read: boxes are drawn in percent, and are only counted there."""


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What one engine made of annotated pages.

    Args:
        engine: its name, for example `rapidocr-3.10.0-eng-psm3`; its kind where it read no page.
        pages: that it read.
        failed: pages that it gave up on; their boxes and texts count as not read.
        boxes: that people drew.
        with_word: of them, those in which it read a word.
        texts: transcriptions that a person wrote or corrected.
        exact: of them, those that it read exactly, spaces aside.
        seconds: that it took for all pages.
    """

    engine: str
    pages: int
    failed: int
    boxes: int
    with_word: int
    texts: int
    exact: int
    seconds: float


def measure_engine(
    kind: str,
    pages: Sequence[AnnotatedPage],
    images: Images,
    read: Callable[[bytes], Page],
    told: Callable[[int, int], None],
) -> EngineFigures:
    """Read annotated pages with one engine, one after another, and compare with what people drew and wrote.

    Args:
        kind: one of ENGINES.
        pages: with their annotations.
        images: where the images come from; fetching one does not count as time of the engine.
        read: reads an image with that engine, and remembers nothing: the time counts.
        told: how many pages are read, of how many.

    Raises:
        LayoutLoopError: an image is not to be had.
    """
    name, failed, seconds = kind, 0, 0.0
    counts = [0, 0, 0, 0]
    for done, annotated in enumerate(pages, start=1):
        data, page = images(annotated), None
        started = time.perf_counter()
        try:
            page = read(data)
            name = page.engine
        except HandlerError:
            failed += 1
        seconds += time.perf_counter() - started
        size, words = (page.size, page.words) if page else (_ANY_SIZE, ())
        counts = [sum(pair) for pair in zip(counts, _compared(annotated, size, words), strict=True)]
        told(done, len(pages))
    boxes, with_word, texts, exact = counts
    return EngineFigures(name, len(pages) - failed, failed, boxes, with_word, texts, exact, seconds)


def _compared(annotated: AnnotatedPage, size: Size, words: Sequence[Word]) -> tuple[int, int, int, int]:
    """Return how many boxes there are, hold a word, have a person's transcription, and have it read exactly."""
    drawn: list[tuple[Box | TiltedBox, str]] = []
    for group in annotated.drawn:
        one = labelled_box(group, size)
        if isinstance(one, LabelledBox):
            drawn.append((one.outline, one.text if _by_a_person(group) else ""))
    held = assign_words(words, [outline for outline, _ in drawn])
    texts = [(text, inside) for (_, text), inside in zip(drawn, held, strict=True) if text.strip()]
    exact = sum(is_same_text(text, join_words(words[word] for word in inside)) for text, inside in texts)
    return len(drawn), sum(map(bool, held)), len(texts), exact


def _by_a_person(group: Sequence[Result]) -> bool:
    """Whether a person wrote or changed the text; a text left as it was only says what the engine of then read."""
    return any(one.get("type") == "textarea" and one.get("origin") in READ_BY_A_PERSON for one in group)


def engine_table(figures: Sequence[EngineFigures]) -> str:
    """Return the figures as a table for a terminal, and what to set."""
    width = max(len("engine"), *(len(one.engine) for one in figures))
    lines = [f"{'engine':{width}}  pages  boxes with a word  texts read exactly  seconds a page"]
    for one in figures:
        texts = _share(one.exact, one.texts, "no texts to read")
        lines.append(
            f"{one.engine:{width}}  {one.pages:5}  {_share(one.with_word, one.boxes):>17}  "
            f"{texts:>18}  {one.seconds / max(1, one.pages + one.failed):14.2f}"
        )
    lines += [f"{one.engine} gave up on {counted(one.failed, 'page')}" for one in figures if one.failed]
    best = max(figures, key=_merit)
    lines.append(
        f"LAYOUTLOOP_OCR_ENGINE={engine_kind(best.engine)} reads these pages best; it is used from the next training "
        "on, a version in service keeps the engine that it was trained with"
    )
    return "\n".join(lines)


def _merit(one: EngineFigures) -> tuple[float, float, float]:
    return one.with_word / max(1, one.boxes), one.exact / max(1, one.texts), -one.seconds


def _share(part: int, whole: int, nothing: str = "none") -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else nothing
