from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from handler.errors import CheckpointInvalid, PageInvalid
from handler.geometry import pixels_to_grid
from handler.page import Box, BoxLevel, Page, Size, Word
from handler.tagging.encoding import Encoder, Encoding, Window, collate
from handler.turn import split_turn, words_of_picture
from tests.checkpoints import byte_level_bpe, word_piece
from tests.handler.samples import encoded, noisy_thumbnail, page_of

TOKENIZERS = {"BPE": byte_level_bpe, "WordPiece": word_piece}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return TOKENIZERS[request.param]()


def encoder_of(tokenizer: PreTrainedTokenizerFast, **options: object) -> Encoder:
    return Encoder(tokenizer.backend_tokenizer, tokenizer.pad_token_id, **{"uses_image": False, **options})


def answered(encoding: Encoding) -> list[int]:
    return sorted(index for window in encoding.windows for index in window.words.tolist())


def test_one_window_is_what_the_tokenizer_makes_of_it(tokenizer: PreTrainedTokenizerFast) -> None:
    page = page_of("Invoice", "12.50", "page")
    (window,) = encoder_of(tokenizer).encode(page).windows
    whole = tokenizer([word.text for word in page.words], is_split_into_words=True)
    assert window.input_ids.tolist() == whole["input_ids"]
    assert window.words.tolist() == [0, 1, 2]
    assert window.positions.tolist() == [whole.word_ids().index(index) for index in range(3)]


def test_special_tokens_have_box_0_and_every_token_has_its_words(tokenizer: PreTrainedTokenizerFast) -> None:
    """P4."""
    page = page_of("Invoice", "4711-0815", "page")
    (window,) = encoder_of(tokenizer).encode(page).windows
    of_token = tokenizer([word.text for word in page.words], is_split_into_words=True).word_ids()
    expected = [
        (0, 0, 0, 0) if index is None else pixels_to_grid(page.words[index].box, page.size) for index in of_token
    ]
    assert window.boxes.tolist() == [list(box) for box in expected]
    assert window.boxes[0].tolist() == window.boxes[-1].tolist() == [0, 0, 0, 0]
    assert len(set(map(tuple, window.boxes[1:-1].tolist()))) == 3


@pytest.mark.parametrize(
    ("texts", "with_token"),
    [
        pytest.param(["page", "", "is"], [0, 2], id="P9 empty word"),
        pytest.param(["page", " ", "is"], [0, 2], id="P9 a space"),
        pytest.param(["page", " \t\n\u00a0\u3000", "is"], [0, 2], id="P9 all kinds of space"),
        pytest.param(["", "page"], [1], id="P9 blank first"),
        pytest.param(["page", ""], [0], id="P9 blank last"),
        pytest.param(["5 High Street", "is"], [0, 1], id="P9 inner space is one word"),
        pytest.param([" page ", "is"], [0, 1], id="P9 outer spaces"),
        pytest.param(["page", "page", "page"], [0, 1, 2], id="P11 the same word thrice"),
        pytest.param(["@", "€", "ß", "漢字"], [0, 1, 2, 3], id="characters that it never saw"),
        pytest.param(["<s>", "[CLS]", "</s>"], [0, 1, 2], id="words spelled like special tokens"),
        pytest.param([], [], id="P10 no words"),
        pytest.param(["", " "], [], id="P10 only blank words"),
    ],
)
def test_which_words_are_answered(tokenizer: PreTrainedTokenizerFast, texts: list[str], with_token: list[int]) -> None:
    assert answered(encoder_of(tokenizer).encode(page_of(*texts))) == with_token


def test_words_that_the_tokenizer_drops_have_no_answer() -> None:
    """P9: WordPiece's normaliser removes control characters and zero-width spaces."""
    assert answered(encoder_of(word_piece()).encode(page_of("page", "\u200b", "\0", "is"))) == [0, 3]


def test_a_word_may_begin_with_a_bare_space_token() -> None:
    """P9: two of FUNSD's words do; by character offset the first token would count as none."""
    tokenizer = byte_level_bpe()
    page = page_of("page", "x", "is")
    tokens = tokenizer.backend_tokenizer.encode(["page", "x", "is"], is_pretokenized=True, add_special_tokens=False)
    assert tokens.tokens[tokens.word_ids.index(1)] == "Ġ"
    (window,) = encoder_of(tokenizer).encode(page).windows
    assert window.words.tolist() == [0, 1, 2]
    assert window.input_ids[window.positions[1]] == tokens.ids[tokens.word_ids.index(1)]


def test_a_page_without_words_has_no_window_and_needs_no_thumbnail(tokenizer: PreTrainedTokenizerFast) -> None:
    """P10."""
    for page in (page_of(), page_of("", " ")):
        assert encoder_of(tokenizer, uses_image=True).encode(page) == Encoding((), None)


def test_boxes_of_lines() -> None:
    """P7: every token has the box around its text line, and lines are told by number, not by place."""
    page = page_of("Invoice", "page", "is", "total", lines=[4, 7, 4, 7])
    encode = encoder_of(byte_level_bpe(), box_level="lines").encode
    (window,) = encode(page).windows
    words = [page.words[index].box for index in range(4)]
    boxes = [window.boxes[position].tolist() for position in window.positions]
    around = [pixels_to_grid(Box.around(pair), page.size) for pair in ((words[0], words[2]), (words[1], words[3]))]
    assert boxes == [list(around[0]), list(around[1])] * 2


