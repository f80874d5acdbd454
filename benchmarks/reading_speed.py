"""How fast are pages read: one after another as an ML back end does it, by our reading, by the engine alone?

`python -m benchmarks.reading_speed --pages-folder DIR DIR DIR [--pages 32] [--psm 3]` reads the first pages of each
folder by name and prints one Markdown table. Its sides:

- the example: `pytesseract.image_to_data` on the opened file, page after page, nothing set in the environment. The
  tesseract example of label-studio-ml-backend calls pytesseract so, with the image as Pillow opened it and one page a
  call (it reads one drawn rectangle with `--psm 6 -l chi_sim+eng+deu`; here it gets the whole page, our mode and
  English, so that its words can be compared with ours);
- ours: `handler.reading.reader.Reader`, no cache, one process a core as TorchServe's workers of model `ocr`, each
  engine;
- alone: the same Tesseract on files prepared as it likes them best (grey, uncompressed), one process a core.

All sides take turns, some pages each time, in changing order; ratios are medians over these turns. Starting the
processes is not timed; CPU seconds are those of the processes that read and of the programs they start.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path

import pytesseract
from PIL import Image

from benchmarks.timing import cpu_seconds, machine, spread
from handler.errors import HandlerError
from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.page import Word
from handler.reading.reader import Reader
from handler.reading.tesseract import parse_tsv, tessdata_folder

EXAMPLE, EXAMPLE_ONE_THREAD, EXAMPLE_OUR_PIXELS = "example", "example, one thread", "example, our pixels"
OUR_PROGRAM, OUR_LIBRARY = "ours, pytesseract", "ours, tesserocr"
PROGRAM, LIBRARY = "tesseract alone", "tesserocr alone"
TIMED = (EXAMPLE, EXAMPLE_ONE_THREAD, OUR_PROGRAM, OUR_LIBRARY, PROGRAM, LIBRARY)
ONE_PROCESS = (EXAMPLE, EXAMPLE_ONE_THREAD)
ALONE = {OUR_PROGRAM: PROGRAM, OUR_LIBRARY: LIBRARY}
COLUMNS = ("side", "processes", "pages/s", "times the example", "of its engine alone", "CPU s/page")
TIMEOUT_S = 600.0  # a time limit must not hide what a page costs

Placed = tuple[tuple[str, int, int, int, int], ...]
"""The words of a page: text, left, top, right and bottom in pixels."""


@dataclass(frozen=True, slots=True)
class PageFiles:
    """One page: the file as published, and its grey pixels uncompressed for each engine."""

    published: Path
    tif: Path
    bmp: Path


@dataclass(slots=True)
class Tally:
    """What one side did: seconds of each turn, CPU seconds in all, and the words of each page by number."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    words: dict[int, Placed] = field(default_factory=dict)


def read_as_example(page: PageFiles, psm: int) -> Placed:
    """Read a page the way the example calls pytesseract."""
    return _image_to_data(Image.open(page.published), psm)


def read_our_pixels_as_example(page: PageFiles, psm: int) -> Placed:
    """Do the same with the pixels that our reading hands over: pytesseract saves those as PNG, without loss."""
    return _image_to_data(open_page(page.published.read_bytes(), ImageLimits()).convert("L"), psm)


def _image_to_data(image: Image.Image, psm: int) -> Placed:
    table = pytesseract.image_to_data(image, config=f"--psm {psm}", output_type=pytesseract.Output.DICT)
    columns = (table[name] for name in ("level", "text", "left", "top", "width", "height"))
    rows = zip(*columns, strict=True)
    return tuple((text, x, y, x + w, y + h) for level, text, x, y, w, h in rows if level == 5 and text.strip())


def read_as_ours(page: PageFiles, reader: Reader) -> Placed:
    """Read a page as model `ocr` does."""
    return placed(reader.read(page.published.read_bytes()).words)


