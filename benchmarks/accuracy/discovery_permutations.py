"""Find planted groups of permutations in noisy functions and data, and count what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.bounds import Bound
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import TRAINED
from equikit import EquikitError
from equikit.discover import permutations

NOISE = 0.05
"""The noise of outputs or entries, relative to their spread."""
RIVALS = {
    "function": "the values of a function with noise that has no symmetry, at 400 held-out inputs",
    "data": "3,000 samples with noise in their entries",
}


@dataclass(frozen=True)
class Planted:
    """A group of permutations, in a function or in data.

    Attributes:
        name: of the group.
        n: points.
        order: of the group.
        made: the function of a batch; or draws samples from a generator and their number.
        signs: whether signs are searched too.
    """

    name: str
    n: int
    order: int
    made: Callable[..., np.ndarray]
    signs: bool = False


def _mixed(generator: np.random.Generator, count: int, n: int, shift: float, *, skewed: bool) -> np.ndarray:
    """Noise on a ring, plus the noise of the neighbor on one side."""
    noise = generator.exponential(size=(count, n)) - 1 if skewed else generator.normal(size=(count, n))
    return noise + shift * np.roll(noise, 1, axis=1)


def _two_kinds(generator: np.random.Generator, count: int) -> np.ndarray:
    x = generator.normal(size=(count, 6))
    x[:, :3] += 0.7 * generator.normal(size=(count, 1))
    x[:, 3:] **= 2
    return x


FUNCTIONS = (
    Planted("Z(9)", 9, 9, lambda x: np.sum(x**2 * np.roll(x, 1, axis=1), axis=1)),
    Planted("D(8)", 8, 16, lambda x: np.sum(x * np.roll(x, 1, axis=1), axis=1)),
    Planted("S(4) x S(3)", 7, 144, lambda x: np.sum(x[:, :3] ** 2, axis=1) * np.sum(x[:, 3:], axis=1)),
    Planted("S(2) wr S(3)", 6, 48, lambda x: np.sum(np.tanh(x[:, ::2] * x[:, 1::2]), axis=1)),
    Planted("H(4)", 4, 384, lambda x: np.sum(x**4, axis=1) + np.prod(np.abs(x), axis=1), signs=True),
    Planted("trivial", 6, 1, lambda x: x @ np.arange(1.0, 7)),
)
DATA = (
    Planted("Z(6)", 6, 6, lambda random, count: _mixed(random, count, 6, 0.4, skewed=True)),
    Planted("D(6)", 6, 12, lambda random, count: _mixed(random, count, 6, 0.6, skewed=False)),
    Planted("S(3) x S(3)", 6, 36, lambda random, count: _two_kinds(random, count)),
    Planted(
        "S(2) wr S(3)",
        6,
        48,
        lambda random, count: random.normal(size=(count, 6)) + np.repeat(random.normal(size=(count, 3)), 2, axis=1),
    ),
    Planted("H(4)", 4, 384, lambda random, count: random.laplace(size=(count, 4)), signs=True),
    Planted("trivial", 4, 1, lambda random, count: random.normal(size=(count, 4)) * (1 + 0.5 * np.arange(4))),
)
TARGETS = tuple(
    Bound(rival, {"task": one.name}, "wrong", 0.05)
    for rival, planted in (("function", FUNCTIONS), ("data", DATA))
    for one in planted
)


def cells(quick: bool) -> list[Cell]:
    """One for each planted group."""
    return [
        Cell({"task": one.name}, "find", (rival,), one)
        for rival, planted in (("function", FUNCTIONS), ("data", DATA))
        for one in planted
    ]


@dataclass(frozen=True)
class Budget:
    """Repeats of a seed."""

    repeats: int


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    return Budget(1 if quick else 10)


def noisy(planted: Planted, generator: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A function plus a random even function without symmetry."""
    weights = generator.normal(size=(planted.n, 16))

    def with_noise(x: np.ndarray) -> np.ndarray:
        y: np.ndarray = planted.made(x)
        noise = np.cos(x @ weights).sum(1)
        noisy_y: np.ndarray = y + NOISE * np.std(y) * (noise - np.mean(noise)) / np.std(noise)
        return noisy_y

    return with_noise


def one(rival: str, planted: Planted, generator: np.random.Generator) -> dict[str, float]:
    """Search once: whether the result is wrong, has more elements than the planted group, or was refused."""
    given: tuple[Any, ...]
    if rival == "function":
        function = noisy(planted, generator)
        given = (lambda x: function(x[..., 0])), generator.normal(size=(400, planted.n, 1))
    else:
        x = planted.made(generator, 3000)
        given = ((x + NOISE * np.std(x) * generator.normal(size=x.shape))[..., None],)
    try:
        found = permutations(*given, signs=planted.signs)
    except EquikitError:
        return {"wrong": 1.0, "too large": 0.0, "refused": 1.0}
    wrong = (found.name, found.order) != (planted.name, planted.order)
    return {"wrong": float(wrong), "too large": float(wrong and found.order > planted.order), "refused": 0.0}


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that repeats the search for one group."""

    def measure(cell: Cell) -> list[Measurement]:
        (rival,), planted, found = cell.rivals, cell.given, []
        for repeat in range(limits(quick).repeats):
            tell(f"{planted.name} in a {rival}, {repeat + 1}")
            found.append(one(rival, planted, np.random.default_rng([seed, repeat])))
        scores = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
        return [Measurement(dict(cell.case), cell.direction, rival, scores=scores)]

    return measure


BENCHMARK = Benchmark(
    title="Discovery of permutations",
    summary="planted groups of permutations and signed permutations in functions and data with 5 % of noise",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=TRAINED,
    seeds=5,
    timed=False,
)
