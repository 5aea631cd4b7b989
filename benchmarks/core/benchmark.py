"""What a benchmark is: cells to measure, rivals, and how results are shown."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.core.measurement import Measurement
from benchmarks.core.paper import Paper
from benchmarks.core.report import label
from benchmarks.core.style import TIMES, Style

Tell = Callable[[str], None]
"""Receives a short text at the start of every step."""
Measure = Callable[["Cell"], list[Measurement]]


@dataclass(frozen=True)
class Cell:
    """The smallest part of a run: measured at once, and skipped as a whole by a run that resumes.

    Attributes:
        case, direction: as in its records.
        rivals: measured together. The rivals of a timed cell take turns in one process; a trained network has its own
            cell.
        given: additional arguments of the benchmark.
    """

    case: Mapping[str, Any]
    direction: str
    rivals: tuple[str, ...]
    given: Any = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The case, the direction, and the rival if there is a single one."""
        alone = self.rivals if len(self.rivals) == 1 else ()
        return ", ".join(part for part in (label(self.case), self.direction, *alone) if part)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        title: of tables and plots.
        summary: one line for the list.
        rivals: name to description, the reference first.
        cells: of a quick or a complete run, in order.
        start: `(quick, seed, tell)`, and for a `family` the keyword `earlier`: prepares a run, and returns the function
            that measures a cell.
        limits: a dataclass with the budget of a quick or a complete run.
        targets: engineering targets, checked by the style.
        style: how results are checked, printed and drawn.
        panel: entries of a case that determine its panel in the plot.
        axis: entry of a case on the horizontal axis.
        seeds: the number of seeds of a complete run; five for trained networks.
        timed: whether results are times, which need an idle machine.
        paper: the paper that is reproduced, with its published values.
        family: whether a rival that is too slow in a small case is skipped in larger ones. A resumed run passes the
            records of all cells before the first that it measures as `earlier`, so that the same rivals are skipped.
    """

    title: str
    summary: str
    rivals: Mapping[str, str]
    cells: Callable[[bool], Sequence[Cell]]
    start: Callable[..., Measure]
    limits: Callable[[bool], Any] | None = None
    targets: Sequence[Any] = ()
    style: Style = TIMES
    panel: tuple[str, ...] = ()
    axis: str = "n"
    seeds: int = 1
    timed: bool = True
    paper: Paper | None = None
    family: bool = False


reproduction = functools.partial(Benchmark, seeds=5, timed=False)
"""A benchmark of a paper with trained networks: it has five seeds, and its results are not times."""
