"""Scores by squared distances between points in space, and means of points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit._errors import OptionError
from equikit.groups import O
from equikit.nn._features import Features, labels_of
from equikit.nn._layer import Layer
from equikit.nn.attention._kinds import Known, options_of
from equikit.nn.initializers import filled
from equikit.nn.networks._hidden import HiddenLinear
from equikit.plans import Feature
from equikit.signatures import Signature

UNIT = math.log(math.e - 1)
"""The number whose softplus is one."""


def space_label(signature: Signature) -> str:
    """Return the label of the axis of space: the only one bound to O(n) or SO(n).

    Raises:
        OptionError: if there is no such label, or more than one.
    """
    groups = signature.groups
    labels = [label for label, group in groups.items() if isinstance(group, O) and group.form is None and group.n]
    if len(labels) != 1:
        raise OptionError(
            "points= does not know the axis of space",
            got=", ".join(f"{label}={what}" for label, what in signature.bindings),
            expected="one label bound to O(n) or SO(n)",
            step="add x=ek.O(3)" if not labels else "leave points out",
        )
    return labels[0]


class Points(Layer):
    r"""Points of queries, keys and values: the position of a point plus equivariant vectors of its features.

    Args:
        queries, keys: the features of one point of each set.
        count: the number of points for each head.
        heads: the number of heads.
        signature: a signature with the groups of all labels.
        space: the label of the axis of space.
        rngs: random keys for the parameters.
        options: options of the linear layers.

    Attributes:
        query: the linear layer from a query to its points.
        key: the linear layer from a key to its points, and to the points of its value.
        weight: for each head, the number whose softplus is the weight of the squared distances.
    """

    shows_parts = True

    def __init__(
        self,
        queries: Features,
        keys: Features,
        *,
        count: int,
        heads: int,
        signature: Signature,
        space: str,
        rngs: nnx.Rngs,
        options: Mapping[str, Any],
    ) -> None:
        target = space, heads * count
        sides = {"query": (queries, {"query": target}), "key": (keys, {"key": target, "value": target})}
        layers = {
            name: HiddenLinear(before, after, rngs=rngs, **options_of(signature, options, labels_of([before, after])))
            for name, (before, after) in sides.items()
        }
        self.query, self.key = layers["query"], layers["key"]
        self.weight = nnx.Param(filled(UNIT, (heads,), options.get("param_dtype") or jnp.float32))

    def __call__(
        self,
        queries: Mapping[str, Feature],
        keys: Mapping[str, Feature],
        places: tuple[jax.Array, jax.Array],
        known: tuple[Known, Known],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the points of queries, keys and values, `[*batch, points, n, heads * count]`, in a wide dtype.

        Args:
            queries, keys: features of points.
            places: the positions of queries and keys, `[*batch, points, n]`.
            known: what layers need to know about the points of queries and of keys.
        """
        one = self.query(dict(queries), **known[0].of(self.query.signature))
        two = self.key(dict(keys), **known[1].of(self.key.signature))
        here, there = (place[..., None] for place in places)
        query, key, value = (x.astype(here.dtype) for x in (one["query"], two["key"], two["value"]))
        return here + query, there + key, there + value


def centered(
    places: tuple[jax.Array, jax.Array], masks: tuple[jax.Array | None, jax.Array | None]
) -> tuple[jax.Array, jax.Array]:
    """Return positions relative to the mean of the present keys, so that rounding does not depend on the origin.

    Absent positions are zero. The mean leaves out NaN and infinities, so that they reach only queries that see them.
    """
    wide = jnp.promote_types(jnp.result_type(*places), jnp.float32)
    here, there = (place.astype(wide) for place in places)
    keep = jnp.ones(there.shape[:-1], bool) if masks[1] is None else masks[1]
    there = jnp.where(keep[..., None], there, 0)
    finite = keep & jnp.all(jnp.isfinite(there), -1)
    count = jnp.maximum(jnp.sum(finite, -1), 1)[..., None, None].astype(wide)
    center = jnp.sum(jnp.where(finite[..., None], there, 0), -2, keepdims=True) / count
    there = jnp.where(keep[..., None], there - center, 0)
    here = here - center
    return here if masks[0] is None else jnp.where(masks[0][..., None], here, 0), there
