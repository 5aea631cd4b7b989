"""Apply plans to arrays: `apply`, and the layout of weights."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Inexact

from equikit import _checks
from equikit._array_checks import (
    by_label,
    by_name,
    checked_dtype,
    checked_shapes,
    mapping,
    masks_of,
    refuse_mixture,
    refuse_real,
)
from equikit._errors import OptionError, ShapeError
from equikit.plans._ir import Plan, TermPair
from equikit.plans._options import Method, RunOptions
from equikit.plans._weights import checked_plan, weight_name, weight_places, weight_shapes
from equikit.plans.costs._method import FACTORED, choose
from equikit.plans.execution._layout import Layout, Weights, as_whole, laid_out
from equikit.plans.execution._program import execute, is_divided
from equikit.plans.fused._explained import explained
from equikit.plans.fused._support import check_fused
from equikit.plans.sharding._out_sharding import OutSharding, Result
from equikit.plans.sharding._sharding import placed, result
from equikit.plans.sharding._spread import Spread
from equikit.plans.sparse._call import refuse_options, support_shapes
from equikit.plans.sparse._program import execute_sparse
from equikit.supports import Support

Feature = Inexact[jax.Array, "*batch_and_axes channels"]
"""An array of real or complex numbers: batch axes, an axis for each label of its term, and channels last."""
Inputs = Feature | Mapping[str, Feature]
"""The input of a layer: one array, or a dictionary with an array for each term."""
Arrays = TypeVar("Arrays", jax.Array, dict[str, jax.Array], Mapping[str, jax.Array])
"""One array or a dictionary of arrays, where the result has the type of the input."""
Weight = Inexact[jax.Array, "diagrams *features"]
Mask = Bool[jax.Array, "*batch n"]
"""The mask of a label: true for the entries of its axis that are present."""
Masks = Mask | Mapping[str, Mask]
"""The masks of a call: one mask if only one label can have one, or a dictionary from labels to masks."""


def keyed(plan: Plan, weights: Mapping[str, jax.Array]) -> Weights:
    """Return weights by pair of term numbers from weights by name, after checks of every shape and dtype."""
    expected = weight_places(plan.signature, plan.channels, plan.bias)
    weights = by_name(expected, mapping("weights", weights, names=expected))
    # Compared here before a check is called: every Python call of a warm layer counts.
    if weights.keys() != expected.keys():
        _checks.same_names("the weights", weights, expected, step="see weight_shapes(plan)")
    pairs: dict[TermPair, jax.Array] = {}
    for name, (pair, shape) in expected.items():
        pairs[pair] = checked_dtype(name, weights[name], "weights")
        if pairs[pair].shape != shape:
            _checks.shaped(f"the weights {name!r}", pairs[pair], shape, step="see weight_shapes(plan)")
    return pairs


def lay_out(plan: Plan, weights: Mapping[str, Weight]) -> Layout:
    """Arrange weights as the matrices of a plan's products, once for many calls of `apply`.

    In a jit-compiled call this costs a few small transpositions, which XLA moves out of loops; a program for inference
    that takes a `Layout` has none.

    Args:
        plan: the plan.
        weights: by name, with the shapes of `weight_shapes(plan)`.

    Returns:
        A `Layout`, a pytree: for each product a matrix `[inputs, outputs]` and a bias `[outputs]`. `apply` accepts it
            in place of the weights.

    Raises:
        ShapeError, DTypeError: if an array does not fit.

    Cost: the number of weights; for groups without diagrams also the entries of their axes.

    Example:
        >>> from equikit import S, hom
        >>> program = hom("p -> p", p=S).plan()
        >>> layout = lay_out(program, {"p -> p": jnp.array([[[1.0]], [[10.0]]])})
        >>> apply(program, jnp.array([[1.0], [2.0]]), layout).tolist()
        [[31.0], [32.0]]
    """
    return as_whole(laid_out(plan, keyed(checked_plan(plan), weights)))


def weights_of(layout: Layout) -> dict[str, jax.Array]:
    """Return the weights of a layout by name, if every group has diagrams: the inverse of `lay_out`.

    Each weight then occurs once in the matrices, so the transpose of the layout is its inverse.
    """
    plan, layout = layout.plan, layout.whole
    dtype = jnp.result_type(*jax.tree.leaves(layout))
    shapes = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in weight_shapes(plan).items()}
    lay: Any = jax.linear_transpose(lambda weights: lay_out(plan, weights).products, shapes)
    (found,) = lay(layout.products)
    return dict(found)


def checked_layout(plan: Plan, layout: Layout, options: RunOptions) -> Layout:
    """Return the layout if it belongs to the plan and the method supports it, or raise `OptionError`."""
    if layout.plan != plan:
        raise OptionError(
            "the plan of the layout is a different one",
            got=_described(layout.plan),
            expected=_described(plan),
            step="call lay_out(plan, weights) with this plan",
        )
    step = 'write method="factored", or pass the weights themselves'
    _checks.choice("method", options.method, ("auto", "factored"), step=step)
    for i, leaf in enumerate(jax.tree.leaves(layout)):
        checked_dtype(str(i), leaf, "matrix")
    whole: Layout = jax.eval_shape(lambda layout: layout.whole, layout) if layout.before else layout
    leaves = jax.tree.leaves_with_path(whole.products)
    found, expected = ([(path, leaf.shape) for path, leaf in some] for some in (leaves, _layout_leaves(plan)))
    step = "pass what lay_out(plan, weights) returns, as it is"
    _checks.same("the layout", found, expected, step=step, error=ShapeError)
    return layout


def _described(plan: Plan) -> str:
    """Return the properties that distinguish a plan from others, as text."""
    options = f"normalize={plan.normalize!r}, bias={plan.bias}"
    return f"{plan.signature}, channels {plan.channels}, {options}, {plan.steps} steps"


@functools.lru_cache(maxsize=64)
def _layout_leaves(plan: Plan) -> list[tuple[Any, jax.ShapeDtypeStruct]]:
    """Return the path and shape of each matrix and bias of a plan's layout."""
    weights = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in weight_shapes(plan).items()}
    layout: Layout = jax.eval_shape(lambda weights: lay_out(plan, weights), weights)
    return list(jax.tree.leaves_with_path(layout.products))


