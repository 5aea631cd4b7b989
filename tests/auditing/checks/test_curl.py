"""The curl of forces: against exact Jacobians, and where automatic differentiation is blind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import equikit as ek
from equikit.auditing import curl_error

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
A = np.random.default_rng(1).normal(size=(12, 12))


def linear(matrix):
    return lambda x: (matrix.astype(x.dtype) @ x.reshape(-1)).reshape(x.shape)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_error_is_that_of_the_jacobian(weight):
    matrix = (A + A.T) * (1 - weight) + (A - A.T) * weight
    exact = np.linalg.norm(matrix - matrix.T) / (2 * np.linalg.norm(matrix))
    found = curl_error(linear(matrix), X.astype(float), pairs=50)
    assert found.error == pytest.approx(exact, rel=0.2, abs=1e-6)
    assert found.passed is (weight == 0)


@pytest.mark.parametrize("how", ["automatic", "differences", "both"])
def test_gradients_have_no_curl(how):
    force = jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 2 * jnp.roll(x, 1)))
    assert curl_error(force, jnp.asarray(X), how=how, pairs=3).passed
    bent = curl_error(lambda x: force(x) + 0.1 * jnp.roll(x, 1, 1), jnp.asarray(X), how=how, pairs=3)
    assert not bent.passed
    assert bent.error > 0.005


def test_only_differences_see_a_detached_part():
    force = jax.grad(lambda x: jnp.sum(jnp.tanh(x - jax.lax.stop_gradient(x.mean(0) ** 2)) ** 2))
    found = {how: curl_error(force, jnp.asarray(X), how=how).passed for how in ("automatic", "differences", "both")}
    assert found == {"automatic": True, "differences": False, "both": False}


def test_a_constant_force_is_a_gradient():
    assert curl_error(lambda x: 0 * x + 1.0, X.astype(float)).error == 0
    assert str(curl_error(lambda x: 0 * x + 1.0, X.astype(float))) == "0 (rounding explains 0)"


def test_forces_that_are_none():
    with pytest.raises(ek.ShapeError, match="the force does not have the shape of its input"):
        curl_error(lambda x: x.sum(0), X)
    with pytest.raises(ek.OptionError, match="the forces are not finite"):
        curl_error(lambda x: x * jnp.nan, jnp.asarray(X))
    with pytest.raises(ek.OptionError, match="pairs= must be a whole number ≤ 1,000,000"):
        curl_error(lambda x: x, X, pairs=10**30)
    with pytest.raises(ek.OptionError, match="unknown value for how="):
        curl_error(lambda x: x, X, how="auto")
    with pytest.raises(ek.OptionError, match="the force cannot be differentiated"):
        curl_error(lambda x: jnp.asarray(np.sin(np.asarray(x))), jnp.asarray(X), how="automatic")


def test_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")

    def force(x, detach):
        x = x.detach().requires_grad_() if not x.requires_grad else x
        mean = x.mean(0).detach() ** 2 if detach else x.mean(0) ** 2
        return torch.autograd.grad((torch.tanh(x - mean) ** 2).sum(), x, create_graph=True)[0]

    passed = [curl_error(lambda x, d=d: force(x, d), torch.tensor(X)).passed for d in (False, True)]
    assert passed == [True, False]


def test_an_input_without_entries_is_refused():
    with pytest.raises(ek.OptionError, match="there are no entries of x"):
        curl_error(lambda x: -x, X[:0])
