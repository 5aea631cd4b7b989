"""Families of random inputs: the fractions that are silently wrong and reported."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.accuracy._hard_clouds import extent, with_moments
from benchmarks.accuracy._hard_copies import Input, moved
from benchmarks.accuracy._hard_errors import KINDS, errors, precise
from benchmarks.accuracy._hard_events import PARTICLES, SPEEDS, random_events
from benchmarks.accuracy._hard_methods import METHODS
from benchmarks.accuracy._hard_programs import Program

BLOCK = 512

Draw = Callable[[int, np.random.Generator], list[Input]]
"""Samples inputs from a number and a generator."""


@dataclass(frozen=True)
class Family:
    """Random inputs for a method.

    Attributes:
        name: of the inputs.
        rival: the method.
        size: the size to which inputs are padded, so that families of a method share a program.
        draw: makes inputs.
        right: the largest error that is right.
        limits: the largest fractions of inputs that may be silent, reported or off (wrong, reported or not).
        count: inputs in a complete run.
        dtype: of the rounded inputs.
        shift: how far copies are shifted, in extents; positions are rounded after that.
    """

    name: str
    rival: str
    size: int
    draw: Draw
    right: float = 1e-3
    limits: dict[str, float] = field(default_factory=lambda: {"silent": 1e-3})
    count: int = 10_000
    dtype: str = "float32"
    shift: float = 0.0

    @property
    def key(self) -> str:
        """The name and the method."""
        return f"{self.rival}: {self.name}"

    def counts(self, count: int, seed: int = 0) -> dict[str, float]:
        """Count the inputs of each kind among `count`, and those with large errors, over pairs of input and copy."""
        method, generator = METHODS[self.rival], np.random.default_rng(seed)
        run = program(self.rival, self.size)
        found = dict.fromkeys((*KINDS, "off", "inputs", "worst"), 0.0)
        for start in range(0, count, BLOCK):
            inputs = self.draw(min(BLOCK, count - start), generator)
            copies = moved(inputs, method.moves, self.dtype, self.size, 2, seed + start, self.shift)
            with precise(self.dtype):
                measured = errors(copies, run(copies, self.dtype))
            kinds = measured.kinds(self.dtype, self.right)["outputs"]
            for place, kind in enumerate(KINDS):
                found[kind] += float(np.sum(kinds == place))
            found["off"] += float(np.sum(~(measured.outputs <= self.right)))
            found["inputs"] += len(inputs)
            found["worst"] = max(found["worst"], float(measured.silent_outputs.max()))
        return found


@functools.lru_cache(maxsize=4)
def program(rival: str, size: int) -> Program:
    """The program of a method for inputs of a size, without forces."""
    return Program(METHODS[rival], size, forces=False)


def normal(size: int) -> Draw:
    """Normal points."""

    def draw(count: int, generator: np.random.Generator) -> list[Input]:
        points = generator.normal(size=(count, size, 3))
        return [Input(f"cloud {i}", "random", one, extent(one)) for i, one in enumerate(points)]

    return draw


def near_gaps(count: int, generator: np.random.Generator) -> list[Input]:
    """Ten points with a gap of 1e-9 to 1e-1 between the largest second moments, relative to them."""
    gaps = 10 ** generator.uniform(-9, -1, size=count)
    points = with_moments(generator, 10, np.stack([np.ones(count), 1 - gaps, np.full(count, 0.3)], axis=1))
    return [Input(f"gap {gap:.1e}", "gaps", one, extent(one)) for gap, one in zip(gaps, points, strict=True)]


def rods(count: int, generator: np.random.Generator) -> list[Input]:
    """Twelve normal points, along two axes a hundredth as wide."""
    points = generator.normal(size=(count, 12, 3)) * [1, 0.01, 0.01]
    return [Input(f"rod {i}", "rods", one, extent(one)) for i, one in enumerate(points)]


def at_speed(speed: float) -> Draw:
    """Events, and copies that are boosted to a speed."""
    return lambda count, generator: random_events(count, speed, generator)


REPORTED = {5: 1e-3, 20: 1e-3, 100: 1e-2, 1000: 1e-1}
"""The largest fraction of random clouds of this many points that may be reported."""
FEW = {"silent": 1e-3, "reported": 1e-3}
BY_CHANCE = 2e-2
"""The largest fraction of needless reports for clouds with small gaps: some copies are rounded luckily."""
OFF = {0.99: 0.013, 0.999: 0.31}
"""The largest fraction of events with large errors at a speed: the rounding of momenta alone makes some wrong."""

FAMILIES = (
    *(
        Family(f"{n} random points", "PCA, Sort", max(n, 20), normal(n), limits={"silent": 1e-3, "reported": most})
        for n, most in REPORTED.items()
    ),
    Family("100 random points, float64", "PCA, Sort", 100, normal(100), limits=FEW, count=2000, dtype="float64"),
    *(
        Family("20 random points", rival, 20, normal(20), limits={"silent": 1e-3, "reported": most})
        for rival, most in (("PCA", 1e-3), ("Sort, QR", 1e-3), ("RotationCanonicalization", 5e-3))
    ),
    Family("small gaps", "PCA", 20, near_gaps, right=1e-4, limits={"silent": 1e-3, "needless": BY_CHANCE}),
    Family("small gaps, shifted", "PCA, weighted", 10, near_gaps, right=1e-4, count=1000, shift=1.0),
    Family("rods 1:100", "PCA", 20, rods, right=1e-4, limits={"silent": 1e-3, "needless": 1e-3}),
    *(
        Family(
            f"events at {speed}",
            "QR, O(1,3)",
            PARTICLES,
            at_speed(speed),
            right=1e-2,
            limits={"silent": 0.0, **({"off": OFF[speed]} if speed in OFF else {})},
        )
        for speed in SPEEDS
    ),
)
