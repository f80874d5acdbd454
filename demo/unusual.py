"""Layouts out of the usual order: numbers in a side column, the vendor at the foot, totals above the items."""

from __future__ import annotations

from demo.blocks import Wording, above, bank, beside, one_line, party, running, stacked, table
from demo.contents import Bill
from demo.sheet import HEIGHT, WIDTH, Sheet

LEFT, RIGHT, MIDDLE, FOOT = 90, WIDTH - 90, WIDTH // 2, HEIGHT - 170


def sidebar(sheet: Sheet, bill: Bill) -> None:
    """A tinted column on the left holds the numbers, stacked; the rest stands on the right."""
    words: Wording = {
        "number": "No.",
        "date": "Issued",
        "due": "Expires",
        "customer_no": "Client no.",
        "terms": "Terms",
    }
    sums: Wording = {"subtotal": "Items", "tax": "Tax %", "shipping": "Delivery", "total": "To pay"}
    sheet.fill(0, 0, 330, HEIGHT, sheet.tint(0.12))
    sheet.text(60, 90, "Invoice", size=44, bold=True, colour=sheet.accent)
    stacked(sheet, bill, words, ("customer_no", "number", "date", "terms", "due"), 60, 200, "left")
    party(sheet, bill.vendor, 390, 95, label="vendor", size=30, extras=(bill.vendor.phone,), width=700)
    party(sheet, bill.customer, 390, 330, label="customer", heading="Prepared for", width=700)
    heads = ("Service", "Hours", "Rate", "Price")
    y = table(sheet, bill.items, 570, left=390, right=RIGHT + 20, headings=heads, style="plain")
    sheet.line(390, y - 6, RIGHT + 20, y - 6)
    beside(
        sheet,
        bill,
        sums,
        ("subtotal", "shipping", "tax", "total"),
        y + 10,
        label_x=780,
        value_x=RIGHT + 8,
        align="right",
        strong="total",
    )
    bank(sheet, bill, 390, FOOT)


def receipt(sheet: Sheet, bill: Bill) -> None:
    """Typewriter print with everything on the left; vendor at the foot."""
    words: Wording = {
        "order_date": "ORDER DATE",
        "order": "ORDER",
        "date": "INVOICE DATE",
        "number": "INVOICE",
        "due": "NET DUE",
    }
    sums: Wording = {"subtotal": "SUB-TOTAL", "tax": "VAT %", "shipping": "POSTAGE", "total": "BALANCE"}
    sheet.text(LEFT, 90, "I N V O I C E", size=34, bold=True)
    sheet.text(LEFT, 160, "SOLD TO:")
    party(sheet, bill.customer, LEFT + 140, 160, label="customer")
    y = beside(sheet, bill, words, tuple(words), 340, label_x=LEFT, value_x=LEFT + 260)
    heads = ("ARTICLE", "QTY", "EACH", "TOTAL")
    y = table(sheet, bill.items, y + 40, left=LEFT, right=RIGHT, headings=heads, style="plain")
    sheet.line(LEFT, y - 4, RIGHT, y - 4)
    keys = ("subtotal", "tax", "shipping", "total")
    y = beside(sheet, bill, sums, keys, y + 16, label_x=LEFT, value_x=LEFT + 520, align="right")
    party(sheet, bill.vendor, LEFT, FOOT - 80, heading="REMIT TO", label="vendor", extras=(bill.vendor.phone,))


def mirrored(sheet: Sheet, bill: Bill) -> None:
    """Customer top right, vendor below on the left, totals in a row above the table."""
    words: Wording = {"due": "Deadline", "number": "Faktura no.", "order": "Order", "date": "Day of invoice"}
    sums: Wording = {"total": "Total payable", "subtotal": "Total net", "tax": "Total VAT %"}
    sheet.text(LEFT, 90, "Faktura", size=46, bold=True, colour=sheet.accent)
    party(sheet, bill.customer, 690, 90, label="customer", heading="Recipient")
    party(sheet, bill.vendor, LEFT, 190, label="vendor", heading="From", extras=(bill.vendor.tax_id,))
    y = beside(sheet, bill, words, ("due", "date", "order", "number"), 300, label_x=690, value_x=890)
    above(sheet, bill, sums, ("subtotal", "tax", "total"), LEFT, 490, width=353, boxed=True, shaded=True)
    heads = ("Article", "Count", "Each", "Sum")
    y = table(sheet, bill.items, 610, left=LEFT, right=RIGHT, headings=heads, style="barred")
    sheet.text(LEFT, y + 20, f"Freight of {bill.values['shipping']} is part of the total payable.")
    bank(sheet, bill, RIGHT, FOOT, align="right")


