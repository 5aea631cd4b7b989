"""Groups that users write, with mistakes: each is refused with an error that says what to write."""

import copy
import inspect
import pickle
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from helpers import assert_error, foreign_errors

import equikit as ek
from equikit.groups import Dual, PermutationGroup

QUARTER = [[[0, -1], [1, 0]]]
GROUPS = (
    *(ek.S(), ek.S(3), ek.A(3), ek.Z(3), ek.D(3), ek.H(), ek.H(2), ek.Bistochastic(), ek.Bistochastic(3)),
    *(ek.O(), ek.O(3), ek.O(1, 3), ek.SO(3), ek.O(3).twisted, ek.Sp(), ek.Sp(2), ek.U(), ek.U(2), ek.GL(), ek.GL(2)),
    *(ek.groups.Trivial(2), ek.MatrixGroup(QUARTER), ek.GL(2).dual, ek.O(2) + ek.S(2)),
)


def generated(generators):
    class Generated(PermutationGroup):
        def generators(self, n=None):
            return generators

    return Generated(4)


@pytest.mark.parametrize(
    "generator",
    [[1, 1, 3, 0], [-1, 0, 1, 2], [1, 2, 3, 4], [1, 0], [1.0, 2.0, 3.0, 0.0], np.eye(4), [(0, 1), (1, 2, 3)], 1],
    ids=str,
)
def test_generators_that_are_not_permutations_are_refused(generator):
    for call in (lambda group: group.elements(), lambda group: ek.hom("g -> g", g=group).dim):
        assert_error(
            ek.GroupError,
            lambda call=call: call(generated([generator])),
            "a generator of Generated(4) is not a permutation",
            "",
            "integer array [n]",
            "np.roll",
        )
    assert_error(ek.GroupError, generated(None).elements, "not a permutation", "None", "integer array", "return a list")


def test_generators_with_too_many_elements_to_list_are_refused():
    class Large(PermutationGroup):
        def order(self, n=None):
            return 10**6

        def generators(self, n=None):
            return [[1, 1, 3, 0]]

    assert_error(ek.GroupError, lambda: ek.hom("g -> g", g=Large(4)).dim, "a generator", "[1, 1", "once", "np.roll")


@pytest.mark.parametrize("make", [list, tuple, jax.numpy.array, *(lambda g, t=t: np.array(g, t) for t in ("i4", "u1"))])
def test_permutations_of_any_type_generate_the_same_group(make):
    group = generated(make(g) for g in ([1, 2, 3, 0],)) if make is list else generated([make([1, 2, 3, 0])])
    assert group.elements().tolist() == ek.Z(4).elements().tolist()


def test_a_group_refuses_to_store_what_is_not_a_field():
    class Image(PermutationGroup):
        def __init__(self, h, w):
            super().__init__(h * w)
            self.h = h

        def generators(self, n=None):
            return []

    step = '"h: object = None" in your class'
    assert_error(ek.GroupError, lambda: Image(2, 3), "cannot store 'h'", "h = 2", "frozen dataclass", step)
    assert_error(AttributeError, lambda: setattr(ek.S(3), "n", 4), "'n' of a group", "n = 4", "field", "__init__")


def test_a_stored_field_is_in_copies_and_comparisons():
    @dataclass(frozen=True, init=False, repr=False)
    class Turns(ek.MatrixGroup):
        count: int = 0

        def __init__(self, count):
            super().__init__(QUARTER)
            object.__setattr__(self, "count", count)

    assert copy.deepcopy(Turns(3)) == Turns(3) != Turns(4)
    assert copy.deepcopy(Turns(3)).count == 3


@pytest.mark.parametrize("use", [str, hash, lambda group: group.elements(), lambda group: ek.hom("x -> x", x=group)])
def test_a_group_whose_constructor_sets_no_size_is_refused(use):
    class Empty(ek.MatrixGroup):
        def __init__(self, count):
            pass

    step = "call super().__init__(...) in Empty.__init__"
    assert_error(ek.GroupError, lambda: use(Empty(3)), "Empty does not set '", "an __init__", "a group", step)
    assert str(inspect.signature(Empty)) == "(count)"


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_tools_can_look_through_a_group(group):
    inspect.getmembers(group)
    assert hasattr(group, "dual") == (group.has_dual or isinstance(group, Dual))


def test_a_missing_property_is_still_an_error_of_groups():
    with pytest.raises(ek.GroupError) as caught:
        _ = ek.S(3).dual
    assert isinstance(caught.value, AttributeError)
    assert pickle.loads(pickle.dumps(caught.value)).step == "use S(3) itself, which is its own dual"


@pytest.mark.parametrize("group", [group for group in GROUPS if group.n is not None and not group.needs_head], ids=str)
def test_only_generators_of_numpy_draw_elements(group):
    for wrong in (jax.random.key(0), 0, None, np.random):
        assert_error(
            ek.OptionError,
            lambda wrong=wrong: group.random_element(wrong),
            "generator= must be a Generator",
            "",
            "a Generator",
            "generator=np.random.default_rng(0)",
        )
    assert group.random_element(generator=np.random.default_rng(0)).shape[-1] == group.n


def test_the_dual_of_the_dual_is_the_group():
    element = np.array([[2.0, 1.0], [0.0, 1.0]])
    assert Dual(ek.GL(2)).dual_element(element).tolist() == element.tolist()
    assert Dual(ek.GL(2)).matrix(element).tolist() == np.linalg.inv(element).T.tolist()


def test_groups_without_a_dual_of_their_own_are_refused():
    for call in (lambda: Dual(ek.S(3)), lambda: ek.S(3).dual_element(np.array([1, 0, 2]))):
        assert_error(ek.GroupError, call, "S(3) has no dual of its own", "S(3)", "U, GL or MatrixGroup", "S(3) itself")
    assert_error(ek.GroupError, lambda: Dual(3), "of= must be a Group", "3", "a Group", "of=ek.GL(3)")


@pytest.mark.parametrize("group", [ek.S(3), ek.H(3), ek.O(3)], ids=str)
def test_an_element_acts_on_an_axis_with_an_integer(group):
    element = group.random_element(np.random.default_rng(0))
    assert foreign_errors(lambda axis: group.act(element, np.ones(3), axis), (0,), {}) == []
    assert_error(ek.ShapeError, lambda: group.act(element, np.ones(3), "a"), "fit the axis", "axis 'a'", "3", "axis")


def test_a_sum_that_starts_with_something_else_is_refused():
    for other, step in ((ek.S, "S(2)"), (0, "O(2)")):
        assert_error(ek.GroupError, lambda other=other: other + ek.S(2), "direct sum", str(other)[:6], "bound", step)
