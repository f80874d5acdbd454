"""Which characters are words of their own or run on without spaces, by their script."""

from __future__ import annotations

_WIDE = (
    (0x2E80, 0x33FF),  # kana, CJK punctuation and radicals
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0xFE30, 0xFE6F),
    (0xFF00, 0xFFEF),  # full-width and half-width forms
    (0x1F000, 0x3FFFF),  # emoji, rarer Han
)

_RUN_ON = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
"""Thai and Lao, Burmese, Khmer: written without spaces, and no word begins with every letter."""


def is_wide(character: str) -> bool:
    """Return whether a character takes a square of its own, as Han and kana do."""
    return any(first <= ord(character[0]) <= last for first, last in _WIDE)


def begins_word(before: str, character: str) -> bool:
    """Return whether a word begins between two characters with no space between them.

    One does at each wide character, as engine rapidocr has it, and where a script that runs on without spaces meets
    digits or letters of another.
    """
    if is_wide(before) or is_wide(character):
        return True
    runs_on = _runs_on(before), _runs_on(character)
    return runs_on[0] != runs_on[1] and (before if runs_on[1] else character).isalnum()


def _runs_on(character: str) -> bool:
    code = ord(character[0])
    return not character.isdecimal() and any(first <= code <= last for first, last in _RUN_ON)
