"""Forms: titles, sections, captions with answers beside or below them or none, boxes to tick, tables to fill in."""

from __future__ import annotations

import random

from training.data.examples import Example
from training.generated.blocks import sentence
from training.generated.country import Writer
from training.generated.paper import Paper, Piece
from training.generated.words import CAPTIONS, FORM_KINDS, FORM_NOUNS, GOODS, NAME_PARTS, SECTIONS, TOWNS

_UNANSWERED = 0.15


def form(rng: random.Random, number: int) -> Example:
    """Return one."""
    writer = Writer(rng)
    width = rng.uniform(700, 1500)
    paper = Paper(rng, width, width / rng.uniform(45, 75), width * rng.uniform(0.05, 0.12))
    height = width * rng.uniform(1.15, 1.45)
    _title(paper, writer)
    while paper.y < height * rng.uniform(0.5, 0.95):
        rng.choice((_lines, _lines, _grid, _grid, _ticks, _table, _prose, _section))(paper, writer)
        paper.next_line(rng.uniform(0, 1.5))
    if rng.random() < 0.6:
        _signatures(paper, writer)
    return paper.example(number, height)


def _title(paper: Paper, writer: Writer) -> None:
    rng = writer.rng
    middle = rng.choice(((paper.left + paper.right) / 2, paper.left))
    title = f"{rng.choice(FORM_KINDS)} {rng.choice(FORM_NOUNS)}"
    texts: list[Piece] = [(title.upper() if rng.random() < 0.5 else title, "title")]
    if rng.random() < 0.5:
        texts.insert(0, (writer.business(), rng.choice(("title", "seller_name"))))
    for text, label in texts:
        scale = rng.choice((1, 1.2, 1.6))
        paper.write(middle, (text, label), align="left" if middle == paper.left else "centre", scale=scale)
        paper.next_line(1.2, scale)
    if rng.random() < 0.3:
        paper.write(paper.right, (writer.number(), "other_number"), align="right", y=paper.size)
    paper.next_line()


def _answer(writer: Writer, caption: str) -> str:
    """Return what may stand behind a caption: mostly what it asks for."""
    rng, asks = writer.rng, caption.lower()
    if "date" in asks or asks == "date":
        return writer.date(writer.day())
    if any(word in asks for word in ("phone", "fax", "mobile", "telephone")):
        return writer.filled(writer.country.phone)
    if any(word in asks for word in ("cost", "amount", "budget", "salary")):
        return writer.amount(rng.randint(1000, 9_000_000), rng.random() < 0.6)
    if any(word in asks for word in (" no", "number", "code", "id", "reference", "quantity", "age", "year")):
        return rng.choice((writer.number(), str(rng.randint(1, 2000))))
    if any(word in asks for word in ("name", "by", "to", "person", "manager", "agent", "from", "director", "owner")):
        return writer.person()
    if any(
        word in asks
        for word in ("comments", "description", "reason", "remarks", "notes", "purpose", "objective", "result")
    ):
        return sentence(rng, rng.randint(2, 22))
    if any(word in asks for word in ("address", "location", "site", "street")):
        return ", ".join(writer.address())
    return rng.choice(
        (
            lambda: rng.choice(NAME_PARTS), lambda: rng.choice(TOWNS), lambda: rng.choice(GOODS), writer.person,
            writer.business, lambda: sentence(rng, rng.randint(1, 6)), writer.number,
            lambda: rng.choice(("Yes", "No", "N/A", "None")),
            lambda: f"{rng.randint(1, 999)} {rng.choice(('kg', 'mm', 'hours', 'pages', '%', 'units'))}",
        )
    )()  # fmt: skip


