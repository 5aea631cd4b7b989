"""The patterns of primitives: functions from an equation to the axes of its operands and results."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from jax import lax

from equikit.weightspace.specifications._terms import Product, Simple, Sum, Symbol
from equikit.weightspace.tracing.primitives._pattern import Index, Pattern, Shape, multiplied, named


def sizes_of(equation: Any) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the shapes of the operands and of the results."""
    both = equation.invars, equation.outvars
    operands, results = ([tuple(variable.aval.shape) for variable in some] for some in both)
    return operands, results


def elementwise(equation: Any) -> Pattern | None:
    """Relate all arrays axis by axis, except broadcast axes."""
    operands, results = sizes_of(equation)
    shared = named("i", results[0])
    if any(len(shape) not in (0, len(shared)) for shape in [*operands, *results]):
        return None  # no elementwise primitive of a known JAX release has such shapes

    def along(number: int, shape: tuple[int, ...]) -> Shape:
        repeated = named(f"once{number} ", shape)
        return tuple(mine if mine.size == other.size else other for mine, other in zip(shared, repeated, strict=False))

    return Pattern(tuple(along(k, s) for k, s in enumerate(operands)), (tuple(shared),) * len(results))


def each_alone(equation: Any) -> Pattern:
    """Give every result the axes of the operand with the same number."""
    operands, _ = sizes_of(equation)
    shapes = tuple(tuple(named(f"{number} ", shape)) for number, shape in enumerate(operands))
    return Pattern(shapes, shapes)


def _one(equation: Any, prefix: str = "i") -> list[Symbol]:
    """Return symbols for the axes of the first operand."""
    return named(prefix, equation.invars[0].aval.shape)


def reduction(equation: Any) -> Pattern:
    """Reduce over some axes."""
    gone, shared = set(map(int, equation.params["axes"])), _one(equation)
    return Pattern((tuple(shared),), (tuple(s for place, s in enumerate(shared) if place not in gone),))


def ordered_reduction(equation: Any) -> Pattern:
    """Reduce over some axes, which are rigid because the order of indices matters."""
    plain, shared = reduction(equation), _one(equation)
    reasons = {shared[int(place)].label: f"{equation.primitive} along it" for place in equation.params["axes"]}
    return Pattern(plain.operands, plain.results, reasons)


def cumulative(equation: Any) -> Pattern:
    """Make one axis rigid, because each index of the result depends on several indices of the operand."""
    return reordered(equation, equation.params["axis"], f"{equation.primitive}")


def reordered(equation: Any, place: int, name: str) -> Pattern:
    """Relate all arrays axis by axis, except one rigid axis, which is separate in each result."""
    operands, results = sizes_of(equation)
    shared = named("i", operands[0])
    reasons = {shared[place].label: f"{name} along it"}

    def result(number: int, shape: tuple[int, ...]) -> Shape:
        other = Symbol(f"o{number}", shape[place])
        reasons[other.label] = reasons[shared[place].label]
        return (*shared[:place], other, *shared[place + 1 :])

    found = tuple(result(number, shape) for number, shape in enumerate(results))
    return Pattern((tuple(shared),) * len(operands), found, reasons)


def sort(equation: Any) -> Pattern:
    """Reorder values along an axis."""
    return reordered(equation, equation.params["dimension"], "sort")


def top_k(equation: Any) -> Pattern:
    """Select the largest values along an axis, and their indices."""
    axis = equation.params.get("axis", equation.params.get("operand_axis", -1))
    return reordered(equation, axis % len(equation.invars[0].aval.shape), "top_k")


def reverse(equation: Any) -> Pattern:
    """Reverse the order along some axes."""
    places = set(map(int, equation.params["dimensions"]))
    return _reordered_along(equation, places, "rev")


def _reordered_along(equation: Any, places: set[int], name: str) -> Pattern:
    shared = _one(equation)
    others = named("o", equation.outvars[0].aval.shape)
    reasons = {one.label: f"{name} along it" for place in places for one in (shared[place], others[place])}
    result = tuple(others[place] if place in places else one for place, one in enumerate(shared))
    return Pattern((tuple(shared),), (result,), reasons)


