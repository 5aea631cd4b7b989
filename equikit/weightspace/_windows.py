"""Rules for convolutions, windows, gathers and slices that move: space is rigid, channels are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equikit.weightspace._axes import Axis, make_rigid, product, unify
from equikit.weightspace._rules import Axes, Rule, rigid, unknown


def convolution(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Channels are contracted as by a product of matrices; in groups, those of each group by its own kernel."""
    params, (left, kernel) = equation.params, operands
    if params["batch_group_count"] != 1:
        return unknown(equation, operands)
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    batch, features, *space = numbers.lhs_spec
    out, into, *window = numbers.rhs_spec
    for axis in [*(left[place] for place in space), *(kernel[place] for place in window)]:
        make_rigid(axis, "conv_general_dilated along it")
    reason = "conv_general_dilated in groups"
    if groups == 1:
        unify(left[features], kernel[into], reason)
    else:
        which = Axis(groups)
        unify(left[features], product([which, kernel[into]], reason), reason)
        unify(kernel[out], product([which, Axis(kernel[out].size // groups)], reason), reason)
    found = [rigid(size, "conv_general_dilated along it") for size in equation.outvars[0].aval.shape]
    found[numbers.out_spec[0]], found[numbers.out_spec[1]] = left[batch], kernel[out]
    return [found]


def window(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes along which a window has more than one entry are rigid."""
    params = equation.params
    if len(operands) != 1:
        return unknown(equation, operands)
    found = []
    for place, axis in enumerate(operands[0]):
        size = equation.outvars[0].aval.shape[place]
        still = params["window_dimensions"][place] == 1 and size == axis.size and params["padding"][place] == (0, 0)
        if still and all(
            params.get(name, (1,) * (place + 1))[place] == 1 for name in ("window_strides", "base_dilation")
        ):
            found.append(axis)
        else:
            make_rigid(axis, f"{equation.primitive} along it")
            found.append(rigid(size, f"{equation.primitive} along it"))
    return [found]


def gather(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes from which all entries are taken stay; those in which places are looked up are rigid."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    operand, indices = operands
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    if numbers.operand_batching_dims:
        return unknown(equation, operands)
    reason = "gather of places along it"
    shape = equation.outvars[0].aval.shape
    kept = [place for place in range(len(operand)) if place not in gone]
    found: list[Axis | None] = [None] * len(shape)
    for place, at in zip(kept, numbers.offset_dims, strict=True):
        whole = sizes[place] == operand[place].size and place not in numbers.start_index_map
        if not whole:
            make_rigid(operand[place], reason)
        found[at] = operand[place] if whole else rigid(shape[at], reason)
    for place in gone:
        make_rigid(operand[place], reason)
    make_rigid(indices[-1], reason)
    rest = iter(indices[:-1])
    return [[next(rest) if axis is None else axis for axis in found]]


def scatter(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes that are written whole are permuted alike; those in which places are looked up are rigid.

    Rows of updates go with rows of places where it does not matter which comes first: where they are added up.
    """
    numbers = equation.params["dimension_numbers"]
    operand, indices, updates = operands
    if numbers.operand_batching_dims:
        return unknown(equation, operands)
    reason = f"{equation.primitive} at places along it"
    windows = [updates[place] for place in numbers.update_window_dims]
    kept = [place for place in range(len(operand)) if place not in numbers.inserted_window_dims]
    for place, window in zip(kept, windows, strict=True):
        if window.size == operand[place].size and place not in numbers.scatter_dims_to_operand_dims:
            unify(operand[place], window, f"{equation.primitive}")
        else:
            make_rigid(operand[place], reason)
            make_rigid(window, reason)
    for place in numbers.inserted_window_dims:
        make_rigid(operand[place], reason)
    make_rigid(indices[-1], reason)
    rows = [axis for place, axis in enumerate(updates) if place not in numbers.update_window_dims]
    for row, index in zip(rows, indices[:-1], strict=True):
        if equation.primitive.name.replace("_", "-") == "scatter":
            make_rigid(row, f"{equation.primitive} in an order")
            make_rigid(index, f"{equation.primitive} in an order")
        else:
            unify(row, index, f"{equation.primitive}")
    return [list(operand)]


def moving_slice(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes that are taken whole stay; along others the place that moves is rigid."""
    found = []
    for axis, size in zip(operands[0], equation.params["slice_sizes"], strict=True):
        found.append(axis if size == axis.size else _moved(axis, size, equation))
    return [found]


def moving_update(equation: Any, operands: list[Axes]) -> list[Axes]:
    """Axes that are written whole are permuted alike; along others the place that moves is rigid."""
    operand, update = operands[:2]
    found = []
    for mine, other in zip(operand, update, strict=True):
        if mine.size == other.size:
            unify(mine, other, f"{equation.primitive}")
            found.append(mine)
        else:
            make_rigid(other, f"{equation.primitive} at a place that moves")
            found.append(_moved(mine, mine.size, equation))
    return [found]


def _moved(axis: Axis, size: int, equation: Any) -> Axis:
    reason = f"{equation.primitive} at a place that moves"
    make_rigid(axis, reason)
    return rigid(size, reason)


def names(prefixes: Sequence[str]) -> list[str]:
    """Primitives over windows."""
    return [f"reduce_window{prefix}" for prefix in prefixes]


WINDOW_RULES: dict[str, Rule] = {
    "conv_general_dilated": convolution,
    "dynamic_slice": moving_slice,
    "dynamic_update_slice": moving_update,
    "gather": gather,
    **{
        f"scatter{kind}": scatter
        for kind in ("", *(f"{sep}{op}" for sep in "-_" for op in ("add", "mul", "min", "max")))
    },
    **dict.fromkeys(names(["_sum", "_max", "_min"]), window),
}
