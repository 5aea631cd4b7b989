"""Networks whose output is a matrix: an equivariant network, and an MLP without symmetry."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks, _keywords
from equikit._array_checks import checked_dtype
from equikit._errors import GroupError, ShapeError
from equikit.groups import Group
from equikit.nn._features import Features, labels_among, labels_of, read_features
from equikit.nn._functions import Activation, silu
from equikit.nn._layer import Layer
from equikit.nn._linear import Linear
from equikit.nn.initializers import DENSE
from equikit.nn.networks._network import Network
from equikit.plans import Feature
from equikit.signatures import bindings, given_bindings
from equikit.supports import Support


class MatrixNetwork(Layer):
    r"""A `Network` whose n output vectors are the columns of a matrix, with \(M(gx) = g M(x)\).

    Linear and bilinear maps and gates compute the columns; axes with other labels, such as points, are summed over. At
    initialization the matrix is far from the elements of the group.

    Args:
        inputs: input features, labels to channels or name to labels and channels: `{"m": 4}` for four vectors,
            `{"p m": 1}` for points in space-time.
        label: the label of the group, whose size is bound.
        hidden: features of the hidden layers; by default two layers with 8 vectors and 8 features of every other kind
            in the input, the first layer also with 32 invariants.
        scale: a number that multiplies the matrix.
        rngs: random keys for the parameters.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **options: options of `Network`, and labels with their groups.

    Raises:
        GroupError: if the label is not bound to a group of a known size.

    Cost: as for `Network`.

    Example:
        >>> import equikit as ek
        >>> import equikit.testing
        >>> network = MatrixNetwork({"m": 4}, "m", m=ek.Lorentz, rngs=nnx.Rngs(0))
        >>> equikit.testing.assert_equivariant(
        ...     network, "m -> m", m=ek.Lorentz, channels=4, key=jax.random.key(0))

    Source:
        Nguyen et al., arXiv:2311.07143, section 3, where scalar products define the network.
    """

    shows_parts = True

    def __init__(
        self,
        inputs: Features,
        label: str,
        *,
        hidden: Sequence[Features] | None = None,
        scale: float = 1.0,
        rngs: nnx.Rngs,
        groups: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        terms, _ = read_features(inputs, "input")
        call = _keywords.call_of(type(self), Network, Linear)
        given = labels_among(options, call)
        label = _checks.text("label", label, example="m")
        later = hidden if isinstance(hidden, list | tuple) else [] if hidden is None else [hidden]
        _keywords.refuse_misspelled(call, given, labels_of([inputs, *later, {label: 1}]))
        bound = given_bindings(groups, given)
        group = bindings({label: bound[label]}, {})[label] if label in bound else None
        if not isinstance(group, Group) or group.n is None:
            raise GroupError(
                f"the matrix needs a group of a known size on {label!r}",
                got=f"{label}={group}",
                expected="a group such as O(3) or Lorentz",
                step=f"write {label}=ek.O(3)",
            )
        if hidden is None:
            kinds = {(label,): 8} | {term.words: 8 for term in terms if term.words}
            last = {" ".join(words): width for words, width in kinds.items()}
            later = [{"": 32} | last, last]  # no linear map takes invariants to vectors
        self.names = tuple(term.name for term in terms)
        self.scale = _checks.number("scale", scale, least=0, traced=False)
        features = [inputs, *later, {"matrix": (label, group.n)}]
        self.network = Network(features, rngs=rngs, groups=bound, **options)

    def __call__(self, x: Any, *, mask: Mapping[str, Any] | None = None, support: Support | None = None) -> Feature:
        """Return the matrix.

        Args:
            x: `[*batch, *axes, channels]`, or a dictionary with one such array for each input term.
            mask: for a label, booleans `[*batch, n]`: which entries are present.
            support: which entries of the axes of one label are present, as for `Linear`.

        Returns:
            `[*batch, n, n]`, with a vector in each column; `[*batch, graphs, n, n]` on a support with graph numbers.
        """
        inputs = x if isinstance(x, Mapping) else {self.names[0]: x}
        matrix: Feature = self.network(inputs, mask=mask, support=support)["matrix"] * self.scale
        return matrix


class MatrixMLP(Layer):
    r"""A multilayer perceptron on all input entries, plus the identity matrix; not equivariant.

    The output starts near the identity, which is in every group but does not depend on the input. Training with
    `matrix_equivariance_loss` makes the network approximately equivariant on the data. A perceptron takes a fixed
    number of entries, in a fixed order, so it takes no support.

    Args:
        entries: the number of input entries in each sample, channels included.
        size: the size n of the matrix.
        axes: the number of input axes without batch axes, the channel axis included.
        hidden: widths of the hidden layers.
        activation: activation after each hidden layer.
        rngs: random keys for the parameters.

    Raises:
        ShapeError: if the input has another number of entries.

    Cost: the matrix products of the perceptron.

    Example:
        >>> network = MatrixMLP(16, 4, axes=2, rngs=nnx.Rngs(0))
        >>> network(jnp.ones((5, 4, 4))).shape
        (5, 4, 4)
    """

    def __init__(
        self,
        entries: int,
        size: int,
        *,
        axes: int = 2,
        hidden: Sequence[int] = (64, 64),
        activation: Activation = silu,
        rngs: nnx.Rngs,
    ) -> None:
        self.entries, self.size = _checks.count("entries", entries), _checks.count("size", size, example=3)
        self.axes = _checks.count("axes", axes, example=2)
        self.activation = _checks.function("activation", activation, example="jnp.tanh")
        widths = [self.entries, *_checks.widths("hidden", hidden, least=0, example="(64, 64)"), self.size**2]
        _checks.rngs(rngs)
        self.layers = nnx.List([nnx.Linear(one, two, **DENSE, rngs=rngs) for one, two in itertools.pairwise(widths)])

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers."""
        return tuple(layer.out_features for layer in [*self.layers][:-1])

    def _call_arguments(self) -> list[str]:
        return [str(self.entries), str(self.size)]

    def __call__(self, x: jax.Array, *, mask: Mapping[str, Any] | None = None) -> Feature:
        """Return matrices `[*batch, n, n]` for inputs `[*batch, *axes, channels]`; absent entries should be zero."""
        x = checked_dtype("x", x)
        split = x.ndim - self.axes
        if split < 0 or math.prod(x.shape[split:]) != self.entries:
            raise ShapeError(
                "the input has not the entries of the perceptron",
                got=f"shape {list(x.shape)}",
                expected=f"{self.entries} entries in the last {self.axes} axes",
                step="correct entries= or axes=",
            )
        y = x.reshape(*x.shape[:split], -1)
        for layer in self.layers[:-1]:
            y = self.activation(layer(y))
        y = self.layers[-1](y).reshape(*x.shape[:split], self.size, self.size)
        return y + jnp.eye(self.size, dtype=y.dtype)
