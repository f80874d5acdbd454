"""The parts invoices are put together from; each draws at a place in pixels and returns the y below itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from demo.contents import Bill, Item, Party
from demo.sheet import GREY, INK, Align, Colour, Sheet

WHITE: Colour = (255, 255, 255)
GOLD_LABELS = {
    "number": "invoice_number",
    "date": "date",
    "due": "due_date",
    "subtotal": "subtotal",
    "tax": "tax",
    "total": "total",
}

Wording = dict[str, str]
TableStyle = Literal["ruled", "barred", "boxed", "striped", "plain"]
Column = tuple[str, str, float, Align]  # heading, attribute of Item, x in pixels, alignment


def party(
    sheet: Sheet,
    who: Party,
    x: float,
    y: float,
    *,
    label: str | None = None,
    heading: str | None = None,
    align: Align = "left",
    size: int | None = None,
    extras: Sequence[str] = (),
    width: float = 520,
) -> float:
    """Write a heading, a name (the gold region, if `label` is given), the address and extra lines below each other."""
    if heading:
        sheet.text(x, y, heading, bold=True, colour=sheet.accent, align=align, size=sheet.size - 2)
        y += sheet.size * 1.6
    name_size = size or sheet.size + 1
    sheet.text(x, y, who.name, bold=True, size=name_size, align=align, label=label, width=width)
    y += name_size * 1.45
    for line in (*who.lines, *extras):
        sheet.text(x, y, line, align=align, size=sheet.size - 1)
        y += sheet.size * 1.4
    return y


def one_line(
    sheet: Sheet, who: Party, x: float, y: float, *, label: str, align: Align = "left", size: int | None = None
) -> float:
    """Write the name and the whole address on one line; only the name is gold."""
    pixels = size or sheet.size - 2
    rest = " , ".join(who.lines)
    length = sheet.measure(f"{who.name} , {rest}", pixels)
    left = x - {"left": 0.0, "centre": length / 2, "right": length}[align]
    sheet.text(left, y, who.name, size=pixels, label=label)
    sheet.text(left + sheet.measure(who.name + " ", pixels), y, f", {rest}", size=pixels, colour=GREY)
    return y + pixels * 1.6


def beside(
    sheet: Sheet,
    bill: Bill,
    words: Wording,
    keys: Sequence[str],
    y: float,
    *,
    label_x: float,
    value_x: float,
    align: Align = "left",
    step: float = 1.65,
    strong: str = "",
) -> float:
    """Write one row per key, the wording at `label_x` and the value at `value_x`; the key `strong` stands out."""
    for key in keys:
        bold = key == strong
        size = sheet.size + (5 if bold else 0)
        text = words[key].replace("%", bill.values["tax_percent"])
        sheet.text(label_x, y, text, bold=bold, size=size, colour=INK if bold else GREY)
        sheet.text(value_x, y, bill.values[key], bold=bold, size=size, align=align, label=GOLD_LABELS.get(key))
        y += size * step
    return y


def above(
    sheet: Sheet,
    bill: Bill,
    words: Wording,
    keys: Sequence[str],
    x: float,
    y: float,
    *,
    width: float,
    boxed: bool = False,
    shaded: bool = False,
) -> float:
    """Write the keys next to each other, `width` pixels apart, wording above value; `boxed` like a form."""
    height = sheet.size * 3.4
    for index in range(len(keys)):
        left = x + index * width
        if shaded:
            sheet.fill(left, y, left + width, y + height, sheet.tint())
        if boxed:
            sheet.frame(left, y, left + width, y + height)
    for index, key in enumerate(keys):
        text = words[key].replace("%", bill.values["tax_percent"])
        sheet.text(
            x + index * width + 12, y + 8, text, size=sheet.size - 4, colour=GREY, width=width - 20, bold=not boxed
        )
    for index, key in enumerate(keys):
        left = x + index * width + 12
        label = GOLD_LABELS.get(key)
        sheet.text(left, y + sheet.size * 1.7, bill.values[key], label=label, width=width - 20)
    return y + height + 10


def stacked(sheet: Sheet, bill: Bill, words: Wording, keys: Sequence[str], x: float, y: float, align: Align) -> float:
    """Write the keys below each other, each wording above its value, flush left or right."""
    for key in keys:
        sheet.text(x, y, words[key], size=sheet.size - 3, colour=sheet.accent, bold=True, align=align)
        y += sheet.size * 1.25
        sheet.text(x, y, bill.values[key], align=align, label=GOLD_LABELS.get(key))
        y += sheet.size * 1.9
    return y


def running(
    sheet: Sheet, bill: Bill, words: Wording, keys: Sequence[str], x: float, y: float, gap: float = 34
) -> float:
    """Write wording and value after each other on one line, pair after pair."""
    for key in keys:
        x = sheet.text(x, y, words[key], colour=GREY).right + 10
        x = sheet.text(x, y, bill.values[key], label=GOLD_LABELS.get(key)).right + gap
    return y + sheet.size * 1.8


def columns(left: float, right: float, headings: Sequence[str]) -> tuple[Column, ...]:
    """Lay out four or five columns between two edges; four leave out the row number."""
    span = right - left
    number, description, quantity, price, amount = ("", *headings) if len(headings) == 4 else headings
    shift = 0.0 if len(headings) == 4 else 60.0
    made: tuple[Column, ...] = (
        (description, "description", left + 12 + shift, "left"),
        (quantity, "quantity", left + span * 0.62, "right"),
        (price, "price", left + span * 0.80, "right"),
        (amount, "amount", right - 12, "right"),
    )
    return ((number, "number", left + 12, "left"), *made) if number else made


def table(
    sheet: Sheet,
    items: Sequence[Item],
    y: float,
    *,
    left: float,
    right: float,
    headings: Sequence[str],
    style: TableStyle,
) -> float:
    """Draw the item table between two edges, in one of five styles."""
    step = sheet.size * 2.0
    cells = columns(left, right, headings)
    dark = style == "barred"
    if dark:
        sheet.fill(left, y, right, y + step)
    for heading, _, x, align in cells:
        sheet.text(x, y + 8, heading, bold=True, align=align, size=sheet.size - 1, colour=WHITE if dark else INK)
    top, y = y, y + step
    if style != "plain":
        sheet.line(left, y, right, y)
    for row, item in enumerate(items):
        if style == "striped" and row % 2 == 0:
            sheet.fill(left, y + 2, right, y + step, sheet.tint(0.1))
        for _, attribute, x, align in cells:
            sheet.text(x, y + 9, getattr(item, attribute), align=align)
        y += step
        if style in ("ruled", "boxed"):
            sheet.line(left, y, right, y, width=1)
    if style == "boxed":
        sheet.frame(left, top, right, y)
        for _, _, x, align in cells:
            if align == "right":
                edge = x - (right - left) * 0.17
                sheet.line(edge, top, edge, y, width=1)
    return y + sheet.size


def bank(sheet: Sheet, bill: Bill, x: float, y: float, account: str = "IBAN", align: Align = "left") -> float:
    """Write phone, mail, tax id and account: the small print that looks like numbers of interest."""
    vendor, size = bill.vendor, sheet.size - 3
    for line in (
        f"{account} {vendor.tax_id[:2]}{bill.values['iban']}",
        f"Phone {vendor.phone}   {vendor.email}",
        f"Tax ID {vendor.tax_id}",
    ):
        sheet.text(x, y, line, size=size, colour=GREY, align=align)
        y += size * 1.5
    return y
