"""What does a page cost with each OCR engine, and what do the choices inside `rapidocr` save? All sides in one run.

`python -m benchmarks.ocr_engines --funsd DIR --sroie DIR --docbank DIR [--pages 30] [--sides ours,...]` prints one
Markdown table. Each side is a process of its own with one thread; the sides take turns page by page, in changing order.

Ratio: CPU seconds of a page to those of Tesseract with psm 3, the mean of the sets' ratios. First page: seconds from
the start of the process, imports and networks included. Peak: the most memory that was resident. Order: of the words
that this side and Tesseract both read where they stand, the share of neighbours that are neighbours in DocBank's order.
The sides that are variants change one thing each, the way the module of `handler.reading.rapidocr` is written.
`the package` needs nothing more; `onnxruntime` sides need `pip install onnxruntime`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice, pairwise
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.ocr_recall import DataSet, bare, bare_words, holds_centre, open_funsd, open_sroie, word_is_read
from benchmarks.timing import cpu_seconds, machine
from handler.errors import ImageTruncated
from handler.geometry import grid_to_pixels
from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.page import Box, Size, Word
from handler.reading.engines import make_engine

TESSERACT, OURS = "tesseract", "ours"
TIMEOUT_S = 600.0
Read = Callable[[Image.Image], tuple[Word, ...]]


def words_of(settings: OcrSettings) -> Read:
    """Return an engine of ours."""
    engine = make_engine(settings)
    return lambda image: engine.read(image).words


def ours(language: str = "eng", **changed: Any) -> Read:
    """Return our engine, attributes of its modules changed: `module__attribute`."""
    import importlib

    for name, value in changed.items():
        module, attribute = name.split("__", 1)
        setattr(importlib.import_module(f"handler.reading.rapidocr.{module}"), attribute, value)
    return words_of(OcrSettings("rapidocr", language=language, timeout_s=TIMEOUT_S))


def float32() -> Read:
    """Return our engine without bfloat16."""
    from handler.reading.rapidocr import networks

    given = networks._properties
    return ours(networks___properties=lambda threads: given(threads) | {"INFERENCE_PRECISION_HINT": "f32"})


def any_shape() -> Read:
    """Return our engine with one compiled detector for images of all shapes."""
    from handler.reading.rapidocr import networks

    return ours(networks__FixedCpuNetwork=lambda model, threads: networks.CpuNetwork(model, threads, None))


def on_onnxruntime() -> Read:
    """Return our engine on ONNX Runtime's CPU provider, without memory arenas."""
    import onnxruntime

    from handler.reading.rapidocr import networks

    class OrtNetwork(networks.OnnxNetwork):
        def __init__(self, model: bytes, choose: networks.ChooseColumns | None) -> None:
            self._errors = networks.onnxruntime_errors()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.enable_cpu_mem_arena = 1, False
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self.characters = self._session.get_modelmeta().custom_metadata_map.get("character", "").splitlines()
            self._input = self._session.get_inputs()[0].name
            self._columns = None if choose is None else np.asarray(choose(self.characters))

    return ours(
        networks__CpuNetwork=lambda model, _, choose: OrtNetwork(model, choose),
        networks__FixedCpuNetwork=lambda model, _: OrtNetwork(model, None),
    )


def package(engine: str) -> Read:
    """Return the package as it is, one thread, no line classifier."""
    import logging

    from rapidocr import EngineType, RapidOCR

    logging.disable(logging.WARNING)
    kind = EngineType[engine]
    threads = "intra_op_num_threads" if engine == "ONNXRUNTIME" else "inference_num_threads"
    params = {"Det.engine_type": kind, "Rec.engine_type": kind, "Global.use_cls": False, "Global.log_level": "critical"}
    read = RapidOCR(params=params | {f"EngineConfig.{kind.value}.{threads}": 1})

    def words(image: Image.Image) -> tuple[Word, ...]:
        lines = read(np.asarray(image)[:, :, ::-1], return_word_box=True).word_results or ()
        return tuple(
            Word(text, Box.around(Box(x, y, x, y) for x, y in corners), score, number)
            for number, line in enumerate(lines)
            for text, score, corners in line
            if text.strip()
        )

    return words


