"""Sums and products in pairs of floats, against exact rational numbers and float64."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equikit.numerics import (
    Double,
    double,
    matmul,
    matmul_error,
    minus,
    plus,
    power_of_two,
    principal_axes,
    rounding_error,
    total,
    transposed,
    two_sum,
    with_derivative,
)

pytestmark = pytest.mark.usefixtures("full_compile")


def pairs(rng, *shape):
    """Numbers of twice the precision, as double words and as the float64 that they are."""
    high = rng.normal(size=shape).astype(np.float32)
    low = (rng.normal(size=shape) * 2.0**-26 * np.abs(high)).astype(np.float32)
    return Double(jnp.asarray(high), jnp.asarray(low)), high.astype(float) + low


def value(number):
    return np.asarray(number.high, float) + np.asarray(number.low, float)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_sum_of_two_floats_is_exact(transform):
    rng = np.random.default_rng(0)
    one, two = (rng.normal(size=200).astype(np.float32) * 10.0 ** rng.integers(-6, 6, 200) for _ in range(2))
    one, two = one.astype(np.float32), two.astype(np.float32)
    found = transform(two_sum)(jnp.asarray(one), jnp.asarray(two))
    for a, b, high, low in zip(one, two, *found, strict=True):
        assert Fraction(float(high)) + Fraction(float(low)) == Fraction(float(a)) + Fraction(float(b))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
@pytest.mark.parametrize("k", [0, 1, 3, 128, 129, 1000])
def test_products_of_matrices_have_the_error_that_is_claimed(k, scale):
    rng = np.random.default_rng(k)
    (one, exact_one), (two, exact_two) = pairs(rng, 3, k), pairs(rng, k, 2)
    one = Double(one.high * np.float32(scale), one.low * np.float32(scale))
    found = value(matmul(one, two))
    wanted = (np.asarray(one.high, float) + np.asarray(one.low, float)) @ exact_two
    most = np.abs(exact_one).max(initial=0) * np.abs(exact_two).max(initial=0) * scale * max(k, 1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=most * matmul_error(jnp.float32, k))
    assert matmul_error(jnp.float32, k) < 1e-10


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 30000])
def test_totals(count):
    number, exact = pairs(np.random.default_rng(count), count, 2)
    np.testing.assert_allclose(value(total(number, axis=0)), exact.sum(0), rtol=0, atol=1e-12 * max(count, 1))


def test_sums_and_differences():
    (one, exact_one), (two, exact_two) = (pairs(np.random.default_rng(seed), 100) for seed in (0, 1))
    np.testing.assert_allclose(value(plus(one, two)), exact_one + exact_two, rtol=0, atol=1e-14)
    np.testing.assert_allclose(value(minus(one, two)), exact_one - exact_two, rtol=0, atol=1e-14)


def test_a_value_takes_the_derivative_of_another_one():
    def function(x):
        return with_derivative(jnp.round(x), x**2)

    assert float(function(1.4)) == 1
    assert float(jax.grad(function)(1.5)) == 3


@pytest.mark.parametrize(
    ("size", "power"),
    [(0.0, 1), (1.0, 1), (3.0, 2), (np.inf, 1), (np.nan, 1), (3.3e38, 2.0**127), (-2.0, 1), (1e-40, 1)],
)
def test_powers_of_two(size, power):
    assert float(power_of_two(jnp.float32(size))) == power


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_rounding_errors_are_those_of_rounding(dtype):
    exact = np.random.default_rng(0).normal(size=20000)
    rounded = jnp.asarray(exact).astype(dtype)
    errors = (np.asarray(rounded, float) - exact) / np.asarray(rounding_error(rounded), float)
    assert 0.95 < errors.std() < 1.05
    assert np.abs(errors).max() < 1.8  # the square root of three
    assert float(rounding_error(jnp.zeros((), dtype))) == 0


@jax.jit
@jax.vmap
def axes_of(x):
    matrix = matmul(transposed(double(x)), double(x))
    return principal_axes(matrix.high, matrix.low, jnp.zeros(()))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("thin", [1.0, 1e-2, 1e-3])
def test_principal_axes_are_as_precise_as_the_matrix(d, thin):
    """Across a thin rod too, where eigenvalues differ by less than a rounding of the largest."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(50, d, d)))[0]
    x = ((rng.normal(size=(50, 10, d)) * np.append(np.full(d - 1, thin), 1)) @ turn).astype(np.float32)
    wanted = np.swapaxes(np.linalg.svd(x.astype(float))[2], -1, -2)[..., ::-1]
    found = axes_of(x)
    products = np.abs(np.einsum("bij,bik->bjk", wanted, value(Double(found.vectors, found.tail))))
    gaps = np.abs(found.values[:, :, None] - found.values[:, None, :]) + np.eye(d)
    largest = np.max(found.values, axis=-1)[:, None, None]
    assert (np.abs(products - np.eye(d)) * gaps / largest).max() < matmul_error(jnp.float32, 10)
    # Its own estimate of what is left covers the error that its passes leave.
    assert (np.asarray(found.left) / gaps).max() < 1e-6
