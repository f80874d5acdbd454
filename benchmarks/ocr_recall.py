"""How much of a page do the OCR engines find, in which mode, and how fast?

`python -m benchmarks.ocr_recall --funsd DIR --sroie DIR --pages 40` prints one Markdown table. FUNSD has
`annotations/*.json` (words) and `images/*.png`; SROIE has `box/*.csv` (text lines) and `img/*.jpg`.

Covered: OCR word boxes, taken together, lie over at least half of the area of a ground-truth word or line. Read
right: its text was read, letter case and punctuation at the ends of words left aside; ground truth without a letter
or digit is left out of this share, blank ground truth of both. All words: the bare words of a page as one bag,
wherever they stand: how many of the ground truth's are read, and how many of those read are in the ground truth.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import Clock, machine
from handler.errors import ImageTruncated
from handler.images import ImageLimits, open_page
from handler.ocr_settings import ENGINES, OcrSettings
from handler.page import Box, Size, Word
from handler.reading.engines import OcrEngine, make_engine

MODES = (3, 6, 11)
COLUMNS = (
    "ground truth",
    "engine",
    "psm",
    "pages",
    "items/page",
    "covered",
    "read right",
    "all words, recall",
    "precision",
    "words/page",
    "s/page",
    "CPU s/page",
)
HALF = 0.5
TIMEOUT_S = 300.0  # far above the slowest page: a time limit must not hide what a mode costs

Setting = tuple[str, int]
"""Engine and page segmentation mode."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Scanned pages with ground truth.

    Args:
        name: for the table.
        annotations: one file a page, by name.
        image_of: the annotation file's image.
        gold_of: the annotation file's words or lines, boxes in pixels of the image.
        is_read: whether a ground-truth item's text is among the OCR words.
    """

    name: str
    annotations: tuple[Path, ...]
    image_of: Callable[[Path], Path]
    gold_of: Callable[[Path], list[Word]]
    is_read: Callable[[Word, Sequence[Word]], bool]


@dataclass(slots=True)
class Tally:
    """Sums over the pages of one set, engine and mode; times in seconds, `texts` are items with a letter or digit.

    Bags count bare words: of the ground truth, of what was read, and of both.
    """

    pages: int = 0
    gold: int = 0
    covered: int = 0
    texts: int = 0
    read: int = 0
    words: int = 0
    gold_bag: int = 0
    read_bag: int = 0
    both_bags: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


def read_funsd(annotation: Path) -> list[Word]:
    """Return the words of a FUNSD page that are not blank."""
    form = json.loads(annotation.read_text(encoding="utf-8"))["form"]
    words = (word for group in form for word in group["words"])
    return [Word(word["text"], Box.from_corners(*word["box"])) for word in words if word["text"].strip()]


def read_sroie(annotation: Path) -> list[Word]:
    """Return the text lines of a SROIE receipt: eight numbers (x and y of four corners), then text with commas."""
    lines = []
    for row in annotation.read_text(encoding="utf-8").splitlines():
        *corners, text = row.split(",", 8)
        xs, ys = [int(x) for x in corners[0::2]], [int(y) for y in corners[1::2]]
        lines.append(Word(text, Box(min(xs), min(ys), max(xs), max(ys))))
    return [line for line in lines if line.text.strip()]


def open_funsd(folder: Path) -> DataSet:
    """Return the FUNSD pages of a folder."""
    annotations = tuple(sorted((folder / "annotations").glob("*.json")))
    return DataSet("FUNSD words", annotations, lambda p: folder / "images" / f"{p.stem}.png", read_funsd, word_is_read)


def open_sroie(folder: Path) -> DataSet:
    """Return the SROIE receipts of a folder."""
    annotations = tuple(sorted((folder / "box").glob("*.csv")))
    return DataSet("SROIE lines", annotations, lambda p: folder / "img" / f"{p.stem}.jpg", read_sroie, line_is_read)


def bare(text: str) -> str:
    """Return a word in lower case without the punctuation at its ends; empty for punctuation alone."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", text.casefold())


def bare_words(text: str) -> Counter[str]:
    """Return the bare words of a text and how often each stands there."""
    return Counter(filter(None, map(bare, text.split())))


def bag_of(words: Sequence[Word]) -> Counter[str]:
    """Return the bare words of a page and how often each stands on it."""
    return sum((bare_words(word.text) for word in words), Counter())


def holds_centre(outer: Box, inner: Box) -> bool:
    """Return whether the centre of `inner` lies in `outer`."""
    x, y = (inner.left + inner.right) / 2, (inner.top + inner.bottom) / 2
    return outer.left <= x <= outer.right and outer.top <= y <= outer.bottom


def word_is_read(gold: Word, words: Sequence[Word]) -> bool:
    """Return whether an OCR word says the same in the same place: one's box holds the centre of the other's."""
    here = (word for word in words if holds_centre(gold.box, word.box) or holds_centre(word.box, gold.box))
    return any(bare(word.text) == bare(gold.text) for word in here)


