"""Receipts: narrow paper, a shop at the top, goods, sums, how it was paid, a last word."""

from __future__ import annotations

import random

from training.data.examples import Example
from training.generated.blocks import Item, Pairs, Row, make_items, seller_lines, sums, write_seller
from training.generated.country import Writer
from training.generated.paper import Align, Paper
from training.generated.words import NAME_PARTS

_TITLES = (
    "Receipt",
    "Sales receipt",
    "Invoice",
    "Till receipt",
    "Bill",
    "Copy for you",
    "Order",
    "Counter sale",
    "Ticket",
)
_LAST_WORDS = (
    "Thanks for shopping with us", "See you soon", "Keep this slip for returns", "Returns within 30 days",
    "Enjoy your day",
    "Your opinion counts", "Served with pleasure", "Prices include all taxes", "No refunds without receipt",
    "Follow us online", "Join our club and save", "Many thanks", "Open daily from 8 to 20", "Questions? Call us",
)  # fmt: skip


def receipt(rng: random.Random, number: int) -> Example:
    """Return one."""
    writer = Writer(rng)
    width = rng.uniform(380, 1100)
    paper = Paper(rng, width, width / rng.uniform(18, 34), width * rng.uniform(0.03, 0.12))
    align: Align = rng.choice(("centre", "centre", "left"))
    middle = width / 2 if align == "centre" else paper.left
    seller, pairs = writer.party(), Pairs(paper)
    is_seller_last = rng.random() < 0.08
    if not is_seller_last:
        write_seller(paper, middle, seller, seller_lines(writer, seller), align)
        paper.next_line(rng.choice((0, 0.5, 1)))
    if rng.random() < 0.6:
        paper.write(middle, (rng.choice(_TITLES), "title"), align=align, scale=rng.choice((1, 1, 1.4)))
        paper.next_line(rng.choice((1, 1.5)))
    _details(paper, writer, pairs)
    items = make_items(writer, rng.choice((1, 1, 2, 2, 3, 4, 5, 7, 10)))
    _goods(paper, writer, items)
    _sums(paper, writer, pairs, items)
    for _ in range(rng.randint(0, 3)):
        paper.write(middle, (rng.choice(_LAST_WORDS), "text"), align=align)
        paper.next_line()
    if is_seller_last:
        write_seller(paper, middle, seller, seller_lines(writer, seller), align)
    return paper.example(number)


def _details(paper: Paper, writer: Writer, pairs: Pairs) -> None:
    """Write number, date, who served and where; the date alone, or with its time, is as usual as in the list."""
    rng, day = writer.rng, writer.day()
    rows: list[Row] = []
    if rng.random() < 0.75:
        caption = rng.choice(("Receipt no", "Invoice no", "Bill", "Ticket", "Doc", "Trans", "Slip", "Inv #"))
        rows.append((caption, writer.number(), "own_number"))
    for captions, value, label, share in (
        (("Served by", "Operator", "Staff", "Your host", "Assistant", "Clerk"), _server(writer), "person", 0.4),
        (("Till", "Register", "Terminal", "Pos", "Counter", "Station"), writer.filled("##"), "other_number", 0.35),
        (("Table", "Covers", "Guests", "Room", "Order"), writer.filled("##"), "other_number", 0.2),
        (("Customer", "Bill to", "Account"), rng.choice((writer.person(), writer.filled("@####"))), "buyer_name", 0.15),
    ):  # fmt: skip
        if rng.random() < share:
            rows.append((rng.choice(captions), value, label))
    rng.shuffle(rows)
    date, time, where = writer.date(day), writer.time(day), rng.random()
    has_time = rng.random() < 0.7
    if where < 0.45:
        rows.insert(
            rng.randint(0, len(rows)),
            (rng.choice(("Date", "Date", "Sold on", "Issued", "Date of sale")), date, "issue_date"),
        )
        if has_time:
            rows.append((rng.choice(("Time", "Hour")), time, "issue_time"))
    if where >= 0.45:
        pieces = [("Date:", "caption")] if where > 0.75 else []
        paper.write(paper.left, *pieces, (date, "issue_date"), *([(time, "issue_time")] if has_time else []))
        paper.next_line()
    _in_columns(paper, writer, pairs, rows)
    paper.next_line(rng.choice((0, 0.5, 1)))


def _in_columns(paper: Paper, writer: Writer, pairs: Pairs, rows: list[Row]) -> None:
    """Write rows below one another, now and then in two columns."""
    if len(rows) > 2 and writer.rng.random() < 0.3:
        half = (len(rows) + 1) // 2
        below = pairs.list((paper.left + paper.right) / 2, rows[half:], paper.right, y=paper.y)
        pairs.list(paper.left, rows[:half])
        paper.y = max(paper.y, below)
    else:
        pairs.list(paper.left, rows, paper.right)


