"""Layers of `peers` on the weights of a network: equikit, and one term at a time as UNF does it.

A weight space is several tensors with one label per axis; equal labels are permuted together. After Zhou et al.,
"Universal Neural Functionals" (arXiv:2402.05232), from their description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.speed._permutation_einsum import three_steps
from benchmarks.speed._permutation_rivals import Layer, Shape
from equikit.diagrams import Diagram

Arrays = dict[str, jax.Array]


@dataclass(frozen=True)
class WeightSpace:
    """A layer from all tensors to all tensors.

    Attributes:
        terms: the labels of each tensor, as one text.
        n: the size of every axis.
        batch, channels: of every tensor.
    """

    terms: tuple[str, ...]
    n: int
    batch: int
    channels: int

    @property
    def labels(self) -> list[str]:
        return sorted({label for term in self.terms for label in term.split()})

    def module(self, seed: int) -> ek.nn.Linear:
        terms = dict.fromkeys(self.terms, self.channels)
        groups = dict.fromkeys(self.labels, ek.S)
        return ek.nn.Linear(
            terms, terms, groups=groups, use_bias=False, normalize="sum", init_size=self.n, rngs=nnx.Rngs(seed)
        )

    def inputs(self, key: jax.Array) -> Arrays:
        keys = jax.random.split(key, len(self.terms))
        shapes = [(self.batch, *(self.n,) * len(term.split()), self.channels) for term in self.terms]
        return {term: jax.random.normal(key, shape) for term, key, shape in zip(self.terms, keys, shapes, strict=True)}


def mlp(layers: int, n: int, batch: int, channels: int) -> WeightSpace:
    """Return the weights and biases of a perceptron with this many layers, in which all neurons are permuted."""
    weights = [f"h{i} h{i - 1}" for i in range(1, layers + 1)]
    return WeightSpace((*weights, *(f"h{i}" for i in range(1, layers + 1))), n, batch, channels)


def rnn(n: int, batch: int, channels: int) -> WeightSpace:
    """The kernel of a recurrent network."""
    return WeightSpace(("h h",), n, batch, channels)


def equikit_layer(module: ek.nn.Linear) -> Layer:
    """Return the computation of the layer, with its weights in a plain dictionary."""
    plan = module.plan
    return Layer(lambda weights, x: ek.plans.apply(plan, x, weights), shared_weights(module))


def shared_weights(module: ek.nn.Linear) -> Arrays:
    """The weights of every pair of tensors, `[diagrams, channels in, channels out]`."""
    return {name: parameter[...] for name, parameter in module.kernel.items()}


def _places(blocks: Sequence[int], order: Sequence[int], n: int) -> tuple[jax.Array, ...]:
    """For each vertex the index that its block has, on a grid with one axis for each block."""
    return tuple(jnp.arange(n).reshape([-1 if block == one else 1 for one in order]) for block in blocks)


def one_term(diagram: Diagram, orders: tuple[int, int], n: int) -> Callable[[jax.Array], jax.Array]:
    """Compute one term before its channels are mixed: from an input tensor to an array to add to the output.

    Vertices of the input that are in one block are read off a diagonal, blocks that lie in the input alone are summed
    over, and where a block holds several vertices of the output the result is written on a diagonal of zeros; other
    axes are left to broadcasting, with size one.
    """
    top, bottom = diagram.growth[: orders[1]], diagram.growth[orders[1] :]
    inside, outside = list(dict.fromkeys(bottom)), list(dict.fromkeys(top))
    summed = tuple(1 + i for i, block in enumerate(inside) if block not in top)
    wires = [block for block in inside if block in top]
    order = [1 + wires.index(block) for block in outside if block in bottom]
    grid = [n if block in bottom else 1 for block in outside]
    is_wide = [block in bottom or top.count(block) > 1 for block in top]

    def run(x: jax.Array) -> jax.Array:
        if len(inside) < len(bottom):
            x = x[:, *_places(bottom, inside, n)]
        y = jnp.sum(x, axis=summed)
        batch, channels = y.shape[0], y.shape[-1]
        y = y.transpose(0, *order, y.ndim - 1).reshape(batch, *grid, channels)
        if len(outside) == len(top):
            return y
        places = [
            place if wide else jnp.zeros((1,) * len(outside), int)
            for place, wide in zip(_places(top, outside, n), is_wide, strict=True)
        ]
        zeros = jnp.zeros((batch, *(n if wide else 1 for wide in is_wide), channels), y.dtype)
        return zeros.at[:, *places].add(y)

    return run


def one_term_at_a_time(space: WeightSpace, module: ek.nn.Linear) -> Layer:
    """Compute every term of every pair of tensors separately, each with its own product, expanded to the full output.

    As in UNF, the weights of an output are one array `[terms, channels in, channels out]`, and channels are mixed after
    a term is written on a diagonal, before it is broadcast.
    """
    terms: dict[str, list[tuple[str, Callable[[jax.Array], jax.Array]]]] = {term: [] for term in space.terms}
    names: dict[str, list[str]] = {term: [] for term in space.terms}
    for pair in module.space.pairs:
        (source,), (target,) = pair.signature.inputs, pair.signature.outputs
        orders = len(source.labels), len(target.labels)
        terms[target.name] += [(source.name, one_term(diagram, orders, space.n)) for diagram in pair.diagrams]
        names[target.name].append(f"{source.name} -> {target.name}")
    shared = shared_weights(module)

    def apply(weights: Arrays, x: Arrays) -> Arrays:
        outputs = {}
        for target, functions in terms.items():
            y = jnp.zeros_like(x[target])
            for i, (source, function) in enumerate(functions):
                y = y + function(x[source]) @ weights[target][i]
            outputs[target] = y
        return outputs

    def back(gradient: Arrays) -> Arrays:
        found: Arrays = {}
        for target, parts in names.items():
            ends = np.cumsum([len(shared[name]) for name in parts])[:-1]
            found |= dict(zip(parts, jnp.split(gradient[target], ends), strict=True))
        return found

    parameters = {target: jnp.concatenate([shared[name] for name in parts]) for target, parts in names.items()}
    return Layer(apply, parameters, back)


def kernel_staged(space: WeightSpace, module: ek.nn.Linear) -> Layer:
    """The kernel of a recurrent network by the rival *einsum, staged* of `permutation_layers`."""
    (term,), ((name, weights),) = space.terms, shared_weights(module).items()
    layer = three_steps(Shape(2, 2, space.n, space.batch, space.channels), weights)
    return Layer(
        layer.apply,
        layer.parameters,
        lambda gradient: {name: gradient},
        lambda x: x[term],
        lambda x: {term: x},
        lambda y: {term: y},
    )
