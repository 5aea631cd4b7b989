"""Hard inputs through every method of symmetrization: right, reported, needlessly reported, or silently wrong.

python -m benchmarks run hard_inputs --quick
python -m benchmarks.accuracy.hard_inputs --only "PCA, Sort" QR  # silent and needless inputs by name
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy._hard_clouds import clouds
from benchmarks.accuracy._hard_copies import Input, moved
from benchmarks.accuracy._hard_doubt import COVERED, HAS_DOUBT, RATIO, agreement, doubts
from benchmarks.accuracy._hard_errors import KINDS, RIGHT, Errors, errors, precise, slopes
from benchmarks.accuracy._hard_events import PARTICLES, events, random_events
from benchmarks.accuracy._hard_families import FAMILIES, Family, normal
from benchmarks.accuracy._hard_graphs import MOST as NODES, graphs
from benchmarks.accuracy._hard_methods import METHODS
from benchmarks.accuracy._hard_programs import Program
from benchmarks.accuracy._hard_report import COUNTS, Counted, Most
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.measurement import Measurement

RIVALS = {name: method.about for name, method in METHODS.items()}
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Listed:
    """A list of inputs.

    Attributes:
        make: a seed to the inputs.
        size: to which they are padded.
        copies: of each input.
        right: the largest error that is right in float32, if it differs from the default.
    """

    make: Callable[[int], list[Input]]
    size: int
    copies: int = 5
    right: float | None = None


LISTS = {
    "clouds": Listed(clouds, 12),
    "graphs": Listed(graphs, NODES),
    # A boost enlarges the rounding of momenta by the square of its factor, 500 at a speed of 0.999.
    "events": Listed(events, PARTICLES, copies=2, right=1e-2),
}
DOUBTED = ("PCA", "QR", "Sort, QR", "RotationCanonicalization", "QR, O(1,3)")
TARGETS = (
    *(
        Most(rival, way, kind, 0)
        for rival in METHODS
        for way, kind in (("outputs", "silent"), ("outputs", "needless"), ("forces", "silent"))
    ),
    *(Most(f.rival, "outputs", kind, most, f.name) for f in FAMILIES for kind, most in f.limits.items()),
    *(
        Most(rival, "doubt", kind, most, "doubt")
        for rival in DOUBTED
        for kind, most in (("uncovered", 1 - COVERED), ("ratio", RATIO))
    ),
)
QUICK = ("PCA", "GroupAverage", "Canonical")


@functools.lru_cache(maxsize=4)
def program(rival: str) -> Program:
    """The program of a method for its list."""
    return Program(METHODS[rival], LISTS[METHODS[rival].listed].size)


def list_errors(rival: str, dtype: str, seed: int = 0) -> tuple[list[Input], Errors, dict[str, np.ndarray]]:
    """The inputs of a method, their errors, and the kinds of their outputs and forces."""
    method = METHODS[rival]
    listed = LISTS[method.listed]
    inputs = listed.make(seed)
    copies = moved(inputs, method.moves, dtype, listed.size, listed.copies, seed)
    with precise(dtype):
        found = program(rival)(copies, dtype)
        flagged = program(method.flagged)(copies, dtype) if method.flagged else None
    measured = errors(copies, found, flagged, slopes(program(rival), copies, found, seed))
    right = max(RIGHT[dtype], listed.right or 0) if dtype == "float32" else RIGHT[dtype]
    return inputs, measured, measured.kinds(dtype, right)


def of_list(rival: str, dtype: str, seed: int) -> list[Measurement]:
    """Count the hard inputs of a method: of each family, for outputs and for forces."""
    measurements: list[Measurement] = []
    inputs, _, kinds = list_errors(rival, dtype, seed)
    for family in dict.fromkeys(one.family for one in inputs):
        mine = np.array([one.family == family for one in inputs])
        for way, kind in kinds.items():
            m = Counted({"family": family, "dtype": dtype, "random": False}, way, rival)
            m.scores = {name: float(np.sum(kind[mine] == place)) for place, name in enumerate(KINDS)}
            m.scores["inputs"] = float(mine.sum())
            m.silent, m.needless = (
                [one.name for one, k in zip(inputs, kind, strict=True) if one.family == family and KINDS[k] == bad]
                for bad in ("silent", "needless")
            )
            measurements.append(m)
    return measurements


def of_family(family: Family, count: int, seed: int) -> list[Measurement]:
    """Count many random inputs of a family."""
    m = Counted({"family": family.name, "dtype": family.dtype, "random": True}, "outputs", family.rival)
    m.scores = family.counts(count, seed)
    return [m]


def of_doubt(rival: str, count: int, seed: int) -> list[Measurement]:
    """Compare a method's estimates of its own errors with the errors, on many random inputs."""
    generator = np.random.default_rng(seed)
    lorentz = METHODS[rival].listed == "events"
    inputs = random_events(count, 0, generator) if lorentz else normal(20)(count, generator)
    m = Counted({"family": "doubt", "dtype": "float32", "random": True}, "doubt", rival)
    m.scores = agreement(*doubts(rival, inputs))
    return [m]


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each list of hard inputs, family of random ones, and method that estimates its errors."""
    listed = [
        Cell({"dtype": dtype, "random": False}, "", (rival,), functools.partial(of_list, rival, dtype))
        for rival in (QUICK if quick else METHODS)
        for dtype in DTYPES
    ]
    families = [
        Cell(
            {"family": f.name, "dtype": f.dtype, "random": True},
            "outputs",
            (f.rival,),
            functools.partial(of_family, f, 256 if quick else f.count),
        )
        for f in (FAMILIES[:1] if quick else FAMILIES)
    ]
    doubted = [
        Cell(
            {"family": "doubt", "dtype": "float32", "random": True},
            "doubt",
            (rival,),
            functools.partial(of_doubt, rival, 256 if quick else 10_000),
        )
        for rival in (DOUBTED[:1] if quick else DOUBTED)
    ]
    return [*listed, *families, *(doubted if HAS_DOUBT else [])]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare nothing: programs are compiled when they are first needed."""

    def measure(cell: Cell) -> list[Measurement]:
        tell("compile and count")
        found: list[Measurement] = cell.given(seed)
        return found

    return measure


