from __future__ import annotations

from shim.page_memory import PageMemory

PAGE = {"format": 1, "words": [{"text": "Überweisung", "box": [0.1, 2, 3, 4], "confidence": 0.5, "line": 0}] * 50}


def test_a_page_comes_back_as_it_was() -> None:
    memory = PageMemory()
    memory.put(("a", 1), PAGE)
    assert memory.get(("a", 1)) == PAGE
    assert memory.get(("a", 2)) is None


def test_what_was_not_asked_for_longest_goes_first() -> None:
    memory = PageMemory(limit_bytes=450)  # compressed, a page has some 150
    for name in "abc":
        memory.put(name, PAGE)
        memory.get("a")
    memory.put("d", PAGE)
    memory.put("e", PAGE)
    known = [name for name in "abcde" if memory.get(name)]
    assert "a" in known
    assert "b" not in known
    assert known[-1] == "e"


def test_a_page_larger_than_the_limit_is_not_kept() -> None:
    memory = PageMemory(limit_bytes=50)
    memory.put("a", PAGE)
    assert memory.get("a") is None
