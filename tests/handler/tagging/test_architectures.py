"""A LiLT checkpoint answers as transformers' own model does; what is neither it nor a LayoutLMv3 is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, DebertaConfig, LiltForTokenClassification

from handler.errors import CheckpointInvalid
from handler.geometry import pixels_to_grid
from handler.page import Page, Size
from handler.tagging.architectures import load_word_tokenizer
from handler.tagging.layoutlm import load
from handler.tagging.tagger import Tagger, TaggerSettings
from tests.checkpoints import LABELS, byte_level_bpe, make_checkpoint, make_lilt_checkpoint, word_piece
from tests.handler.samples import LONG_PAGE, SHORT_PAGE, docbank_page, page_of

ON_CPU = TaggerSettings(device="cpu", dtype="float32", threads=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lilt_checkpoint(tmp_path_factory.mktemp("lilt"))


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> LiltForTokenClassification:
    return LiltForTokenClassification.from_pretrained(checkpoint).eval()


def hugging_face_logits(page: Page, checkpoint: Path, model: LiltForTokenClassification) -> NDArray[np.float32]:
    """Return (words, labels): logits of each word's first token, from transformers' own tokenizer and model."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, add_prefix_space=True)
    encoding = tokenizer([word.text for word in page.words], is_split_into_words=True, return_tensors="pt")
    assert encoding["input_ids"].shape[1] <= 512
    of_token = encoding.word_ids(0)
    boxes = [
        [0, 0, 0, 0] if word is None else list(pixels_to_grid(page.words[word].box, page.size)) for word in of_token
    ]
    with torch.inference_mode():
        logits = model(**encoding, bbox=torch.tensor([boxes])).logits[0].numpy()
    return np.stack([logits[of_token.index(word)] for word in range(len(page.words))])


def words_of(page: Page, words: slice) -> Page:
    return Page(page.size, page.engine, page.words[words])


def test_what_is_loaded(checkpoint: Path) -> None:
    model = load(checkpoint, "cpu", "float32")
    assert (model.labels.names, model.pad_id, model.max_tokens, model.uses_image) == (LABELS, 1, 512, False)
    assert not model.model.training
    assert model.architecture.name == "LiLT"
    assert model.accelerated().model is model.model


def test_answers_are_those_of_transformers(checkpoint: Path, reference: LiltForTokenClassification) -> None:
    """Pages of several lengths in one batch, so that padding must not matter."""
    real = docbank_page(SHORT_PAGE, Size(1000, 1400))
    pages = [words_of(real, slice(0, 60)), page_of("Invoice", "Total", "12.50", "EUR"), words_of(real, slice(60, 75))]
    for page, logits in zip(pages, Tagger.load(checkpoint, ON_CPU).word_logits(pages), strict=True):
        expected = hugging_face_logits(page, checkpoint, reference)
        assert expected.std(axis=0).max() > 0.1, "the answers differ from word to word"
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def test_a_long_page_is_answered_window_by_window(checkpoint: Path, reference: LiltForTokenClassification) -> None:
    page = docbank_page(LONG_PAGE, Size(1000, 1400))
    tagger = Tagger.load(checkpoint, ON_CPU)
    windows = tagger.encoder.encode(page).windows
    assert len(windows) > 2
    (logits,) = tagger.word_logits([page])
    answered = 0
    for window in windows:
        with torch.inference_mode():
            expected = reference(
                input_ids=torch.from_numpy(window.input_ids)[None], bbox=torch.from_numpy(window.boxes)[None]
            ).logits[0]
        np.testing.assert_allclose(logits[window.words], expected[window.positions].numpy(), atol=1e-4, rtol=0)
        answered += len(window.words)
    assert answered == len(page.words)


def test_boxes_count(checkpoint: Path) -> None:
    page = page_of("Invoice", "Total", "12.50", "EUR")
    moved = Page(Size(page.size.width * 2, page.size.height * 3), page.engine, page.words)
    first, second = Tagger.load(checkpoint, ON_CPU).word_logits([page, moved])
    assert np.abs(first - second).max() > 1e-2


def test_bfloat16(checkpoint: Path) -> None:
    page = docbank_page(SHORT_PAGE, Size(1000, 1400))
    loaded = load(checkpoint, "cpu", "bfloat16")
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.bfloat16}
    exact, rounded = (
        Tagger(load(checkpoint, "cpu", dtype).accelerated(), ON_CPU).word_logits([page])[0]
        for dtype in ("float32", "bfloat16")
    )
    assert isinstance(exact, np.ndarray)
    assert isinstance(rounded, np.ndarray)
    assert 0 < np.abs(exact - rounded).mean() < 0.05 * exact.std()


@pytest.mark.parametrize("kind", ["RoBERTa's class", "tokenizer.json alone"])
def test_words_are_read_as_within_a_text(tmp_path: Path, kind: str) -> None:
    """RoBERTa's tokenizer takes a word by itself for the start of a text, which has other tokens."""
    if kind == "tokenizer.json alone":
        tokenizer = byte_level_bpe()
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        make_lilt_checkpoint(tmp_path, tokenizer=tokenizer)
    else:
        make_lilt_checkpoint(tmp_path)
    found = load(tmp_path, "cpu").tokenizer.encode(["Total", "Date"], is_pretokenized=True)
    assert found.tokens == ["<s>", "ĠTotal", "ĠDate", "</s>"]
    load_word_tokenizer(tmp_path).save_pretrained(tmp_path)
    assert load(tmp_path, "cpu").tokenizer.encode(["Total", "Date"], is_pretokenized=True).ids == found.ids


def with_setting(name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {name: value}))

    return change


def with_word_pieces(folder: Path) -> None:
    word_piece().save_pretrained(folder)


def with_many_tokens(folder: Path) -> None:
    tokenizer = byte_level_bpe()
    tokenizer.add_tokens([f"extra{index}" for index in range(50)])
    tokenizer.save_pretrained(folder)


def of_a_larger_text_half(folder: Path) -> None:
    with_setting("vocab_size", 250_002)(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(with_word_pieces, "padding token has id 0, and the model's 1", id="other special tokens"),
        pytest.param(with_many_tokens, r"it has \d+ tokens, and the model embeddings for \d+", id="more tokens"),
        pytest.param(of_a_larger_text_half, "tokens, and the model embeddings for 250,002", id="fewer tokens"),
        pytest.param(with_setting("bos_token_id", 5), "first token has id 0, and the model's 5", id="another start"),
    ],
)
def test_the_tokenizer_of_another_text_half(tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    change(make_lilt_checkpoint(tmp_path))
    with pytest.raises(CheckpointInvalid, match=f"not that of the LiLT's text half: .*{said}.*Save the text encoder's"):
        load(tmp_path, "cpu", "float32")


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    make_lilt_checkpoint(tmp_path)
    with_setting("num_hidden_layers", 3)(tmp_path)
    with pytest.raises(CheckpointInvalid, match=r"has no weights for lilt\.encoder\.layer\.2\.attention"):
        load(tmp_path, "cpu", "float32")


def test_an_architecture_that_is_neither(tmp_path: Path) -> None:
    make_checkpoint(tmp_path)
    DebertaConfig().save_pretrained(tmp_path)
    with pytest.raises(CheckpointInvalid, match="is a deberta checkpoint; this handler serves layoutlmv3 and lilt"):
        load(tmp_path, "cpu", "float32")
