"""A checkpoint's answers for annotated pages, from the same Tagger that serves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from handler.errors import HandlerError
from handler.page import TaggedPage
from handler.tagging.tagger import Tagger, TaggerSettings
from training.data.examples import Example

_PAGES_AT_ONCE = 64
"""After so many, progress is told."""


def tag_examples(
    checkpoint: Path,
    examples: Sequence[Example],
    settings: TaggerSettings,
    progress: Callable[[int, int], None] | None = None,
) -> list[TaggedPage | HandlerError]:
    """Return what a checkpoint says about each page, in order; a page that failed has its error in its place.

    Args:
        checkpoint: folder with config.json, weights and tokenizer.
        examples: their pages need thumbnails where the checkpoint looks at the image.
        settings: box level as in training.
        progress: told pages done and pages in all, now and then.

    Raises:
        CheckpointInvalid: it cannot be loaded.
        PageInvalid: it looks at the image and a page has no thumbnail.
    """
    if not examples:
        return []
    tagger = Tagger.load(checkpoint, settings)
    answers: list[TaggedPage | HandlerError] = []
    for start in range(0, len(examples), _PAGES_AT_ONCE):
        answers += tagger.tag([example.page for example in examples[start : start + _PAGES_AT_ONCE]])
        if progress is not None:
            progress(len(answers), len(examples))
    return answers