def _server(writer: Writer) -> str:
    return writer.rng.choice((writer.person(), writer.person().split()[0], writer.filled("###")))


def _goods(paper: Paper, writer: Writer, items: list[Item]) -> None:
    rng = writer.rng
    way = rng.choice(("one line", "one line", "two lines", "code above", "columns"))
    has_currency = rng.random() < 0.25
    span = paper.right - paper.left
    if rng.random() < 0.6:
        paper.write(paper.left, (rng.choice(("Item", "Article", "Description", "Goods")), "column"))
        if way == "columns":
            paper.write(paper.left + span * 0.6, (rng.choice(("Qty", "Pcs")), "column"), align="right")
            paper.write(paper.left + span * 0.8, (rng.choice(("Price", "Each")), "column"), align="right")
        paper.write(paper.right, (rng.choice(("Amount", "Price", "Sum", writer.currency)), "column"), align="right")
        paper.next_line()
    for item in items:
        name = paper.wrapped(item.name, span * (0.45 if way == "columns" else 0.6))[0]
        amount = (writer.amount(item.amount, has_currency) + rng.choice(("", "", "", " A")), "item_amount")
        quantity, price = (str(item.quantity), "item_quantity"), (writer.amount(item.price), "item_price")
        if way == "columns":
            paper.write(paper.left, (name, "item_name"))
            paper.write(paper.left + span * 0.6, quantity, align="right")
            paper.write(paper.left + span * 0.8, price, align="right")
        elif way == "one line":
            paper.write(paper.left, *([quantity] if item.quantity > 1 else []), (name, "item_name"))
        else:
            first = (item.code, "item_code") if way == "code above" else (name, "item_name")
            paper.write(paper.left, first, *([(name, "item_name")] if way == "code above" else []))
            paper.next_line()
            paper.write(paper.left + span * 0.1, quantity, (rng.choice(("x", "@", "\u00d7")), None), price)
        paper.write(paper.right, amount, align="right")
        paper.next_line()
    paper.next_line(rng.choice((0, 0.5)))


def _sums(paper: Paper, writer: Writer, pairs: Pairs, items: list[Item]) -> None:
    rng = writer.rng
    rows, due = sums(writer, items)
    pieces = sum(item.quantity for item in items)
    if rng.random() < 0.3:
        rows.insert(
            rng.choice((0, len(rows))),
            (rng.choice(("Articles", "Pieces", "Units sold", "Things bought")), str(pieces), "item_quantity"),
        )
    paid = due if rng.random() < 0.6 else (due // 1000 + 1) * 1000
    way = rng.choice(("Cash", "Card", "Visa", "Mastercard", "Debit", "Tendered", "Paid", "Contactless", "Voucher"))
    if rng.random() < 0.8:
        rows.append((way, writer.amount(paid), "sum_paid"))
        if paid > due or rng.random() < 0.4:
            rows.append(
                (
                    rng.choice(("Change", "Your change", "Cash back", "Returned")),
                    writer.amount(paid - due),
                    "sum_change",
                )
            )
    is_right = rng.random() < 0.8
    left = paper.left + (paper.right - paper.left) * rng.choice((0, 0, 0.25, 0.4))
    for caption, value, label in rows:
        scale = rng.choice((1, 1.3)) if label == "sum_due" else 1.0
        if is_right:
            paper.write(left, (caption + rng.choice(("", ":")), "caption"), scale=scale)
            paper.write(paper.right, (value, label), align="right", scale=scale)
        else:
            pairs.write(left, (caption, value, label), left + paper.length("x" * 18), paper.right)
        paper.next_line(scale=scale)
    if rng.random() < 0.2:
        paper.write(
            paper.left, (f"{rng.choice(NAME_PARTS)} card", "text"), (writer.filled("**** ####"), "other_number")
        )
        paper.next_line()
    if rng.random() < 0.25:
        _tax_table(paper, writer, due)
    paper.next_line(rng.choice((0.5, 1)))


def _tax_table(paper: Paper, writer: Writer, due: int) -> None:
    """Write a table that says again how much tax is in it: amounts that are not what is due."""
    tax = round(due - due / (1 + writer.rate / 100))
    span = paper.right - paper.left
    for row in (
        (("Rate", "column"), ("Net", "column"), (writer.tax, "column")),
        (
            (f"{writer.rate:g}%", "tax_rate"),
            (writer.amount(due - tax), "sum_net"),
            (writer.amount(tax), "sum_tax"),
        ),
    ):
        for place, piece in zip((0.0, 0.6, 1.0), row, strict=True):
            paper.write(paper.left + span * place, piece, align="right" if place else "left")
        paper.next_line()
