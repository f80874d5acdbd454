"""Words of a PDF's text, by their characters alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pypdfium2
import pytest

from handler.joining import join_words
from handler.page import Box, Size, Word
from layoutloop.documents.pdf_text import LayerWord, words_of
from tests.layoutloop.documents.pdf_files import HEIGHT, WIDTH, lines, text_pdf


def words_of_line(path: Path, text: str) -> list[LayerWord]:
    """The words of a page with one line, in Helvetica's glyphs, whatever characters they stand for."""
    codes = {character: 0x41 + number for number, character in enumerate(sorted(set(text) - {" "}))} | {" ": 0x20}
    pairs = "".join(f"<{code:02X}> <{character.encode('utf-16-be').hex()}> " for character, code in codes.items())
    cmap = (
        f"begincmap 1 begincodespacerange <00> <FF> endcodespacerange {len(codes)} beginbfchar {pairs}endbfchar endcmap"
    )
    stream = f"<</Length {len(cmap)}>> stream\n{cmap}\nendstream"
    shown = "".join(chr(codes[character]) for character in text)
    text_pdf(path, [lines([shown])], font="/ToUnicode 90 0 R", more=[stream])
    with pypdfium2.PdfDocument(path) as document:
        return words_of(document[0], Size(WIDTH * 2, HEIGHT * 2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Total: 12.50 EUR", ["Total:", "12.50", "EUR"]),
        ("发票号码：12345678", ["发", "票", "号", "码", "：", "12345678"]),
        ("合計 1250円", ["合", "計", "1250", "円"]),
        ("ยอดรวม1250บาท", ["ยอดรวม", "1250", "บาท"]),
        ("Page.....12", ["Page.....12"]),
        ("Page . . . . . 12", ["Page", ".....", "12"]),
    ],
    ids=["Latin", "Chinese", "Japanese", "Thai", "leaders without spaces", "leaders with spaces"],
)
def test_words_are_parted_as_their_script_is_read(tmp_path: Path, text: str, words: list[str]) -> None:
    found = words_of_line(tmp_path / "a.pdf", text)
    assert [word.text for word in found] == words
    for before, word in pairwise(found):
        assert before.box.left < before.box.right <= word.box.left + 2
    if ". ." not in text:
        assert join_words(Word(word.text, word.box) for word in found) == text


def test_a_word_has_the_box_of_its_ink_and_the_space_of_its_line(tmp_path: Path) -> None:
    name, dash = words_of_line(tmp_path / "a.pdf", "EE -")[0], words_of_line(tmp_path / "b.pdf", "- EE")[0]
    assert name.box.bottom - name.box.top == pytest.approx(0.72 * 32, abs=2)
    for word in (name, dash):
        assert (word.space.top, word.space.bottom) == pytest.approx((70, 107), abs=2)
        assert Box.around((word.box, word.space)) == word.space
