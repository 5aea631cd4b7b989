"""Memory of layers, as XLA reports it, relative to their input and output."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.measurement import Measurement
from benchmarks.speed._layers import DIRECTIONS, MIXED, LayerCase, footprint
from benchmarks.speed._values_report import AtMost, values

RIVALS: dict[str, str] = {
    "whole": "no options: the batch at once, or in parts where it is large and no gradient is taken",
    "four chunks": "a quarter of the batch as `chunk_size`, and `remat=True`",
}
LARGE = 4096
TARGETS = (
    AtMost("whole", "forward", 2.1, case={"k": 2}),
    AtMost("whole", "training", 3.1, case={"k": 2}),
    AtMost("whole", "forward", 6.8),
    AtMost("whole", "training", 8.9),
    AtMost("whole", "forward", 3, case={"batch": LARGE}),
    AtMost("four chunks", "forward", 3.7),
    AtMost("four chunks", "training", 5.7),
)
FULL = (
    LayerCase("S", 2, 2, 32, 32),
    LayerCase("S", 2, 2, 64, 32),
    LayerCase("O", 2, 2, 64, 32),
    LayerCase(MIXED, 2, 2, 1024, 32),
    LayerCase("S", 2, 3, 16, 32),
    LayerCase("S", 3, 1, 16, 32),
    LayerCase("S", 3, 3, 16, 32),
    LayerCase("S", 3, 3, 8, 32),
    LayerCase("S", 3, 3, 4, 32),
    LayerCase("O(3)", 3, 3, 3, 1024),
    LayerCase("O(3)", 4, 4, 3, 64),
    LayerCase("S", 5, 0, 6, 8),
    LayerCase("S", 5, 0, 4, 8),
    LayerCase("S", 3, 3, 8, LARGE),
    LayerCase("O(3)", 3, 3, 3, LARGE),
    LayerCase("O(3)", 4, 4, 3, LARGE),
    LayerCase("S", 5, 0, 4, LARGE),
)
QUICK = (LayerCase("S", 2, 2, 8, 4, 4), LayerCase("O(3)", 2, 2, 3, 4, 4))


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each layer and direction."""
    return [
        Cell(asdict(case), direction, tuple(RIVALS), case)
        for case in (QUICK if quick else FULL)
        for direction in DIRECTIONS
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: layers are compiled and not run."""

    def measure(cell: Cell) -> list[Measurement]:
        """Compile a layer without options and in chunks, by the steps of its plan."""
        chunks = {"chunk_size": max(cell.given.batch // 4, 1), "remat": True}
        options: dict[str, dict[str, Any]] = {"whole": {}, "four chunks": chunks}
        measurements = []
        for rival in cell.rivals:
            tell(f"compile {rival}")
            m = Measurement(dict(cell.case), cell.direction, rival)
            found = footprint(cell.given, cell.direction, method="factored", **options[rival])
            found.write(m)
            m.scores = {"value": found.ratio}
            measurements.append(m)
        return measurements

    return measure


BENCHMARK = Benchmark(
    title="Memory of layers",
    summary="arguments, results and temporaries over input and output, whole batches and four chunks",
    rivals=RIVALS,
    cells=cells,
    start=start,
    targets=TARGETS,
    style=values("memory over the memory of input and output"),
    timed=False,
)
