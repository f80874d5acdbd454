"""A project whose scans lie on their side, upside down or tilted teaches what the same project upright teaches."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.images import ImageLimits
from handler.ocr_settings import OcrSettings
from handler.page import Box, Page, Size, TaggedPage, Word
from handler.reading.reader import Reader
from handler.tagging.labels import LabelSet
from handler.tagging.tagger import Tagger
from handler.turn import level_image, words_of_picture
from layoutloop.studio.label_config import parse_label_config
from tests.handler.samples import encoded, rendered_page
from tests.training.samples import LABELS, make_folder
from training.data.annotations import select_pages
from training.data.dataset import build_examples
from training.data.examples import Example, write_examples
from training.data.page_readers import LocalReader
from training.fit.bases import make_base
from training.fit.process import run_training
from training.fit.windows import Windows

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="total"/><Label value="date"/></RectangleLabels></View>'
)
SHEETS = (
    ("Invoice number 4711", "Delivery date November 22", "Total amount 125 Euro", "Thank you very much"),
    ("Invoice number 4712", "Delivery date December 24", "Total amount 912 Euro", "Yours sincerely always"),
    ("Invoice number 4713", "Delivery date January 19", "Total amount 340 Euro", "Payment within thirty days"),
)
DRAWN = {"date": Box(55, 145, 800, 205), "total": Box(55, 235, 800, 295)}
READER = Reader(OcrSettings(engine="tesserocr"), ImageLimits(), None)


def result(label: str, drawn: Box, upright: Size, turn: float, picture: Size) -> dict[str, Any]:
    """What a person draws around a line of a turned picture: a rectangle that is tilted as the line is."""
    corner = Box(drawn.left, drawn.top, drawn.left, drawn.top)
    place = words_of_picture([Word("", corner)], upright, turn, picture)[0].box
    sides = {"width": 100 * (drawn.right - drawn.left) / picture.width}
    sides["height"] = 100 * (drawn.bottom - drawn.top) / picture.height
    value = {"x": 100 * place.left / picture.width, "y": 100 * place.top / picture.height, **sides}
    value |= {"rotation": (360 - turn) % 360, "rectanglelabels": [label]}
    return {"id": label, "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value}


def taught(turn: float) -> tuple[Example, ...]:
    """Return the examples of a project whose pages are turned."""
    pictures = [level_image(rendered_page(sheet), (360 - turn) % 360, whole=True) for sheet in SHEETS]
    tasks = []
    for number, picture in enumerate(pictures):
        level = level_image(picture, turn).size
        across, down = ((level[axis] - rendered_page().size[axis]) / 2 for axis in (0, 1))
        boxes = {
            label: Box(box.left + across, box.top + down, box.right + across, box.bottom + down)
            for label, box in DRAWN.items()
        }
        drawn = [result(label, box, Size(*level), turn, Size(*picture.size)) for label, box in boxes.items()]
        annotation = {"id": number + 1, "result": drawn, "updated_at": "2026-11-30T00:00:00Z"}
        tasks.append({"id": number + 1, "data": {"image": f"/{number + 1}.png"}, "annotations": [annotation]})
    files = {f"/{number + 1}.png": encoded(picture) for number, picture in enumerate(pictures)}
    reader = LocalReader(lambda page: files[page.reference], READER)
    return build_examples(select_pages(tasks, CONFIG), CONFIG, reader, lambda *_: None).examples


@pytest.fixture(scope="module")
def upright() -> tuple[Example, ...]:
    return taught(0)


def said(examples: tuple[Example, ...]) -> list[list[tuple[str, str]]]:
    """Return label and words of each entity of each page."""
    return [
        [(entity.label, " ".join(one.page.words[word].text for word in entity.words)) for entity in one.entities]
        for one in examples
    ]


@pytest.mark.parametrize("turn", [90, 180, 270, 4, 356, 93, 177])
def test_the_model_learns_the_same_windows(upright: tuple[Example, ...], turn: float) -> None:
    turned = taught(turn)
    assert said(upright)[0] == [("date", SHEETS[0][1]), ("total", SHEETS[0][2])]
    assert said(turned) == said(upright)
    assert all(abs(example.page.turn - turn) < 1 for example in turned)
    base = make_base("scratch", LABELS, words=[word.text for one in upright for word in one.page.words])
    sides = [list(Windows(base, side, LabelSet.from_names(LABELS), "words")) for side in (upright, turned)]
    assert len(sides[0]) == len(sides[1]) == len(SHEETS)
    for first, second in zip(*sides, strict=True):
        assert second.window.input_ids.tolist() == first.window.input_ids.tolist()
        assert second.labels.tolist() == first.labels.tolist()
        moved = np.abs(second.window.boxes - first.window.boxes).max()
        assert moved <= (0 if turn % 90 == 0 else 60), "the picture of a tilted page is larger, by its white corners"


def test_a_model_of_turned_copies_finds_the_same_upright(upright: tuple[Example, ...], tmp_path: Path) -> None:
    """The regions that it finds come back in the annotator's picture."""
    turned = taught(270)
    folder = make_folder(tmp_path, epochs=120)
    write_examples(folder / "training.jsonl", turned)
    run_training(folder, 1, lambda _: None)
    tagger = Tagger.load(folder / "checkpoint")
    for flat, lying in zip(upright, turned, strict=True):
        first, second = tagger.tag([flat.page, lying.page])
        assert isinstance(first, TaggedPage)
        assert isinstance(second, TaggedPage)
        assert [(one.label, one.words) for one in second.regions] == [(one.label, one.words) for one in flat.entities]
        assert [replace(one, box=on_its_side(one.box, flat.page)) for one in first.regions] == list(second.regions)


def on_its_side(box: Box, upright: Page) -> Box:
    """Return where a box is in the picture whose text runs down: its top is the right edge."""
    left, top, right, bottom = astuple(box)
    return Box(upright.size.height - bottom, left, upright.size.height - top, right)