def described(plan: Plan, arrays: Sequence[jax.Array], given: Weights | Layout) -> dict[str, jax.Array]:
    """Return inputs and weights by their names in error texts."""
    signature = plan.signature
    found = {f"input {term.name!r}": array for term, array in zip(signature.inputs, arrays, strict=True)}
    if isinstance(given, Layout):
        return found | {f"matrix {i}": array for i, array in enumerate(jax.tree.leaves(given))}
    for (t, s), array in given.items():
        name = weight_name(None if t is None else signature.inputs[t], signature.outputs[s])
        found[f"weights {name!r}"] = array
    return found


def ordered(plan: Plan, inputs: Inputs) -> list[jax.Array]:
    """Return the input arrays in the order of the terms, from one array or a dictionary by name."""
    names = [term.name for term in plan.signature.inputs]
    if not isinstance(inputs, Mapping) and len(names) == 1:
        return [checked_dtype(names[0], inputs)]
    named = by_name(names, inputs) if isinstance(inputs, Mapping) else inputs
    _checks.same_names("the inputs", named, names, step="pass a dictionary with one array for each term")
    return [checked_dtype(name, named[name]) for name in names]


def apply(
    plan: Plan,
    inputs: Inputs,
    weights: Mapping[str, Weight] | Layout,
    *,
    mask: Masks | None = None,
    sizes: Mapping[str, int] | None = None,
    precision: lax.PrecisionLike = None,
    method: Method = "auto",
    remat: bool = False,
    chunk_size: int | None = None,
    out_sharding: OutSharding | None = None,
    support: Support | None = None,
) -> Feature | dict[str, Feature]:
    r"""Apply all maps of a plan: \(y_s = \sum_t \sum_d D_d x_t W_{t s d}\).

    Args:
        plan: from `plan`, or `space.plan(...)`.
        inputs: an array `[*batch, *axes, channels]`, or one for each input term, by name.
        weights: by name, with the shapes of `weight_shapes(plan)`; or the result of `lay_out`.
        mask: for a label, booleans `[*batch, n]` that mark the entries that are present. Sums and means ignore absent
            entries, which are zero in the result. A single array is allowed if only one label can have a mask.
        sizes: sizes of free labels that no input has.
        precision: of the matrix products, as in `jax.lax.dot_general`.
        method: `"factored"` runs the steps of the plan; `"dense"` multiplies by the dense matrix, assembled in each
            call; `"naive"` is the definition, one dense tensor for each diagram; `"fused"` runs the steps of the plan
            in Pallas kernels on one GPU, see `kernels`; `"auto"` chooses between the first two the method that a cost
            model predicts to be fastest for these shapes, on the platform for which the program is lowered.
        remat: keep only inputs and weights for the backward pass, and recompute the rest. Otherwise the concatenated
            reduced tensors, which enter the products, are kept too.
        chunk_size: the number of samples to compute at a time, in a loop over the batch, which takes less memory, and
            more time with a gradient. By default a batch is computed at once; but on a CPU without a gradient it is
            computed in chunks of more than 16 MiB, if a layer takes much more memory than its inputs and outputs.
        out_sharding: how the result is sharded over the devices of a mesh, as a `jax.sharding.PartitionSpec` or
            `NamedSharding`; for several outputs a dictionary by name. By default XLA decides on automatic axes; on
            explicit axes, batch and tensor axes are sharded as in the inputs, channels as the last axis of the weights,
            and no sum is left unreduced.
        support: which entries of the axes of one label are present, a label bound to `ek.S`. Arrays then have rows in
            place of these axes, after the batch axes and before all others: entries for a term with several of these
            axes, nodes for one, and for none graphs, if the support has graph numbers. Absent entries are zero, and
            means divide by the number of present ones. Sums, means and the bias are of one graph. In a label bound to
            `ek.S(n)` every graph has n nodes, which is not checked for a traced support. `mask` and `sizes` are then
            for other labels, and `method` is `"auto"` or `"factored"`.

    Returns:
        The output array `[*batch, *axes, channels]`, or a dictionary of arrays if there are several output terms or the
        inputs are a dictionary.

    Raises:
        ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast. Arrays in half precision combine
            with float32, but not with float64, nor bfloat16 with float16.
        OptionError: if the method is unknown or does not apply, or if `out_sharding` names an axis that the mesh lacks.
        TooLargeError: if the dense matrix, or for the naive method the tensor of a diagram, would not fit in memory.

    Cost: \(O(n^{\max(k, l)})\) time and memory; on a support, the number of its entries and nodes. A Levi-Civita tensor
    adds a constant of \(n^n\) entries, at most \(2^{26}\). The naive method takes \(O(n^{k+l})\) for each diagram.

    Example:
        >>> from equikit import S, hom
        >>> program = hom("p -> p", p=S).plan()
        >>> apply(program, jnp.array([[1.0], [2.0]]), {"p -> p": jnp.array([[[1.0]], [[10.0]]])}).tolist()
        [[31.0], [32.0]]
    """
    return applied(
        checked_plan(plan),
        inputs,
        weights,
        RunOptions(precision, method, remat, chunk_size),
        mask=mask,
        sizes=sizes,
        out_sharding=out_sharding,
        support=support,
    )


