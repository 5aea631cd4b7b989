"""Inside of a kernel: the tiles of an orbit, their indices, and pieces of their features.

With the first tile of an orbit at index vectors `i`, all arrays of the orbit are arranged like this tile: `x_g[i]` is
the tensor at the permuted indices `i[g[0]], i[g[1]], ...`. No array is transposed: only the order of indices in loads
and stores differs.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from equikit.plans.fused._orbits import Orbits, composed, inverse
from equikit.plans.fused._pallas import load, program_id
from equikit.plans.fused._tensors import Tensor, Wiring, along, counted, power_of_two

Carried = TypeVar("Carried")

Marks = Mapping[str, jax.Array]
"""For each label with a mask, integers `[batch, n]` that are nonzero where entries are present."""


def padded(features: int) -> int:
    """The number of columns of a tile: matrix products take at least 16."""
    return max(power_of_two(features), 16)


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of one orbit inside a kernel.

    Attributes:
        found: the orbits.
        sizes: of each axis.
        sample: the number of the sample.
        place: for each axis the position of the first tile; before the loop over a run, without the axis of the run.
    """

    found: Orbits
    sizes: tuple[int, ...]
    sample: jax.Array
    place: Mapping[int, jax.Array]

    @property
    def axes(self) -> int:
        """The number of axes."""
        return len(self.sizes)

    def vector(self, axis: int) -> jax.Array:
        """The indices of an axis of the tile."""
        return self.place[axis] * self.found.tile[axis] + counted(self.found.tile[axis], 0, 1)

    def there(self, axis: int, marks: Marks, labels: Sequence[str]) -> jax.Array:
        """Which indices of an axis are present."""
        rows = self.vector(axis)
        inside = rows < self.sizes[axis]
        if labels[axis] not in marks:
            return inside
        return load(marks[labels[axis]], (self.sample, rows), inside) != 0

    def both(self, vectors: Mapping[int, jax.Array]) -> jax.Array:
        """Combine conditions on some axes to a condition on positions of the tile and features."""
        found: jax.Array | None = None
        for axis, vector in vectors.items():
            each = along(vector, axis, self.axes + 1)
            found = each if found is None else found & each
        return jnp.ones((1,) * (self.axes + 1), bool) if found is None else found

    def rows(self, g: Wiring, kept: Sequence[int]) -> list[jax.Array]:
        """The indices of some axes of a tensor of the orbit, as arrays along the axes of the first tile."""
        return [along(self.vector(g[axis]), g[axis], self.axes + 1) for axis in kept]

    def loader(self, ref: Any, tensor: Tensor, features: jax.Array, mask: jax.Array) -> Callable[[Wiring], jax.Array]:
        """Return the function that loads the tile of a permutation."""

        def loaded(g: Wiring) -> jax.Array:
            return load(ref, tensor.index(self.sample, self.rows(g, range(self.axes)), features), mask)

        return loaded

    def permuted(self, loaded: Callable[[Wiring], jax.Array]) -> dict[Wiring, jax.Array]:
        """Load the tiles of an orbit; tiles that only exchange their own axes are transposed, not loaded."""
        tiles = {g: loaded(g) for g in self.found.tiled}
        found = {}
        for g, first in self.found.distinct.items():
            order = inverse(composed(g, inverse(first)))
            tile = tiles[first]
            found[g] = tile if g == first else tile.transpose(*order, self.axes)
        return found

    def first(self, g: Wiring, mask: jax.Array) -> jax.Array:
        """Combine a condition with: no earlier permutation gives the same tile."""
        for other in itertools.takewhile(lambda other: other != g, self.found.tiled):
            differs = [self.place[one] != self.place[two] for one, two in zip(g, other, strict=True) if one != two]
            mask &= functools.reduce(operator.or_, differs)
        return mask


class Piece(NamedTuple):
    """Some features of a tensor: the number of the first one, and how many, padded."""

    first: int
    width: int


def pieces(features: int, dtype: Any) -> list[Piece]:
    """Cut the features of a tensor into pieces: a product takes one of an input and gives one of an output.

    A product in float32 holds its operands in registers, which 32 rows and columns fill; half precision is multiplied
    by matrix instructions, which read shared memory.
    """
    width = padded(features)
    step = min(width, 32) if dtype == jnp.float32 else width
    return [Piece(start, step) for start in range(0, features, step)]


def own_copy(x: jax.Array, always: jax.Array) -> jax.Array:
    """Return an operand of a product, by a condition that is always true, and different for each product.

    A product in float32 reads its operands into registers. If several products have an operand in common, the compiler
    would keep it there for all of them; together such operands need several times the registers that there are.
    """
    return jnp.where(always, x, jnp.zeros((), x.dtype)) if x.dtype == jnp.float32 else x


def each_sample(found: Orbits, function: Callable[[jax.Array, Carried], Carried], start: Carried) -> Carried:
    """Call a function for each sample of a program, with what it returned for the sample before."""
    first = program_id(0) * found.samples
    if found.samples == 1:
        return function(first, start)
    count = jnp.minimum(found.batch - first, found.samples)
    result: Carried = lax.fori_loop(0, count, lambda i, carried: function(first + i, carried), start)
    return result
