"""What the paper proves holds exactly, and fails where a condition of a proof fails; averages restore it."""

import functools

import jax
import numpy as np
import pytest
from explained_models import (
    PLACES,
    TARGETS,
    broken,
    inputs,
    of_cycle,
    of_intervals,
    of_lengths,
    of_neighbors,
    of_points,
    of_set,
)

import equikit as ek
from equikit.auditing.explanations import (
    all_orders,
    averaged,
    concept_sensitivity,
    concepts,
    equivariance,
    gradient,
    gradient_shap,
    guarantee,
    input_times_gradient,
    integrated_gradients,
    invariance,
    occlusion,
    shapley,
    similar_examples,
    windows,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(0)
S4, Z6 = {"p": ek.S(4)}, {"p": ek.Z(6)}
UNEVEN = PLACES[:4]
PRESENT = np.array([[True, False], [False, True], [True, True]])


METHODS = {
    "gradient": (gradient, of_set, S4),
    "input times gradient": (input_times_gradient, of_set, S4),
    "integrated gradients": (functools.partial(integrated_gradients, baseline=0.3), of_set, S4),
    "gradient SHAP": (functools.partial(gradient_shap, key=KEY, baseline=-0.2), of_set, S4),
    "feature ablation": (functools.partial(occlusion, regions=windows((4,))), of_set, S4),
    "pairs, as a set of all": (functools.partial(occlusion, regions=windows((6,), 3, cyclic=True)), of_cycle, Z6),
    "Shapley values, all orders": (functools.partial(shapley, regions=windows((4,)), orders=all_orders(4)), of_set, S4),
}
"""A method whose conditions hold, a model, and a group."""

FAILURES = {
    "the baseline is invariant": (functools.partial(integrated_gradients, baseline=UNEVEN), of_set, S4),
    "there is no noise": (functools.partial(gradient_shap, key=KEY, noise=3.0), of_set, S4),
    "the groups permute the regions": (functools.partial(occlusion, regions=windows((6,), 3)), of_cycle, Z6),
    "the groups permute the orders": (functools.partial(shapley, regions=windows((4,)), orders=1), of_set, S4),
    "the model is invariant at the inputs": (gradient, broken, S4),
}
"""The condition that fails, a method, a model, and a group."""


def case(method, model, group):
    return method(model, TARGETS), inputs(group["p"].n, 2)


@pytest.mark.parametrize("name", METHODS)
def test_attributions_of_invariant_models_are_equivariant(name):
    method, model, group = METHODS[name]
    explainer, x = case(method, model, group)
    found = equivariance(explainer, x, "p -> p", offset=0, **group)
    assert found.exact
    assert found.value == pytest.approx(1, abs=1e-12)
    assert guarantee(explainer, x, "p -> p", **group).holds


@pytest.mark.parametrize("condition", FAILURES)
def test_attributions_are_not_equivariant_where_a_condition_fails(condition):
    method, model, group = FAILURES[condition]
    explainer, x = case(method, model, group)
    found = equivariance(explainer, x, "p -> p", offset=0, **group)
    assert found.value < 0.99
    told = guarantee(explainer, x, "p -> p", **group)
    assert not told.holds
    assert [one.text for one in told.conditions if not one.holds] == [condition]
    assert f"no   {condition}" in str(told)


@pytest.mark.parametrize("condition", FAILURES)
def test_averages_over_the_group_restore_equivariance(condition):
    method, model, group = FAILURES[condition]
    explainer, x = case(method, model, group)
    restored = averaged(explainer, "p -> p", **group)
    assert equivariance(restored, x, "p -> p", offset=0, **group).value == pytest.approx(1, abs=1e-12)
    # The definition, with inverse permutations.
    wanted = 0.0
    for element in group["p"].elements():
        wanted = wanted + np.asarray(explainer(x[:, np.argsort(element)]))[:, element] / group["p"].order()
    moved = {tuple(np.round(each, 9)) for each in np.asarray(restored(x))[0]}
    assert moved == {tuple(np.round(each, 9)) for each in wanted[0]}


def test_only_gradients_are_equivariant_under_rotations():
    x, plain = inputs(3, 2), {"x": ek.O(3)}
    scores = {
        method.__name__: equivariance(method(of_lengths), x, "x -> x", offset=0, **plain).value
        for method in (gradient, input_times_gradient, integrated_gradients)
    }
    assert scores.pop("gradient") == pytest.approx(1, abs=1e-12)
    assert max(scores.values()) < 0.9
    assert guarantee(gradient(of_lengths), x, "x -> x", **plain).holds
    told = guarantee(integrated_gradients(of_lengths), x, "x -> x", **plain)
    assert [one.text for one in told.conditions if not one.holds] == ["the groups permute entries"]


def test_signs_are_no_permutations():
    x, group = inputs(3, 2), {"x": ek.H(3)}
    assert equivariance(gradient(of_lengths), x, "x -> x", offset=0, **group).value == pytest.approx(1, abs=1e-12)
    assert equivariance(input_times_gradient(of_lengths), x, "x -> x", offset=0, **group).value < 0.9
    assert not guarantee(input_times_gradient(of_lengths), x, "x -> x", **group).holds


def test_gradients_are_dual_vectors_of_a_group_that_changes_norms():
    x, group = 0.3 * inputs(4, 2), {"x": ek.Lorentz}
    found = gradient(of_intervals)
    assert equivariance(found, x, "x -> x", offset=0, **group).value < 0.95
    told = guarantee(found, x, "x -> x", **group, tolerance=1e-6)
    assert [one.text for one in told.conditions if not one.holds] == ["the groups keep norms"]


def test_a_guarantee_reports_by_how_much_a_model_fails():
    x = inputs(4, 2)
    told = guarantee(gradient(broken, TARGETS), x, "p -> p", **S4)
    first = np.stack([broken(row) for row in x])
    moved = [np.stack([broken(row[order]) for row in x]) for order in ek.S(4).elements()]
    largest = np.max(np.abs(np.stack(moved) - first)) / np.max(np.abs(first))
    assert told.conditions[0].error == pytest.approx(largest, rel=1e-9)
    assert guarantee(gradient(broken, TARGETS), x, "p -> p", **S4, tolerance=10.0).holds


LAYERS = {"invariant": lambda x: of_points(x).mean(axis=0), "equivariant": of_points}
EXPLAINED = {
    "examples": lambda layer: similar_examples(layer, inputs(4, 2)[::-1] + 0.1),
    "CAV": lambda layer: concepts(layer, inputs(4, 2), PRESENT),
    "CAR": lambda layer: concepts(layer, inputs(4, 2), PRESENT, kernel="gaussian"),
    "sensitivity": lambda layer: concept_sensitivity(
        layer, lambda h: (h.mean(axis=0) if h.ndim == 2 else h)[:3] ** 2, inputs(4, 2), PRESENT, TARGETS
    ),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_explanations_by_a_layer_are_invariant_if_the_layer_is(name):
    x, similarity = inputs(4, 2), "cosine" if name == "examples" else "accuracy"
    found = {}
    for kind, layer in LAYERS.items():
        explainer = EXPLAINED[name](layer)
        found[kind] = invariance(explainer, x, "p -> ()", offset=0, similarity=similarity, **S4).value
        assert guarantee(explainer, x, "p -> ()", **S4).holds == (kind == "invariant")
    assert found["invariant"] == pytest.approx(1, abs=1e-12)
    if name != "sensitivity":
        assert found["equivariant"] < 0.99


@pytest.mark.parametrize("name", ["examples", "CAV"])
def test_averages_over_the_group_restore_invariance(name):
    x, similarity = inputs(4, 2), "cosine" if name == "examples" else "accuracy"
    restored = averaged(EXPLAINED[name](of_points), "p -> ()", **S4)
    assert invariance(restored, x, "p -> ()", similarity=similarity, **S4).value == pytest.approx(1, abs=1e-12)
    assert (restored(x).dtype == bool) == (name == "CAV")


def test_more_elements_bring_the_average_closer_to_invariance():
    x, explainer = inputs(6, 2), similar_examples(of_neighbors, inputs(6, 2)[::-1] + 0.1)

    def score(elements, key):
        restored = averaged(explainer, "p -> ()", elements=elements, key=key, **Z6)
        return invariance(restored, x, "p -> ()", **Z6).value

    few, many = ([score(n, key) for key in jax.random.split(KEY, 2)] for n in (1, 12))
    assert max(few) + 0.01 < min(many)
    assert max(many) < 1


def test_averages_over_two_labels_are_equivariant_under_both():
    x, groups = inputs(2, 3, 1), {"p": ek.S(2), "q": ek.Z(3)}
    weights = np.random.default_rng(2).normal(size=(2, 3, 1))
    restored = averaged(lambda x: jax.numpy.tanh(x * weights), "p q -> p q", **groups)
    assert equivariance(restored, x, "p q -> p q", offset=0, **groups).value == pytest.approx(1, abs=1e-12)


def test_only_averages_over_all_elements_are_guaranteed():
    x, explainer = inputs(4, 2), gradient(broken, TARGETS)
    exact = averaged(explainer, "p -> p", **S4)
    some = averaged(explainer, "p -> p", elements=3, key=KEY, **S4)
    assert guarantee(exact, x, "p -> p", **S4).holds
    assert str(guarantee(some, x, "p -> p", **S4)).endswith("no   the conditions of the method are known")


def test_explainers_can_be_compiled():
    x = inputs(4, 2)
    np.testing.assert_allclose(jax.jit(gradient(of_set, TARGETS))(x), gradient(of_set, TARGETS)(x), atol=1e-12)


def test_a_majority_of_half_does_not_depend_on_rounding():
    n = 50
    half = np.stack([np.random.default_rng(seed).permutation(np.arange(n) < n // 2) for seed in range(20)])
    restored = averaged(lambda x: x[:, :1, 0] > 0, "z -> ()", z=ek.Z(n))
    for dtype in (np.float32, np.float64):
        x = np.where(half, 1, -1).astype(dtype)[..., None]
        assert np.all(restored(x))
        assert not np.any(restored(-np.abs(x)))


def test_ties_of_a_maximum_are_reported():
    x = inputs(4, 2)
    x[1] = x[1, 0]  # all entries are equal

    def highest(x):
        return jax.numpy.max(of_points(x), axis=0).sum()

    for method in (gradient, integrated_gradients):
        told = guarantee(method(highest), x, "p -> p", **S4)
        assert [one.text for one in told.conditions if not one.holds] == ["the model is differentiable at the inputs"]
        assert guarantee(method(highest), x[[0, 2]], "p -> p", **S4).holds
