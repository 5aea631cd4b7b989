"""Penalties that pull free weights towards the maps of candidate groups, and their automatic weights."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from equikit import _checks
from equikit._errors import SignatureError
from equikit.diagrams import HomSpace
from equikit.groups import Fixed, Group, Trivial
from equikit.nn import Linear
from equikit.plans import weight_places
from equikit.relax._chain import checked_groups
from equikit.relax._projection import project_pair
from equikit.relax._spaces import acted_term
from equikit.signatures import Signature, Term, normalized

Kind = tuple[tuple[str, ...], tuple[str, ...]]
"""The labels of the rows and of the columns of a map."""


class Penalty:
    r"""Half the squared distance of free weights from the equivariant maps of candidate groups.

    For a group g it is \(R_g = \frac12 \sum \|W - P_g W\|_F^2\), the sum over all `ek.nn.Linear` layers whose label is
    bound to `ek.Trivial(n)`, and their biases; P projects onto the equivariant maps. Such a network has the shape of an
    equivariant one and free weights: `ek.relax.restrict(network, x=ek.Trivial(3))`. A loss adds \(\sum_g \lambda_g
    R_g\), and `ek.relax.tuned` adapts λ to the groups that the data allow.

    Args:
        model: the network.
        groups: the candidates, as a dictionary from one label to a list of groups.
        **bindings: the same as a keyword, `x=[ek.O(3), ek.O(2) + ek.O(1)]`.

    Attributes:
        label: the label.
        candidates: the groups.

    Raises:
        OptionError: if there is not exactly one label, or no candidate.
        GroupError: if a candidate is free or has another size.
        SignatureError: if the model has no free layer, or one in which a group acts on another label.

    Example:
        >>> from equikit import O, nn
        >>> free = nn.Linear("x -> x", 1, 1, x=Trivial(3), use_bias=False, rngs=nnx.Rngs(0))
        >>> penalty = Penalty(free, x=[O(3), O(2) + O(1)])
        >>> r = penalty(free)
        >>> r.shape, bool(r[0] >= r[1] > 0)  # a larger group is farther away
        ((2,), True)

    Source:
        Kim et al., Regularizing towards soft equivariance under mixed symmetries, arXiv:2306.00356, section 4.
    """

    def __init__(self, model: nnx.Module, *, groups: Mapping[str, object] | None = None, **bindings: object) -> None:
        given = {normalized(label): what for label, what in {**(groups or {}), **bindings}.items()}
        example = "write x=[ek.O(3), ek.O(2) + ek.O(1)]"
        _checks.count("the number of labels with candidates", len(given), least=1, most=1, step=example)
        ((self.label, candidates),) = given.items()
        listed = [*candidates] if isinstance(candidates, list | tuple) else [candidates]
        _checks.some("candidate groups", listed, got=f"{self.label}=[]", step=example)
        _checks.instance("model", model, nnx.Module, "ek.nn.Network(...)")
        layers = [*self._layers(model)]
        self._refuse_no_layer(model, layers)
        own = dict(layers[0].signature.bindings)[self.label]
        self.candidates = checked_groups(self.label, [*listed, own])[:-1]

    def _layers(self, model: nnx.Module) -> Iterator[Linear]:
        """Yield the layers whose weights are free."""
        for _, layer in nnx.iter_modules(model):
            if isinstance(layer, Linear) and isinstance(dict(layer.signature.bindings).get(self.label), Trivial):
                yield layer

    def _refuse_no_layer(self, model: nnx.Module, layers: list[Linear]) -> None:
        bound = [(x, what) for layer in layers for x, what in layer.signature.bindings if not isinstance(what, Fixed)]
        others = [f"{x}={what}" for x, what in bound if x != self.label]
        if layers and not others:
            return
        got = f"{type(model).__name__} without such a layer" if not layers else f"a layer with {others[0]}"
        raise SignatureError(
            f"a penalty needs linear layers in which {self.label!r} is free",
            got=got,
            expected=f"{self.label}=ek.Trivial(n), and no group on other labels",
            step=f"call ek.relax.restrict(model, {self.label}=ek.Trivial(3))",
        )

    def _space(self, kind: Kind, group: Group) -> HomSpace:
        """Return the equivariant maps of one kind."""
        target, source = (Term.of(words) for words in kind)
        return HomSpace(Signature((source,), (target,), ((self.label, group),)).pair(source, target))

    def _weights(self, model: nnx.Module) -> dict[Kind, jax.Array]:
        """Return all weights as matrices `[rows, columns, features]`, one array for each kind."""
        found: dict[Kind, list[jax.Array]] = {}
        for layer in self._layers(model):
            signature, n = layer.signature, dict(layer.signature.bindings)[self.label]
            size = n.n if isinstance(n, Group) and n.n is not None else 0
            for name, ((t, s), shape) in weight_places(signature, layer.channels, layer.use_bias).items():
                rows = acted_term(signature, signature.outputs[s]).words
                columns = () if t is None else acted_term(signature, signature.inputs[t]).words
                weights = (layer.bias if t is None else layer.kernel)[name][...]
                assert shape[0] == size ** (len(rows) + len(columns)), "the maps of a free layer are single entries"
                matrix = weights.reshape(size ** len(rows), size ** len(columns), -1)
                found.setdefault((rows, columns), []).append(matrix)
        return {kind: jnp.concatenate(parts, -1) for kind, parts in found.items()}

    def __call__(self, model: nnx.Module) -> Float[jax.Array, " groups"]:
        """Return the penalty of each candidate, the sum over all layers; differentiable in the weights.

        It is computed in float32, or in float64 for weights in float64.

        Args:
            model: the network, or one of the same layers with other weights.

        Raises:
            SignatureError: if the model has no free layer.

        Cost: a projection, `ek.relax.project`, for each candidate and pair of axes; the gradient is W - P W, so that it
            costs nothing more.
        """
        _checks.instance("model", model, nnx.Module, "ek.nn.Network(...)")
        self._refuse_no_layer(model, [*self._layers(model)])
        weights = self._weights(model)
        sums = [
            functools.reduce(jnp.add, (_distance(self._space(kind, group), matrix) for kind, matrix in weights.items()))
            for group in self.candidates
        ]
        return jnp.stack(sums)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _distance(space: HomSpace, matrix: jax.Array) -> jax.Array:
    """Return half the squared distance from the maps of a space."""
    return _distance_and_rest(space, matrix)[0]


def _distance_and_rest(space: HomSpace, matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the distance in float32 at least, since squares of float16 overflow, and W - P W in the dtype of W."""
    wide = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
    rest = wide - project_pair(space, wide)
    return 0.5 * jnp.sum(rest**2), rest.astype(matrix.dtype)


