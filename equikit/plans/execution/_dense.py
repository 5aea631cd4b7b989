"""The dense method: one product with the dense matrix, which is fast if it is small.

A plan makes the matrix of a pair of terms: applied to the unit vectors of the input, with all pairs of features as
channels of its output, it computes every entry, and shares work as plans do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from equikit._array_checks import Shapes
from equikit._masks import masked
from equikit.diagrams import refuse_if_large
from equikit.plans._ir import Plan
from equikit.plans.compilation._lattice import acted_labels
from equikit.plans.compilation._lower import plan
from equikit.plans.execution._arrays import broadcast, wide
from equikit.plans.execution._execute import run
from equikit.plans.execution._layout import Weights
from equikit.plans.execution._matmul import matmul
from equikit.plans.execution._steps import inward, outward
from equikit.signatures import Signature, Term, is_axis, without_mark


def pair_plan(whole: Plan, source: Term | None, target: Term, features: int) -> Plan:
    """Return the plan of one pair of terms without plain axes, from one channel to one for each pair of features."""
    signature = whole.signature
    empty = Term("", ())
    columns, rows = (
        Term.of((x for x in term.words if not is_axis(x) or without_mark(x) in signature.groups), name)
        for name, term in (("columns", source or empty), ("rows", target))
    )
    own = Signature((columns,), (rows,), signature.bindings).pair(columns, rows)
    return plan(own, (1, features), normalize=whole.normalize)


def matrix_shape(whole: Plan, source: Term | None, target: Term, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Return the numbers of entries of the acted axes of an input term and of an output term."""
    labels = () if source is None else acted_labels(whole.signature, source)
    other = acted_labels(whole.signature, target)
    return math.prod(sizes[label] for label in labels), math.prod(sizes[label] for label in other)


def dense_entries(whole: Plan, sizes: Mapping[str, int]) -> int:
    """Count the entries of the matrices of all pairs of terms together."""
    signature = whole.signature

    def width(terms: Sequence[Term], features: Sequence[int]) -> int:
        pairs = zip(terms, features, strict=True)
        return sum(f * math.prod(sizes[label] for label in acted_labels(signature, term)) for term, f in pairs)

    return width(signature.inputs, whole.features[0]) * width(signature.outputs, whole.features[1])


def _matrix(
    whole: Plan,
    source: Term | None,
    target: Term,
    weight: jax.Array,
    shapes: Shapes,
    precision: lax.PrecisionLike,
) -> jax.Array:
    """Return the matrix of a pair of terms, rows (axes in, features in) by columns (axes out, features out)."""
    wide, narrow = (1, *weight.shape[1:])[-2:]
    below, above = matrix_shape(whole, source, target, shapes.sizes)
    program = pair_plan(whole, source, target, wide * narrow)
    axes = [shapes.sizes[label] for label in program.signature.inputs[0].labels]
    units = jnp.eye(below, dtype=weight.dtype).reshape(below, *axes, 1)
    weights: Weights = {(0, 0): weight.reshape(weight.shape[0], 1, wide * narrow)}
    found = run(program, [units], weights, Shapes((below,), shapes.sizes), {}, precision)[0]
    return found.reshape(below, above, wide, narrow).transpose(0, 2, 1, 3).reshape(below * wide, above * narrow)


def run_dense(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike = None,
) -> list[jax.Array]:
    """Apply the maps of a plan by the dense matrix of each pair of terms; arguments as in `run`.

    Raises:
        TooLargeError: if the matrices have too many entries.
    """
    signature, batch = plan.signature, len(shapes.batch)
    refuse_if_large("the dense matrix", dense_entries(plan, shapes.sizes))
    flat = []
    for term, x in zip(signature.inputs, inputs, strict=True):
        x = masked(inward(signature, term, x, by_label=False), acted_labels(signature, term), masks, batch)
        flat.append(x.reshape(*shapes.batch, math.prod(x.shape[batch:])))
    results = []
    for s, term in enumerate(signature.outputs):
        labels = acted_labels(signature, term)
        shape = (*shapes.batch, *(shapes.sizes[label] for label in labels), plan.features[1][s])
        total: jax.Array | None = None
        for (t, target), weight in weights.items():
            if target == s:
                source = None if t is None else signature.inputs[t]
                matrix = _matrix(plan, source, term, weight, shapes, precision)
                if t is None:
                    y = broadcast(matrix.reshape(shape[batch:]).astype(wide(matrix.dtype)), shape)
                else:
                    y = matmul(flat[t], matrix, precision)
                total = y.reshape(shape) if total is None else total + y.reshape(shape)
        if total is None:  # no map leads here: the zero map
            total = jnp.zeros(shape, jnp.result_type(*inputs))
        total = masked(total.astype(jnp.result_type(*inputs)), labels, masks, batch)
        results.append(outward(signature, term, total, plan.channels[1][s], by_label=False))
    return results