SIDES: dict[str, Callable[[], Read]] = {
    TESSERACT: lambda: words_of(OcrSettings("pytesseract", timeout_s=TIMEOUT_S)),
    OURS: ours,
    "the package, OpenVINO": lambda: package("OPENVINO"),
    "the package, ONNX Runtime": lambda: package("ONNXRUNTIME"),
    "ours, ONNX Runtime": on_onnxruntime,
    "ours, float32": float32,
    "ours, all characters": lambda: ours("eng+jpn"),
    "ours, batches of 1,200 pixels": lambda: ours(engine___BATCH_PIXELS={"cpu": 1200}),
    "ours, detector of any shape": any_shape,
    "ours, detector at 960": lambda: ours(page_lines__LONG_SIDE=960),
    "ours, detector at 2,000": lambda: ours(page_lines__LONG_SIDE=2000, detection___SIDES=(640, 960, 1280, 1600, 2016)),
}


@dataclass(slots=True)
class Tally:
    """What one side did on one set: CPU seconds of each page, and its words."""

    cpu_s: list[float] = field(default_factory=list)
    words: list[tuple[Word, ...]] = field(default_factory=list)


_read_here: Read
_started = time.perf_counter()
_first_page_s: float | None = None


def start_worker(side: str) -> None:
    """Make this process a reader of one side."""
    global _read_here
    os.environ["OMP_THREAD_LIMIT"] = os.environ["OMP_NUM_THREADS"] = "1"
    _read_here = SIDES[side]()


def work(path: Path) -> tuple[tuple[Word, ...], float]:
    """Read a page in a worker; return its words and the CPU seconds it took, programs started included."""
    global _first_page_s
    image = open_page(path.read_bytes(), ImageLimits())
    before = cpu_seconds()
    words = _read_here(image)
    spent = cpu_seconds() - before
    _first_page_s = _first_page_s or time.perf_counter() - _started  # before the sides take turns
    return words, spent


def state(_: object) -> tuple[float, float]:
    """Return this worker's seconds to its first page and its peak of memory in MiB."""
    return _first_page_s or 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_docbank(annotation: Path) -> list[Word]:
    """Return the words of a DocBank page, rules and figures left out."""
    with Image.open(docbank_image(annotation)) as image:
        size = Size(*image.size)
    rows = [row.split("\t") for row in annotation.read_text(encoding="utf-8").splitlines() if row]
    boxes = [grid_to_pixels((float(row[1]), float(row[2]), float(row[3]), float(row[4])), size) for row in rows]
    named = [Word(row[0], box) for row, box in zip(rows, boxes, strict=True)]
    return [word for word in named if word.text.strip() and not word.text.startswith("##LT")]


def docbank_image(annotation: Path) -> Path:
    """Return the image of a DocBank page."""
    return annotation.with_name(f"{annotation.stem}_ori.jpg")


def open_docbank(folder: Path) -> DataSet:
    """Return the DocBank pages of a folder."""
    annotations = tuple(sorted(folder.glob("*.txt")))
    return DataSet("DocBank", annotations, docbank_image, read_docbank, word_is_read)


def readable(data: DataSet) -> list[Path]:
    """Return the annotations whose image can be opened."""
    found = []
    for annotation in data.annotations:
        try:
            open_page(data.image_of(annotation).read_bytes(), ImageLimits())
        except ImageTruncated:
            continue
        found.append(annotation)
    return found


def measure(annotations: Sequence[Path], data: DataSet, pools: dict[str, Pool]) -> dict[str, Tally]:
    """Read the pages on every side, page by page."""
    tallies = {side: Tally() for side in pools}
    sides = list(pools)
    for number, annotation in enumerate(annotations):
        for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
            words, cpu_s = pools[side].apply(work, (data.image_of(annotation),))
            tallies[side].words.append(words)
            tallies[side].cpu_s.append(cpu_s)
    return tallies


