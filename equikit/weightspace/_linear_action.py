"""General linear groups that act on parameters and leave what a network computes as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError, explain
from equikit.weightspace._axes import Axis
from equikit.weightspace._exponents import run
from equikit.weightspace._linear_rules import LINEAR_RULES
from equikit.weightspace._powers import Form, Powers
from equikit.weightspace._program import Call
from equikit.weightspace._scaling import by_axis, inputs_of, unknowns
from equikit.weightspace._terms import Expression, Leaf, Product, Sum

Move = Callable[[jax.Array], jax.Array]
"""What is done to an array `[n, rest]` along its first axis."""


@dataclass(frozen=True)
class LinearAction:
    r"""A general linear group that acts on the axes of parameters with one label, along which all is linear.

    An axis that is up is multiplied by \(g\), one that is down by \(g^{-\top}\), so that what is summed over one of
    each stays as it is. Permutations, scales and signs of the label are among the elements.

    Attributes:
        label: the label.
        variances: for parameters and their axes 1 for up and -1 for down, one for each symbol of the axis; 0 for those
            on which nothing acts.
    """

    label: str
    variances: tuple[tuple[str, int, tuple[int, ...]], ...]

    def __str__(self) -> str:
        sides = (f"{side} {', '.join(f'{name}[{at}]' for name, at in self._with(sign))}" for side, sign in _SIDES)
        return f"{self.label} linear: {'; '.join(sides)}"

    @property
    def up(self) -> tuple[str, ...]:
        """The parameters with an axis that is multiplied by the matrix."""
        return tuple(dict.fromkeys(name for name, _ in self._with(1)))

    @property
    def down(self) -> tuple[str, ...]:
        """The parameters with an axis that is multiplied by its inverse."""
        return tuple(dict.fromkeys(name for name, _ in self._with(-1)))

    def _with(self, sign: int) -> list[tuple[str, int]]:
        return [(name, place) for name, place, signs in self.variances if sign in signs]

    def apply(self, leaf: Leaf, array: jax.Array, up: Move, down: Move) -> jax.Array:
        """Do one thing along axes that are up, and another along those that are down; leading axes are a batch."""
        start = array.ndim - len(leaf.axes)
        for name, place, signs in self.variances:
            if name == leaf.name and any(signs):
                first = jnp.moveaxis(array, start + place, 0)
                moves = iter([up if sign > 0 else down if sign else None for sign in signs])
                flat = _along(leaf.axes[place], moves, first.reshape(len(first), -1))
                array = jnp.moveaxis(flat.reshape(first.shape), 0, start + place)
        return array


_SIDES = (("up", 1), ("down", -1))


def _along(axis: Expression, moves: Iterator[Move | None], array: jax.Array) -> jax.Array:
    if isinstance(axis, Product):
        sizes = [factor.size for factor in axis.factors]
        for place, factor in enumerate(axis.factors):
            split = array.reshape(math.prod(sizes[:place]), sizes[place], -1).swapaxes(0, 1)
            moved = _along(factor, moves, split.reshape(sizes[place], -1)).reshape(split.shape)
            array = moved.swapaxes(0, 1).reshape(array.shape)
        return array
    if isinstance(axis, Sum):
        ends = np.cumsum([part.size for part in axis.parts])[:-1]
        pieces = jnp.split(array, [int(end) for end in ends])
        return jnp.concatenate([_along(part, moves, piece) for part, piece in zip(axis.parts, pieces, strict=True)])
    move = next(moves)
    return array if move is None else move(array)


def linear_actions(
    call: Call, leaves: Sequence[Leaf], of_params: Sequence[Sequence[Axis]], others: int
) -> Iterator[LinearAction]:
    """All general linear groups that are found: one for each label and each set of its axes that depend on each other.

    Every use of an axis is coloured up or down; labels on which colours contradict each other, or which some operation
    does not allow, have none. The arguments are those of `scalings`.
    """
    its = unknowns(leaves, of_params)
    powers = Powers(signs=False)
    run(powers, call, [*its.arrays, *inputs_of(call, len(leaves), others)], LINEAR_RULES)
    root_of = {number: its.roots[label] for number, label in enumerate(its.labels)}
    root_of |= {number: atom.root for number, atom in powers.carried.items()}
    colours, refused = _coloured(powers.rows, root_of)
    for colour in colours:
        mine = {number: Fraction(sign) for number, sign in colour.items() if number >= 0}
        if mine and root_of[min(mine)] not in refused:
            variances = tuple(
                (name, place, tuple(map(int, signs))) for name, place, signs in by_axis(leaves, its, mine)
            )
            yield LinearAction(its.labels[min(mine)], variances)


def _coloured(rows: Sequence[Form], root_of: Mapping[int, Axis]) -> tuple[list[dict[int, int]], set[Axis]]:
    """For each connected set of unknowns their colours, and index sets that have none."""
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
        colour, waiting = {start: 1}, [start]
        while waiting:
            number = waiting.pop()
            for other, sign in beside[number]:
                if other not in colour:
                    colour[other] = sign * colour[number]
                    waiting.append(other)
                elif colour[other] != sign * colour[number]:
                    refused.add(root_of[number])
        done |= colour.keys()
        found.append(colour)
    return found, refused


def transformed(
    leaves: Sequence[Leaf], action: LinearAction, size: int, matrix: Any, given: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """The parameters, by name, moved by a matrix `[size, size]`."""
    known = not isinstance(matrix, jax.core.Tracer)
    value = np.asarray(matrix, np.float64) if known else matrix
    finite = not known or bool(np.all(np.isfinite(value)))
    if value.shape != (size, size) or not finite or (known and not np.linalg.cond(value) < 1 / np.finfo(float).eps):
        raise OptionError(
            explain(
                f"the matrix is no element of the general linear group of {action.label!r}",
                got=f"shape {list(value.shape)}" + ("" if finite else ", not finite"),
                expected=f"an invertible matrix of shape {[size, size]}",
                step=f"pass np.eye({size}) plus a small matrix, or jax.scipy.linalg.expm of any matrix",
            )
        )
    library: Any = np if known else jnp
    dual = library.linalg.solve(value, library.eye(size, dtype=value.dtype)).T

    def move(factor: Any) -> Move:
        return lambda array: jnp.matmul(jnp.asarray(factor, array.dtype), array, precision="highest")

    moved = {}
    for leaf in leaves:
        array = jnp.asarray(given[leaf.name])
        wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))  # the matrix is not rounded to half precision
        moved[leaf.name] = action.apply(leaf, wide, move(value), move(dual)).astype(array.dtype)
    return moved
