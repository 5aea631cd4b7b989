"""Applying a plan to arrays: the names of its weights, and the one public entry point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Inexact

from equikit._errors import OptionError, ShapeError, SignatureError, explain
from equikit.diagrams import HomSpace, Term
from equikit.plans._check import by_label, by_name, checked_dtype, checked_shapes, mapping, refuse_real
from equikit.plans._execute import Weights, run
from equikit.plans._ir import Plan
from equikit.plans._out_sharding import OutSharding
from equikit.plans._reference import run_reference
from equikit.plans._sharding import placed, result
from equikit.plans._spread import Spread

Feature = Inexact[jax.Array, "*batch_and_axes channels"]
Inputs = Feature | Mapping[str, Feature]
Weight = Inexact[jax.Array, "diagrams *features"]
Mask = Bool[jax.Array, "*batch n"]


def weight_name(source: Term | None, target: Term) -> str:
    """The name of the weights of a pair of terms: `"p p -> p"`, and `"-> p"` for a bias."""
    name = target.name or "()"
    return f"-> {name}" if source is None else f"{source.name or '()'} -> {name}"


def weight_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """The shape of the weights of every pair of terms.

    Returns:
        `"in -> out"` to `(diagrams, features in, features out)`, and where the plan has a bias `"-> out"` to
        `(diagrams, features out)`. The diagrams are those of the pair's Hom space, in its order; features are channels
        times the sizes of plain axes. Pairs that no map joins are left out.

    Example:
        >>> from equikit import S, hom
        >>> weight_shapes(hom("p p -> p", p=S).plan((16, 32), bias=True))
        {'p p -> p': (5, 16, 32), '-> p': (1, 32)}
    """
    signature, (features_in, features_out) = plan.signature, plan.features
    shapes: dict[str, tuple[int, ...]] = {}

    def add(source: Term | None, target: Term, *features: int) -> None:
        name = weight_name(source, target)
        if name in shapes:
            raise SignatureError(
                explain(
                    f"two pairs of terms would have the weights {name!r}",
                    got=f"terms named {[term.name for term in (*signature.inputs, *signature.outputs)]}",
                    expected="names of terms that tell their pairs apart",
                    step="choose names without arrows and parentheses",
                )
            )
        count = len(HomSpace(signature.pair(source or Term("", ()), target)).diagrams)
        if count:
            shapes[name] = (count, *features)

    for target, width_out in zip(signature.outputs, features_out, strict=True):
        for source, width_in in zip(signature.inputs, features_in, strict=True):
            add(source, target, width_in, width_out)
        if plan.bias:
            add(None, target, width_out)
    return shapes


def keyed(plan: Plan, weights: Mapping[str, jax.Array]) -> Weights:
    """Weights by name, as weights by pair of term numbers; every shape and dtype is checked."""
    expected = weight_shapes(plan)
    weights = by_name(expected, mapping("weights", weights))
    if weights.keys() != expected.keys():
        raise ShapeError(
            explain(
                "the weights do not fit the plan",
                got=f"weights named {sorted(map(str, weights))}",
                expected=f"weights named {sorted(expected)}",
                step="see weight_shapes(plan)",
            )
        )
    weights = {name: checked_dtype(name, weights[name], "weights") for name in expected}
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ShapeError(
                explain(
                    f"the weights {name!r} have the wrong shape",
                    got=f"shape {list(weights[name].shape)}",
                    expected=f"{list(shape)}: diagrams, features in, features out",
                    step="see weight_shapes(plan)",
                )
            )
    signature = plan.signature
    pairs: dict[tuple[int | None, int], jax.Array] = {}
    for s, target in enumerate(signature.outputs):
        for t, source in [*enumerate(signature.inputs), (None, None)]:
            name = weight_name(source, target)
            if name in weights:
                pairs[t, s] = weights[name]
    return pairs


def ordered(plan: Plan, inputs: Inputs) -> list[jax.Array]:
    """The input arrays in the order of the terms, from one array or a dictionary by name."""
    names = [term.name for term in plan.signature.inputs]
    if isinstance(inputs, Mapping):
        inputs = by_name(names, inputs)
    else:
        if len(names) != 1:
            raise ShapeError(
                explain(
                    "one array came for several input terms",
                    got=type(inputs).__name__,
                    expected=f"a dictionary with the arrays {names}",
                    step=f"pass {{{names[0]!r}: ..., ...}}",
                )
            )
        return [checked_dtype(names[0], inputs)]
    if inputs.keys() != set(names):
        raise ShapeError(
            explain(
                "the input arrays do not fit the input terms",
                got=f"arrays named {sorted(map(str, inputs))}",
                expected=f"arrays named {sorted(names)}",
                step="give exactly one array for each term",
            )
        )
    return [checked_dtype(name, inputs[name]) for name in names]


def apply(
    plan: Plan,
    inputs: Inputs,
    weights: Mapping[str, Weight],
    *,
    mask: Mapping[str, Mask] | None = None,
    sizes: Mapping[str, int] | None = None,
    precision: lax.PrecisionLike = None,
    method: Literal["factored", "reference"] = "factored",
    out_sharding: OutSharding | None = None,
) -> Feature | dict[str, Feature]:
    r"""Apply all maps of a plan: \(y_s = \sum_t \sum_d D_d x_t W_{t s d}\).

    Args:
        plan: from `plan`, or `space.plan(...)`.
        inputs: an array `[*batch, *axes, channels]`, or one for each input term, by name.
        weights: by name, with the shapes of `weight_shapes(plan)`.
        mask: for a label, booleans `[*batch, n]` that say which entries are there; others count as absent in every
            sum and mean, and are zero in the result.
        sizes: sizes of free labels that no input has.
        precision: of the matrix products, as in `jax.lax.dot_general`.
        method: `"factored"`, or `"reference"` for the definition by dense tensors, which is slow.
        out_sharding: how the result is spread over the devices of a mesh, as a `jax.sharding.PartitionSpec` or
            `NamedSharding`; for several outputs a dictionary by name. Without it XLA decides on automatic axes; on
            explicit ones batch and tensor axes stay as they are in the inputs, channels are as the last axis of the
            weights, and the sums that this takes are done.

    Returns:
        The output array `[*batch, *axes, channels]`, or a dictionary of them if there are several output terms or the
        inputs came as a dictionary.

    Raises:
        ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast.
        OptionError: if there is no such method, or the mesh does not have what `out_sharding` names.

    Cost: \(O(n^{\max(k, l)})\) time and memory; a Levi-Civita tensor adds a constant of \(n^n\) entries, and is refused
    above \(2^{26}\). The reference takes \(O(n^{k+l})\) for each diagram.

    Example:
        >>> from equikit import S, hom
        >>> program = hom("p -> p", p=S).plan()
        >>> apply(program, jnp.array([[1.0], [2.0]]), {"p -> p": jnp.array([[[1.0]], [[10.0]]])}).tolist()
        [[31.0], [32.0]]
    """
    if method not in ("factored", "reference"):
        raise OptionError(
            explain(
                "no such method", got=repr(method), expected='"factored" or "reference"', step='write method="factored"'
            )
        )
    if not isinstance(plan, Plan):
        raise OptionError(
            explain(
                "what is to be applied is not a plan",
                got=repr(plan),
                expected="a plan",
                step="pass space.plan((channels in, channels out)), or equikit.plans.plan(space, ...)",
            )
        )
    arrays, masks = ordered(plan, inputs), by_label("mask", mask)
    refuse_real(plan.signature, [term.name for term in plan.signature.inputs], arrays)
    shapes = checked_shapes(plan.signature, plan.channels[0], arrays, masks, by_label("sizes", sizes))
    pairs = keyed(plan, weights)
    dtype = jnp.result_type(*arrays, *pairs.values())
    arrays = [array.astype(dtype) for array in arrays]
    pairs = {pair: array.astype(dtype) for pair, array in pairs.items()}
    keys = list(pairs)

    def compute(
        arrays: list[jax.Array], values: list[jax.Array], masks: Mapping[str, jax.Array], spread: Spread | None
    ) -> list[jax.Array]:
        pairs = dict(zip(keys, values, strict=True))
        if method == "reference":
            return run_reference(plan, arrays, pairs, shapes, masks)
        return run(plan, arrays, pairs, shapes, masks, precision, spread)

    outputs = [
        result(term, shapes, plan.channels[1][s], [pairs[key] for key in keys if key[1] == s])
        for s, term in enumerate(plan.signature.outputs)
    ]
    operands = arrays, list(pairs.values()), masks
    results = placed(compute, operands, plan.signature.inputs, outputs, out_sharding)
    return named(plan, results, isinstance(inputs, Mapping))


def named(plan: Plan, results: Sequence[jax.Array], as_dict: bool) -> jax.Array | dict[str, jax.Array]:
    """The results by name, or the single one."""
    if len(results) == 1 and not as_dict:
        return results[0]
    return {term.name: array for term, array in zip(plan.signature.outputs, results, strict=True)}
