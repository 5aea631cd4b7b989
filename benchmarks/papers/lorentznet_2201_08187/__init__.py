"""LorentzNet (Gong et al., 2201.08187): jets as drawn and boosted, by layers that commute with boosts or do not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.stats import rankdata

import equikit as ek
from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe, predict
from benchmarks.core.measurement import Measurement
from benchmarks.core.task_report import TRAINED
from benchmarks.data.jets import Jets, boosts, directions, jets, log_likelihood_ratio
from benchmarks.models.perceptron import optimizer
from benchmarks.papers.lorentznet_2201_08187._networks import (
    LorentzAttention,
    LorentzNet,
    Pairs,
    Sets,
    Transformer,
    Vectors,
    invariants,
    usual,
)

RATIO, AUGMENTED = "likelihood ratio", "transformer, boosted"
RIVALS: dict[str, str] = {
    RATIO: "the exact ratio, with which no classifier can compete",
    "Lorentz attention": "`ek.nn.Attention` of scalars and four-vectors, with the products of all pairs",
    "LorentzNet": "the paper's messages between all pairs, by hand",
    "pairs": "`ek.nn.GraphNetwork` on the products of all pairs",
    "vectors": "`ek.nn.Network` on four-momenta, whose layers are linear and bilinear",
    "Deep Sets, invariant": "`ek.nn.DeepSets` on the products of each particle with the jet",
    "Deep Sets": "`ek.nn.DeepSets` on angles and logarithms of momenta, as the Particle Flow Network",
    "transformer": "`ek.nn.Attention` of scalars, on the same features",
    AUGMENTED: "the same; every jet of every batch is boosted at random",
}
MODELS: dict[str, Callable[[nnx.Rngs], nnx.Module]] = {
    "Lorentz attention": lambda rngs: LorentzAttention(32, 2, rngs),
    "LorentzNet": lambda rngs: LorentzNet(32, 3, rngs),
    "pairs": lambda rngs: Pairs(24, 3, rngs),
    "vectors": lambda rngs: Vectors(40, 3, rngs, vectors=16),
    "Deep Sets, invariant": lambda rngs: Sets(invariants, 3, 64, 3, rngs),
    "Deep Sets": lambda rngs: Sets(usual, 7, 64, 3, rngs),
    "transformer": lambda rngs: Transformer(32, 3, rngs),
    AUGMENTED: lambda rngs: Transformer(32, 3, rngs),
}
PAPER = paper.read(Path(__file__).with_name("paper.toml"))
QUICK = (RATIO, "Lorentz attention", "LorentzNet", "Deep Sets", AUGMENTED)
TASK, GAMMA = "jets", 10.0
INVARIANT = ("Lorentz attention", "LorentzNet", "pairs", "vectors", "Deep Sets, invariant")
TARGETS = tuple(Bound(rival, {"task": TASK}, "difference, moved", 0.02) for rival in INVARIANT)


@dataclass(frozen=True)
class Budget:
    """The budget of every rival.

    Attributes:
        train, validation, test: numbers of jets; the parameters of the epoch with the lowest loss on the second are
            tested.
        recipe: how rivals are trained.
    """

    train: int
    validation: int
    test: int
    recipe: Recipe


def limits(quick: bool) -> Budget:
    """Return the budget of every rival."""
    if quick:
        return Budget(200, 100, 100, Recipe(2, 50, 3e-3))
    return Budget(10_000, 2_000, 2_000, Recipe(20, 100, 3e-3))


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each rival; a quick run leaves out layers that another rival has."""
    rivals = QUICK if quick else tuple(RIVALS)
    return [Cell({"task": TASK, "train": limits(quick).train}, "train", (rival,)) for rival in rivals]