@pytest.mark.parametrize("box_level", ["words", "lines"])
@pytest.mark.parametrize("turn", [90, 180, 270, 3.5, 268])
def test_a_turned_page_is_encoded_as_the_upright_one(turn: float, box_level: BoxLevel) -> None:
    """In its picture, columns of words stand beside one another; the model sees lines below one another."""
    upright = page_of(*["page", "is", "invoice", "number", "4711"] * 8, lines=[n // 8 for n in range(40)])
    sides = (upright.size.width, upright.size.height)
    picture = Size(*sides) if split_turn(turn)[0] % 2 == 0 else Size(*sides[::-1])
    turned = Page(picture, "given", words_of_picture(upright.words, upright.size, turn, picture), turn=turn)
    encoder = encoder_of(byte_level_bpe(), box_level=box_level)
    (expected,), (window,) = (encoder.encode(page).windows for page in (upright, turned))
    assert window.input_ids.tolist() == expected.input_ids.tolist()
    furthest = np.abs(window.boxes - expected.boxes).max()
    assert furthest <= (0 if turn % 90 == 0 else 1000 * 1.5 / min(sides)), "a pixel and a half"


def test_boxes_past_the_page_are_clipped() -> None:
    """P2: 1024 and more would raise in the model and take the whole batch with them."""
    words = (Word("page", Box(-1e308, -7, 1e308, 5000)), Word("is", Box(150, 150, 160, 160)))
    (window,) = encoder_of(byte_level_bpe()).encode(Page(Size(100, 100), "given", words)).windows
    assert window.boxes.min() == 0
    assert window.boxes.max() == 1000


def mixed_page(words: int) -> Page:
    """Words of one to many tokens, some without any."""
    texts = ("page", "4711", "", "is", "Straßenverzeichnis", "a", " ", "12.50")
    return page_of(*(texts[index % len(texts)] for index in range(words)))


def distances(token: int, starts: range, capacity: int, tokens: int) -> list[int]:
    """Return how far a token stands from the nearest cut of each window, -1 where it is not inside."""
    found = []
    for start in starts:
        end = min(start + capacity, tokens)
        left = token - start if start > 0 else tokens
        right = end - 1 - token if end < tokens else tokens
        found.append(min(left, right) if start <= token < end else -1)
    return found


@pytest.mark.parametrize("stride", [0, 1, 3, 7, 8, 9], ids=lambda stride: f"P13 P15 stride {stride}")
@pytest.mark.parametrize("make", [byte_level_bpe, word_piece], ids=["BPE", "WordPiece"])
def test_windows(make: Callable[[], PreTrainedTokenizerFast], stride: int) -> None:
    """Every word with a token is answered once, by the window where it stands farthest from a cut; no token is lost."""
    tokenizer = make()
    encoder, capacity = encoder_of(tokenizer, max_tokens=12, stride=stride), 10
    for words in range(60):
        page = mixed_page(words)
        tokens = tokenizer.backend_tokenizer.encode(
            [word.text.strip() for word in page.words], is_pretokenized=True, add_special_tokens=False
        )
        windows = encoder.encode(page).windows
        starts = range(0, len(windows) * (capacity - stride), capacity - stride)
        assert [window.input_ids[1:-1].tolist() for window in windows] == [
            tokens.ids[start : start + capacity] for start in starts
        ]
        assert not tokens.ids or starts[-1] + capacity >= len(tokens.ids)
        assert len(windows) < 2 or starts[-2] + capacity < len(tokens.ids), "the last window is needed"
        assert answered(Encoding(windows, None)) == sorted(set(tokens.word_ids))
        for number, (start, window) in enumerate(zip(starts, windows, strict=True)):
            for word, position in zip(window.words.tolist(), window.positions.tolist(), strict=True):
                token = start + position - 1
                assert token == tokens.word_ids.index(word), "the first token of the word"
                there = distances(token, starts, capacity, len(tokens.ids))
                assert there[number] == max(there)


@pytest.mark.parametrize(
    ("words", "windows"),
    [
        pytest.param(10, 1, id="full to the last token"),
        pytest.param(11, 2, id="one token more"),
        pytest.param(17, 2, id="two full"),
        pytest.param(18, 3, id="P14 one token more than two"),
    ],
)
def test_number_of_windows(words: int, windows: int) -> None:
    encoder = encoder_of(word_piece(), max_tokens=12, stride=3)
    assert len(encoder.encode(page_of(*["page"] * words)).windows) == windows


def test_a_word_longer_than_several_windows() -> None:
    """P13: it must not loop; the word is answered where it begins, and its neighbours too."""
    page = page_of("page", "4711" * 300, "is")
    encoding = encoder_of(byte_level_bpe(), max_tokens=64, stride=16).encode(page)
    assert len(encoding.windows) > 15
    assert answered(encoding) == [0, 1, 2]
    assert encoding.windows[0].words.tolist() == [0, 1]
    assert encoding.windows[-1].words.tolist() == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"stride": -1}, "stride must be at least 0 and less than the 510 .* got -1", id="P13 negative"),
        pytest.param({"stride": 510}, "less than the 510 tokens of a window, got 510", id="P13 as long as the window"),
        pytest.param({"max_tokens": 100, "stride": 128}, "less than the 98 tokens", id="P13 longer than the window"),
        pytest.param({"max_tokens": 2, "stride": 0}, "less than the 0 tokens", id="P13 no room for a token"),
        pytest.param({"box_level": "segments"}, r"box_level is one of \('words', 'lines'\), got 'segments'", id="P7"),
    ],
)
def test_settings_that_cannot_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointInvalid, match=message):
        encoder_of(byte_level_bpe(), **options)


