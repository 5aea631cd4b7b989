"""Learned optimizers compared with Adam and momentum, on a perceptron for digits and a small transformer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.core.benchmark import Cell, Measure, Tell
from benchmarks.core.bounds import Bound
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import STEP
from benchmarks.data.digits import digits
from benchmarks.models.zoo import perceptron
from equikit.weightspace import LearnedOptimizer, Problem, evolve, trace, train

RIVALS = {
    "momentum": "stochastic gradients with momentum 0.9, at the best rate of a grid",
    "Adam": "at the best rate of a grid",
    "learned optimizer": "a universal neural functional of weights, gradients and momenta around Adam, by evolution",
}
RATES = tuple(float(rate) for rate in np.geomspace(1e-3, 1.0, 10))
AT = (0.1, 0.3, 1.0)
"""Fractions of the steps after which the loss is reported."""


@dataclass(frozen=True)
class Sizes:
    """Steps of training, steps of learning and pairs in each, fresh problems to test on, and rates to choose from."""

    steps: int
    meta_steps: int
    pairs: int
    tests: int
    rates: tuple[float, ...]


QUICK = Sizes(10, 2, 2, 2, RATES[::5])
FULL = Sizes(50, 200, 4, 32, RATES)
VOCABULARY, LENGTH, WIDTH, HEADS, INNER = 8, 12, 8, 2, 16


@dataclass(frozen=True)
class Case:
    """A problem, and what is traced for it."""

    problem: Problem
    apply: Callable[[Any, Any], jax.Array]
    example: Any


def digits_case(seed: int) -> Case:
    """A perceptron 64-32-10 on digits."""
    data, model = digits(seed), perceptron((64, 32, 10))
    x, y = jnp.asarray(data.inputs.reshape(len(data), -1)), jnp.asarray(data.labels)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        rows = jax.random.randint(key, (64,), 0, len(data))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model.apply(params, x[rows]), y[rows]))

    return Case(Problem(lambda key: model.init(key, 1.0), loss), model.apply, model.example)


def transformer(params: Any, tokens: jax.Array) -> jax.Array:
    """One block: attention of two heads, then a perceptron, each added to what comes in; scores of the next symbol."""
    h = params["embedding"][tokens] + params["position"]
    q, k, v = (jnp.einsum("bti,ihd->bthd", _norm(h), params[name]) for name in ("query", "key", "value"))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    scores = jnp.where(jnp.tril(jnp.ones((LENGTH, LENGTH), bool)), scores, -1e9)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
    h = h + jnp.einsum("bqhd,hdo->bqo", mixed, params["out"])
    h = h + jax.nn.relu(_norm(h) @ params["up"]) @ params["down"]
    scores_of_tokens: jax.Array = _norm(h) @ params["scores"]
    return scores_of_tokens


def _norm(h: jax.Array) -> jax.Array:
    return h / jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1e-6)


def transformer_case(seed: int) -> Case:
    """A transformer that continues periodic sequences, whose period it has to infer."""
    inner = WIDTH // HEADS
    shapes = {
        "embedding": (VOCABULARY, WIDTH),
        "position": (LENGTH, WIDTH),
        **dict.fromkeys(("query", "key", "value"), (WIDTH, HEADS, inner)),
        "out": (HEADS, inner, WIDTH),
        "up": (WIDTH, INNER),
        "down": (INNER, WIDTH),
        "scores": (WIDTH, VOCABULARY),
    }

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, len(shapes))
        scales = {name: 1.0 if name in ("embedding", "position") else WIDTH**-0.5 for name in shapes}
        return {
            name: scales[name] * jax.random.normal(one, shape)
            for one, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    def loss(params: Any, key: jax.Array) -> jax.Array:
        draw, which = jax.random.split(key)
        symbols = jax.random.randint(draw, (32, 4), 0, VOCABULARY)
        period = jax.random.randint(which, (32, 1), 2, 5)
        sequence = jnp.take_along_axis(symbols, jnp.arange(LENGTH + 1)[None] % period, axis=1)
        found = transformer(params, sequence[:, :-1])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, sequence[:, 1:]))

    return Case(Problem(init, loss), transformer, jnp.zeros((2, LENGTH), jnp.int32))


CASES: dict[str, Callable[[int], Case]] = {
    "train a perceptron": digits_case,
    "train a transformer": transformer_case,
}
TARGETS = tuple(Bound("learned optimizer", {"task": name}, "times the loss of Adam", 1.0) for name in CASES)


def cells(sizes: Sizes) -> list[Cell]:
    """One for all optimizers of a problem: the learned one starts from the best rate of Adam."""
    return [Cell({"task": name, "train": sizes.meta_steps}, "train", tuple(RIVALS), sizes) for name in CASES]


def start(seed: int, tell: Tell) -> Measure:
    """Return the function that trains with all optimizers, on problems that the learned one has not seen."""

    def measure(cell: Cell) -> list[Measurement]:
        name = cell.case["task"]
        found = compared(name, CASES[name](seed), cell.given, seed, tell)
        return [Measurement(dict(cell.case), cell.direction, rival, scores=found[rival]) for rival in cell.rivals]

    return measure


def compared(name: str, case: Case, sizes: Sizes, seed: int, tell: Tell) -> dict[str, dict[str, float]]:
    """The scores of all optimizers."""
    plain = {"momentum": partial(optax.sgd, momentum=0.9), "Adam": optax.adam}
    rates = {}
    for rival, make in plain.items():
        tell(f"{name}: {rival}, rates")
        rates[rival] = best_rate(make, case.problem, sizes, seed + 1)
    tell(f"{name}: learn an optimizer")
    spec = trace(case.apply, jax.eval_shape(case.problem.init, jax.random.key(0)), case.example)
    begin = time.perf_counter()
    learned = evolve(
        LearnedOptimizer(spec, [16], rate=rates["Adam"], rngs=nnx.Rngs(seed)),
        case.problem,
        steps=sizes.steps,
        meta_steps=sizes.meta_steps,
        pairs=sizes.pairs,
        checks=min(10, sizes.meta_steps),
        key=jax.random.key(seed),
    ).optimizer
    seconds = time.perf_counter() - begin
    rates["learned optimizer"] = float(jnp.exp(learned.log_rate[...]))
    optimizers = {rival: make(rates[rival]) for rival, make in plain.items()}
    optimizers["learned optimizer"] = learned.transformation()
    curves = {rival: curve(optimizer, case.problem, sizes, seed + 2) for rival, optimizer in optimizers.items()}
    found = {rival: scores(losses, curves["Adam"]) | {"rate": rates[rival]} for rival, losses in curves.items()}
    weights = jax.tree.leaves(nnx.state(learned, nnx.Param))
    found["learned optimizer"] |= {"seconds": seconds, "parameters": float(sum(leaf.size for leaf in weights))}
    return found


def mean_losses(optimizer: Any, problem: Problem, sizes: Sizes, seed: int) -> jax.Array:
    """Return the mean loss before each step, over new problems; a diverged loss counts as the first."""
    keys = jax.random.split(jax.random.key(seed), sizes.tests)
    losses = jax.vmap(lambda key: train(optimizer, problem, sizes.steps, key=key)[1])(keys)
    return jnp.mean(jnp.where(losses < losses[:, :1], losses, losses[:, :1]), axis=0)


def best_rate(make: Callable[[Any], Any], problem: Problem, sizes: Sizes, seed: int) -> float:
    """Return the rate with the lowest mean loss, on other problems than the test; one program tries all."""
    run = jax.jit(lambda rates: jax.lax.map(lambda rate: mean_losses(make(rate), problem, sizes, seed), rates))
    return sizes.rates[int(np.argmin(np.mean(run(jnp.array(sizes.rates)), axis=-1)))]


def curve(optimizer: Any, problem: Problem, sizes: Sizes, seed: int) -> np.ndarray:
    """The mean losses, computed."""
    return np.asarray(jax.jit(lambda: mean_losses(optimizer, problem, sizes, seed))())


def scores(losses: np.ndarray, adam: np.ndarray) -> dict[str, float]:
    """Return the loss during training, its mean over the steps, and that relative to Adam's."""
    found = {f"loss after {share:.0%}": losses[round(share * len(losses)) - 1] for share in AT}
    found |= {f"{STEP}{step}": losses[step] for step in range(0, len(losses), max(1, len(losses) // 25))}
    found |= {"mean loss": np.mean(losses), "times the loss of Adam": np.mean(losses) / np.mean(adam)}
    return {name: float(value) for name, value in found.items()}