def read_right(annotations: Sequence[Path], data: DataSet, tally: Tally) -> float:
    """Return the share of ground truth that was read, as `ocr_recall` counts it."""
    checks = [
        data.is_read(item, words)
        for annotation, words in zip(annotations, tally.words, strict=True)
        for item in data.gold_of(annotation)
        if bare_words(item.text)
    ]
    return sum(checks) / len(checks)


def matched(gold: Sequence[Word], words: Sequence[Word]) -> dict[int, int]:
    """Return which OCR word says a ground-truth word in its place, each at most once."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    for number, item in enumerate(gold):
        for place, word in enumerate(words):
            same_place = holds_centre(item.box, word.box) or holds_centre(word.box, item.box)
            if place not in taken and same_place and bare(word.text) == bare(item.text) != "":
                found[number] = place
                taken.add(place)
                break
    return found


def neighbours(annotations: Sequence[Path], data: DataSet, side: Tally, other: Tally) -> tuple[int, int]:
    """Return how many neighbours, of the words that both sides read, are neighbours in the ground truth; and of all."""
    kept = of_all = 0
    for annotation, words, other_words in zip(annotations, side.words, other.words, strict=True):
        gold = data.gold_of(annotation)
        mine = matched(gold, words)
        shared = sorted(mine.keys() & matched(gold, other_words).keys())
        rank = {number: index for index, number in enumerate(shared)}
        ranks = [rank[number] for number in sorted(shared, key=lambda number: mine[number])]
        kept += sum(b - a == 1 for a, b in pairwise(ranks))
        of_all += max(0, len(ranks) - 1)
    return kept, of_all


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("funsd", "sroie", "docbank"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pages", type=int, default=30, help="of each set, the first by name (default: 30)")
    parser.add_argument("--sides", help=f"separated by semicolons, of: {'; '.join(SIDES)} (default: all that can run)")
    options = parser.parse_args()
    sides = [TESSERACT, *(side for side in (options.sides or ";".join(SIDES)).split(";") if side != TESSERACT)]
    if unknown := set(sides) - set(SIDES):
        parser.error(f"there is no side {', '.join(sorted(unknown))}")
    if find_spec("onnxruntime") is None:
        sides = [side for side in sides if "ONNX" not in side]
    sets = (open_funsd(options.funsd), open_sroie(options.sroie), open_docbank(options.docbank))
    pages = {data.name: list(islice(readable(data), options.pages)) for data in sets}
    context = multiprocessing.get_context("spawn")
    pools = {}
    for side in sides:  # one after another, so that each has a core for itself while it starts
        pools[side] = context.Pool(1, start_worker, (side,))
        pools[side].apply(work, (sets[0].image_of(pages[sets[0].name][0]),))
    print(machine(), flush=True)
    tallies = {data.name: measure(pages[data.name], data, pools) for data in sets}
    names = [f"{name} ({len(pages[name])})" for name in tallies]
    titles = ["side", *(f"CPU s, {name}" for name in names), "ratio", *(f"read right, {name}" for name in tallies)]
    titles += ["order", "first page s", "peak MiB"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for side in sides:
        means = [statistics.mean(of[side].cpu_s) for of in tallies.values()]
        bases = [statistics.mean(of[TESSERACT].cpu_s) for of in tallies.values()]
        ratio = statistics.mean(mean / base for mean, base in zip(means, bases, strict=True))
        shares = [read_right(pages[data.name], data, tallies[data.name][side]) for data in sets]
        docbank = sets[-1]
        of_docbank = tallies[docbank.name]
        kept, of_all = neighbours(pages[docbank.name], docbank, of_docbank[side], of_docbank[TESSERACT])
        first_s, peak = pools[side].apply(state, (None,))
        cells = [side, *(f"{mean:.2f}" for mean in means), f"{ratio:.2f}", *(f"{share:.1%}" for share in shares)]
        cells += [f"{kept / of_all:.3f} of {of_all}", f"{first_s:.1f}", f"{peak:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    for pool in pools.values():
        pool.terminate()
        pool.join()


if __name__ == "__main__":
    main()
