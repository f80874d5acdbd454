"""The arithmetic of docs/scale.md, and that the page shows what the script prints."""

from __future__ import annotations

import re

import pytest

from benchmarks.capacity import PAGES, Costs, Day, Node, in_units, main, need, table
from tests.deploy.rendered import ROOT

PAGE = ROOT / "docs" / "scale.md"
EVEN = Day(hours=24, peak=1, use=1)
COSTS = Costs(read_cpu_s=1, tag_cpu_s=0.5, windows=2, shim_pages_s=10, cache_bytes=1000, image_bytes=1000)
NODE = Node(cores=4, projects=2, project_workers=3, base_mib=100, read_mib=10, tag_mib=20)


def test_a_page_a_second_needs_what_a_page_costs() -> None:
    one = need(86_400, EVEN, COSTS, NODE)
    assert (one.rate, one.read_cores, one.tag_cores, one.gpus) == (1, 1, 0.5, 0)
    assert (one.nodes, one.memory_mib, one.shims) == (2, 2 * (100 + 4 * 10 + 2 * 3 * 20), 2)
    assert (one.cache_bytes, one.network_bytes_s) == (86_400_000, 3000)


@pytest.mark.parametrize(
    ("day", "costs", "cores", "gpus", "nodes", "shims"),
    [
        pytest.param(EVEN, COSTS, 150, 0, 38, 10, id="a hundred pages a second"),
        pytest.param(Day(12, 1, 1), COSTS, 300, 0, 75, 20, id="in half the time"),
        pytest.param(Day(24, 3, 1), COSTS, 450, 0, 113, 30, id="a peak"),
        pytest.param(Day(24, 1, 0.5), COSTS, 300, 0, 75, 20, id="headroom"),
        pytest.param(EVEN, Costs(1, 0.5, 2, 50, 0, 10), 100, 4, 25, 10, id="GPUs tag"),
        pytest.param(EVEN, Costs(1, 0.5, 2, 4, 0, 10), 100, 50, 50, 10, id="a node for each GPU"),
        pytest.param(EVEN, Costs(1, 0.5, 2, 0, 0.5, 10), 100, 0, 25, 10, id="half was read before"),
    ],
)
def test_what_changes_the_need(day: Day, costs: Costs, cores: float, gpus: int, nodes: int, shims: int) -> None:
    one = need(8_640_000, day, costs, NODE)
    assert one.read_cores + one.tag_cores == pytest.approx(cores)
    assert (one.gpus, one.nodes, one.shims) == (gpus, nodes, shims)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param(Day, {"hours": 0}, id="no hours"),
        pytest.param(Day, {"hours": 25}, id="too many hours"),
        pytest.param(Day, {"peak": 0.5}, id="a peak below the mean"),
        pytest.param(Day, {"use": 1.5}, id="more than all"),
        pytest.param(Costs, {"read_cpu_s": 0}, id="reading for nothing"),
        pytest.param(Costs, {"cached": 1}, id="nothing is ever read"),
    ],
)
def test_what_cannot_be_is_refused(kind: type[Day | Costs], values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        kind(**values)


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999 B"), (1500, "1.5 kB"), (12_000_000, "12 MB"), (9e15, "9000 TB"), (0.5, "0.50 B")],
)
def test_values_are_written_short(value: float, text: str) -> None:
    assert in_units(value, ("B", "kB", "MB", "GB", "TB"), 1000) == text


def test_a_wrong_option_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--use", "2"])
    assert "use in (0, 1]" in capsys.readouterr().err


def fences() -> list[tuple[str, str]]:
    """Each command of the page that has a table below it."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"`python -m benchmarks\.capacity ?([^`]*)`:\n\n((?:\|.*\n)+)", text)


def test_the_page_shows_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    shown = fences()
    assert len(shown) >= 2
    for options, printed in shown:
        main(options.split())
        assert capsys.readouterr().out == printed, options


def test_the_page_has_all_sizes() -> None:
    assert table([need(pages, Day(), Costs(), Node()) for pages in PAGES]) in PAGE.read_text(encoding="utf-8")
    assert (PAGES[0], PAGES[-1]) == (1_000, 100_000_000)


def test_every_default_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for kind in (Day, Costs, Node):
        for name in kind.__slots__:
            assert f"`--{name.replace('_', '-')}`" in text, name
