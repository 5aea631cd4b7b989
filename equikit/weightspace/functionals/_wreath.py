"""Linear layers between the tensors of a network that are equivariant under wreath products."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit._errors import OptionError
from equikit.diagrams import pair_diagrams
from equikit.nn import Linear
from equikit.nn.initializers import in_numpy, placed, unit_normal
from equikit.plans import (
    Layout,
    Normalize,
    Plan,
    Product,
    TermPair,
    Weights,
    Widths,
    as_whole,
    laid_out,
    planned,
    weight_places,
    weights_of,
    with_wires_after,
)
from equikit.signatures import Signature
from equikit.weightspace.tracing._nesting import Nested


class WreathLinear(Linear):
    r"""A `Linear` layer for many terms that omits the maps that do not commute with wreath products \(S_n \wr S_m\).

    Two axes "outer inner" index pairs (o, i), and the wreath product permutes i separately for each o. The layer keeps
    the diagrams of the direct product \(S_n \times S_m\) in which every block of inner vertices lies within one block
    of outer vertices. Their number is the number of orbits on tuples of pairs, so they are a basis.

    A network of L layers has \((2L)^2\) pairs of tensors. With one array for each pair, XLA would take minutes to
    compile a gradient. Instead, all pairs whose diagrams have the same core share a matrix, as in the plan.

    Args:
        nested: pairs of an inner and an outer label. A term has an inner label at most once, and then the outer label.
        rank: the rank of the matrix of each core whose two factors have fewer weights than the matrix.
        *arguments, **options: as for `Linear`.

    Attributes:
        kernel: a parameter `[rows, columns]` for each core, by its labels: rows are (input terms, half diagrams,
            features), columns are (wirings, output terms, half diagrams, features). Entries without a diagram are zero.
        bias: a parameter `[columns]` for each core, by its labels.
        before: a parameter `[rows, rank]` for each core of low rank; its `kernel` is then `[rank, columns]`.

    Cost: compile time grows with the number of tensors, not with the number of pairs of tensors.
    """

    def __init__(
        self, *arguments: Any, nested: Nested, rank: int | None = None, rngs: nnx.Rngs, **options: Any
    ) -> None:
        super().__init__(*arguments, rngs=rngs, **options)
        self.nested = nested
        like = next(param[...] for params in (self.kernel, self.bias) for param in params.values())
        layout = as_whole(laid_out(self.plan, self._initial_weights()))
        kernel, bias = dict[str, nnx.Param[Any]](), dict[str, nnx.Param[Any]]()
        for product, (rows, vector) in zip(self.plan.products, layout.products, strict=True):
            kernel |= {core_name(product): nnx.Param(placed(matrix, like)) for matrix in rows}
            bias |= {} if vector is None else {core_name(product): nnx.Param(placed(vector, like))}
        self.kernel, self.bias = nnx.Dict(kernel), nnx.Dict(bias)
        self.before: nnx.Dict[nnx.Param[Any]] = nnx.Dict({})
        if rank is not None:
            self._factor(rank, rngs)

    @property
    def plan(self) -> Plan:
        """The plan of the layer, which permutes wires after each product for any number of channels."""
        return _planned(self.signature, self.channels, self.normalize, self.use_bias)

    def _initial_sizes(self, init_size: int | Mapping[str, int]) -> dict[str, int]:
        """Return size 1 for all labels: features of neurons are correlated, so a mean over many of them is not small.

        An initialization for independent entries would multiply a mean over n of them by the square root of n.
        """
        return dict.fromkeys(super()._initial_sizes(init_size), 1)

    def _factor(self, rank: int, rngs: nnx.Rngs) -> None:
        """Replace large matrices by two random factors, whose product has the mean squares of rows and columns."""
        present = _present(self.signature, self.channels, self.normalize, self.use_bias, self.nested)
        for product, here in zip(self.plan.products, present, strict=True):
            name = core_name(product)
            if name not in self.kernel or here is not None:  # a product of factors has no zeros for absent diagrams
                continue
            like = self.kernel[name][...]
            rows, columns = like.shape
            if rank * (rows + columns) >= rows * columns:
                continue
            square = jnp.abs(like) ** 2
            # A matrix of zeros has one factor that is not zero, so that the other one has a gradient.
            mean = jnp.mean(square)
            heights = jnp.where(mean > 0, jnp.sqrt(jnp.mean(square, 1)), 1)
            widths = jnp.sqrt(jnp.mean(square, 0) / (rank * jnp.where(mean > 0, mean, 1)))
            one, two = (unit_normal(rngs.params(), (len(s), rank), like.dtype) for s in (heights, widths))
            self.before[name] = nnx.Param(heights[:, None] * one)
            self.kernel[name] = nnx.Param((widths[:, None] * two).T)

    def _initial_weights(self) -> Weights:
        """Return initial weights of each pair of terms: zero for omitted diagrams, scaled up to keep the variance."""
        found = {
            pair: in_numpy((self.bias if pair[0] is None else self.kernel)[name][...])
            for name, (pair, _) in self._places.items()
        }
        left = _left(self.signature, self.nested)
        for s in {s for _, s in left}:
            pairs = [pair for pair in found if pair[1] == s and pair in left]
            count = sum(len(left[pair]) for pair in pairs)
            scale = np.sqrt(count / max(sum(int(left[pair].sum()) for pair in pairs), 1))
            for pair in pairs:
                factors = (scale * left[pair])[:, None, None]
                found[pair] = (found[pair] * factors).astype(found[pair].dtype)
        return found

    def _given(self) -> dict[str, jax.Array] | Layout:
        layout = self._layout()
        return layout if self.options.method in ("auto", "factored") else weights_of(layout)

    def weights(self) -> dict[str, jax.Array]:
        """Return the weights of all diagrams of the plan, with zeros for omitted diagrams."""
        return weights_of(self._layout())

    def _layout(self) -> Layout:
        """Return the parameters as the matrices of the plan, with zeros for omitted diagrams."""
        present = _present(self.signature, self.channels, self.normalize, self.use_bias, self.nested)

        def cast(array: jax.Array) -> jax.Array:
            return array if self.dtype is None else array.astype(self.dtype)

        products, before = [], []
        for product, here in zip(self.plan.products, present, strict=True):
            rows: tuple[jax.Array, ...] = ()
            name = core_name(product)
            if any(product.inputs):
                matrix = cast(self.kernel[name][...])
                rows = (matrix if here is None else jnp.where(here, matrix, 0),)
            has_bias = any(block.source is None for block in product.blocks)
            products.append((rows, cast(self.bias[name][...]) if has_bias else None))
            before.append(cast(self.before[name][...]) if name in self.before else None)
        return Layout(tuple(products), self.plan, tuple(before) if len(self.before) else ())


def core_name(product: Product) -> str:
    """Return the labels of a core, as text."""
    return " ".join(product.core) or "()"


@functools.lru_cache(maxsize=256)
def _planned(signature: Signature, channels: Widths, normalize: Normalize, bias: bool) -> Plan:
    plan = planned(signature, channels, normalize, bias)
    return replace(plan, products=tuple(map(with_wires_after, plan.products)))


@functools.lru_cache(maxsize=64)
def _left(signature: Signature, nested: Nested) -> Mapping[TermPair, np.ndarray]:
    """Return for each pair of terms a mask of the diagrams that the layer keeps; empty if it keeps all diagrams."""
    if not nested:
        return {}
    found = dict[TermPair, np.ndarray]()
    for (s, target), (t, source) in itertools.product(enumerate(signature.outputs), enumerate(signature.inputs)):
        diagrams = pair_diagrams(signature, source, target)
        labels = (*diagrams.top, *diagrams.bottom)
        found[t, s] = np.array([_fits(diagram.growth, labels, nested) for diagram in diagrams], bool)
    return found


@functools.lru_cache(maxsize=64)
def _present(
    signature: Signature, channels: Widths, normalize: Normalize, bias: bool, nested: Nested
) -> tuple[np.ndarray | None, ...]:
    """Return for each product a mask of the matrix entries that belong to a diagram; `None` if all entries do."""
    left = _left(signature, nested)
    weights = dict[TermPair, Any]()
    for pair, shape in weight_places(signature, channels, bias).values():
        here = left.get(pair, np.ones(shape[:1], bool))
        weights[pair] = np.broadcast_to(here.reshape(-1, *[1] * (len(shape) - 1)), shape)
    layout = as_whole(laid_out(_planned(signature, channels, normalize, bias), weights))
    masks = [np.asarray(rows[0]) if rows else np.ones(1, bool) for rows, _ in layout.products]
    return tuple(None if mask.all() else mask for mask in masks)


def _fits(growth: tuple[int, ...], labels: tuple[str, ...], nested: Nested) -> bool:
    """Whether, for each nested pair, inner vertices in one block have their outer vertices in one block."""
    for inner, outer in nested:
        inside = [block for block, label in zip(growth, labels, strict=True) if label == inner]
        outside = [block for block, label in zip(growth, labels, strict=True) if label == outer]
        # A term has each label at most once, so two vertices with one label belong to different terms.
        if len(inside) == 2 and inside[0] == inside[1] and outside[0] != outside[1]:
            return False
    return True


def checked_result(out: str, pairs: Nested) -> str:
    """Return `out` after checking that every nested label occurs once, together with its outer label."""
    labels = out.split()
    for inner, outer in pairs:
        if inner in labels and (labels.count(inner), labels.count(outer)) != (1, 1):
            raise OptionError(
                f"out has {inner!r}, which is permuted by itself for every index of {outer!r}",
                got=f"out={out!r}",
                expected=f"both of them, once, or {outer!r} alone",
                step=f"write out={f'{outer} {inner}'!r}",
            )
    return out
