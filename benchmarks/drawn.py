"""The fields of a receipt drawn as different people would: by line, around all lines, by word, or only the value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from handler.page import Box, Page

DRAWN = ("lines", "fields", "values", "words", "mixed")
"""A box for each line of a field; one around all its lines; the lines, but of date and total the value alone; a box for
each word; the first three in turn, page by page."""


def draw(page: Page, lines: Mapping[str, Sequence[int]], values: Mapping[str, str], way: str) -> list[tuple[str, Box]]:
    """Return label and box of everything that is drawn on a page with its lines as published.

    Args:
        page: words with the number of their line.
        lines: field -> its lines.
        values: field -> its value.
        way: one of DRAWN but `mixed`.
    """
    words: dict[int, list[int]] = {}
    for index, word in enumerate(page.words):
        words.setdefault(word.line, []).append(index)
    drawn: list[tuple[str, list[int]]] = []
    for field, numbers in lines.items():
        rows = [words[number] for number in numbers if number in words]
        if way == "fields":
            rows = [[index for row in rows for index in row]]
        elif way == "words":
            rows = [[index] for row in rows for index in row]
        elif way == "values" and field in ("date", "total"):
            rows = [_value(page, row, field, values[field]) for row in rows]
        drawn += [(field, row) for row in rows if row]
    return [(field, Box.around(page.words[index].box for index in row)) for field, row in drawn]


def _value(page: Page, row: list[int], field: str, value: str) -> list[int]:
    """Return the fewest words of a line that say a value; the whole line where its words do not."""
    texts = [page.words[index].text.upper() for index in row]
    amount = re.search(r"[\d,]*\d\.\d+", value)
    wanted = amount.group() if field == "total" and amount else re.sub(r"\s", "", value.upper())
    for length in range(1, len(row) + 1):
        for first in range(len(row) - length + 1):
            if wanted in "".join(texts[first : first + length]):
                return row[first : first + length]
    return row
