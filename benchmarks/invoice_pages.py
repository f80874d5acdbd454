"""Synthetic invoices read by a real OCR engine, kept in a folder so that one benchmark after another can use them."""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from functools import partial
from pathlib import Path

from demo.invoices import LAYOUTS, GoldRegion, make_invoice
from handler.images import ImageLimits
from handler.ocr_settings import OcrSettings
from handler.page import Box, Page
from handler.reading.reader import Reader
from handler.wire import page_from_json, page_to_json

SEEN_LAYOUTS = (0, 1, 2, 3)
"""The project's pages come from these; the other ten are layouts never seen in training."""
DEFAULT_ENGINE = OcrSettings().engine
UNSEEN_LAYOUTS = tuple(layout for layout in range(LAYOUTS) if layout not in SEEN_LAYOUTS)


def read_invoice(seed: int, layout: int, folder: Path, engine: str) -> tuple[Page, tuple[GoldRegion, ...]]:
    """Return one invoice as the engine reads it, with its gold regions (from the generator, never from OCR)."""
    path = folder / f"invoice-{layout:02d}-{seed:07d}-{engine}.json"
    if path.exists():
        body = json.loads(path.read_text())
        regions = tuple(GoldRegion(label, Box(*box), text) for label, box, text in body["regions"])
        return page_from_json(body["page"]), regions
    os.environ["OMP_THREAD_LIMIT"] = "1"
    invoice = make_invoice(seed, layout)
    buffer = io.BytesIO()
    invoice.image.save(buffer, format="PNG")
    page = Reader(OcrSettings(engine), ImageLimits(), cache=None).read(buffer.getvalue())
    body = {
        "page": page_to_json(page),
        "regions": [[region.label, list(astuple(region.box)), region.text] for region in invoice.regions],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))
    return page, invoice.regions


def read_invoices(
    first_seed: int, count: int, layouts: Sequence[int], folder: Path, engine: str = DEFAULT_ENGINE, processes: int = 2
) -> list[tuple[Page, tuple[GoldRegion, ...]]]:
    """Return `count` invoices, layouts taken in turn, read on several processes."""
    seeds = range(first_seed, first_seed + count)
    chosen = [layouts[index % len(layouts)] for index in range(count)]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(read_invoice, folder=folder, engine=engine), seeds, chosen))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.invoice_pages", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--layouts", default="0,1,2,3")
    given = parser.parse_args()
    layouts = [int(part) for part in given.layouts.split(",")]
    print(len(read_invoices(given.first_seed, given.count, layouts, given.folder)), "pages")
