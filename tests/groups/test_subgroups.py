"""Subgroup lattices: counted by formulas and by brute force, closed under products, named by independent tests."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.discover import subgroups
from equikit.groups import A, H, subgroup
from equikit.groups.subgroups._names import name_of
from equikit.groups.subgroups._table import from_products, table_of

KLEIN = ek.MatrixGroup([[[-1, 0], [0, 1]], [[1, 0], [0, -1]]], name="K")
QUATERNIONS = ek.MatrixGroup([[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]], name="Q8")
THIRD = np.array([[-1, -math.sqrt(3)], [math.sqrt(3), -1]]) / 2
SKEW = ek.MatrixGroup([THIRD, [[1, 0], [0, -1]]], name="a triangle in the plane")
COUNTS = {
    **{ek.D(n): count for n, count in ((3, 6), (4, 10), (6, 16), (12, 34))},
    **{ek.S(0): 1, ek.S(1): 1, ek.S(2): 2, ek.S(3): 6, ek.S(4): 30, ek.S(5): 156, A(4): 10, A(5): 59, H(2): 10},
    **{H(3): 98, ek.D(0): 1, ek.D(1): 1, ek.D(2): 2, ek.Z(0): 1, ek.Z(1): 1, KLEIN: 5, QUATERNIONS: 6, SKEW: 6},
}


@pytest.mark.parametrize("group", COUNTS, ids=str)
def test_the_number_of_subgroups_is_the_known_one(group):
    lattice = subgroups(group)
    assert len(lattice) == COUNTS[group] == len({one.mask for one in lattice})
    assert lattice.subgroups[0].order == 1
    assert lattice.subgroups[-1].order == len(group.elements())


@pytest.mark.parametrize("n", range(3, 25))
def test_dihedral_and_cyclic_groups_have_as_many_subgroups_as_divisors_say(n):
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    assert len(subgroups(ek.D(n))) == len(divisors) + sum(divisors)
    assert sorted(one.order for one in subgroups(ek.Z(n))) == divisors


@pytest.mark.parametrize("group", [ek.D(4), ek.D(6), A(4), QUATERNIONS, ek.Z(12), SKEW], ids=str)
def test_they_are_all_closed_subsets(group):
    """Brute force: of all subsets of a divisor's size with the identity, those that are closed under products."""
    table = table_of(group).products
    order, found = len(table), set()
    for size in (d for d in range(1, order + 1) if order % d == 0):
        for rest in itertools.combinations(range(1, order), size - 1):
            members = np.array([0, *rest])
            if np.all(np.isin(table[np.ix_(members, members)], members)):
                found.add(sum(1 << int(place) for place in members))
    assert {one.mask for one in subgroups(group)} == found


@pytest.mark.parametrize("group", [ek.S(4), QUATERNIONS, SKEW, H(2), ek.Z(5), ek.D(2)], ids=str)
def test_the_table_multiplies_matrices(group):
    table = table_of(group)
    matrices = np.stack([group.matrix(element) for element in group.elements()])
    products = np.einsum("aij,bjk->abik", matrices, matrices)
    assert np.allclose(matrices[table.products], products)
    assert np.allclose(matrices[table.inverses], np.linalg.inv(matrices))
    powers = [np.linalg.matrix_power(m, int(k)) for m, k in zip(matrices, table.orders, strict=True)]
    assert np.allclose(powers, matrices[0])


@pytest.mark.parametrize("group", [ek.S(4), ek.D(6), H(2)], ids=str)
def test_covers_classes_and_generators_have_their_meaning(group):
    lattice, table = subgroups(group), table_of(group)
    sets = [set(one.positions.tolist()) for one in lattice]
    inclusions = nx.DiGraph([(i, j) for i, j in itertools.permutations(range(len(sets)), 2) if sets[i] < sets[j]])
    assert set(lattice.covers) == set(nx.transitive_reduction(inclusions).edges)
    for one, members in zip(lattice, sets, strict=True):
        assert subgroup(group, one.generators) == one
        assert len(one.as_group().elements()) == one.order
        alike = {frozenset(table.conjugates(one.positions)[x].tolist()) for x in range(len(table))}
        (conjugacy,) = [each for each in lattice.classes if one in each]
        assert {frozenset(other.positions.tolist()) for other in conjugacy} == alike
        assert one.conjugates == len(alike)
        assert one.is_normal == (len(alike) == 1)
        assert np.array_equal(one.elements(), group.elements()[sorted(members)])


def test_moves_go_one_step_down_or_up():
    lattice = subgroups(ek.D(6))
    for one in lattice:
        assert lattice.neighbors(one) == (*lattice.below(one), *lattice.above(one))
        assert all(one.contains(other) and other != one for other in lattice.below(one))
        assert all(other.contains(one) and other != one for other in lattice.above(one))
        assert all(one in lattice.above(other) for other in lattice.below(one))
    (top, bottom) = lattice.subgroups[-1], lattice.subgroups[0]
    assert [one.name for one in lattice.below(top)] == ["D(2)", "D(2)", "D(2)", "Z(6)", "D(3)", "D(3)"]
    assert sorted(one.name for one in lattice.above(bottom)) == ["D(1)"] * 6 + ["Z(2)", "Z(3)"]


def test_the_graph_has_the_covers():
    lattice = subgroups(ek.S(4))
    graph = lattice.graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.number_of_edges() == len(lattice.covers)
    assert {one: graph.nodes[one]["name"] for one in lattice} == {one: one.name for one in lattice}
    assert all(one in lattice.classes[graph.nodes[one]["conjugacy"]] for one in lattice)
    assert nx.dag_longest_path_length(graph) == 4  # 1 < Z2 < K < D4 < S4


