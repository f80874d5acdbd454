"""What documents of several kinds have in common: a caption with its value, who writes, goods with their sums."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.generated.country import Party, Writer
from training.generated.paper import Align, Paper, Piece
from training.generated.words import GOODS, WORDS

Row = tuple[str, str, str]
"""Caption, value, label of the value."""


class Pairs:
    """Writes captions with their values, always in the same way; the way is chosen once.

    Args:
        paper: to write on.
    """

    def __init__(self, paper: Paper) -> None:
        """Choose: in one breath, the value in a column of its own, flush right, or behind a colon that stands there."""
        self._paper, self._rng = paper, paper.rng
        self._way = paper.rng.choice(("together", "together", "column", "colon", "right"))
        self._end = paper.rng.choice((":", ":", " :", "", ".", " -"))

    def write(self, x: float, row: Row, column: float, right: float | None = None, y: float | None = None) -> None:
        """Write one at x; values of a column begin at `column`, those flush right end at `right` (pixels)."""
        caption, value, label = row
        named: Piece = (caption + self._end, "caption")
        if self._way == "together":
            self._paper.write(x, named, (value, label), y=y)
            return
        end = self._paper.write(x, (caption, "caption") if self._way == "colon" else named, y=y)
        if self._way == "right" and right is not None:
            self._paper.write(right, (value, label), align="right", y=y)
        elif self._way == "colon":
            self._paper.write(max(column, end + self._paper.size), (":", None), (value, label), y=y)
        else:
            self._paper.write(max(column, end + self._paper.size), (value, label), y=y)

    def list(self, x: float, rows: Sequence[Row], right: float | None = None, y: float | None = None) -> float:
        """Write rows below each other and return the y below (pixels); `self.y` of the paper moves where y is None."""
        paper, before = self._paper, self._paper.y
        paper.y = before if y is None else y
        column = x + max((paper.length(f"{caption}{self._end}  ") for caption, _, _ in rows), default=0.0)
        for row in rows:
            self.write(x, row, column, right)
            paper.next_line()
        below = paper.y
        if y is not None:
            paper.y = before
        return below


def seller_lines(writer: Writer, seller: Party) -> list[Piece]:
    """Return what stands below a seller's name: the address, then or before it numbers to call or to pay tax by."""
    rng = writer.rng
    address: list[Piece] = [(line, "seller_address") for line in seller.address]
    phone = rng.choice(("Tel: ", "Tel. ", "Phone ", "T ", "Telephone: ", "")) + seller.phone
    more: list[Piece] = [
        (text, label)
        for text, label, share in (
            (phone, "seller_contact", 0.7),
            (seller.email, "seller_contact", 0.2),
            (seller.web, "seller_contact", 0.25),
            (seller.tax_number, "seller_number", 0.5),
            (rng.choice(("Branch ", "Store ", "Shop no ")) + str(rng.randint(1, 900)), "other_number", 0.15),
        )
        if rng.random() < share
    ]
    rng.shuffle(more)
    cut = rng.choice((0, 0, 0, 1))
    return [*more[:cut], *address, *more[cut:]]


def write_seller(paper: Paper, x: float, seller: Party, lines: Sequence[Piece], align: Align) -> None:
    """Write a name, larger than the rest or not, and what belongs below it."""
    scale = paper.rng.choice((1.0, 1.2, 1.5, 1.9))
    room = (paper.right - paper.left) / scale * 0.95
    for part in paper.wrapped(seller.name, room):
        paper.write(x, (part, "seller_name"), align=align, scale=scale)
        paper.next_line(scale=scale)
    for text, label in lines:
        for part in paper.wrapped(text, paper.right - paper.left):
            paper.write(x, (part, label), align=align)
            paper.next_line()


@dataclass(frozen=True, slots=True)
class Item:
    """One row of goods; amounts in hundredths."""

    code: str
    name: str
    quantity: int
    price: int

    @property
    def amount(self) -> int:
        """What the row comes to."""
        return self.quantity * self.price


def make_items(writer: Writer, count: int) -> list[Item]:
    """Return so many rows of goods."""
    rng = writer.rng
    code = rng.choice(("######", "@@###", "#############", "##-###"))
    usual = rng.choice((500, 3000, 20000))
    return [
        Item(
            writer.filled(code),
            rng.choice(GOODS),
            rng.choice((1, 1, 1, 2, 3, rng.randint(1, 24))),
            rng.randint(usual // 10, usual * 2),
        )
        for _ in range(count)
    ]


def sums(writer: Writer, items: Sequence[Item]) -> tuple[list[Row], int]:
    """Return the rows below the goods up to what is due, in the order of the paper, and what is due in hundredths."""
    rng = writer.rng
    net = sum(item.amount for item in items)
    tax = round(net * writer.rate / 100)
    has_currency = rng.random() < 0.5
    added = rng.random() < 0.5
    due = net + tax if added else net
    rows: list[Row] = []

    def add(captions: Sequence[str], cents: int, label: str, share: float = 1.0) -> None:
        if rng.random() < share:
            rows.append((rng.choice(captions), writer.amount(cents, has_currency), label))

    add(("Subtotal", "Sub-total", "Net amount", "Goods", "Merchandise", "Net", "Total net"), net, "sum_net", 0.7)
    add(("Discount", "You saved", "Reduction", "Voucher"), -rng.randint(50, 500), "sum_other", 0.15)
    add(("Service", "Delivery", "Shipping", "Tip", "Deposit"), rng.randint(100, 900), "sum_other", 0.15)
    rate = f"{writer.rate:g}%"
    taxes = (
        f"{writer.tax} {rate}",
        writer.tax,
        f"of which {writer.tax} {rate}",
        f"{writer.tax} amount",
        f"{rate} {writer.tax}",
    )
    add(taxes, tax, "sum_tax", 0.75 if added else 0.35)
    add(("Rounded by", "Rounding off", "Rounded to coins"), rng.randint(-4, 4), "sum_other", 0.12)
    add(
        (
            "Total", "Total", "Total", "Total due", "Amount due", "Balance due", "Grand total", "To pay",
            "Amount payable",
            f"Total {writer.currency}", "Total to pay", "Sum", f"Payable with {writer.tax}", "Bill total", "Balance",
        ),
        due,
        "sum_due",
    )  # fmt: skip
    if not added:
        add(taxes, round(net - net / (1 + writer.rate / 100)), "sum_tax", 0.3)
    return rows, due


def sentence(rng: random.Random, words: int) -> str:
    """Return a sentence that says nothing."""
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + rng.choice((".", ".", "", ":"))
