"""The Tagger against Hugging Face's own processor and model, on the same random checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LayoutLMv3ForTokenClassification, LayoutLMv3ImageProcessorPil, LayoutLMv3Processor

from handler.geometry import pixels_to_grid
from handler.images import ImageLimits, make_thumbnail, open_page
from handler.page import Box, Page, Size, Word
from handler.tagging.tagger import Tagger, TaggerSettings
from tests.checkpoints import layoutlmv3_tokenizer, make_checkpoint
from tests.handler.samples import DOCBANK, SHORT_PAGE, docbank_page, page_of


@pytest.fixture(scope="module", params=[False, True], ids=["text", "text and image"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    return make_checkpoint(folder, tokenizer=layoutlmv3_tokenizer(), visual_embed=request.param)


@pytest.fixture(scope="module")
def tagger(checkpoint: Path) -> Tagger:
    return Tagger.load(checkpoint, TaggerSettings(device="cpu", dtype="float32", threads=1))


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> LayoutLMv3ForTokenClassification:
    model = LayoutLMv3ForTokenClassification.from_pretrained(checkpoint)
    return model.eval()


def real_image() -> Image.Image:
    return open_page((DOCBANK / f"{SHORT_PAGE}_ori.jpg").read_bytes(), ImageLimits())


def real_page(words: slice) -> Page:
    image = real_image()
    page = docbank_page(SHORT_PAGE, Size(*image.size))
    return Page(page.size, page.engine, page.words[words], make_thumbnail(image))


def odd_page() -> Page:
    """Zero area, duplicates, inner spaces, bare space tokens, empty words, characters nobody saw, the whole page."""
    image = real_image()
    texts = ("Total", "", "Total", "5 High Street", "x", "漢字", "12.50", "<mask>")
    boxes = (
        Box(9, 9, 9, 9),
        Box(0, 0, 1, 1),
        Box(9, 9, 9, 9),
        Box(0, 0, *image.size),
        *[Box(5, 700, 90.5, 731.25)] * 4,
    )
    words = tuple(Word(text, box) for text, box in zip(texts, boxes, strict=True))
    return Page(Size(*image.size), "given", words, make_thumbnail(image))


def hugging_face_logits(page: Page, model: LayoutLMv3ForTokenClassification) -> np.ndarray:
    """Return (words, labels): logits of each word's first token, NaN where it has none."""
    processor = LayoutLMv3Processor(LayoutLMv3ImageProcessorPil(apply_ocr=False), layoutlmv3_tokenizer())
    encoding = processor(
        real_image(),
        [word.text for word in page.words],
        boxes=[list(pixels_to_grid(word.box, page.size)) for word in page.words],
        return_tensors="pt",
    )
    if not model.config.visual_embed:
        encoding.pop("pixel_values")
    assert encoding["input_ids"].shape[1] <= 512
    with torch.inference_mode():
        logits = model(**encoding).logits[0].numpy()
    of_token = encoding.word_ids(0)
    answer = np.full((len(page.words), logits.shape[1]), np.nan, dtype=np.float32)
    for index in {index for index in of_token if index is not None}:
        answer[index] = logits[of_token.index(index)]
    return answer


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(real_page(slice(0, 90)), id="P1 P8 P23 title and authors"),
        pytest.param(real_page(slice(90, 180)), id="P1 P8 P23 abstract"),
        pytest.param(odd_page(), id="P3 P9 P11 odd words"),
    ],
)
def test_logits_are_hugging_faces(page: Page, tagger: Tagger, reference: LayoutLMv3ForTokenClassification) -> None:
    (logits,) = tagger.word_logits([page])
    expected = hugging_face_logits(page, reference)
    assert np.isfinite(expected).any()
    assert np.nanstd(expected, axis=0).max() > 0.1, "the answers differ from word to word"
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stride", [0, 64, 128])
def test_windows_are_hugging_faces(tagger: Tagger, checkpoint: Path, stride: int) -> None:
    """P12, P14: the rows that `return_overflowing_tokens` makes of one long page."""
    page = page_of(*(word.text for word in docbank_page(SHORT_PAGE, Size(1000, 1000)).words))
    encoding = layoutlmv3_tokenizer()(
        [word.text for word in page.words],
        boxes=[list(pixels_to_grid(word.box, page.size)) for word in page.words],
        truncation=True,
        max_length=256,
        stride=stride,
        return_overflowing_tokens=True,
    )
    settings = TaggerSettings(device="cpu", dtype="float32", max_tokens=256, stride=stride, threads=1)
    windows = (
        Tagger.load(checkpoint, settings)
        .encoder.encode(Page(page.size, "", page.words, make_thumbnail(real_image())))
        .windows
    )
    assert len(windows) > 3
    assert [window.input_ids.tolist() for window in windows] == encoding["input_ids"]
    assert [window.boxes.tolist() for window in windows] == encoding["bbox"]
