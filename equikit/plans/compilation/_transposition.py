r"""Transposes of diagrams in the transposed space, which convert weights of a plan to weights of `plan.T`.

The transpose of a diagram is the diagram upside down, with a sign if there is a Levi-Civita tensor. If diagrams are
dependent, at small n, the transpose need not be in the basis of its space (Bistochastic(2) has such maps of three axes
to three); it is then a combination of the diagrams there, exact by their inner products. All of this works label by
label, because a diagram is a product over labels, and so is the basis.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from equikit._checks import refuse_if_more
from equikit.diagrams import (
    FEWER,
    Diagram,
    Diagrams,
    Marked,
    axes_of,
    flip,
    forms_of,
    in_basis,
    inner_product,
    refuse_if_large,
    restricted,
    terms_of,
    whole_labels,
)
from equikit.groups import Group
from equikit.signatures import base

MOST_TRANSPOSED = 50_000
"""The most diagrams that are transposed in a few seconds."""

MOST_INVERTED = 800
"""The most diagrams whose Gram matrix is inverted: 750 take six seconds."""

Row = tuple[bool, ...]
"""For each axis of a row of one label, whether it has a star."""


@functools.lru_cache(maxsize=256)
def _inverse_gram(group: Group, top: tuple[str, ...], bottom: tuple[str, ...]) -> tuple[tuple[Diagram, ...], Any]:
    """Return the basis of the diagrams between two rows of one label, and the inverse of its Gram matrix."""
    import flint

    basis = tuple(Diagrams(top, bottom, (("x", group),)))
    what = "there are too many dependent diagrams to transpose"
    refuse_if_more(what, len(basis), MOST_INVERTED, "diagrams in the basis", FEWER)
    gram = flint.fmpz_mat([[_product(group, one, other) for other in basis] for one in basis])
    return basis, gram.inv()


def _product(group: Group, one: Diagram, other: Diagram) -> int:
    factor, powers = inner_product(one, other)
    assert group.n is not None
    value: int = factor * group.n ** sum(power for _, power in powers)
    return value


@functools.lru_cache(maxsize=2**16)
def _turned(group: Group, top: Row, bottom: Row, marked: Marked) -> tuple[tuple[Marked, Fraction], ...]:
    """Return the transpose of a diagram of one label, in the basis of the transposed space."""
    above, below = (tuple("x*" if star else "x" for star in row) for row in (top, bottom))
    growth, legs = marked
    forms = forms_of((("x", group),), above + below)
    diagram = Diagram(above, below, growth, forms, (("x", group.legs, legs),) if legs else ())
    ((turned, sign),) = [(term.diagram, term.coefficient) for term in terms_of(flip(diagram))]
    if group.has_dual:
        above, below = (tuple("x" if star else "x*" for star in row) for row in (bottom, top))
        turned = Diagram(above, below, turned.growth)
    if in_basis(turned, (("x", group),)):
        return ((restricted(turned, "x"), Fraction(sign)),)
    import flint

    basis, inverse = _inverse_gram(group, turned.top, turned.bottom)
    products = flint.fmpz_mat([[_product(group, one, turned)] for one in basis])
    solved = [Fraction(int(c.p), int(c.q)) for c in (inverse * products).entries()]
    return tuple((restricted(one, "x"), sign * c) for one, c in zip(basis, solved, strict=True) if c)


@dataclass(frozen=True, eq=False)
class Transposition:
    """The conversion of the weights of a pair of terms to weights of the transposed maps.

    Attributes:
        index, factor: `[terms, diagrams]`: the diagrams that make up each transposed diagram, and their factors, padded
            with zero factors.
        elements: for groups without diagrams `[elements, elements]`, from elements of the transposed maps to elements
            of the maps; otherwise `None`.
        closed: for each diagram the labels of the blocks that its input half sums over.
    """

    index: np.ndarray
    factor: np.ndarray
    elements: np.ndarray | None
    closed: tuple[tuple[str, ...], ...]


def _numbered(space: Diagrams) -> Iterator[tuple[Diagram, tuple[str, ...]]]:
    """Yield the diagrams of a space in order, without elements, and the labels of the blocks that each sums over."""
    forms = forms_of(space.groups, space.top + space.bottom)
    for core in space.cores:
        for b, (below, allowed) in enumerate(zip(core.bottoms, core.allowed, strict=True)):
            closed = tuple(base(below.block_labels[block]) for block in below.closed)
            for t, (w, wiring) in itertools.product(allowed, enumerate(core.wires)):
                if (b, t, w) not in core.holes:
                    yield Diagram.from_halves(core.tops[t], below, wiring, forms), closed


@functools.lru_cache(maxsize=256)
def transposition(maps: Diagrams, transposes: Diagrams) -> Transposition:
    """Return the conversion of weights of maps to weights of their transposes, given both spaces.

    Raises:
        TooLargeError: if there are too many diagrams.

    Cost: proportional to the number of diagrams, plus those whose transpose is not in the basis.
    """
    top, bottom, groups = maps.top, maps.bottom, maps.groups
    count = sum(core.count // core.copies for core in maps.cores)
    refuse_if_more("there are too many diagrams to transpose", count, MOST_TRANSPOSED, "diagrams", FEWER)
    whole = whole_labels(groups, top + bottom)
    joined = [
        (label, group)
        for label, group in groups
        if base(label) == label and group.blocks != "whole" and label in map(base, top + bottom)
    ]
    stars = {
        label: tuple(tuple(other != label for other in row if base(other) == label) for row in (top, bottom))
        for label, _ in joined
    }

    def key(diagram: Diagram) -> tuple[Marked, ...]:
        return tuple(restricted(diagram, label) for label, _ in joined)

    place = {key(diagram): i for i, (diagram, _) in enumerate(_numbered(transposes))}
    made: list[list[tuple[int, Fraction]]] = [[] for _ in place]
    closed = []
    for number, (diagram, summed) in enumerate(_numbered(maps)):
        closed.append(summed)
        turned = [
            _turned(group, *stars[label], marked) for (label, group), marked in zip(joined, key(diagram), strict=True)
        ]
        for choice in itertools.product(*turned):
            scalar = math.prod((c for _, c in choice), start=Fraction(1))
            made[place[tuple(marked for marked, _ in choice)]].append((number, scalar))
    most = max(map(len, made), default=0)
    filled = [terms + [(0, Fraction(0))] * (most - len(terms)) for terms in made]
    index = np.array([[number for number, _ in terms] for terms in filled], np.int64).reshape(len(made), most).T
    factor = np.array([[float(c) for _, c in terms] for terms in filled]).reshape(len(made), most).T
    elements = None
    for label, group in whole:
        before, after = (axes_of(label, space.top, space.bottom) for space in (maps, transposes))
        one = _turned_elements(group, before, after, sum(base(other) == label for other in top))
        elements = one if elements is None else np.kron(elements, one)
    return Transposition(index, factor, elements, tuple(closed))


def _turned_elements(group: Group, stars: Row, turned: Row, above: int) -> np.ndarray:
    """Expand the transposes of invariant tensors, with `above` axes in the top row, in the basis there."""
    tensors, basis = (
        np.asarray(found, np.result_type(found, np.float64))  # products of integers may overflow 64 bits
        for found in (group.invariants(stars), group.invariants(turned))
    )
    refuse_if_large(f"the transposes of the invariant tensors of {group}", len(tensors) * len(basis))
    axes = range(1, tensors.ndim)
    moved = tensors.transpose(0, *axes[above:], *axes[:above]).reshape(len(tensors), -1)
    flat = basis.reshape(len(basis), -1)
    gram, products = flat @ flat.conj().T, moved @ flat.conj().T
    solved: np.ndarray = np.linalg.solve(gram.T, products.T).T
    return solved
