"""Running contractions in JAX: reduce, contract, expand; the program is in `_multilinear_lower.py`.

No gather, no scatter, and no outer product: what is formed is no larger than an input, the output, or what the best
order of contracting them two by two needs.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from equikit.diagrams import MultilinearSpace, Term
from equikit.diagrams._dense import permutation_sign, refuse_if_large
from equikit.diagrams._heads import parity
from equikit.diagrams._multilinear_parse import Exchange
from equikit.groups import Form
from equikit.plans._arrays import (
    CONSTANT_BYTES,
    broadcast,
    diagonal,
    embed,
    joined,
    signed,
    symplectic_diagonal,
    symplectic_signs,
)
from equikit.plans._check import Shapes
from equikit.plans._multilinear_lower import (
    Head,
    Letters,
    Pattern,
    Row,
    Use,
    best_order,
    contractions,
    formed_vertices,
    narrowing,
)
from equikit.plans._whole import InvariantTensors, joint_tensors, settled_tensors

Scales = Mapping[str, jax.Array | float]
"""For each label what a sum is multiplied by to make it a mean, a number or one for each batch entry."""


def folded(space: MultilinearSpace, term: Term, x: jax.Array) -> jax.Array:
    """One batch axis, the axes on which groups act, and channels with the plain axes before them."""
    signature, start = space.signature, x.ndim - 1 - len(term.labels)
    acted, plain = signature.acted(term), signature.plain(term)
    x = x.transpose(*range(start), *(start + i for i in (*acted, *plain)), x.ndim - 1)
    sizes = x.shape[start : start + len(acted)]
    return x.reshape(math.prod(x.shape[:start]), *sizes, math.prod(x.shape[start + len(acted) :]))


def unfolded(space: MultilinearSpace, x: jax.Array, batch: tuple[int, ...], channels: int) -> jax.Array:
    """The inverse of `folded`, for the output."""
    signature, term = space.signature, space.output
    acted, plain = signature.acted(term), signature.plain(term)
    sizes = signature.sizes
    x = x.reshape(*batch, *x.shape[1:-1], *(sizes[term.labels[i]] for i in plain), channels)
    order = np.argsort((*acted, *plain))
    return x.transpose(*range(len(batch)), *(len(batch) + int(i) for i in order), x.ndim - 1)


def symmetrised(x: jax.Array, exchanges: Sequence[Exchange], places: Sequence[int]) -> jax.Array:
    """The symmetric or antisymmetric part of a tensor `[batch, *acted axes, channels]`; `places` are those of axes."""
    for exchange in exchanges:
        own = [1 + places[i] for i in exchange.members]
        total: jax.Array | None = None
        for order in itertools.permutations(range(len(own))):
            axes = [*range(x.ndim)]
            for axis, i in zip(own, order, strict=True):
                axes[axis] = own[i]
            turned = x.transpose(axes)
            if exchange.sign < 0 and parity(order) < 0:
                turned = -turned
            total = turned if total is None else total + turned
        assert total is not None
        x = total / math.factorial(len(own))
    return x


def _times(x: jax.Array, scale: jax.Array | float) -> jax.Array:
    """Multiply by a number, or by one for each entry of the batch axis, in the dtype of x."""
    if isinstance(scale, jax.Array):
        return x * scale.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
    return x * jnp.asarray(scale, x.dtype)


def _summed(x: jax.Array, axis: int, scale: jax.Array | float | None) -> jax.Array:
    if scale is None:
        return jnp.sum(x, axis=axis)
    # In half precision the sum need not fit where the mean does.
    total = jnp.sum(x, axis=axis, dtype=jnp.promote_types(x.dtype, jnp.float32))
    return _times(total, scale).astype(x.dtype)


class Reducer:
    """The rows that one input is reduced to, each made once, from the next larger one."""

    def __init__(self, x: jax.Array, labels: tuple[str, ...], forms: dict[str, Form], scales: Scales) -> None:
        self.labels, self.forms, self.scales = labels, forms, scales
        self.formed = formed_vertices(labels, forms)
        whole = tuple(range(len(labels)))
        self.made: dict[Row, jax.Array] = {Row(whole, whole): x}
        self.turns: dict[tuple[Row, tuple[int, ...]], jax.Array] = {}

    def __call__(self, row: Row) -> jax.Array:
        if row not in self.made:
            step = narrowing(row, self.formed)
            x, axes = self(step.larger), [1 + axis for axis in step.axes]
            if step.operation == "diagonal":
                self.made[row] = diagonal(x, *axes)
            else:
                label = self._label(step.larger, step.axes[0])
                if step.operation == "trace":
                    form = self.forms[label]
                    if form.kind == "symplectic":
                        x = symplectic_diagonal(x, *axes)
                    else:
                        x = signed(diagonal(x, *axes), axes[0], form.signs())
                self.made[row] = _summed(x, axes[0], self.scales.get(label))
        return self.made[row]

    def _label(self, row: Row, axis: int) -> str:
        return self.labels[row.growth.index(row.open[axis])]

    def turned(self, row: Row, axes: tuple[int, ...]) -> jax.Array:
        """A row with some axes multiplied by the form of their label."""
        if (row, axes) not in self.turns:
            x = self(row)
            for axis in axes:
                form = self.forms[self._label(row, axis)]
                if form.kind == "metric":
                    x = signed(x, 1 + axis, form.signs())
                else:
                    upper, lower = jnp.split(x, 2, 1 + axis)
                    x = jnp.concatenate([lower, -upper], 1 + axis)
            self.turns[row, axes] = x
        return self.turns[row, axes]


class Expander:
    """Adds tensors up into the output, each into the next larger one: the transpose of `Reducer`."""

    def __init__(self, labels: tuple[str, ...], forms: dict[str, Form], sizes: Mapping[str, int]) -> None:
        self.labels, self.forms, self.sizes = labels, forms, sizes
        self.formed = formed_vertices(labels, forms)
        self.total: dict[Row, jax.Array] = {}

    def add(self, row: Row, x: jax.Array) -> None:
        """Add a tensor `[batch, *open axes, channels]` to a row of the output."""
        self.total[row] = self.total[row] + x if row in self.total else x

    def result(self) -> jax.Array | None:
        """The output; `None` where nothing was added."""
        while any(not row.whole for row in self.total):
            row = min(self.total, key=lambda row: (len(row.open), row))
            step = narrowing(row, self.formed)
            x, axes = self.total.pop(row), [1 + axis for axis in step.axes]
            label = self.labels[step.larger.growth.index(step.larger.open[step.axes[0]])]
            if step.operation != "diagonal":
                n = self.sizes[label]
                x = broadcast(jnp.expand_dims(x, axes[0]), (*x.shape[: axes[0]], n, *x.shape[axes[0] :]))
            shift = 0
            if step.operation == "trace":
                form = self.forms[label]
                if form.kind == "symplectic":
                    x, shift = symplectic_signs(x, axes[0]), self.sizes[label] // 2
                else:
                    x = signed(x, axes[0], form.signs())
            self.add(step.larger, x if step.operation == "sum" else embed(x, axes[0], axes[1], shift))
        return next(iter(self.total.values()), None)


def _head(head: Head, form: Form | None, n: int, dtype: jnp.dtype) -> jax.Array:
    """The Levi-Civita tensor, the legs of the bottom row lowered by the metric."""
    count = len(head.letters)
    refuse_if_large("the Levi-Civita tensor", n**count, CONSTANT_BYTES)
    grid = np.indices((n,) * count, sparse=True)
    tensor = np.array(permutation_sign(list(grid), head.legs))
    if form is not None:
        for leg in head.lowered:
            tensor = tensor * form.signs()[grid[leg]]
    return jnp.asarray(np.broadcast_to(tensor, (n,) * count).astype(np.float32), dtype)


def _cut_out(weights: jax.Array, elements: Sequence[int]) -> jax.Array:
    """The weights of some basis elements: runs of elements are cut out with one slice."""
    pieces, start = [], 0
    while start < len(elements):
        stop = start + 1
        while stop < len(elements) and elements[stop] == elements[stop - 1] + 1:
            stop += 1
        pieces.append(weights[elements[start] : elements[start] + stop - start])
        start = stop
    return joined(pieces, 0)


def _by_place(uses: Sequence[Use]) -> dict[tuple[Row, tuple[int, ...]], list[Use]]:
    """The uses that end in one place of the output."""
    found: dict[tuple[Row, tuple[int, ...]], list[Use]] = {}
    for use in uses:
        found.setdefault((use.row, use.axes), []).append(use)
    return found


@functools.lru_cache(maxsize=128)
def _invariant_sums(space: MultilinearSpace, elements: tuple[int, ...], uses: tuple[Use, ...]) -> InvariantTensors:
    """For each basis element the combination of invariant tensors that its uses are, as rows."""
    tensors = joint_tensors(tuple((group, stars, len(stars)) for _, group, stars, _ in space.invariants.labels))
    place = {element: i for i, element in enumerate(elements)}
    total = np.zeros((len(elements), tensors.shape[1]), np.result_type(tensors, *(use.coefficient for use in uses)))
    for use in uses:
        total[place[use.element]] += use.coefficient * tensors[use.choice, :, 0]
    return settled_tensors(total[:, :, None])


def _held(
    tensors: InvariantTensors,
    weights: jax.Array,
    letters: Letters,
    shapes: Shapes,
    labels: Sequence[str],
    element: int,
    features: Letters,
) -> list[tuple[jax.Array, Letters]]:
    """Invariant tensors and weights as operands: one where tensors are looked up in the weights, else two."""
    axes = [shapes.sizes[labels[letter]] for letter in letters]
    if tensors.dense is None:
        found = tensors.spread(weights, 0)
        return [(found.reshape(*axes, *weights.shape[1:]), (*letters, *features))]
    dense = jnp.asarray(tensors.dense, weights.dtype).reshape(len(weights), *axes)
    return [(dense, (element, *letters)), (weights, (element, *features))]


def _rows_of(weights: jax.Array, uses: Sequence[Use]) -> jax.Array:
    """The weights of some uses, each with its coefficient."""
    rows = _cut_out(weights, [use.element for use in uses])
    factors = np.array([use.coefficient for use in uses], np.float32)
    if (factors == 1).all():
        return rows
    return rows * jnp.asarray(factors, rows.dtype).reshape(-1, *(1,) * (rows.ndim - 1))


def _known(size: object) -> int:
    """A size where it matters for an order; symbolic sizes of jax.export, and empty axes, tell nothing about that."""
    return max(size, 1) if isinstance(size, int) else 1


def _contract(
    operands: list[tuple[jax.Array, Letters]], result: Letters, most: int, precision: lax.PrecisionLike
) -> jax.Array:
    """The einsum of some operands, two by two in the best order."""
    sizes: dict[int, int] = {}
    for array, letters in operands:
        sizes |= dict(zip(letters, array.shape, strict=True))
    known = tuple(_known(sizes.get(i)) for i in range(max(sizes) + 1))
    if len(operands) == 1:
        (array, letters), *_ = operands
        return jnp.einsum(array, letters, result, precision=precision)
    for i, j, made in best_order(tuple(letters for _, letters in operands), result, known, most):
        (x, first), (y, second) = operands[i], operands[j]
        z = jnp.einsum(x, first, y, second, made, precision=precision)
        operands = [*operands[:i], *operands[i + 1 : j], *operands[j + 1 :], (z, made)]
    return operands[0][0]


def run_multilinear(
    space: MultilinearSpace,
    inputs: Sequence[jax.Array],
    weights: jax.Array,
    shapes: Shapes,
    scales: Scales,
    *,
    channelwise: bool,
    precision: lax.PrecisionLike = None,
    chosen: tuple[int, ...] | None = None,
) -> jax.Array:
    """Apply the maps of a space to checked arrays of one dtype; `equikit.plans.apply_multilinear` is the public way.

    Args:
        space: the space.
        inputs: arrays `[batch, *acted axes, features]`, with zeros where masked.
        weights: `[basis, *features in, features out]`, or `[basis, channels]` where `channelwise`.
        shapes: what the arrays settle.
        scales: for each label what sums are multiplied by; empty for sums.
        channelwise: whether channel c of the output is made of channel c of every input.
        precision: of the products.
        chosen: the numbers of the basis elements that the weights belong to; all where not given.

    Returns:
        `[batch, *acted axes of the output, features out]`.
    """
    groups = space.signature.groups
    forms = {label: group.form for label, group in groups.items() if group.form is not None}
    rows = [tuple(label for label in operand.labels if label in groups) for operand in (space.target, *space.operands)]
    places = [[v - space.starts[i] for v in space.vertices(i)] for i in range(len(rows))]
    arrays = [
        symmetrised(x, operand.exchanges, place)
        for x, operand, place in zip(inputs, space.operands, places[1:], strict=True)
    ]
    reducers = [Reducer(x, row, forms, scales) for x, row in zip(arrays, rows[1:], strict=True)]
    expander = Expander(rows[0], forms, shapes.sizes)
    widths = [x.shape[-1] for x in arrays]
    copies = math.prod(map(_known, shapes.batch))
    bound = copies * max(math.prod(map(_known, x.shape[1:])) for x in arrays) * max(*widths, weights.shape[-1])

    def operands_of(pattern: Pattern, channel: Sequence[int]) -> list[tuple[jax.Array, Letters]]:
        batch = len(pattern.labels)
        found: list[tuple[jax.Array, Letters]] = []
        parts = zip(reducers, pattern.rows, pattern.turned, pattern.letters, channel, strict=True)
        for reducer, row, turned, letters, own in parts:
            found.append((reducer.turned(row, turned), (batch, *letters, own)))
        for head in pattern.heads:
            n, form = shapes.sizes[head.label], forms.get(head.label)
            found.append((_head(head, form, n, weights.dtype), head.letters))
        return found

    for pattern, uses in contractions(space, chosen):
        pooled = len(pattern.labels)
        last = pooled + 1 + len(arrays)
        channel = [pooled + 1] * len(arrays) if channelwise else [pooled + 1 + i for i in range(len(arrays))]
        operands = operands_of(pattern, channel)
        features: Letters = (pooled + 1,) if channelwise else (*channel, last + 1)
        size = math.prod(_known(shapes.sizes[pattern.labels[letter]]) for letter in pattern.kept)
        if pattern.held:
            for (row, order), own in _by_place(uses).items():
                elements = tuple(dict.fromkeys(use.element for use in own))
                tensors = _invariant_sums(space, elements, tuple(own))
                most = max(bound, copies * size * weights.shape[-1])
                held = _held(tensors, _cut_out(weights, elements), pattern.held, shapes, pattern.labels, last, features)
                y = _contract([*operands, *held], (pooled, *pattern.kept, features[-1]), most, precision)
                for label in pattern.averaged if scales else ():
                    y = _times(y, scales[label])
                expander.add(row, y.transpose(0, *(1 + axis for axis in order), y.ndim - 1))
            continue
        if channelwise:
            y = _contract(operands, (pooled, *pattern.kept, pooled + 1), bound, precision)
        else:
            kernel = _rows_of(weights, uses)
            operands.append((kernel, (last, *features)))
            most = max(bound, copies * size * len(uses) * weights.shape[-1])
            y = _contract(operands, (pooled, *pattern.kept, last, last + 1), most, precision)
        for label in pattern.averaged if scales else ():
            y = _times(y, scales[label])
        for i, use in enumerate(uses):
            if channelwise:
                weight = lax.index_in_dim(weights, use.element, keepdims=False) * use.coefficient
                part = y * broadcast(weight, y.shape)
            else:
                part = lax.index_in_dim(y, i, y.ndim - 2, keepdims=False)
            expander.add(use.row, part.transpose(0, *(1 + axis for axis in use.axes), part.ndim - 1))
    result = expander.result()
    if result is None:
        axes = [shapes.sizes[label] for label in rows[0]]
        result = jnp.zeros((math.prod(shapes.batch), *axes, weights.shape[-1]), weights.dtype)
    return symmetrised(result, space.target.exchanges, places[0])