def test_the_smallest_subgroup_that_contains_elements_is_the_one_they_generate():
    lattice = subgroups(ek.S(4))
    generator = np.random.default_rng(0)
    for count in (0, 1, 1, 2, 3):
        chosen = generator.choice(24, count, replace=False)
        assert lattice.smallest(chosen) == subgroup(ek.S(4), chosen)
    assert lattice.smallest(np.ones(24, bool)) == lattice.subgroups[-1]
    with pytest.raises(ek.OptionError, match="positions"):
        lattice.smallest([24])


def test_the_largest_subgroup_in_a_set_of_elements():
    lattice = subgroups(ek.D(6))
    corners = ek.D(6).elements()
    turns = np.flatnonzero((corners[:, 1] - corners[:, 0]) % 6 == 1)
    assert lattice.largest(turns).name == "Z(6)"
    assert lattice.largest(np.isin(np.arange(12), turns)).name == "Z(6)"
    assert lattice.largest([turns[1]]).name == "Z(1)"
    third = next(one for one in lattice if one.name == "Z(3)")
    assert lattice.largest([*third.positions, turns[1]]) == third


def test_elements_generate_a_subgroup():
    found = subgroup(ek.S(4), [int(np.flatnonzero((ek.S(4).elements() == [1, 2, 3, 0]).all(1))[0])])
    assert (found.name, found.order, found.conjugates, str(found)) == ("Z(4)", 4, 3, "Z(4)")
    assert repr(found) == "<Z(4) of order 4 in S(4)>"
    assert subgroup(ek.S(4), np.ones(24, bool)).name == "S(4)"
    assert subgroup(ek.S(4), []).name == "Z(1)"
    assert subgroup(ek.D(0), []).name == "Z(1)"
    assert found in subgroups(ek.S(4)).classes[6]
    assert repr(subgroups(ek.S(4))) == "<30 subgroups of S(4) in 11 classes>"


def product(one, other):
    """The table of a direct product."""
    m, n = len(one), len(other)
    rows, columns = np.divmod(np.arange(m * n), n)
    return from_products(one[np.ix_(rows, rows)] * n + other[np.ix_(columns, columns)])


def tables(*groups):
    first, *rest = (table_of(group).products for group in groups)
    for other in rest:
        first = product(first, other).products
    return from_products(first)


FROBENIUS = ek.MatrixGroup(
    [np.eye(5, dtype=int)[:, [1, 2, 3, 4, 0]], np.eye(5, dtype=int)[:, [0, 2, 4, 1, 3]]], name="F20"
)
NAMES = {
    "Z(1)": (ek.Z(0),),
    "Z(60)": (ek.Z(4), ek.Z(15)),
    "Z(2) x Z(2) x Z(12)": (ek.Z(2), ek.Z(2), ek.Z(4), ek.Z(3)),
    "Z(3) x Z(9)": (ek.Z(9), ek.Z(3)),
    "S(3)": (ek.D(3),),
    "D(4)": (H(2),),
    "D(6)": (ek.Z(2), ek.S(3)),
    "S(3) x S(3)": (ek.S(3), ek.D(3)),
    "Z(2) x S(4)": (H(3),),
    "A(5)": (A(5),),
    "S(5)": (ek.S(5),),
    "Z(2) x A(5)": (A(5), ek.Z(2)),
    "Q(8)": (QUATERNIONS,),
    "Z(3) x Q(8)": (QUATERNIONS, ek.Z(3)),
    "Z(5) : Z(4)": (FROBENIUS,),
}


@pytest.mark.parametrize("name", NAMES)
def test_groups_are_named(name):
    assert name_of(tables(*NAMES[name])) == name


def test_a_name_does_not_depend_on_the_numbers_of_the_elements():
    table = tables(ek.Z(2), ek.D(4)).products
    order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(15)])
    place = np.argsort(order)
    assert name_of(from_products(place[table[np.ix_(order, order)]])) == "Z(2) x D(4)"


def test_subgroups_of_a_dihedral_group_are_named_by_reflections():
    for one in subgroups(ek.D(12)):
        corners = one.elements()
        reflects = bool(np.any((corners[:, 1] - corners[:, 0]) % 12 != 1))
        assert one.name == (f"D({one.order // 2})" if reflects else f"Z({one.order})")


def test_what_has_no_list_of_subgroups_is_refused():
    assert_error(ek.OptionError, lambda: subgroups(ek.D), "group= must be a Group", "D", "a Group", "group=ek.D(6)")
    assert_error(ek.GroupError, lambda: subgroups(ek.S()), "S has no size yet", "S", "known size", "write S(4)")
    assert_error(ek.GroupError, lambda: subgroups(ek.SO(3)), "cannot be listed", "SO(3)", "finite", "a finite group")
    assert_error(ek.TooLargeError, lambda: subgroups(ek.S(7)), "too many elements", "5,040", "1,000", "smaller")
    assert_error(
        ek.TooLargeError, lambda: subgroups(ek.S(4), most=20), "S(4) has too many subgroups", "20", "20", "most="
    )
    assert_error(ek.OptionError, lambda: subgroups(ek.S(4), most=0), "most= must be", "0", "≥ 1", "most=2000")
    for wrong in ([24], [-1], [0.5], np.ones(23, bool), [[1]]):
        assert_error(
            ek.OptionError,
            lambda wrong=wrong: subgroup(ek.S(4), wrong),
            "not positions",
            "shape",
            "from 0 to 23",
            "group.elements()",
        )
    other = subgroups(ek.D(4)).subgroups[1]
    assert_error(
        ek.OptionError,
        lambda: subgroups(ek.D(6)).below(other),
        "not a subgroup in the lattice",
        "<Z(2) of order 2 in D(4)>",
        "a subgroup of D(6)",
        "lattice.subgroups",
    )
