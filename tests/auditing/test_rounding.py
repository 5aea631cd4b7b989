"""Rounding is told from faults: no false alarms on badly conditioned functions, and small faults are found."""

import jax
import numpy as np
import pytest

import equikit as ek
from equikit.auditing._rounding import epsilon, perturbed, spacing

pytestmark = pytest.mark.compiled


def test_spacings_are_those_of_numpy():
    numbers = np.array([1.0, -3.5, 1e-20, 6e4, 0.0])
    for dtype in (np.float16, np.float32, np.float64):
        kept = numbers if dtype != np.float16 else numbers[[0, 1, 3, 4]]
        wanted = np.where(kept == 0, 0, np.abs(np.spacing(kept.astype(dtype)).astype(float)))
        np.testing.assert_allclose(spacing(kept.astype(dtype).astype(float), dtype), wanted, rtol=1e-6)
    assert epsilon(jax.numpy.bfloat16) == 2**-7
    assert epsilon(np.int32) == 0


def test_half_of_the_entries_move_to_a_neighbor():
    array = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    moved = perturbed(array.astype(float), np.float32, np.random.default_rng(1)).astype(np.float32)
    steps = np.abs(moved - array) / np.spacing(np.abs(array))
    assert set(np.round(steps)) <= {0.0, 1.0}
    assert np.mean(steps > 0) == pytest.approx(0.5, abs=0.05)
    both = perturbed(array[:2] + 1j * array[2:4], np.complex64, np.random.default_rng(1))
    assert np.all(both.imag != array[2:4])


def test_ties_stay_ties():
    """Rounding must not excuse a function that depends on the order of equal entries."""
    array = np.array([0.3, 0.7, 0.3])
    moved = perturbed(array, np.float32, np.random.default_rng(0))
    assert moved[0] == moved[2] != array[0]
    first = lambda x: x * (np.arange(x.shape[1])[:, None] == np.argmax(x, 1)[:, None])  # noqa: E731
    tied = np.round(np.random.default_rng(0).normal(size=(8, 4, 1)))
    assert not ek.audit(first, "p -> p", p=ek.S(4), data=tied).passed


def angle(x):
    a, b = x[..., 0], x[..., 1]
    cosine = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.arccos(np.clip(cosine, -1, 1))[..., None]


def lennard_jones(x):
    distance = np.linalg.norm(x[..., :, None, :, 0] - x[..., None, :, :, 0], axis=-1)
    distance = distance + np.eye(x.shape[-3], dtype=x.dtype)
    return np.triu(4 * (distance**-12 - distance**-6), 1).sum((-1, -2))[..., None]


def skewness(x):
    return ((x - x.mean(-2, keepdims=True)) ** 3).mean(-2)