def read_by_program(page: PageFiles, psm: int) -> Placed:
    """Let the tesseract program read the prepared file."""
    command = ["tesseract", str(page.tif), "stdout", "--psm", str(psm), "-l", "eng", "tsv"]
    ended = subprocess.run(command, capture_output=True, check=True)
    return placed(parse_tsv(ended.stdout.decode()))


def library_reader(psm: int) -> Callable[[PageFiles], Placed]:
    """Return what lets Tesseract's library read prepared files in this process."""
    import tesserocr

    api = tesserocr.PyTessBaseAPI(path=f"{tessdata_folder()}/", lang="eng", psm=psm)

    def read(page: PageFiles) -> Placed:
        api.SetImageFile(str(page.bmp))
        api.Recognize()
        words = placed(parse_tsv(api.GetTSVText(0)))
        api.Clear()
        return words

    return read


def placed(words: Sequence[Word]) -> Placed:
    """Return words as the table compares them."""
    return tuple((w.text, int(w.box.left), int(w.box.top), int(w.box.right), int(w.box.bottom)) for w in words)


_read_here: Callable[[PageFiles], Placed]
"""How this worker process reads; set once when it starts."""


def start_worker(side: str, psm: int) -> None:
    """Make this process a reader of one side."""
    global _read_here
    if side in (EXAMPLE_ONE_THREAD, EXAMPLE_OUR_PIXELS, PROGRAM):
        os.environ["OMP_THREAD_LIMIT"] = "1"
    if side in ALONE:
        settings = OcrSettings(side.removeprefix("ours, "), psm=psm, timeout_s=TIMEOUT_S)
        _read_here = partial(read_as_ours, reader=Reader(settings, ImageLimits(), None))
    elif side == LIBRARY:
        _read_here = library_reader(psm)
    elif side == PROGRAM:
        _read_here = partial(read_by_program, psm=psm)
    elif side == EXAMPLE_OUR_PIXELS:
        _read_here = partial(read_our_pixels_as_example, psm=psm)
    else:
        _read_here = partial(read_as_example, psm=psm)


def work(page: PageFiles) -> tuple[Placed, float]:
    """Read a page in a worker; return its words and the CPU seconds it took, programs started included."""
    before = cpu_seconds()
    words = _read_here(page)
    return words, cpu_seconds() - before


def prepare(folders: Sequence[Path], count: int, work_folder: Path) -> list[PageFiles]:
    """Return the first `count` pages of each folder, in turn, with their prepared files; damaged ones are left out."""
    suffixes = (".png", ".jpg")
    per_folder = [sorted(path for path in folder.rglob("*") if path.suffix in suffixes)[:count] for folder in folders]
    pages: list[PageFiles] = []
    for path in (paths[i] for i in range(count) for paths in per_folder if i < len(paths)):
        try:
            grey = open_page(path.read_bytes(), ImageLimits()).convert("L")
        except HandlerError as error:
            print(f"skipped {path.name}: {error}", file=sys.stderr)
            continue
        page = PageFiles(path, *(work_folder / f"{len(pages)}.{suffix}" for suffix in ("tif", "bmp")))
        grey.save(page.tif)
        grey.save(page.bmp)
        pages.append(page)
    return pages


def measure(pages: Sequence[PageFiles], pools: dict[str, Pool], turn_pages: int) -> dict[str, Tally]:
    """Read all pages on every side, `turn_pages` at a time."""
    tallies = {side: Tally() for side in pools}
    sides = list(pools)
    for turn, start in enumerate(range(0, len(pages), turn_pages)):
        block = pages[start : start + turn_pages]
        for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
            began = time.perf_counter()
            answers = pools[side].map(work, block, chunksize=1)
            tallies[side].seconds.append(time.perf_counter() - began)
            tallies[side].cpu_s += sum(cpu for _, cpu in answers)
            tallies[side].words |= {start + index: words for index, (words, _) in enumerate(answers)}
        print(f"{start + len(block)} of {len(pages)} pages", file=sys.stderr, flush=True)
    return tallies


