"""Canonical forms of graphs: one node order, the same for all relabelings of a graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from equikit.numerics import rounding
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._info import standard_tolerance
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine._stabilizer import orbits
from equikit.symmetrization.graphs._automorphisms import canonical_form
from equikit.symmetrization.permutations import _ties
from equikit.symmetrization.permutations._numbers import (
    all_finite,
    matrices_of,
    rows_of,
    scaled,
    turned_by_frames,
    with_one,
)
from equikit.symmetrization.permutations._ordering import One, Ordered, Ordering

EQUAL = 64
"""Numbers that differ by less than this many rounding units of the largest count as equal."""


@dataclass(frozen=True)
class Canonical(Ordering):
    r"""The canonical order of the nodes of a graph, for S(n): a single element for any number of automorphisms.

    Two graphs in canonical order are equal exactly if they are isomorphic. The orders that give this form are a coset
    \(\mathrm{Aut}(x)\,c\), the smallest possible frame. Automorphisms fix the input, so that one evaluation is enough
    for all of them: the mean of a tensor over a group of permutations is the mean over the orbits of tuples of nodes.
    Outputs and derivatives are averaged in this way: derivatives of invariant outputs are averaged over all orders, and
    have the symmetry of the graph.

    The search runs in NumPy on the host, one graph after another, also in compiled programs, by `jax.pure_callback`: it
    works under `jit`, `vmap` and `grad`, but not under `jax.export`, and a GPU waits for it. `Laplacian` avoids this.
    Since there are no eigenvectors, the tolerance of weights and numbers of nodes is small: numbers that differ by more
    than a few rounding units are different (numbers that a frame of another group moved are first compared with the
    tolerance of its errors).

    Args:
        label: the axis of the nodes; by default, the only one bound to S.
        tolerance: numbers that differ by less than this, relative to the largest, tie; by default 64 rounding units.
        on_degenerate: what to do if the search is incomplete: `"error"` or `"flag"`.
        max_steps: the largest number of refinements of a search: a few for most graphs, about n²/2 for a complete
            graph, and infeasibly many for some graphs constructed for this purpose.

    Raises:
        GroupError: if the label has another group.
        OptionError: if no term has the label twice, or a term has it three times or more.
        FrameError: for an input whose search is incomplete.

    Cost: \(O(n^2)\) per round of a refinement, 0.1 ms for 40 nodes; then one evaluation of the backbone. Means are
    linear in the size of the outputs and of the input.

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

    max_size: int = field(default=1, init=False, repr=False)
    max_steps: int = 10_000
    policies: ClassVar[tuple[str, ...]] = ("error", "flag")

    def compared(self, action: Action, label: str) -> tuple[str, ...]:
        """Return all terms with the label: exchanges are automorphisms of the whole input."""
        counts = {term.name: term.labels.count(label) for term in action.inputs if label in term.labels}
        step = "use ek.frames.Sort for sets"
        action.refuse_without(max(counts.values(), default=0) == 2, f"{label!r} at most twice, and one twice", step)
        return tuple(counts)

    def ordered(self, action: Action, label: str, sample: Sample) -> Ordered:
        """Return the canonical order of the nodes; absent nodes come last."""
        x, masks = sample.x, sample.masks
        there = masks.get(label)
        rows, graphs = rows_of(action.inputs, label, x, there), matrices_of(action.inputs, label, x, there)
        matrices = jnp.concatenate([scaled(graph) for graph in graphs])
        count = matrices.shape[-1]
        tolerance = EQUAL * rounding(matrices.dtype) if self.tolerance is None else self.tolerance
        edges = _ties.ranks(matrices.reshape(len(matrices), count * count).T, tolerance).T.reshape(matrices.shape)
        ranked = [_ties.ranks(scaled(array).T, tolerance).T for array in rows]
        if self.tolerance is None:  # numbers equal up to a frame's error are distinguished by other numbers first
            ranked = [
                _ties.ranks(scaled(array).T, standard_tolerance(None, sample.dtype(term.name))).T
                for term, array in zip(with_one(action.inputs, label), rows, strict=True)
                if turned_by_frames(action, label, term)
            ] + ranked
        absent = jnp.zeros(count, jnp.int32) if there is None else jnp.cumsum(~there, dtype=jnp.int32) * ~there
        nodes = jnp.concatenate([absent[None], *(rank.astype(jnp.int32) for rank in ranked)])
        axes = max(2, action.output_order(label))
        order, tuples, log_size, complete = _searched(nodes, edges, axes, self.max_steps)
        return Ordered(
            One(order, log_size),
            ties=count - jnp.sum(orbits(tuples, 1) == jnp.arange(count)),
            finite=all_finite([*rows, *graphs]) & complete,
            interchangeable=tuples,
        )


def _searched(nodes: Array, edges: Array, axes: int, most: int) -> tuple[Array, Array, Array, Array]:
    """Compute order, orbits of tuples of nodes, log of the number of automorphisms, and completeness, on the host."""
    count = nodes.shape[-1]

    def of_one(nodes: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray | float, ...]:
        both = np.concatenate([edges, np.swapaxes(edges, 1, 2)]).reshape(2 * len(edges), count * count)
        pairs = _numbered(both).reshape(count, count)
        form = canonical_form(_numbered(nodes), 2 * pairs + np.eye(count, dtype=int), most)
        return form.order, form.orbits(axes), math.log(form.size), form.complete

    def of_batch(nodes: Array, edges: Array) -> tuple[np.ndarray, ...]:
        nodes, edges = np.asarray(nodes), np.asarray(edges)
        batch = nodes.shape[:-2]
        arrays = tuple(np.empty((*batch, *one.shape), one.dtype) for one in result)
        for at in np.ndindex(*batch):
            for array, found in zip(arrays, of_one(nodes[at], edges[at]), strict=True):
                array[at] = found
        return arrays

    shapes, dtypes = ((count,), (count,) * axes, (), ()), (jnp.int32, jnp.int32, jnp.float32, jnp.bool_)
    result = tuple(map(jax.ShapeDtypeStruct, shapes, dtypes))
    found: tuple[Array, Array, Array, Array] = jax.pure_callback(
        of_batch, result, nodes, edges, vmap_method="broadcast_all"
    )
    return found


def _numbered(columns: np.ndarray) -> np.ndarray:
    """Number columns `[keys, count]` in lexicographic order, with equal numbers for equal columns, `[count]`."""
    return np.unique(columns, axis=1, return_inverse=True)[1].reshape(-1)