def _lines(paper: Paper, writer: Writer) -> None:
    """One caption a line, the answer behind it, in as many lines as it takes."""
    rng = writer.rng
    end = rng.choice((":", ":", "", " :"))
    captions = rng.sample(CAPTIONS, rng.randint(2, 8))
    has_column = rng.random() < 0.5
    column = paper.left + max(paper.length(caption + end + "  ") for caption in captions)
    is_capital = rng.random() < 0.4
    for caption in captions:
        said = caption.upper() if is_capital else caption
        if rng.random() < _UNANSWERED:
            paper.write(paper.left, (said + end, "caption"))
            paper.next_line()
            continue
        begin = (
            max(column, paper.left + paper.length(said + end) + paper.size)
            if has_column
            else paper.left + paper.length(said + end) + paper.size
        )
        lines = paper.wrapped(_answer(writer, caption), paper.right - begin)
        if has_column or len(lines) > 1:
            paper.write(paper.left, (said + end, "caption"))
            for line in lines:
                paper.write(begin, (line, "answer"))
                paper.next_line()
        else:
            paper.write(paper.left, (said + end, "caption"), (lines[0], "answer"))
            paper.next_line()


def _grid(paper: Paper, writer: Writer) -> None:
    """Cells beside each other: the answer behind the caption, or below it."""
    rng = writer.rng
    columns, is_below = rng.randint(2, 4), rng.random() < 0.5
    step = (paper.right - paper.left) / columns
    for _ in range(rng.randint(1, 4)):
        captions = rng.sample(CAPTIONS, columns)
        for place, caption in enumerate(captions):
            x = paper.left + place * step
            named = caption + rng.choice(("", ":"))
            end = paper.write(x, (named, "caption"), scale=0.85 if is_below else 1.0)
            if rng.random() < _UNANSWERED:
                continue
            room = step * 0.95 if is_below else x + step * 0.95 - end - paper.size * 0.6
            text = paper.wrapped(_answer(writer, caption), max(room, 1.0))[0]
            if is_below:
                paper.write(x, (text, "answer"), y=paper.y + paper.size * 1.3)
            elif paper.length(text) <= room:
                paper.write(end + paper.size * 0.6, (text, "answer"))
        paper.next_line(2.2 if is_below else 1.2)


def _ticks(paper: Paper, writer: Writer) -> None:
    rng = writer.rng
    paper.write(paper.left, (rng.choice(CAPTIONS) + rng.choice((":", "?", "")), "caption"))
    x = paper.left + (paper.right - paper.left) * 0.3
    for _ in range(rng.randint(2, 4)):
        text = rng.choice(
            (rng.choice(("Yes", "No", "Other", "New", "Male", "Female", "Full", "Partial")), rng.choice(NAME_PARTS))
        )
        mark: list[Piece] = [(rng.choice(("X", "☐", "[ ]", "[x]", "( )")), "choice")] if rng.random() < 0.6 else []
        x = paper.write(x, *mark, (text, "caption")) + paper.size * 2
    paper.next_line()


def _table(paper: Paper, writer: Writer) -> None:
    rng = writer.rng
    columns = rng.randint(3, 6)
    step = (paper.right - paper.left) / columns
    heads = rng.sample(CAPTIONS, columns)
    for place, head in enumerate(heads):
        paper.write(paper.left + place * step, (paper.wrapped(head, step * 0.95)[0], "column"))
    paper.next_line(1.3)
    for _ in range(rng.randint(1, 5)):
        for place, head in enumerate(heads):
            if rng.random() > _UNANSWERED:
                text = paper.wrapped(_answer(writer, head), step * 0.9)[0]
                paper.write(paper.left + place * step, (text, "answer"))
        paper.next_line()


def _prose(paper: Paper, writer: Writer) -> None:
    text = " ".join(sentence(writer.rng, writer.rng.randint(5, 14)) for _ in range(writer.rng.randint(1, 3)))
    for line in paper.wrapped(text, paper.right - paper.left):
        paper.write(paper.left, (line, "text"))
        paper.next_line()


def _section(paper: Paper, writer: Writer) -> None:
    text = writer.rng.choice(SECTIONS)
    paper.write(paper.left, (text.upper() if writer.rng.random() < 0.5 else text, "section"))
    paper.next_line(1.2)


def _signatures(paper: Paper, writer: Writer) -> None:
    rng = writer.rng
    for x in (paper.left, (paper.left + paper.right) / 2)[: rng.randint(1, 2)]:
        end = paper.write(
            x, (rng.choice(("Signature", "Signed", "Approved by", "Authorised by")) + rng.choice((":", "")), "caption")
        )
        if rng.random() < 0.6:
            paper.write(end + paper.size, (writer.person(), "answer"))
    paper.next_line()