def _scaled(space: HomSpace, rest: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
    return ((slope * rest.astype(slope.dtype)).astype(rest.dtype),)


_distance.defvjp(_distance_and_rest, _scaled)


def tuned(weights: Any, penalties: Any, *, power: float = 2.0) -> np.ndarray:
    r"""Return new weights of penalties, smaller for groups that the trained weights are far from.

    \(\lambda_g \leftarrow \lambda_g / (R_g / \min_h R_h)^p\) with the least penalty \(R_g\) in a record. The group that
    fits best keeps its weight; a group that does not fit the data loses it.

    Args:
        weights: λ, `[groups]`, zero or more; groups of weight zero do not count.
        penalties: R, `[groups]`, or a record `[epochs, groups]`.
        power: p; the paper has 2, and 5 for motion forecasting.

    Returns:
        float64 `[groups]`.

    Raises:
        OptionError: if a weight or penalty is negative or not finite, or all weights are zero.
        ShapeError: if the shapes do not fit.

    Example:
        >>> tuned([1.0, 1.0], [0.5, 0.1]).round(3).tolist()
        [0.04, 1.0]

    Source:
        Kim et al., Regularizing towards soft equivariance under mixed symmetries, arXiv:2306.00356, section 4.3.
    """
    old = np.array(_checks.numbers("weights", np.ravel(weights).tolist(), least=0, example=(1.0,)))
    record = np.asarray(penalties)
    if record.dtype.kind not in "fiu":
        _checks.numbers("penalties", record.ravel().tolist(), example=(1.0,))
    record = record.astype(np.float64)
    _checks.shaped("penalties", record, ["*epochs", len(old)])
    found = record.reshape(-1, len(old))
    _checks.some("epochs in penalties=", [*found], got=f"shape {[*record.shape]}", step="record one epoch or more")
    least = np.array(_checks.numbers("penalties", found.min(axis=0), least=0, example=(1.0,)))
    _checks.number("power", power, above=0, traced=False, example=2.0)
    _checks.some(
        "weights above zero", np.flatnonzero(old).tolist(), got=old.tolist(), step="give a group a weight of 1.0"
    )
    return np.asarray(adapted(np, old, least, power))


def adapted(space: Any, weights: Any, least: Any, power: float) -> Any:
    """Return the new weights, by NumPy or JAX; `tuned` has the formula."""
    best = space.min(space.where(weights > 0, least, space.inf))
    ratio = space.where(least > best, best / space.where(least > best, least, 1.0), 1.0)
    return weights * ratio**power
