"""A network on vectors, built from equivariant linear layers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._array_checks import checked_arrays, masks_of
from equikit._errors import OptionError
from equikit.groups import O
from equikit.nn._features import (
    Features,
    features_of,
    given_terms,
    labels_among,
    labels_of,
    masks_for,
    options_for,
    permuted,
    read_features,
)
from equikit.nn._functions import sigmoid
from equikit.nn._layer import Layer, features_text
from equikit.nn._linear import Linear
from equikit.nn.initializers import filled
from equikit.nn.networks._hidden import present
from equikit.plans import Feature
from equikit.signatures import Term, bind

EPSILON = 1e-6
"""Added to the variance of scores, so that rounding errors alone do not distinguish them."""


class VectorNeurons(Layer):
    r"""A network from vectors and invariants to vectors, homogeneous of degree one: outputs scale with inputs.

    Its features are vectors of an entry, `"p x"`. Each layer maps them by a `Linear` layer, for points by \(A x_i + B\,
    \mathrm{mean}_j\, x_j\) as in Deep Sets, to q and k, and multiplies q by a gate, channel by channel:
    \(2\, \sigma(\langle q, k \rangle + b)\, q\). The last layer multiplies its vectors by \(n\) times a softmax over
    the points of \(3 \langle q, k \rangle\), divided by its standard deviation: each output looks at a few points, so
    that the means of different outputs point in different directions. Before the first layer everything is divided by
    the root of the mean square of all vectors of the input, and the result is multiplied by it; but not with an
    indefinite metric, for which there is no such mean. Invariants in the input, such as charges, multiply the vectors
    of the first layer.

    The gates are smooth where vector neurons have half-spaces. Those leave a network linear that sees one vector of
    each point, since q and k are multiples of it; and the mean of a linear map of centered points is zero.

    Args:
        features: of the input, labels to channels (`{"p x": 2, "p": 1}`) or name to labels and channels. The first term
            with an axis of vectors says what axes the features of the network have.
        vectors: channels of the output.
        channels: channels of the hidden layers.
        layers: how many layers come before the last, which is linear.
        rngs: random keys for the parameters.
        groups: what is bound to each label, as a dictionary; labels may also be given as keywords.
        **options: options of the `Linear` layers, and labels with their groups: one of O or SO, all others S or plain.

    Attributes:
        first, gate: linear layers of vectors and of invariants; `gate` is `None` where there are none.
        hidden, bias: linear layers to q and k, and b.
        head: the last linear layer.

    Raises:
        OptionError: if the features are not vectors and invariants of such groups.

    Cost: of each layer that of `Linear` with twice as many channels.

    Example:
        >>> from equikit import S
        >>> net = VectorNeurons({"p x": 2, "p": 1}, 3, p=S, x=O(3), rngs=nnx.Rngs(0))
        >>> net({"p x": jnp.ones((5, 3, 2)), "p": jnp.ones((5, 1))}).shape
        (5, 3, 3)

    Source:
        Deng et al., Vector neurons, arXiv:2104.12229, for channels of vectors; with the layers of Deep Sets, and to
        this end, in Kaba et al., arXiv:2211.06489, section 4.2.
    """

    shows_parts = True

    def __init__(
        self,
        features: Features,
        vectors: int,
        *,
        channels: int = 16,
        layers: int = 4,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        terms, widths = read_features(features, "input")
        self.channels = widths
        labels, call = labels_of([features]), _checks.call_of(type(self), Linear)
        self.signature = bind(terms, (), groups, labels_among(options, call), call=call)
        bound = dict(self.signature.bindings)
        width, depth = (
            _checks.count("channels", channels, least=1, example=16),
            _checks.count("layers", layers, most=1000),
        )
        self.label = self._label()
        given = features_of(terms, widths)
        of_vectors = {term.name: given[term.name] for term in terms if self.label in term.labels}
        of_invariants = {name: what for name, what in given.items() if name not in of_vectors}
        axes = next(term.labels for term in terms if self.label in term.labels)
        self.place = axes.index(self.label) - len(axes) - 1
        self.axes = len(axes)
        kind, without = " ".join(axes), " ".join(label for label in axes if label != self.label)

        def linear(before: Features, after: Features) -> Linear:
            used = labels_of([before, after])
            of = {label: what for label, what in bound.items() if label in used}
            return Linear(before, after, groups=of, rngs=rngs, **options_for(options, used, labels))

        inner = {"vectors": (kind, width)}
        self.first = linear(of_vectors, inner | ({"gated": (kind, width)} if of_invariants else {}))
        self.gate = linear(of_invariants, {"gate": (without, width)}) if of_invariants else None
        self.hidden = nnx.List([linear(inner, inner | {"directions": (kind, width)}) for _ in range(depth)])
        stored = options.get("param_dtype", jnp.float32)
        self.bias = nnx.List([nnx.Param(filled(0, (width,), stored)) for _ in range(depth)])
        outer = (kind, _checks.count("vectors", vectors, least=1, example=3))
        self.head = linear(inner, {"vectors": outer, "queries": outer, "keys": outer})

    def _call_arguments(self) -> list[str]:
        return [features_text(features_of(self.signature.inputs, self.channels)), str(self.head.channels[1][0])]

    def _call_options(self) -> Iterator[str]:
        yield f"channels={self.first.channels[1][0]}"
        yield f"layers={len(self.hidden)}"

    def _label(self) -> str:
        """The label of the vectors."""
        groups = self.signature.groups
        turned = [label for label, group in groups.items() if isinstance(group, O)]
        others = all(permuted(self.signature, label) for label in groups if label not in turned)
        counts = [term.labels.count(label) for label in turned for term in self.signature.inputs]
        if len(turned) != 1 or not others or not any(counts) or max(counts) > 1:
            raise OptionError(
                "the features are not vectors and invariants",
                got=f"{', '.join(map(str, self.signature.inputs))}, "
                f"with {', '.join(f'{label}={what}' for label, what in self.signature.bindings)}",
                expected="one label bound to O or SO, that no term has twice, all others bound to S",
                step="pass an ek.nn.Network, which takes tensors and every group",
            )
        return turned[0]

    def __call__(self, x: Any, *, mask: Mapping[str, Any] | None = None) -> Feature:
        """Apply the network.

        Args:
            x: `[*batch, *axes, channels]`, or a dictionary of such arrays where there are several terms.
            mask: for a label, booleans `[*batch, n]`: which entries are there.

        Returns:
            `[*batch, *axes, vectors]`, with the axes of the first term of vectors.

        Raises:
            ShapeError, DTypeError: if an array does not fit.
        """
        names = [term.name for term in self.signature.inputs]
        given = given_terms(names, x if isinstance(x, Mapping) or len(names) > 1 else {names[0]: x})
        mask = masks_of(self.signature, mask)
        checked, _ = checked_arrays(self.signature, self.channels, given.values(), masks=mask)
        arrays = dict(zip(given, checked, strict=True))
        vectors, unit = self._scaled(arrays, mask)
        size = self._size(vectors, mask)
        first = self.first.signature.inputs[0]
        counts = dict(zip(reversed(first.labels), reversed(arrays[first.name].shape[:-1]), strict=False))

        def run(layer: Linear, inputs: Mapping[str, Any]) -> Any:
            known = {label for term in layer.signature.inputs for label in term.labels}
            sizes = {label: counts[label] for label in layer.signature.groups if label not in known}
            return layer(inputs, mask=masks_for(layer.signature, self.signature, mask), sizes=sizes)

        found = run(self.first, vectors)
        found = {name: array / size for name, array in found.items()}
        if self.gate is not None:
            gate = run(self.gate, {term.name: arrays[term.name] for term in self.gate.signature.inputs})["gate"]
            found["vectors"] = found["vectors"] + found["gated"] * jnp.expand_dims(gate, self.place)
        for layer, bias in zip(self.hidden, self.bias, strict=True):
            found = run(layer, {"vectors": found["vectors"]})
            inner = self._inner(found["vectors"], found["directions"])
            found = {"vectors": found["vectors"] * 2 * sigmoid(inner + bias[...].astype(inner.dtype))}
        found = run(self.head, {"vectors": found["vectors"]})
        shares = self._shares(self._inner(found["queries"], found["keys"]), mask)
        result: Feature = found["vectors"] * shares * size * unit
        return result

    def _inner(self, one: Feature, two: Feature) -> Feature:
        """Return the inner products of vectors, by the metric, `[*batch, ..., 1, ..., channels]`."""
        form = self.signature.groups[self.label].form
        if form is not None:
            one = one * form.signs().reshape(-1, *[1] * (-1 - self.place)).astype(one.dtype)
        return jnp.sum(one * two, axis=self.place, keepdims=True)

    def _shares(self, scores: Feature, mask: Mapping[str, Any] | None) -> Feature:
        """Return the share of every entry in the mean over all, times their number: a softmax of normalized scores."""
        axes = tuple(range(-1 - self.axes, -1))
        if self.axes == 1 or not scores.size:
            return jnp.ones_like(scores)
        there = present(self._term(), jnp.ones_like(scores), mask)
        count = jnp.maximum(jnp.sum(there, axis=axes, keepdims=True), 1)
        beside = (scores - jnp.sum(scores * there, axis=axes, keepdims=True) / count) * there
        variance = jnp.sum(beside * beside, axis=axes, keepdims=True) / count
        scores = 3 * beside / jnp.sqrt(variance + EPSILON)
        largest = jax.lax.stop_gradient(jnp.max(scores, axis=axes, keepdims=True))
        shares = jnp.exp(scores - largest) * there
        return count * shares / jnp.maximum(jnp.sum(shares, axis=axes, keepdims=True), EPSILON)

    def _term(self) -> Term:
        """Return the term whose axes the features have."""
        return next(term for term in self.signature.inputs if self.label in term.labels)

    def _scaled(self, arrays: Mapping[str, Any], mask: Mapping[str, Any] | None) -> tuple[dict[str, Any], Any]:
        """Return all vectors over their largest entry, a constant, and this entry, `[*batch, 1, ..., 1]`.

        Squares of them, and the derivative of a reciprocal, fit in the dtype. Where all are zero, it is one.
        """
        terms = self.first.signature.inputs
        vectors = {term.name: arrays[term.name] for term in terms}
        if self.signature.groups[self.label].form is not None:
            return vectors, 1
        sizes = []
        for term in terms:
            axes = tuple(range(-1 - len(term.labels), 0))
            sizes.append(jnp.max(jnp.abs(present(term, vectors[term.name], mask)), axis=axes, initial=0))
        largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, sizes))
        largest = jnp.where(largest > 0, largest, 1)
        for term in terms:
            vectors[term.name] = vectors[term.name] / jnp.expand_dims(largest, range(-1 - len(term.labels), 0))
        return vectors, jnp.expand_dims(largest, range(-1 - self.axes, 0))

    def _size(self, vectors: Mapping[str, Any], mask: Mapping[str, Any] | None) -> Any:
        """Return the root mean square of all vectors `[*batch, 1, ..., 1]`; one if all are zero."""
        if self.signature.groups[self.label].form is not None:
            return 1
        total: Any = 0
        count: Any = 0
        for term in self.first.signature.inputs:
            axes = tuple(range(-1 - len(term.labels), 0))
            array = present(term, vectors[term.name], mask)
            squares = jnp.sum(array * array, axis=axes[term.labels.index(self.label)], keepdims=True)
            total = total + jnp.sum(squares, axis=axes)
            count = count + jnp.sum(present(term, jnp.ones_like(squares), mask), axis=axes)
        square = total / jnp.maximum(count, 1)
        some = square > 0
        return jnp.expand_dims(jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 1), range(-1 - self.axes, 0))