def transpose(equation: Any) -> Pattern:
    """Permute the axes."""
    shared = _one(equation)
    return Pattern((tuple(shared),), (tuple(shared[int(place)] for place in equation.params["permutation"]),))


def broadcast_in_dim(equation: Any) -> Pattern:
    """Make the result constant along new axes."""
    operands, (result,) = sizes_of(equation)
    mine, found = named("i", operands[0]), named("new", result)
    for place, one in zip(map(int, equation.params["broadcast_dimensions"]), mine, strict=True):
        if one.size == found[place].size:
            found[place] = one
    return Pattern((tuple(mine), *(tuple(named(f"n{k} ", s)) for k, s in enumerate(operands[1:]))), (tuple(found),))


def squeeze(equation: Any) -> Pattern:
    """Remove axes of size one."""
    shared = _one(equation)
    gone = {int(place) % len(shared) for place in equation.params["dimensions"]}
    return Pattern((tuple(shared),), (tuple(one for place, one in enumerate(shared) if place not in gone),))


def reshape(equation: Any) -> Pattern | None:
    """Factor the axes of both shapes into products of common factors, in order."""
    operands, (right,) = sizes_of(equation)
    left = operands[0]
    if equation.params.get("dimensions") is not None:
        return None
    if 0 in left:
        return Pattern((tuple(named("i", left)),), (tuple(named("o", right)),))
    reasons: dict[str, str] = {}
    cuts = [1], [1]
    for cut, sizes in zip(cuts, (left, right), strict=True):
        cut.extend(itertools.accumulate(sizes, lambda a, b: a * b))
    every = sorted({*cuts[0], *cuts[1]})
    factors = [Symbol(f"i{start}", end // start) for start, end in itertools.pairwise(every)]
    # Between two common cuts, axes of both shapes are rigid if the cuts do not divide each other.
    both = sorted({*cuts[0]} & {*cuts[1]})
    text = f"reshape from {list(left)} to {list(right)}"
    fits = {
        start: all(b % a == 0 for a, b in itertools.pairwise([one for one in every if start <= one <= end]))
        for start, end in itertools.pairwise(both)
    }

    def axis(prefix: str, place: int, start: int, end: int) -> Simple:
        if start == end:
            return Symbol(f"{prefix}{place}", 1)
        group = max(cut for cut in both if cut <= start)
        if not fits[group]:
            reasons[f"{prefix}{place}"] = text
            return Symbol(f"{prefix}{place}", end // start)
        return multiplied([one for one in factors if start <= int(one.label[1:]) < end])

    shapes = [
        tuple(axis(prefix, place, *ends) for place, ends in enumerate(itertools.pairwise(cut)))
        for prefix, cut in zip(("left", "right"), cuts, strict=True)
    ]
    return Pattern((shapes[0],), (shapes[1],), reasons)


def concatenate(equation: Any) -> Pattern:
    """Concatenate along an axis, and unify the others."""
    operands, (result,) = sizes_of(equation)
    at, shared = equation.params["dimension"], named("i", result)
    pieces = [Symbol(f"part{number}", shape[at]) for number, shape in enumerate(operands)]
    whole = Sum(tuple(pieces)) if len(pieces) > 1 else pieces[0]
    shapes = [(*shared[:at], piece, *shared[at + 1 :]) for piece in (*pieces, whole)]
    return Pattern(tuple(shapes[:-1]), (shapes[-1],))


def split(equation: Any) -> Pattern:
    """Split an axis into pieces."""
    at, shared = equation.params["axis"], _one(equation)
    pieces = [Symbol(f"part{number}", int(size)) for number, size in enumerate(equation.params["sizes"])]
    whole = Sum(tuple(pieces)) if len(pieces) > 1 else pieces[0]
    shapes = [(*shared[:at], piece, *shared[at + 1 :]) for piece in (whole, *pieces)]
    return Pattern((shapes[0],), tuple(shapes[1:]))


def slice_(equation: Any) -> Pattern:
    """Slice each axis; axes that are sliced with a stride are rigid."""
    params, shared = equation.params, _one(equation)
    strides = params["strides"] or (1,) * len(shared)
    mine, found, reasons = list[Simple](), list[Simple](), dict[str, str]()
    for one, start, limit, stride in zip(
        shared, params["start_indices"], params["limit_indices"], strides, strict=True
    ):
        start, limit, stride = int(start), int(limit), int(stride)
        if stride != 1:
            other = Symbol(f"o{one.label}", -(-(limit - start) // stride))
            reasons |= dict.fromkeys((one.label, other.label), "slice with a stride")
            mine.append(one)
            found.append(other)
        elif limit - start == one.size:
            mine.append(one)
            found.append(one)
        else:
            sizes = (start, limit - start, one.size - limit)
            pieces = [Symbol(f"{one.label}{where}", size) for where, size in zip("abc", sizes, strict=True)]
            mine.append(Sum(tuple(piece for piece in pieces if piece.size or piece is pieces[1])))
            found.append(pieces[1])
    return Pattern((tuple(mine),), (tuple(found),), reasons)


def pad(equation: Any) -> Pattern:
    """Pad with values that are constant along the axis."""
    shared, result = _one(equation), equation.outvars[0].aval.shape
    found, reasons = list[Simple](), dict[str, str]()
    for place, (one, (low, high, inside)) in enumerate(zip(shared, equation.params["padding_config"], strict=True)):
        if inside or low < 0 or high < 0:
            other = Symbol(f"o{place}", result[place])
            reasons |= dict.fromkeys((one.label, other.label), "pad inside, or with less than nothing")
            found.append(other)
        elif low or high:
            ends = [Symbol(f"{where}{place}", size) for where, size in (("low", low), ("high", high))]
            found.append(Sum(tuple(piece for piece in (ends[0], one, ends[1]) if piece.size or piece is one)))
        else:
            found.append(one)
    return Pattern((tuple(shared), ()), (tuple(found),), reasons)


def iota(equation: Any) -> Pattern:
    """Enumerate the indices along one axis, which is rigid."""
    operands, (result,) = sizes_of(equation)
    found = named("i", result)
    return Pattern(
        tuple(tuple(named(f"n{k} ", s)) for k, s in enumerate(operands)),
        (tuple(found),),
        {found[equation.params["dimension"]].label: "iota"},
    )


def _contraction(equation: Any, numbers: Any) -> Pattern:
    (left_sum, right_sum), (left_batch, right_batch) = numbers
    operands, _ = sizes_of(equation)
    left, right = named("left", operands[0]), named("right", operands[1])
    for one, two in [*zip(left_sum, right_sum, strict=True), *zip(left_batch, right_batch, strict=True)]:
        right[int(two)] = left[int(one)]
    gone, also = {*map(int, left_sum), *map(int, left_batch)}, {*map(int, right_sum), *map(int, right_batch)}
    result = (
        *(left[int(place)] for place in left_batch),
        *(one for place, one in enumerate(left) if place not in gone),
        *(one for place, one in enumerate(right) if place not in also),
    )
    return Pattern((tuple(left), tuple(right)), (result,))


def dot_general(equation: Any) -> Pattern:
    """Unify the contracted axes and the batch axes of both operands."""
    return _contraction(equation, equation.params["dimension_numbers"])


def ragged_dot(equation: Any) -> Pattern | None:
    """Multiply consecutive rows by the matrix of their group: rows and groups are rigid."""
    numbers = equation.params["ragged_dot_dimension_numbers"]
    rows, groups = map(tuple, (numbers.lhs_ragged_dimensions, numbers.rhs_group_dimensions))
    (_, _), (left_batch, right_batch) = numbers.dot_dimension_numbers
    if len(rows) != 1 or len(groups) != 1 or left_batch or right_batch:
        return None
    plain = _contraction(equation, numbers.dot_dimension_numbers)
    row, group = plain.operands[0][rows[0]], plain.operands[1][groups[0]]
    assert isinstance(row, Symbol)
    assert isinstance(group, Symbol)
    result = tuple(one for one in plain.results[0] if one is not group)
    reasons = dict.fromkeys((row.label, group.label), "rows in groups")
    if row not in result:
        return None
    return Pattern((*plain.operands, (group,)), (result,), reasons, {group.label: Index(2, 0, (row,))})


def convolution(equation: Any) -> Pattern | None:
    """Contract channels as in a matrix product; each feature group has its own kernel."""
    params, (operands, (result,)) = equation.params, sizes_of(equation)
    if params["batch_group_count"] != 1:
        return None
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    shapes = [list[Simple](named(prefix, sizes)) for prefix, sizes in zip("lk", operands, strict=True)]
    found = list[Simple](named("space", result))
    batch, features, *space = numbers.lhs_spec
    out, into, *window = numbers.rhs_spec
    rigid = [shapes[0][place] for place in space] + [shapes[1][place] for place in window]
    rigid += [found[place] for place in numbers.out_spec[2:]]
    reasons = {one.label: "conv_general_dilated along it" for one in rigid if isinstance(one, Symbol)}
    which, inner = Symbol("group", groups), Symbol("into", operands[1][into])
    outer = Symbol("out", operands[1][out] // groups)
    shapes[1][into] = inner
    shapes[0][features] = inner if groups == 1 else Product((which, inner))
    shapes[1][out] = outer if groups == 1 else Product((which, outer))
    found[numbers.out_spec[0]], found[numbers.out_spec[1]] = shapes[0][batch], shapes[1][out]
    return Pattern((tuple(shapes[0]), tuple(shapes[1])), (tuple(found),), reasons)


def window(equation: Any) -> Pattern | None:
    """Make axes rigid along which a window has more than one entry."""
    params, (operands, results) = equation.params, sizes_of(equation)
    if len(operands) != 1:
        return None
    ones = (1,) * len(operands[0])

    def still(place: int) -> bool:
        every = (params["window_dimensions"], *(params.get(key, ones) for key in ("window_strides", "base_dilation")))
        same = operands[0][place] == results[0][place] and tuple(params["padding"][place]) == (0, 0)
        return same and all(sizes[place] == 1 for sizes in every)

    moved = {place for place in range(len(ones)) if not still(place)}
    return _reordered_along(equation, moved, str(equation.primitive))


def last_axes(count: Callable[[Any], int]) -> Callable[[Any], Pattern]:
    """Return the pattern of an operation on the last axes that is batched over all other axes."""

    def pattern(equation: Any) -> Pattern:
        operands, results = sizes_of(equation)
        inner, name = count(equation), f"{equation.primitive}"
        shared = named("i", operands[0][: len(operands[0]) - inner])
        reasons: dict[str, str] = {}

        def shape(prefix: str, sizes: tuple[int, ...]) -> Shape:
            rest = named(prefix, sizes[len(shared) :])
            reasons.update((one.label, name) for one in rest)
            return (*shared, *rest)

        return Pattern(
            tuple(shape(f"m{number} ", sizes) for number, sizes in enumerate(operands)),
            tuple(shape(f"o{number} ", sizes) for number, sizes in enumerate(results)),
            reasons,
        )

    return pattern


def gather(equation: Any) -> Pattern:
    """Keep axes that are sliced whole; entries along other axes are looked up."""
    numbers, taken = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    operands, (result,) = sizes_of(equation)
    mine, places = named("i", operands[0]), named("p", operands[1])
    for one, two in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        mine[int(one)] = places[int(two)]
    batch = set(map(int, numbers.operand_batching_dims))
    gone = {*map(int, numbers.collapsed_slice_dims), *batch}
    kept = (place for place in range(len(mine)) if place not in gone)
    # Start indices are clipped so that the slice fits: along an axis that is sliced whole, the start is zero.
    clipped = equation.params["mode"] in (lax.GatherScatterMode.CLIP, lax.GatherScatterMode.PROMISE_IN_BOUNDS)
    reason = "gather of places along it"
    reasons = {places[-1].label: reason} | {mine[place].label: reason for place in gone - batch}
    found: list[Symbol | None] = [None] * len(result)
    for place, at in zip(kept, map(int, numbers.offset_dims), strict=True):
        whole = taken[place] == mine[place].size and (clipped or place not in numbers.start_index_map)
        found[at] = mine[place] if whole else Symbol(f"w{place}", result[at])
        if not whole:
            reasons |= {mine[place].label: reason, f"w{place}": reason}
    rest = iter(places[:-1])
    shape = tuple(next(rest) if one is None else one for one in found)
    moving = {
        int(place): column
        for column, place in enumerate(numbers.start_index_map)
        if not (clipped and taken[place] == mine[place].size)
    }
    alone = len(moving) == 1 and all(taken[place] == 1 for place in moving)
    indices = {mine[place].label: Index(1, column, tuple(places[:-1])) for place, column in moving.items()}
    return Pattern((tuple(mine), tuple(places)), (shape,), reasons, indices if alone else {})


def scatter(equation: Any) -> Pattern:
    """Unify axes that are written whole; axes with looked-up positions are rigid.

    Rows of updates are unified with rows of indices. They are rigid for `scatter`, because the order of writes matters.
    """
    numbers, name = equation.params["dimension_numbers"], equation.primitive.name.replace("_", "-")
    operands, _ = sizes_of(equation)
    mine, places, updates = (named(prefix, sizes) for prefix, sizes in zip("ipu", operands, strict=True))
    for one, two in zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True):
        mine[int(one)] = places[int(two)]
    gone = {*map(int, numbers.inserted_window_dims), *map(int, numbers.operand_batching_dims)}
    kept = [place for place in range(len(mine)) if place not in gone]
    reasons = {mine[place].label: f"{name} at places along it" for place in numbers.inserted_window_dims}
    reasons[places[-1].label] = f"{name} at places along it"
    for place, at in zip(kept, map(int, numbers.update_window_dims), strict=True):
        if updates[at].size == mine[place].size and place not in numbers.scatter_dims_to_operand_dims:
            updates[at] = mine[place]
        else:
            reasons |= dict.fromkeys((mine[place].label, updates[at].label), f"{name} at places along it")
    rows = [at for at in range(len(updates)) if at not in numbers.update_window_dims]
    batch = set(numbers.scatter_indices_batching_dims)
    for number, at in enumerate(rows):
        updates[at] = places[number]
        if name == "scatter" and number not in batch:
            reasons[places[number].label] = f"{name} in an order"
    return Pattern((tuple(mine), tuple(places), tuple(updates)), (tuple(mine),), reasons)


def dynamic_slice(equation: Any) -> Pattern:
    """Keep axes that are sliced whole; the start along other axes is looked up."""
    operands, (result,) = sizes_of(equation)
    mine, found = named("i", operands[0]), named("o", result)
    reason = "dynamic_slice at a place that moves"
    reasons: dict[str, str] = {}
    looked_up: dict[str, Index] = {}
    for place, (one, other) in enumerate(zip(mine, found, strict=True)):
        if one.size == other.size:
            found[place] = one
        else:
            reasons |= dict.fromkeys((one.label, other.label), reason)
            looked_up |= {one.label: Index(1 + place, 0, ())} if other.size == 1 else {}
    return Pattern((tuple(mine), *((),) * (len(operands) - 1)), (tuple(found),), reasons, looked_up)


def dynamic_update(equation: Any) -> Pattern:
    """Unify axes that are written whole; other axes are rigid because the start is variable."""
    operands, _ = sizes_of(equation)
    mine, update = named("i", operands[0]), named("u", operands[1])
    reasons: dict[str, str] = {}
    for place, (one, other) in enumerate(zip(mine, update, strict=True)):
        if one.size == other.size:
            update[place] = one
        else:
            reasons |= dict.fromkeys((one.label, other.label), "dynamic_update_slice at a place that moves")
    return Pattern((tuple(mine), tuple(update), *((),) * (len(operands) - 2)), (tuple(mine),), reasons)


def opaque(equation: Any) -> Pattern:
    """Make all axes rigid, for an operation without a rule."""
    operands, results = sizes_of(equation)
    shapes = [
        [tuple(named(f"{prefix}{number} ", sizes)) for number, sizes in enumerate(some)]
        for prefix, some in (("in", operands), ("out", results))
    ]
    every = [one for some in shapes for shape in some for one in shape]
    return Pattern(tuple(shapes[0]), tuple(shapes[1]), dict.fromkeys((s.label for s in every), f"{equation.primitive}"))
