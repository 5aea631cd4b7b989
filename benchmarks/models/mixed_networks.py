"""Predictors of the accuracy of networks of any architecture: trees on statistics, Deep Sets, networks on graphs."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

import equikit as ek
from benchmarks.data.mixed_zoo import MixedTask, Population, accuracy_of
from equikit.weightspace import (
    AnyArchitecture,
    JoinedGraphs,
    MessagePassing,
    ParameterGraph,
    RelationalTransformer,
    graph,
    join_graphs,
)

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAVES = (4, 12)
GROUPS = 2
"""Of architectures: small batches, and many steps."""
Graphs = Mapping[str, ParameterGraph]
"""Name of an architecture to the graph of its parameters."""


@dataclass(frozen=True)
class Training:
    """How rivals are trained; the networks for validation choose the best epoch, or the number of trees.

    Attributes:
        epochs: or trees.
        rate: the largest rate of learning.
    """

    epochs: int
    rate: float


@dataclass(frozen=True)
class Predicted:
    """What a rival predicts for the networks of `accuracy_of`.

    Attributes:
        validation, test: accuracies.
        seconds: of training.
        parameters: their number; zero for trees.
        best: the epoch that counts, or the number of trees.
    """

    validation: np.ndarray
    test: np.ndarray
    seconds: float
    parameters: int
    best: int


def statistics(one: Population) -> np.ndarray:
    """Return mean, variance and quantiles of weights `[N, features]`, as Unterthiner et al., arXiv:2002.11448.

    They take them layer by layer. Networks of different depths have different layers, so here they are taken over all
    matrices and kernels, over the first and over the last of them, and as the mean over layers; the same for vectors.
    Two more features are the logarithms of the numbers of arrays and of weights.
    """
    flat = [array.reshape(len(array), -1) for array in one.params.values()]
    wide = [array.ndim > 2 for array in one.params.values()]
    found = []
    for kind in (True, False):
        some = [array for array, is_wide in zip(flat, wide, strict=True) if is_wide == kind]
        layers = [_summary(array) for array in some]
        found += [_summary(np.concatenate(some, axis=1)), layers[0], layers[-1], np.mean(layers, axis=0)]
    sizes = np.log([len(flat), sum(array.shape[1] for array in flat)])
    return np.concatenate([*found, np.broadcast_to(sizes, (len(flat[0]), 2))], axis=1)


def _summary(flat: np.ndarray) -> np.ndarray:
    return np.stack([flat.mean(axis=1), flat.var(axis=1), *np.quantile(flat, QUANTILES, axis=1)], axis=1)


def trees(task: MixedTask, graphs: Graphs, training: Training, seed: int) -> Predicted:
    """Boost trees on statistics; validation chooses the rate, the leaves and the number of trees."""
    start = time.perf_counter()
    train, validation, test = (
        (np.concatenate([statistics(one) for one in part]), accuracy_of(part))
        for part in (task.train, task.validation, task.test)
    )
    least, best = math.inf, None
    for rate in (training.rate, training.rate / 5):
        for leaves in LEAVES:
            model = HistGradientBoostingRegressor(
                learning_rate=rate,
                max_leaf_nodes=leaves,
                max_iter=training.epochs,
                early_stopping=False,
                random_state=seed,
            )
            with threadpool_limits(1):  # a thousand rows are too few to share
                staged = [*model.fit(*train).staged_predict(validation[0])]
            errors = [np.mean((found - validation[1]) ** 2) for found in staged]
            number = int(np.argmin(errors))
            if errors[number] < least:
                least, best = errors[number], (model, number, staged[number])
    assert best is not None
    model, number, predicted = best
    of_test = next(found for place, found in enumerate(model.staged_predict(test[0])) if place == number)
    return Predicted(predicted, of_test, time.perf_counter() - start, 0, number + 1)


def columns(name: str, array: np.ndarray) -> np.ndarray:
    """Return a parameter as `[N, summands, neurons]`, matrices and kernels times the root of the number of summands."""
    # Projections to the heads of an attention sum over one axis, and all others over all axes but the last.
    axes = 2 if name in ("q", "k", "v") else array.ndim - 1
    summands = math.prod(array.shape[1:axes])
    return array.reshape(len(array), summands, -1) * (math.sqrt(summands) if array.ndim > 2 else 1.0)


def channels(one: Population) -> dict[str, np.ndarray]:
    """Return every weight as two channels, `[N, *shape, 2]`: scaled as in `columns`, and the logarithm of its size.

    Its size tells more of a training than its sign, and no network has to learn first how to take it.
    """
    found = {}
    for name, array in one.params.items():
        values = columns(name, array).reshape(array.shape)
        found[name] = np.stack([values, 1 + np.log(np.abs(values) + 0.01) / 2], axis=-1).astype(np.float32)
    return found


def neurons(one: Population) -> np.ndarray:
    """Return a feature vector for each neuron and each parameter that it has, `[N, neurons, features]`.

    The features are mean, deviation, extremes and median of the entries, the logarithm of their number, the number of
    axes of the parameter, and its position among all parameters.
    """
    found = []
    for place, (name, array) in enumerate(one.params.items()):
        of = columns(name, array)
        values = [of.mean(1), of.std(1), of.min(1), np.median(of, 1), of.max(1)]
        axes = [float(array.ndim == n) for n in (2, 3, 4, 5)]
        same = [math.log(of.shape[1]) / 4, *axes, (place + 0.5) / len(one.params)]
        rest = np.broadcast_to(np.array(same), (len(of), of.shape[2], len(same)))
        found.append(np.concatenate([np.arcsinh(np.stack(values, axis=-1)), rest], axis=-1))
    return np.concatenate(found, axis=1).astype(np.float32)


def deep_sets(task: MixedTask, graphs: Graphs, training: Training, seed: int) -> Predicted:
    """Deep Sets of neurons."""
    parts = [[neurons(one) for one in part] for part in (task.train, task.validation, task.test)]
    most = max(x.shape[1] for part in parts for x in part)
    seen = np.concatenate([x.reshape(-1, x.shape[-1]) for x in parts[0]])
    mean, deviation = seen.mean(0), seen.std(0) + 1e-3

    def padded(part: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        inputs = [np.pad((x - mean) / deviation, [(0, 0), (0, most - x.shape[1]), (0, 0)]) for x in part]
        masks = [np.broadcast_to(np.arange(most) < x.shape[1], (len(x), most)) for x in part]
        return np.concatenate(inputs), np.concatenate(masks)

    of = (task.train, task.validation, task.test)
    train, validation, test = ((*padded(x), accuracy_of(part)) for x, part in zip(parts, of, strict=True))
    module = ek.nn.DeepSets(train[0].shape[-1], [64, 64, 64], 1, rngs=nnx.Rngs(seed))

    def apply(module: Any, inputs: Any) -> jax.Array:
        x, mask = inputs
        return module(x, mask=mask)[..., 0]

    batch = len(task.train)
    fitted = _fitted(
        module, lambda module, rows: _loss(apply(module, rows[:2]), rows[2]), train, validation, training, seed, batch
    )
    run = nnx.jit(apply)
    found = [np.asarray(jax.nn.sigmoid(run(fitted.model, rows[:2]))) for rows in (validation, test)]
    return _predicted(fitted, *found)


def graphs_of(populations: Sequence[Population]) -> dict[str, ParameterGraph]:
    """Trace every architecture."""
    found = {}
    for one in populations:
        model = one.architecture.model
        shapes = {name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in one.params.items()}
        found[key(one)] = graph(model.apply, shapes, model.example)
    return found


def key(one: Population) -> str:
    """The name of an architecture among all."""
    return f"{one.architecture.family} {one.architecture.name}"


class Strata:
    """Batches with one network of each architecture of a group, in new random combinations in each pass.

    All batches of a group have the same structure, so there is one compiled program for each group, and no padding
    beyond the rounding of sizes.

    Args:
        part: equally many networks of every architecture.
        graphs: of the architectures.
        seed: of the combinations; `None` for the order of the networks.
        groups: into so many groups the architectures are dealt in turn.
        change: applied to every batch.
    """

    def __init__(
        self,
        part: Sequence[Population],
        graphs: Graphs,
        seed: int | None = None,
        groups: int = 1,
        change: Callable[[JoinedGraphs], JoinedGraphs] = lambda batch: batch,
    ) -> None:
        self.groups = [_Group(part[first::groups], graphs, change) for first in range(groups)]
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return sum(len(group.targets) for group in self.groups)

    def set_epoch(self, epoch: int) -> None:
        """Choose the combinations of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[JoinedGraphs, np.ndarray]]:
        generator = None if self.seed is None else np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        found = [batch for group in self.groups for batch in group.batches(generator)]
        return iter(found if generator is None else [found[i] for i in generator.permutation(len(found))])


