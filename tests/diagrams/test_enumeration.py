"""Counts against independent counts, and every way to enumerate against the others."""

import functools
import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest
import sympy
from exact import arrow, power, row, set_partitions, splits
from sympy.functions.combinatorial.numbers import bell, stirling as sympy_stirling

from equikit import Diagram, Fixed, GroupError, S, TooLargeError, hom
from equikit.diagrams import Diagrams, count_partitions, count_walks, growth_array, mckay_quiver, stirling
from equikit.diagrams.counting._growth import iter_growth

SIZES = [None, *range(10)]


@functools.cache
def expected_count(m: int, n: int | None) -> int:
    return int(bell(m)) if n is None else sum(int(sympy_stirling(m, t, kind=2)) for t in range(min(m, n) + 1))


# Counts


@pytest.mark.parametrize("m", range(9))
def test_stirling_numbers(m):
    assert [stirling(m, t) for t in range(m + 2)] == [*(sympy_stirling(m, t) for t in range(m + 1)), 0]
    assert count_partitions(m) == bell(m) == len(set_partitions(m)) if m < 7 else bell(m)


@pytest.mark.parametrize("n", SIZES)
def test_dimensions_are_restricted_stirling_sums(n):
    for k, l in splits(8):
        space = power(k, l, S(n))
        expected = expected_count(k + l, n)
        assert space.dim == len(space.diagrams) == space.diagrams.count_all == expected, (k, l)
        assert len(space.diagrams.array()) == expected, (k, l)


@pytest.mark.parametrize("n", range(10))
def test_dimensions_are_walks_on_the_mckay_quiver(n):
    assert [count_walks(S(n), m) for m in range(9)] == [power(m, 0, S(n)).dim for m in range(9)]


@pytest.mark.parametrize("n", range(6))
def test_dimensions_by_burnside(n):
    fixed = Counter(sum(i == x for i, x in enumerate(g)) for g in itertools.permutations(range(n)))
    for k, l in splits(8):
        total = sum(count * points ** (k + l) for points, count in fixed.items())
        assert power(k, l, S(n)).dim * math.factorial(n) == total


def test_dimensions_of_colored_spaces_by_burnside():
    generator = np.random.default_rng(0)
    for _ in range(20):
        rows = [generator.choice(["p", "q", "i"], generator.integers(0, 4)).tolist() for _ in range(2)]
        bindings = {"p": S(int(generator.integers(0, 4))), "q": S(3), "i": Fixed(int(generator.integers(0, 3)))}
        used = {label: bindings[label] for label in {*rows[0], *rows[1]}}
        space = hom(f"{' '.join(rows[0])} -> {' '.join(rows[1])}", groups=used)
        total, order = 0, 1
        for elements in itertools.product(
            *(itertools.permutations(range(g.n)) for g in used.values() if isinstance(g, S))
        ):
            points = {
                x: sum(i == y for i, y in enumerate(e))
                for x, e in zip([x for x, g in used.items() if isinstance(g, S)], elements, strict=True)
            } | {x: g.size for x, g in used.items() if isinstance(g, Fixed)}
            total += math.prod(points[label] for label in [*rows[0], *rows[1]])
        for group in used.values():
            order *= math.factorial(group.n) if isinstance(group, S) else 1
        assert space.dim * order == total


def test_a_sum_has_the_dimensions_of_its_pairs():
    space = hom("p p + q + () -> p + p q", p=S(2), q=S(3))
    assert [pair.dim for pair in space.pairs] == [4, 1, 1, 4, 2, 1]
    assert space.dim == len(space.diagrams) == len(list(space.diagrams)) == 13


# The McKay quiver against characters


