"""Learned optimizers compared with Adam and momentum, on a perceptron for digits and a small transformer."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
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
from benchmarks.papers.unf_2402_05232._deep_sets import DeepSets
from equikit.weightspace import NFN, UNF, LearnedOptimizer, Problem, evolve, trace, train

DEFAULT, NFN_RIVAL = "Adam, rate only", "learned optimizer, NFN"
PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "momentum": lambda rate, decay: optax.sgd(rate, momentum=decay),
    "Adam": lambda rate, decay: optax.adam(rate, b1=decay),
}
LEARNED: dict[str, Callable[..., Any]] = {
    "rates alone": UNF,
    "learned optimizer": UNF,
    "learned optimizer, Deep Sets": DeepSets,
    NFN_RIVAL: NFN,
}
RIVALS = {
    "momentum": "stochastic gradients, at the best rate, decay and schedule of a grid",
    DEFAULT: "at the best rate of the grid, with the default decay and without a schedule",
    "Adam": "at the best rate, decay and schedule of the grid, which has more training steps than meta-training",
    "rates alone": "the direct term of the learned optimizers: a schedule and a mixture of momenta for every array",
    "learned optimizer, Deep Sets": "with it, a functional that treats the weights of every array as a set",
    NFN_RIVAL: "with it, a functional with the symmetry of hidden neurons and positions of ends",
    "learned optimizer": "with it, a universal neural functional",
}
RATES = tuple(float(rate) for rate in np.geomspace(3e-3, 3.0, 9))
DECAYS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)
AT = (0.1, 0.3, 1.0)
"""Fractions of the steps after which the loss is reported."""


@dataclass(frozen=True)
class Sizes:
    """How much is trained.

    Attributes:
        steps: of training.
        truncation, meta_steps, pairs: of persistent evolution.
        width: of the hidden layer of functionals.
        tests, choices: fresh problems to test on, and others to choose settings of plain optimizers on.
        rates, decays: the grid of Adam and of momentum, each with a constant rate and with a cosine to zero.
    """

    steps: int
    truncation: int
    meta_steps: int
    pairs: int
    width: int
    tests: int
    choices: int
    rates: tuple[float, ...]
    decays: tuple[float, ...]


QUICK = Sizes(10, 5, 2, 2, 2, 2, 2, RATES[::4], DECAYS[4:5])
FULL = Sizes(50, 10, 400, 8, 4, 32, 12, RATES, DECAYS)
MOMENTA = (0.0, 0.5, 0.9, 0.99)
"""Decays of the momenta that learned optimizers mix."""
STRENGTH = 0.1
"""Of functionals: with 0.3, perturbed functionals slow down the learning of the direct term."""
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
MOST = {"train a perceptron": 0.9, "train a transformer": 0.9}
TARGETS = tuple(
    Bound("learned optimizer", {"task": name}, "times the loss of Adam", most) for name, most in MOST.items()
)


def cells(sizes: Sizes) -> list[Cell]:
    """One for all plain optimizers of a problem, one for each learned one; NFN and UNF are equal on a perceptron."""
    learned = {name: [*LEARNED] for name in CASES}
    learned["train a perceptron"].remove(NFN_RIVAL)
    if sizes == QUICK:  # the others are learned on the perceptron; each takes a minute to compile here
        learned["train a transformer"] = [NFN_RIVAL]
    return [
        Cell({"task": name, "train": sizes.meta_steps}, "train", rivals, sizes)
        for name in CASES
        for rivals in (("momentum", DEFAULT, "Adam"), *((rival,) for rival in learned[name]))
    ]


def start(seed: int, tell: Tell) -> Measure:
    """Return the function that trains with the optimizers of a cell, on problems that none of them has seen."""
    case_of = functools.cache(lambda name: CASES[name](seed))
    plain_of = functools.cache(lambda name, sizes: plain(name, case_of(name).problem, sizes, seed, tell))

    def measure(cell: Cell) -> list[Measurement]:
        name, sizes, found = cell.case["task"], cell.given, []
        known = plain_of(name, sizes)
        for rival in cell.rivals:
            if rival in known:
                losses, more = known[rival]
            else:
                tell(f"{name}: {rival}, learn")
                learned, more = meta_trained(rival, case_of(name), sizes, known[DEFAULT][1]["rate"], seed)
                losses = curve(learned.transformation(), case_of(name).problem, sizes, seed + 2)
            found_scores = scores(losses, known["Adam"][0], known[DEFAULT][0]) | more
            found.append(Measurement(dict(cell.case), cell.direction, rival, scores=found_scores))
        return found

    return measure


Result = tuple[np.ndarray, dict[str, float]]
"""The mean losses before each step, and further scores."""


def plain(name: str, problem: Problem, sizes: Sizes, seed: int, tell: Tell) -> dict[str, Result]:
    """Return the results of plain optimizers, at the best settings for other problems."""
    every, found = grid(sizes), dict[str, Result]()
    only = [each for each in every if each[1:] == (0.9, False)]
    for rival, optimizer, settings in (
        ("momentum", "momentum", every),
        (DEFAULT, "Adam", only),
        ("Adam", "Adam", every),
    ):
        tell(f"{name}: {rival}, choose a setting")
        setting = best_setting(PLAIN[optimizer], problem, sizes, settings, seed + 1)
        losses = curve(scheduled(PLAIN[optimizer], sizes.steps, *setting), problem, sizes, seed + 2)
        found[rival] = losses, {"rate": setting[0], "decay": setting[1], "cosine": float(setting[2])}
    return found


def meta_trained(
    rival: str, case: Case, sizes: Sizes, rate: float, seed: int
) -> tuple[LearnedOptimizer, dict[str, float]]:
    """Return a learned optimizer, the seconds that it took, and the number of its parameters."""
    spec = trace(case.apply, jax.eval_shape(case.problem.init, jax.random.key(0)), case.example)
    alone, begin = rival == "rates alone", time.perf_counter()
    first = LearnedOptimizer(
        spec,
        [1 if alone else sizes.width],
        kind=LEARNED[rival],
        decays=MOMENTA,
        rate=rate,
        strength=0.0 if alone else STRENGTH,
        rngs=nnx.Rngs(seed),
    )
    learned = evolve(
        first,
        case.problem,
        steps=sizes.steps,
        truncation=sizes.truncation,
        meta_steps=sizes.meta_steps,
        pairs=sizes.pairs,
        checks=min(10, sizes.meta_steps),
        key=jax.random.key(seed),
    ).optimizer
    seconds = time.perf_counter() - begin
    direct = (learned.log_rate, learned.schedule, learned.mixture)
    weights = [each[...] for each in direct] if alone else jax.tree.leaves(nnx.state(learned, nnx.Param))
    return learned, {"seconds": seconds, "parameters": float(sum(leaf.size for leaf in weights))}


Setting = tuple[float, float, bool]
"""A rate, a decay of the momentum, and whether the rate falls to zero along a cosine."""


def grid(sizes: Sizes) -> list[Setting]:
    """Return all settings of plain optimizers."""
    return list(itertools.product(sizes.rates, sizes.decays, (False, True)))


def scheduled(make: Callable[[Any, Any], Any], steps: int, rate: Any, decay: Any, cosine: Any) -> Any:
    """Return a plain optimizer for a setting, which may be traced."""
    return make(lambda count: rate * jnp.where(cosine, (1 + jnp.cos(math.pi * count / steps)) / 2, 1.0), decay)


def mean_losses(optimizer: Any, problem: Problem, steps: int, keys: jax.Array) -> jax.Array:
    """Return the mean loss before each step, over problems of these keys; a diverged loss counts as the first."""
    losses = jax.vmap(lambda key: train(optimizer, problem, steps, key=key)[1])(keys)
    return jnp.mean(jnp.where(losses < losses[:, :1], losses, losses[:, :1]), axis=0)


def best_setting(
    make: Callable[[Any, Any], Any], problem: Problem, sizes: Sizes, settings: list[Setting], seed: int
) -> Setting:
    """Return the setting with the lowest mean loss, on other problems than the test; one program tries all."""

    @jax.jit
    def run(columns: Any) -> jax.Array:
        def losses(setting: Any) -> jax.Array:
            keys = jax.random.split(jax.random.key(seed), sizes.choices)
            return mean_losses(scheduled(make, sizes.steps, *setting), problem, sizes.steps, keys)

        return jnp.mean(jax.lax.map(losses, columns), axis=-1)

    found = run(tuple(map(jnp.array, zip(*settings, strict=True))))
    return settings[int(np.argmin(found))]


def curve(optimizer: Any, problem: Problem, sizes: Sizes, seed: int) -> np.ndarray:
    """The mean losses, computed."""
    keys = jax.random.split(jax.random.key(seed), sizes.tests)
    return np.asarray(jax.jit(lambda keys: mean_losses(optimizer, problem, sizes.steps, keys))(keys))


def scores(losses: np.ndarray, adam: np.ndarray, default: np.ndarray) -> dict[str, float]:
    """Return the loss during training, its mean over the steps, and both relative to Adam's."""
    found = {f"loss after {share:.0%}": losses[round(share * len(losses)) - 1] for share in AT}
    found |= {f"{STEP}{step}": losses[step] for step in range(0, len(losses), max(1, len(losses) // 25))}
    found |= {
        "mean loss": np.mean(losses),
        "times the loss of Adam": np.mean(losses) / np.mean(adam),
        "times the loss of Adam, at the end": losses[-1] / adam[-1],
        f"times the loss of {DEFAULT}": np.mean(losses) / np.mean(default),
    }
    return {name: float(value) for name, value in found.items()}
