"""PDFs with text, written by hand; PDFium finds the objects without their table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

INVOICE = (
    "INVOICE number 950658",
    "Advertiser Thornton Brothers",
    "Flight dates January and March",
    "Total 1250.00 pounds",
)
WIDTH, HEIGHT = 420, 300
_PICTURE = 6


def lines(texts: Sequence[str], x: int = 40, top: int = 250, extra: str = "") -> str:
    """Return the content of a page with lines of text, 40 points apart."""
    shown = "".join(f"1 0 0 1 {x} {top - 40 * row} Tm ({text}) Tj\n" for row, text in enumerate(texts))
    return f"BT /F1 16 Tf {extra}\n{shown}ET\n"


def text_pdf(
    path: Path,
    pages: Sequence[str],
    *,
    page: str = "",
    font: str = "",
    more: Sequence[str] = (),
    picture: bytes | None = None,
) -> Path:
    """Write a PDF.

    Args:
        path: of the file.
        pages: their contents.
        page: more entries of each page's dictionary.
        font: more entries of the font's.
        more: objects from number 90 on.
        picture: JPEG that contents draw as /P.
    """
    first = 10
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(pages)))
    objects = {
        1: "<</Type /Catalog /Pages 2 0 R>>",
        2: f"<</Type /Pages /Kids [{kids}] /Count {len(pages)}>>",
        3: f"<</Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding {font}>>",
    }
    drawn = f"/XObject <</P {_PICTURE} 0 R>>" if picture is not None else ""
    for number, content in enumerate(pages):
        box = "" if "/MediaBox" in page else f"/MediaBox [0 0 {WIDTH} {HEIGHT}]"
        objects[first + 2 * number] = (
            f"<</Type /Page /Parent 2 0 R {box} {page} /Resources <</Font <</F1 3 0 R>> {drawn}>> "
            f"/Contents {first + 2 * number + 1} 0 R>>"
        )
        objects[first + 2 * number + 1] = f"<</Length {len(content)}>> stream\n{content}\nendstream"
    start = max(90, first + 2 * len(pages))
    objects |= {start + number: text for number, text in enumerate(more)}
    data = b"%PDF-1.4\n" + b"".join(
        f"{number} 0 obj {text} endobj\n".encode("latin-1") for number, text in objects.items()
    )
    if picture is not None:
        size = f"/Width {WIDTH * 2} /Height {HEIGHT * 2} /ColorSpace /DeviceRGB /BitsPerComponent 8"
        head = f"<</Type /XObject /Subtype /Image {size} /Filter /DCTDecode /Length {len(picture)}>>"
        data += f"{_PICTURE} 0 obj {head} stream\n".encode() + picture + b"\nendstream endobj\n"
    path.write_bytes(data + b"trailer <</Root 1 0 R>>\n%%EOF\n")
    return path


MIXED_UP = (
    "begincmap 1 begincodespacerange <00> <FF> endcodespacerange "
    "2 beginbfrange <21> <6F> <0029> <70> <7E> <0021> endbfrange endcmap"
)
"""Content of a ToUnicode map by which every character is another one."""


def mixed_up_pdf(path: Path) -> Path:
    """A page that looks like an invoice and whose text says something else."""
    stream = f"<</Length {len(MIXED_UP)}>> stream\n{MIXED_UP}\nendstream"
    return text_pdf(path, [lines(INVOICE)], font="/ToUnicode 90 0 R", more=[stream])
