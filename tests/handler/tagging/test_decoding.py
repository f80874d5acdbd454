from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.page import Box, Page, Size, Word
from handler.tagging.decoding import WordLabels, decode, joined_words, label_words
from handler.tagging.labels import LabelSet
from handler.turn import words_of_picture
from tests.handler.samples import page_of

BIO = LabelSet.from_names(["q", "a"])
IO = LabelSet.from_id2label({0: "O", 1: "q", 2: "a"})
ONLY_I = LabelSet.from_id2label({0: "O", 1: "I-q", 2: "I-a"})


def tagged(labels: LabelSet, tags: str) -> WordLabels:
    ids = [-1 if tag == "." else labels.tags.index(tag) for tag in tags.split()]
    return WordLabels(np.array(ids, dtype=np.int64), np.full(len(ids), 0.5, dtype=np.float32))


def said(tags: str) -> NDArray[np.float32]:
    """Logits that leave no doubt."""
    return 8 * np.eye(len(BIO.tags), dtype=np.float32)[[BIO.tags.index(tag) for tag in tags.split()]]


@pytest.mark.parametrize(
    ("tags", "regions"),
    [
        pytest.param("O O O", [], id="P17 nothing"),
        pytest.param("B-q I-q I-q", [("q", (0, 1, 2))], id="P17 one"),
        pytest.param("B-q B-q", [("q", (0,)), ("q", (1,))], id="P17 two neighbours of one label stay two"),
        pytest.param("B-q I-q B-q I-q", [("q", (0, 1)), ("q", (2, 3))], id="P17 two longer ones stay two"),
        pytest.param("I-q I-q", [("q", (0, 1))], id="P17 I at the start"),
        pytest.param("O I-q", [("q", (1,))], id="P17 I after O"),
        pytest.param("B-q O I-q", [("q", (0,)), ("q", (2,))], id="P17 O ends it"),
        pytest.param("B-q I-a", [("q", (0,)), ("a", (1,))], id="P17 I of another label"),
        pytest.param("B-q I-a I-q", [("q", (0,)), ("a", (1,)), ("q", (2,))], id="P17 back to the first label"),
        pytest.param("I-q B-q I-q", [("q", (0,)), ("q", (1, 2))], id="P17 B after I"),
        pytest.param("B-q . I-q", [("q", (0, 2))], id="P9 a blank word ends nothing"),
        pytest.param(". B-q .", [("q", (1,))], id="P9 blank words around"),
        pytest.param("B-q . O . I-q", [("q", (0,)), ("q", (4,))], id="P9 blank words around O"),
        pytest.param(". . .", [], id="P9 only blank words"),
        pytest.param("", [], id="P10 no words"),
    ],
)
def test_bio(tags: str, regions: list[tuple[str, tuple[int, ...]]]) -> None:
    page = page_of(*"abcdefgh"[: len(tags.split())])
    assert [(one.label, one.words) for one in joined_words(page, tagged(BIO, tags), BIO)] == regions


def test_a_bio_region_goes_on_over_lines() -> None:
    """P17."""
    page = page_of("a", "b", "c", lines=[0, 1, 2])
    assert [one.words for one in joined_words(page, tagged(BIO, "B-q I-q I-q"), BIO)] == [(0, 1, 2)]


@pytest.mark.parametrize(
    ("tags", "lines", "regions"),
    [
        pytest.param("q q q", [0, 0, 0], [("q", (0, 1, 2))], id="P18 neighbours on one line join"),
        pytest.param("q q q", [0, 1, 1], [("q", (0,)), ("q", (1, 2))], id="P17 answers below each other stay two"),
        pytest.param("q a q", [0, 0, 0], [("q", (0,)), ("a", (1,)), ("q", (2,))], id="P18 another label between"),
        pytest.param("q O q", [0, 0, 0], [("q", (0,)), ("q", (2,))], id="P18 O between"),
        pytest.param("q . q", [0, 0, 0], [("q", (0, 2))], id="P9 a blank word between"),
        pytest.param("q . q", [0, 0, 1], [("q", (0,)), ("q", (2,))], id="P9 a blank word before the next line"),
    ],
)
def test_plain_labels(tags: str, lines: list[int], regions: list[tuple[str, tuple[int, ...]]]) -> None:
    page = page_of("x", "y", "z", lines=lines)
    assert [(one.label, one.words) for one in joined_words(page, tagged(IO, tags), IO)] == regions