FUNCTIONS = {
    "angle": (angle, "x -> ()", {"x": ek.O(3)}, (3, 2)),
    "Lennard-Jones": (lennard_jones, "p x -> ()", {"p": ek.S(6), "x": ek.O(3)}, (6, 3, 1)),
    "skewness": (skewness, "p -> ()", {"p": ek.S(20)}, (20, 1)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("batch", [(), (8,)])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_rounding_is_no_fault(name, batch, seed):
    """Invariants that are one badly conditioned number, in single precision."""
    function, signature, groups, shape = FUNCTIONS[name]
    data = np.random.default_rng(seed).normal(size=(*batch, *shape)).astype(np.float32)
    assert ek.audit(function, signature, data=data, key=jax.random.key(seed), draws=64, groups=groups).passed


def test_a_fault_of_one_sample_is_found():
    data = np.random.default_rng(0).normal(size=(64, 3, 2)).astype(np.float32)
    data[17] *= 10
    report = ek.audit(lambda x: np.where(x > 12, 0, x), "x -> x", x=ek.SO(3), data=data, draws=64)
    assert not report.passed
    assert np.argmax(report.by_sample) == 17
    assert np.median(report.by_sample) < 1e-6


def test_a_small_fault_is_found_by_the_mean():
    """An error below the spacing of numbers in half precision, which no single sample shows clearly."""
    odd = np.ones((6, 1), np.float32)
    odd[0] += 3e-6
    assert not ek.audit(lambda x: x * odd, "p -> p", p=ek.S(6), channels=4, dtype=np.float32).passed
    assert ek.audit(lambda x: x * odd.astype(x.dtype), "p -> p", p=ek.S(6), channels=4, dtype=np.float16).passed


@pytest.mark.parametrize("scale", [1e200, 1e155, 1e-165, 1e-200])
def test_squares_that_leave_float64_do_not_hide_a_fault(scale):
    data = scale * np.random.default_rng(0).normal(size=(8, 5, 1))
    report = ek.audit(weighted, "p -> p", p=ek.S(5), data=data)
    assert not report.passed
    assert report.error > 0.1
    assert 0 < report.rounding < 1e-14


def test_large_samples_do_not_excuse_a_small_one():
    def broken_if_small(x):
        return np.where(np.sum(x**2, axis=(1, 2), keepdims=True) > 1e6, x, weighted(x))

    sizes = np.array([1e9] * 7 + [1.0])[:, None, None]
    data = (sizes * np.random.default_rng(0).normal(size=(8, 5, 1))).astype(np.float32)
    assert not ek.audit(broken_if_small, "p -> p", p=ek.S(5), data=data).passed


def weighted(x):
    assert isinstance(x, np.ndarray)  # a function of NumPy
    return x * np.arange(5.0, dtype=x.dtype)[:, None]


def small(size):
    """Return a map with a fault in a channel that is small beside the others."""
    return lambda x: np.concatenate([x, size * np.abs(x[..., :1])], axis=-1)


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-30])
def test_faults_in_small_channels_are_found(size):
    report = ek.audit(small(np.float32(size)), "x -> x", x=ek.O(3), channels=2, dtype=np.float32)
    assert not report.passed
    assert np.argmax(report.by_channel["x"]) == 2
    assert max(report.by_channel["x"][:2]) < 1e-6 < 0.3 < report.by_channel["x"][2]
    assert report.kept["x"].dimension == 0
    if size < 1e-6:
        assert (report.error < report.rounding, report.worst_element.error) == (True, pytest.approx(1))
    assert f"worst channel      {report.by_channel['x'][2]:.3g}: 2 of x" in str(report)


def test_places_on_axes_without_a_group_are_channels():
    data = np.random.default_rng(0).normal(size=(16, 3, 2, 1)).astype(np.float32)
    sizes = np.array([1, 1e-9], np.float32)[:, None]
    faulty = lambda x: sizes * np.where([[False], [True]], np.abs(x), x)  # noqa: E731
    report = ek.audit(faulty, "x c -> x c", x=ek.O(3), c=ek.Fixed(2), data=data)
    assert not report.passed
    assert report.by_channel["x c"].shape == (2,)
    assert ek.audit(lambda x: sizes * x, "x c -> x c", x=ek.O(3), c=ek.Fixed(2), data=data).passed


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_no_false_alarm_in_channels_of_very_different_size(dtype):
    """Sparse units, channels that cancel, and channels below the smallest normal number."""
    random = np.random.default_rng(0)
    weights = jax.numpy.asarray(random.normal(size=(3, 32)) * 10.0 ** random.uniform(-7, 2, 32), dtype)

    def network(x):
        inner = jax.numpy.sqrt(1e-3 + (x * x).sum(1)) @ weights
        units = jax.nn.relu(inner - inner.mean(0) - jax.numpy.abs(inner).mean(0))
        return jax.numpy.concatenate([units, inner, inner - inner * 0.999, 1e-30 * inner], -1)

    data = jax.numpy.asarray(random.normal(size=(64, 4, 3)), dtype)
    assert ek.audit(network, "x -> ()", x=ek.O(4), data=data).passed
