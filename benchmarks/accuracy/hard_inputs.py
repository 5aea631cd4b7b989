"""Hard inputs through every method of symmetrization: right, reported, needlessly reported, or silently wrong.

python -m benchmarks hard_inputs --quick
python -m benchmarks.accuracy.hard_inputs --only "PCA, Sort" QR  # every input that is not as it should be, by name
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
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
from benchmarks.core.measurement import Measurement

TITLE = "Hard inputs"
SUMMARY = "symmetric, flat, far and nearly symmetric inputs through every method: right, reported, or silently wrong"
STYLE = COUNTS
PANEL, AXIS = (), "family"
RIVALS = {name: method.about for name, method in METHODS.items()}
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Listed:
    """A list of inputs.

    Attributes:
        make: a seed to the inputs.
        size: to which they are padded.
        copies: of each input.
        right: errors above are wrong in float32, where that is not the error for all.
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
    """The program of a method for its list; all policies of PCA share one program."""
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


@dataclass(frozen=True)
class ListCase:
    """All hard inputs of a method."""

    rival: str

    def measure(self, seed: int) -> list[Measurement]:
        """Counts of each family, of outputs and of forces, in both dtypes."""
        measurements: list[Measurement] = []
        for dtype in DTYPES:
            inputs, _, kinds = list_errors(self.rival, dtype, seed)
            for family in dict.fromkeys(one.family for one in inputs):
                mine = np.array([one.family == family for one in inputs])
                for way, kind in kinds.items():
                    m = Counted({"family": family, "dtype": dtype, "random": False}, way, self.rival)
                    m.scores = {name: float(np.sum(kind[mine] == place)) for place, name in enumerate(KINDS)}
                    m.scores["inputs"] = float(mine.sum())
                    m.silent, m.needless = (
                        [
                            one.name
                            for one, k in zip(inputs, kind, strict=True)
                            if one.family == family and KINDS[k] == bad
                        ]
                        for bad in ("silent", "needless")
                    )
                    measurements.append(m)
        return measurements


@dataclass(frozen=True)
class FamilyCase:
    """Many random inputs."""

    family: Family
    count: int

    def measure(self, seed: int) -> list[Measurement]:
        """Counts of one family."""
        case = {"family": self.family.name, "dtype": self.family.dtype, "random": True}
        m = Counted(case, "outputs", self.family.rival)
        m.scores = self.family.counts(self.count, seed)
        return [m]


@dataclass(frozen=True)
class DoubtCase:
    """A method's estimates of its own errors, on many random inputs."""

    rival: str
    count: int

    def measure(self, seed: int) -> list[Measurement]:
        """Return how many errors the doubt covers, and by what factor it is larger."""
        generator = np.random.default_rng(seed)
        lorentz = METHODS[self.rival].listed == "events"
        inputs = random_events(self.count, 0, generator) if lorentz else normal(20)(self.count, generator)
        m = Counted({"family": "doubt", "dtype": "float32", "random": True}, "doubt", self.rival)
        m.scores = agreement(*doubts(self.rival, inputs))
        return [m]


Case = ListCase | FamilyCase | DoubtCase


def cases(quick: bool) -> list[Case]:
    """In the order in which they are run."""
    listed = [ListCase(rival) for rival in (QUICK if quick else METHODS)]
    families = [FamilyCase(f, 256 if quick else f.count) for f in (FAMILIES[:1] if quick else FAMILIES)]
    doubted = [DoubtCase(rival, 256 if quick else 10_000) for rival in (DOUBTED[:1] if quick else DOUBTED)]
    return [*listed, *families, *(doubted if HAS_DOUBT else [])]


def run(quick: bool, seed: int, tell: Callable[[str], None]) -> Iterator[list[Measurement]]:
    """Measure case after case."""
    for case in cases(quick):
        tell(case.family.key if isinstance(case, FamilyCase) else case.rival)
        yield case.measure(seed)


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
    """Print what is not as it should be."""
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
            print(f"{rival}, doubt: {DoubtCase(rival, options.random).measure(0)[0].scores}")


if __name__ == "__main__":
    main()
