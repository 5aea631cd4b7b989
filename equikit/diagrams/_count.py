"""Dimensions without enumeration: Stirling sums, and walks on the McKay quiver of the permutation representation."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from equikit._errors import GroupError, explain
from equikit.diagrams._growth import Limits
from equikit.groups import S
from equikit.groups._group import checked_size

if TYPE_CHECKING:
    import networkx


@functools.cache
def stirling_row(m: int) -> tuple[int, ...]:
    """The Stirling numbers of the second kind of m points, for 0 to m blocks."""
    row = [1]
    for _ in range(m):
        row = [0, *(i * a + b for i, (a, b) in enumerate(zip([*row[1:], 0], row, strict=True), 1))]
    return tuple(row)


def stirling(m: int, t: int) -> int:
    """The Stirling number of the second kind: set partitions of m points into exactly t blocks.

    Example:
        >>> [stirling(4, t) for t in range(5)]
        [0, 1, 7, 6, 1]
    """
    return stirling_row(m)[t] if 0 <= t <= m else 0


def count_text(count: int) -> str:
    """A count with commas; the order of magnitude where it has more than 100 digits.

    Example:
        >>> count_text(4213597), count_text(10**5000)
        ('4,213,597', 'about 10^5000')
    """
    return f"{count:,}" if count < 10**100 else f"about 10^{round(math.log10(count))}"


def count_partitions(m: int, most: int | None = None) -> int:
    """Set partitions of m points into at most `most` blocks: the Bell number where there is no limit.

    Example:
        >>> count_partitions(4), count_partitions(4, 2)
        (15, 8)
    """
    return sum(stirling_row(m)[: None if most is None else most + 1])


def count_coloured(labels: tuple[str, ...], limits: Limits) -> int:
    """Coloured set partitions: the product over labels, since blocks do not mix them."""
    limit = dict(limits)
    return math.prod(count_partitions(m, limit.get(label)) for label, m in Counter(labels).items())


def _integer_partitions(n: int, largest: int) -> Iterator[tuple[int, ...]]:
    if n == 0:
        yield ()
    for first in range(min(n, largest), 0, -1):
        for rest in _integer_partitions(n - first, first):
            yield (first, *rest)


def _bound_size(group: S) -> int:
    """The n of a bound symmetric group, or `GroupError`."""
    if not isinstance(group, S) or group.n is None:
        raise GroupError(
            explain(
                "the McKay quiver needs a bound symmetric group",
                got=getattr(group, "__name__", repr(group)),
                expected="a symmetric group with a size",
                step="write for example S(5)",
            )
        )
    return group.n


def mckay_quiver(group: S) -> networkx.DiGraph:
    r"""The McKay quiver of the permutation representation \(M\) of \(S_n\), as a NetworkX graph.

    Vertices are the irreducible representations, integer partitions of n; the attribute `arrows` of an edge from λ to μ
    is the multiplicity of μ in \(\lambda \otimes M\). Since \(\lambda \otimes M\) is λ restricted to
    \(S_{n-1}\) and induced back, it counts the ways to move one box of the Young diagram of λ to get μ.

    Args:
        group: a bound symmetric group.

    Returns:
        A directed graph with integer edge attribute `arrows`.

    Raises:
        GroupError: if the group is free.

    Cost: proportional to the number of integer partitions of n, times n.

    Example:
        >>> quiver = mckay_quiver(S(3))
        >>> quiver.edges[(2, 1), (2, 1)]["arrows"]
        2

    Source:
        Pearce-Crump, "Connecting Permutation Equivariant Neural Networks and Partition Diagrams", on the McKay quiver.
    """
    import networkx

    n = _bound_size(group)
    quiver = networkx.DiGraph()
    for shape in _integer_partitions(n, n):
        quiver.add_node(shape)
        for row in range(len(shape)):
            if row + 1 < len(shape) and shape[row] == shape[row + 1]:
                continue  # only a corner box can be removed
            smaller = (*shape[:row], shape[row] - 1, *shape[row + 1 :])
            for target in range(len(shape) + 1):
                padded = [*smaller, 0]
                padded[target] += 1
                if target and padded[target] > padded[target - 1]:
                    continue  # rows must not grow past the one above
                image = tuple(length for length in padded if length)
                if quiver.has_edge(shape, image):
                    quiver.edges[shape, image]["arrows"] += 1
                else:
                    quiver.add_edge(shape, image, arrows=1)
    return quiver


def count_walks(group: S, length: int) -> int:
    r"""The dimension of \((M^{\otimes \text{length}})^{S_n}\), counted as walks on the McKay quiver.

    The walks go from the trivial representation to itself.

    Independent of the diagrams: it agrees with `count_partitions(length, n)`, and the tests say so.

    Args:
        group: a bound symmetric group.
        length: the number of steps, k + l.

    Example:
        >>> count_walks(S(3), 4)
        14
    """
    quiver = mckay_quiver(group)
    trivial: tuple[int, ...] = (group.n,) if group.n else ()
    walks = Counter({trivial: 1})
    for _ in range(checked_size("the length of the walks", length)):
        longer: Counter[tuple[int, ...]] = Counter()
        for shape, count in walks.items():
            for _, image, arrows in quiver.out_edges(shape, data="arrows"):
                longer[image] += count * arrows
        walks = longer
    return walks[trivial]