def characters(n: int) -> dict[tuple[int, ...], dict[tuple[int, ...], int]]:
    """The characters of S_n by Frobenius' formula: irreducible, then cycle type."""
    shapes = [
        tuple(sorted(itertools.chain(*([part] * m for part, m in p.items())), reverse=True))
        for p in sympy.utilities.iterables.partitions(n)
    ]
    x = sympy.symbols(f"x:{max(n, 1)}")
    alternant = sympy.Poly(sympy.prod(a - b for a, b in itertools.combinations(x, 2)), *x)
    table = {shape: {} for shape in shapes}
    for cycles in shapes:
        power = functools.reduce(lambda f, c: f * sympy.Poly(sum(v**c for v in x), *x), cycles, alternant)
        for shape in shapes:
            padded = [*shape, *[0] * (len(x) - len(shape))]
            exponents = [part + len(x) - 1 - i for i, part in enumerate(padded)]
            table[shape][cycles] = int(
                power.coeff_monomial(sympy.prod(v**e for v, e in zip(x, exponents, strict=True)))
            )
    return table


@pytest.mark.parametrize("n", range(1, 6))
def test_the_quiver_is_that_of_the_characters(n):
    table = characters(n)
    classes = Counter()
    for g in itertools.permutations(range(n)):
        cycles, seen = [], set()
        for i in range(n):
            length = 0
            while i not in seen:
                seen.add(i)
                i, length = g[i], length + 1
            cycles += [length] if length else []
        classes[tuple(sorted(cycles, reverse=True))] += 1
    quiver = mckay_quiver(S(n))
    assert set(quiver.nodes) == set(table)
    for source, target in itertools.product(table, repeat=2):
        total = sum(m * table[source][c] * c.count(1) * table[target][c] for c, m in classes.items())
        assert quiver.get_edge_data(source, target, {"arrows": 0})["arrows"] * math.factorial(n) == total


def test_the_quiver_of_the_empty_set():
    quiver = mckay_quiver(S(0))
    assert (list(quiver.nodes), list(quiver.edges)) == ([()], [])
    assert [count_walks(S(0), m) for m in range(3)] == [1, 0, 0]


@pytest.mark.parametrize("group", [S, S(), Fixed(3), 3, None], ids=repr)
def test_the_quiver_needs_a_bound_group(group):
    with pytest.raises(GroupError, match="needs a bound group"):
        mckay_quiver(group)
    with pytest.raises(GroupError, match="needs a bound group"):
        count_walks(group, 3)


# All ways to enumerate agree


SPACES = {
    **{f"{k}to{l}": (arrow(k, l), {"p": S}) for k, l in splits(5, 1)},
    **{f"{k}to{l}n{n}": (arrow(k, l), {"p": S(n)}) for k, l in [(1, 1), (3, 2), (2, 4), (0, 5)] for n in range(5)},
    "3to3": (arrow(3, 3), {"p": S}),
    "3to4n3": (arrow(3, 4), {"p": S(3)}),
    "two": ("p q p -> q p", {"p": S, "q": S}),
    "two-sorted-otherwise": ("q p q -> p q p q", {"p": S, "q": S}),
    "two-bound": ("p q p -> q p q", {"p": S(2), "q": S(1)}),
    "one-bound": ("p q p q -> q p", {"p": S(2), "q": S}),
    "one-empty": ("p q -> p", {"p": S, "q": S(0)}),
    "three": ("a b c a -> c b a", {"a": S, "b": S(1), "c": S}),
    "fixed": ("p i p -> i p j", {"p": S, "i": Fixed(2), "j": Fixed(3)}),
    "only-fixed": ("i j -> i", {"i": Fixed(2), "j": Fixed(3)}),
    "disjoint": ("p p -> q q q", {"p": S, "q": S}),
    "scalar": ("() -> ()", {}),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES)
def space(request):
    text, groups = request.param
    return hom(text, groups=groups)


def test_enumerations_agree(space):
    diagrams = list(space.diagrams)
    assert len(diagrams) == len(set(diagrams)) == len(space.diagrams)
    assert diagrams == sorted(diagrams)
    joined = [
        Diagram.from_halves(core.tops[t], core.bottoms[b], wires)
        for core in space.diagrams.cores
        for b in range(len(core.bottoms))
        for t in core.allowed[b]
        for wires in core.wires
    ]
    assert joined == diagrams
    array = space.diagrams.array()
    assert array.dtype == np.int8
    assert array.shape == (len(diagrams), len(space.diagrams.top) + len(space.diagrams.bottom))
    assert [tuple(r) for r in array.tolist()] == [d.growth for d in diagrams]
    assert sum(core.count for core in space.diagrams.cores) == len(diagrams)


