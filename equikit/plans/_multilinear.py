"""Apply multilinear maps to arrays: the shape of their weights, and `apply_multilinear`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from equikit import _checks
from equikit._array_checks import Shapes, by_label, checked_dtype, checked_shapes, checked_values, masks_of
from equikit._errors import ShapeError
from equikit.diagrams import MultilinearSpace
from equikit.plans._apply import Feature, Masks
from equikit.plans._ir import NORMALIZE, Mode, MultilinearPlan, Normalize, feature_widths
from equikit.plans._options import RunOptions
from equikit.plans.compilation._contractions import check_request, checked_space, planned_maps
from equikit.plans.compilation._lower import Channels, channel_pair
from equikit.plans.execution._contract import run_contractions
from equikit.plans.execution._reference import run_reference
from equikit.plans.sharding._out_sharding import Result, Spec
from equikit.plans.sharding._sharding import placed, result
from equikit.plans.sparse._call import refuse_options, support_shapes
from equikit.plans.sparse._products import execute_products
from equikit.plans.sparse._schedule import refuse_products
from equikit.supports import Support


def multilinear_weight_shape(
    space: MultilinearSpace, channels: Channels, out_channels: int, *, mode: Mode = "full"
) -> tuple[int, ...]:
    """Return the shape of the weights of `apply_multilinear`.

    Args:
        space: from `hom`, with commas.
        channels: one number for each input, or one number for all.
        out_channels: channels of the output.
        mode: `"full"` or `"channelwise"`.

    Returns:
        `(basis, *features in, features out)`, where features are channels times the sizes of plain axes; or `(basis,
        channels)`.

    Raises:
        OptionError, ShapeError: if an argument does not fit.

    Example:
        >>> from equikit import O, hom
        >>> multilinear_weight_shape(hom("x x, x -> x", x=O(3)), (16, 8), 32)
        (3, 16, 8, 32)
    """
    wide, (narrow,) = channel_pair((channels, out_channels), checked_space(space).inputs, (space.output,))
    check_request(space, wide, narrow, mode)
    return _weight_shape(space, wide, narrow, mode)


def _weight_shape(space: MultilinearSpace, channels: Sequence[int], out_channels: int, mode: Mode) -> tuple[int, ...]:
    """`multilinear_weight_shape` for a checked request; without a plan, as there can be too many maps for one."""
    if mode == "channelwise":
        return space.count, out_channels
    wide, narrow = feature_widths(space.signature, (channels, (out_channels,)))
    return space.count, *wide, *narrow


def apply_multilinear(
    space: MultilinearSpace,
    inputs: Sequence[Feature],
    weights: jax.Array,
    *,
    mode: Mode = "full",
    normalize: Normalize = "sum",
    mask: Masks | None = None,
    sizes: Mapping[str, int] | None = None,
    precision: lax.PrecisionLike = None,
    method: Literal["factored", "naive"] = "factored",
    out_sharding: Spec | None = None,
    support: Support | None = None,
) -> Feature:
    r"""Apply all multilinear maps of a space: \(y = \sum_b b(x_1, \dots, x_m)\, W_b\).

    The inputs are reduced, and contracted pairwise in the order with the fewest multiplications; their outer product is
    never formed. Inputs in which the maps are symmetric or antisymmetric are replaced by their symmetric or
    antisymmetric part, and so is the output.

    Args:
        space: from `hom`, with commas.
        inputs: an array `[*batch, *axes, channels]` for each input, in order.
        weights: with the shape `multilinear_weight_shape`. In mode `"full"` that is `[basis, *features in, features
            out]`: a weight for each choice of one channel from every input and the output. In mode `"channelwise"` it
            is `[basis, channels]`: channel c of the output depends only on channel c of every input.
        mode: `"full"` or `"channelwise"`.
        normalize: `"sum"`, or `"mean"` to divide each sum over an index that is not in the output by its size.
        mask: for a label, booleans `[*batch, n]` that mark the entries that are present. Sums and means ignore absent
            entries, which are zero in the result. A single array is allowed if only one label can have a mask.
        sizes: sizes of free labels that no input has.
        precision: of the products, as in `jax.lax.dot_general`.
        method: `"factored"`, or `"naive"` for the definition by dense tensors, which is slow.
        out_sharding: how the result is sharded over the devices of a mesh, as in `apply`.
        support: which entries of the axes of one label are present, as in `apply`, a label bound to `ek.S`. Absent
            entries are zero. A mean divides once, by the number of products of present entries that were added, which
            on a full support equals the division of each sum by its size. Symmetric and antisymmetric parts are taken
            within the support: an entry without its reverse is divided by two. Products that sum over paths of three
            nodes into an entry that links their ends, such as products of matrices, need a support with all triples of
            nodes that are linked in pairs, `edges | edges.cliques()`.

    Returns:
        The output array `[*batch, *axes, channels]`.

    Raises:
        ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast.
        OptionError: if the mode, normalization, method or precision is unknown, or if a product on a support needs
            triples that it lacks, or longer tuples.
        TooLargeError: for a Levi-Civita tensor of more than \(2^{26}\) entries.

    Cost: for two inputs, memory is the size of the larger of them and the output, times channels and the number of ways
    to place the axes of a product in the output; for more inputs, also the size in the best contraction order. Time is
    a product over the distinct indices of two tensors at a time, never over the indices of all. On a support, the
    number of its entries, nodes and triples, times products of channels.

    Example:
        >>> from equikit import SO, hom
        >>> cross = hom("x, x -> x", x=SO(3))
        >>> one, other = jnp.array([[1.0], [0.0], [0.0]]), jnp.array([[0.0], [1.0], [0.0]])
        >>> apply_multilinear(cross, (one, other), jnp.ones((1, 1, 1, 1)))[:, 0].tolist()
        [0.0, 0.0, 1.0]
    """
    _checks.choice("method", method, ("factored", "naive"))
    return applied_maps(
        checked_space(space),
        inputs,
        weights,
        RunOptions(precision, method),
        mode=mode,
        normalize=normalize,
        mask=mask,
        sizes=sizes,
        out_sharding=out_sharding,
        support=support,
    )


def applied_maps(
    space: MultilinearSpace,
    inputs: Sequence[Feature],
    weights: jax.Array,
    options: RunOptions,
    *,
    mode: Mode,
    normalize: Normalize,
    mask: Masks | None = None,
    sizes: Mapping[str, int] | None = None,
    out_sharding: Spec | None = None,
    support: Support | None = None,
) -> Feature:
    """`apply_multilinear` for a checked space and checked options, such as the options of layers."""
    _checks.instance("inputs", inputs, Sequence, "(x, y)")  # type: ignore[type-abstract]  # none is made
    if (terms := len(space.operands)) != len(inputs):  # the text takes long to write
        step, what = "give one array for each input, in the order of the signature", f"inputs of {space.text!r}"
        _checks.count(f"the number of {what}", len(inputs), least=terms, most=terms, step=step, error=ShapeError)
    signature = space.signature
    masks = masks_of(signature, mask)
    weights = checked_dtype("weights", weights, "weights")
    arrays, known = checked_values(signature, inputs, {"weights": weights}), by_label("sizes", sizes)
    widths = [x.shape[-1] if x.ndim else 1 for x in arrays]
    read = signature, widths, arrays, masks, known
    shapes = checked_shapes(*read) if support is None else support_shapes(*read, support)
    channels = tuple(x.shape[-1] for x in arrays)
    out_channels = weights.shape[-1] // max(signature.multiplicity(space.output), 1) if weights.ndim else 0
    check_request(space, channels, out_channels, mode)
    _checks.choice("normalize", normalize, NORMALIZE)
    expected = _weight_shape(space, channels, out_channels, mode)
    step = "see multilinear_weight_shape(space, channels, out_channels)"
    _checks.shaped("weights", weights, expected, step=step)
    found = tuple(sorted(shapes.sizes.items()))
    plan = planned_maps(space, channels, out_channels, normalize, mode)
    if support is not None:
        _checks.choice("method", options.method, ("factored",), step='write method="factored" with a support')
        refuse_options(options, out_sharding)
        refuse_products(plan, support)
        others = tuple((label, size) for label, size in found if label != support.label)
        y: Feature = execute_products(plan, arrays, weights, masks, support, len(shapes.batch), others, options)
        return y

    def compute(arrays: list[jax.Array], weights: list[jax.Array], masks: dict[str, jax.Array], _: object) -> Any:
        run = _run if options.method == "naive" else _compiled
        return [run(plan, arrays, weights[0], masks, shapes.batch, found, options)]

    def outputs() -> list[Result]:
        return [result(space.output, shapes, out_channels, [weights])]

    return placed(compute, (arrays, [weights], masks), space.inputs, outputs, out_sharding)[0]


def _run(
    plan: MultilinearPlan,
    arrays: Sequence[jax.Array],
    weights: jax.Array,
    masks: Mapping[str, jax.Array],
    batch: tuple[int, ...],
    sizes: tuple[tuple[str, int], ...],
    options: RunOptions,
) -> jax.Array:
    """Run a plan on checked arrays, with all batch axes folded into one."""
    count, dtype = math.prod(batch), jnp.result_type(*arrays, weights)
    flat = [x.astype(dtype).reshape(count, *x.shape[len(batch) :]) for x in arrays]
    masks = {label: mask.reshape(count, mask.shape[-1]) for label, mask in masks.items()}
    shapes, weights = Shapes((count,), dict(sizes)), weights.astype(dtype)
    if options.method == "naive":
        (y,) = run_reference(plan, flat, weights, shapes, masks)
    else:
        y = run_contractions(plan, flat, weights, shapes, masks, options.precision)
    return y.reshape(*batch, *y.shape[1:])


_compiled = jax.jit(_run, static_argnames=("plan", "batch", "sizes", "options"))
"""Compiled as one program: a call has hundreds of operations, which would take seconds to compile separately."""
