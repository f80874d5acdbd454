from __future__ import annotations

from handler.page import Box, Region
from training.data.examples import Entity, entities_of


def test_regions_as_a_person_would_have_marked_them() -> None:
    box = Box(0, 0, 9, 9)
    regions = [Region(label, box, 0.9, "x", (number,)) for number, label in enumerate(["total", None, "iban"])]
    assert entities_of(regions, {"total": "Grand total"}) == [
        Entity("Grand total", box, (0,)),
        Entity("iban", box, (2,)),
    ]
