"""Weighted sums of values: from tensors of queries, keys and values to tensors that queries receive."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit._array_checks import Shapes
from equikit._masks import masked
from equikit.nn.attention._entries import attended_entries
from equikit.nn.attention._heads import from_heads, lowered, term_count, to_heads
from equikit.nn.attention._kinds import Kind
from equikit.nn.attention._softmax import Drop, Keys, Pairs, attended, chosen_block
from equikit.plans.sharding import Result, placed
from equikit.signatures import Signature, Term
from equikit.supports import Support

TINY = 1e-30
"""The least divisor of dropout: where all weights are dropped, they are zero anyway."""


class Tensors(NamedTuple):
    """The arrays from which the sums are computed.

    Attributes:
        queries, keys, values: for each kind `[*batch, points, *axes, heads * channels]`.
        points: points of queries, keys and values, `[*batch, points, dimension, heads * count]`, or nothing.
        pairs: features of pairs `[*batch, n, m, channels]`.
        seen: `[*batch, n, m]`, or `None`.
    """

    queries: list[jax.Array]
    keys: list[jax.Array]
    values: list[jax.Array]
    points: list[jax.Array]
    pairs: list[jax.Array]
    seen: jax.Array | None


class Weights(NamedTuple):
    """The parameters of the scores.

    Attributes:
        pairs: for each feature of pairs `[channels, heads]`.
        points: the weight of squared distances, `[heads]`, or `None`.
    """

    pairs: list[jax.Array]
    points: jax.Array | None


@dataclass(frozen=True, slots=True)
class Sums:
    """How to compute the scores and sums of a layer.

    Attributes:
        signature: the groups of all labels.
        kinds: the kinds of queries, keys and values.
        labels: the labels of queries and keys.
        space: the label of the axis of space, or `None`.
        heads: the number of heads.
        block_size: the option of the layer.
        rate: the probability that a weight is dropped.
        precision: as in `jax.lax.dot_general`.
    """

    signature: Signature
    kinds: tuple[tuple[Kind, ...], tuple[Kind, ...], tuple[Kind, ...]]
    labels: tuple[str, str]
    space: str | None
    heads: int
    block_size: int | None
    rate: float
    precision: lax.PrecisionLike

    def __call__(
        self,
        tensors: Tensors,
        weights: Weights,
        masks: Mapping[str, jax.Array],
        key: jax.Array | None,
        shapes: Shapes,
        support: Support | None,
    ) -> list[jax.Array]:
        """Return the sums of values, then of points, and which queries see a key, `[*batch, n, 1]`."""
        leaves, tree = jax.tree.flatten(tensors)
        parameters, weight_tree = jax.tree.flatten(weights)

        def compute(arrays: Any, given: Any, masks: Any, _: object) -> list[jax.Array]:
            own: Tensors = jax.tree.unflatten(tree, arrays)
            return self._compute(own, jax.tree.unflatten(weight_tree, given), masks, key, shapes, support)

        def results() -> list[Result]:
            return [
                Result(term, self._shape(term, shapes, width), ())
                for term, width in zip(self._received(), self._widths(tensors), strict=True)
            ]

        return placed(compute, (leaves, parameters, masks), self._terms(tensors, support), results, None)

    def _terms(self, tensors: Tensors, support: Support | None) -> list[Term]:
        """Return the term of each array."""
        one, other = self.labels
        terms = [
            Term("", (label, *Term.of(kind).labels))
            for label, kinds in zip((one, other, other), self.kinds, strict=True)
            for kind in kinds
        ]
        if self.space is not None:
            terms += [Term("", (label, self.space)) for label in (one, other, other)]
        terms += [Term("", (one, other) if support is None else ("entries",))] * len(tensors.pairs)
        # The last axis of a mask of pairs is in the place of channels.
        return terms if tensors.seen is None else [*terms, Term("", (one,))]

    def _received(self) -> list[Term]:
        """Return the term of each result."""
        kinds = [Term("", (self.labels[0], *Term.of(kind).labels)) for kind in self.kinds[2]]
        points = [] if self.space is None else [Term("", (self.labels[0], self.space))]
        return [*kinds, *points, Term("", self.labels[:1])]

    def _widths(self, tensors: Tensors) -> list[int]:
        """Return the channels of each result."""
        return [*(x.shape[-1] for x in (*tensors.values, *tensors.points[2:])), 1]

    def _shape(self, term: Term, shapes: Shapes, width: int) -> tuple[int, ...]:
        return *shapes.batch, *(shapes.sizes[label] for label in term.labels), width

    def _compute(
        self,
        tensors: Tensors,
        weights: Weights,
        masks: Mapping[str, jax.Array],
        key: jax.Array | None,
        shapes: Shapes,
        support: Support | None,
    ) -> list[jax.Array]:
        batch = len(shapes.batch)
        dtype = jnp.result_type(*tensors.queries, *tensors.keys, *tensors.values, *tensors.pairs, *weights.pairs)
        parts = 1 + bool(tensors.pairs) + bool(tensors.points)  # a sum of parts of variance one is scaled back to one
        lower = (
            lowered(self.signature, kind, x, batch) for kind, x in zip(self.kinds[0], tensors.queries, strict=True)
        )
        rows = [to_heads([*x], self.heads, batch).astype(dtype) for x in (lower, tensors.keys, tensors.values)]
        queries, keys, values = rows
        queries = queries * self._scale(tensors, masks, shapes, parts).astype(dtype)
        if tensors.points:
            assert weights.points is not None, "points have weights"
            points = [to_heads([x], self.heads, batch) for x in tensors.points]
            queries, keys = with_distances(queries, keys, points[0], points[1], weights.points, parts)
            values = jnp.concatenate([values.astype(points[2].dtype), points[2]], -1)
        shares = [kernel.astype(queries.dtype) / math.sqrt(parts) for kernel in weights.pairs]
        kernel = jnp.concatenate(shares) if shares else None
        if support is None:
            found, seen = self._on_all_pairs(queries, Keys(keys, values, None), kernel, tensors, masks, key, batch)
        else:
            joined = self._joined(tensors.pairs, queries.dtype, (queries.shape[0], support.entries[2]))
            pairs = Pairs(joined, kernel, None)
            found, seen = attended_entries(queries, Keys(keys, values, None), pairs, support, self._drop(key))
        targets = [
            self._shape(term, shapes, width)
            for term, width in zip(self._received(), self._widths(tensors), strict=True)
        ]
        *received, last = *from_heads(found, targets[:-1], batch), seen.reshape(targets[-1])
        values_count = len(self.kinds[2])
        return [*(x.astype(dtype) for x in received[:values_count]), *received[values_count:], last]

    def _on_all_pairs(
        self,
        queries: jax.Array,
        keys: Keys,
        kernel: jax.Array | None,
        tensors: Tensors,
        masks: Mapping[str, jax.Array],
        key: jax.Array | None,
        batch: int,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the sums over all keys, and which queries see one."""
        count, _, n, _ = queries.shape
        m, present, seen = keys.rows.shape[2], masks.get(self.labels[1]), tensors.seen
        known = [masked(x, self.labels, masks, batch) for x in tensors.pairs]  # absent pairs do not reach gradients
        known = known if seen is None else [jnp.where(seen[..., None], x, jnp.zeros((), x.dtype)) for x in known]
        return attended(
            queries,
            keys._replace(present=None if present is None else present.reshape(count, m)),
            Pairs(
                self._joined(known, queries.dtype, (count, n, m)),
                kernel,
                None if seen is None else seen.reshape(count, n, m),
            ),
            chosen_block(self.block_size, count * self.heads, n, m),
            self._drop(key),
            self.precision,
        )

    def _joined(self, pairs: Sequence[jax.Array], dtype: Any, shape: tuple[int, ...]) -> jax.Array | None:
        """Return all features of pairs as one array with these axes before the channels."""
        flat = [x.astype(dtype).reshape(*shape, x.shape[-1]) for x in pairs]
        return jnp.concatenate(flat, -1) if flat else None

    def _scale(self, tensors: Tensors, masks: Mapping[str, jax.Array], shapes: Shapes, parts: int) -> jax.Array:
        """Return one over the root of the number of products in a score, `[]` or `[prod(batch), 1, 1, 1]`."""
        widths = {kind: x.shape[-1] for kind, x in zip(self.kinds[1], tensors.keys, strict=True)}
        there = {label: mask for label, mask in masks.items() if label not in self.labels}
        count = term_count(self.signature, widths, shapes.sizes, there, self.heads)
        if isinstance(count, jax.Array):
            count = count.reshape(-1, 1, 1, 1)
        real = jnp.promote_types(jnp.result_type(*tensors.queries), jnp.float32)
        return 1 / jnp.sqrt(jnp.maximum(jnp.asarray(count, np.zeros((), real).real.dtype), 1) * parts)

    def _drop(self, key: jax.Array | None) -> Drop | None:
        """Return the dropout of the weights of a block."""
        if key is None:
            return None

        def drop(weights: jax.Array, number: Any) -> jax.Array:
            kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - self.rate, weights.shape)
            return jnp.where(kept, weights / max(1 - self.rate, TINY), 0)

        return drop


def with_distances(
    queries: jax.Array, keys: jax.Array, here: jax.Array, there: jax.Array, weight: jax.Array, parts: int
) -> tuple[jax.Array, jax.Array]:
    r"""Append to rows of queries and keys what gives \(-w_h \sum |q - k|^2\) in their products.

    The term \(|q|^2\) is left out, because it is the same for all keys and does not change the weights.
    """
    wide = jnp.promote_types(queries.dtype, here.dtype)
    # The difference of two points of variance one has entries of variance two, whose squares have variance eight.
    scale = jax.nn.softplus(weight.astype(here.dtype)) / math.sqrt(8 * max(here.shape[-1], 1) * parts)
    scale = scale[:, None, None]
    square = jnp.sum(there * there, -1, keepdims=True)
    row = [queries, 2 * scale * here, jnp.ones((*here.shape[:-1], 1))]
    column = [keys, there, -scale * square]
    return tuple(jnp.concatenate([x.astype(wide) for x in each], -1) for each in (row, column))  # type: ignore[return-value]
