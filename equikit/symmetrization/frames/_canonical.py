"""Canonical forms of graphs: one order of the nodes, the same for all graphs that differ by it."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, rounding
from equikit.symmetrization._info import standard_tolerance
from equikit.symmetrization._sample import Sample
from equikit.symmetrization.frames import _ties
from equikit.symmetrization.frames._automorphisms import canonical_form
from equikit.symmetrization.frames._numbers import (
    all_finite,
    matrices_of,
    rows_of,
    scaled,
    turned_by_frames,
    with_one,
)
from equikit.symmetrization.frames._ordering import Listing, One, Ordered, Ordering, first_of

EQUAL = 64
"""Numbers that differ by less than this many roundings of the largest are one number."""


@dataclass(frozen=True)
class Canonical(Ordering):
    r"""The canonical order of the nodes of a graph, for S(n): as few elements as there are automorphisms.

    Two graphs in canonical order are equal exactly if one is the other with its nodes renamed. The orders that lead to
    this form are a coset \(\mathrm{Aut}(x)\,c\), the smallest frame there is. Automorphisms leave the input as it is,
    so that one evaluation is enough for all of them, however many; outputs with the label once are averaged over their
    orbits, exactly. Only where an output has the label twice are they listed.

    The search is done in NumPy on the host, one graph after another, also where the rest is compiled, by
    `jax.pure_callback`: it works under `jit`, `vmap` and `grad`, but not under `jax.export`, and it makes a GPU wait.
    `Laplacian` does without. Weights and numbers of nodes have no tolerance to speak of, as there are no eigenvectors:
    what differs by more than a few roundings is different (of numbers that a frame of another group has moved, those
    are compared first that differ by more than its error). Derivatives with respect to a graph that has automorphisms
    are those of one order, and do not share its symmetry.

    Args:
        label: the axis of the nodes; where it is not given, the only one bound to S.
        tolerance: numbers within this of each other are equal, relative to the largest; 64 roundings by default.
        max_size: how many automorphisms are listed, for outputs that have the label twice or more.
        on_degenerate: what to do where there are more: `"error"`, `"flag"`, or `"sample"`, which draws as many at
            random, with a standard error. A search that is not finished is an error, or is flagged.
        max_steps: how many refinements a search may take: a few for most graphs, about n²/2 for a complete one, and
            more than can be done for some made for this purpose.

    Raises:
        GroupError: if the label has another group.
        OptionError: if no term has the label twice, or one has it three times or more.
        FrameError: for an input whose search is not finished, or with more automorphisms than are listed.

    Cost: a refinement takes \(O(n^2)\) a round, 0.1 ms for 40 nodes; then one evaluation of the backbone.

    Example:
        >>> import equikit as ek
        >>> def backbone(a):
        ...     return jnp.sum(a * jnp.arange(16.0).reshape(4, 4), (-1, -2))
        >>> sym = ek.symmetrize(backbone, "p p -> ", p=ek.S, channels=False, how=ek.frames.Canonical())
        >>> star = jnp.zeros((4, 4)).at[0, 1:].set(1.0)
        >>> path = jnp.diag(jnp.ones(3), 1)
        >>> other = jnp.array([2, 0, 3, 1])
        >>> bool(sym(star) == sym(star[other][:, other])), bool(sym(star) == sym(path))
        (True, False)

    Source:
        McKay, Practical graph isomorphism, Congressus Numerantium 30 (1981); Lin et al., Equivariance via minimal frame
        averaging, arXiv:2406.07598, section 4.
    """

    max_steps: int = 10_000

    def compared(self, action: Action, label: str) -> tuple[str, ...]:
        """All terms that have the label: exchanges are automorphisms of the whole input."""
        counts = {term.name: term.labels.count(label) for term in action.inputs if label in term.labels}
        if max(counts.values(), default=0) != 2:
            raise OptionError(
                f"the input is not a graph on {label!r}",
                got=str(action.signature),
                expected=f"input terms that have {label!r} once or twice, and one that has it twice",
                step="use ek.frames.Sort for sets",
            )
        return tuple(counts)

    def ordered(self, action: Action, label: str, sample: Sample) -> Ordered:
        """The canonical order of the nodes; absent ones come last."""
        x, masks = sample.x, sample.masks
        there = masks.get(label)
        rows, graphs = rows_of(action.inputs, label, x, there), matrices_of(action.inputs, label, x, there)
        matrices = jnp.concatenate([scaled(graph) for graph in graphs])
        count = matrices.shape[-1]
        tolerance = EQUAL * rounding(matrices.dtype) if self.tolerance is None else self.tolerance
        edges = _ties.ranks(matrices.reshape(len(matrices), count * count).T, tolerance).T.reshape(matrices.shape)
        ranked = [_ties.ranks(scaled(array).T, tolerance).T for array in rows]
        if self.tolerance is None:  # what is equal but for the error of a frame is told apart by other numbers first
            ranked = [
                _ties.ranks(scaled(array).T, standard_tolerance(None, sample.dtype(term.name))).T
                for term, array in zip(with_one(action.inputs, label), rows, strict=True)
                if turned_by_frames(action, label, term)
            ] + ranked
        absent = jnp.zeros(count, jnp.int32) if there is None else jnp.cumsum(~there, dtype=jnp.int32) * ~there
        nodes = jnp.concatenate([absent[None], *(rank.astype(jnp.int32) for rank in ranked)])
        outputs = action.output_order(label)
        alone = outputs < 2 or count == 0
        order, orbits, radix, table, complete = _searched(nodes, edges, self.max_steps, with_table=not alone)
        return Ordered(
            One(order, log_product(radix)) if alone else Coset(order, radix, table),
            ties=count - jnp.sum(orbits == jnp.arange(count)),
            finite=all_finite([*rows, *graphs]) & complete,
            interchangeable=orbits if outputs == 1 else None,
            most=1 if alone else None,
        )


@dataclass(frozen=True)
class Coset:
    """The canonical order after every automorphism, each of which is a product of one from every level of a table.

    Attributes:
        order: the canonical order, `[n]`.
        radix: how many there are in each level, `[levels]`.
        table: the automorphisms, `[levels, n, n]`.
    """

    order: Array
    radix: Array
    table: Array

    def listed(self, most: int) -> Listing:
        """The first ones, in the order of their numbers, all as likely."""

        def digit(rest: Array, radix: Array) -> tuple[Array, Array]:
            return rest // radix, rest % radix

        digits = jax.vmap(lambda number: jax.lax.scan(digit, number, self.radix)[1])(jnp.arange(most))
        size = _ties.product_up_to(self.radix, most)
        return Listing(jax.vmap(self._product)(digits), *first_of(size, most), log_product(self.radix))

    def drawn(self, key: jax.Array) -> tuple[Array, Array]:
        """A uniformly random one."""
        digits = jax.random.randint(key, self.radix.shape, 0, self.radix)
        return self._product(digits), log_product(self.radix)

    def _product(self, digits: Array) -> Array:
        def after(order: Array, level: tuple[Array, Array]) -> tuple[Array, None]:
            automorphisms, digit = level
            return automorphisms[digit][order], None

        return jax.lax.scan(after, self.order, (self.table, digits), reverse=True)[0]


def log_product(radix: Array) -> Array:
    """The logarithm of the number of automorphisms."""
    return jnp.sum(jnp.log(radix.astype(jnp.float32)))


def _searched(nodes: Array, edges: Array, most: int, with_table: bool) -> tuple[Array, Array, Array, Array, Array]:
    """Order, orbits, sizes of the transversals, the transversals, and whether the search is complete, by the host."""
    count = nodes.shape[-1]
    wide = count if with_table else 0
    shapes: list[tuple[int, ...]] = [(count,), (count,), (count,), (wide, wide, wide)]

    def of_one(nodes: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, ...]:
        both = np.concatenate([edges, np.swapaxes(edges, 1, 2)]).reshape(2 * len(edges), count * count)
        pairs = _numbered(both).reshape(count, count)
        form = canonical_form(_numbered(nodes), 2 * pairs + np.eye(count, dtype=int), most)
        # Levels and places that are not used hold the identity, since the product goes through all levels.
        radix, table = np.ones(count, np.int32), np.tile(np.arange(wide, dtype=np.int32), (wide, wide, 1))
        for level, automorphisms in enumerate(form.transversals):
            radix[level] = len(automorphisms)
            if with_table:
                table[level, : len(automorphisms)] = automorphisms
        return form.order, form.orbits, radix, table, np.asarray(form.complete)

    def of_batch(nodes: Array, edges: Array) -> tuple[np.ndarray, ...]:
        nodes, edges = np.asarray(nodes), np.asarray(edges)
        batch = nodes.shape[:-2]
        arrays = tuple(np.empty((*batch, *one.shape), one.dtype) for one in result)
        for at in np.ndindex(*batch):
            for array, found in zip(arrays, of_one(nodes[at], edges[at]), strict=True):
                array[at] = found
        return arrays

    result = (*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes), jax.ShapeDtypeStruct((), jnp.bool_))
    found: tuple[Array, Array, Array, Array, Array] = jax.pure_callback(
        of_batch, result, nodes, edges, vmap_method="broadcast_all"
    )
    return found


def _numbered(columns: np.ndarray) -> np.ndarray:
    """Columns `[keys, count]` numbered in lexicographic order, equal ones alike, `[count]`."""
    return np.unique(columns, axis=1, return_inverse=True)[1].reshape(-1)
