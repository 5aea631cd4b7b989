"""What each primitive of JAX says of the axes of its operands: which are permuted alike, and which cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from equikit.weightspace._axes import Axis, direct_sum, make_rigid, product, unify

Axes = list[Axis]
"""One for each axis of an array."""
Rule = Callable[[Any, list[Axes]], list[Axes]]
"""An equation and the axes of its operands to those of its results."""

_ELEMENTWISE = """
abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil
clamp complex conj convert_element_type copy copy_p cos cosh digamma div eq eq_to erf erf_inv erfc exp exp2
expm1 floor ge gt igamma igammac imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg
nextafter not one_minus_square or polygamma population_count pow real reduce_precision
regularized_incomplete_beta rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign
sin sinh sqrt square stop_gradient sub tan tanh xor zeta
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Primitives whose results have at every index what the operands there make, with axes of size one repeated."""

REDUCTIONS = frozenset(f"reduce_{name}" for name in ("sum", "max", "min", "prod", "and", "or", "xor"))
"""Primitives that forget an axis, in whatever order its entries come."""

ORDERED = {"cumsum": "axis", "cumprod": "axis", "cummax": "axis", "cummin": "axis", "cumlogsumexp": "axis"}
"""Primitives for which the order along one axis matters, and the parameter that names it."""


def rigid(size: int, reason: str) -> Axis:
    """An axis that nothing permutes."""
    return Axis(size, "rigid", reason=reason)


def rigid_like(aval: Any, reason: str) -> Axes:
    """Rigid axes of an array."""
    return [rigid(size, reason) for size in aval.shape]


def free_like(aval: Any) -> Axes:
    """Axes of an array that is the same everywhere."""
    return [Axis(size) for size in aval.shape]


def elementwise(equation: Any, operands: list[Axes]) -> list[Axes]:
    """All operands are permuted alike, where their axes are not repeated."""
    orders = {len(axes) for axes in operands if axes} | {len(result.aval.shape) for result in equation.outvars}
    if len(orders) > 1:  # of no elementwise operation in any release that we know
        return unknown(equation, operands)
    results = []
    for result in equation.outvars:
        found = free_like(result.aval)
        for axes in operands:
            if len(axes) == len(found):
                for mine, other in zip(found, axes, strict=True):
                    if mine.size == other.size:
                        unify(other, mine, f"{equation.primitive}")
        results.append(found)
    return results


def reduction(equation: Any, operands: list[Axes]) -> list[Axes]:
    """The axes that are left."""
    gone = set(map(int, equation.params["axes"]))
    return [[axis for place, axis in enumerate(axes) if place not in gone] for axes in operands]


def argument_of_extremum(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Numbers of entries say in which order they are."""
    for place in equation.params["axes"]:
        make_rigid(operands[0][int(place)], f"{equation.primitive} of its order")
    return reduction(equation, operands)


def ordered(equation: Any, operands: list[Axes]) -> list[Axes]:
    """The axis whose order matters is rigid."""
    place = equation.params[ORDERED[equation.primitive.name]]
    for axes in operands:
        make_rigid(axes[place], f"{equation.primitive} along it")
    return [list(axes) for axes in operands]