BENCHMARK = Benchmark(
    title="Hard inputs",
    summary="symmetric, flat, far and nearly symmetric inputs through every method: right, reported, or silently wrong",
    rivals=RIVALS,
    cells=cells,
    start=start,
    targets=TARGETS,
    style=COUNTS,
    timed=False,
)


def _print_list(rival: str, dtype: str) -> None:
    inputs, measured, kinds = list_errors(rival, dtype)
    print(f"{rival}, {dtype}, of {len(inputs)} inputs:")
    for way, kind in kinds.items():
        print(f"  {way}: " + ", ".join(f"{np.sum(kind == place)} {name}" for place, name in enumerate(KINDS)))
    for i, one in enumerate(inputs):
        if max(kind[i] for kind in kinds.values()) > 1:
            print(
                f"    {one.name}: outputs {KINDS[kinds['outputs'][i]]}, {measured.outputs[i]:.1e} off "
                f"({measured.silent_outputs[i]:.1e} unreported); forces {KINDS[kinds['forces'][i]]}, "
                f"{measured.forces[i]:.1e} off ({measured.silent_forces[i]:.1e}), slopes {measured.slopes[i]:.1e}"
            )


def _print_family(family: Family, count: int) -> None:
    found = family.counts(count)
    parts = ", ".join(f"{name} {found[name] / found['inputs']:.2%}" for name in (*KINDS, "off"))
    print(f"{family.key}, {count} drawn: {parts}; worst unreported {found['worst']:.1e}", flush=True)


def main() -> None:
    """Print the inputs that are silent or needless."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.hard_inputs", description=main.__doc__)
    parser.add_argument("--only", nargs="*", metavar="METHOD", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--dtype", nargs="*", default=DTYPES, choices=DTYPES)
    parser.add_argument("--random", type=int, default=1024, help="inputs of each random family; 0 for none")
    options = parser.parse_args()
    for rival in options.only:
        for dtype in options.dtype:
            _print_list(rival, dtype)
        for family in FAMILIES if options.random else ():
            if family.rival == rival:
                _print_family(family, options.random)
        if HAS_DOUBT and rival in DOUBTED and options.random:
            print(f"{rival}, doubt: {of_doubt(rival, options.random, 0)[0].scores}")


if __name__ == "__main__":
    main()
