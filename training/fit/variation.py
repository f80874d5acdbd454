"""Other words in the same places: few pages then teach where things stand, and not by heart what they say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from handler.page import Word
from training.data.examples import Example

DIGITS = 0.8
"""Share of the words whose digits are drawn anew: another number, date or amount of the same form."""
NAMES = 0.4
"""Share of the marked words of letters that another word of the training pages takes the place of."""
_SHORTEST = 3


@dataclass(frozen=True, slots=True)
class Variation:
    """Makes variations of a page; boxes and labels stay.

    Args:
        words: what marked words are replaced by.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Variation:
        """Take the words of all training pages."""
        texts = (word.text for example in examples for word in example.page.words)
        return cls(tuple(text for text in texts if text.isalpha() and len(text) >= _SHORTEST))

    def __call__(self, example: Example) -> Example:
        """Return a variation; it follows the seed of `random`."""
        marked = {index for entity in example.entities for index in entity.words}
        words = tuple(self._word(word, index in marked) for index, word in enumerate(example.page.words))
        return replace(example, page=replace(example.page, words=words))

    def _word(self, word: Word, is_marked: bool) -> Word:
        text = word.text
        if is_marked and self.words and text.isalpha() and random.random() < NAMES:  # noqa: S311
            other = random.choice(self.words)  # noqa: S311
            return replace(word, text=other.capitalize() if text.istitle() else other)
        if random.random() < DIGITS:  # noqa: S311
            text = "".join(random.choice("0123456789") if char.isdigit() else char for char in text)  # noqa: S311
        return replace(word, text=text)
