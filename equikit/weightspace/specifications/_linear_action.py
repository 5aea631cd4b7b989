"""General linear groups that act on parameters and preserve the function of a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError
from equikit.weightspace.specifications._scaling import by_axis, powers_of, refuse_integers, unknowns
from equikit.weightspace.specifications._tensors import join, split, tensors_of
from equikit.weightspace.specifications._terms import Expression, Indexed, Leaf, Product, Simple, Sum, Symbol
from equikit.weightspace.tracing._forms import Form
from equikit.weightspace.tracing._nesting import Nested
from equikit.weightspace.tracing.axes._axes import Axis
from equikit.weightspace.tracing.axes._relation import Places
from equikit.weightspace.tracing.programs._program import Call

Move = Callable[[jax.Array], jax.Array]
"""A linear map of an array `[n, rest]` along its first axis, or of an array `[m, n, rest]` along its second axis."""


@dataclass(frozen=True)
class LinearAction:
    r"""A general linear group that acts on a label along which all operations are linear.

    An axis that is up is multiplied by \(g\), and an axis that is down by \(g^{-\top}\), so contractions of an up axis
    with a down axis do not change. The group contains the permutations, scales and signs of the label.

    Attributes:
        label: the label.
        within: an outer label, such as attention heads, if each of its indices has its own matrix; otherwise None.
        variances: parameter names, axis numbers, and for each symbol of this axis 1 for up, -1 for down, or 0 if the
            group does not act on it.
    """

    label: str
    within: str | None
    variances: tuple[tuple[str, int, tuple[int, ...]], ...]

    def __str__(self) -> str:
        sides = (f"{side} {', '.join(f'{name}[{at}]' for name, at in self._with(sign))}" for side, sign in _SIDES)
        inside = "" if self.within is None else f" in each {self.within}"
        return f"{self.label} linear{inside}: {'; '.join(sides)}"

    @property
    def up(self) -> tuple[str, ...]:
        """The names of parameters with an axis that is multiplied by the matrix."""
        return tuple(dict.fromkeys(name for name, _ in self._with(1)))

    @property
    def down(self) -> tuple[str, ...]:
        """The names of parameters with an axis that is multiplied by the inverse transpose."""
        return tuple(dict.fromkeys(name for name, _ in self._with(-1)))

    def _with(self, sign: int) -> list[tuple[str, int]]:
        return [(name, place) for name, place, signs in self.variances if sign in signs]

    def apply(self, leaf: Leaf, array: jax.Array, up: Move, down: Move) -> jax.Array:
        """Apply `up` along axes that are up, and `down` along axes that are down; leading axes are a batch."""
        signs = {place: signs for name, place, signs in self.variances if name == leaf.name and any(signs)}
        if not signs:
            return array
        marked = Leaf(
            leaf.name,
            tuple(_marked(axis, iter(signs.get(place, ()))) for place, axis in enumerate(leaf.axes)),
        )
        tensors = split((marked,), {leaf.name: array[..., None]})
        for tensor in tensors_of(marked):
            for place, label in enumerate(tensor.labels):
                if label in (UP, DOWN):
                    here = tensors[tensor.name]
                    start = here.ndim - 1 - len(tensor.labels)
                    outer = () if self.within is None else (start + tensor.labels.index(self.within),)
                    axes, first = (*outer, start + place), tuple(range(len(outer) + 1))
                    front = jnp.moveaxis(here, axes, first)
                    move = up if label == UP else down
                    moved = move(front.reshape(*front.shape[: len(axes)], -1)).reshape(front.shape)
                    tensors[tensor.name] = jnp.moveaxis(moved, first, axes)
        return join((marked,), tensors)[leaf.name][..., 0]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape of the matrix or matrices, given the sizes of all labels."""
        size = sizes[self.label]
        return (size, size) if self.within is None else (sizes[self.within], size, size)


_SIDES = (("up", 1), ("down", -1))
UP, DOWN = "*up*", "*down*"  # a trace never uses these labels


def _marked(axis: Expression, signs: Iterator[int]) -> Expression:
    """Return the axis with the labels UP and DOWN on the symbols on which the group acts; signs are in their order."""
    if isinstance(axis, Indexed):
        return replace(axis, members=tuple(_marked_alone(member, signs) for member in axis.members))
    return _marked_alone(axis, signs)


def _marked_alone(axis: Simple, signs: Iterator[int]) -> Simple:
    if isinstance(axis, Product):
        return Product(tuple(_marked_alone(factor, signs) for factor in axis.factors))
    if isinstance(axis, Sum):
        return Sum(tuple(_marked_alone(part, signs) for part in axis.parts))
    sign = next(signs, 0)
    return Symbol(UP if sign > 0 else DOWN, axis.size) if sign else axis


