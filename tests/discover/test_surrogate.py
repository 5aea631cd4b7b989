"""Surrogates as functions: what they accept, and JAX transformations of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek

X = np.random.default_rng(0).normal(size=(50, 3))
Y = np.sum(X**2, axis=1, keepdims=True)


def fitted(data=X, targets=Y, **options):
    return ek.discover.surrogate(data, targets, key=jax.random.key(0), epochs=1, hidden=(4,), **options)


@pytest.fixture(scope="module")
def model():
    return fitted()


def test_arrays_of_other_shapes_are_refused(model):
    for wrong in (X[0], X[:, :1], np.ones((5, 4)), X[..., None]):
        got = f"shape {list(wrong.shape)}"
        assert_error(
            ek.ShapeError, lambda x=wrong: model(x), "data must have shape", got, "[samples, 3]", "[samples, 3]"
        )
    assert_error(ek.ShapeError, lambda: jax.vmap(model)(X), "data must have", "shape [3]", "[samples, 3]", "an array")
    for wrong, got in (("a", "str"), (np.ones((5, 3), int), "int64"), ({"x": X}, "dict"), (X.tolist(), "list")):
        step = "jnp.asarray(data, float)"
        assert_error(ek.DTypeError, lambda x=wrong: model(x), "data must be an array of real", got, "float32", step)


def test_an_empty_batch_has_empty_outputs(model):
    assert model(X[:0]).shape == (0, 1)


def test_it_can_be_transformed(model):
    np.testing.assert_allclose(jax.jit(model)(X), model(X), atol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda x: model(x[None])[0])(X), model(X), atol=1e-5)
    assert jax.grad(lambda x: model(x).sum())(X).shape == X.shape


def test_arrays_by_name_are_those_of_the_fit():
    model = fitted({"a": X, "b": X[:, :2]}, {"c": Y})
    given = {"b": jnp.asarray(X[:, :2]), "a": jnp.asarray(X)}
    np.testing.assert_allclose(jax.jit(model)(given)["c"], model(given)["c"], atol=1e-5)
    for wrong, got in ((X, "one array"), ({"a": X}, "'a'"), (given | {"z": X}, "'z'")):
        step = "an array for each name"
        assert_error(ek.ShapeError, lambda x=wrong: model(x), "the data do not have", got, "'a', 'b'", step)
    for wrong in (X[:3, :2], X):
        got = f"shape {list(wrong.shape)}"
        assert_error(ek.ShapeError, lambda x=wrong: model(given | {"b": x}), "b must have", got, "[50, 2]", "[50, 2]")


def test_options_and_data_without_meaning_are_refused():
    for batch in (None, float("inf"), 0):
        assert_error(ek.OptionError, lambda b=batch: fitted(batch=b), "batch=", str(batch), "integer", "batch=256")
    for wrong in (3.0, None):
        got, kind = type(wrong).__name__, ek.DTypeError
        assert_error(
            kind, lambda x=wrong: fitted(x), "data must be an array", got, "float32", "jnp.asarray(data, float)"
        )
        assert_error(
            kind, lambda x=wrong: fitted(X, x), "targets must be", got, "float32", "jnp.asarray(targets, float)"
        )
