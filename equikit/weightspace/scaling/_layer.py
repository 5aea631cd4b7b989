"""A layer on features that scale like the weights and neurons that they belong to."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from equikit.weightspace.graphs.layers._dense import Joined, Options
from equikit.weightspace.scaling._canonical import norm
from equikit.weightspace.scaling._objects import Kind, Object, pooled, spread

GATES = 0.1
"""A factor of gates: the first features of a network are hardly changed by its layers."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scaled:
    """The features that a layer updates.

    Attributes:
        objects: of every entry of a tensor, `[*batch, *neurons, c]`, by name; they scale like the entry.
        kinds: of neurons, `[*batch, n, c]`, by the name of a `Kind`; they scale by its character.
        neurons: of neurons, `[*batch, n, c]`, by label; invariant.
        whole: of the whole network, `[*batch, c]`; invariant.
    """

    objects: dict[str, jax.Array]
    kinds: dict[str, jax.Array]
    neurons: dict[str, jax.Array]
    whole: jax.Array

    def of(self, kind: Kind) -> jax.Array:
        """Return features of neurons that scale by a character, which are the invariant ones for the trivial one."""
        return self.kinds[kind.name] if kind.name in self.kinds else self.neurons[kind.name]


def shortened(x: jax.Array, inverse: jax.Array) -> jax.Array:
    """Divide features by a root of one plus the invariant product of their size and the size of inverse features.

    Features of signs are their own inverse features. Products of several features then stay of the order of one.
    """
    sizes = [norm(one, (-1,))[..., None] / one.shape[-1] ** 0.5 for one in (x, inverse)]
    return (x / jnp.sqrt(1 + sizes[0] * sizes[1])).astype(x.dtype)


class Invariant(nnx.Module):
    """Invariants of a vector of features: its direction if it is scaled, products of entries if signs act on it."""

    def __init__(self, odd: bool, scaled: bool, width: int, options: Options) -> None:
        self.scaled = scaled
        self.pairs = plain(width, 2 * width, options) if odd else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return invariants, `[..., c]`."""
        if self.scaled:
            length = norm(x, (-1,))[..., None] / x.shape[-1] ** 0.5
            x = (x / jnp.where(length == 0, 1, length)).astype(x.dtype)
        else:
            x = shortened(x, x)
        if self.pairs is None:
            return x
        one, two = jnp.split(self.pairs(x), 2, axis=-1)
        return one * two


def plain(before: int, after: int, options: Options, *, use_bias: bool = False) -> nnx.Linear:
    """Return a linear map between channels; it has at least one input and one output."""
    found = options.linear(before, after, use_bias=use_bias)
    assert found is not None
    return found


class ObjectUpdate(nnx.Module):
    """The update of one tensor's features, and its messages to neurons."""

    def __init__(self, one: Object, width: int, options: Options) -> None:
        self.object = one
        ends = {f"end {place}": width for place in range(len(one.ends))}
        self.value = plain(width, 2 * width, options)
        self.near = nnx.List([plain(width, width, options) for _ in one.ends])
        self.far = nnx.List([plain(width, width, options) for _ in one.ends])
        self.itself = Invariant(one.odd, one.scaled, width, options)
        self.hidden = Joined({"product": width, "itself": width, "whole": width} | ends, width, options)
        self.gates = plain(width, 3 * width, options, use_bias=True)

    def __call__(self, state: Scaled) -> tuple[jax.Array, jax.Array, list[jax.Array]]:
        """Return new features, invariants of each entry, and a message to each end.

        Features of neurons that scale are shortened, and invariant features are normalized.
        """
        ends, rank, part = self.object.ends, len(self.object.ends), self.hidden.part
        x = state.objects[self.object.name]
        near = [spread(f(state.of(end.against)), end, rank) for f, end in zip(self.near, ends, strict=True)]
        far = [spread(f(state.of(end.along)), end, rank) for f, end in zip(self.far, ends, strict=True)]
        value, message = jnp.split(self.value(x if self.object.scaled else shortened(x, x)), 2, axis=-1)
        # The characters of the factors cancel.
        product = jnp.arcsinh(functools.reduce(operator.mul, near, value))
        total = part("product", product) + part("itself", self.itself(x))
        whole = part("whole", state.whole)
        total = total + whole.reshape(*whole.shape[:-1], *[1] * rank, whole.shape[-1])
        for place, end in enumerate(ends):
            total = total + spread(part(f"end {place}", state.neurons[end.label]), end, rank)
        invariants = self.hidden(total)
        keep, add, send = jnp.split(GATES * self.gates(invariants), 3, axis=-1)
        new = x * (1 + keep) + functools.reduce(operator.mul, far, add)
        message = message * (1 + send)
        others = [near[:place] + near[place + 1 :] for place in range(rank)]
        messages = [functools.reduce(operator.mul, factors, message) for factors in others]
        sent = [pooled(one, end, rank, 0.5) for one, end in zip(messages, ends, strict=True)]
        return new, invariants, sent