def footed(sheet: Sheet, bill: Bill) -> None:
    """Customer first, sentence-like numbers, vendor in a bar at the foot of the page."""
    words: Wording = {"date": "On", "number": "we charge you under reference", "order": "for order"}
    sums: Wording = {
        "subtotal": "Value of goods",
        "tax": "Value added tax %",
        "shipping": "Transport",
        "total": "Final amount",
        "due": "Settle by",
    }
    party(sheet, bill.customer, LEFT, 110, label="customer", heading="For")
    sheet.text(LEFT, 330, "Statement of charges", size=36, bold=True)
    running(sheet, bill, words, ("date", "number", "order"), LEFT, 400, gap=12)
    heads = ("Description", "Qty", "Unit", "Amount")
    y = table(sheet, bill.items, 480, left=LEFT, right=RIGHT, headings=heads, style="striped")
    keys = ("subtotal", "shipping", "tax", "total", "due")
    beside(sheet, bill, sums, keys, y + 20, label_x=LEFT + 300, value_x=RIGHT - 200, align="right", strong="total")
    sheet.fill(0, FOOT - 40, WIDTH, FOOT - 34)
    one_line(sheet, bill.vendor, MIDDLE, FOOT - 10, label="vendor", align="centre", size=sheet.size)
    bank(sheet, bill, MIDDLE, FOOT + 30, align="centre")


def rightward(sheet: Sheet, bill: Bill) -> None:
    """Everything flush right but the items; numbers stacked under the vendor."""
    words: Wording = {"number": "Reference", "date": "Tax point", "delivery": "Despatched", "due": "Pay before"}
    sums: Wording = {"subtotal": "Total excl.", "tax": "VAT %", "shipping": "Carriage", "total": "Total incl."}
    party(sheet, bill.vendor, RIGHT, 85, label="vendor", size=30, align="right", extras=(bill.vendor.phone,))
    stacked(sheet, bill, words, ("delivery", "number", "date", "due"), RIGHT, 330, "right")
    sheet.text(LEFT, 85, "invoice", size=60, colour=sheet.accent)
    party(sheet, bill.customer, LEFT, 330, label="customer", heading="Account of")
    heads = ("Line", "Detail", "Qty", "Price", "Net")
    y = table(sheet, bill.items, 640, left=LEFT, right=RIGHT, headings=heads, style="ruled")
    keys = ("subtotal", "shipping", "tax", "total")
    beside(sheet, bill, sums, keys, y, label_x=700, value_x=RIGHT - 12, align="right")
    bank(sheet, bill, LEFT, y + 6)


def upside(sheet: Sheet, bill: Bill) -> None:
    """Items on top of the page, parties and numbers below the totals."""
    words: Wording = {"order": "SO number", "number": "Voucher", "due": "Final date", "date": "Posted"}
    sums: Wording = {
        "total": "Sum total",
        "tax": "of which tax",
        "subtotal": "of which net",
        "shipping": "of which freight",
    }
    sheet.text(LEFT, 80, "Charge sheet", size=38, bold=True, colour=sheet.accent)
    heads = ("Charge", "No.", "Each", "Amount")
    y = table(sheet, bill.items, 170, left=LEFT, right=RIGHT, headings=heads, style="boxed")
    keys = ("total", "subtotal", "shipping", "tax")
    beside(sheet, bill, sums, keys, y + 10, label_x=760, value_x=RIGHT - 12, align="right", strong="total")
    y = max(y + 200, 760)
    y = above(sheet, bill, words, ("order", "due", "number", "date"), LEFT, y, width=265, boxed=True, shaded=True)
    party(sheet, bill.customer, LEFT, y + 40, label="customer", heading="Debtor")
    party(sheet, bill.vendor, 690, y + 40, label="vendor", heading="Creditor", extras=(bill.vendor.email,))
    bank(sheet, bill, LEFT, FOOT)
