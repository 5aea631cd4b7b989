"""Group elements as arrays that act on each axis, and on positions, of one sample or of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from equikit import _checks
from equikit._errors import OptionError
from equikit.groups import Group
from equikit.numerics import rounding

Array = Any
"""A JAX array; element arrays are integers `[*batch, n]` for permutations, else matrices `[*batch, n, n]`."""

SMALL = 4
"""The largest size for which a matrix is applied column by column: XLA is slow on batches of tiny products on CPUs."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Element:
    r"""An element g of a product of groups, acting by \(x \mapsto L x + t\).

    Attributes:
        linear: for each label, a permutation (integers `[*batch, n]` that send entry i to place `p[i]`) or a matrix
            `[*batch, n, n]`.
        shift: for each label, a vector `[*batch, n]` that is added to the positions along that axis.
        stabilizer: for each label, the group elements s that fix the (moved) input. Permutations are given by the
            orbits of entries, integers `[*batch, n]` below n, if any two entries of an orbit can be exchanged;
            otherwise by the orbits of tuples of entries, integers `[*batch, n, ..., n]` that number a representative of
            each orbit, with one axis for each axis that a term can have with this label. Outputs and derivatives are
            averaged over s before g is applied, which represents all elements g s. Matrices are given by projections
            `[*batch, n, n]` onto the span of the (moved) input: moved inputs are projected onto this span, and outputs
            averaged over all s that fix it.
        grid: for each pair of labels, a matrix `[*batch, 2, 2]` that rotates images whose pixel axes have these labels;
            integers for quarter turns and reflections, which exchange pixels.
    """

    linear: dict[str, Array] = field(default_factory=dict)
    shift: dict[str, Array] = field(default_factory=dict)
    grid: dict[tuple[str, str], Array] = field(default_factory=dict)
    stabilizer: dict[str, Array] = field(default_factory=dict)


def coarsest(arrays: Iterable[Array]) -> Any:
    """Return the coarsest dtype, which limits the precision of numbers computed from these arrays."""
    return max((array.dtype for array in arrays), key=rounding)


def is_permutation(linear: Array) -> bool:
    """Whether an array is a permutation and not a matrix."""
    return bool(jnp.issubdtype(linear.dtype, jnp.integer))


def along(matrix: Array, array: Array, axis: int) -> Array:
    """Multiply one axis of an array by a matrix."""
    n = matrix.shape[-1]
    if n > SMALL:
        product = jnp.tensordot(matrix, array, (1, axis), precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(product, 0, axis)
    shape = [n if place == axis else 1 for place in range(array.ndim)]
    columns = [matrix[:, j].reshape(shape) * jax.lax.slice_in_dim(array, j, j + 1, axis=axis) for j in range(n)]
    return sum(columns, jnp.zeros_like(array))


def permutation_matrix(permutation: Array, dtype: Any) -> Array:
    """Return the matrix of a permutation, `[*batch, n, n]`, with a one at row `p[i]`, column i."""
    return jnp.swapaxes(jax.nn.one_hot(permutation, permutation.shape[-1], dtype=dtype), -1, -2)


def inverse_linear(group: Group, linear: Array) -> Array:
    """Return the inverse of a permutation, or of a matrix by the method of its group."""
    return jnp.argsort(linear, axis=-1) if is_permutation(linear) else group.inverse_matrix(linear)


def _product(one: Array, two: Array) -> Array:
    if is_permutation(one) and is_permutation(two):
        return jnp.take_along_axis(one, two, axis=-1)
    if is_permutation(one):
        one = permutation_matrix(one, two.dtype)
    if is_permutation(two):
        two = permutation_matrix(two, one.dtype)
    return one @ two


def _check_elements(**elements: object) -> None:
    for name, element in elements.items():
        _checks.instance(name, element, Element, "sym.frame(x).elements")


def compose(one: Element, two: Element) -> Element:
    """Return the product `one two`, which acts by `two` first; the batch axes of the two broadcast.

    Raises:
        OptionError: if an argument is not an `Element`.
    """
    _check_elements(one=one, two=two)
    linear = {label: one.linear.get(label, two.linear.get(label)) for label in (*one.linear, *two.linear)}
    for label in one.linear.keys() & two.linear.keys():
        linear[label] = _product(one.linear[label], two.linear[label])
    grid = dict(one.grid) | {labels: turn for labels, turn in two.grid.items() if labels not in one.grid}
    for labels in one.grid.keys() & two.grid.keys():
        first, second = one.grid[labels], two.grid[labels]
        dtype = jnp.promote_types(first.dtype, second.dtype)
        grid[labels] = first.astype(dtype) @ second.astype(dtype)
    shift = dict(one.shift)
    for label, moved in two.shift.items():
        by = one.linear.get(label)
        if by is not None:
            moved = (_product(by, moved[..., None])[..., 0]) if not is_permutation(by) else _permuted(by, moved)
        shift[label] = shift[label] + moved if label in shift else moved
    return Element(linear, shift, grid, {**one.stabilizer, **two.stabilizer})


def _permuted(permutation: Array, vector: Array) -> Array:
    return jnp.take_along_axis(vector, jnp.argsort(permutation, axis=-1), axis=-1)


def inverse(element: Element, groups: Mapping[str, Group]) -> Element:
    """Return the inverse of an element; `groups` maps each label to its group.

    Raises:
        OptionError: if `element` is not an `Element`, or a label has no group.
    """
    _check_elements(element=element)
    missing = [x for x in element.linear if not isinstance(groups, Mapping) or not isinstance(groups.get(x), Group)]
    if missing:
        raise OptionError(
            f"groups= has no group for {missing[0]!r}",
            got=_checks.shown(groups),
            expected="a dictionary from label to group",
            step=f'write groups={{"{missing[0]}": ek.O(3)}}',
        )
    linear = {label: inverse_linear(groups[label], by) for label, by in element.linear.items()}
    shift = {}
    for label, moved in element.shift.items():
        by = linear.get(label)
        if by is not None:
            moved = _permuted(by, moved) if is_permutation(by) else (by @ moved[..., None])[..., 0]
        shift[label] = -moved
    grid = {labels: jnp.swapaxes(turn, -1, -2) for labels, turn in element.grid.items()}
    return Element(linear, shift, grid)


def detached(element: Element) -> Element:
    """Return the element as a constant without derivatives."""
    parts = {name: getattr(element, name) for name in ("linear", "shift", "grid")}
    return replace(element, **jax.lax.stop_gradient(parts))
