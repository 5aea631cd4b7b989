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
"""Whether the channels of a matrix are added before its spectrum is computed, or each channel has a spectrum."""


@dataclass(frozen=True)
class Laplacian(Ordering):
    r"""The nodes of a graph sorted by the spectrum of its Laplacian, for S(n).

    The input has a term with the label twice: a weighted adjacency matrix W, with \(L = \mathrm{diag}(W 1) - W\),
    symmetrized only for this purpose. The key of node i is \((P_\lambda)_{ii}\) for every eigenvalue \(\lambda\), with
    \(P_\lambda\) the projector onto the eigenspace, which does not depend on a basis. Eigenvalues closer than the
    tolerance share a projector, so that repeated eigenvalues, as for disconnected graphs, need no special case. (The
    paper takes the root of the key; the order is the same, and rounding errors are smaller without.) Numbers of the
    nodes themselves, from terms with the label once and from diagonals, are compared first.

    Nodes with equal keys cannot be exchanged in general, and the frame has every order with ascending keys. With
    `refine`, ties are broken further without loss of symmetry: by color refinement along edges, until nothing changes,
    and then by individualization, which places one node of the first tie before the others, in all possible ways. For
    the 853 connected graphs with seven nodes, the frame is then as small as the automorphism group, with a median of 2
    elements. Nodes that can be exchanged without changing the input, such as the leaves of a star, are not exchanged:
    outputs and derivatives are averaged over these exchanges without listing them. For these graphs at most 14 elements
    remain, and for most only one.

    Args:
        label: the axis of the nodes; by default, the only one bound to S.
        tolerance: eigenvalues, keys, weights and numbers of nodes that differ by less than this are equal, relative to
            the largest (keys: to one); by default the root of the rounding unit. It is larger for keys whose eigenvalue
            is close to the next.
        max_size: the largest number of listed orders. The backbone is evaluated once for each, for every input.
        on_degenerate: what to do if there are more: `"error"`, `"flag"`, or `"sample"`, which samples this number of
            orders, with a standard error.
        refine: whether ties are broken further; if not, the frame is the same as in the paper.
        edges: `"sum"` adds the channels of a matrix for one Laplacian, `"each"` computes one for each channel.
            Refinement always uses all channels and both directions.
        terms: names of the input terms that are compared; by default, all that have the label once or twice.

    Raises:
        GroupError: if the label has another group.
        OptionError: if no term has the label twice.
        FrameError: for an input with more than `max_size` orders.

    Cost: an eigendecomposition, \(O(n^3)\), and for each listed order a refinement, \(O(n^2)\) per round. On a CPU with
    busy cores, LAPACK threads wait for each other; the environment variable `OPENBLAS_NUM_THREADS=1` helps. `info` has
    the smallest gap between eigenvalues, `more["margin"]` as in `Sort`, and `size`: without refinement the number of
    orders, otherwise an estimate from one path through the tree, exact if all paths are alike.

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
        if count == 0:  # an empty matrix has no largest entry
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
        if colors is not None:  # refinement without eigenvectors has no rounding errors
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
    """Return for every node the first node exchangeable with it; itself if an input has three node axes."""
    terms = [term for term in action.inputs if label in term.labels]
    if any(term.labels.count(label) > 2 for term in terms):
        return jnp.arange(matrices_of(terms, label, x, there)[0].shape[-1], dtype=jnp.int32)
    matrices = jnp.concatenate(matrices_of(terms, label, x, there))
    present = present_first(there, matrices.shape[-1])[None]
    rows = [array.astype(matrices.dtype) for array in (present, *rows_of(terms, label, x, there))]
    return twins(jnp.concatenate(rows), matrices)
