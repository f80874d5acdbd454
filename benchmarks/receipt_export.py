"""Real receipts as a project of Label Studio: its JSON export, its label config and its images, upright or turned.

`python -m benchmarks.receipt_export --data DIR --out DIR [--pages 80] [--drawn lines] [--turned]` writes `export.json`,
`label_config.xml` and `images/`. The product's own commands do the rest, as for any export:

    python -m scripts.retrain --project 7 --here --untested --annotations OUT/export.json \\
        --label-config OUT/label_config.xml --images OUT/images
    python -m scripts.evaluate --all-pages --checkpoint STORE/project-7/VERSION.mar --local-ocr --annotations ...

With `--turned` each page is turned by one of 90, 180, 270, 2, -2, 5 and -5 degrees, the pages by name in turn. Boxes on
a tilted page are drawn as rotated rectangles, those on a page that lies on its side or head upright, as people do.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.drawn import DRAWN
from benchmarks.sroie import FIELDS, TRAINING_PAGES, Receipt, example, given_page, receipts
from benchmarks.turned_pages import turned
from handler.images import ImageLimits, open_page
from handler.page import Box, Size
from handler.turn import split_turn

TURNS = (90, 180, 270, 2, 358, 5, 355)
LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    + "".join(f'<Label value="{field}"/>' for field in FIELDS)
    + "</RectangleLabels></View>"
)


def drawn_rectangle(box: Box, upright: Size, copy: Size, turn: float) -> dict[str, float]:
    """Return a box as Label Studio has it on a turned copy: percent of the copy, rotation about the top left corner.

    Args:
        box: on the upright page.
        upright: its size.
        copy: size of the copy.
        turn: by which the copy has to be turned clockwise to stand upright.
    """
    quarters, tilt = split_turn(turn)
    angle = math.radians(-turn)
    cos, sin = math.cos(angle), math.sin(angle)

    def moved(x: float, y: float) -> tuple[float, float]:
        x, y = x - upright.width / 2, y - upright.height / 2
        return x * cos - y * sin + copy.width / 2, x * sin + y * cos + copy.height / 2

    left, top = moved(box.left, box.top)
    width, height, rotation = box.right - box.left, box.bottom - box.top, -tilt % 360
    if quarters:
        right, bottom = moved(box.right, box.bottom)
        left, top, width, height = min(left, right), min(top, bottom), abs(right - left), abs(bottom - top)
    return {
        "x": 100 * left / copy.width,
        "y": 100 * top / copy.height,
        "width": 100 * width / copy.width,
        "height": 100 * height / copy.height,
        "rotation": rotation,
    }


def make_task(receipt: Receipt, number: int, way: str, turn: float, folder: Path) -> dict[str, Any]:
    """Write the page's image; return its task with what a person drew on it.

    Args:
        receipt: the page.
        number: of the task, from 0.
        way: how the fields are drawn (`drawn.DRAWN`).
        turn: of the copy, in degrees.
        folder: of the images.
    """
    image: Image.Image = open_page(receipt.image.read_bytes(), ImageLimits())
    copy = turned(image, turn) if turn else image
    copy.save(folder / f"{receipt.name}.png")
    sizes = Size(*image.size), Size(*copy.size)
    common = {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "image_rotation": 0}
    common |= {"original_width": copy.width, "original_height": copy.height}
    results = [
        common
        | {
            "id": f"{number}-{index}",
            "value": drawn_rectangle(entity.box, *sizes, turn) | {"rectanglelabels": [entity.label]},
        }
        for index, entity in enumerate(example(receipt, given_page(receipt), number, way).entities)
    ]
    return {
        "id": number + 1,
        "data": {"image": f"/data/upload/1/{receipt.name}.png"},
        "annotations": [{"id": number + 1, "was_cancelled": False, "lead_time": 30.0, "result": results}],
    }


def main() -> None:
    """Write the project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="with box/, key/ and img/")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--pages", type=int, default=TRAINING_PAGES, help="the first by name (default: 80)")
    parser.add_argument("--drawn", choices=DRAWN, default="lines", help="how the fields are drawn (default: lines)")
    parser.add_argument("--turned", action="store_true", help="turn the pages")
    given = parser.parse_args()
    images = given.out / "images"
    images.mkdir(parents=True)
    tasks = [
        make_task(one, number, given.drawn, TURNS[number % len(TURNS)] if given.turned else 0, images)
        for number, one in enumerate(receipts(given.data)[: given.pages])
    ]
    (given.out / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    (given.out / "label_config.xml").write_text(LABEL_CONFIG, encoding="utf-8")
    boxes = sum(len(task["annotations"][0]["result"]) for task in tasks)
    print(f"{len(tasks)} tasks with {boxes} boxes in {given.out}")


if __name__ == "__main__":
    main()
