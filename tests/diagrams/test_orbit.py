"""The orbit basis, the change of basis, and the refinement order."""

import itertools

import numpy as np
import pytest
from exact import arrow, set_partitions, splits

from equikit import Diagram, DiagramError, Fixed, S, hom
from equikit.diagrams import moebius_matrix, refines, zeta_matrix

SPACES = {
    **{f"{k}to{l}": (arrow(k, l), {"p": S}) for k, l in splits(4, 1)},
    **{f"{k}to{l}n{n}": (arrow(k, l), {"p": S(n)}) for k, l in [(1, 1), (2, 1), (2, 2), (3, 2)] for n in range(4)},
    "5to0": (arrow(5, 0), {"p": S}),
    "two": ("p q p -> q p", {"p": S, "q": S}),
    "two-bound": ("p q p -> q p q", {"p": S(2), "q": S(2)}),
    "one-bound": ("p q p q -> p", {"p": S(2), "q": S}),
    "fixed": ("p i p -> p", {"p": S, "i": Fixed(2)}),
    "scalar": ("->", {}),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES)
def space(request):
    text, groups = request.param
    return hom(text, groups=groups)


def test_zeta_and_moebius_are_inverse(space):
    zeta, moebius = space.change_of_basis("diagram", "orbit"), space.change_of_basis("orbit", "diagram")
    one = np.eye(len(space.diagrams), dtype=np.int64)
    assert zeta.dtype == moebius.dtype == np.int64
    assert np.array_equal(zeta @ moebius, one)
    assert np.array_equal(moebius @ zeta, one)
    assert np.array_equal(space.change_of_basis("orbit", "orbit"), one)
    assert np.array_equal(space.change_of_basis("diagram", "diagram"), one)
    assert np.array_equal(zeta, zeta_matrix(tuple(space.diagrams)))
    assert np.array_equal(moebius, moebius_matrix(tuple(space.diagrams)))


def test_the_change_of_basis_writes_one_basis_in_the_other(space):
    zeta, moebius = space.change_of_basis("diagram", "orbit"), space.change_of_basis("orbit", "diagram")
    free = [label for label, size in space.signature.sizes.items() if size is None]
    for n in range(5) if free else [None]:
        sizes = space.sizes(dict.fromkeys(free, n))
        height, width = (int(np.prod([sizes[x] for x in r])) for r in (space.diagrams.top, space.diagrams.bottom))
        diagram, orbit = np.zeros((2, len(space.diagrams), height, width), np.int64)
        for i, d in enumerate(space.diagrams):
            diagram[i], orbit[i] = d.matrix(sizes), d.matrix(sizes, basis="orbit")
        assert np.array_equal(np.einsum("ij,jab->iab", zeta, orbit), diagram)
        assert np.array_equal(np.einsum("ij,jab->iab", moebius, diagram), orbit)
        assert np.array_equal(orbit.sum(0), np.ones((height, width)))  # the orbits part the index pairs
        assert np.isin(orbit, [0, 1]).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 1), (2, 2), (1, 3)], ids=str)
def test_orbits_of_a_bound_space_are_the_orbits_of_the_group(k, l, n):
    matrices = hom(arrow(k, l), p=S(n)).matrices(basis="orbit")
    seen = {}
    for index in itertools.product(range(n), repeat=k + l):
        seen.setdefault(min(tuple(g[i] for i in index) for g in itertools.permutations(range(n))), []).append(index)
    supports = {frozenset(zip(*np.nonzero(m.reshape([n] * (k + l))), strict=True)) for m in matrices}
    assert {frozenset(tuple(map(int, i)) for i in s) for s in supports} == {frozenset(o) for o in seen.values()}
    assert len(supports) == len(matrices) == len(seen)


@pytest.mark.parametrize(("k", "l"), splits(4, 1), ids=str)
def test_refinement_is_the_order_of_set_partitions(k, l):
    diagrams = [Diagram(("p",) * l, ("p",) * k, growth) for growth in set_partitions(k + l)]
    for a, b in itertools.product(diagrams, repeat=2):
        assert refines(a, b) == all(any(set(x) <= set(y) for y in b.blocks) for x in a.blocks)


@pytest.mark.parametrize("other", ["p -> p p: 1 1' | 2", "p p -> q: 1 | 1' 2'", "p p p -> p: 1 | 1' 2' 3'"])
def test_refinement_needs_the_same_rows(other):
    with pytest.raises(DiagramError, match="different rows"):
        refines(Diagram.parse("p p -> p: 1 | 1' 2'"), Diagram.parse(other))


def test_the_moebius_function_by_hand():
    space = hom("p p p -> ()", p=S)
    place = {str(d).split(": ")[1]: i for i, d in enumerate(space.diagrams)}
    moebius = space.change_of_basis("orbit", "diagram")
    assert moebius[place["1' | 2' | 3'"], place["1' 2' 3'"]] == 2
    assert moebius[place["1' | 2' | 3'"], place["1' 2' | 3'"]] == -1
    assert moebius[place["1' 2' | 3'"], place["1' | 2' 3'"]] == 0
