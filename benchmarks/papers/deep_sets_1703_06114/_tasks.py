"""Training and tests of each task; all return scores and the seconds of training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.metrics import average_precision_score

import equikit as ek
from benchmarks.core.fitting import Recipe, fit, predict
from benchmarks.data.digits import Digits
from benchmarks.papers._curves import points
from benchmarks.papers.deep_sets_1703_06114 import _sets as sets
from benchmarks.papers.deep_sets_1703_06114._networks import SCALE, Alone, Expansion, KernelMean, Recurrent, SumNetwork

LENGTHS = (5, 10, 15, 20, 50, 100)
LONGEST, SIZE, QUERY, HELD = 10, 16, 4, 128
Scores = dict[str, float]


def population(task: str, rival: str, size: int, count: int, recipe: Recipe, seed: int) -> Scores:
    """Estimate a statistic of bags of 512 points."""
    train, held, test = (sets.bags(task, n, 512, 3 * seed + i) for i, n in enumerate((size, HELD, count)))
    seconds = 0.0
    if rival == "kernel mean":
        found = KernelMean(seed).fit_and_predict(train.points, train.targets, (held.points, held.targets), test.points)
    else:
        network = SumNetwork([2, 50, 100, 50], [50, 30, 30, 10, 1], jax.nn.elu, "mean", nnx.Rngs(seed))
        shift, scale = train.targets.mean(), train.targets.std()

        def loss(module: Any, rows: Any, key: jax.Array) -> jax.Array:
            return jnp.mean((module(rows[0]) - rows[1]) ** 2)

        fitted = fit(network, loss, (train.points, (train.targets - shift) / scale), recipe, seed)
        out = predict(fitted.module, lambda module, x, key: module(x), test.points, batch=64)
        found, seconds = out * scale + shift, fitted.seconds
    error = float(np.mean((found - test.targets) ** 2))
    places = np.linspace(0, len(found) - 1, 64).astype(int)
    return {
        "mean squared error": error,
        "share of the variance": error / float(np.var(test.targets)),
        "seconds": seconds,
        **points("estimate", test.parameters[places], found[places]),
        **points("truth", test.parameters[places], test.targets[places]),
    }


def summer(rival: str, features: int, seed: int) -> nnx.Module:
    """The authors' networks for symbols (10 features) and for images."""
    rngs = nnx.Rngs(seed)
    widths, head = ([features, 100], []) if features == 10 else ([features, 300, 100], [30])
    if rival == "Deep Sets":
        return SumNetwork([*widths, 30], [30, 1], jnp.tanh, "sum", rngs)
    return Recurrent(widths, rival, 50, head, rngs)


def digit_sums(task: str, rival: str, sizes: tuple[int, int], recipe: Recipe, seed: int) -> Scores:
    """Add up at most ten digits in training, and up to 100 in tests."""
    train, test = (sets.symbols(),) * 2 if task == "sums of symbols" else sets.images(seed)
    table, tested = jnp.asarray(train.inputs), jnp.asarray(test.inputs)

    def loss(module: Any, rows: Any, key: jax.Array) -> jax.Array:
        which, lengths, total = rows
        return jnp.mean(jnp.abs(module(table[which], lengths) - total / SCALE))

    rows = sets.sums(train, sizes[0], LONGEST, 2 * seed)
    fitted = fit(summer(rival, train.inputs.shape[1], seed), loss, rows, recipe, seed)
    right, off = [], []
    for length in LENGTHS:
        which, _, total = sets.sums(test, sizes[1], length, 2 * seed + 1, shortest=length)
        found = SCALE * predict(fitted.module, lambda module, x, key: module(tested[x]), which)
        right.append(float(np.mean(np.round(found) == total)))
        off.append(float(np.mean(np.abs(found - total))))
    scores = {f"accuracy, {n} digits": right[LENGTHS.index(n)] for n in (5, 10, 15, 50, 100)}
    scores |= {f"mean error, {n} digits": off[LENGTHS.index(n)] for n in (10, 50, 100)}
    return scores | {"seconds": fitted.seconds, **points("accuracy", LENGTHS, right)}


def outlier(rival: str, sizes: tuple[int, int], recipe: Recipe, seed: int) -> Scores:
    """Find the one image of 16 that shows another digit."""
    train, test = sets.images(seed)
    table, tested = jnp.asarray(train.inputs), jnp.asarray(test.inputs)
    rngs = nnx.Rngs(seed)
    network = (
        ek.nn.DeepSets(64, [128, 128], 1, out="p", rngs=rngs)
        if rival == "Deep Sets"
        else Alone([64, 128, 128, 1], rngs)
    )

    def loss(module: Any, rows: Any, key: jax.Array) -> jax.Array:
        scores = module(table[rows[0]])[..., 0]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, rows[1]))

    fitted = fit(network, loss, sets.outliers(train, sizes[0], SIZE, 2 * seed), recipe, seed)
    which, place = sets.outliers(test, sizes[1], SIZE, 2 * seed + 1)
    found = predict(fitted.module, lambda module, x, key: module(tested[x])[..., 0], which)
    return {"accuracy": float(np.mean(np.argmax(found, -1) == place)), "seconds": fitted.seconds}


def expansion(rival: str, sizes: tuple[int, int], recipe: Recipe, seed: int) -> Scores:
    """Rank images by whether they belong to a set of four images of one digit."""
    train, test = sets.images(seed)
    table = jnp.asarray(train.inputs)
    drawn, *_ = sets.queries(test, sizes[1], QUERY, 2 * seed + 1)
    fitted = None
    if rival == "Deep Sets":

        def loss(module: Any, rows: Any, key: jax.Array) -> jax.Array:
            query, right, wrong = rows
            scores = [module(table[jnp.concatenate([query, one[:, None]], 1)]) for one in (right, wrong)]
            return jnp.mean(jax.nn.relu(1 - scores[0] + scores[1]))  # the margin of the paper

        network = Expansion([64, 128, 64], [128, 64, 1], nnx.Rngs(seed))
        fitted = fit(network, loss, sets.queries(train, sizes[0], QUERY, 2 * seed), recipe, seed)
    precisions, first = zip(
        *(_ranked(rival, fitted, test, query, seed + i) for i, query in enumerate(drawn)), strict=True
    )
    seconds = 0.0 if fitted is None else fitted.seconds
    found = {"average precision": float(np.mean(precisions)), "precision of the first ten": float(np.mean(first))}
    return found | {"seconds": seconds}


def _scored(module: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """Apply a module; a function of its own, so that its program is compiled once."""
    found: jax.Array = module(x)
    return found


def _ranked(rival: str, fitted: Any, test: Digits, query: np.ndarray, seed: int) -> tuple[float, float]:
    """Average precision, and precision of the first ten, of the ranking of all images outside of a query."""
    rest = np.setdiff1d(np.arange(len(test)), query)
    if rival == "random":
        scores = np.random.default_rng(seed).random(len(rest))
    elif rival == "nearest":
        apart = np.linalg.norm(test.inputs[rest][:, None] - test.inputs[query], axis=-1)
        scores = -apart.mean(axis=1)
    else:
        whole = np.concatenate([np.broadcast_to(query, (len(rest), len(query))), rest[:, None]], axis=1)
        scores = predict(fitted.module, _scored, test.inputs[whole])
    right = test.labels[rest] == test.labels[query[0]]
    return float(average_precision_score(right, scores)), float(np.mean(right[np.argsort(-scores)[:10]]))
