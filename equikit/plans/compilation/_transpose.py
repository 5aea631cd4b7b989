"""The gradient of a plan as a plan: the plan of the transposed maps, and its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit._array_checks import by_label, given_sizes
from equikit._errors import ShapeError
from equikit.diagrams import Diagrams, pair_diagrams
from equikit.groups import Group
from equikit.plans._apply import Weight, keyed
from equikit.plans._ir import Plan
from equikit.plans._weights import checked_plan, weight_name, weight_shapes
from equikit.plans.compilation._lower import planned
from equikit.plans.compilation._transposition import Transposition, transposition
from equikit.signatures import Signature, Term, base


def transposed(plan: Plan) -> Plan:
    """Return the plan of the transposed maps; `plan.T` is the public property."""
    signature = plan.signature
    bound = dict(signature.bindings)

    def turned(term: Term) -> Term:
        labels = []
        for label in term.labels:
            what = bound[base(label)]
            has_dual = isinstance(what, Group) and what.has_dual
            labels.append((f"{label}*" if base(label) == label else base(label)) if has_dual else label)
        return term.relabeled(labels)

    inputs, outputs = (tuple(map(turned, terms)) for terms in (signature.outputs, signature.inputs))
    return planned(Signature(inputs, outputs, signature.bindings), plan.channels[::-1], "sum", False)


def transpose_weights(
    plan: Plan, weights: Mapping[str, Weight], *, sizes: Mapping[str, int] | None = None
) -> dict[str, Weight]:
    r"""Return the weights with which `plan.T` applies the transposed maps of a plan.

    With \(y_s = \sum_{t d} D_d x_t W_{t s d}\) a cotangent \(\bar y\) gives \(\bar x_t = \sum_{s d} D_d^T \bar y_s W_{t
    s d}^T\): for complex arrays the transpose and not the adjoint, as in JAX. The transpose of a mean over n entries is
    a copy to all n divided by n, and not a mean: `plan.T` has sums, and the weights are divided by the sizes. A mean
    over a mask has a size for each sample, so no such weights exist; masks with sums are allowed, with the same mask
    for `plan.T`.

    Args:
        plan: the plan.
        weights: by name, with the shapes of `weight_shapes(plan)`.
        sizes: for a plan with means, the size of every free label that is summed over.

    Returns:
        By name, with the shapes of `weight_shapes(plan.T)`, without biases.

    Raises:
        ShapeError, DTypeError: if an array or a size does not fit, or a size is missing.
        TooLargeError: if there are more than 50,000 diagrams between two terms, more than 800 dependent ones, or too
            many invariant tensors of a group without diagrams.

    Cost: the number of weights, times the number of diagrams that make up a transposed one: one, unless the diagrams
    are dependent.

    Example:
        >>> from equikit import S, hom
        >>> from equikit.plans import apply
        >>> plan = hom("p p -> p", p=S).plan((2, 3))
        >>> weights = {"p p -> p": jax.random.normal(jax.random.key(0), (5, 2, 3))}
        >>> x, cotangent = jnp.ones((4, 4, 2)), jnp.ones((4, 3))
        >>> (gradient,) = jax.vjp(lambda x: apply(plan, x, weights), x)[1](cotangent)
        >>> bool(jnp.allclose(gradient, apply(plan.T, cotangent, transpose_weights(plan, weights)), atol=1e-5))
        True
    """
    given, turned = keyed(checked_plan(plan), weights), plan.T
    signature, known = plan.signature, _sizes(plan, sizes)
    found = {}
    for (t, s), weight in given.items():
        if t is not None:
            spaces = [
                pair_diagrams(own, own.inputs[i], own.outputs[j])
                for own, i, j in ((signature, t, s), (turned.signature, s, t))
            ]
            how = transposition(*spaces)
            scales = None if plan.normalize == "sum" else _scales(how, known, spaces[0])
            name = weight_name(turned.signature.inputs[s], turned.signature.outputs[t])
            found[name] = _turned(weight, how, scales)
    return {name: found[name] for name in weight_shapes(turned)}


def _sizes(plan: Plan, sizes: Mapping[str, int] | None) -> dict[str, int]:
    return {label: size for label, (size, _) in given_sizes(plan.signature, by_label("sizes", sizes)).items()}


def _scales(how: Transposition, sizes: Mapping[str, int], space: Diagrams) -> np.ndarray:
    """Return for each diagram one over the number of terms of its means."""
    missing = sorted({label for summed in how.closed for label in summed} - sizes.keys())
    if missing:
        label = missing[0]
        raise ShapeError(
            f"the transpose of a mean over {label!r} is a sum divided by its size, which is not known",
            got=f"{label} bound to the free group {dict(space.groups)[label]}",
            expected="the size of every free label that is summed over",
            step=f"pass sizes={ {**sizes, **dict.fromkeys(missing, 4)} }",
        )
    return np.array([1 / math.prod(max(sizes[label], 1) for label in summed) for summed in how.closed])


def _turned(weight: jax.Array, how: Transposition, scales: np.ndarray | None) -> jax.Array:
    """Return weights `[diagrams, features in, features out]` as weights of the transposed maps."""
    count, wide, narrow = weight.shape
    grid = weight.reshape(len(how.closed), count // len(how.closed), wide, narrow)

    def scaled(grid: jax.Array, factors: np.ndarray) -> jax.Array:
        return grid * jnp.asarray(factors, weight.dtype)[:, None, None, None]

    if scales is not None:
        grid = scaled(grid, scales)
    parts = [scaled(grid[index], factor) for index, factor in zip(how.index, how.factor, strict=True)]
    grid = sum(parts[1:], parts[0])
    if how.elements is not None:
        dtype = jnp.promote_types(weight.dtype, jnp.complex64) if np.iscomplexobj(how.elements) else weight.dtype
        tensors = jnp.asarray(how.elements, dtype)
        grid = jnp.einsum("dcfg,ce->dgfe", grid.astype(dtype), tensors, precision=lax.Precision.HIGHEST)
        return grid.transpose(0, 3, 1, 2).reshape(count, narrow, wide)
    return grid.reshape(count, wide, narrow).swapaxes(1, 2)
