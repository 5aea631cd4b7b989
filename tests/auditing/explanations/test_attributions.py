"""Attributions are what their definitions say."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from explained_models import TARGETS, inputs, of_cycle, of_set

from equikit.auditing.explanations import (
    all_orders,
    explainer,
    gradient,
    gradient_shap,
    input_times_gradient,
    integrated_gradients,
    occlusion,
    shapley,
    windows,
)

pytestmark = pytest.mark.usefixtures("x64")


def score(x, target):
    """The score of one sample, in NumPy."""
    return float(of_set(x)[target])


def test_the_gradient_is_that_of_finite_differences():
    x, step = inputs(4, 2), 1e-6
    found, expected = np.asarray(gradient(of_set, TARGETS)(x)), np.empty((3, 4, 2))
    for index in np.ndindex(3, 4, 2):
        change = np.zeros((4, 2))
        change[index[1:]] = step
        ends = [score(x[index[0]] + sign * change, TARGETS[index[0]]) for sign in (1, -1)]
        expected[index] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    np.testing.assert_allclose(input_times_gradient(of_set, TARGETS)(x), x * expected, atol=1e-8)


def test_one_class_serves_all_samples():
    x = inputs(4, 2)
    np.testing.assert_array_equal(gradient(of_set, 1)(x), gradient(of_set, np.array([1, 1, 1]))(x))


def test_integrated_gradients_of_a_cube_are_its_midpoint_rule():
    x = inputs(4, 2)
    found = integrated_gradients(lambda x: jnp.sum(x**3), steps=5)(x)
    np.testing.assert_allclose(found, x**3 * (1 - 1 / (4 * 5**2)), atol=1e-12)


def test_integrated_gradients_add_up_to_the_change_of_the_score():
    x, baseline = inputs(4, 2), np.full((4, 2), 0.3)
    found = integrated_gradients(of_set, TARGETS, baseline=baseline, steps=200)(x)
    change = [score(a, target) - score(baseline, target) for a, target in zip(x, TARGETS, strict=True)]
    np.testing.assert_allclose(np.sum(found, axis=(1, 2)), change, atol=1e-5)


@pytest.mark.compiled
def test_the_largest_entry_of_a_point_is_one_of_its_entries():
    """Otherwise the derivative of the maximum is infinite."""
    x = np.array(list(itertools.permutations([0.6450893, -0.7346027, -0.2947265, -0.2512988])), np.float32)[..., None]
    explain = integrated_gradients(
        lambda x: jnp.tanh(jnp.max(x) + jnp.sum(x**2) / 4), baseline=jnp.arange(4, dtype=jnp.float32)[:, None] / 2
    )
    assert np.isfinite(explain(x)).all()


def test_gradient_shap_is_a_mean_of_gradients_at_its_points():
    x, key = inputs(4, 2), jax.random.key(3)
    found = gradient_shap(lambda x: jnp.sum(x**3), key=key, samples=7, baseline=0.5)(x)
    times = np.asarray(jax.random.uniform(jax.random.split(key, 2)[0], (7,)))[:, None, None, None]
    np.testing.assert_allclose(found, (x - 0.5) * np.mean(3 * (0.5 + times * (x - 0.5)) ** 2, axis=0), atol=1e-12)


def test_noise_of_gradient_shap_has_its_standard_deviation():
    x = np.zeros((1, 2, 1))
    x[0, 0] = 1.0
    # The model is t·(x + noise) times a constant, so that the mean of squared gradients tells the variance.
    found = gradient_shap(lambda x: jnp.sum(x**4), key=jax.random.key(0), samples=20_000, noise=0.5)(x)
    # E[4 t³ (1 + σε)³] = 4 · 1/4 · (1 + 3σ²)
    assert abs(float(found[0, 0, 0]) - (1 + 3 * 0.25)) < 0.1


def test_occlusion_is_the_mean_fall_over_regions():
    x, regions = inputs(6, 2), windows((6,), 3)
    found = np.asarray(occlusion(of_cycle, TARGETS, regions=regions, baseline=0.1)(x))
    for row, target in zip(range(3), TARGETS, strict=True):
        falls = []
        for region in regions:
            hidden = np.where(region, 0.1, x[row])
            falls.append(float(of_cycle(x[row])[target] - of_cycle(hidden)[target]))
        for entry in range(6):
            inside = [fall for fall, region in zip(falls, regions, strict=True) if region[entry, 0]]
            np.testing.assert_allclose(found[row, entry], np.mean(inside), atol=1e-12)


def test_entries_outside_of_all_regions_have_no_attribution():
    regions = windows((6,), 2)[:2]  # entries 0 to 2
    found = occlusion(of_cycle, 0, regions=regions)(inputs(6, 2))
    assert np.all(found[:, 3:] == 0)
    assert np.all(found[:, :3] != 0)


def test_shapley_values_over_all_orders_are_sums_over_subsets():
    x = inputs(4, 2)
    found = np.asarray(shapley(of_set, TARGETS, regions=windows((4,)), orders=all_orders(4), baseline=0.2)(x))

    def value(row, players):
        inside = np.isin(np.arange(4), players)[:, None]
        return score(np.where(inside, x[row], 0.2), TARGETS[row])

    for row, player in itertools.product(range(3), range(4)):
        others, total = [p for p in range(4) if p != player], 0.0
        for size in range(4):
            weight = math.factorial(size) * math.factorial(3 - size) / math.factorial(4)
            for some in itertools.combinations(others, size):
                total += weight * (value(row, [*some, player]) - value(row, some))
        np.testing.assert_allclose(found[row, player], total, atol=1e-12)


def test_sampled_shapley_values_add_up_too():
    x = inputs(4, 2)
    found = shapley(of_set, TARGETS, regions=windows((4,)), orders=3)(x)
    change = [score(a, target) - score(np.zeros((4, 2)), target) for a, target in zip(x, TARGETS, strict=True)]
    np.testing.assert_allclose(np.sum(found[..., 0], axis=1), change, atol=1e-12)


def test_two_inputs_are_explained_together():
    x = {"p": inputs(4, 2), "g": inputs(1)}

    def model(x):
        return jnp.sum(x["p"] ** 2) * x["g"][0]

    found = gradient(model)(x)
    np.testing.assert_allclose(found["p"], 2 * x["p"] * x["g"][:, None], atol=1e-12)
    np.testing.assert_allclose(found["g"][:, 0], np.sum(x["p"] ** 2, axis=(1, 2)), atol=1e-12)
    found = integrated_gradients(model, steps=1)(x)
    np.testing.assert_allclose(found["g"], x["g"] * np.sum(x["p"] ** 2, axis=(1, 2))[:, None] / 4, atol=1e-12)


def test_windows_of_a_plane_are_products_of_windows():
    regions = windows((3, 4), (2, 4), cyclic=True)
    assert regions.shape == (3, 3, 4, 1)  # a window as long as the axis exists once
    assert {tuple(region[:, 0, 0]) for region in regions} == {(1, 1, 0), (0, 1, 1), (1, 0, 1)}
    assert np.all(regions.all(axis=2) == regions[:, :, 0])


def test_methods_have_names():
    x = inputs(4, 2)
    named = explainer("integrated_gradients", of_set, TARGETS, steps=7)
    np.testing.assert_array_equal(named(x), integrated_gradients(of_set, TARGETS, steps=7)(x))
