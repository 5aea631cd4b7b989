"""Combine aligned networks: by their mean, on the circle through two of them, or by changes that agree in sign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.specifications._leaves import is_inexact

Combination = Literal["mean", "slerp", "ties"]
COMBINATIONS: tuple[Combination, ...] = ("mean", "slerp", "ties")


def checked_coefficients(coefficients: Any, count: int) -> tuple[float, ...]:
    """Return a coefficient for each network, equal ones by default; their sum is 1.

    Raises:
        OptionError: if there are not as many as networks, or their sum is not positive.
    """
    if coefficients is None:
        return (1 / count,) * count
    equal = ", ".join([f"{1 / count:.2g}"] * count)
    found = _checks.numbers("coefficients", coefficients, example=(0.5,) * count)
    if len(found) != count or sum(found) <= 0:
        raise OptionError(
            "coefficients= must have one number for each network, with a positive sum",
            got=list(found),
            expected=f"{count} numbers",
            step=f"write coefficients=[{equal}]",
        )
    return tuple(one / sum(found) for one in found)


def refuse_other_options(how: Combination, count: int, base: Any) -> None:
    """Raise `OptionError` if a base is missing or not used, or if there are not two networks for a sphere."""
    if how == "slerp" and count != 2:
        raise OptionError(
            "spherical interpolation is between two networks",
            got=f"{count} networks",
            expected="2",
            step='write how="mean", or merge two at a time',
        )
    if (how == "ties") != (base is not None):
        raise OptionError(
            "changes are counted from a base" if how == "ties" else f'how="{how}" has no base',
            got="no base=" if base is None else "a base=",
            expected='a base with how="ties", and with no other how=',
            step="write base=params, the network that all others were trained from"
            if base is None
            else "leave base= out",
        )


def combined(
    trees: Sequence[Any], how: Combination, coefficients: Sequence[float], base: Any = None, density: float = 0.2
) -> Any:
    """Return networks of one structure as one; integers and booleans are copied from the first network."""
    bounds = [_least(tree, base, density) for tree in trees] if how == "ties" else []

    def leaf(*leaves: Any) -> Any:
        if not is_inexact(leaves[0]):
            return leaves[0]
        # In half precision a sum can overflow although the mean does not.
        dtype = jnp.result_type(*leaves[: len(trees)])
        wide = [jnp.asarray(one, jnp.promote_types(dtype, jnp.float32)) for one in leaves]
        if how == "mean":
            return jnp.asarray(_mean(wide, coefficients), dtype)
        if how == "slerp":
            return jnp.asarray(_sphere(wide[0], wide[1], coefficients), dtype)
        return jnp.asarray(_ties(wide[:-1], wide[-1], coefficients, bounds), dtype)

    return jax.tree.map(leaf, *trees, *([] if base is None else [base]))


def promoted(trees: Sequence[Any]) -> list[Any]:
    """Return networks with one dtype for each parameter, as `mean` has it."""
    leaves = [jax.tree.leaves(tree) for tree in trees]
    same = [len({leaf.dtype for leaf in some}) == 1 for some in zip(*leaves, strict=True)]
    kinds = [jnp.result_type(*some) for some in zip(*leaves, strict=True)]
    cast = [
        [leaf if one else jnp.asarray(leaf, kind) for leaf, one, kind in zip(each, same, kinds, strict=True)]
        for each in leaves
    ]
    return [jax.tree.unflatten(jax.tree.structure(tree), each) for tree, each in zip(trees, cast, strict=True)]


def _mean(leaves: Sequence[jax.Array], coefficients: Sequence[float]) -> jax.Array:
    found = _plain_mean(leaves, coefficients)
    if not isinstance(found, jax.core.Tracer) and jnp.all(jnp.isfinite(found)):
        return found
    # A sum can overflow although the mean does not: only such entries are scaled, because small ones would underflow.
    # The barrier keeps XLA from factoring the scale out of the sum.
    scale = 2.0 ** -math.ceil(math.log2(1 + sum(map(abs, coefficients)) * len(leaves)))
    small = _plain_mean(jax.lax.optimization_barrier([scale * one for one in leaves]), coefficients)
    return jnp.where(jnp.isfinite(found), found, small / scale)


def _plain_mean(leaves: Sequence[jax.Array], coefficients: Sequence[float]) -> jax.Array:
    if len(set(coefficients)) == 1:  # the sum of equal arrays times rounded coefficients would differ from them
        return jnp.asarray(sum(leaves) / len(leaves))
    return jnp.asarray(sum(c * one for c, one in zip(coefficients, leaves, strict=True)))


def _sphere(one: jax.Array, two: jax.Array, coefficients: Sequence[float]) -> jax.Array:
    """Interpolate on the great circle through two arrays; between parallel arrays, and from zeros, on the line."""
    # Norms of very large and very small numbers overflow and underflow.
    largest = [jnp.max(jnp.abs(array), initial=0) for array in (one, two)]
    unit = [array / jnp.where(size > 0, size, 1) for array, size in zip((one, two), largest, strict=True)]
    norm = jnp.linalg.norm(unit[0].ravel()) * jnp.linalg.norm(unit[1].ravel())
    angle = jnp.arccos(jnp.clip(jnp.vdot(*unit).real / jnp.where(norm > 0, norm, 1), -1, 1))
    sine = jnp.sin(angle)
    line = (sine < 1e-3) | (norm == 0)
    left, right = (jnp.where(line, c, jnp.sin(c * angle) / jnp.where(line, 1, sine)) for c in coefficients)
    return left * one + right * two


def _least(tree: Any, base: Any, density: float) -> float:
    """Return the size of the smallest change that is kept: the largest `density` of all entries are."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(base), strict=True)
    changes = []
    for one, start in pairs:
        if is_inexact(one):
            wide = [jnp.asarray(leaf, jnp.promote_types(jnp.result_type(leaf), jnp.float32)) for leaf in (one, start)]
            changes.append(np.abs(np.asarray(wide[0] - wide[1])).ravel())
    sizes = np.concatenate([np.zeros(0, np.float32), *changes])  # there may be none: integers do not change
    count = math.ceil(density * sizes.size)
    return float(np.partition(sizes, sizes.size - count)[sizes.size - count]) if count else math.inf


def _ties(
    leaves: Sequence[jax.Array], base: jax.Array, coefficients: Sequence[float], bounds: Sequence[float]
) -> jax.Array:
    """Add to the base the mean of the kept changes that have the sign of their sum."""
    changes = [one - base for one in leaves]
    kept = [jnp.where(jnp.abs(one) >= bound, one, 0) for one, bound in zip(changes, bounds, strict=True)]
    weighted = [c * one for c, one in zip(coefficients, kept, strict=True)]
    sign = jnp.sign(sum(weighted[1:], weighted[0]))
    agree = [(jnp.sign(one) == sign) & (one != 0) for one in weighted]
    total = sum((jnp.where(one, part, 0) for one, part in zip(agree, weighted, strict=True)), jnp.zeros_like(base))
    share = sum((c * one for c, one in zip(coefficients, agree, strict=True)), jnp.zeros(base.shape))
    return base + total / jnp.where(share > 0, share, 1)