def applied(
    plan: Plan,
    inputs: Inputs,
    weights: Mapping[str, Weight] | Layout,
    options: RunOptions,
    *,
    mask: Masks | None = None,
    sizes: Mapping[str, int] | None = None,
    out_sharding: OutSharding | None = None,
    support: Support | None = None,
) -> Feature | dict[str, Feature]:
    """`apply` for options that are already checked, such as the options of layers."""
    arrays, masks = ordered(plan, inputs), masks_of(plan.signature, mask)
    refuse_real(plan.signature, [term.name for term in plan.signature.inputs], arrays)
    read = plan.signature, plan.channels[0], arrays, masks, by_label("sizes", sizes)
    if support is None:
        shapes = checked_shapes(*read)
        options.chunks(shapes.batch)
    else:
        shapes = support_shapes(*read, support, linear=True)
        refuse_options(options, out_sharding)
    given = checked_layout(plan, weights, options) if isinstance(weights, Layout) else keyed(plan, weights)
    leaves, structure = jax.tree.flatten(given if isinstance(given, Layout) else [*given.values()])
    if len({array.dtype for array in (*arrays, *leaves)}) > 1:
        refuse_mixture(described(plan, arrays, given))
    dtype = jnp.result_type(*arrays, *leaves)
    arrays = [array.astype(dtype) for array in arrays]
    leaves = [leaf.astype(dtype) for leaf in leaves]
    laid = isinstance(given, Layout)
    names = [] if isinstance(given, Layout) else [*given]
    if support is not None:
        cast = jax.tree.unflatten(structure, leaves)
        weighted = cast if laid else dict(zip(names, cast, strict=True))
        results = execute_sparse(plan, arrays, weighted, shapes, masks, support, options)
        return named(plan, results, isinstance(inputs, Mapping))
    choice = FACTORED if laid else choose(plan, options.method, shapes, masks, dtype)
    if options.method == "fused":
        given_arrays = [*arrays, *leaves]
        check_fused(plan, shapes, dtype, given_arrays, spread=is_divided(given_arrays), chunk_size=options.chunk_size)

    def compute(
        arrays: list[jax.Array], leaves: list[jax.Array], masks: Mapping[str, jax.Array], spread: Spread | None
    ) -> list[jax.Array]:
        found = jax.tree.unflatten(structure, leaves)
        weights = found if laid else dict(zip(names, found, strict=True))
        divided = options.method == "auto" and spread is not None
        how = FACTORED if divided else choice
        return execute(plan, arrays, weights, shapes, masks, how, options, spread=None if laid else spread)

    def outputs() -> list[Result]:
        return [
            result(term, shapes, plan.channels[1][s], [w for (_, t), w in zip(names, leaves, strict=False) if t == s])
            for s, term in enumerate(plan.signature.outputs)
        ]

    operands = arrays, leaves, masks
    with explained() if options.method == "fused" else contextlib.nullcontext():
        results = placed(compute, operands, plan.signature.inputs, outputs, out_sharding)
    return named(plan, results, isinstance(inputs, Mapping))


def named(plan: Plan, results: Sequence[jax.Array], as_dict: bool) -> jax.Array | dict[str, jax.Array]:
    """Return the results by name, or the single result."""
    if len(results) == 1 and not as_dict:
        return results[0]
    return {term.name: array for term, array in zip(plan.signature.outputs, results, strict=True)}
