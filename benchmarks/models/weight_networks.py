"""Networks that tell a property of other networks from their weights: flat, statistics, functionals, graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.core.fitting import rows_of
from benchmarks.core.trained import Rival
from benchmarks.data.weight_tasks import WeightTask
from benchmarks.models.zoo import Model
from equikit.weightspace import (
    NFN,
    UNF,
    DWSNet,
    MessagePassing,
    ParameterGraph,
    Probes,
    RelationalTransformer,
    Specification,
    Standardize,
)

WIDTH, HIDDEN = 16, 128
PROBES, NOISE = 64, 0.1
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Perceptron(nnx.Module):
    """Dense layers on features of parameters.

    Args:
        features: standardized parameters to an array `[N, features]`.
        standardize: of the parameters; none for features that have their own units.
        width: how many features there are.
        outputs: numbers.
        rngs: random keys.
    """

    def __init__(
        self,
        features: Callable[[Any], jax.Array],
        standardize: Standardize | None,
        width: int,
        outputs: int,
        rngs: nnx.Rngs,
    ) -> None:
        self.features, self.standardize = features, standardize
        sizes = [width, HIDDEN, HIDDEN, HIDDEN, outputs]
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, params: Any) -> jax.Array:
        """Parameters `[N, ...]` to numbers `[N, outputs]`."""
        x = self.norm(self.features(params if self.standardize is None else self.standardize(params)))
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


def flattened(params: Any) -> jax.Array:
    """All weights, one after another."""
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(params)], axis=-1)


def statistics(params: Any) -> jax.Array:
    """Of each array the mean, the deviation and quantiles, as Unterthiner et al., arXiv:2002.11448, take them."""
    found = []
    for leaf in jax.tree.leaves(params):
        flat = leaf.reshape(len(leaf), -1)
        some = [jnp.mean(flat, axis=-1), jnp.std(flat, axis=-1), *jnp.quantile(flat, jnp.array(QUANTILES), axis=-1)]
        found.append(jnp.stack(some, axis=-1))
    return jnp.concatenate(found, axis=-1)


def _called(outputs: int) -> Callable[[Any, Any, jax.Array], jax.Array]:
    def apply(module: Any, inputs: Any, key: jax.Array) -> jax.Array:
        found: jax.Array = module(inputs)
        return found if outputs > 1 else found[..., 0]

    return apply


def _two(task: WeightTask) -> Any:
    """The parameters of two networks."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[:2]), task.task.train[0])


def perceptron(features: Callable[[Any], jax.Array], augmented: bool = False) -> Callable[[WeightTask, int], Rival]:
    """On features of the parameters."""

    def build(task: WeightTask, seed: int) -> Rival:
        standardize, width = Standardize(task.spec, task.task.train[0]), features(_two(task)).shape[-1]
        module = Perceptron(features, standardize, width, task.outputs, nnx.Rngs(seed))
        return Rival(module, _called(task.outputs), augmented=augmented)

    return build


def alone(task: WeightTask, seed: int) -> Rival:
    """A perceptron on what the networks compute for learned inputs."""
    features = Shown(task.zoo.model, seed)
    width = features(_two(task)).shape[-1]
    module = Perceptron(features, None, width, task.outputs, nnx.Rngs(seed))
    return Rival(module, _called(task.outputs), _noisy(task))


def _noisy(task: WeightTask) -> Callable[[Any, Any, jax.Array], tuple[jax.Array, float]]:
    """Add noise to the weights in training, a share of the deviation of each array."""
    sizes = {name: NOISE * float(np.std(array)) for name, array in task.task.train[0].items()}
    apply = _called(task.outputs)

    def train(module: Any, inputs: Any, key: jax.Array) -> tuple[jax.Array, float]:
        keys = jax.random.split(key, len(sizes))
        noise = {n: sizes[n] * jax.random.normal(k, inputs[n].shape) for n, k in zip(sizes, keys, strict=True)}
        return apply(module, {name: inputs[name] + noise[name] for name in sizes}, key), 0.0

    return train


