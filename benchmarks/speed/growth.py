"""Growth of a layer's time and memory with n, by a fit of the exponent, and its memory relative to input and output.

Time is processor time: on a machine with other work a long call is interrupted and a short one is not, which looks like
growth.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import jax

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.folders import ROOT
from benchmarks.core.harness import Harness, Limits
from benchmarks.core.measurement import Measurement
from benchmarks.speed._growth_report import BOUNDS, STYLE
from benchmarks.speed._layers import DIRECTIONS, MIXED, LayerCase, account, function

RIVALS: dict[str, str] = {"equikit": "the layer, and the gradient of a loss with a nonlinearity"}

# No powers of two, where strided axes meet in few cache lines. Tensors are of 6 to 23 MiB, far larger than the caches
# of a core, and rows too long for permuted axes to be read from them: crossing either border would look like growth.
SIZES = {
    1: (90_000, 130_000, 180_000, 260_000, 370_000),
    2: (300, 360, 430, 510, 610),
    3: (45, 50, 56, 63, 71),
}
QUICK_SIZES = {1: (1_000, 2_000, 4_000), 2: (64, 90, 128), 3: (16, 20, 26)}
LAYERS = (
    *(("S", k, l) for k, l in ((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (1, 3), (3, 2), (3, 3))),
    *(("O", k, k) for k in (1, 2, 3)),
)
QUICK_LAYERS = (("S", 1, 1), ("S", 2, 1), ("O", 2, 2))
FOOTPRINTS = (
    LayerCase("S", 2, 2, 32, 32),
    LayerCase("S", 2, 2, 64, 32),
    LayerCase("S", 3, 3, 8, 32),
    LayerCase("S", 3, 3, 16, 32),
    LayerCase("O", 2, 2, 32, 32),
    LayerCase("O", 2, 2, 64, 32),
    LayerCase("O", 3, 3, 3, 1024),
    LayerCase(MIXED, 2, 2, 64, 32),
    LayerCase(MIXED, 2, 2, 1024, 32),
)
QUICK_FOOTPRINTS = (LayerCase("S", 2, 2, 16, 8), LayerCase("O", 3, 3, 3, 64))


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.02, least=3, patience=0.2) if quick else Limits(seconds=0.5)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each layer over n and each direction, then the cells that measure only memory."""
    sizes, layers = (QUICK_SIZES, QUICK_LAYERS) if quick else (SIZES, LAYERS)
    timed = [
        Cell(
            {"group": group, "k": k, "l": l, "batch": 1},
            direction,
            tuple(RIVALS),
            [LayerCase(group, k, l, n, 1) for n in sizes[max(k, l)]],
        )
        for group, k, l in layers
        for direction in DIRECTIONS
    ]
    return timed + [
        Cell(record(case), direction, tuple(RIVALS), [case])
        for case in (QUICK_FOOTPRINTS if quick else FOOTPRINTS)
        for direction in DIRECTIONS
    ]


def record(case: LayerCase) -> dict[str, Any]:
    """The case of a record."""
    return {"group": case.group, "k": case.k, "l": case.l, "n": case.n, "batch": case.batch}


def finished(compiled: Any, *arrays: Any) -> Any:
    """Call a program, and wait for its result."""
    return jax.block_until_ready(compiled(*arrays))


def series(layers: Sequence[LayerCase], direction: str, harness: Harness) -> list[Measurement]:
    """Compile all sizes, read their memory, and time them in turns, so that other work slows all equally.

    A single layer is not timed.
    """
    measurements: list[Measurement] = []
    ready: list[tuple[Measurement, Callable[[], Any]]] = []
    for case in layers:
        m = Measurement(record(case), direction, "equikit")
        start = time.perf_counter()
        compiled = jax.jit(function(case, direction)).lower(*case.abstract()).compile()
        m.compile_seconds = time.perf_counter() - start
        found = account(case, compiled)
        found.write(m)
        m.scores = {"over_input_and_output": found.ratio}
        measurements.append(m)
        if len(layers) > 1:
            arrays = case.arrays(seed=harness.seed)
            ready.append((m, functools.partial(finished, compiled, *arrays)))
    harness.rounds(ready)
    for m in measurements:
        m.summarize()
    return measurements


# With glibc, memory of more than 32 MiB is fetched from the system anew for each call, and given back.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}


def measured_apart(layers: Sequence[LayerCase], direction: str, harness: Harness) -> list[Measurement]:
    """Measure a series in a separate process, whose memory is kept between calls."""
    given = [[asdict(case) for case in layers], direction, asdict(harness.limits), harness.seed]
    command = [sys.executable, "-m", "benchmarks.speed.growth", json.dumps(given)]
    environment = os.environ | KEEP_MEMORY
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that measures {layers[0]}, {direction} failed:\n{done.stderr}")
    return [Measurement(**one) for one in json.loads(done.stdout)]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare what all series share."""
    harness = Harness(limits(quick), seed, tell)

    def measure(cell: Cell) -> list[Measurement]:
        timed = len(cell.given) > 1
        tell("compile and time all sizes" if timed else "compile")
        return (measured_apart if timed else series)(cell.given, cell.direction, harness)

    return measure


BENCHMARK = Benchmark(
    title="Growth of time and memory",
    summary="exponents of time and memory over n for k -> l layers, and memory beside input and output",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=BOUNDS,
    style=STYLE,
)


def main() -> None:
    """Measure one series, and write the records."""
    layers, direction, limits, seed = json.loads(sys.argv[1])
    harness = Harness(Limits(**limits), seed, clock=time.process_time)
    measurements = series([LayerCase(**case) for case in layers], direction, harness)
    print(json.dumps([asdict(m) for m in measurements]))


if __name__ == "__main__":
    main()
