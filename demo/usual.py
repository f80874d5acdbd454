"""Layouts in the usual order: who writes on top, then to whom, then the numbers, the items and the totals."""

from __future__ import annotations

from demo.blocks import WHITE, Wording, above, bank, beside, one_line, party, running, stacked, table
from demo.contents import Bill
from demo.sheet import HEIGHT, WIDTH, Sheet

LEFT, RIGHT, MIDDLE, FOOT = 90, WIDTH - 90, WIDTH // 2, HEIGHT - 170


def classic(sheet: Sheet, bill: Bill) -> None:
    """Vendor top left, numbers top right beside their wording, totals bottom right."""
    words: Wording = {"number": "Invoice No:", "date": "Date:", "due": "Due date:", "order": "Order No:"}
    sums: Wording = {"subtotal": "Subtotal", "tax": "VAT %", "shipping": "Shipping", "total": "Total"}
    party(sheet, bill.vendor, LEFT, 90, label="vendor", size=32, extras=(bill.vendor.phone,))
    sheet.text(RIGHT, 90, "INVOICE", size=48, bold=True, align="right", colour=sheet.accent)
    beside(sheet, bill, words, ("number", "order", "date", "due"), 190, label_x=760, value_x=RIGHT, align="right")
    party(sheet, bill.customer, LEFT, 380, label="customer", heading="Bill to")
    party(sheet, bill.ship_to, 700, 380, heading="Ship to")
    heads = ("Description", "Qty", "Unit price", "Amount")
    y = table(sheet, bill.items, 620, left=LEFT, right=RIGHT, headings=heads, style="ruled")
    beside(
        sheet,
        bill,
        sums,
        ("subtotal", "shipping", "tax", "total"),
        y,
        label_x=760,
        value_x=RIGHT - 12,
        align="right",
        strong="total",
    )
    bank(sheet, bill, LEFT, FOOT)


def banner(sheet: Sheet, bill: Bill) -> None:
    """A coloured banner, a row of shaded boxes with the wording above each value."""
    words: Wording = {"po": "PO number", "number": "Bill #", "date": "Bill date", "due": "Pay by"}
    sums: Wording = {"subtotal": "Net amount", "tax": "Sales tax %", "shipping": "Courier", "total": "Amount due"}
    sheet.fill(0, 0, WIDTH, 130)
    sheet.text(LEFT, 42, "BILL", size=50, bold=True, colour=WHITE)
    party(sheet, bill.vendor, RIGHT, 165, label="vendor", size=28, align="right", extras=(bill.vendor.email,))
    party(sheet, bill.customer, LEFT, 165, label="customer", heading="Customer")
    above(sheet, bill, words, ("po", "number", "date", "due"), LEFT, 400, width=265, shaded=True)
    heads = ("Item", "Quantity", "Rate", "Line total")
    y = table(sheet, bill.items, 520, left=LEFT, right=RIGHT, headings=heads, style="striped")
    beside(
        sheet,
        bill,
        sums,
        ("subtotal", "tax", "shipping", "total"),
        y + 10,
        label_x=700,
        value_x=RIGHT - 12,
        align="right",
        strong="total",
    )
    bank(sheet, bill, MIDDLE, FOOT, "Account", "centre")


def centred(sheet: Sheet, bill: Bill) -> None:
    """Letterhead in the centre, numbers on one running line, totals on the left."""
    words: Wording = {"number": "Invoice", "date": "dated", "delivery": "delivered"}
    sums: Wording = {
        "subtotal": "Goods",
        "tax": "Tax",
        "shipping": "Carriage",
        "total": "Invoice total",
        "due": "Due by",
    }
    party(sheet, bill.vendor, MIDDLE, 80, label="vendor", size=38, align="centre", width=1000)
    sheet.line(LEFT, 280, RIGHT, 280, width=3)
    running(sheet, bill, words, ("number", "date", "delivery"), LEFT, 305)
    party(sheet, bill.customer, LEFT, 400, label="customer", heading="To")
    heads = ("No", "Particulars", "Qty", "Price", "Value")
    y = table(sheet, bill.items, 620, left=LEFT, right=RIGHT, headings=heads, style="plain")
    sheet.line(LEFT, y - 8, RIGHT, y - 8, width=3)
    keys = ("subtotal", "shipping", "tax", "total", "due")
    beside(sheet, bill, sums, keys, y + 20, label_x=LEFT, value_x=LEFT + 450, align="right")
    sheet.text(MIDDLE, FOOT + 20, f"Thank you for your order {bill.values['order']}", align="centre")
    sheet.text(MIDDLE, FOOT + 60, f"{bill.vendor.phone} {bill.vendor.email}", align="centre")