def sort(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Sorted values have another order; other axes stay."""
    place = equation.params["dimension"]
    for axes in operands:
        make_rigid(axes[place], "sort along it")
        for one, two in zip(axes, operands[0], strict=True):
            unify(one, two, "sort")
    return [list(axes) for axes in operands]


def transpose(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes in another order."""
    return [[operands[0][int(place)] for place in equation.params["permutation"]]]


def broadcast_in_dim(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Along new axes all is the same."""
    found = free_like(equation.outvars[0].aval)
    for place, axis in zip(equation.params["broadcast_dimensions"], operands[0], strict=True):
        if axis.size == found[int(place)].size:
            found[int(place)] = axis
    return [found]


def squeeze(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes of size one are left out."""
    gone = {int(place) % len(operands[0]) for place in equation.params["dimensions"]}
    return [[axis for place, axis in enumerate(operands[0]) if place not in gone]]


def reshape(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Both shapes are factors of one product."""
    result = equation.outvars[0].aval
    if equation.params.get("dimensions") is not None:
        return unknown(equation, operands)
    found, axes = free_like(result), operands[0]
    if not result.size:
        return [found]  # nothing is in it
    i = j = 0
    while i < len(axes) or j < len(found):
        # The fewest axes of both that have as many indices.
        before, after = i, j
        left = axes[i].size if i < len(axes) else 1
        right = found[j].size if j < len(found) else 1
        i, j = min(i + 1, len(axes)), min(j + 1, len(found))
        while left != right:
            if left < right:
                left, i = left * axes[i].size, i + 1
            else:
                right, j = right * found[j].size, j + 1
        if (i, j) == (before, after):
            break
        if left > 1:
            reason = f"reshape from {[a.size for a in axes[before:i]]} to {[a.size for a in found[after:j]]}"
            unify(product(axes[before:i], reason), product(found[after:j], reason), reason)
    return [found]


def concatenate(equation: Any, operands: list[Axes]) -> list[Axes]:
    """One after another along an axis, alike along others."""
    place = equation.params["dimension"]
    for axes in operands[1:]:
        for i, (one, two) in enumerate(zip(operands[0], axes, strict=True)):
            if i != place:
                unify(one, two, "concatenate")
    found = list(operands[0])
    found[place] = direct_sum([axes[place] for axes in operands])
    return [found]


def cut(axis: Axis, sizes: Sequence[int], reason: str) -> Axes:
    """Consecutive pieces of an axis."""
    pieces = [Axis(size) for size in sizes]
    unify(axis, direct_sum(pieces), reason)
    return pieces


def split(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Pieces of an axis."""
    place = equation.params["axis"]
    pieces = cut(operands[0][place], [int(size) for size in equation.params["sizes"]], "split")
    return [[piece if i == place else axis for i, axis in enumerate(operands[0])] for piece in pieces]


def slice_(equation: Any, operands: list[Axes]) -> list[Axes]:
    """A piece of an axis, where no entries are left out between."""
    params, found = equation.params, []
    strides = params["strides"] or (1,) * len(operands[0])
    for axis, start, limit, stride in zip(
        operands[0], params["start_indices"], params["limit_indices"], strides, strict=True
    ):
        start, limit = int(start), int(limit)
        if stride != 1:
            make_rigid(axis, "slice with a stride")
            found.append(rigid(-(-(limit - start) // stride), "slice with a stride"))
        elif limit - start == axis.size:
            found.append(axis)
        else:
            found.append(cut(axis, (start, limit - start, axis.size - limit), "slice")[1])
    return [found]


def pad(equation: Any, operands: list[Axes]) -> list[Axes]:
    """What is put in front and behind is the same everywhere."""
    found = []
    for axis, (low, high, interior) in zip(operands[0], equation.params["padding_config"], strict=True):
        if interior or low < 0 or high < 0:
            make_rigid(axis, "pad inside, or with less than nothing")
            size = axis.size + low + high + interior * max(axis.size - 1, 0)
            found.append(rigid(size, "pad inside, or with less than nothing"))
        else:
            found.append(direct_sum([Axis(low), axis, Axis(high)]))
    return [found]


def iota(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Numbers in order along one axis."""
    found = free_like(equation.outvars[0].aval)
    make_rigid(found[equation.params["dimension"]], "iota")
    return [found]


def reverse(equation: Any, operands: list[Axes]) -> list[Axes]:
    """The other way round along some axes."""
    for place in equation.params["dimensions"]:
        make_rigid(operands[0][place], "rev")
    return [list(operands[0])]


def dot_general(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes that are summed over, or go along, are permuted alike."""
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left, right = operands
    for one, two in [*zip(left_sum, right_sum, strict=True), *zip(left_batch, right_batch, strict=True)]:
        unify(left[int(one)], right[int(two)], "dot_general")
    gone, also = {*map(int, left_sum), *map(int, left_batch)}, {*map(int, right_sum), *map(int, right_batch)}
    return [
        [
            *(left[int(place)] for place in left_batch),
            *(axis for place, axis in enumerate(left) if place not in gone),
            *(axis for place, axis in enumerate(right) if place not in also),
        ]
    ]


def unchanged(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Every result is an operand."""
    return [list(axes) for axes in operands]


def unknown(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Nothing is known: all axes are rigid."""
    reason = f"{equation.primitive}"
    for axes in operands:
        for axis in axes:
            make_rigid(axis, reason)
    return [rigid_like(result.aval, reason) for result in equation.outvars]


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(ORDERED, ordered),
    "argmax": argument_of_extremum,
    "argmin": argument_of_extremum,
    "broadcast_in_dim": broadcast_in_dim,
    "concatenate": concatenate,
    "dot_general": dot_general,
    "iota": iota,
    "optimization_barrier": unchanged,
    "pad": pad,
    "reshape": reshape,
    "rev": reverse,
    "slice": slice_,
    "sort": sort,
    "split": split,
    "squeeze": squeeze,
    "transpose": transpose,
}
