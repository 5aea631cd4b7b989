"""Wrong derivatives are found where they are, and right ones are not blamed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import derivative_errors

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@jax.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, g: (2 * x**2 * g,))  # should be 3


class Part(nnx.Module):
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


class Energy(nnx.Module):
    def __init__(self, *functions):
        self.parts = nnx.List([Part(function) for function in functions])

    def __call__(self, x):
        for part in self.parts:
            x = part(x)
        return jnp.sum(x, -1)


def detached(x):
    return x - jax.lax.stop_gradient(x.mean(-1, keepdims=True))


@pytest.mark.parametrize(
    ("functions", "first", "place"),
    [
        ((jnp.sin, detached, jnp.tanh), "parts.1", "stop_gradient (test_derivatives.py:"),
        ((cube, detached), "parts.0", "custom_vjp_call (test_derivatives.py:"),
        ((jnp.sin, jax.nn.softmax, jnp.tanh), None, None),  # softmax detaches its maximum, which does not matter
        ((lambda x: jnp.round(x) * 1.0, jnp.tanh), None, None),  # differences are zero too
    ],
)
def test_the_first_wrong_module(functions, first, place):
    report = derivative_errors(Energy(*functions), X)
    assert report.first_wrong == first
    assert place is None if report.place is None else report.place.startswith(place)
    assert (report.whole[0] > 0.05) is (first is not None)
    assert ("first wrong" in str(report)) is (first is not None)
    assert list(report.errors) == [f"parts.{i}" for i in range(len(functions))] + ["output"]


def test_several_inputs_and_plain_functions():
    report = derivative_errors(lambda given: jnp.sum(cube(given["a"]) * given["b"]), {"a": X, "b": X + 1})
    assert report.first_wrong.startswith("custom_vjp_call")


def test_a_small_fault_in_a_sum_is_followed_to_its_rule():
    sine = jax.custom_jvp(jnp.sin)
    sine.defjvp(lambda x, dx: (jnp.sin(x[0]), 1.07 * jnp.cos(x[0]) * dx[0]))
    report = derivative_errors(lambda x: jnp.sum(sine(x) ** 2 + x), X)
    assert report.first_wrong.startswith("custom_jvp_call")


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_five_percent_in_a_part_of_a_sum(weight):
    sine = jax.custom_jvp(jnp.sin)
    sine.defjvp(lambda x, dx: (jnp.sin(x[0]), 1.05 * jnp.cos(x[0]) * dx[0]))
    for seed in range(3):
        faulty = lambda x: jnp.sum(sine(x)) + weight * jnp.sum(jnp.cos(x) ** 2)  # noqa: E731
        report = derivative_errors(faulty, X, key=jax.random.key(seed))
        assert report.first_wrong.startswith("custom_jvp_call")


def test_kinks_are_not_blamed():
    """In float32, steps of differences are long: some of 1,500 units change sign within them."""
    random = np.random.default_rng(0)
    layers = [random.normal(size=shape).astype(np.float32) for shape in ((3, 128), (128, 1))]
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=(12, 3)).astype(np.float32)
        network = lambda x: jnp.sum(jax.nn.relu(x @ layers[0]) @ layers[1])  # noqa: E731
        assert derivative_errors(network, x, key=jax.random.key(seed)).first_wrong is None


def test_integers_have_no_derivative():
    report = derivative_errors(lambda x: jnp.take(x, jnp.argmax(x, 1), axis=0).sum(), X)
    assert report.first_wrong is None


@pytest.mark.parametrize("function", [lambda x: np.sin(np.asarray(x)), lambda x: np.linalg.norm(np.array(x))])
def test_functions_without_derivatives(function):
    with pytest.raises(ek.OptionError, match="derivatives"):
        derivative_errors(function, X)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: None, "there are no numbers that the function returns"),
        (lambda x: x[:0], "there are no numbers that the function returns"),
        (lambda x: x * jnp.nan, "the outputs are not finite"),
        (lambda x: jnp.sum(jnp.sqrt(x - x[0])[:1]), "the derivatives are not finite"),
        (lambda x: jnp.sum(jnp.sqrt(0 * x)), "the derivatives are not finite"),
        (lambda x: jnp.sum(jnp.sqrt(jnp.abs(x - X))), "the derivatives are not finite"),
    ],
)
def test_functions_without_finite_derivatives(function, text):
    with pytest.raises(ek.OptionError, match=text):
        derivative_errors(function, X)


def test_a_module_of_flax_that_reads_numbers():
    with pytest.raises(ek.OptionError, match="no derivatives to check"):
        derivative_errors(Energy(lambda x: x * float(x[0, 0])), X)


def test_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")

    class Detached(torch.nn.Module):
        def forward(self, x):
            return x - x.mean(-1, keepdim=True).detach()

    net = torch.nn.Sequential(torch.nn.Linear(3, 4), Detached(), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    assert derivative_errors(net, torch.tensor(X)).first_wrong == "1"
    net[1] = torch.nn.Identity()
    assert derivative_errors(net, torch.tensor(X)).first_wrong is None
