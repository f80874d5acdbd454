from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from handler.errors import LabelMismatch
from handler.tagging.labels import LabelSet


def numbered(*tags: str) -> dict[int, str]:
    return dict(enumerate(tags))


@pytest.mark.parametrize(
    ("id2label", "names", "is_bio", "name_ids", "begins"),
    [
        pytest.param(
            numbered("O", "B-total", "I-total", "B-date", "I-date"),
            ("total", "date"),
            True,
            [-1, 0, 0, 1, 1],
            [False, True, False, True, False],
            id="P16 BIO",
        ),
        pytest.param(
            numbered("I-z", "B-a", "O", "I-a", "B-z"),
            ("z", "a"),
            True,
            [0, 1, -1, 1, 0],
            [False, True, False, False, True],
            id="P16 BIO in any order",
        ),
        pytest.param(
            {2: "I-a", 0: "O", 1: "B-a"}, ("a",), True, [-1, 0, 0], [False, True, False], id="P16 order is by id"
        ),
        pytest.param(numbered("O", "B-a"), ("a",), True, [-1, 0], [False, True], id="P18 only B-"),
        pytest.param(numbered("O", "I-a"), ("a",), True, [-1, 0], [False, False], id="P18 only I-"),
        pytest.param(
            numbered("O", "B-B-x", "I-B-x"), ("B-x",), True, [-1, 0, 0], [False, True, False], id="P18 a name like B-x"
        ),
        pytest.param(
            numbered("O", "Answer", "E-mail"),
            ("Answer", "E-mail"),
            False,
            [-1, 0, 1],
            [False] * 3,
            id="P18 plain names are not cut",
        ),
        pytest.param(
            numbered("O", "B-Plan", "Invoice"),
            ("B-Plan", "Invoice"),
            False,
            [-1, 0, 1],
            [False] * 3,
            id="P18 one plain name makes all plain",
        ),
        pytest.param(
            numbered("B-a", "I-a"), ("B-a", "I-a"), False, [0, 1], [False] * 2, id="P18 no O: nothing says BIO"
        ),
        pytest.param(numbered("Answer", "Question"), ("Answer", "Question"), False, [0, 1], [False] * 2, id="P18 no O"),
        pytest.param(numbered("O"), (), True, [-1], [False], id="only outside"),
    ],
)
def test_from_id2label(
    id2label: Mapping[int, str], names: Sequence[str], is_bio: bool, name_ids: list[int], begins: list[bool]
) -> None:
    labels = LabelSet.from_id2label(id2label)
    assert labels.tags == tuple(id2label[index] for index in range(len(id2label)))
    assert (labels.names, labels.is_bio) == (names, is_bio)
    assert labels.name_ids().tolist() == name_ids
    assert labels.begins().tolist() == begins


@pytest.mark.parametrize(
    ("id2label", "message"),
    [
        pytest.param({0: "O", 2: "B-a"}, "number different tags from 0 without gaps", id="P16 gap"),
        pytest.param({1: "O", 2: "B-a"}, "without gaps", id="P16 from 1"),
        pytest.param({0: "O", 1: "a", 2: "a"}, "number different tags", id="P16 twice"),
        pytest.param(numbered("LABEL_0", "LABEL_1"), "only untrained labels .*fine-tune it first", id="P19 untrained"),
        pytest.param({}, "untrained|gaps", id="none"),
    ],
)
def test_labels_that_cannot_be_served(id2label: Mapping[int, str], message: str) -> None:
    with pytest.raises(LabelMismatch, match=message):
        LabelSet.from_id2label(id2label)


def test_from_names_keeps_the_order() -> None:
    """P16."""
    labels = LabelSet.from_names(["total", "Answer", "E-mail", "date"])
    assert labels.names == ("total", "Answer", "E-mail", "date")
    assert labels.tags[:3] == ("O", "B-total", "I-total")
    assert LabelSet.from_id2label(dict(enumerate(labels.tags))) == labels


@pytest.mark.parametrize("names", [[], ["a", "a"]], ids=["none", "twice"])
def test_names_that_make_no_label_set(names: list[str]) -> None:
    with pytest.raises(LabelMismatch, match="at least one and all different"):
        LabelSet.from_names(names)