def test_enumeration_is_complete(space):
    diagrams = space.diagrams
    colors = (*diagrams.top, *diagrams.bottom)
    limits = tuple((label, group.n) for label, group in diagrams.groups)
    limit = dict(limits)
    expected = {
        growth
        for growth in set_partitions(len(colors), colors)
        if all(
            most is None or len({b for b, c in zip(growth, colors, strict=True) if c == label}) <= most
            for label, most in limit.items()
        )
    }
    assert {d.growth for d in diagrams} == expected
    found = growth_array(colors, limits)
    assert [tuple(r) for r in found.tolist()] == sorted(expected)
    for blocks in range(len(colors) + 2):
        one_by_one = list(iter_growth(colors, blocks, limits))
        assert one_by_one == sorted(growth for growth in expected if len(set(growth)) == blocks)


def test_halves_take_a_diagram_apart(space):
    for diagram in space.diagrams:
        top, bottom, wires = diagram.halves
        assert Diagram.from_halves(top, bottom, wires) == diagram
        assert top.core == bottom.core
        assert len(wires) == diagram.num_wires
        assert diagram.flip().flip() == diagram


@pytest.mark.parametrize("split", range(0, 9, 2))
def test_enumerations_agree_at_eight_vertices(split):
    for n in (None, 3):
        diagrams = hom(arrow(split, 8 - split), p=S(n)).diagrams
        assert [tuple(r) for r in diagrams.array().tolist()] == [d.growth for d in diagrams]


def test_numbers_of_wires_do_not_grow():
    for text in (arrow(3, 3), arrow(2, 4)):
        numbers = [d.num_wires for d in hom(text, p=S).diagrams]
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[0] == min(len(x.split()) for x in text.split("->"))


# Laziness and size


@pytest.mark.parametrize(
    ("k", "l", "n"),
    [
        (6, 6, None),
        (12, 0, None),
        (10, 10, None),
        (20, 0, None),
        (0, 20, 2),
        (10, 10, 3),
        (15, 15, None),
        (1, 30, None),
    ],
)
def test_the_first_diagrams_are_instant(k, l, n):
    start = time.process_time()
    diagrams = hom(arrow(k, l), p=S(n)).diagrams
    first = list(itertools.islice(diagrams, 100))
    assert diagrams[0] == first[0]
    assert diagrams[5:8] == tuple(first[5:8])
    assert first == sorted(set(first))
    assert "diagrams: p" in repr(diagrams) or "diagrams: ()" in repr(diagrams)
    assert time.process_time() - start < 2  # hundredths of a second; listing the wirings alone would be minutes


def test_more_diagrams_than_len_can_say():
    diagrams = hom(arrow(13, 13), p=S).diagrams
    assert diagrams.count_all == bell(26) > 2**63
    assert hom(arrow(13, 13), p=S).dim == bell(26)
    with pytest.raises(OverflowError):
        len(diagrams)
    assert diagrams[0] == Diagram.identity(row(13))
    assert Diagram.identity(row(13)) in diagrams


def test_all_partitions_of_eleven_vertices():
    array = hom(arrow(6, 5), p=S).diagrams.array()
    assert array.shape == (678_570, 11)
    assert array.dtype == np.int8
    codes = array @ 12.0 ** np.arange(11)  # below 2**53
    codes.sort()
    assert (np.diff(codes) > 0).all()
    before = np.maximum.accumulate(array, axis=1)[:, :-1]
    assert (array[:, 0] == 0).all()
    assert (array[:, 1:] <= before + 1).all()


@pytest.mark.slow
def test_all_partitions_of_twelve_vertices_in_the_order_of_iteration():
    diagrams = hom(arrow(8, 4), p=S).diagrams
    array = diagrams.array()
    assert len(array) == 4_213_597
    for i, diagram in enumerate(itertools.islice(diagrams, 50_000)):
        assert diagram.growth == tuple(array[i])


