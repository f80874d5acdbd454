"""Synthetic invoices as Label Studio's tasks, with what an annotator would have drawn.

`python -m demo.tasks --count 12 --out DIR` writes the images, `export.json` and `label-config.xml`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.invoices import LABELS, LAYOUTS, make_invoice
from demo.sheet import GoldRegion
from layoutloop.named_files import named_file
from layoutloop.plural import counted
from layoutloop.processes.command import as_command

RECTANGLES = "rectanglelabels"
OCR = "ocr"


def label_config(labels: Sequence[str], kind: str = RECTANGLES) -> str:
    """Return a label config: `rectanglelabels`, or `ocr` as in Label Studio's template of that name."""
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    image = '<Image name="image" value="$image"/>'
    if kind == RECTANGLES:
        return f'<View>{image}<RectangleLabels name="label" toName="image">{inside}</RectangleLabels></View>'
    return (
        f'<View>{image}<Labels name="label" toName="image">{inside}</Labels><Rectangle name="bbox" toName="image"/>'
        '<TextArea name="transcription" toName="image" perRegion="true" editable="true"/></View>'
    )


def annotation_result(
    regions: Sequence[GoldRegion], width: int, height: int, kind: str = RECTANGLES
) -> list[dict[str, Any]]:
    """Return the `result` of an annotation that marks regions; boxes in percent of the page."""
    results: list[dict[str, Any]] = []
    for index, region in enumerate(regions):
        box = region.box
        value = {
            "x": 100 * box.left / width,
            "y": 100 * box.top / height,
            "width": 100 * (box.right - box.left) / width,
            "height": 100 * (box.bottom - box.top) / height,
            "rotation": 0,
        }
        common = {
            "id": f"region{index}",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
        }
        if kind == RECTANGLES:
            drawn = {"rectanglelabels": [region.label]}
            results.append({**common, "from_name": "label", "type": RECTANGLES, "value": value | drawn})
            continue
        results += [
            {**common, "from_name": "bbox", "type": "rectangle", "value": value},
            {**common, "from_name": "label", "type": "labels", "value": value | {"labels": [region.label]}},
            {**common, "from_name": "transcription", "type": "textarea", "value": value | {"text": [region.text]}},
        ]
    return results


def exported_task(task: int, reference: str, result: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an annotated task as Label Studio's JSON export holds it."""
    moment = "2026-11-23T08:00:00.000000Z"
    annotation = {
        "id": 1000 + task,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": moment,
        "updated_at": moment,
        "task": task,
    }
    return {"id": task, "data": {"image": reference}, "annotations": [annotation], "predictions": [], "drafts": []}


@as_command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write annotated invoices as an export."""
    parser = argparse.ArgumentParser(prog="python -m demo.tasks", description=main.__doc__)
    parser.add_argument("--count", type=int, default=12, help="pages")
    parser.add_argument("--layouts", type=int, default=4, help=f"how many of the {LAYOUTS} layouts, taken in turn")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if missing")
    given = parser.parse_args(arguments)
    with named_file(f"--out {given.out}", "it is a folder where you may write", "written"):
        given.out.mkdir(parents=True, exist_ok=True)
    tasks = []
    for number in range(given.count):
        invoice = make_invoice(number, number % given.layouts)
        invoice.image.save(given.out / f"{invoice.name}.png")
        result = annotation_result(invoice.regions, *invoice.image.size)
        tasks.append(exported_task(number + 1, f"{invoice.name}.png", result))
    (given.out / "export.json").write_text(json.dumps(tasks, ensure_ascii=False))
    (given.out / "label-config.xml").write_text(label_config(LABELS))
    print(f"{counted(given.count, 'annotated page')} in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
