"""The list of layouts: one made-up vendor each, with its own places, wording, font, dates and amounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demo import unusual, usual
from demo.contents import Bill, Money
from demo.sheet import Colour, Sheet

DOLLARS, POUNDS = Money("$", "", ",", "."), Money("£", "", ",", ".")
EUROS, EUROS_LAST = Money("EUR ", "", ",", "."), Money("", " €", ".", ",")
FRANCS, PLAIN = Money("CHF ", "", "'", "."), Money("", "", ",", ".")
DOLLARS_LAST, CROWNS = Money("", " USD", ",", "."), Money("", " SEK", " ", ",")


@dataclass(frozen=True, slots=True)
class Layout:
    """How one vendor's invoices look.

    Args:
        draw: puts a bill on a sheet.
        family: font family, a key of `demo.sheet.FAMILIES`.
        date_format: for `strftime`.
        money: how amounts are written.
        accent: colour of headings, bars and rules.
        size: body text in pixels.
    """

    draw: Callable[[Sheet, Bill], None]
    family: str
    date_format: str
    money: Money
    accent: Colour = (30, 30, 35)
    size: int = 21


ALL = (
    Layout(usual.classic, "Liberation Sans", "%d %B %Y", DOLLARS, (20, 60, 120)),
    Layout(usual.banner, "DejaVu Sans", "%m/%d/%Y", EUROS, (0, 110, 100), 19),
    Layout(usual.centred, "Liberation Serif", "%B %d, %Y", POUNDS, (90, 20, 30), 23),
    Layout(usual.letter, "FreeSans", "%d.%m.%Y", EUROS_LAST, (180, 90, 0)),
    Layout(usual.form, "DejaVu Sans", "%d-%b-%Y", PLAIN, (60, 60, 60), 18),
    Layout(unusual.sidebar, "Liberation Sans", "%d %b %Y", DOLLARS_LAST, (80, 40, 130), 20),
    Layout(unusual.receipt, "Liberation Mono", "%Y-%m-%d", DOLLARS, (30, 30, 35)),
    Layout(unusual.mirrored, "FreeSerif", "%Y-%m-%d", CROWNS, (0, 80, 140), 23),
    Layout(usual.ledger, "DejaVu Serif", "%d/%m/%Y", POUNDS, (120, 30, 90), 19),
    Layout(usual.twin, "FreeSans", "%b %d, %Y", EUROS, (20, 100, 40), 22),
    Layout(usual.airy, "DejaVu Sans", "%d %B %Y", FRANCS, (200, 60, 40), 19),
    Layout(unusual.footed, "Liberation Serif", "%d %B %Y", EUROS, (40, 40, 90), 23),
    Layout(unusual.rightward, "Liberation Sans", "%d/%m/%y", POUNDS, (150, 110, 20)),
    Layout(unusual.upside, "DejaVu Sans Mono", "%d.%m.%Y", FRANCS, (50, 80, 90), 18),
)
