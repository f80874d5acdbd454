"""Same maths as the reference: the Tagger's logits against Hugging Face's own processor and model.

One random LayoutLMv3 checkpoint of base size, float32, real pages with their words given:
`python -m benchmarks.reference_logits --funsd DIR --docbank DIR --bpe DIR [--pages 20]`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import (
    LayoutLMv3Config,
    LayoutLMv3ForTokenClassification,
    LayoutLMv3ImageProcessorPil,
    LayoutLMv3Processor,
    LayoutLMv3TokenizerFast,
)

from benchmarks.timing import machine
from handler.errors import HandlerError, OutOfMemory
from handler.geometry import grid_to_pixels, pixels_to_grid
from handler.images import ImageLimits, make_thumbnail, open_page
from handler.page import Box, Page, Size, Word
from handler.tagging.tagger import Tagger, TaggerSettings

LABELS = ["O", "B-header", "I-header", "B-question", "I-question", "B-answer", "I-answer"]
MAX_TEXT_TOKENS = 510


def make_checkpoint(folder: Path, bpe: Path) -> LayoutLMv3Processor:
    """Save a random checkpoint of base size and return Hugging Face's processor for it."""
    merges = [tuple(line.split()) for line in (bpe / "merges.txt").read_text().splitlines() if line[:1] not in "#"]
    tokenizer = LayoutLMv3TokenizerFast(
        vocab=json.loads((bpe / "vocab.json").read_text()),
        merges=merges,
        only_label_first_subword=True,
        model_max_length=512,
    )
    assert len(tokenizer) > 50_000, "the vocabulary was not taken"
    config = LayoutLMv3Config(
        max_position_embeddings=514,  # as microsoft/layoutlmv3-base; the class's own default is 512
        id2label=dict(enumerate(LABELS)),
        label2id={tag: i for i, tag in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    LayoutLMv3ForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return LayoutLMv3Processor(LayoutLMv3ImageProcessorPil(apply_ocr=False), tokenizer)


def funsd_pages(folder: Path) -> Iterator[tuple[str, Image.Image, Page]]:
    """Yield (name, image, page) of every FUNSD form that can be opened, words as annotated."""
    for path in sorted((folder / "annotations").glob("*.json")):
        try:
            image = open_page((folder / "images" / f"{path.stem}.png").read_bytes(), ImageLimits())
        except HandlerError as error:
            print(f"left out: {path.stem}: {error}")
            continue
        groups = json.loads(path.read_text())["form"]
        words = tuple(Word(word["text"], Box.from_corners(*word["box"])) for group in groups for word in group["words"])
        yield path.stem, image, Page(Size(*image.size), "funsd", words, make_thumbnail(image))


def docbank_pages(folder: Path) -> Iterator[tuple[str, Page]]:
    """Yield (name, page) of every DocBank page, words as published."""
    for path in sorted(folder.glob("*.txt")):
        image = open_page(path.with_name(f"{path.stem}_ori.jpg").read_bytes(), ImageLimits())
        size = Size(*image.size)
        rows = [line.split("\t") for line in path.read_text().splitlines() if line]
        boxes = [tuple(float(edge) for edge in row[1:5]) for row in rows]
        words = tuple(
            Word(row[0], grid_to_pixels((box[0], box[1], box[2], box[3]), size))
            for row, box in zip(rows, boxes, strict=True)
        )
        yield path.stem, Page(size, "docbank", words, make_thumbnail(image))


def reference_logits(
    processor: LayoutLMv3Processor, model: LayoutLMv3ForTokenClassification, image: Image.Image, page: Page
) -> np.ndarray | None:
    """Return (words, labels) logits of first tokens as the well-known notebook gets them; None above 510 tokens."""
    kept = [index for index, word in enumerate(page.words) if word.text.strip()]
    inputs = processor(
        image,
        [page.words[index].text for index in kept],
        boxes=[list(pixels_to_grid(page.words[index].box, page.size)) for index in kept],
        return_tensors="pt",
    )
    word_ids = inputs.word_ids(0)
    if len(word_ids) - 2 > MAX_TEXT_TOKENS:
        return None
    with torch.inference_mode():
        logits = model(**inputs).logits[0].numpy()
    answers = np.full((len(page.words), logits.shape[1]), np.nan, dtype=np.float32)
    for position, word in enumerate(word_ids):
        if word is not None and word != word_ids[position - 1]:
            answers[kept[word]] = logits[position]
    return answers


def compare(folder: Path, processor: LayoutLMv3Processor, funsd: Path, wanted: int) -> None:
    """Print the largest difference over `wanted` pages of up to 510 tokens."""
    model = LayoutLMv3ForTokenClassification.from_pretrained(folder).eval()
    tagger = Tagger.load(folder, TaggerSettings(device="cpu", dtype="float32"))
    worst, compared, words = 0.0, 0, 0
    pages = []
    for name, image, page in funsd_pages(funsd):
        expected = reference_logits(processor, model, image, page)
        if expected is not None:
            pages.append((name, page, expected))
        if len(pages) == wanted:
            break
    answers = tagger.word_logits([page for _, page, _ in pages])
    for (name, page, expected), answer in zip(pages, answers, strict=True):
        assert not isinstance(answer, OutOfMemory)
        assert (np.isnan(answer) == np.isnan(expected)).all(), f"{name}: other words have no token"
        difference = float(np.nanmax(np.abs(answer - expected)))
        worst, compared, words = max(worst, difference), compared + 1, words + len(page.words)
        print(f"{name}: {len(page.words)} words, largest difference {difference:.2e}")
    print(f"{compared} pages in one Tagger call, {words} words, largest difference of all {worst:.2e} (goal 1e-4)")
    assert worst <= 1e-4


def windows(folder: Path, docbank: Path) -> None:
    """Print that on the longest DocBank page every word has exactly one answer."""
    tagger = Tagger.load(folder, TaggerSettings(device="cpu", dtype="float32"))

    def tokens(page: Page) -> int:
        return sum(len(window.input_ids) - 2 for window in tagger.encoder.encode(page).windows)

    name, page = max(docbank_pages(docbank), key=lambda one: tokens(one[1]))
    encoding = tagger.encoder.encode(page)
    answered = np.concatenate([window.words for window in encoding.windows])
    logits = tagger.word_logits([page])[0]
    assert not isinstance(logits, OutOfMemory)
    blank = sum(not word.text.strip() for word in page.words)
    with_label = int((~np.isnan(logits).any(axis=1)).sum())
    print(
        f"{name}: {len(page.words)} words ({blank} blank), {len(encoding.windows)} windows; answered {len(answered)} "
        f"times, {len(set(answered.tolist()))} different words, {with_label} with a label"
    )
    assert len(answered) == len(set(answered.tolist())) == with_label == len(page.words) - blank


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--funsd", type=Path, required=True)
    parser.add_argument("--docbank", type=Path, required=True)
    parser.add_argument("--bpe", type=Path, required=True, help="folder with RoBERTa's vocab.json and merges.txt")
    parser.add_argument("--pages", type=int, default=20)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        processor = make_checkpoint(Path(name), options.bpe)
        windows(Path(name), options.docbank)
        compare(Path(name), processor, options.funsd, options.pages)


if __name__ == "__main__":
    main()