class NeuronUpdate(nnx.Module):
    """The update of the features of one label's neurons."""

    def __init__(self, label: str, kinds: Sequence[Kind], width: int, options: Options) -> None:
        self.label, self.kinds = label, tuple(kinds)
        self.itself = nnx.List([Invariant(kind.odd, kind.scaled, width, options) for kind in kinds])
        self.value = nnx.List([plain(width, width, options) for _ in kinds])
        self.sent = nnx.List([plain(width, width, options) for _ in kinds])
        more = {f"{name} {place}": width for place in range(len(kinds)) for name in ("itself", "product")}
        self.hidden = Joined({"neuron": width, "seen": width, "whole": width} | more, width, options)
        self.gates = plain(width, 2 * width * len(kinds), options, use_bias=True) if kinds else None

    def __call__(
        self, kinds: dict[str, jax.Array], norms: dict[str, jax.Array], seen: jax.Array, sent: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the change of invariant features, and new features that scale, from means of messages."""
        part = self.hidden.part
        total = part("neuron", norms[self.label]) + part("seen", seen)
        whole = part("whole", norms["whole"])
        rank = total.ndim - whole.ndim
        total = total + whole.reshape(*whole.shape[:-1], *[1] * rank, whole.shape[-1])
        for place, kind in enumerate(self.kinds):
            x, other = kinds[kind.name], kinds[kind.inverse]
            total = total + part(f"itself {place}", self.itself[place](x))
            total = total + part(f"product {place}", self.value[place](shortened(x, other)) * shortened(other, x))
        change = self.hidden(total)
        found: dict[str, jax.Array] = {}
        gates = jnp.split(GATES * self.gates(change), 2 * len(self.kinds), axis=-1) if self.gates is not None else []
        for place, kind in enumerate(self.kinds):
            x = kinds[kind.name] * (1 + gates[2 * place])
            if kind.name in sent:
                x = x + self.sent[place](sent[kind.name]) * (1 + gates[2 * place + 1])
            found[kind.name] = x
        return change, found


class ScaleLayer(nnx.Module):
    """Update tensors from neurons, neurons from tensors, and the whole network from both."""

    def __init__(
        self,
        objects: Sequence[Object],
        neurons: Mapping[str, Sequence[Kind]],
        width: int,
        options: Options,
    ) -> None:
        self.names, self.labels = tuple(one.name for one in objects), tuple(neurons)
        self.objects = nnx.List([ObjectUpdate(one, width, options) for one in objects])
        self.neurons = nnx.List([NeuronUpdate(label, kinds, width, options) for label, kinds in neurons.items()])
        self.norms = nnx.List([options.norm(width) for _ in (*neurons, "whole")])
        self.whole = Joined({"whole": width, "neurons": width, "objects": width}, width, options)

    def __call__(self, state: Scaled) -> Scaled:
        """Apply the layer."""
        features = [*(state.neurons[label] for label in self.labels), state.whole]
        norms = {name: normed(x) for name, normed, x in zip((*self.labels, "whole"), self.norms, features, strict=True)}
        short = {
            kind.name: shortened(state.kinds[kind.name], state.kinds[kind.inverse])
            for update in self.neurons
            for kind in update.kinds
        }
        shown = Scaled(state.objects, short, {label: norms[label] for label in self.labels}, norms["whole"])
        objects: dict[str, jax.Array] = {}
        invariants: dict[str, jax.Array] = {}
        sent: dict[str, list[jax.Array]] = {}
        seen: dict[str, list[jax.Array]] = {}
        for name, update in zip(self.names, self.objects, strict=True):
            objects[name], invariants[name], messages = update(shown)
            for end, message in zip(update.object.ends, messages, strict=True):
                rank = len(update.object.ends)
                seen.setdefault(end.label, []).append(pooled(invariants[name], end, rank, 1))
                if end.moves:
                    sent.setdefault(end.along.name, []).append(message)
                else:
                    seen[end.label].append(message)
        together = {kind: _mean(some) for kind, some in sent.items()}
        neurons, kinds = dict[str, jax.Array](), dict[str, jax.Array]()
        for label, change in zip(self.labels, self.neurons, strict=True):
            more, found = change(state.kinds, norms, _mean(seen[label]), together)
            neurons[label] = state.neurons[label] + more
            kinds |= found
        total = self.whole.part("whole", norms["whole"])
        for name, some in (("objects", invariants), ("neurons", neurons)):
            rows = [mean_of_rows(x, state.whole.ndim - 1) for x in some.values()]
            if rows:
                total = total + self.whole.part(name, _mean(rows))
        return Scaled(objects, kinds, neurons, state.whole + self.whole(total))


def _mean(arrays: Sequence[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, arrays) / len(arrays)


def mean_of_rows(x: jax.Array, batch: int) -> jax.Array:
    """Return the mean over all axes between batch and channels, zero if there are no entries: `[*batch, c]`."""
    axes = tuple(range(batch, x.ndim - 1))
    return x.sum(axes) / max(math.prod(x.shape[axis] for axis in axes), 1)
