"""What N pages a day need, by arithmetic: `python -m benchmarks.capacity [--pages 1000 1000000] [--read-cpu-s 0.66]`.

Every constant is an option whose default was measured on the machine of benchmarks/README.md; put in what you measured
on yours. docs/scale.md has the formulas, says where each figure comes from, and shows this table. Nothing is run here.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

PAGES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
LEAST = 2
"""Nodes and shims: one may go, for an update or a fault, and pages are answered all the same."""
COLUMNS = (
    *("pages a day", "pages/s at the peak", "cores: reading", "cores: tagging", "GPUs: tagging", "nodes"),
    *("memory of the nodes", "shims", "page cache, a day's pages", "images over the network"),
)


@dataclass(frozen=True, slots=True)
class Day:
    """How pages come.

    Args:
        hours: of a day in which they come.
        peak: the highest rate that must be kept up, in multiples of the mean of those hours.
        use: share of what is there that may be used at the peak; the rest is headroom.
    """

    hours: float = 10.0
    peak: float = 3.0
    use: float = 0.7

    def __post_init__(self) -> None:
        """Refuse what is no day."""
        if not (0 < self.hours <= 24 and self.peak >= 1 and 0 < self.use <= 1):
            raise ValueError(f"hours is in (0, 24], peak at least 1 and use in (0, 1], got {self}")

    def peak_rate(self, pages: float) -> float:
        """Return pages a second at the peak."""
        return pages * self.peak / (self.hours * 3600)


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured.

    Args:
        read_cpu_s: CPU seconds to read a page.
        tag_cpu_s: CPU seconds to tag a page on a core; not used where a GPU tags.
        windows: windows of at most 512 tokens that a page has.
        gpu_windows_s: windows a second of one GPU; 0: a CPU tags.
        cached: share of the pages that were read before and lie in the page cache.
        shim_pages_s: pages a second that one shim passes on.
        cache_bytes: of a page in the page cache, on disk.
        image_bytes: of a page's image.
    """

    read_cpu_s: float = 0.66
    tag_cpu_s: float = 0.154
    windows: float = 1.6
    gpu_windows_s: float = 0.0
    cached: float = 0.0
    shim_pages_s: float = 24.0
    cache_bytes: float = 14_000.0
    image_bytes: float = 860_000.0

    def __post_init__(self) -> None:
        """Refuse what cannot have been measured."""
        above_zero = ("read_cpu_s", "tag_cpu_s", "windows", "shim_pages_s", "cache_bytes", "image_bytes")
        for name in above_zero:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is above 0, got {getattr(self, name)}")
        if self.gpu_windows_s < 0 or not 0 <= self.cached < 1:
            raise ValueError(f"gpu_windows_s is at least 0 and cached in [0, 1), got {self}")


@dataclass(frozen=True, slots=True)
class Node:
    """One TorchServe node; memory in MiB.

    Args:
        cores: of it; so many processes read pages.
        projects: models of projects that are awake at a time.
        project_workers: processes that tag pages, of each of them (LAYOUTLOOP_PROJECT_WORKERS).
        base_mib: Java, the supervisor and the rollout watcher.
        read_mib: of a process that reads pages.
        tag_mib: of a process that tags them.
    """

    cores: int = 16
    projects: int = 10
    project_workers: int = 2
    base_mib: float = 300.0
    read_mib: float = 450.0
    tag_mib: float = 600.0

    @property
    def memory_mib(self) -> float:
        """Of a whole node."""
        return self.base_mib + self.cores * self.read_mib + self.projects * self.project_workers * self.tag_mib


@dataclass(frozen=True, slots=True)
class Need:
    """What so many pages a day need. Cores and GPUs with headroom; bytes a second without."""

    pages: float
    rate: float
    read_cores: float
    tag_cores: float
    gpus: int
    nodes: int
    memory_mib: float
    shims: int
    cache_bytes: float
    network_bytes_s: float


def need(pages: float, day: Day, costs: Costs, node: Node) -> Need:
    """Return what `pages` a day need.

    A GPU stands in a node, so there are at least as many nodes as GPUs. Each image goes over the network three times:
    from its storage to Label Studio, from there to the shim, and from the shim to a node.
    """
    rate = day.peak_rate(pages)
    read_cores = rate * costs.read_cpu_s * (1 - costs.cached) / day.use
    tag_cores = 0.0 if costs.gpu_windows_s else rate * costs.tag_cpu_s / day.use
    gpus = math.ceil(rate * costs.windows / (costs.gpu_windows_s * day.use)) if costs.gpu_windows_s else 0
    nodes = max(LEAST, gpus, math.ceil((read_cores + tag_cores) / node.cores))
    return Need(
        pages=pages,
        rate=rate,
        read_cores=read_cores,
        tag_cores=tag_cores,
        gpus=gpus,
        nodes=nodes,
        memory_mib=nodes * node.memory_mib,
        shims=max(LEAST, math.ceil(rate / (costs.shim_pages_s * day.use))),
        cache_bytes=pages * (1 - costs.cached) * costs.cache_bytes,
        network_bytes_s=3 * rate * costs.image_bytes,
    )


def in_units(value: float, units: Sequence[str], step: float) -> str:
    """Return a value with two or three digits, in the largest unit that leaves at least one before the point."""
    at = 0
    while value >= step and at + 1 < len(units):
        value, at = value / step, at + 1
    return f"{value:.{2 if value < 1 else 1 if value < 10 else 0}f} {units[at]}".strip()


def row(one: Need) -> str:
    """Return a row of the table, in Markdown."""
    cells = (
        f"{one.pages:,.0f}",
        in_units(one.rate, [""], math.inf),
        in_units(one.read_cores, [""], math.inf),
        in_units(one.tag_cores, [""], math.inf) if not one.gpus else "none",
        str(one.gpus) if one.gpus else "none",
        str(one.nodes),
        in_units(one.memory_mib, ("MiB", "GiB", "TiB"), 1024),
        str(one.shims),
        in_units(one.cache_bytes, ("B", "kB", "MB", "GB", "TB"), 1000),
        in_units(one.network_bytes_s, ("B/s", "kB/s", "MB/s", "GB/s"), 1000),
    )
    return f"| {' | '.join(cells)} |"


def table(needs: Sequence[Need]) -> str:
    """Return the whole table, in Markdown."""
    return "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", *map(row, needs)])


def _parser() -> argparse.ArgumentParser:
    """One option for each constant, with what its docstring says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pages", type=float, nargs="+", default=PAGES, help="a day; several make several rows")
    for kind in (Day, Costs, Node):
        lines = (kind.__doc__ or "").partition("Args:")[2].splitlines()
        said = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
        for field in fields(kind):
            default = getattr(kind(), field.name)
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=type(default),
                default=default,
                metavar="N",
                help=f"{said[field.name]} (default {default})".replace("%", "%%"),
            )
    return parser


def _values(kind: type[Day | Costs | Node], options: argparse.Namespace) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in fields(kind)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        day, costs = Day(**_values(Day, options)), Costs(**_values(Costs, options))
    except ValueError as error:
        parser.error(str(error))
    node = Node(**_values(Node, options))
    print(table([need(pages, day, costs, node) for pages in options.pages]))


if __name__ == "__main__":
    main()
