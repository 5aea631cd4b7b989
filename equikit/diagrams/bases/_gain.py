"""Exact norms of diagrams, which set the scale of initial weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from fractions import Fraction

import numpy as np

from equikit import _checks
from equikit._checks import refuse_if_more
from equikit.diagrams._half import HalfDiagram
from equikit.diagrams._sequence import Diagrams
from equikit.diagrams.counting._growth import FEWER
from equikit.diagrams.counting._rules import axes_of

MOST_SCALED = 2_500_000
"""The most diagrams for which exact norms are listed."""


def _top_gain(half: HalfDiagram, sizes: Mapping[str, int]) -> Fraction:
    gain = Fraction(1)
    labels = half.block_labels
    for block in (*half.closed, *half.propagating):
        if not any(head.wired and head.label == labels[block] for head in half.heads):
            gain *= sizes[labels[block]]
    for label in half.labels:
        gain /= sizes[label]
    return gain


def _bottom_gain(half: HalfDiagram, sizes: Mapping[str, int], mean: bool) -> Fraction:
    gain, labels = Fraction(1), half.block_labels
    for block in half.closed:
        gain *= Fraction(1, sizes[labels[block]]) if mean else sizes[labels[block]]
    return gain


def mean_square_gains(
    diagrams: Diagrams, sizes: Mapping[str, int], *, mean: bool = False, equal: Collection[str] = ()
) -> list[Fraction]:
    r"""Return each diagram's mean square output entry for independent input entries of variance one.

    It is \(\lVert D \rVert_F^2 / n^l\): n to the power of the number of blocks minus the number of output axes. If sums
    are means, every block of input axes only divides it by \(n^2\).

    Along a label of `equal`, input entries are equal in place of independent, and it is the largest mean square of an
    output entry: \(n^2\) for every block of input axes only, and 1 for means.

    Args:
        diagrams: the diagrams of a pair of terms.
        sizes: the size of every label, one or more.
        mean: whether sums over the input are divided by their number of terms.
        equal: labels of S along which the input entries are equal.

    Returns:
        Exact fractions, in the order of the diagrams.

    Raises:
        TooLargeError: if there are too many diagrams.

    Cost: linear in the number of diagrams.

    Example:
        >>> mean_square_gains(Diagrams(("p",), ("p",)), {"p": 5}, mean=True)
        [Fraction(1, 1), Fraction(1, 5)]
    """
    _checks.flag("mean", mean)
    _checks.instance("sizes", sizes, Mapping, '{"p": 5}')  # type: ignore[type-abstract]
    what = "there are too many diagrams to scale initial weights"
    refuse_if_more(what, diagrams.count_all, MOST_SCALED, "diagrams", FEWER)
    gains: list[Fraction] = []
    norms = _norms(diagrams)
    above = {label: 1 if label in equal else size for label, size in sizes.items()}
    below_of = {label: (1 if mean else size**2) if label in equal else size for label, size in sizes.items()}
    for core in diagrams.cores:
        tops = [_top_gain(half, above) for half in core.tops]
        for b, (bottom, allowed) in enumerate(zip(core.bottoms, core.allowed, strict=True)):
            below = _bottom_gain(bottom, below_of, mean)
            for head in bottom.heads:  # a Levi-Civita tensor has n! nonzero entries
                below *= 1 if head.stars else math.factorial(sizes[head.label])
            for t in allowed:
                present = [w for w in range(len(core.wires)) if (b, t, w) not in core.holes]
                gains += [tops[t] * below * norm for _ in present for norm in norms]
    return gains


def _norms(diagrams: Diagrams) -> list[Fraction]:
    """Return the squared norm of each choice of invariant tensors, for groups without diagrams."""
    norms = []
    for element in diagrams.elements:
        norm = Fraction(1)
        for label, group, number in element:
            tensor = group.invariants(axes_of(label, diagrams.top, diagrams.bottom))[number]
            norm *= Fraction(np.vdot(tensor, tensor).real.item())
        norms.append(norm)
    return norms
