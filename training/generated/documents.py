"""So many generated documents for a seed: receipts, forms, invoices and letters, each in a layout of its own."""

from __future__ import annotations

import random

from training.data.examples import Example
from training.generated.forms import form
from training.generated.invoices import invoice
from training.generated.letters import letter
from training.generated.receipts import receipt

LABELS = (
    "seller_name", "seller_address", "seller_contact", "seller_number", "buyer_name", "buyer_address", "person",
    "caption", "title", "section", "column", "text", "answer", "choice",
    "own_number", "other_number", "issue_date", "issue_time", "due_date", "other_date",
    "item_code", "item_name", "item_quantity", "item_price", "item_amount",
    "sum_net", "sum_tax", "tax_rate", "sum_due", "sum_paid", "sum_change", "sum_other",
)  # fmt: skip
"""What words are, so that a project's own labels are near to some of them."""
_KINDS = (receipt, receipt, receipt, form, form, invoice, invoice, letter)
"""So often each: letters are mostly prose, which teaches little."""


def generated_documents(count: int, seed: int = 0) -> list[Example]:
    """Return so many pages, each read with small mistakes; one half has words with the boxes of their lines.

    Args:
        count: how many; the first of more are the same.
        seed: another gives others.
    """
    return [_document(seed, number) for number in range(count)]


def _document(seed: int, number: int) -> Example:
    rng = random.Random(f"{seed}-{number}")  # noqa: S311 - no secret
    return rng.choice(_KINDS)(rng, number)
