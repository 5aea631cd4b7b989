"""Scores are the means that they are said to be, and have their bounds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explained_models import inputs

import equikit as ek
from equikit.auditing.explanations import equivariance, invariance

WEIGHTS = np.random.default_rng(5).normal(size=(4, 2))


def odd(x):
    """Neither invariant nor equivariant."""
    return np.tanh(x * WEIGHTS)


def cosine(a, b, offset=0.0):
    a, b = np.ravel(a) + offset, np.ravel(b) + offset
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def all_scores(x, compare):
    """The mean over samples and all permutations of four entries."""
    return np.mean([compare(row, [*order]) for row in range(len(x)) for order in itertools.permutations(range(4))])


@pytest.mark.parametrize("offset", [0.0, 1e-4, 0.3])
def test_exact_scores_are_means_over_all_permutations(offset):
    x = inputs(4, 2)
    found = equivariance(odd, x, "p -> p", p=ek.S(4), offset=offset)
    expected = all_scores(x, lambda row, o: cosine(odd(x[row][o]), odd(x[row])[o], offset))
    assert found.exact
    assert found.elements == 24
    assert found.interval.low == found.value == found.interval.high == pytest.approx(expected, abs=1e-12)
    found = invariance(odd, x, "p -> p", p=ek.S(4), offset=offset)
    assert found.value == pytest.approx(all_scores(x, lambda row, o: cosine(odd(x[row][o]), odd(x[row]), offset)))
    assert np.mean(found.each) == pytest.approx(found.value)


def test_accuracy_is_the_share_of_equal_entries():
    x = inputs(4, 2)

    def present(x):
        return odd(x).sum(axis=1) > 0

    found = invariance(present, x, "p -> ()", p=ek.S(4), similarity="accuracy")
    expected = all_scores(x, lambda row, o: np.mean(present(x[[row]][:, o]) == present(x[[row]])))
    assert found.value == pytest.approx(expected)
    assert 0 < found.value < 1


def test_two_labels_move_independently():
    x = inputs(2, 3, 1)
    seen = []

    def kept(x):
        seen.append(x)
        return x

    assert equivariance(kept, x, "p q -> p q", p=ek.S(2), q=ek.Z(3)).elements == 6
    moved = {tuple(np.round(one[0, :, :, 0].ravel(), 6)) for one in seen[1:]}
    expected = {
        tuple(np.round(np.roll(x[0, list(order)], shift, axis=1).ravel(), 6))
        for order in ([0, 1], [1, 0])
        for shift in range(3)
    }
    assert moved == expected


def test_dictionaries_go_in_and_out():
    x = {"p": inputs(3, 2), "p p": inputs(3, 3, 1)}

    def degrees(x):
        return {"p": x["p p"].sum(axis=2) + x["p"]}

    assert equivariance(degrees, x, "p + p p -> p", p=ek.S(3)).value == pytest.approx(1)
    assert equivariance(lambda x: x["p p"][:, 0] + x["p"], x, "p + p p -> p", p=ek.S(3)).value < 0.99


def entropy(m, p):
    return m * np.log(m / p) + (1 - m) * np.log((1 - m) / (1 - p))


def test_infinite_groups_have_hoeffdings_bounds():
    x = inputs(4, 2)
    for samples, options in ((1, {}), (3, {"samples": 200, "confidence": 0.9})):
        found = equivariance(odd, x[:samples], "x -> x", x=ek.O(4), **options)
        assert not found.exact
        assert found.elements == options.get("samples", 50)
        assert found.interval.draws == found.elements * samples
        m = (1 + found.value) / 2  # means of numbers from -1 to 1
        for end in (found.interval.low, found.interval.high):
            bound = np.log(2 / (1 - options.get("confidence", 0.95))) / found.interval.draws
            assert entropy(m, (1 + end) / 2) == pytest.approx(bound, rel=1e-6)
        assert found.interval.low < found.value < found.interval.high < 1
    accurate = invariance(lambda x: odd(x).sum(1) > 0, x, "x -> ()", x=ek.O(4), similarity="accuracy")
    assert entropy(accurate.value, accurate.interval.low) == pytest.approx(np.log(40) / 150, rel=1e-6)


def test_bounds_from_draws_contain_the_exact_score():
    x = inputs(4, 2)
    exact = equivariance(odd, x, "p -> p", p=ek.S(4)).value
    drawn = [equivariance(odd, x, "p -> p", p=ek.S(4), most=1, samples=20, seed=seed) for seed in range(40)]
    assert sum(score.interval.low <= exact <= score.interval.high for score in drawn) >= 38
    assert np.mean([score.value for score in drawn]) == pytest.approx(exact, abs=0.03)
    assert len({score.value for score in drawn}) == 40


def test_every_sample_has_elements_of_its_own():
    x, seen = np.tile(inputs(4, 2)[:1], (6, 1, 1)), []

    def kept(x):
        seen.append(x)
        return x

    equivariance(kept, x, "p -> p", p=ek.S(4), most=1, samples=1)
    assert len({tuple(row.ravel()) for row in seen[-1]}) > 1


def test_inputs_keep_their_dtype_and_package():
    x = jnp.asarray(inputs(4, 2), jnp.bfloat16)
    kinds = set()

    def kept(x):
        kinds.add((isinstance(x, jax.Array), str(x.dtype)))
        return x

    assert equivariance(kept, x, "p -> p", p=ek.Z(4)).value == pytest.approx(1)
    equivariance(kept, inputs(4, 2).astype(np.float32), "p -> p", p=ek.Z(4))
    assert kinds == {(True, "bfloat16"), (False, "float32")}


def test_the_offset_of_the_paper_hides_small_attributions():
    x, scores = inputs(4, 2), []
    small = np.array([1e-5, 1.0, 1.0])[:, None, None]
    scores = [equivariance(lambda x, c=c: c * odd(x), x, "p -> p", p=ek.S(4)) for c in (1.0, small)]
    assert scores[1].each[0] > scores[0].each[0] + 0.1
    assert scores[1].each[1:] == scores[0].each[1:]
    assert [score.undecided for score in scores] == [0, 1]
    assert str(scores[1]).endswith("exact over 24 elements; 1 of 3 samples undecided")
    exact = [equivariance(lambda x, c=c: c * odd(x), x, "p -> p", p=ek.S(4), offset=0).each for c in (1, small)]
    assert exact[0] == pytest.approx(exact[1], abs=1e-12)


def test_two_zero_explanations_are_equal_and_one_is_orthogonal_to_others():
    x = inputs(4, 2)

    def first_only(x):  # zero if the first entry is negative
        return np.where(x[:, :1, :1] > 0, x, 0.0)

    x[0, :, 0] = -1.0  # zero for all permutations
    x[1, :, 0] = [1.0, -1.0, -1.0, -1.0]
    x[2, :, 0] = 1.0
    found = equivariance(first_only, x, "p -> p", p=ek.S(4), offset=0)
    assert found.each == pytest.approx((1.0, 1 / 4, 1.0))
    assert found.undecided == 1


def test_a_group_of_one_element_moves_nothing():
    x = inputs(1, 2)
    for group in (ek.S(1), ek.Z(1)):
        found = equivariance(np.tanh, x, "p -> p", p=group)
        assert (found.value, found.exact, found.elements) == (1.0, True, 1)


def test_complex_explanations_have_a_real_cosine():
    x = inputs(2, 1) + 1j * inputs(2, 1)[::-1]
    found = equivariance(lambda x: 1j * x, x, "u -> u", u=ek.U(2), offset=0)
    assert found.value == pytest.approx(1)
    assert equivariance(np.conj, x, "u -> u", u=ek.U(2), offset=0).value < 0.9


def test_inputs_tell_the_size_of_a_free_group():
    assert equivariance(odd, inputs(4, 2), "p -> p", p=ek.S) == equivariance(odd, inputs(4, 2), "p -> p", p=ek.S(4))