def functional(
    kind: Callable[..., nnx.Module], channels: Sequence[int], *, probes: bool = False, **options: Any
) -> Callable[[WeightTask, int], Rival]:
    """Equivariant layers, and a perceptron on their invariants; with probes they are trained on noisy weights."""

    def build(task: WeightTask, seed: int) -> Rival:
        more = {"probes": probes_of(task.spec, task.zoo.model, seed)} if probes else {}
        module = kind(
            task.spec,
            [1, *channels],
            out="",
            head=[HIDDEN, task.outputs],
            statistics=task.task.train[0],
            rngs=nnx.Rngs(seed),
            **options,
            **more,
        )
        return Rival(module, _called(task.outputs), _noisy(task) if probes else None)

    return build


class Shown(nnx.Module):
    """What networks compute for a few learned inputs; it is the same for all networks that compute the same."""

    def __init__(self, model: Model, seed: int) -> None:
        self.apply, self.x = model.train, nnx.Param(_inputs(model, seed))

    def __call__(self, params: Any) -> jax.Array:
        """Parameters `[N, ...]` to numbers `[N, probes]`."""
        found = jax.vmap(self.apply, (0, None))(params, self.x[...])
        return found.reshape(len(found), -1)


def _inputs(model: Model, seed: int) -> jax.Array:
    """Random inputs from -1 to 1, `[probes, features]`."""
    x = np.random.default_rng(seed).uniform(-1, 1, (PROBES, *model.example.shape[1:]))
    return jnp.asarray(x, jnp.float32)


def probes_of(spec: Specification, model: Model, seed: int) -> Probes:
    """Return probes at random inputs from -1 to 1, which are learned."""
    return Probes(ParameterGraph(spec), model.apply, _inputs(model, seed)[:, None])


class OnGraph(nnx.Module):
    """A network on the graph of standardized parameters."""

    def __init__(self, network: nnx.Module, standardize: Standardize) -> None:
        self.network, self.standardize = network, standardize

    def __call__(self, params: Any) -> jax.Array:
        """Parameters `[N, ...]` to numbers `[N, outputs]`."""
        found: jax.Array = self.network(self.standardize(params))
        return found


def on_graph(kind: Callable[..., nnx.Module], hidden: Sequence[int], steps: int) -> Callable[[WeightTask, int], Rival]:
    """A network on the graph of the parameters, with a node a neuron; for at least ten epochs and so many steps."""

    def build(task: WeightTask, seed: int) -> Rival:
        rngs = nnx.Rngs(seed)
        network = kind(ParameterGraph(task.spec), [1, *hidden, task.outputs], out="", rngs=rngs)
        module = OnGraph(network, Standardize(task.spec, task.task.train[0]))
        recipe = task.task.recipe
        epochs = max(10, math.ceil(steps / (rows_of(task.task.train) // recipe.batch)))
        return Rival(module, _called(task.outputs), share=min(1.0, epochs / recipe.epochs))

    return build


CHANNELS = (WIDTH, WIDTH, HIDDEN)
MAKE: dict[str, Callable[[WeightTask, int], Rival]] = {
    "flat": perceptron(flattened),
    "flat, augmented": perceptron(flattened, augmented=True),
    "statistics": perceptron(statistics),
    "DWSNet": functional(DWSNet, CHANNELS),
    "NFN": functional(NFN, CHANNELS),
    "UNF": functional(UNF, CHANNELS),
    "probes": alone,
    "DWSNet, probes": functional(DWSNet, CHANNELS, probes=True),
    "DWSNet, probes, members": functional(DWSNet, CHANNELS, probes=True, members=4),
    "message passing": on_graph(MessagePassing, (WIDTH, WIDTH), 480),
    "transformer": on_graph(RelationalTransformer, (WIDTH, WIDTH), 240),
}
