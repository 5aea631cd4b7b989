"""Memory of layers, as XLA reports it, relative to their input and output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from benchmarks.core.measurement import Measurement
from benchmarks.core.values import AtMost, values
from benchmarks.speed._layers import DIRECTIONS, MIXED, LayerCase, footprint

TITLE = "Memory of layers"
SUMMARY = "arguments, results and temporaries over input and output, whole batches and four chunks"
STYLE = values("memory over that of input and output")
PANEL, AXIS = (), "n"
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


def cases(quick: bool) -> list[LayerCase]:
    """In the order in which they are run."""
    return list(QUICK if quick else FULL)


def measure(case: LayerCase) -> list[Measurement]:
    """Compile one layer in both directions, without options and in chunks, by the steps of its plan."""
    options: dict[str, dict[str, Any]] = {
        "whole": {},
        "four chunks": {"chunk_size": max(case.batch // 4, 1), "remat": True},
    }
    measurements = []
    for direction in DIRECTIONS:
        for rival, chosen in options.items():
            m = Measurement(asdict(case), direction, rival)
            found = footprint(case, direction, method="factored", **chosen)
            m.argument_bytes, m.output_bytes, m.temporary_bytes = found.arguments, found.results, found.temporaries
            m.peak_bytes, m.scores = found.total, {"value": found.ratio}
            measurements.append(m)
    return measurements


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Measure case after case."""
    for case in cases(quick):
        tell(f"{case.signature}, {case.group}, n = {case.n}")
        yield measure(case)
