"""Pages, images and TorchServe contexts that several tests use."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from handler.geometry import grid_to_pixels
from handler.images import make_thumbnail
from handler.page import Box, Page, Size, Word

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # ts/version.py leaves version.txt open
    from ts.context import Context, RequestProcessor
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

METRICS = Path(__file__).parents[2] / "deploy" / "torchserve" / "metrics.yaml"
DOCBANK = Path(__file__).parent.parent / "data" / "docbank"
LONG_PAGE = "126.tar_1607.01329.gz_ms_astroph_7"
SHORT_PAGE = "126.tar_1706.03453.gz_soft_graviton_yukawa_scalar_v2_06.10.17_0"

INVOICE_LINES = ("Invoice number 4711", "Delivery date November 22", "Total amount 125 Euro", "Thank you very much")


def page_of(*texts: str, lines: Sequence[int] | None = None, thumbnail: bytes | None = None) -> Page:
    """Return a page with one word per text, each in its own place."""
    words = tuple(
        Word(
            text, Box(10 + 7 * index, 20 + 3 * index, 16 + 7 * index, 30 + 3 * index), 0.9, lines[index] if lines else 0
        )
        for index, text in enumerate(texts)
    )
    return Page(Size(max(100, 20 + 7 * len(texts)), max(100, 40 + 3 * len(texts))), "given", words, thumbnail)


def docbank_page(name: str, size: Size) -> Page:
    """Return the words of a DocBank page; each text row has its own line number."""
    rows = [row.split("\t") for row in (DOCBANK / f"{name}.txt").read_text().split("\n") if row]
    tops: dict[str, int] = {}
    words = tuple(
        Word(row[0], grid_to_pixels(tuple(map(float, row[1:5])), size), 1.0, tops.setdefault(row[2], len(tops)))
        for row in rows
    )
    return Page(size, "docbank", words)


def rendered_page(lines: Sequence[str] = INVOICE_LINES) -> Image.Image:
    """Return a page of large print, one text line below the other."""
    image = Image.new("RGB", (900, 120 + 90 * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        draw.text((60, 60 + 90 * index), line, fill="black", font=ImageFont.load_default(40))
    return image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noisy_thumbnail(seed: int = 0) -> bytes:
    """Return a thumbnail in which every pixel differs from its neighbours."""
    noise = Image.linear_gradient("L").rotate(37 * (seed + 1))
    return make_thumbnail(Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)]))


def serving_context(folder: Path, handler: Mapping[str, Any], version: str = "20261122T083000Z") -> Context:
    """Return TorchServe's own context of a loaded model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # and the metrics cache leaves its YAML open
        metrics = MetricsCacheYamlImpl(str(METRICS))
    metrics.initialize_cache()
    return Context(
        model_name="project-7",
        model_dir=str(folder),
        manifest={"model": {"modelName": "project-7", "modelVersion": version}},
        batch_size=8,
        gpu=None,
        mms_version="0.12.0",
        metrics=metrics,
        model_yaml_config={"handler": dict(handler)},
    )


def requests_to(context: Context, *headers: Mapping[str, str]) -> None:
    """Put a batch of requests with these headers into the context, as TorchServe's worker does."""
    context.request_processor = [RequestProcessor(dict(each)) for each in headers]
    context.request_ids = {index: f"request-{index}" for index in range(len(headers))}
    context.metrics.request_ids = context.request_ids