def test_a_tokenizer_without_vocabulary() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(CheckpointInvalid, match="is its vocabulary there"):
        Encoder(tokenizer, 0)


def test_truncation_and_padding_saved_with_the_tokenizer_are_switched_off() -> None:
    """P14: a page must never lose its second half in silence."""
    tokenizer = byte_level_bpe()
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.backend_tokenizer.enable_padding(length=32, pad_id=1)
    encoding = encoder_of(tokenizer).encode(page_of(*["page"] * 20))
    assert answered(encoding) == list(range(20))
    assert 1 not in encoding.windows[0].input_ids


def png(mode: str, size: tuple[int, int], format: str = "PNG") -> bytes:
    return encoded(Image.new(mode, size), format)


@pytest.mark.parametrize(
    ("thumbnail", "message"),
    [
        pytest.param(None, "looks at the page image; send `ocr` the header X-LayoutLoop-Thumbnail: 1", id="none"),
        pytest.param(b"", "cannot be opened", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "cannot be opened", id="only the first bytes"),
        pytest.param(noisy_thumbnail()[:400], "cannot be opened", id="P22 cut"),
        pytest.param(png("RGB", (223, 224)), r"is a 224 x 224 RGB PNG, got \(223, 224\) RGB", id="another size"),
        pytest.param(png("L", (224, 224)), r"got \(224, 224\) L", id="another mode"),
        pytest.param(png("RGBA", (224, 224)), r"got \(224, 224\) RGBA", id="with transparency"),
        pytest.param(png("RGB", (224, 224), "BMP"), "cannot be opened", id="another format"),
    ],
)
def test_bad_thumbnails(thumbnail: bytes | None, message: str) -> None:
    with pytest.raises(PageInvalid, match=message):
        encoder_of(byte_level_bpe(), uses_image=True).encode(page_of("page", thumbnail=thumbnail))


def test_a_model_without_image_branch_ignores_the_thumbnail() -> None:
    assert encoder_of(byte_level_bpe()).encode(page_of("page", thumbnail=b"not even a PNG")).pixels is None


def test_pixels_are_between_minus_one_and_one() -> None:
    """P23."""
    buffer = io.BytesIO()
    Image.merge("RGB", [Image.new("L", (224, 224), value) for value in (0, 128, 255)]).save(buffer, "PNG")
    pixels = encoder_of(byte_level_bpe(), uses_image=True).encode(page_of("a", thumbnail=buffer.getvalue())).pixels
    assert pixels is not None
    assert (pixels.shape, pixels.dtype) == ((3, 224, 224), np.float32)
    assert pixels[:, 5, 5].tolist() == pytest.approx([-1, 128 / 127.5 - 1, 1], abs=1e-6)


def window_of(tokens: int, value: int) -> Window:
    nothing = np.zeros(0, dtype=np.int64)
    return Window(np.full(tokens, value), np.full((tokens, 4), 10 * value), nothing, nothing)


def test_padding() -> None:
    """P4: a pad token has box 0, and nobody attends to it."""
    batch = collate([(window_of(3, 7), None), (window_of(5, 8), None)], pad_id=1)
    assert batch.input_ids.tolist() == [[7, 7, 7, 1, 1], [8] * 5]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch.bbox[0].tolist() == [[70] * 4] * 3 + [[0] * 4] * 2
    assert batch.bbox[1].tolist() == [[80] * 4] * 5
    assert batch.pixel_values is None


def test_padding_to_a_multiple() -> None:
    """So that a CPU meets few lengths."""
    lengths = [collate([(window_of(tokens, 7), None)], 1, 4).input_ids.shape[1] for tokens in range(1, 10)]
    assert lengths == [4] * 4 + [8] * 4 + [12]


def test_each_window_carries_its_pages_pixels() -> None:
    """P12: replicated per window, in one tensor."""
    first, second = np.zeros((3, 224, 224), dtype=np.float32), np.ones((3, 224, 224), dtype=np.float32)
    batch = collate([(window_of(3, 7), first), (window_of(3, 7), first), (window_of(2, 8), second)], pad_id=1)
    assert batch.pixel_values is not None
    assert tuple(batch.pixel_values.shape) == (3, 3, 224, 224)
    assert batch.pixel_values.mean(dim=(1, 2, 3)).tolist() == [0, 0, 1]
