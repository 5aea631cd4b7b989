"""The cost of symmetrization: every method around a network, relative to the network, in one process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Contender, Entry, Harness, Limits
from benchmarks.core.measurement import Measurement
from benchmarks.speed._symmetrization_cost_methods import KINDS, made
from benchmarks.speed._symmetrization_cost_report import BARE, DIRECTIONS, STYLE, Most

RIVALS: dict[str, str] = {
    BARE: "the network alone",
    **{name: f"around it, on {kind}" for kind, what in KINDS.items() for name in what.methods},
}


@dataclass(frozen=True)
class Case:
    """Inputs of one kind: how many, and how many points, rows of pixels or nodes each has."""

    inputs: str
    batch: int
    size: int


FULL = (Case("clouds", 64, 128), Case("images", 64, 28), Case("graphs", 64, 20))
QUICK = (Case("clouds", 2, 8), Case("images", 2, 6), Case("graphs", 2, 5))


TARGETS = (
    Most("frame", {"inputs": "clouds", "batch": 64, "size": 128}, 9.0),
    Most("stochastic frame", {"inputs": "clouds", "batch": 64, "size": 128}, 1.5),
)


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.02, least=3, most=20, patience=0.3) if quick else Limits(seconds=2.0, patience=8.0)


def entry(case: Case, rival: str, direction: str, seed: int) -> Entry:
    """Return the function to time: the network, or the gradient of its mean square by parameters and input."""
    kind = KINDS[case.inputs]
    module, keyed = made(kind, rival, case.size, seed)
    static, parameters, *rest = nnx.split(module, nnx.Param, ...)
    x = jnp.asarray(kind.draw(case.batch, case.size, np.random.default_rng(seed)), jnp.float32)
    key = jax.random.key(seed)

    def forward(parameters: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        found: jax.Array = nnx.merge(static, parameters, *rest)(x, **({"key": key} if keyed else {}))
        return found

    if direction == "forward":
        return Entry(forward, (parameters, x, key), lambda y: {})

    def loss(parameters: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.mean(forward(parameters, x, key) ** 2)

    return Entry(jax.value_and_grad(loss, argnums=(0, 1)), (parameters, x, key), lambda y: {})


def cells(quick: bool) -> list[Cell]:
    """Cases and directions, in the order in which they are run."""
    both = [(case, direction) for case in (QUICK if quick else FULL) for direction in DIRECTIONS]
    # The gradients of all methods for clouds take a minute to compile.
    wanted = [pair for pair in both if not quick or pair[0].inputs != "clouds" or pair[1] == DIRECTIONS[0]]
    return [Cell(asdict(case), direction, (BARE, *KINDS[case.inputs].methods), case) for case, direction in wanted]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare a run."""
    harness = Harness(limits(quick), seed, tell)

    def measure(cell: Cell) -> list[Measurement]:
        makers = {rival: partial(entry, cell.given, rival, cell.direction, seed) for rival in cell.rivals}
        return harness.measure(cell.case, cell.direction, [Contender(rival, make) for rival, make in makers.items()])

    return measure


BENCHMARK = Benchmark(
    title="What symmetrization costs",
    summary="every method of symmetrization around a network, against the network alone",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=STYLE,
)
