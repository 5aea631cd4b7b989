r"""Dimensions without diagrams: walks on the graph of irreducible representations.

An arrow from λ to μ says that μ is in \(\lambda \otimes V\), V being the representation on an axis. The dimension of
\((V^{\otimes m})^G\) is the number of walks of m arrows from the trivial representation to itself. The arrows are those
of `Group.branching`; nothing here uses diagrams.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from equikit._checks import count as checked_count
from equikit._errors import GroupError, TooLargeError
from equikit.groups import Branching, Group

if TYPE_CHECKING:
    import networkx

MOST_VISITS = 2_500_000
"""The most visits of representations, weighted by the rows of their diagrams, for which walks are followed."""

MOST_BOXES = 1000
"""The most boxes of a Young diagram for which representations are counted."""


def successors(group: Group, vertex: Any, *, dual: bool = False) -> Iterator[Any]:
    r"""Yield the constituents of \(\lambda \otimes V\), or of \(\lambda \otimes V^*\), repeated by multiplicity.

    The representations are from `Group.branching`.
    """
    if bound_size(group):  # else V is zero
        yield from known_branching(group).successors(vertex, dual)


def known_branching(group: Group) -> Branching:
    """The representations of a bound group, or `GroupError`."""
    bound_size(group)
    branching = group.branching
    if branching is None:
        raise GroupError(
            f"the representations of {group} are not known here",
            got=group,
            expected="S, A, H, O, SO, Sp, U, GL or Bistochastic",
            step="count its diagrams or take the rank of its matrices",
        )
    return branching


def trivial(group: Group) -> Any:
    """The trivial representation."""
    return known_branching(group).trivial


def _ends(group: Group, steps: int) -> set[Any]:
    """Return the representations with an invariant vector that this many steps can reach from the trivial one.

    That is the trivial representation; for SO also the determinant, n steps away, and for A the sign, n - 1 steps away.
    For maps that are multiplied by a determinant it is the determinant alone.
    """
    branching = known_branching(group)
    near = branching.larger is not None and bound_size(group) <= steps + 1
    return {*([] if group.needs_head else [branching.trivial]), *([branching.determinant] if near else [])}


def bound_size(group: object) -> int:
    """Return the n of a bound group, or raise `GroupError`."""
    if not isinstance(group, Group) or group.n is None:
        raise GroupError(
            "the McKay quiver needs a bound group",
            got=getattr(group, "__name__", repr(group)),
            expected="a group with a size",
            step="write for example S(5)",
        )
    return group.n


def mckay_quiver(group: Group, steps: int | None = None) -> networkx.DiGraph:
    r"""Return the McKay quiver of the representation V on an axis, as a NetworkX graph.

    Vertices are irreducible representations, integer partitions (pairs of them for H); the attribute `arrows` of an
    edge from λ to μ is the multiplicity of μ in \(\lambda \otimes V\). For \(S_n\) it counts the ways to move one box
    of the Young diagram of λ to get μ. For a continuous group the quiver is infinite and is truncated at distance
    `steps` from the trivial representation: a folded Bratteli diagram of the Brauer algebras. The last vertices have no
    outgoing arrows, so walks there and back have at most twice `steps` arrows, half of them out.

    Args:
        group: a bound group.
        steps: the largest distance from the trivial representation; by default the whole quiver of a finite group.

    Returns:
        A directed graph with integer edge attribute `arrows`.

    Raises:
        GroupError: if the group is free, or its representations are not known (A, SO).
        OptionError: if `steps` is not an integer.
        TooLargeError: if there are too many vertices.

    Cost: proportional to the number of vertices, times n.

    Example:
        >>> from equikit.groups import S
        >>> quiver = mckay_quiver(S(3))
        >>> quiver.edges[(2, 1), (2, 1)]["arrows"]
        2

    Source:
        Pearce-Crump, "Connecting Permutation Equivariant Neural Networks and Partition Diagrams", on the McKay quiver.
    """
    import networkx

    n = bound_size(group)
    steps = None if steps is None else checked_count("steps", steps, example=6)
    larger = known_branching(group).larger
    if larger is not None:
        raise GroupError(
            f"the McKay quiver of {group} is not known here",
            got=group,
            expected=f"{larger}, on whose quiver its invariants are walks to the determinant or the sign too",
            step=f"pass {larger}; count_walks({group}, length) counts them",
        )
    if steps is None and not group.is_finite:
        raise GroupError(
            f"the McKay quiver of {group} is infinite",
            got="steps=None",
            expected="how many arrows to follow from the trivial representation",
            step="pass steps=6",
        )
    _refuse_if_many(group, steps)
    quiver = networkx.DiGraph()
    edge, depth = {trivial(group)}, 0
    quiver.add_nodes_from(edge)
    while edge and (steps is None or depth < steps):
        found = set()
        for vertex in sorted(edge):
            for image, arrows in sorted(Counter(successors(group, vertex)).items()):
                if image not in quiver:
                    found.add(image)
                quiver.add_edge(vertex, image, arrows=arrows)
        edge, depth = found, depth + 1
    assert n or len(quiver) == 1
    return quiver


def count_walks(group: Group, length: int, dual: int = 0) -> int:
    r"""Count walks on the McKay quiver: the dimension of a space of invariant tensors.

    This is \((V^{\otimes (\text{length} - \text{dual})} \otimes V^{* \otimes \text{dual}})^G\). The walks go from the
    trivial representation to itself (for SO also to the determinant, for A to the sign). The count does not use
    diagrams. Walks from both ends meet in the middle.

    Args:
        group: a bound group.
        length: the number of steps, k + l.
        dual: the number of steps taken with the dual, if the group has one.

    Raises:
        GroupError: if the group is free, if its representations are not known, or if it has no dual of its own.
        OptionError: if `length` or `dual` is not an integer, or `dual` is larger than `length`.
        TooLargeError: if the walks pass through too many representations.

    Cost: proportional to the number of representations that length / 2 steps reach, summed over the steps.

    Example:
        >>> from equikit.groups import O, S
        >>> count_walks(S(3), 4), count_walks(O(2), 6)
        (14, 10)
    """
    known_branching(group)
    length = checked_count("length", length, example=4)
    dual = checked_count("dual", dual, most=length, example=min(2, length))
    if dual and not group.has_dual:
        raise GroupError(
            f"{group} has no dual of its own",
            got=f"dual={dual}",
            expected="0: vectors and dual vectors are the same representation",
            step=f"write count_walks({group}, {length})",
        )
    if group.has_dual and 2 * dual != length:
        return 0  # a scalar matrix changes every tensor
    half = length // 2
    _refuse_if_many(group, length - half)
    out = _reached(group, {trivial(group)}, half, dual=group.has_dual)
    back = _reached(group, _ends(group, length), length - half, dual=group.has_dual)
    return sum(number * back[vertex] for vertex, number in out.items())


def _reached(group: Group, ends: set[Any], steps: int, *, dual: bool) -> Counter[Any]:
    """Return how many walks of some steps lead from one of the ends to each representation."""
    walks: Counter[Any] = Counter(dict.fromkeys(ends, 1))
    for _ in range(steps):
        longer: Counter[Any] = Counter()
        for vertex, number in walks.items():
            for image in successors(group, vertex, dual=dual):
                longer[image] += number
        walks = longer
    return walks


def _refuse_if_many(group: Group, steps: int | None) -> None:
    """Raise `TooLargeError` if walks pass through too many representations.

    Representations are counted as partitions with at most as many boxes as steps, and at most n rows; for the
    hyperoctahedral group as pairs of partitions. Each takes a time proportional to its rows.
    """
    n = bound_size(group)
    boxes = n if steps is None else min(steps, n) if group.is_finite else steps
    rows = min(n, boxes)
    work = MOST_VISITS + 1
    if boxes <= MOST_BOXES and (steps or 0) <= MOST_VISITS:
        partitions = [1] + [0] * boxes
        for part in range(1, rows + 1):
            for size in range(part, boxes + 1):
                partitions[size] += partitions[size - part]
        if known_branching(group).pairs:
            partitions = [sum(partitions[i] * partitions[s - i] for i in range(s + 1)) for s in range(boxes + 1)]
        upto = [*itertools.accumulate(partitions)]
        work = sum(upto[min(step, boxes)] for step in range((boxes if steps is None else steps) + 1))
        work *= n if group.has_dual else rows + 1
    if work > MOST_VISITS:
        raise TooLargeError(
            f"walks on the McKay quiver of {group} pass through too many representations",
            got=f"{'all' if steps is None else f'{steps:,}'} steps from the trivial one",
            expected=f"at most {MOST_VISITS:,} visits, each counted with its rows",
            step="use fewer steps; the dimensions of a free group, such as S or O, are known in closed form",
        )