def random_boosts(batch: Any, *, key: jax.Array) -> Any:
    """Boost every jet of a batch along a random direction, with a rapidity up to the largest in the tests."""
    p, mask, labels = batch
    along, how_fast = jax.random.split(key)
    n = jax.random.ball(along, 3, shape=(len(p),), dtype=p.dtype)
    n = (n / jnp.linalg.norm(n, axis=-1, keepdims=True))[:, None]
    rapidity = jax.random.uniform(how_fast, (len(p), 1), p.dtype, 0, np.arccosh(GAMMA))
    cosh, sinh = jnp.cosh(rapidity), jnp.sinh(rapidity)
    energy, part = p[..., 0], jnp.sum(n * p[..., 1:], axis=-1)
    shift = ((cosh - 1) * part + sinh * energy)[..., None] * n
    return jnp.concatenate([(cosh * energy + sinh * part)[..., None], p[..., 1:] + shift], axis=-1), mask, labels


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The area under the curve: the probability that a signal jet has a higher score than a background jet."""
    signal = labels == 1
    count, other = signal.sum(), (~signal).sum()
    return float((rankdata(scores)[signal].sum() - count * (count + 1) / 2) / (count * other))


def rows(of: Jets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Jets as arrays for training."""
    return of.momenta.astype(np.float32), of.mask, of.labels.astype(np.float32)


def loss(module: Any, batch: Any) -> jax.Array:
    """The mean of minus the logarithm of the likelihood."""
    p, mask, labels = batch
    score = module(p, mask)
    return jnp.mean(jnp.logaddexp(0, score) - labels * score)


def apply(module: Any, inputs: Any, key: jax.Array) -> jax.Array:
    """Return the scores; no module uses the key."""
    found: jax.Array = module(*inputs)
    return found


def quality(drawn: np.ndarray, moved: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return errors and areas from the scores of jets as drawn and of the same jets moved."""
    return {
        "error, as drawn": float(np.mean((drawn > 0) != labels)),
        "error, moved": float(np.mean((moved > 0) != labels)),
        "AUC, as drawn": auc(drawn, labels),
        "AUC, moved": auc(moved, labels),
        "difference, moved": float(np.mean((drawn > 0) != (moved > 0))),
    }


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains and tests the rival of a cell; all rivals have the same jets."""
    budget = limits(quick)
    steps = budget.recipe.steps(budget.train)

    @functools.cache
    def data() -> tuple[Jets, Jets, Jets, Jets]:
        tell("draw jets")
        first, last = budget.train, budget.train + budget.validation
        drawn = jets(last + budget.test, seed)
        test = drawn.take(slice(last, None))
        moved = test.moved(boosts(directions(np.random.default_rng([seed, 1]), len(test)), GAMMA))
        return drawn.take(slice(0, first)), drawn.take(slice(first, last)), test, moved

    def measure(cell: Cell) -> list[Measurement]:
        (rival,) = cell.rivals
        train, validation, test, moved = data()
        m = Measurement(dict(cell.case), cell.direction, rival)
        if rival == RATIO:
            tell(RATIO)
            m.scores = quality(log_likelihood_ratio(test), log_likelihood_ratio(moved), test.labels)
            return [m]
        tell(f"train {rival}")
        fitted = ek.train.fit(
            MODELS[rival](nnx.Rngs(seed)),
            loss,
            rows(train),
            rows(validation),
            epochs=budget.recipe.epochs,
            batch=budget.recipe.batch,
            key=jax.random.key(seed),
            optimizer=optimizer(steps, budget.recipe.rate),
            augment=random_boosts if rival == AUGMENTED else None,
            callback=lambda epoch, *_: tell(f"train {rival}, {(epoch + 1) / budget.recipe.epochs:.0%}"),
        )
        drawn, fast = (predict(fitted.model, apply, rows(of)[:2]) for of in (test, moved))
        each = float(np.median(fitted.seconds[1:]))
        m.scores = quality(drawn, fast, test.labels) | {
            "train_loss": float(fitted.losses[fitted.best, 0]),
            "validation loss": float(fitted.losses[fitted.best, 1]),
            "seconds": budget.recipe.epochs * each,
            "compile_seconds": float(fitted.seconds[0]) - each,
            "parameters": float(sum(leaf.size for leaf in jax.tree.leaves(nnx.state(fitted.model, nnx.Param)))),
            "steps": float(steps),
        }
        return [m]

    return measure


BENCHMARK = reproduction(
    title="LorentzNet",
    summary="simulated jets as drawn and boosted: Lorentz attention, other layers, and the exact likelihood ratio",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=TRAINED,
    paper=PAPER,
)
