"""Counting functions: their arguments, the dual, and closed forms beyond what can be listed."""

import math

import pytest

from equikit import GL, SO, A, Bistochastic, GroupError, H, O, OptionError, S, Sp, TooLargeError, U, Z, hom
from equikit.diagrams import (
    Diagrams,
    count_pairings,
    count_partitions,
    count_walks,
    growth_array,
    mckay_quiver,
    mean_square_gains,
    stirling,
)
from equikit.diagrams.counting._count import count_involutions, even_stirling_row

COUNTED = {
    "count_partitions": count_partitions,
    "count_partitions, most": lambda value: count_partitions(4, value),
    "count_pairings": count_pairings,
    "stirling": lambda value: stirling(value, 2),
    "stirling, t": lambda value: stirling(4, value),
    "count_walks": lambda value: count_walks(S(3), value),
    "count_walks, dual": lambda value: count_walks(U(3), 4, value),
    "mckay_quiver": lambda value: mckay_quiver(O(3), value),
}
OPTIONAL = {"count_partitions, most", "mckay_quiver"}


@pytest.mark.parametrize("value", [-1, -3, 2.5, 4.0, True, "3", None], ids=repr)
@pytest.mark.parametrize("name", COUNTED)
def test_only_whole_numbers_are_counted(name, value):
    if value is None and name == "count_partitions, most":
        assert COUNTED[name](value) == 15
        return
    error = GroupError if value is None and name == "mckay_quiver" else OptionError  # the quiver of O(3) is infinite
    with pytest.raises(error):
        COUNTED[name](value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: count_partitions(10**9),
        lambda: stirling(10**9, 3),
        lambda: count_pairings(10**9),
        lambda: count_walks(S(10), 10**9),
        lambda: count_walks(U(3), 10**9, 5 * 10**8),
        lambda: count_walks(O(10), 100),
        lambda: mckay_quiver(S(100)),
        lambda: mckay_quiver(O(10), 10**6),
        lambda: growth_array(["p"] * 30),
        lambda: mean_square_gains(Diagrams(("p",) * 8, ("p",) * 8), {"p": 3}),
        lambda: hom("x " * 50 + "->" + " x" * 50, x=O(10)).dim,
    ],
)
def test_counts_that_would_not_end_are_refused(call):
    with pytest.raises(TooLargeError):
        call()


def test_a_space_whose_dimension_is_not_counted_has_a_repr():
    assert "dimension too large to count" in repr(hom("x " * 50 + "->" + " x" * 50, x=O(10)))


@pytest.mark.parametrize("group", [S(3), A(3), H(3), O(3), SO(3), Sp(4), Bistochastic(3)], ids=str)
def test_walks_with_the_dual_of_a_group_that_has_none_are_refused(group):
    with pytest.raises(GroupError, match="no dual of its own"):
        count_walks(group, 4, 2)
    assert count_walks(group, 4, 0) == count_walks(group, 4)


def test_walks_need_a_group_whose_representations_are_known():
    with pytest.raises(GroupError, match="are not known here"):
        count_walks(Z(3), 0)


@pytest.mark.parametrize("group", [U(2), GL(3)], ids=str)
def test_walks_with_the_dual_are_counted(group):
    assert [count_walks(group, 2 * m, m) for m in range(3)] == [math.factorial(m) for m in range(3)]
    assert count_walks(group, 4, 1) == count_walks(group, 3, 1) == 0
    with pytest.raises(OptionError, match="dual="):
        count_walks(group, 4, 5)


def test_rows_of_even_partitions_and_involutions():
    assert even_stirling_row(0) == (1,)
    assert [sum(even_stirling_row(half)) for half in range(5)] == [1, 1, 4, 31, 379]
    sums = [sum(math.comb(m, j) * count_pairings(j) for j in range(m + 1)) for m in range(9)]
    assert [count_involutions(m) for m in range(9)] == sums
