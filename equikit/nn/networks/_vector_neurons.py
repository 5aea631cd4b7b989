"""A network on vectors, built from equivariant linear layers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks, _keywords
from equikit._array_checks import masks_of
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
    support_for,
)
from equikit.nn._functions import sigmoid
from equikit.nn._layer import Layer, features_text
from equikit.nn._linear import Linear
from equikit.nn.initializers import filled
from equikit.nn.termwise._rows import Rows, read_rows
from equikit.plans import Feature
from equikit.signatures import Term, bind
from equikit.supports import Support

EPSILON = 1e-6
"""Added to the variance of scores, so that rounding errors alone do not distinguish them."""


class VectorNeurons(Layer):
    r"""A network from vectors and invariants to vectors, homogeneous of degree one: outputs scale with inputs.

    Hidden features are vectors, such as `"p x"`. In each layer a `Linear` layer (for points
    \(A x_i + B\, \mathrm{mean}_j\, x_j\), as in Deep Sets) computes q and k, and a gate multiplies each channel of q:
    \(2\, \sigma(\langle q, k \rangle + b)\, q\). The last layer multiplies its vectors by \(n\) times a softmax over
    the points; the logits are \(\langle q, k \rangle\), centered and scaled to standard deviation 3. Each output thus
    attends to a few points, and the means of different outputs have different directions. The network divides its input
    by the root mean square of all input vectors and multiplies its output by it, except with an indefinite metric, for
    which the mean square can be negative. Input invariants, such as charges, multiply the vectors of the first layer.

    Vector neurons use half-spaces in place of smooth gates. With one vector per point, q and k are multiples of it, so
    half-spaces would leave the network linear, and the mean of a linear map of centered points is zero.

    Args:
        features: input features: labels to channels (`{"p x": 2, "p": 1}`) or name to labels and channels. Hidden
            features have the axes of the first term with a vector axis.
        vectors: channels of the output.
        channels: channels of the hidden layers.
        layers: number of gated layers; the last layer follows them.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **options: options of the `Linear` layers, and labels with their groups: one bound to O or SO, all others to S
            or plain.

    Attributes:
        first, gate: linear layers of vectors and of invariants; `gate` is `None` without invariants.
        hidden, bias: linear layers that compute q and k, and the biases b.
        head: the last linear layer.

    Raises:
        OptionError: if the features are not vectors and invariants of such groups.

    Cost: each layer costs as much as `Linear` with twice the output channels.

    Example:
        >>> from equikit import S
        >>> net = VectorNeurons({"p x": 2, "p": 1}, 3, p=S, x=O(3), rngs=nnx.Rngs(0))
        >>> net({"p x": jnp.ones((5, 3, 2)), "p": jnp.ones((5, 1))}).shape
        (5, 3, 3)

    Source:
        Deng et al., Vector neurons, arXiv:2104.12229, for channels of vectors; Kaba et al., arXiv:2211.06489, section
        4.2, for the combination with Deep Sets.
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
        labels, call = labels_of([features]), _keywords.call_of(type(self), Linear)
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
        """Return the label of the vector axis, or raise `OptionError`."""
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

    def __call__(self, x: Any, *, mask: Mapping[str, Any] | None = None, support: Support | None = None) -> Feature:
        """Apply the network.

        Args:
            x: `[*batch, *axes, channels]`, or a dictionary of such arrays if there are several terms.
            mask: for a label, booleans `[*batch, n]`: which entries are present.
            support: which entries of the axes of one label are present, as for `Linear`. The mean square and the
                softmax are over the present vectors, of each graph if the support has graph numbers.

        Returns:
            `[*batch, *axes, vectors]`, with the axes of the first term with a vector axis; on a support in rows.

        Raises:
            ShapeError, DTypeError, OptionError: if an array or the support does not fit.
        """
        names = [term.name for term in self.signature.inputs]
        given = given_terms(names, x if isinstance(x, Mapping) or len(names) > 1 else {names[0]: x})
        mask = masks_of(self.signature, mask)
        checked, rows = read_rows(self.signature, self.channels, [*given.values()], mask, support)
        arrays, kind = dict(zip(given, checked, strict=True)), self._term()
        vectors, unit = self._scaled(arrays, rows)
        size = self._size(vectors, rows)

        def run(layer: Linear, inputs: Mapping[str, Any]) -> dict[str, Any]:
            return self._run(layer, inputs, mask, rows)

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
        shares = self._shares(self._inner(found["queries"], found["keys"]), rows)
        return rows.together(kind, found["vectors"] * shares * size * unit)

    def _run(self, layer: Linear, inputs: Mapping[str, Any], mask: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
        """Apply a layer to arrays with an axis for each axis of their terms, and return such arrays."""
        known = {label for term in layer.signature.inputs for label in term.labels}
        sizes = {
            label: size
            for label, size in rows.shapes.sizes.items()
            if label in layer.signature.groups and label not in known
        }
        stored = {term.name: rows.together(term, inputs[term.name]) for term in layer.signature.inputs}
        masks = masks_for(layer.signature, self.signature, mask)
        support = support_for(layer.signature, self.signature, rows.support)
        found: Any = layer(stored, mask=masks, sizes=sizes, support=support)
        return {term.name: rows.apart(term, found[term.name]) for term in layer.signature.outputs}

    def _inner(self, one: Feature, two: Feature) -> Feature:
        """Return the inner products of vectors under the metric, `[*batch, ..., 1, ..., channels]`."""
        form = self.signature.groups[self.label].form
        if form is not None:
            one = one * form.signs().reshape(-1, *[1] * (-1 - self.place)).astype(one.dtype)
        return jnp.sum(one * two, axis=self.place, keepdims=True)

    def _shares(self, scores: Feature, rows: Rows) -> Feature:
        """Return the softmax of standardized scores over all entries of a graph, times the number of entries."""
        kind = self._term()
        if self.axes == 1 or not scores.size:
            return jnp.ones_like(scores)
        there = rows.present(kind, jnp.ones_like(scores))

        def over(array: Feature, how: Literal["sum", "max"] = "sum") -> Feature:
            return rows.repeated(kind, rows.total(kind, array, how))

        count = jnp.maximum(over(there), 1)
        beside = (scores - over(scores * there) / count) * there
        scores = 3 * beside / jnp.sqrt(over(beside * beside) / count + EPSILON)
        shares = jnp.exp(scores - jax.lax.stop_gradient(over(scores, "max"))) * there
        return count * shares / jnp.maximum(over(shares), EPSILON)

    def _term(self) -> Term:
        """Return the first input term with a vector axis."""
        return next(term for term in self.signature.inputs if self.label in term.labels)

    def _scaled(self, arrays: Mapping[str, Any], rows: Rows) -> tuple[dict[str, Any], Any]:
        """Return the vectors divided by their largest absolute entry, and this entry for the result.

        Squares and derivatives of reciprocals then do not overflow. The divisor is a constant, and one if all are zero.
        """
        terms = self.first.signature.inputs
        vectors = {term.name: arrays[term.name] for term in terms}
        if self.signature.groups[self.label].form is not None:
            return vectors, 1
        sizes = [_largest(rows.total(term, jnp.abs(rows.present(term, vectors[term.name])), "max")) for term in terms]
        largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, sizes))
        largest = jnp.where(largest > 0, largest, 1)
        for term in terms:
            vectors[term.name] = vectors[term.name] / _divisor(rows, term, largest)
        return vectors, _divisor(rows, self._term(), largest)

    def _size(self, vectors: Mapping[str, Any], rows: Rows) -> Any:
        """Return the root mean square of all vectors, for the result; one if all are zero."""
        if self.signature.groups[self.label].form is not None:
            return 1
        total: Any = 0
        count: Any = 0
        for term in self.first.signature.inputs:
            array = rows.present(term, vectors[term.name])
            squares = jnp.sum(array * array, axis=term.labels.index(self.label) - 1 - len(term.labels), keepdims=True)
            total = total + jnp.sum(rows.total(term, squares), axis=-1, keepdims=True)
            there = rows.present(term, jnp.ones_like(squares))
            count = count + jnp.sum(rows.total(term, there), axis=-1, keepdims=True)
        square = total / jnp.maximum(count, 1)
        some = square > 0
        return _divisor(rows, self._term(), jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 1))


def _largest(array: Feature) -> Feature:
    """Return the largest of some numbers of each sample or graph that are not negative, zero of none."""
    return jnp.max(array, axis=-1, keepdims=True, initial=0)


def _divisor(rows: Rows, term: Term, array: Feature) -> Feature:
    """Return numbers of each sample or graph, not zero, for an array; one in padded rows, for finite gradients."""
    found = rows.repeated(term, array)
    return jnp.where(found == 0, 1, found)
