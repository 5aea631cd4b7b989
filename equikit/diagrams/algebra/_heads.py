r"""Inner products of diagrams with Levi-Civita tensors.

A composition with one head keeps it, with the sign of the new order of its legs; it is zero if two of its legs are
joined or summed over. Two heads on one label become pairs,
\(\varepsilon_{a_1 \dots a_n} \varepsilon_{b_1 \dots b_n} = \det(\eta) \sum_\sigma \mathrm{sgn}(\sigma)
\prod_i \eta_{a_i b_{\sigma(i)}}\), a combination of diagrams.

A diagram with a head on a label changes its sign under an odd permutation, or a reflection, of that label; a diagram
without a head does not, so their inner product is zero. For two heads, \(\varepsilon \cdot \varepsilon = n!\) if the
blocks join every leg of one head to a leg of the other, up to the sign of the permutation, and zero if two legs of one
head are joined.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from equikit.diagrams._dense import leg_order
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.counting._growth import join
from equikit.signatures import base


def parity(permutation: Sequence[int]) -> int:
    """Return the sign of a permutation, given as a list of the numbers from 0 on."""
    inversions = sum(a > b for j, b in enumerate(permutation) for a in permutation[:j])
    return -1 if inversions % 2 else 1


def head_product(first: Diagram, second: Diagram) -> tuple[int, tuple[tuple[str, int], ...]]:
    r"""Return the factor of \(\mathrm{tr}(D^T E)\), and for each label the power of its size.

    Metrics do not matter: in an inner product every sign of a metric occurs twice.
    """
    if [head[:2] for head in first.heads] != [head[:2] for head in second.heads]:
        return 0, ()
    block = join(first.growth, second.growth)
    root = {
        (i, own): joined for i, d in enumerate((first, second)) for own, joined in zip(d.growth, block, strict=True)
    }
    taken: set[int] = set()
    factor = 1
    for label, legs, _ in first.heads:
        ends = [[root[i, own] for part in leg_order(d, label) for own in part] for i, d in enumerate((first, second))]
        if any(len(set(own)) < len(own) for own in ends) or set(ends[0]) != set(ends[1]):
            return 0, ()
        factor *= math.factorial(legs) * parity([ends[1].index(end) for end in ends[0]])
        taken.update(ends[0])
    return factor, tuple(sorted(Counter(base(first.labels[b]) for b in set(block) - taken).items()))
