"""Find the operation of a program that contradicts a claimed symmetry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.groups import S
from equikit.weightspace.specifications._leaves import checked_leaves
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf, Product, Simple, Sum
from equikit.weightspace.tracing.axes._axes import Axis, direct_sum, product
from equikit.weightspace.tracing.axes._places import Place, filled, single
from equikit.weightspace.tracing.axes._relation import Places
from equikit.weightspace.tracing.programs._program import program_of
from equikit.weightspace.tracing.programs._reading import read, read_with


def relative_difference(one: Any, two: Any) -> float:
    """Return the largest difference of two trees of arrays, relative to the largest entry of each array."""
    worst = 0.0
    for mine, other in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        if not jnp.issubdtype(jnp.result_type(mine), jnp.inexact):
            worst = max(worst, float(not bool(jnp.all(mine == other))))
            continue
        first, second = (_wide(leaf) for leaf in (mine, other))
        with np.errstate(all="ignore"):
            # Equal infinities have difference zero.
            apart = np.where(first == second, 0, np.abs(first - second))
        size = float(np.max(np.where(np.isfinite(first), np.abs(first), 0), initial=0))
        difference = float(np.max(apart, initial=0))
        found = difference / size if size else difference
        worst = max(worst, found if math.isfinite(found) else math.inf)  # max() can drop NaN
    return worst


def _wide(array: Any) -> np.ndarray:
    """Return an array on the host, where arrays of many shapes need no compilation, in float32 at least."""
    return np.asarray(array).astype(jnp.promote_types(jnp.result_type(array), jnp.float32))


def refuse_not_comparable(outputs: Any, again: Callable[[], Any]) -> None:
    """Raise an error if outputs contain NaN or are not reproducible.

    Raises:
        OptionError: if an output is NaN, or a second evaluation gives other outputs, as in a model with randomness.
    """
    floats = [leaf for leaf in jax.tree.leaves(outputs) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    wrong = [jnp.where(jnp.isinf(leaf), 0, leaf) for leaf in floats]
    _checks.finite("outputs of the model", *wrong, step="look at the parameters and the input")
    if relative_difference(outputs, again()) > 0:
        raise OptionError(
            "the model computes something else a second time",
            got="two outputs for the same parameters and input",
            expected="a pure function apply(params, x)",
            step="pass the random values to the model as an input",
        )


class _Found(Exception):
    """Stops the reader and carries the text of the conflict."""


def labeled_axes(leaves: tuple[Leaf, ...], groups: Mapping[str, S]) -> tuple[dict[str, Axis], list[Places]]:
    """Return an index set for each permuted label, and the axes of all parameters built from these index sets."""
    labeled: dict[str, Axis] = {}

    def axis_of(expression: Simple) -> Axis:
        if isinstance(expression, Product):
            return product([axis_of(factor) for factor in expression.factors], "a product of axes")
        if isinstance(expression, Sum):
            return direct_sum([axis_of(part) for part in expression.parts])
        if expression.label not in groups:
            return Axis(expression.size, "rigid", reason="bound to Fixed")
        return labeled.setdefault(expression.label, Axis(expression.size))

    def place_of(axis: Expression) -> Place:
        if not isinstance(axis, Indexed):
            return Place(single(axis_of(axis)))
        axes = map(axis_of, axis.members)
        return Place(filled(axis.counts, lambda _: next(axes)), axis.over)

    return labeled, [[place_of(axis) for axis in leaf.axes] for leaf in leaves]


def first_difference(
    leaves: tuple[Leaf, ...], groups: dict[str, S], apply: Callable[..., Any], params: Any, inputs: tuple[Any, ...]
) -> str:
    """Describe the first operation that makes a label rigid, unifies two labels, or splits a label."""
    labeled, of_params = labeled_axes(leaves, groups)

    def conflict() -> str:
        roots: dict[Axis, str] = {}
        for label, axis in labeled.items():
            root = axis.root
            if root.kind != "free" and root.size > 1:
                return f"{label!r} is not free" + (f": {root.reason}" if root.reason else f", but a {root.kind}")
            if root in roots:
                return f"{roots[root]!r} and {label!r} are permuted alike"
            roots[root] = label
        return ""

    def watch(equation: Any) -> None:
        text = conflict()
        if text:
            shapes = ", ".join(str(list(variable.aval.shape)) for variable in equation.invars)
            raise _Found(f"; by {equation.primitive} of arrays {shapes}, {text}")

    given = checked_leaves(leaves, params)
    assert list(given) == [leaf.name for leaf in leaves], "leaves come in the order of the tree"
    programs = [program_of(apply, params, inputs)]
    split = read(programs, [leaf.shape for leaf in leaves], unreached=True).split
    try:
        read_with(programs, of_params, split, watch)
    except _Found as found:
        return str(found)
    text = conflict()
    return f"; {text}" if text else ""