def linear_actions(
    calls: Sequence[Call],
    leaves: Sequence[Leaf],
    of_params: Sequence[Places],
    permuted: Collection[str],
    pairs: Nested,
) -> Iterator[LinearAction]:
    """Yield all general linear groups: one for each label and each connected set of axes.

    Every use of an axis is colored up or down. A label has no group if its colors conflict, or if some operation does
    not commute with linear maps along it. The arguments are as for `scalings`; `pairs` are the pairs of labels in
    `Specification.nested`.
    """
    outer = dict(pairs)
    its = unknowns(leaves, of_params, permuted)
    powers = powers_of("linear", calls, its)
    root_of = {number: its.roots[label] for number, label in enumerate(its.labels)}
    root_of |= {number: atom.root for number, atom in powers.carried.items()}
    colors, refused = _colored(powers.rows, root_of)
    for color in colors:
        mine = {number: Fraction(sign) for number, sign in color.items() if number >= 0}
        if mine and root_of[min(mine)] not in refused:
            variances = tuple(
                (name, place, tuple(map(int, signs))) for name, place, signs in by_axis(leaves, its, mine)
            )
            label = its.labels[min(mine)]
            yield LinearAction(label, outer.get(label), variances)


def _colored(rows: Sequence[Form], root_of: Mapping[int, Axis]) -> tuple[list[dict[int, int]], set[Axis]]:
    """Return the colors (1 or -1) of each connected set of unknowns, and the index sets that have no coloring."""
    refused: set[Axis] = set()
    beside: dict[int, list[tuple[int, int]]] = {number: [] for number in sorted(root_of, key=lambda n: (n < 0, n))}
    for row in rows:
        if len(row) != 2 or any(abs(value) != 1 for value in row.values()):
            refused |= {root_of[number] for number in row}
            continue
        (one, first), (two, second) = row.items()
        sign = -int(first * second)
        beside[one].append((two, sign))
        beside[two].append((one, sign))
    found: list[dict[int, int]] = []
    done: set[int] = set()
    for start in beside:
        if start in done:
            continue
        color, waiting = {start: 1}, [start]
        while waiting:
            number = waiting.pop()
            for other, sign in beside[number]:
                if other not in color:
                    color[other] = sign * color[number]
                    waiting.append(other)
                elif color[other] != sign * color[number]:
                    refused.add(root_of[number])
        done |= color.keys()
        found.append(color)
    return found, refused


def transformed(
    leaves: Sequence[Leaf], action: LinearAction, shape: tuple[int, ...], matrix: Any, given: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """Apply a matrix, or one matrix for each index of the outer label (`shape`), to the parameters, by name.

    Raises:
        OptionError: if the matrix has the wrong shape, is complex or not finite, or is singular.
        DTypeError: if a parameter on which the group acts is integer or boolean.
    """
    known, real = not isinstance(matrix, jax.core.Tracer), not jnp.iscomplexobj(matrix)
    value = np.asarray(matrix, np.float64) if known and real else matrix
    finite = not known or bool(np.all(np.isfinite(value)))
    fits = np.shape(value) in (shape, shape[-2:]) and finite and real
    if not fits or (known and not np.all(np.linalg.cond(value) < 1 / np.finfo(float).eps)):
        raise OptionError(
            f"the matrix is not in the general linear group of {action.label!r}",
            got=f"shape {list(np.shape(value))}" + ("" if finite else ", not finite") + ("" if real else ", complex"),
            expected=f"an invertible real matrix of shape {list(shape[-2:])}"
            + (f", or {shape[0]} of them, {list(shape)}" if len(shape) > 2 else ""),
            step=f"pass np.eye({shape[-1]}) plus a small matrix, or jax.scipy.linalg.expm of any matrix",
        )
    library: Any = np if known else jnp
    value = library.broadcast_to(value, shape)
    one = library.broadcast_to(library.eye(shape[-1], dtype=value.dtype), shape)
    dual = library.linalg.solve(value, one).swapaxes(-1, -2)

    def move(factor: Any) -> Move:
        return lambda array: jnp.matmul(jnp.asarray(factor, array.dtype), array, precision="highest")

    acted, moved = {*action.up, *action.down}, {}
    for leaf in leaves:
        array = jnp.asarray(given[leaf.name])
        if leaf.name not in acted:
            moved[leaf.name] = array
            continue
        refuse_integers(f"the linear group of {action.label!r}", leaf.name, array)
        wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))  # avoid rounding the matrix to half precision
        moved[leaf.name] = action.apply(leaf, wide, move(value), move(dual)).astype(array.dtype)
    return moved