def test_a_scheme_of_only_i_joins_neighbours() -> None:
    page = page_of("x", "y", "z", lines=[0, 1, 1])
    assert [one.words for one in joined_words(page, tagged(ONLY_I, "I-q I-q I-a"), ONLY_I)] == [(0, 1), (2,)]


def test_a_region_has_the_box_text_and_mean_score_of_its_words() -> None:
    page = page_of("Total", "12.50", "EUR", "x")
    shares = [[0.1, 0.9, 0, 0, 0], [0.4, 0, 0.6, 0, 0], [0.25, 0, 0.3, 0.25, 0.2], [1, 0, 0, 0, 0]]
    (region,) = decode(page, np.log(np.array(shares, dtype=np.float32) + 1e-9), BIO)
    assert region.label == "q"
    assert region.box == Box.around(word.box for word in page.words[:3])
    assert region.score == pytest.approx(0.6)
    assert region.text == "Total 12.50 EUR"


def test_words_that_are_alike_are_told_apart() -> None:
    """P11: the same word in the same place, twice, with two labels."""
    word = page_of("x").words[0]
    page = page_of("x").__class__(page_of("x").size, "given", (word, word))
    assert [(one.label, one.words) for one in joined_words(page, tagged(BIO, "B-q B-a"), BIO)] == [
        ("q", (0,)),
        ("a", (1,)),
    ]


@pytest.mark.parametrize(
    ("labels", "probabilities", "tag", "score"),
    [
        pytest.param(BIO, [0.1, 0.5, 0.3, 0.1, 0.0], "B-q", 0.8, id="B and I add up"),
        pytest.param(BIO, [0.1, 0.3, 0.5, 0.1, 0.0], "I-q", 0.8, id="whichever is larger"),
        pytest.param(BIO, [0.4, 0.3, 0.3, 0.0, 0.0], "O", 0.4, id="the best tag, not the best entity"),
        pytest.param(BIO, [0.9, 0.0, 0.0, 0.1, 0.0], "O", 0.9, id="outside"),
        pytest.param(IO, [0.2, 0.7, 0.1], "q", 0.7, id="P18 plain labels"),
    ],
)
def test_label_words(labels: LabelSet, probabilities: list[float], tag: str, score: float) -> None:
    logits = np.log(np.array([probabilities], dtype=np.float32) + 1e-9)
    words = label_words(logits + 7, labels)
    assert labels.tags[words.tags[0]] == tag
    assert words.scores[0] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize(
    "logits",
    [
        pytest.param(np.full((3, 5), np.nan, dtype=np.float32), id="P9 no word has a token"),
        pytest.param(np.zeros((0, 5), dtype=np.float32), id="P10 no word"),
    ],
)
def test_no_word_has_a_label(logits: np.ndarray) -> None:
    words = label_words(logits, BIO)
    assert words.tags.tolist() == [-1] * len(logits)
    assert words.scores.tolist() == [0.0] * len(logits)


@pytest.mark.parametrize("size", [1e4, 1e30], ids=["large", "huge"])
def test_large_logits_give_finite_scores(size: float) -> None:
    """P26: JSON has no NaN."""
    words = label_words(np.array([[size, -size, 0, 0, 0], [-size] * 5], dtype=np.float32), BIO)
    assert words.scores[0] == 1.0
    assert words.scores[1] == pytest.approx(0.2)


def test_a_word_without_a_token_among_others() -> None:
    """P9: mapped back to its place."""
    row = np.log(np.array([0.1, 0.6, 0.1, 0.1, 0.1], dtype=np.float32))
    words = label_words(np.stack([row, np.full(5, np.nan, dtype=np.float32), row]), BIO)
    assert words.tags.tolist() == [1, -1, 1]
    assert words.scores.tolist() == pytest.approx([0.7, 0.0, 0.7], abs=1e-5)


def test_a_regions_text_is_joined_as_its_script_is_written() -> None:
    page = page_of("发", "票", "号", "码")
    (region,) = decode(page, said("B-q I-q I-q I-q"), BIO)
    assert region.text == "发票号码"


def test_a_regions_text_keeps_the_spaces_of_a_tilted_page() -> None:
    words = (Word("号", Box(200, 400, 220, 420)), Word("12345678", Box(229, 400, 309, 420)))
    size = Size(800, 800)
    page = Page(size, "engine", words_of_picture(words, size, 10, size), turn=10)
    (region,) = decode(page, said("B-q I-q"), BIO)
    assert region.text == "号 12345678"
