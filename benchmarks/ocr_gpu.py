"""Engine `rapidocr` on a GPU beside one core: pages a second, and whether both read the same words.

`python -m benchmarks.ocr_gpu --pages-folder DIR DIR DIR [--pages 32]` needs `onnxruntime-gpu` and a GPU; `--device cpu`
tries the script without one. One page at a time; pages are decoded before the clock starts. The sides take turns, the
first turn is not counted: kernels are chosen in it.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.timing import Spent, machine, spread, timed
from handler.errors import HandlerError
from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.page import Word
from handler.reading.rapidocr.engine import RapidOcrEngine

TIMEOUT_S = 600.0
COLUMNS = ("device", "pages/s", "x one core", "CPU s/page", "words as on the CPU")


def open_pages(folders: Sequence[Path], count: int) -> Iterator[Image.Image]:
    """Yield the first pages of each folder by name; damaged ones are left out."""
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
        for path in paths[:count]:
            try:
                yield open_page(path.read_bytes(), ImageLimits())
            except HandlerError as error:
                print(f"left out {path.name}: {error}")


def read_all(engine: RapidOcrEngine, pages: Sequence[Image.Image]) -> list[tuple[Word, ...]]:
    """Return the words of all pages."""
    return [engine.read(page).words for page in pages]


def shared(some: Sequence[Sequence[Word]], others: Sequence[Sequence[Word]]) -> float:
    """Return the share of words of the first that the second have on the same page."""
    bags = [(Counter(w.text for w in a), Counter(w.text for w in b)) for a, b in zip(some, others, strict=True)]
    return sum((a & b).total() for a, b in bags) / sum(a.total() for a, _ in bags)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages-folder", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--pages", type=int, default=32, help="of each folder, the first by name (default: 32)")
    parser.add_argument("--repeats", type=int, default=3, help="turns that count (default: 3)")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    options = parser.parse_args()
    pages = list(open_pages(options.pages_folder, options.pages))
    engines = {
        device: RapidOcrEngine(OcrSettings("rapidocr", timeout_s=TIMEOUT_S, device=device))
        for device in ("cpu", options.device)
    }
    sides = {"one core": "cpu", options.device: options.device}
    reads = {name: partial(read_all, engines[device], pages) for name, device in sides.items()}
    words = {name: read() for name, read in reads.items()}
    spent: dict[str, list[Spent]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(options.repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            spent[name].append(timed(reads[name]))
    print(machine())
    print(f"{len(pages)} pages, {sum(map(len, words[names[0]]))} words\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in names:
        rates = [len(pages) / each.wall_s for each in spent[name]]
        times = [a.wall_s / b.wall_s for a, b in zip(spent[names[0]], spent[name], strict=True)]
        cpu_s = statistics.median(each.cpu_s for each in spent[name]) / len(pages)
        same = shared(words[names[0]], words[name])
        print(f"| {name} | {spread(rates)} | {spread(times)} | {cpu_s:.3f} | {same:.1%} |")


if __name__ == "__main__":
    main()