def letter(sheet: Sheet, bill: Bill) -> None:
    """A business letter in the continental way: sender line, address window, block of numbers on the right."""
    words: Wording = {
        "customer_no": "Customer no.", "number": "Rechnung no.", "order": "Order ref.", "delivery": "Date of supply",
        "date": "Invoice date",
    }  # fmt: skip
    sums: Wording = {"subtotal": "Sum net", "tax": "plus % VAT", "shipping": "Freight", "total": "Sum gross"}
    sheet.disc(RIGHT - 50, 110, 46)
    one_line(sheet, bill.vendor, LEFT, 250, label="vendor")
    party(sheet, bill.customer, LEFT, 300, label="customer")
    keys = ("customer_no", "number", "order", "delivery", "date")
    beside(sheet, bill, words, keys, 300, label_x=740, value_x=935)
    sheet.text(LEFT, 560, "Rechnung / Invoice", size=34, bold=True)
    sheet.text(LEFT, 620, "We thank you for your order and charge as follows:")
    heads = ("Pos", "Designation", "Amount", "Unit", "Sum")
    y = table(sheet, bill.items, 680, left=LEFT, right=RIGHT, headings=heads, style="ruled")
    beside(
        sheet,
        bill,
        sums,
        ("subtotal", "shipping", "tax", "total"),
        y,
        label_x=760,
        value_x=RIGHT - 12,
        align="right",
        strong="total",
    )
    left = sheet.text(LEFT, y + 220, f"Payable within {bill.values['terms']}, at the latest on").right + 9
    sheet.text(left, y + 220, bill.values["due"], label="due_date")
    bank(sheet, bill, LEFT, FOOT)


def form(sheet: Sheet, bill: Bill) -> None:
    """A printed form: everything in boxes, wording small and above."""
    first: Wording = {
        "number": "Document number",
        "date": "Date of issue",
        "po": "Your reference",
        "due": "Payment due",
    }
    sums: Wording = {"subtotal": "Taxable amount", "tax": "Tax %", "shipping": "Freight", "total": "Grand total"}
    sheet.text(MIDDLE, 80, "TAX INVOICE", size=38, bold=True, align="centre")
    sheet.frame(LEFT, 150, MIDDLE, 350)
    sheet.frame(MIDDLE, 150, RIGHT, 350)
    party(sheet, bill.vendor, LEFT + 14, 162, label="vendor", heading="Supplier", width=480)
    party(sheet, bill.customer, MIDDLE + 14, 162, label="customer", heading="Buyer", width=480)
    y = above(sheet, bill, first, ("po", "date", "number", "due"), LEFT, 365, width=265, boxed=True)
    heads = ("Goods and services", "Qty", "Rate", "Amount")
    y = table(sheet, bill.items, y + 20, left=LEFT, right=RIGHT, headings=heads, style="boxed")
    y = above(sheet, bill, sums, ("subtotal", "tax", "shipping", "total"), LEFT, y, width=265, boxed=True)
    bank(sheet, bill, LEFT, y + 40, "A/C")
    sheet.text(RIGHT, FOOT + 40, "Authorised signature", align="right")
    sheet.line(RIGHT - 300, FOOT + 34, RIGHT, FOOT + 34)


