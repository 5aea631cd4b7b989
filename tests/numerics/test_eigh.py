"""The eigendecomposition of small matrices: against NumPy, and its derivatives against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from helpers import assert_error
from jax.test_util import check_grads

import equikit as ek
from equikit.symmetrization import eigh

compiled = jax.jit(eigh)
gradient = jax.jit(jax.grad(lambda matrix: sum(jnp.sum(jnp.cos(part)) for part in eigh(matrix))))


@jax.jit
def slope_of_trace(matrix, direction):
    return jax.jvp(lambda matrix: jnp.sum(jnp.exp(eigh(matrix)[0])), (matrix,), (direction,))[1]


CASES = {
    "random": lambda rng, d: rng.normal(size=(20, d, d)),
    "rank one": lambda rng, d: rng.normal(size=(20, d, 1)) * np.ones((1, 1, d)),
    "zero": lambda rng, d: np.zeros((20, d, d)),
    "identity": lambda rng, d: np.tile(np.eye(d) * 3, (20, 1, 1)),
    "nearly equal": lambda rng, d: np.eye(d) + 1e-6 * rng.normal(size=(20, d, d)),
    "diagonal": lambda rng, d: np.tile(np.eye(d) * np.arange(d)[::-1], (20, 1, 1)),
    "ones": lambda rng, d: np.ones((20, d, d)),
}


def symmetric(name, d, dtype):
    matrix = CASES[name](np.random.default_rng(0), d)
    return (matrix + np.swapaxes(matrix, -1, -2)).astype(dtype)


@pytest.mark.usefixtures("full_compile", "x64")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("name", CASES)
def test_it_is_numpys(name, d, scale, dtype):
    matrix = symmetric(name, d, np.float64)
    values, vectors = compiled(jnp.asarray(matrix * scale, dtype))
    assert values.dtype == vectors.dtype == dtype
    eps = np.finfo(dtype).eps * 20
    np.testing.assert_allclose(values / scale, np.linalg.eigvalsh(matrix), atol=eps * np.abs(matrix).max(initial=0))
    again = vectors * (values / scale)[..., None, :] @ vectors.mT
    np.testing.assert_allclose(again, matrix, atol=eps * np.abs(matrix).max(initial=0))
    np.testing.assert_allclose(vectors.mT @ vectors, np.broadcast_to(np.eye(d), matrix.shape), atol=eps)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("d", [1, pytest.param(2, marks=pytest.mark.slow), 3, 4])
def test_derivatives_are_finite_differences_where_eigenvalues_differ(d):
    matrix = jnp.asarray(symmetric("random", d, np.float64)[:2] + np.diag(np.arange(d) * 3.0))

    def function(matrix):
        values, vectors = eigh((matrix + matrix.mT) / 2)
        return jnp.sin(values), vectors**2  # of either sign

    check_grads(jax.jit(function), (matrix,), order=2, modes=["fwd", "rev"], atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["zero", "identity", "rank one", "ones"])
@pytest.mark.parametrize("d", [2, 3, 4])
def test_derivatives_of_what_no_basis_matters_for(name, d):
    """The trace of the matrix exponential has the derivative tr(exp(A) dA), also where eigenvalues meet."""
    matrix = jnp.asarray(symmetric(name, d, np.float64)[0])
    direction = jnp.asarray(symmetric("random", d, np.float64)[0])

    found = slope_of_trace(matrix, direction)
    wanted = np.trace(scipy.linalg.expm(np.asarray(matrix)) @ direction)
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)  # of numbers up to exp(8)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_gradients_are_finite(name, d):
    matrix = jnp.asarray(symmetric(name, d, np.float64))
    assert np.isfinite(gradient(matrix)).all()


@pytest.mark.usefixtures("full_compile", "x64")
def test_not_a_number_is_passed_on():
    values, vectors = compiled(jnp.full((20, 3, 3), jnp.nan, jnp.float32))
    assert np.isnan(values).all()
    assert np.isnan(vectors).any()


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (1, 1)])
def test_empty(shape):
    values, vectors = eigh(jnp.ones(shape))
    assert values.shape == shape[:-1]
    assert vectors.shape == shape


@pytest.mark.usefixtures("full_compile", "x64")
def test_under_vmap_and_jit():
    matrix = jnp.asarray(symmetric("random", 3, np.float32))
    for one, other in zip(jax.jit(jax.vmap(eigh))(matrix), compiled(matrix), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.usefixtures("full_compile")
def test_only_the_symmetric_part_enters_in_any_precision():
    for d in (3, 4):
        matrix = np.random.default_rng(0).normal(size=(d, d))
        for dtype in (jnp.bfloat16, jnp.float32):
            values, vectors = compiled(jnp.asarray(matrix, dtype))
            assert values.dtype == vectors.dtype == dtype
            wanted = np.linalg.eigvalsh(matrix + matrix.T) / 2
            np.testing.assert_allclose(np.asarray(values, float), wanted, atol=8 * float(jnp.finfo(dtype).eps))


def test_errors():
    for dtype in (jnp.complex64, jnp.int32):
        matrix = jnp.eye(2, dtype=dtype)
        assert_error(
            ek.DTypeError,
            lambda matrix=matrix: eigh(matrix),
            "matrix must be an array of real floating-point numbers",
            str(matrix.dtype),
            "bfloat16",
            "pass jnp.asarray(matrix, float)",
        )
    for shape in ((3,), (2, 3)):
        assert_error(
            ek.ShapeError,
            lambda shape=shape: eigh(jnp.ones(shape)),
            "matrix must have shape [*batch, d, d]",
            str(list(shape)),
            "d, d",
            "x",
        )
