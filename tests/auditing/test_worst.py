"""The worst element is found by search, and written as simply as possible."""

import numpy as np
import pytest

import equikit as ek


def worst(function, signature="p x -> p x", p=5, **options):
    report = ek.audit(
        function, signature, p=ek.S(p), x=ek.O(3), channels=2, **{"batch": (8,), "draws": 64, "dtype": float} | options
    )
    return report.worst_element


def crossed(x):
    return np.cross(x[..., 0], x[..., 1])[..., None]


def test_a_reflection_is_told_from_a_rotation():
    found = worst(crossed)
    assert str(found) == "the reflection of x along (1, 0, 0)"
    assert found.error == pytest.approx(1.0)
    assert repr(found) == "<the reflection of x along (1, 0, 0): 1>"
    np.testing.assert_array_equal(found.elements["p"], np.arange(5))
    np.testing.assert_allclose(found.elements["x"], np.diag([-1, 1, 1]))


def test_the_permutation_at_fault_is_a_transposition():
    """Entries 1 and 4 are treated in another way than the others."""
    odd = np.array([1.0, 2, 1, 1, 1, 1, 1])
    found = worst(lambda x: np.where(odd[:, None, None] > 1, x, 1.001 * x), p=7)
    assert str(found).startswith("the transposition (")
    assert "1" in str(found)


def test_the_search_climbs_to_a_rare_element():
    """A function that is wrong near one rotation only, of whose neighborhood random draws see little."""
    axis = np.array([0.6, 0.0, 0.8])

    def spike(x):
        height = np.exp(6 * (x @ axis / np.linalg.norm(x, axis=-1) - 1))
        return x * (1 + height[..., None])

    data = np.tile([0.0, 0.0, 1.0], (4, 1))[..., None]
    report = ek.audit(lambda x: spike(x[..., 0])[..., None], "x -> x", x=ek.SO(3), data=data, draws=64)
    best = np.array(report.worst_element.elements["x"]) @ [0, 0, 1]
    draws = max(error for text, error in report.by_element[1:])
    assert report.worst_element.error > draws
    value = np.exp(6 * (best @ axis - 1)), np.exp(6 * (0.8 - 1))
    assert report.worst_element.error == pytest.approx(abs(value[0] - value[1]) / (2 + sum(value)), rel=1e-6)
    grid = np.exp(6 * (np.linspace(-1, 1, 2001) - 1))
    assert report.worst_element.error >= 0.98 * np.max(np.abs(grid - value[1]) / (2 + grid + value[1]))


def test_noncompact_groups_do_not_run_away():
    found = ek.audit(
        lambda x: x * x[..., :1, :] ** 2, "m -> m", m=ek.Lorentz, channels=1, draws=40, batch=(8,), dtype=float
    )
    assert np.linalg.norm(found.worst_element.elements["m"], 2) < 20


def test_all_elements_of_small_groups_are_tried():
    report = ek.audit(lambda x: x + 0.1 * np.roll(x, 1, 1) * np.arange(4)[:, None], "z -> z", z=ek.D(4), channels=2)
    assert len(report.by_element) == 8 + 1 - 1
    assert report.by_element[0] == (str(report.worst_element), report.worst_element.error)
    assert [error for _, error in report.by_element] == sorted((e for _, e in report.by_element), reverse=True)


def test_without_an_error_there_is_no_search():
    calls = []
    report = ek.audit(lambda x: calls.append(1) or np.sin(x), "p -> p", p=ek.S(9), channels=2, draws=64)
    assert report.passed
    assert report.worst_element.error == 0
    assert len(calls) < 30