def ledger(sheet: Sheet, bill: Bill) -> None:
    """Three columns under the letterhead: customer, delivery address, numbers stacked flush right."""
    words: Wording = {"number": "Inv. #", "date": "Inv. date", "due": "Due", "po": "P.O. #"}
    sums: Wording = {"subtotal": "Sub total", "tax": "GST %", "shipping": "Handling", "total": "Total due"}
    party(sheet, bill.vendor, LEFT + 130, 85, label="vendor", size=34, extras=(bill.vendor.tax_id,))
    sheet.fill(LEFT, 90, LEFT + 100, 190)
    sheet.line(LEFT, 290, RIGHT, 290, width=4)
    party(sheet, bill.customer, LEFT, 320, label="customer", heading="Invoiced to", width=360)
    party(sheet, bill.ship_to, 480, 320, heading="Delivered to", width=360)
    stacked(sheet, bill, words, ("po", "number", "date", "due"), RIGHT, 320, "right")
    heads = ("#", "Product", "Units", "Per unit", "Extended")
    y = table(sheet, bill.items, 620, left=LEFT, right=RIGHT, headings=heads, style="barred")
    keys = ("subtotal", "tax", "shipping", "total")
    beside(
        sheet,
        bill,
        sums,
        keys,
        y,
        label_x=760,
        value_x=RIGHT - 12,
        align="right",
        strong="total",
    )
    bank(sheet, bill, LEFT, FOOT)


def twin(sheet: Sheet, bill: Bill) -> None:
    """Two blocks of numbers next to each other, the order on the left, the invoice on the right."""
    order: Wording = {"order": "Number", "order_date": "Date", "contact": "Contact"}
    words: Wording = {"number": "Number", "date": "Date", "due": "Payable until"}
    sums: Wording = {
        "subtotal": "Amount before tax",
        "tax": "Tax (%)",
        "shipping": "Shipping",
        "total": "Amount with tax",
    }
    sheet.text(LEFT, 80, "Sales invoice", size=40, bold=True, colour=sheet.accent)
    party(sheet, bill.vendor, LEFT, 160, label="vendor", heading="Seller", extras=(bill.vendor.phone,))
    party(sheet, bill.customer, 680, 160, label="customer", heading="Purchaser", extras=(bill.customer.tax_id,))
    for x, name in ((LEFT, "Order"), (680, "Invoice")):
        sheet.text(x, 400, name, bold=True)
        sheet.line(x, 430, x + 420, 430)
    beside(sheet, bill, order, ("order", "order_date", "contact"), 440, label_x=LEFT, value_x=LEFT + 180)
    beside(sheet, bill, words, ("number", "date", "due"), 440, label_x=680, value_x=860)
    heads = ("Product", "Pcs", "Price", "Total")
    y = table(sheet, bill.items, 600, left=LEFT, right=RIGHT, headings=heads, style="boxed")
    keys = ("subtotal", "tax", "shipping", "total")
    beside(sheet, bill, sums, keys, y + 10, label_x=LEFT, value_x=LEFT + 480, align="right", strong="total")
    bank(sheet, bill, RIGHT, y + 20, align="right")


def airy(sheet: Sheet, bill: Bill) -> None:
    """Much white space, small vendor line on top, the total in large print above the items."""
    words: Wording = {"number": "Invoice number", "date": "Date issued", "due": "Date due", "order": "Order number"}
    sums: Wording = {"subtotal": "Subtotal", "shipping": "Shipping", "tax": "Tax %"}
    one_line(sheet, bill.vendor, LEFT, 80, label="vendor", size=sheet.size + 2)
    sheet.text(LEFT, 190, "Total", size=sheet.size, colour=sheet.accent)
    sheet.text(LEFT, 220, bill.values["total"], size=52, bold=True, label="total")
    party(sheet, bill.customer, 690, 190, label="customer", heading="Billed to")
    above(sheet, bill, words, ("number", "order", "date", "due"), LEFT - 12, 420, width=270)
    heads = ("What", "How many", "Each", "Cost")
    y = table(sheet, bill.items, 570, left=LEFT, right=RIGHT, headings=heads, style="ruled")
    beside(sheet, bill, sums, ("subtotal", "shipping", "tax"), y + 10, label_x=780, value_x=RIGHT - 12, align="right")
    bank(sheet, bill, LEFT, FOOT)