def ratios(slow: Tally, fast: Tally) -> str:
    """Return how many times `fast` is as fast: the median over the turns, and the lowest and highest."""
    each = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return spread(each)


def row(side: str, tallies: dict[str, Tally], cores: int) -> str:
    """Return one row of the table."""
    tally = tallies[side]
    count = len(tally.words)
    cells = [side, str(1 if side in ONE_PROCESS else cores), f"{count / sum(tally.seconds):.2f}"]
    cells.append(ratios(tallies[EXAMPLE], tally))
    cells.append(ratios(tallies[ALONE[side]], tally) if side in ALONE else "")
    return "| " + " | ".join([*cells, f"{tally.cpu_s / count:.2f}"]) + " |"


def check_words(pages: Sequence[PageFiles], tallies: dict[str, Tally], our_pixels: Pool) -> None:
    """Assert that each engine says the same for us as alone, and pytesseract the same for us as for the example.

    The example's own words may differ: pytesseract saves an opened JPEG as JPEG again, of quality 75, and hands a
    coloured page over in colour. Pages that differ are read again with the example's call and our pixels.
    """
    for ours, alone in ALONE.items():
        assert tallies[ours].words == tallies[alone].words, f"{ours} finds other words than {alone}"
    example, ours_words = tallies[EXAMPLE].words, tallies[OUR_PROGRAM].words
    differ = [number for number in range(len(pages)) if example[number] != ours_words[number]]
    again = our_pixels.map(work, [pages[number] for number in differ], chunksize=1)
    for number, (words, _) in zip(differ, again, strict=True):
        assert words == ours_words[number], f"other words from the same pixels: {pages[number].published.name}"
    shared = sum(len(set(example[number]) & set(ours_words[number])) for number in range(len(pages)))
    all_words = sum(map(len, ours_words.values()))
    jpegs = sum(pages[number].published.suffix == ".jpg" for number in differ)
    print(
        f"\nwords and boxes: ours as the engine alone on all {len(pages)} pages, both engines; as the example on "
        f"{len(pages) - len(differ)} pages as it is ({shared} of {all_words} words; {jpegs} of the {len(differ)} "
        f"others are JPEGs, which pytesseract saves again with loss), and on all {len(pages)} from the same pixels"
    )


def main() -> None:
    """Print the table and the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages-folder", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--pages", type=int, default=32, help="of each folder, the first by name (default: 32)")
    parser.add_argument("--psm", type=int, default=3, help="page segmentation mode of all sides (default: 3)")
    parser.add_argument("--turn", type=int, default=12, help="pages of one turn of one side (default: 12)")
    options = parser.parse_args()
    if min(options.pages, options.turn) < 1:
        parser.error("--pages and --turn are at least 1")
    os.environ.pop("OMP_THREAD_LIMIT", None)  # the example runs in an environment where nobody set it
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")  # each side's processes know nothing of the others' settings
    with tempfile.TemporaryDirectory(prefix="reading-") as name:
        pages = prepare(options.pages_folder, options.pages, Path(name))
        if not pages:
            parser.error("no .png or .jpg page can be read in these folders")
        pools = {
            side: context.Pool(1 if side in ONE_PROCESS else cores, start_worker, (side, options.psm))
            for side in (*TIMED, EXAMPLE_OUR_PIXELS)
        }
        our_pixels = pools.pop(EXAMPLE_OUR_PIXELS)
        for pool in pools.values():
            pool.map(work, pages[:1] * cores, chunksize=1)  # processes started, files in memory
        print(machine(), flush=True)
        tallies = measure(pages, pools, options.turn)
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        for side in TIMED:
            print(row(side, tallies, cores))
        check_words(pages, tallies, our_pixels)
        for pool in (*pools.values(), our_pixels):
            pool.terminate()
            pool.join()


if __name__ == "__main__":
    main()
