import pytest

from benchmarks.timing import machine, percentile, spread, tail


@pytest.mark.parametrize(
    ("count", "name", "value"),
    [
        pytest.param(300, "p99", 297, id="three above it"),
        pytest.param(100, "p99", 99, id="one above it"),
        pytest.param(96, "highest", 96, id="too few: it is the highest"),
        pytest.param(1, "highest", 1, id="a single one"),
    ],
)
def test_a_tail_is_named_for_what_it_is(count: int, name: str, value: float) -> None:
    assert tail([float(one) for one in range(count, 0, -1)]) == (name, value)


@pytest.mark.parametrize(
    ("share", "value"),
    [pytest.param(0.5, 2, id="median"), pytest.param(0, 1, id="least"), pytest.param(1, 4, id="most")],
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], share) == value


@pytest.mark.parametrize(
    ("values", "text"),
    [pytest.param([2.0, 1.0, 4.0], "2.0 (1.0 to 4.0)", id="several"), pytest.param([2.0], "2.0", id="one")],
)
def test_a_spread_shows_the_lowest_and_the_highest(values: list[float], text: str) -> None:
    assert spread(values, 1) == text


def test_the_machine_is_named_with_its_load() -> None:
    assert machine().startswith("Machine: ")
    assert "load average" in machine()