@pytest.mark.parametrize("k", [15, 20, 40])
def test_arrays_that_would_not_fit_are_refused(k):
    with pytest.raises(TooLargeError, match="too many rows"):
        hom(arrow(k, k), p=S).diagrams.array()
    with pytest.raises(TooLargeError, match="too many set partitions"):
        growth_array(["p"] * k)


def test_a_long_row_of_a_small_group_fits():
    assert hom(arrow(12, 12), p=S(1)).diagrams.array().tolist() == [[0] * 24]
    assert len(hom(arrow(7, 7), p=S(2)).diagrams.array()) == 2**13


def test_many_labels():
    names = [f"x{i}" for i in range(20)]
    diagrams = hom(f"{' '.join(names)} -> {' '.join(names[:3])}", groups=dict.fromkeys(names, S)).diagrams
    assert len(diagrams) == 2**3
    assert [tuple(r) for r in diagrams.array().tolist()] == [d.growth for d in diagrams]
    assert growth_array(names).tolist() == [list(range(20))]


# A sequence


def test_diagrams_are_a_sequence(space):
    diagrams, listed = space.diagrams, list(space.diagrams)
    count = len(listed)
    for index in (0, 1, 2, count - 1, -1, -count):
        if -count <= index < count:
            assert diagrams[index] == listed[index]
    assert diagrams[np.int64(-1)] == listed[-1] if count else True
    assert list(reversed(diagrams)) == listed[::-1]
    if count > 25:
        return
    for start, stop, step in itertools.product([None, 0, 1, -2, 99], [None, 0, 3, -1, 99], [None, 1, 2, -1, -3]):
        part = slice(start, stop, step)
        assert diagrams[part] == tuple(listed[part])
    for index in (count, -count - 1, 10**30):
        with pytest.raises(IndexError):
            diagrams[index]
    for index in range(0, count, 7):
        assert diagrams.index(listed[index]) == index
        assert diagrams.count(listed[index]) == 1
        assert listed[index] in diagrams
    with pytest.raises(TypeError):
        diagrams["0"]
    with pytest.raises(ValueError, match="slice step"):
        diagrams[::0]
    assert isinstance(diagrams, Diagrams)
    assert hash(diagrams) == hash(space.diagrams)


def test_membership():
    diagrams = hom("p p -> p", p=S(2)).diagrams
    assert Diagram.parse("p p -> p: 1 1' | 2'") in diagrams
    for other in (Diagram.parse("p p -> p: 1 | 1' | 2'"), Diagram.parse("p -> p p: 1 1' | 2"), "p", None, 0):
        assert other not in diagrams
        with pytest.raises(ValueError, match="not among the diagrams"):
            diagrams.index(other)
    assert diagrams.index(diagrams[2], -2) == 2
    with pytest.raises(ValueError, match="not among the diagrams"):
        diagrams.index(diagrams[2], 0, 2)


def test_the_repr_of_a_sequence():
    assert repr(hom("p -> p", p=S).diagrams) == "<2 diagrams: p -> p: 1 1'; p -> p: 1 | 1'>"
    assert repr(hom("p p -> p", p=S).diagrams).endswith("...>")
    assert repr(hom("p -> p", p=S(0)).diagrams) == "<0 diagrams: >"


def test_lists_that_no_machine_word_counts():
    diagrams = hom(arrow(20, 20), p=S).diagrams
    assert diagrams
    assert diagrams.count_all > 2**63
    assert diagrams.index(diagrams[1]) == 1
    for place in (-1, 2**70):
        with pytest.raises(TooLargeError, match="too far down the list"):
            diagrams[place]


def test_long_rows_are_counted_but_not_listed():
    space = hom(arrow(600, 1), p=S(2))
    assert space.dim == 2**600
    assert "about 10^181" in repr(space)
    for ask in (lambda: space.diagrams[0], lambda: next(iter(space.diagrams)), space.diagrams.array):
        with pytest.raises(TooLargeError, match="too many vertices to be listed"):
            ask()
    assert repr(hom("f " * 500 + "-> ()", f=Fixed(10**9))).endswith("dimension about 10^4500>")
