"""What stands on a made-up invoice: parties, dates, numbers, items, amounts."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass

from demo.names import (
    COMPANY_FIRST,
    COMPANY_FORM,
    COMPANY_SECOND,
    FIRST_NAMES,
    LAST_NAMES,
    PRODUCTS,
    STREET_KINDS,
    STREETS,
    TOWNS,
)


@dataclass(frozen=True, slots=True)
class Money:
    """How an amount is written, for example `Money("$", "", ",", ".")` for $1,234.50."""

    prefix: str
    suffix: str
    thousands: str
    decimal: str

    def write(self, cents: int) -> str:
        """Write an amount given in hundredths of the currency unit."""
        whole, rest = divmod(cents, 100)
        return f"{self.prefix}{whole:,}".replace(",", self.thousands) + f"{self.decimal}{rest:02d}{self.suffix}"

    def bare(self, cents: int) -> str:
        """Write the amount without its currency, as item tables do."""
        return Money("", "", self.thousands, self.decimal).write(cents)


@dataclass(frozen=True, slots=True)
class Party:
    """A business or a person: a name on one line and an address below it."""

    name: str
    lines: tuple[str, ...]
    phone: str
    email: str
    tax_id: str


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the table, every cell already written out."""

    number: str
    description: str
    quantity: str
    price: str
    amount: str


@dataclass(frozen=True, slots=True)
class Bill:
    """Everything an invoice says. `values` maps a key (`number`, `date`, `order` ...) to its text."""

    vendor: Party
    customer: Party
    ship_to: Party
    items: tuple[Item, ...]
    values: dict[str, str]


def make_party(rng: random.Random, person: bool = False) -> Party:
    """Invent a business, or a person."""
    if person:
        name = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
    elif rng.random() < 0.3:
        name = f"{rng.choice(LAST_NAMES)} & {rng.choice(LAST_NAMES)} {rng.choice(COMPANY_SECOND)}"
    else:
        name = f"{rng.choice(COMPANY_FIRST)} {rng.choice(COMPANY_SECOND)} {rng.choice(COMPANY_FORM)}"
    street = f"{rng.randint(1, 240)} {rng.choice(STREETS)} {rng.choice(STREET_KINDS)}"
    town = f"{rng.choice(TOWNS)} {rng.randint(10000, 99999)}"
    host = "".join(c for c in name.lower().split()[0] if c.isalpha())
    return Party(
        name=name,
        lines=(street, town) if rng.random() < 0.6 else (f"Unit {rng.randint(1, 40)}", street, town),
        phone=f"+{rng.randint(1, 49)} {rng.randint(100, 999)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}",
        email=f"{rng.choice(('office', 'accounts', 'hello', 'billing'))}@{host}.example",
        tax_id=f"{rng.choice(('GB', 'DE', 'US', 'NL'))}{rng.randint(100000000, 999999999)}",
    )


def document_number(rng: random.Random, year: int) -> str:
    """Invent a document number; invoices and orders draw from the same shapes, so looks do not tell them apart."""
    shape = rng.randrange(6)
    serial = rng.randint(100, 99999)
    return (
        f"INV-{year}-{serial:05d}",
        f"{serial:05d}",
        f"{year}/{serial:04d}",
        f"{rng.choice('ABCRSX')}{rng.randint(10, 99)}-{serial:05d}",
        f"{year % 100}{rng.randint(1, 12):02d}{serial:05d}",
        f"{rng.choice(('SO', 'PO', 'BL', 'RE', 'NR'))}{serial:06d}",
    )[shape]


def make_bill(rng: random.Random, date_format: str, money: Money) -> Bill:
    """Invent one invoice.

    Args:
        rng: the only source of chance.
        date_format: for `strftime`.
        money: how amounts are written.
    """
    items, subtotal = make_items(rng, money)
    tax_percent = rng.choice((5, 7, 8, 10, 19, 20, 21))
    shipping = rng.choice((490, 950, 1200, 2500))
    tax = round(subtotal * tax_percent / 100)
    values = make_numbers(rng, date_format) | {
        "subtotal": money.write(subtotal),
        "tax": money.write(tax),
        "tax_percent": f"{tax_percent}%",
        "shipping": money.write(shipping),
        "total": money.write(subtotal + tax + shipping),
        "iban": " ".join(f"{rng.randint(0, 9999):04d}" for _ in range(4)),
    }
    vendor, ship_to = make_party(rng), make_party(rng)
    return Bill(vendor, make_party(rng, person=rng.random() < 0.25), ship_to, items, values)


def make_items(rng: random.Random, money: Money) -> tuple[tuple[Item, ...], int]:
    """Invent the rows of the table, and their sum in cents."""
    items, subtotal = [], 0
    for row, description in enumerate(rng.sample(PRODUCTS, rng.randint(2, 6)), 1):
        quantity, price = rng.randint(1, 20), rng.randint(199, 45000)
        subtotal += quantity * price
        items.append(Item(str(row), description, str(quantity), money.bare(price), money.bare(quantity * price)))
    return tuple(items), subtotal


def make_numbers(rng: random.Random, date_format: str) -> dict[str, str]:
    """Invent numbers and dates that belong together: ordered, then delivered, then invoiced, then due."""
    date = dt.date(2023, 1, 1) + dt.timedelta(days=rng.randrange(1200))
    days = rng.choice((7, 10, 14, 21, 30, 45))

    def write(delta: int) -> str:
        return (date + dt.timedelta(days=delta)).strftime(date_format)

    return {
        "number": document_number(rng, date.year),
        "order": document_number(rng, date.year),
        "po": document_number(rng, date.year),
        "customer_no": document_number(rng, date.year),
        "date": write(0),
        "due": write(days),
        "order_date": write(-rng.randint(8, 40)),
        "delivery": write(-rng.randint(1, 7)),
        "terms": f"{days} days net",
        "contact": f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}",
    }
