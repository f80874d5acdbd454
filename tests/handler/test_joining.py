from __future__ import annotations

import unicodedata

import pytest

from handler.joining import is_same_text, join_words, text_of
from handler.page import Box, Page, Size, Word
from handler.turn import words_of_picture

SIZE = 20.0
BETWEEN = 0.45 * SIZE


def printed(line: str, gap: float = BETWEEN, number: int = 0) -> list[Word]:
    """Return the parts of a line between `|` (nothing between them) and `_` (a space), as they stand on a page."""
    words, left = [], 100.0
    for part in line.replace("_", "|_|").split("|"):
        if part == "_":
            left += gap
        else:
            width = max(SIZE, 10.0 * len(part))
            words.append(Word(part, Box(left, 50, left + width, 50 + SIZE), line=number))
            left += width
    return words


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("Total_12.50", "Total 12.50", id="Latin"),
        pytest.param("Total|12.50", "Total 12.50", id="Latin that touches is two words all the same"),
        pytest.param("发|票|号|码", "发票号码", id="Chinese"),
        pytest.param("发_票_号_码", "发票号码", id="Chinese, letters set apart"),
        pytest.param("发|票|号|码_No._123", "发票号码 No. 123", id="Chinese and Latin"),
        pytest.param("发|票|号|码|：|12345678", "发票号码：12345678", id="Chinese punctuation"),
        pytest.param("发|票|号|码_：_12345678", "发票号码：12345678", id="Chinese punctuation set apart"),
        pytest.param("号|码_:_12345678", "号码: 12345678", id="a colon belongs to what stands before it"),
        pytest.param("2026|年|11|月|30|日", "2026年11月30日", id="a date without spaces"),
        pytest.param("2026_年_11_月_30_日", "2026 年 11 月 30 日", id="a date with spaces"),
        pytest.param("金|額_12,500|円|（|税|込|）", "金額 12,500円（税込）", id="Japanese"),
        pytest.param("請|求|書|カ|タ|ｶﾅ|々", "請求書カタｶﾅ々", id="kana of all kinds"),
        pytest.param("A|Ｂ|Ｃ|１２", "AＢＣ１２", id="full-width letters"),
        pytest.param("ใบ|แจ้ง|หนี้", "ใบแจ้งหนี้", id="Thai"),
        pytest.param("ใบ|แจ|้|ง|เลข|ท|ี|่_123", "ใบแจ้งเลขที่ 123", id="Thai in letters and marks"),
        pytest.param("จ|ํ|า|กัด", "จำกัด", id="a Thai vowel in two parts"),
        pytest.param("វិក្កយ|បត្រ", "វិក្កយបត្រ", id="Khmer"),
        pytest.param("합계_금액_12,500|원", "합계 금액 12,500원", id="Korean keeps spaces, and has none in amounts"),
        pytest.param("주식회사|한국", "주식회사 한국", id="Korean words that touch are two words all the same"),
        pytest.param("رقم_الفاتورة_12345", "رقم الفاتورة 12345", id="Arabic in reading order"),
        pytest.param("סכום_לתשלום", "סכום לתשלום", id="Hebrew"),
        pytest.param("葛\U000e0100|飾", "葛\U000e0100飾", id="a letter's variant"),
        pytest.param("𠮷|野", "𠮷野", id="rarer Han"),
    ],
)
def test_words_are_joined_as_their_script_is_written(line: str, text: str) -> None:
    assert join_words(printed(line)) == text


def test_right_to_left_words_stand_from_the_right() -> None:
    words = [Word("رقم", Box(400, 50, 440, 70)), Word("12年", Box(340, 50, 390, 70)), Word("年", Box(320, 50, 340, 70))]
    assert join_words(words) == "رقم 12年年"
    beside = [Word("年", Box(400, 50, 420, 70)), Word("12", Box(370, 50, 390, 70))]
    assert join_words(beside) == "年 12"


def test_along_a_page_on_its_side_gaps_run_down() -> None:
    def down(*places: tuple[str, float, float]) -> list[Word]:
        return [Word(text, Box(50, top, 70, bottom)) for text, top, bottom in places]

    assert join_words(down(("号", 0, 20), ("码", 20, 40), ("No.", 50, 80))) == "号码 No."
    assert join_words(down(("12", 0, 20), ("月", 20, 40))) == "12月"


def test_a_new_line_parts_what_is_written_with_spaces() -> None:
    assert join_words([*printed("合|计"), *printed("Total", number=1)]) == "合计 Total"
    assert join_words([*printed("北京|科技"), *printed("有限|公司", number=1)]) == "北京科技有限公司"
    assert join_words([*printed("Main"), *printed("Street", number=1)]) == "Main Street"


def test_blank_words_are_left_out() -> None:
    assert join_words([Word(" ", Box(0, 0, 9, 9)), *printed("a_b"), Word("", Box(0, 0, 9, 9))]) == "a b"
    assert join_words([Word("发", Box(0, 0, 20, 20)), Word("\u3000", Box(20, 0, 40, 20)), *printed("票")]) == "发票"
    assert join_words([]) == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("发 票", "发票", True, id="spaces"),
        pytest.param("Größe", unicodedata.normalize("NFD", "Größe"), True, id="an accent of its own"),
        pytest.param("จำกัด", "จํากัด", True, id="a Thai vowel in two parts"),
        pytest.param("12.50", "12,50", False, id="punctuation"),
        pytest.param("Total", "total", False, id="letter case"),
    ],
)
def test_texts_that_say_the_same(one: str, other: str, same: bool) -> None:
    assert is_same_text(one, other) is same


LEVEL = Size(800, 800)
TURNS = [0, 2, 357, 5, 355, 10, 90, 95, 180, 184, 270, 265]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("号_12345678", "号 12345678", id="a space"),
        pytest.param("号|12345678", "号12345678", id="none"),
        pytest.param("发|票|号|码_No._123", "发票号码 No. 123", id="both"),
    ],
)
def test_a_turned_page_says_what_it_says_upright(line: str, text: str, turn: float) -> None:
    words = [Word("elsewhere", Box(0, 0, 90, 20)), *printed(line)]
    page = Page(LEVEL, "given", words_of_picture(words, LEVEL, turn, LEVEL), turn=turn)
    assert text_of(page, range(1, len(words))) == text
