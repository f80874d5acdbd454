"""Letters: a letterhead, whom it is for, a date, what it is about, some paragraphs, who signed."""

from __future__ import annotations

import random

from training.data.examples import Example
from training.generated.blocks import Pairs, Row, seller_lines, sentence, write_seller
from training.generated.country import Writer
from training.generated.paper import Align, Paper

_HEIGHT = 1.414


def letter(rng: random.Random, number: int) -> Example:
    """Return one."""
    writer = Writer(rng)
    width = rng.uniform(800, 1700)
    paper = Paper(rng, width, width / rng.uniform(50, 75), width * rng.uniform(0.06, 0.13))
    align: Align = rng.choice(("left", "centre", "right"))
    x = {"left": paper.left, "centre": (paper.left + paper.right) / 2, "right": paper.right}[align]
    sender = writer.party(is_person=rng.random() < 0.3)
    write_seller(paper, x, sender, seller_lines(writer, sender), align)
    paper.next_line(rng.uniform(0.5, 3))
    parts = [_receiver, _date]
    rng.shuffle(parts)
    for part in parts:
        part(paper, writer)
        paper.next_line(rng.uniform(0.3, 2))
    _body(paper, writer)
    return paper.example(number, width * _HEIGHT)


def _receiver(paper: Paper, writer: Writer) -> None:
    receiver = writer.party(is_person=writer.rng.random() < 0.6)
    for text, label in ((receiver.name, "buyer_name"), *((line, "buyer_address") for line in receiver.address)):
        paper.write(paper.left, (text, label))
        paper.next_line()


def _date(paper: Paper, writer: Writer) -> None:
    rng, date = writer.rng, writer.date(writer.day())
    if rng.random() < 0.5:
        rows: list[Row] = [
            ("Date", date, "issue_date"),
            (rng.choice(("Our ref", "Reference", "File")), writer.number(), "own_number"),
        ]
        if rng.random() < 0.5:
            rows.append((rng.choice(("Your ref", "Account", "Policy no", "Case")), writer.number(), "other_number"))
        Pairs(paper).list(paper.left, rng.sample(rows, len(rows)), paper.right)
    else:
        is_right = rng.random() < 0.5
        paper.write(
            paper.right if is_right else paper.left, (date, "issue_date"), align="right" if is_right else "left"
        )
        paper.next_line()


def _body(paper: Paper, writer: Writer) -> None:
    rng = writer.rng
    if rng.random() < 0.7:
        caption = [(rng.choice(("Subject:", "Re:", "Concerning:")), "caption")] if rng.random() < 0.6 else []
        paper.write(paper.left, *caption, (sentence(rng, rng.randint(2, 7)), "title"))
        paper.next_line(1.6)
    paper.write(paper.left, (rng.choice(("Dear Sir or Madam,", "Hello,", f"Dear {writer.person()},")), "text"))
    paper.next_line(1.5)
    for _ in range(rng.randint(1, 3)):
        text = " ".join(sentence(rng, rng.randint(6, 14)) for _ in range(rng.randint(1, 3)))
        if rng.random() < 0.3:
            text += f" {writer.amount(rng.randint(1000, 900000), True)} by {writer.date(writer.day())}."
        for line in paper.wrapped(text, paper.right - paper.left):
            paper.write(paper.left, (line, "text"))
            paper.next_line()
        paper.next_line(0.7)
    paper.write(paper.left, (rng.choice(("Sincerely,", "Yours faithfully,", "Kind regards", "Best regards,")), "text"))
    paper.next_line(rng.uniform(1.5, 4))
    paper.write(paper.left, (writer.person(), "person"))
    paper.next_line()