def line_is_read(gold: Word, words: Sequence[Word]) -> bool:
    """Return whether all words of a line are among the OCR words whose centres lie in it."""
    here = " ".join(word.text for word in words if holds_centre(gold.box, word.box))
    return bare_words(gold.text) <= bare_words(here)


def paint(words: Sequence[Word], page: Size) -> np.ndarray:
    """Return which pixels of the page, (height, width), lie in a word's box."""
    mask = np.zeros((page.height, page.width), dtype=bool)
    for word in words:
        mask[_window(word.box)] = True
    return mask


def is_covered(gold: Box, mask: np.ndarray) -> bool:
    """Return whether painted pixels are at least half of the box's area; a box without area never is covered."""
    area = (gold.right - gold.left) * (gold.bottom - gold.top)
    return area > 0 and int(mask[_window(gold)].sum()) >= HALF * area


def _window(box: Box) -> tuple[slice, slice]:
    left, top, right, bottom = (max(0, round(edge)) for edge in (box.left, box.top, box.right, box.bottom))
    return slice(top, bottom), slice(left, right)


def readable_pages(data: DataSet) -> Iterator[tuple[Image.Image, list[Word]]]:
    """Yield image and ground truth of the pages by name; a damaged image is named on stderr and left out."""
    for annotation in data.annotations:
        path = data.image_of(annotation)
        try:
            image = open_page(path.read_bytes(), ImageLimits())
        except ImageTruncated as error:
            print(f"skipped {path.name}: {error}", file=sys.stderr)
            continue
        yield image, data.gold_of(annotation)


def measure_page(engine: OcrEngine, image: Image.Image, gold: Sequence[Word], data: DataSet, tally: Tally) -> None:
    """Read one page and add what came of it to the tally; only the reading is timed."""
    clock = Clock()
    words = engine.read(image).words
    spent = clock.spent()
    tally.wall_s += spent.wall_s
    tally.cpu_s += spent.cpu_s
    mask = paint(words, Size(*image.size))
    texts = [item for item in gold if bare_words(item.text)]
    tally.pages += 1
    tally.words += len(words)
    tally.gold += len(gold)
    tally.covered += sum(is_covered(item.box, mask) for item in gold)
    tally.texts += len(texts)
    tally.read += sum(data.is_read(item, words) for item in texts)
    gold_bag, read_bag = bag_of(gold), bag_of(words)
    tally.gold_bag += gold_bag.total()
    tally.read_bag += read_bag.total()
    tally.both_bags += (gold_bag & read_bag).total()


def measure(engines: dict[Setting, OcrEngine], data: DataSet, pages: int) -> dict[Setting, Tally]:
    """Read the first pages with every engine, page by page in changing order, so that noise meets all alike."""
    tallies = {setting: Tally() for setting in engines}
    settings = list(engines)
    for number, (image, gold) in enumerate(islice(readable_pages(data), pages)):
        start = number % len(settings)
        for setting in settings[start:] + settings[:start]:
            measure_page(engines[setting], image, gold, data, tallies[setting])
    return tallies


def tally_to_row(name: str, setting: Setting, tally: Tally) -> str:
    """Convert sums to one row of the table."""
    engine, mode = setting
    shares = (tally.covered / tally.gold, tally.read / tally.texts)
    bags = (tally.both_bags / tally.gold_bag, tally.both_bags / max(1, tally.read_bag))
    means = (tally.gold / tally.pages, tally.words / tally.pages)
    times = (tally.wall_s / tally.pages, tally.cpu_s / tally.pages)
    cells = [name, engine, str(mode), str(tally.pages), f"{means[0]:.1f}", *(f"{share:.1%}" for share in shares)]
    cells += [f"{share:.3f}" for share in bags]
    return "| " + " | ".join([*cells, f"{means[1]:.1f}", *(f"{seconds:.2f}" for seconds in times)]) + " |"


def main() -> None:
    """Print the table, one set, engine and mode a row; then the time the run took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--funsd", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sroie", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pages", type=int, default=40, help="of each set, the first by name (default: 40)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--modes", nargs="+", type=int, default=MODES, help="of Tesseract (default: 3 6 11)")
    args = parser.parse_args()
    if args.pages < 1:
        parser.error(f"--pages is at least 1, got {args.pages}")
    sets = (open_funsd(args.funsd), open_sroie(args.sroie))
    for data, folder in zip(sets, (args.funsd, args.sroie), strict=True):
        if not data.annotations:
            parser.error(f"no pages of {data.name} in {folder}; see the top of this file for what is expected there")
    print(machine())
    clock = Clock()
    settings = [(engine, mode) for engine in args.engines for mode in (args.modes if engine != "rapidocr" else (3,))]
    engines = {
        (engine, mode): make_engine(OcrSettings(engine, psm=mode, timeout_s=TIMEOUT_S)) for engine, mode in settings
    }
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for data in sets:
        for setting, tally in measure(engines, data, args.pages).items():
            if tally.pages:
                print(tally_to_row(data.name, setting, tally), flush=True)
    names = ", ".join(engine.name for engine in engines.values())
    print(f"\n{names}: {clock.spent().wall_s:.0f} s in all")


if __name__ == "__main__":
    main()
