"""Invoices and orders: two parties, numbers and dates, a table, sums, put together in a new way on every page."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

from training.data.examples import Example
from training.generated.blocks import Pairs, Row, make_items, seller_lines, sums, write_seller
from training.generated.country import Writer
from training.generated.paper import Align, Paper, Piece

_TITLES = (
    "Invoice",
    "Bill",
    "Order confirmation",
    "Delivery note",
    "Credit note",
    "Statement",
    "Quotation",
    "Purchase order",
    "Pro forma",
)
Block = Callable[[Paper, Writer], None]
_HEIGHT = 1.414
"""Of a page, in widths."""


def invoice(rng: random.Random, number: int) -> Example:
    """Return one."""
    writer = Writer(rng)
    width = rng.uniform(900, 1700)
    paper = Paper(rng, width, width / rng.uniform(52, 78), width * rng.uniform(0.05, 0.1))
    blocks = [_head, _buyer, _numbers, _table]
    if rng.random() < 0.3:  # the order of the first three is anything
        blocks[:3] = rng.sample(blocks[:3], 3)
    if rng.random() < 0.12:
        blocks = [*blocks[1:], blocks[0]]
    if rng.random() < 0.3:
        _title(paper, writer)
    _side_by_side(paper, writer, blocks)
    return paper.example(number, width * _HEIGHT)


def _side_by_side(paper: Paper, writer: Writer, blocks: Sequence[Block]) -> None:
    """Write blocks below each other; a narrow one may have the next beside it."""
    whole, rng = (paper.left, paper.right), writer.rng
    middle = sum(whole) / 2
    todo = list(blocks)
    while todo:
        block = todo.pop(0)
        if todo and _table not in (block, todo[0]) and rng.random() < 0.6:
            top, below = paper.y, []
            for one, left, right in ((block, whole[0], middle - paper.size), (todo.pop(0), middle, whole[1])):
                paper.left, paper.right, paper.y = left, right, top
                one(paper, writer)
                below.append(paper.y)
            paper.left, paper.right = whole
            paper.y = max(below)
        else:
            block(paper, writer)
        paper.next_line(rng.uniform(0.3, 2))


def _title(paper: Paper, writer: Writer) -> None:
    rng = writer.rng
    align: Align = rng.choice(("left", "centre", "right"))
    x = {"left": paper.left, "centre": (paper.left + paper.right) / 2, "right": paper.right}[align]
    scale = rng.choice((1.3, 1.8, 2.4))
    paper.write(x, (rng.choice(_TITLES), "title"), align=align, scale=scale)
    paper.next_line(1.3, scale)


def _head(paper: Paper, writer: Writer) -> None:
    rng, seller = writer.rng, writer.party()
    align: Align = rng.choice(("left", "left", "centre", "right"))
    x = {"left": paper.left, "centre": (paper.left + paper.right) / 2, "right": paper.right}[align]
    if rng.random() < 0.25:
        paper.write(x, (rng.choice(("Seller", "From", "Supplier", "Issued by", "Vendor")), "caption"), align=align)
        paper.next_line()
    if rng.random() < 0.15:  # all on one line
        pieces: list[Piece] = [(seller.name, "seller_name")]
        pieces += [(f"· {line}", "seller_address") for line in seller.address]
        paper.write(paper.left, *pieces, scale=0.85)
        paper.next_line()
    else:
        write_seller(paper, x, seller, seller_lines(writer, seller), align)


def _buyer(paper: Paper, writer: Writer) -> None:
    rng = writer.rng
    buyer = writer.party(is_person=rng.random() < 0.3)
    if rng.random() < 0.75:
        captions = (
            "Bill to",
            "Sold to",
            "Customer",
            "Ship to",
            "Client",
            "Buyer",
            "Deliver to",
            "Invoice to",
            "Attention",
        )
        paper.write(paper.left, (rng.choice(captions) + rng.choice(("", ":")), "caption"))
        paper.next_line()
    paper.write(paper.left, (buyer.name, "buyer_name"))
    paper.next_line()
    for line in buyer.address:
        paper.write(paper.left, (line, "buyer_address"))
        paper.next_line()
    if rng.random() < 0.2:
        paper.write(paper.left, (buyer.tax_number, "other_number"))
        paper.next_line()


def _numbers(paper: Paper, writer: Writer) -> None:
    rng, day = writer.rng, writer.day()
    rows: list[Row] = [
        (
            rng.choice(("Invoice no", "Document", "Number", "Our reference", "Bill no", "Inv. number")),
            writer.number(),
            "own_number",
        ),
        (rng.choice(("Date", "Issue date", "Invoice date", "Dated", "Date of issue")), writer.date(day), "issue_date"),
    ]
    due = writer.date(day + timedelta(rng.randint(5, 60)))
    order, customer = writer.number(), writer.number()
    before = writer.date(day - timedelta(rng.randint(1, 30)))
    for captions, value, label, share in (
        (("Due", "Due date", "Pay by", "Payable until", "Payment due"), due, "due_date", 0.7),
        (("Order no", "PO number", "Your order", "Your reference", "Purchase order"), order, "other_number", 0.6),
        (("Customer no", "Account no", "Client ID"), customer, "other_number", 0.5),
        (("Order date", "Delivery date", "Shipped", "Date of supply"), before, "other_date", 0.45),
        (("Terms", "Payment terms"), rng.choice(("30 days net", "14 days", "On receipt", "Prepaid")), "answer", 0.4),
        (("Contact", "Sales rep", "Account manager", "Clerk"), writer.person(), "person", 0.35),
        (("Page",), "1 / 1", "answer", 0.2),
    ):  # fmt: skip
        if rng.random() < share:
            rows.append((rng.choice(captions), value, label))
    rng.shuffle(rows)
    if rng.random() < 0.3:
        _above(paper, rows, rng.randint(2, 4))
    else:
        Pairs(paper).list(paper.left, rows, paper.right)


def _above(paper: Paper, rows: list[Row], columns: int) -> None:
    """Write values below their captions, several beside each other."""
    step = (paper.right - paper.left) / columns
    for first in range(0, len(rows), columns):
        for part in (0, 1):
            for place, row in enumerate(rows[first : first + columns]):
                text = paper.wrapped(row[part], step * 0.95)[0]
                paper.write(paper.left + place * step, (text, "caption" if part == 0 else row[2]))
            paper.next_line(1.0 if part == 0 else 1.4)


def _table(paper: Paper, writer: Writer) -> None:
    rng, span = writer.rng, paper.right - paper.left
    items = make_items(writer, rng.randint(1, 9))
    has_code, has_currency = rng.random() < 0.4, rng.random() < 0.2
    places = {
        "item_code": 0.0,
        "item_name": 0.16 if has_code else 0.0,
        "item_quantity": 0.62,
        "item_price": 0.8,
        "item_amount": 1.0,
    }
    heads = {
        "item_code": ("Code", "Art. no", "SKU", "Item"), "item_name": ("Description", "Product", "Details", "Service"),
        "item_quantity": ("Qty", "Quantity", "Units", "Hours"), "item_price": ("Price", "Unit price", "Rate", "Each"),
        "item_amount": ("Amount", "Total", "Line total", "Value", "Sum"),
    }  # fmt: skip
    if not has_code:
        del places["item_code"]

    def write(label: str, text: str, role: str) -> None:
        align: Align = "right" if places[label] > 0.5 else "left"
        paper.write(paper.left + span * places[label], (text, role), align=align)

    for label in places:
        write(label, rng.choice(heads[label]), "column")
    paper.next_line(1.3)
    step = rng.uniform(1, 1.6)
    for item in items:
        texts = {
            "item_code": item.code, "item_name": item.name, "item_quantity": str(item.quantity),
            "item_price": writer.amount(item.price, has_currency),
            "item_amount": writer.amount(item.amount, has_currency),
        }  # fmt: skip
        for label in places:
            write(label, texts[label], label)
        paper.next_line(step)
    _totals(paper, writer, sums(writer, items)[0])


def _totals(paper: Paper, writer: Writer, rows: list[Row]) -> None:
    rng = writer.rng
    span = paper.right - paper.left
    left, right = rng.choice(((0.55, 1.0), (0.65, 1.0), (0.0, 0.4), (0.3, 0.7)))
    if rng.random() < 0.15:
        _above(paper, rows, len(rows))
        return
    for caption, value, label in rows:
        paper.write(paper.left + span * left, (caption + rng.choice(("", ":")), "caption"))
        paper.write(paper.left + span * right, (value, label), align="right")
        paper.next_line(rng.choice((1, 1.2)))
    if rng.random() < 0.6:
        paper.next_line(rng.uniform(1, 4))
        for caption, pattern in (("IBAN", "@@## #### #### ####"), ("BIC", "@@@@@@##"), ("Account", "########")):
            if rng.random() < 0.6:
                paper.write(paper.left, (caption, "caption"), (writer.filled(pattern), "other_number"), scale=0.9)
                paper.next_line(scale=0.9)
