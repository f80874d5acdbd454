"""Real receipts: how well the default base learns the four key fields of SROIE from 80 of them.

`python -m benchmarks.sroie --data DIR --test DIR --words given pytesseract:6 rapidocr` trains on the first 80 pages of
--data by name, once for each source of words, and reports entity F1 of each field on the pages of --test, side by side.
Without --test the other pages of --data are tested; they lie beside their neighbours of the training set: easier ones.
No tested page chooses anything, unless `--choose` hands them to the training as validation pages (then they choose the
best moment, as in a job's report). The data set gives text lines with boxes (`box/*.csv`) and the
fields' values (`key/*.json`), not where these stand; `field_lines` says how they are found. Each line found is one box
of its field, as a person would draw it in Label Studio.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import torch

from benchmarks.drawn import DRAWN, draw
from benchmarks.ocr_recall import read_sroie
from benchmarks.timing import machine
from benchmarks.training_data import both_decoders, measure, train
from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.page import BOX_LEVELS, Page, Size, Word
from handler.reading.cache import FileCache
from handler.reading.reader import Reader
from handler.tagging.layoutlm import DTYPES, has_bfloat16
from layoutloop.settings.training import MINILM_BASE
from training.data.dataset import assign_words
from training.data.examples import Entity, Example
from training.fit.plan import Plan
from training.generated.paper import in_rows
from training.measure.scoring import LabelScore, reading_ceiling

FIELDS = ("company", "date", "address", "total")
TRAINING_PAGES = 80
LONGEST_RUN = {"company": 3, "address": 8}
"""Lines that the value of a field may go over."""
ALIKE = 0.75
"""From this ratio of `difflib` on, a run of lines counts as a field's value."""
GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One page as published.

    Args:
        name: of its files.
        image: path of the scan.
        lines: in reading order, boxes in pixels.
        values: field -> value; a field without a value is left out.
    """

    name: str
    image: Path
    lines: tuple[Word, ...]
    values: dict[str, str]


def receipts(folder: Path) -> list[Receipt]:
    """Return the pages by name.

    Raises:
        FileNotFoundError: there are none.
    """
    found = []
    for path in sorted((folder / "box").glob("*.csv")):
        values = json.loads((folder / "key" / f"{path.stem}.json").read_text(encoding="utf-8"))
        lines = tuple(in_rows(read_sroie(path)))  # the files put some lines at their end
        image = folder / "img" / f"{path.stem}.jpg"
        found.append(Receipt(path.stem, image, lines, {field: values[field] for field in FIELDS if values.get(field)}))
    if not found:
        raise FileNotFoundError(f"no box/*.csv in {folder}; give the folder of SROIE")
    return found


def field_lines(receipt: Receipt) -> dict[str, tuple[int, ...]]:
    """Return field -> indices of the lines that say its value; a field that is found nowhere is left out.

    - company, address: the run of up to 3 or 8 neighbouring lines whose letters and digits are most like the value's,
      if at least 0.75 of them agree; of equals the shortest and first.
    - date: the first line that holds the value, spaces left aside.
    - total: of the lines that hold the amount as a number of its own, the last in a row that says TOTAL (and neither
      SUB nor QTY); without such a row the last in one that says NET, DUE, PAY or ROUND, or else the last of all.
    """
    found: dict[str, tuple[int, ...]] = {}
    for field, value in receipt.values.items():
        if field in LONGEST_RUN:
            found[field] = _alike(receipt.lines, value, LONGEST_RUN[field])
        else:
            found[field] = _date(receipt.lines, value) if field == "date" else _total(receipt.lines, value)
    return {field: lines for field, lines in found.items() if lines}


def _alike(lines: Sequence[Word], value: str, longest: int) -> tuple[int, ...]:
    run: tuple[int, ...] = ()
    wanted, best = _bare(value), ALIKE
    texts = [_bare(line.text) for line in lines]
    for length in range(1, longest + 1):
        for first in range(len(lines) - length + 1):
            ratio = SequenceMatcher(None, "".join(texts[first : first + length]), wanted, autojunk=False).ratio()
            if ratio > best:
                best, run = ratio, tuple(range(first, first + length))
    return run


def _date(lines: Sequence[Word], value: str) -> tuple[int, ...]:
    wanted = re.sub(r"\s", "", value.upper())
    return next(((i,) for i, line in enumerate(lines) if wanted in re.sub(r"\s", "", line.text.upper())), ())


def _total(lines: Sequence[Word], value: str) -> tuple[int, ...]:
    amount = re.search(r"[\d,]*\d\.\d+", value)
    if amount is None:
        return ()
    number = re.compile(rf"(?<![\d.,]){re.escape(amount.group())}(?!\d)")
    holders = [index for index, line in enumerate(lines) if number.search(line.text)]
    rows = {index: _row(lines, index) for index in holders}
    in_total = [index for index, row in rows.items() if re.search(r"^(?!.*(SUB|QTY)).*TOTAL", row)]
    to_pay = [index for index, row in rows.items() if re.search(r"NET|DUE|PAY|ROUND", row)]
    return tuple((in_total or to_pay or holders)[-1:])


def _row(lines: Sequence[Word], index: int) -> str:
    """Return the text of all lines whose middle is at the height of one of them, in capitals."""
    box = lines[index].box
    return " ".join(line.text.upper() for line in lines if box.top < (line.box.top + line.box.bottom) / 2 < box.bottom)


def _bare(text: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", text.upper())


def given_page(receipt: Receipt) -> Page:
    """Return the page with the lines as published, each cut at its spaces, the box shared out by characters."""
    words = (word for number, line in enumerate(receipt.lines) for word in _words(line, number))
    return Page(Size(*open_page(receipt.image.read_bytes(), ImageLimits()).size), "sroie", tuple(words))


def _words(line: Word, number: int) -> Iterator[Word]:
    width = (line.box.right - line.box.left) / len(line.text)
    for match in re.finditer(r"\S+", line.text):
        left, right = (line.box.left + width * end for end in match.span())
        yield Word(match.group(), replace(line.box, left=left, right=right), line=number)


def example(receipt: Receipt, page: Page, task: int, way: str = "lines") -> Example:
    """Return a page with its fields drawn in some way (`drawn.DRAWN`), the words of each box found as in a project."""
    way = DRAWN[task % 3] if way == "mixed" else way
    lines = field_lines(receipt)
    if way == "lines":
        drawn = [(field, receipt.lines[line].box) for field, held in lines.items() for line in held]
    else:
        drawn = draw(given_page(receipt), lines, receipt.values, way)
    holders = assign_words(page.words, [box for _, box in drawn])
    return Example(task, 0, page, tuple(Entity(*one, words) for one, words in zip(drawn, holders, strict=True)))


def read_examples(data: Path, words: str, cache: Path, way: str = "lines") -> list[Example]:
    """Return all pages, with the words that are given or that an engine reads (`pytesseract:6`, `rapidocr`)."""
    found = receipts(data)
    if words == GIVEN:
        return [example(receipt, given_page(receipt), task, way) for task, receipt in enumerate(found)]
    engine, _, psm = words.partition(":")
    settings = OcrSettings(engine, psm=int(psm or 3))
    reader = Reader(settings, ImageLimits(), FileCache(cache, max_bytes=2**28))
    return [example(one, reader.read(one.image.read_bytes()), task, way) for task, one in enumerate(found)]


def print_matched(found: Sequence[Receipt]) -> None:
    """Print how many fields have a value, and how many were found on their page."""
    valued = Counter(field for receipt in found for field in receipt.values)
    matched = [field_lines(receipt) for receipt in found]
    for field in FIELDS:
        lines = [len(one[field]) for one in matched if field in one]
        print(f"{field}: {len(lines)} of {valued[field]} values found, on {sum(lines)} lines")


def print_scores(rows: Sequence[LabelScore]) -> None:
    """Print one row of a Markdown table for each field."""
    print("| field | precision | recall | F1 | marked | predicted |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.label} | {row.precision:.3f} | {row.recall:.3f} | {row.f1:.3f} | {row.support} | {row.predicted} |"
        )


def main() -> None:
    """Match the fields, train, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="with box/, key/ and img/")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for the training and what OCR read")
    parser.add_argument("--test", type=Path, metavar="DIR", help="likewise: the pages that are tested")
    parser.add_argument("--words", nargs="+", default=[GIVEN], help="given, or ENGINE[:PSM] (default: given)")
    parser.add_argument("--drawn", choices=DRAWN, default="lines", help="how the fields are drawn (default: lines)")
    parser.add_argument("--pages", type=int, default=TRAINING_PAGES, help="pages to learn from (default: 80)")
    parser.add_argument("--box-level", choices=BOX_LEVELS, default="lines")
    parser.add_argument("--base", default=MINILM_BASE)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--choose", action="store_true", help="the 20 pages choose the best moment")
    parser.add_argument("--only-match", action="store_true", help="print how many fields were found, and end")
    given = parser.parse_args()
    print(machine())
    print_matched(receipts(given.data))
    if given.only_match:
        return
    rows = {}
    for words in given.words:
        examples = read_examples(given.data, words, given.work / "pages", given.drawn)
        learned, unseen = examples[: given.pages], examples[TRAINING_PAGES:]
        if given.test:
            unseen = read_examples(given.test, words, given.work / "pages", given.drawn)
        rows[words] = _measured(given, words, learned, unseen)
    print("| field | " + " | ".join(rows) + " |\n|---|" + "---|" * len(rows))
    for scores in zip(*rows.values(), strict=True):
        print(f"| {scores[0].label} | " + " | ".join(f"{score.f1:.3f}" for score in scores) + " |")