class _Group:
    """The joined graphs of one network of every architecture, many times."""

    def __init__(
        self, part: Sequence[Population], graphs: Graphs, change: Callable[[JoinedGraphs], JoinedGraphs]
    ) -> None:
        own = [(graphs[key(one)], channels(one)) for one in part]
        each = [
            join_graphs([(shape, {name: a[row] for name, a in params.items()}) for shape, params in own], channels=2)
            for row in range(len(part[0].accuracy))
        ]
        self.first = change(each[0])
        self.nodes, self.edges = (np.stack([getattr(b, side).values for b in each]) for side in ("nodes", "edges"))
        self.targets = np.stack([one.accuracy for one in part], axis=1)
        self.ends = np.cumsum(np.concatenate([[[0, 0]], self.first.counts]), axis=0)

    def batches(self, generator: np.random.Generator | None) -> Iterator[tuple[JoinedGraphs, np.ndarray]]:
        """Return batches; the generator decides which networks come together."""
        nodes, edges, targets = self.nodes, self.edges, self.targets
        if generator is not None:
            nodes, edges, targets = nodes.copy(), edges.copy(), targets.copy()
            for number in range(targets.shape[1]):
                order = generator.permutation(len(targets))
                targets[:, number] = targets[order, number]
                for values, (a, b) in zip((nodes, edges), self.ends[number : number + 2].T, strict=True):
                    values[:, a:b] = values[order, a:b]
        first = self.first
        for row in range(len(targets)):
            rows = {"nodes": first.nodes._replace(values=nodes[row]), "edges": first.edges._replace(values=edges[row])}
            yield replace(first, **rows, pairs=None), targets[row]


