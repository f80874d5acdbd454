"""Who writes a document: a country's money, dates, addresses, telephone and tax numbers, and parties made up there."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass

from training.generated.words import FAMILY_NAMES, GIVEN_NAMES, NAME_PARTS, STREETS, TOWNS, TRADES


@dataclass(frozen=True, slots=True)
class Country:
    """How things are written somewhere.

    Args:
        currencies: signs and codes that an amount may have before it.
        is_before: whether they stand before the amount.
        thousands: between groups of three digits.
        decimal: before the hundredths; empty where there are none.
        dates: for `strftime`.
        town: line of an address, with `town`, `#` for a digit and `@` for a letter.
        street: likewise, with `street` and `no`.
        ways: what a street is called.
        phone: `#` for a digit.
        tax: names of the tax on sales.
        tax_numbers: captions of a business's number.
        tax_number: `#` for a digit, `@` for a letter.
        rates: of that tax, percent.
        forms: of a business, behind its name.
    """

    currencies: tuple[str, ...]
    is_before: bool
    thousands: str
    decimal: str
    dates: tuple[str, ...]
    town: str
    street: str
    ways: tuple[str, ...]
    phone: str
    tax: tuple[str, ...]
    tax_numbers: tuple[str, ...]
    tax_number: str
    rates: tuple[float, ...]
    forms: tuple[str, ...]


_ENGLISH_WAYS = ("Street", "Road", "Avenue", "Lane", "Drive", "St", "Rd", "Ave", "Boulevard", "Way", "Square")
_DAY_FIRST = ("%d/%m/%Y", "%d-%m-%Y", "%d %b %Y", "%d/%m/%y", "%d %B %Y", "%d-%b-%y", "%d-%b-%Y", "%d.%m.%Y")
COUNTRIES = (
    Country(
        ("$", "USD", "US$"), True, ",", ".", ("%m/%d/%Y", "%m/%d/%y", "%B %d, %Y", "%b %d, %Y", "%m-%d-%Y"),
        "town, @@ #####", "no street", _ENGLISH_WAYS, "(###) ###-####", ("Sales tax", "Tax", "State tax"),
        ("Tax ID", "EIN"), "##-#######", (5, 6.25, 7, 8.875), ("Inc.", "LLC", "Corp.", "& Co."),
    ),
    Country(
        ("£", "GBP"), True, ",", ".", _DAY_FIRST, "town @@# #@@", "no street", _ENGLISH_WAYS, "0#### ######",
        ("VAT",), ("VAT No", "VAT Reg. No", "Company no"), "GB #########", (5, 20), ("Ltd", "plc", "& Sons", "LLP"),
    ),
    Country(
        ("€", "EUR"), False, ".", ",", ("%d.%m.%Y", "%d.%m.%y", "%d. %B %Y"), "##### town", "street no",
        ("straße", "Weg", "Platz", "Allee", "Gasse"), "0### / ######", ("MwSt.", "USt", "VAT"),
        ("USt-IdNr.", "Steuer-Nr."), "DE#########", (7, 19), ("GmbH", "AG", "KG", "e.K."),
    ),
    Country(
        ("€", "EUR"), False, " ", ",", ("%d/%m/%Y", "%d/%m/%y", "%d %B %Y"), "##### TOWN", "no, way street",
        ("rue", "avenue", "place", "boulevard"), "0# ## ## ## ##", ("TVA", "VAT"), ("SIRET", "N° TVA"),
        "FR##########", (5.5, 10, 20), ("SARL", "SAS", "S.A."),
    ),
    Country(
        ("Fr.", "CHF"), True, "'", ".", ("%d.%m.%Y", "%d.%m.%y"), "#### town", "street no", ("strasse", "Weg", "Platz"),
        "0## ### ## ##", ("MWST", "VAT"), ("UID",), "CHE-###.###.###", (2.6, 8.1), ("AG", "GmbH", "SA"),
    ),
    Country(
        ("kr", "SEK", "NOK"), False, " ", ",", ("%Y-%m-%d", "%d.%m.%Y"), "### ## town", "street no",
        ("gatan", "vägen", "plats"), "0##-### ## ##", ("Moms", "VAT"), ("Org.nr",), "######-####", (6, 12, 25),
        ("AB", "HB", "AS"),
    ),
    Country(
        ("$", "AUD", "A$"), True, ",", ".", _DAY_FIRST, "town @@@ ####", "no street", _ENGLISH_WAYS, "(0#) #### ####",
        ("GST",), ("ABN", "ACN"), "## ### ### ###", (10,), ("Pty Ltd", "Partners", "Group"),
    ),
    Country(
        ("₹", "Rs.", "INR"), True, ",", ".", _DAY_FIRST, "town - ######", "no, street",
        (*_ENGLISH_WAYS, "Marg", "Nagar"),
        "+91 ##### #####", ("CGST", "SGST", "IGST"), ("GSTIN", "PAN"), "##@@@@@####@#@#", (5, 12, 18),
        ("Pvt. Ltd.", "Enterprises", "Traders"),
    ),
    Country(
        ("¥", "JPY"), True, ",", "", ("%Y/%m/%d", "%Y-%m-%d"), "town ###-####", "no street", ("Dori", "cho", "machi"),
        "0#-####-####", ("Consumption tax", "Tax"), ("Reg. no",), "T#############", (8, 10), ("K.K.", "Co., Ltd."),
    ),
    Country(
        ("R", "ZAR"), True, " ", ".", ("%Y/%m/%d", "%d/%m/%Y", "%d %b %Y"), "town, ####", "no street", _ENGLISH_WAYS,
        "0## ### ####", ("VAT",), ("VAT Reg", "Reg. No"), "4#########", (15,), ("(Pty) Ltd", "CC"),
    ),
    Country(
        ("R$", "BRL"), True, ".", ",", ("%d/%m/%Y", "%d/%m/%y"), "town - @@ #####-###", "way street, no",
        ("Rua", "Avenida", "Travessa"), "(##) ####-####", ("ICMS", "ISS"), ("CNPJ", "IE"), "##.###.###/####-##",
        (7, 12, 18), ("Ltda", "S.A.", "ME"),
    ),
    Country(
        ("$", "CAD", "C$"), True, ",", ".", ("%Y-%m-%d", "%d/%m/%Y", "%b %d, %Y"), "town, @@ @#@ #@#", "no street",
        _ENGLISH_WAYS, "###-###-####", ("GST", "HST", "PST"), ("GST/HST no", "BN"), "######### RT####", (5, 13),
        ("Inc.", "Ltd.", "Corp."),
    ),
    Country(
        ("AED", "Dhs"), True, ",", ".", _DAY_FIRST, "town, P.O. Box #####", "no street", _ENGLISH_WAYS,
        "+971 # ### ####",
        ("VAT",), ("TRN",), "100############", (5,), ("LLC", "FZE", "Trading LLC"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Party:
    """A business or a person; every line as it is written."""

    name: str
    address: tuple[str, ...]
    phone: str
    email: str
    web: str
    tax_number: str


class Writer:
    """One author: a country, a format of dates, a way to write amounts, chosen once.

    Args:
        rng: all chance comes from it.
    """

    def __init__(self, rng: random.Random) -> None:
        """Choose."""
        self.rng = rng
        self.country = rng.choice(COUNTRIES)
        self.currency = rng.choice(self.country.currencies)
        self.tax = rng.choice(self.country.tax)
        self.rate = rng.choice(self.country.rates)
        self._date_format = rng.choice(self.country.dates)
        self._time_format = rng.choice(("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p"))

    def filled(self, pattern: str) -> str:
        """Return a pattern with digits for # and capitals for @."""
        rng = self.rng
        return "".join(
            rng.choice("0123456789") if char == "#" else rng.choice("ABCDEFGHKLMNPRSTVWX") if char == "@" else char
            for char in pattern
        )

    def day(self) -> dt.datetime:
        """Return some moment in business hours of some twenty years."""
        return dt.datetime(2005, 1, 1, 8) + dt.timedelta(
            days=self.rng.randrange(7600), seconds=self.rng.randrange(13 * 3600)
        )

    def date(self, day: dt.datetime) -> str:
        """Return a date as this author writes it."""
        return day.strftime(self._date_format)

    def time(self, day: dt.datetime) -> str:
        """Return a time likewise."""
        return day.strftime(self._time_format)

    def amount(self, cents: int, currency: bool = False) -> str:
        """Return hundredths as an amount, with its currency where that is wanted."""
        whole, rest = divmod(abs(cents), 100 if self.country.decimal else 1)
        text = f"{whole:,}".replace(",", self.country.thousands)
        text = ("-" if cents < 0 else "") + text + (f"{self.country.decimal}{rest:02d}" if self.country.decimal else "")
        if not currency:
            return text
        space = "" if len(self.currency) == 1 and self.country.is_before else " "
        return f"{self.currency}{space}{text}" if self.country.is_before else f"{text}{space}{self.currency}"

    def person(self) -> str:
        """Return somebody's name."""
        rng = self.rng
        given, family = rng.choice(GIVEN_NAMES), rng.choice(FAMILY_NAMES)
        return rng.choice((f"{given} {family}", f"{given} {family}", f"{given[0]}. {family}", f"{family}, {given}"))

    def business(self) -> str:
        """Return the name of a business."""
        rng, form = self.rng, self.rng.choice(self.country.forms)
        first = rng.choice((rng.choice(NAME_PARTS), rng.choice(NAME_PARTS), rng.choice(FAMILY_NAMES)))
        if rng.random() < 0.2:
            first += rng.choice((" & ", " ")) + rng.choice(FAMILY_NAMES if rng.random() < 0.5 else NAME_PARTS)
        name = f"{first} {rng.choice(TRADES)}" if rng.random() < 0.8 else first
        return f"{name} {form}" if rng.random() < 0.6 else name

    def address(self) -> tuple[str, ...]:
        """Return the lines of an address: two or three."""
        rng, country = self.rng, self.country
        way = rng.choice(country.ways)
        name = rng.choice(STREETS)
        if "way" in country.street:
            name = f"{way} {name}" if rng.random() < 0.9 else f"{way} de {name}"
        else:
            name += way if way[0].islower() else f" {way}"
        number = str(rng.randint(1, 400)) + rng.choice(("", "", "", "a", "-" + str(rng.randint(2, 9))))
        street = country.street.replace("way ", "").replace("street", name).replace("no", number, 1)
        if country.street.startswith("no"):  # the name may hold the letters of "no"
            street = f"{number}{',' if ',' in country.street else ''} {name}"
        town = rng.choice(TOWNS)
        last = self.filled(country.town.replace("town", town).replace("TOWN", town.upper()))
        first: tuple[str, ...] = ()
        if rng.random() < 0.3:
            unit = rng.choice(("Unit", "Suite", "Level", "Floor", "Shop", "Block", "Apt"))
            first = (f"{unit} {rng.randint(1, 60)}" + rng.choice(("", f", {rng.choice(NAME_PARTS)} House")),)
        if rng.random() < 0.2:
            return (*first, f"{street}, {last}")
        return (*first, street, last)

    def party(self, is_person: bool = False) -> Party:
        """Return somebody with all that belongs to them."""
        name = self.person() if is_person else self.business()
        host = "".join(char for char in name.lower().split()[0] if char.isalnum() and char.isascii()) or "mail"
        rng = self.rng
        box = rng.choice(("info", "office", "hello", "sales", "service", "contact"))
        caption = rng.choice(self.country.tax_numbers)
        return Party(
            name,
            self.address(),
            self.filled(self.country.phone),
            f"{box}@{host}.example",
            f"www.{host}.example",
            f"{caption}{rng.choice((' ', ': ', ' : '))}{self.filled(self.country.tax_number)}",
        )

    def number(self) -> str:
        """Return the number of a document."""
        pattern = self.rng.choice(
            ("######", "@-#####", "@@######", "####/##", "##-####", "@@@-####-##", "########", "#####")
        )
        return self.filled(pattern)