def _measured(
    given: argparse.Namespace, words: str, learned: Sequence[Example], unseen: Sequence[Example]
) -> list[LabelScore]:
    """Train with words of one source, print how it went, return the scores of each field and of all."""
    plan = Plan(given.base, FIELDS, box_level=given.box_level, epochs=given.epochs, seed=given.seed)
    folder = given.work / f"sroie-{words}-{given.drawn}-{given.pages}-{given.box_level}-{given.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    trained = train(folder, plan, learned, unseen if given.choose else [])
    scores = measure(trained, plan, unseen)
    boxes = sum(len(one.entities) for one in unseen)
    print(f"{words} words, boxes of {given.box_level}, {given.base}, seed {given.seed}:", end=" ")
    print(f"{trained.steps} steps in {trained.seconds:.0f} s on {len(learned)} pages; tested on {len(unseen)}", end=" ")
    print(f"with {boxes} boxes, {reading_ceiling(unseen):.1%} of them with a word", flush=True)
    print_scores([*scores.labels, scores.overall])
    print("F1 of the same logits, with what was learned about boxes and word by word:", end=" ")
    print(", ".join(f"{value:.3f}" for value in both_decoders(trained, plan, unseen)))
    dtypes = [dtype for dtype in DTYPES if dtype == "float32" or has_bfloat16(torch.device("cpu"))]
    f1 = {dtype: measure(trained, plan, unseen, dtype).overall.f1 for dtype in dtypes}
    print(", ".join(f"F1 {value:.4f} in {dtype}" for dtype, value in f1.items()))
    return [*scores.labels, scores.overall]


if __name__ == "__main__":
    main()