def bare(batch: JoinedGraphs) -> JoinedGraphs:
    """Remove the features of nodes, edges and values; only the kinds, by which means are taken, stay."""
    of_nodes, of_edges = (
        blocks._replace(traits=0 * blocks.traits, channels=0 * blocks.channels)
        for blocks in (batch.node_blocks, batch.edge_blocks)
    )
    return replace(batch, node_blocks=of_nodes, edge_blocks=of_edges, positions=0 * batch.positions)


def on_graphs(
    make: Callable[..., nnx.Module],
    task: MixedTask,
    graphs: Graphs,
    training: Training,
    seed: int,
    change: Callable[[JoinedGraphs], JoinedGraphs] = lambda batch: batch,
) -> Predicted:
    """A network on the joined graphs of parameters."""
    module = make(AnyArchitecture(), [2, 16, 16, 1], out="", rngs=nnx.Rngs(seed))
    train = Strata(task.train, graphs, seed, GROUPS, change)
    validation, test = (Strata(part, graphs, change=change) for part in (task.validation, task.test))

    def apply(module: Any, batch: JoinedGraphs) -> jax.Array:
        return module(batch)[..., 0]

    fitted = _fitted(
        module, lambda module, rows: _loss(apply(module, rows[0]), rows[1]), train, validation, training, seed
    )
    run = nnx.jit(apply)

    def outputs(part: Strata) -> np.ndarray:
        found = np.stack([np.asarray(jax.nn.sigmoid(run(fitted.model, batch))) for batch, _ in part], axis=1)
        return found.reshape(-1)

    return _predicted(fitted, outputs(validation), outputs(test))


def _loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """The cross entropy of accuracies, as in the papers."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(outputs, targets))


def _fitted(
    module: nnx.Module,
    loss: Callable[[Any, Any], jax.Array],
    train: Any,
    validation: Any,
    training: Training,
    seed: int,
    batch: int | None = None,
) -> Any:
    return ek.train.fit(
        module,
        loss,
        train,
        validation,
        epochs=training.epochs,
        batch=batch,
        optimizer=training.rate,
        key=jax.random.key(seed),
    )


def _predicted(fitted: Any, validation: np.ndarray, test: np.ndarray) -> Predicted:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(fitted.model, nnx.Param)))
    return Predicted(validation, test, float(np.sum(fitted.seconds)), parameters, int(fitted.best) + 1)


Predict = Callable[[MixedTask, Graphs, Training, int], Predicted]
MAKE: dict[str, Predict] = {
    "statistics": trees,
    "Deep Sets": deep_sets,
    "message passing": functools.partial(on_graphs, MessagePassing),
    "message passing, bare": functools.partial(on_graphs, MessagePassing, change=bare),
    "transformer": functools.partial(on_graphs, RelationalTransformer),
}
