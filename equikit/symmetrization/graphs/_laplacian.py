"""Frames of permutations for graphs: nodes ordered by their coordinates in the spectrum of the Laplacian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from equikit import _checks
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine._info import standard_tolerance
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.graphs._leaves import Leaves
from equikit.symmetrization.graphs._refinement import edge_colors, refined, twins
from equikit.symmetrization.graphs._spectrum import spectral_keys
from equikit.symmetrization.permutations import _ties
from equikit.symmetrization.permutations._numbers import (
    all_finite,
    matrices_of,
    present_first,
    rows_of,
    scaled,
    turned_by_frames,
    with_one,
)
from equikit.symmetrization.permutations._ordering import Exchanges, Ordered, Ordering, ties_in

Edges = Literal["sum", "each"]
"""Whether the channels of a matrix are added before its spectrum is computed, or each has its own spectrum."""


@dataclass(frozen=True)
class Laplacian(Ordering):
    r"""The nodes of a graph sorted by the spectrum of its Laplacian, for S(n).

    The input has a term with the label twice: a weighted adjacency matrix W, with \(L = \mathrm{diag}(W 1) - W\), made
    symmetric for this purpose only. The key of node i is \((P_\lambda)_{ii}\) for every eigenvalue \(\lambda\), with
    \(P_\lambda\) the projector on the eigenspace: it does not depend on a basis. Eigenvalues closer than the tolerance
    share a projector, so that repeated ones, as those of a graph in several parts, are no exception. (The paper takes
    the root of the key; the order is the same, and rounding errors are smaller without.) Numbers that nodes have
    themselves, from terms with the label once and from diagonals, are compared first.

    Nodes with equal keys cannot be exchanged in general, and the frame has every order in which keys ascend. With
    `refine` ties are broken further without any loss of symmetry: by what nodes see along their edges, until nothing
    changes, and then by setting one node of the first tie before the others, which may be each of them. For all 853
    connected graphs with seven nodes the frame is then as small as the group of automorphisms, with a median of 2
    elements. Nodes that can be exchanged without any change to the input, such as the leaves of a star, are not
    exchanged: outputs and derivatives are averaged over such exchanges without listing them. At most 14 elements remain
    for these graphs, one for most.

    Args:
        label: the axis of the nodes; where it is not given, the only one bound to S.
        tolerance: eigenvalues, keys, weights and numbers of nodes within this of each other are equal, relative to the
            largest (keys: to one); by default the root of the rounding error. It grows for keys whose eigenvalue is
            close to the next.
        max_size: how many orders are listed. The backbone is evaluated as often, for every input.
        on_degenerate: what to do where there are more: `"error"`, `"flag"`, or `"sample"`, which draws as many at
            random, with a standard error.
        refine: whether ties are broken further; without, the frame is that of the paper.
        edges: whether the channels of a matrix are added up to one Laplacian, or `"each"` has its own. Refinement sees
            all channels, and both directions, either way.
        terms: names of the input terms that are compared; all that have the label once or twice by default.

    Raises:
        GroupError: if the label has another group.
        OptionError: if no term has the label twice.
        FrameError: for an input with more orders than are listed.

    Cost: an eigendecomposition, \(O(n^3)\), and for each order listed a refinement, \(O(n^2)\) a round. On a CPU whose
    cores are busy, the threads of LAPACK wait for each other; the environment variable `OPENBLAS_NUM_THREADS=1` helps.
    `info` has the smallest gap between eigenvalues, `more["margin"]` as `Sort`, and `size`: without refinement the
    number of orders, with it an estimate by one path through the tree, exact where all are alike.

    Example:
        >>> import equikit as ek
        >>> path = jnp.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
        >>> sym = ek.symmetrize(
        ...     lambda a: a[..., 0] ** 2, "p p -> p", p=ek.S, channels=False, how=ek.frames.Laplacian(max_size=2))
        >>> relabeled = sym(path[jnp.array([1, 0, 2])][:, jnp.array([1, 0, 2])])
        >>> bool(jnp.allclose(relabeled, sym(path)[jnp.array([1, 0, 2])]))
        True

    Source:
        Puny et al., Frame averaging, arXiv:2110.03336, section 3.2; McKay, Practical graph isomorphism (1981), for the
        search tree.
    """

    max_size: int = 16
    refine: bool = True
    edges: Edges = "sum"
    terms: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.choice("edges", self.edges, ("sum", "each"))

    def compared(self, action: Action, label: str) -> tuple[str, ...]:
        """Return the terms that have the label once or twice."""
        terms = action.named(self.terms)
        graphs = [term for term in terms if term.labels.count(label) == 2]
        action.refuse_without(graphs, f"{label!r} twice", "use ek.frames.Sort for sets, or name other terms=")
        return tuple(term.name for term in terms if term.labels.count(label) in (1, 2))

    def ordered(self, action: Action, label: str, sample: Sample) -> Ordered:
        """Return nodes in the order of their keys; absent nodes come last."""
        x, masks = sample.x, sample.masks
        names, there = self.compared(action, label), masks.get(label)
        terms = [term for term in action.inputs if term.name in names]
        rows, graphs = rows_of(terms, label, x, there), matrices_of(terms, label, x, there)
        finite = all_finite([*rows, *graphs])
        graphs = [scaled(graph) for graph in graphs]
        loops = [jnp.diagonal(graph, axis1=1, axis2=2) for graph in graphs]
        numbers = jnp.concatenate([*map(scaled, rows), *loops])
        count, tolerance = numbers.shape[1], standard_tolerance(self.tolerance, numbers.dtype)
        if count == 0:  # a matrix without entries has no largest one
            nothing = jnp.full((), jnp.inf, numbers.dtype)
            return Ordered(
                Exchanges(_ties.together(0)), jnp.zeros((), int), finite, gap=nothing, more={"margin": nothing}
            )
        start = present_first(there, count)
        tolerances = []
        for term, array in zip(with_one(terms, label), rows, strict=True):
            of_frame = turned_by_frames(action, label, term)
            its_own = standard_tolerance(self.tolerance, sample.dtype(term.name)) if of_frame else tolerance
            tolerances.append(jnp.full(len(array), its_own, numbers.dtype))
        tolerances += [jnp.full(len(array), tolerance, numbers.dtype) for array in loops]
        found = _ties.split_by(start, _ties.Keys(numbers, jnp.concatenate(tolerances)))
        blocks, margin = found.of_entries(), found.margin
        colors = edge_colors(jnp.concatenate(graphs), tolerance) if self.refine else None
        if colors is not None:  # what needs no eigenvectors has no rounding errors
            blocks = refined(blocks, colors)
        weights = jnp.concatenate([graph if self.edges == "each" else graph.sum(0, keepdims=True) for graph in graphs])
        keys, tolerances, gap, steps = spectral_keys((weights + jnp.swapaxes(weights, 1, 2)) / 2, tolerance)
        margin = jnp.where(ties_in(blocks) > 0, jnp.minimum(margin, steps), margin)
        found = _ties.split_by(blocks, _ties.Keys(keys, tolerances))
        blocks, more = found.of_entries(), {"margin": jnp.minimum(margin, found.margin)}
        if colors is None:
            return Ordered(Exchanges(blocks), ties_in(blocks), finite, gap=gap, more=more)
        blocks = refined(blocks, colors)
        same = _exchanged(action, label, x, there)
        return Ordered(Leaves(blocks, colors, same), ties_in(blocks), finite, interchangeable=same, gap=gap, more=more)


def _exchanged(action: Action, label: str, x: Mapping[str, Array], there: Array | None) -> Array:
    """Return for every node the first that it can be exchanged with; itself if an input has three node axes."""
    terms = [term for term in action.inputs if label in term.labels]
    if any(term.labels.count(label) > 2 for term in terms):
        return jnp.arange(matrices_of(terms, label, x, there)[0].shape[-1], dtype=jnp.int32)
    matrices = jnp.concatenate(matrices_of(terms, label, x, there))
    present = present_first(there, matrices.shape[-1])[None]
    rows = [array.astype(matrices.dtype) for array in (present, *rows_of(terms, label, x, there))]
    return twins(jnp.concatenate(rows), matrices)
