"""Is a page that was scanned on its side, upside down or tilted read as well as the same page upright?

`python -m benchmarks.turned_pages --funsd DIR --sroie DIR --pages 30` turns copies of scanned pages and prints one
Markdown table: of the annotated words (FUNSD) or lines (SROIE) the shares covered and read right, as in
`benchmarks.ocr_recall`, all turns in one run. `--upright DIR ...` counts instead the pages of these folders that an
engine turns although they stand upright, and names those that it calls tilted.

Copies are turned with white around them, so that no corner is cut off. Found words are compared where they stand after
the true turn, not the one that the engine found.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from PIL import Image

from benchmarks.ocr_recall import (
    TIMEOUT_S,
    DataSet,
    Tally,
    bare_words,
    is_covered,
    open_funsd,
    open_sroie,
    paint,
    readable_pages,
)
from benchmarks.timing import Clock, machine
from handler.errors import HandlerError
from handler.images import ImageLimits, open_page
from handler.ocr_settings import ENGINES, OcrSettings
from handler.page import Box, Page, Size, Word
from handler.reading.engines import OcrEngine, make_engine
from handler.turn import level_image, level_page, split_turn

TURNS = (0, 90, 180, 270, 2, 358, 5, 355)
COLUMNS = (
    "ground truth",
    "engine",
    "turn",
    "pages",
    "covered",
    "read right",
    "wrong turns",
    "tilt off by",
    "CPU s/page",
)


@dataclass(slots=True)
class Side:
    """What came of all copies at one turn.

    Args:
        tally: sums over the pages.
        wrong: pages whose text would lie on its side or head, by name.
        tilts: for the other pages, how far the turn is from that of the upright page, in degrees.
    """

    tally: Tally = field(default_factory=Tally)
    wrong: list[str] = field(default_factory=list)
    tilts: list[float] = field(default_factory=list)


def turned(upright: Image.Image, turn: float) -> Image.Image:
    """Return a copy that has to be turned clockwise by so many degrees to stand upright."""
    return level_image(upright, (360 - turn) % 360, whole=True)


def words_upright(page: Page, turn: float, upright: Size) -> tuple[Word, ...]:
    """Return the words of a turned copy where they stand on the upright page, given its true turn."""
    level = level_page(replace(page, turn=turn))
    across, down = (upright.width - level.size.width) / 2, (upright.height - level.size.height) / 2
    boxes = [word.box for word in level.words]
    moved = [Box(box.left + across, box.top + down, box.right + across, box.bottom + down) for box in boxes]
    return tuple(replace(word, box=box) for word, box in zip(level.words, moved, strict=True))


def is_wrong(found: float, true: float) -> bool:
    """Return whether a page that is turned by what was found lies on its side or head."""
    return split_turn(found - true)[0] != 0


def measure_copy(
    engine: OcrEngine, image: Image.Image, turn: float, gold: Sequence[Word], data: DataSet
) -> tuple[Tally, float]:
    """Read one copy; return what came of it, and the turn that was found."""
    copy = turned(image, turn)
    clock = Clock()
    page = engine.read(copy)
    spent = clock.spent()
    size = Size(*image.size)
    words = words_upright(page, turn, size)
    mask = paint(words, size)
    texts = [item for item in gold if bare_words(item.text)]
    tally = Tally(pages=1, gold=len(gold), texts=len(texts), words=len(words), cpu_s=spent.cpu_s, wall_s=spent.wall_s)
    tally.covered = sum(is_covered(item.box, mask) for item in gold)
    tally.read = sum(data.is_read(item, words) for item in texts)
    return tally, page.turn


def measure(engine: OcrEngine, data: DataSet, pages: int) -> dict[float, Side]:
    """Read copies of the first pages, all turns of a page after one another."""
    sides = {float(turn): Side() for turn in TURNS}
    for number, (image, gold) in enumerate(islice(readable_pages(data), pages)):
        upright = 0.0
        for turn, side in sides.items():
            tally, found = measure_copy(engine, image, turn, gold, data)
            for name in Tally.__slots__:
                setattr(side.tally, name, getattr(side.tally, name) + getattr(tally, name))
            if is_wrong(found, turn):
                side.wrong.append(data.annotations[number].stem)
            else:
                upright = split_turn(found)[1] if turn == 0 else upright
                side.tilts.append(abs(split_turn(found - turn)[1] - upright))
    return sides


def side_to_row(name: str, engine: str, turn: float, side: Side) -> str:
    """Convert the sums of one turn to a row of the table."""
    tally = side.tally
    shares = (tally.covered / tally.gold, tally.read / tally.texts)
    cells = [name, engine, f"{turn:g}", str(tally.pages), *(f"{share:.1%}" for share in shares), str(len(side.wrong))]
    cells += [f"{sum(side.tilts) / max(1, len(side.tilts)):.2f}", f"{tally.cpu_s / tally.pages:.2f}"]
    return "| " + " | ".join(cells) + " |"


def open_pages(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield names and images of a folder and those below it; damaged ones are named and left out."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")):
        try:
            yield path.name, open_page(path.read_bytes(), ImageLimits())
        except HandlerError as error:
            print(f"left out {path.name}: {error}")


def count_upright(engine: OcrEngine, folder: Path, every: int) -> str:
    """Return a line about the upright pages of a folder: how many were turned, which are called tilted, CPU seconds."""
    pages, wrong, tilted, cpu_s = 0, [], [], 0.0
    for name, image in islice(open_pages(folder), 0, None, every):
        clock = Clock()
        page = engine.read(image)
        cpu_s += clock.spent().cpu_s
        pages += 1
        quarters, tilt = split_turn(page.turn)
        wrong += [name] if quarters else []
        tilted += [f"{name} {tilt:.1f}"] if tilt else []
    return (
        f"{engine.name}, {folder.name}: {pages} pages, {len(wrong)} turned ({', '.join(wrong)}), "
        f"{len(tilted)} tilted ({', '.join(tilted)}), {cpu_s / max(1, pages):.2f} CPU s a page"
    )


def main() -> None:
    """Print the table, or the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--funsd", type=Path, metavar="DIR")
    parser.add_argument("--sroie", type=Path, metavar="DIR")
    parser.add_argument("--pages", type=int, default=30, help="of each set, the first by name (default: 30)")
    parser.add_argument("--upright", type=Path, nargs="+", metavar="DIR", help="folders of upright pages")
    parser.add_argument("--every", type=int, default=1, help="of the upright pages, one in so many (default: all)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    args = parser.parse_args()
    if args.upright is None and (args.funsd is None or args.sroie is None):
        parser.error("--funsd and --sroie for turned copies, or --upright for pages that stand upright")
    print(machine())
    engines = {name: make_engine(OcrSettings(name, timeout_s=TIMEOUT_S)) for name in args.engines}
    for engine in engines.values():
        for folder in args.upright or ():
            print(count_upright(engine, folder, args.every), flush=True)
    if args.upright:
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for data in (open_funsd(args.funsd), open_sroie(args.sroie)):
        for name, engine in engines.items():
            for turn, side in measure(engine, data, args.pages).items():
                print(side_to_row(data.name, name, turn, side), flush=True)


if __name__ == "__main__":
    main()
