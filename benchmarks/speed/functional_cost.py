"""A training step of functionals by the number of layers of the networks that they read, against a linear rival.

Deep Sets have no maps between tensors, so their time is linear in the number of weights. Time is processor time, of
rivals that take turns in one process.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Harness, Limits
from benchmarks.core.measurement import Measurement
from benchmarks.speed._values_report import AtMost, values
from equikit.nn.initializers import DENSE
from equikit.plans import compiled_cost
from equikit.weightspace import Functional, Specification, trace

BATCH, CHANNELS, RANK, CONSTANT = 8, 16, 32, 8_000
RIVALS: dict[str, str] = {
    "full": "a functional of three layers with 16 channels",
    "rank": f"the same with `rank={RANK}`",
    "Deep Sets": "three dense layers on each weight and on the mean of its tensor, without maps between tensors",
}
STEP, KERNELS, WEIGHTS = "step over Deep Sets", "kernels", "thousand weights"
TARGETS = (AtMost("rank", WEIGHTS, 500.0),)


@dataclass(frozen=True)
class Zoo:
    """Perceptrons whose weights are read.

    Attributes:
        layers: number of layers.
        width: of hidden layers.
    """

    layers: int
    width: int

    def traced(self) -> tuple[Specification, dict[str, jax.Array]]:
        """The symmetry, and the parameters of a batch of networks."""
        sizes, key = [3, *[self.width] * (self.layers - 1), 2], jax.random.key(0)
        shapes = {f"w{i}": pair for i, pair in enumerate(itertools.pairwise(sizes))}
        shapes |= {f"b{i}": (size,) for i, size in enumerate(sizes[1:])}

        def apply(params: Any, x: jax.Array) -> jax.Array:
            for i in range(self.layers):
                x = x @ params[f"w{i}"] + params[f"b{i}"]
                x = jnp.tanh(x) if i + 1 < self.layers else x
            return x

        spec = trace(apply, {name: jnp.ones(shape) for name, shape in shapes.items()}, jnp.ones((2, 3)))
        return spec, {name: jax.random.normal(key, (BATCH, *shape)) for name, shape in shapes.items()}


class DeepSets(nnx.Module):
    """Dense layers on every weight and on the mean of its tensor, then a mean over all tensors."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        widths = itertools.pairwise([1, CHANNELS, CHANNELS, 4])
        self.layers = nnx.List([nnx.List([nnx.Linear(*pair, **DENSE, rngs=rngs) for _ in "ab"]) for pair in widths])

    def __call__(self, params: dict[str, jax.Array]) -> jax.Array:
        """Return features of each network."""
        x = {name: array[..., None] for name, array in params.items()}
        for number, (own, mean) in enumerate(self.layers):
            axes = {name: tuple(range(1, array.ndim - 1)) for name, array in x.items()}
            x = {name: own(a) + mean(jnp.mean(a, axes[name], keepdims=True)) for name, a in x.items()}
            x = {name: jax.nn.relu(a) if number < 2 else jnp.mean(a, axes[name]) for name, a in x.items()}
        total: jax.Array = sum(x.values(), jnp.zeros(()))
        return total / len(x)


def step_of(network: nnx.Module, params: Any) -> tuple[Callable[[], Any], int, int]:
    """Return a compiled step of Adam, the number of kernels of value and gradient, and the number of weights."""
    static, state = nnx.split(network)
    optimizer = optax.adam(1e-3)

    def step(state: Any, memory: Any, params: Any) -> Any:
        def loss(state: Any) -> jax.Array:
            found: Any = nnx.merge(static, state)
            return jnp.mean(found(params) ** 2)

        value, slope = jax.value_and_grad(loss)(state)
        updates, memory = optimizer.update(slope, memory, state)
        return optax.apply_updates(state, updates), memory, value

    memory = optimizer.init(state)
    compiled = jax.jit(step).lower(state, memory, params).compile()
    kernels = compiled_cost(network, params, target="cpu", gradient=True).kernels
    weights = sum(leaf.size for leaf in jax.tree.leaves(state))
    return functools.partial(_finished, compiled, state, memory, params), kernels, weights


def _finished(compiled: Any, *arrays: Any) -> Any:
    return jax.block_until_ready(compiled(*arrays))


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.05, least=3, patience=0.5) if quick else Limits(seconds=1.0)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each number of layers, at constant width and at a constant number of weights."""
    depths: Sequence[int] = (3, 4) if quick else (4, 8, 16, 32, 64)
    pairs = [(depth, 16) for depth in depths]
    pairs += [] if quick else [(depth, round((CONSTANT / (depth - 2)) ** 0.5)) for depth in depths]
    return [
        Cell({"layers": depth, "width": width}, "", tuple(RIVALS), Zoo(depth, width))
        for depth, width in dict.fromkeys(pairs)
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare what all cells share."""
    harness = Harness(limits(quick), seed, tell, clock=time.process_time)

    def measure(cell: Cell) -> list[Measurement]:
        tell("compile all rivals")
        spec, params = cell.given.traced()
        made = {
            "full": Functional(spec, [1, CHANNELS, CHANNELS, 4], out="", rngs=nnx.Rngs(seed)),
            "rank": Functional(spec, [1, CHANNELS, CHANNELS, 4], out="", rank=RANK, rngs=nnx.Rngs(seed)),
            "Deep Sets": DeepSets(rngs=nnx.Rngs(seed)),
        }
        steps = {name: step_of(network, params) for name, network in made.items()}
        timed = {name: Measurement(dict(cell.case), STEP, name) for name in steps}
        tell("time all rivals")
        harness.rounds([(timed[name], run) for name, (run, _, _) in steps.items()])
        for m in timed.values():
            m.summarize()
        least = float(np.median(timed["Deep Sets"].times))
        found = []
        for name, (_, kernels, weights) in steps.items():
            timed[name].scores = {"value": float(np.median(timed[name].times)) / least}
            counts = ((KERNELS, kernels), (WEIGHTS, weights / 1000))
            found += [Measurement(dict(cell.case), what, name, scores={"value": count}) for what, count in counts]
        return [*timed.values(), *found]

    return measure


BENCHMARK = Benchmark(
    title="Functionals of deep networks",
    summary="a training step of functionals by the number of layers, with and without a rank, over Deep Sets",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=values("processor time of a step over Deep Sets', kernels of the program, and thousands of weights"),
)
