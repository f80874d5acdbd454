"""Do lines stay lines and columns columns? The order of words by `rapidocr` beside Tesseract's, on the same words.

`python -m benchmarks.reading_order --funsd DIR --sroie DIR --docbank DIR [--pages 148]` prints one Markdown table. Only
words count that both engines read where they stand; all others are taken out of both orders, so that reading more
is neither punished nor rewarded. Of each two that follow one another in the truth: the share that do so in the order.

Truth: on DocBank its published order of words. On FUNSD the words of one entity, and of these those on one line: its
entities are in no order. `whole page` is their order in the file all the same, and `by rows` what a reader without a
fault has there that goes by rows of entities. On SROIE the words of one annotated line, from left to right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from benchmarks.ocr_engines import TIMEOUT_S, matched, open_docbank, readable
from benchmarks.ocr_recall import DataSet, bare, bare_words, holds_centre, open_funsd, open_sroie
from benchmarks.timing import machine
from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.page import Box, Word
from handler.reading.engines import OcrEngine, make_engine
from handler.reading.rapidocr.reading_order import reading_order

ENGINES = ("rapidocr", "pytesseract")
ON_A_LINE = 0.5
Chains = Sequence[Sequence[int]]
Places = dict[int, int]
"""Numbers of words in the truth -> their place in an engine's order."""


def entities_of(annotation: Path) -> list[list[int]]:
    """Return the numbers of each FUNSD entity's words, as `read_funsd` counts them."""
    entities, count = [], 0
    for group in json.loads(annotation.read_text(encoding="utf-8"))["form"]:
        words = sum(bool(word["text"].strip()) for word in group["words"])
        entities.append(list(range(count, count + words)))
        count += words
    return [entity for entity in entities if entity]


def lines_of(gold: Sequence[Word], entity: Sequence[int]) -> list[list[int]]:
    """Return an entity's words line by line."""
    lines: list[list[int]] = []
    for number in entity:
        if lines and _is_beside(gold[lines[-1][-1]].box, gold[number].box):
            lines[-1].append(number)
        else:
            lines.append([number])
    return lines


def kept(places: Places, shared: set[int], chains: Chains) -> tuple[int, int]:
    """Return how many neighbours of chains are neighbours in an order, of how many; of shared words alone."""
    follows = dict(pairwise(sorted(shared, key=lambda number: places[number])))
    pairs = [pair for chain in chains for pair in pairwise([number for number in chain if number in shared])]
    return sum(follows.get(before) == after for before, after in pairs), len(pairs)


def by_rows(gold: Sequence[Word], entities: Chains) -> Places:
    """Return the order of a reader without a fault that goes through the entities' boxes as ours does through lines."""
    boxes = [Box.around(gold[number].box for number in entity) for entity in entities]
    corners = [[(b.left, b.top), (b.right, b.top), (b.right, b.bottom), (b.left, b.bottom)] for b in boxes]
    order = reading_order(np.array(corners, dtype=np.float32).reshape(-1, 4, 2))
    return {number: place for place, number in enumerate(number for one in order for number in entities[one])}


def words_of_lines(gold: Sequence[Word], words: Sequence[Word]) -> tuple[list[tuple[int, int]], Places]:
    """Return the words of SROIE's lines that were read, as (line, rank from the left), and the place of each."""
    found: Places = {}
    names: list[tuple[int, int]] = []
    for line, item in enumerate(gold):
        said = bare_words(item.text)
        here = [(word.box.left, place) for place, word in enumerate(words) if holds_centre(item.box, word.box)]
        read = [(left, place) for left, place in sorted(here) if bare(words[place].text) in said]
        if len(read) == sum(said.values()):
            for rank, (_, place) in enumerate(read):
                found[len(names)] = place
                names.append((line, rank))
    return names, found


def measure_lines(gold: Sequence[Word], read: Sequence[Sequence[Word]]) -> list[tuple[int, int]]:
    """Return `kept` for each engine's words of SROIE's lines that all of them read."""
    sides = [words_of_lines(gold, words) for words in read]
    shared = set.intersection(*(set(names) for names, _ in sides))
    results = []
    for names, places in sides:
        of_name = {name: places[number] for number, name in enumerate(names)}
        ordered = sorted(shared)
        numbers = {number: of_name[name] for number, name in enumerate(ordered)}
        lines: dict[int, list[int]] = {}
        for number, (line, _) in enumerate(ordered):
            lines.setdefault(line, []).append(number)
        results.append(kept(numbers, set(numbers), list(lines.values())))
    return results


def measure_page(data: DataSet, annotation: Path, read: Sequence[Sequence[Word]]) -> dict[str, list[tuple[int, int]]]:
    """Return for each kind of truth what every engine kept; last, on FUNSD's whole page, the reader by rows."""
    gold = data.gold_of(annotation)
    if data.name.startswith("SROIE"):
        return {"SROIE, lines": measure_lines(gold, read)}
    sides = [matched(gold, words) for words in read]
    shared = set.intersection(*map(set, sides))
    whole = [sorted(shared)]
    if data.name.startswith("DocBank"):
        return {"DocBank, whole page": [kept(places, shared, whole) for places in sides]}
    entities = entities_of(annotation)
    lines = [line for entity in entities for line in lines_of(gold, entity)]
    return {
        "FUNSD, lines of entities": [kept(places, shared, lines) for places in sides],
        "FUNSD, entities": [kept(places, shared, entities) for places in sides],
        "FUNSD, whole page": [kept(places, shared, whole) for places in (*sides, by_rows(gold, entities))],
    }


def _is_beside(one: Box, other: Box) -> bool:
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return other.left >= one.left and shared >= ON_A_LINE * min(one.bottom - one.top, other.bottom - other.top)


def measure(data: DataSet, pages: int, engines: Sequence[OcrEngine]) -> dict[str, list[list[int]]]:
    """Return for each kind of truth the sums over a set's pages: for each engine kept and all pairs."""
    sums: dict[str, list[list[int]]] = {}
    for annotation in islice(readable(data), pages):
        image = open_page(data.image_of(annotation).read_bytes(), ImageLimits())
        for truth, found in measure_page(data, annotation, [engine.read(image).words for engine in engines]).items():
            totals = sums.setdefault(truth, [[0, 0] for _ in found])
            for total, (right, of_all) in zip(totals, found, strict=True):
                total[0] += right
                total[1] += of_all
    return sums


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("funsd", "sroie", "docbank"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pages", type=int, default=148, help="of each set, the first by name (default: 148)")
    options = parser.parse_args()
    engines = [make_engine(OcrSettings(engine, timeout_s=TIMEOUT_S)) for engine in ENGINES]
    print(machine())
    print(f"| truth | pairs | {' | '.join(ENGINES)} | by rows |\n|---|---|---|---|---|")
    for data in (open_docbank(options.docbank), open_funsd(options.funsd), open_sroie(options.sroie)):
        for truth, totals in measure(data, options.pages, engines).items():
            shares = [f"{right / of_all:.3f}" for right, of_all in totals]
            print(f"| {truth} | {totals[0][1]} | {' | '.join([*shares, ''][:3])} |", flush=True)


if __name__ == "__main__":
    main()
