"""Functionals that see the activations of neurons on probe inputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error

from equikit import OptionError
from equikit.weightspace import DWSNet, Functional, ParameterGraph, Probes, trace

SIZES = {"a": (3, 6), "b": (6,), "c": (6, 5), "d": (5, 2)}
GENERATOR = np.random.default_rng(0)
PARAMS = {name: GENERATOR.normal(size=shape) for name, shape in SIZES.items()}
X = GENERATOR.normal(size=(7, 1, 3))


def apply(params, x):
    return jnp.sin(jnp.sin(x @ params["a"] + params["b"]) @ params["c"]) @ params["d"]


SPEC = trace(apply, PARAMS, jnp.ones((4, 3)))


def probes() -> Probes:
    return Probes(ParameterGraph(SPEC), apply, jnp.asarray(X))


def test_activations_have_the_axes_of_their_layer() -> None:
    found = jax.jit(probes().by_layer)(PARAMS)
    hidden = np.sin(X[:, 0] @ PARAMS["a"] + PARAMS["b"])
    last = np.sin(hidden @ PARAMS["c"])
    want = {"in": X[:, 0], "h0": hidden, "h1": last, "out": last @ PARAMS["d"]}
    assert found.keys() == want.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, want[name].T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("out", ["", pytest.param(None, marks=pytest.mark.slow)])
def test_it_stays_equivariant_and_depends_on_the_probes(out: str | None) -> None:
    with jax.enable_x64(True):
        network = DWSNet(SPEC, [1, 4, 3], out, probes=probes(), param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        static, state = nnx.split(network)
        element = SPEC.random_element(key=jax.random.key(1))

        @jax.jit
        def run(state, params):
            return nnx.merge(static, state)(params)

        params = jax.tree.map(jnp.asarray, PARAMS)
        found = run(state, params)
        moved = run(state, SPEC.act(element, params))
        inverse = {name: np.argsort(one) for name, one in element.items()}
        back = moved if out == "" else jax.vmap(lambda p: SPEC.act(inverse, p), -1, -1)(moved)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), back, found)

        def size(state):
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run(state, params)))

        gradient = jax.grad(size)(state)
        assert np.abs(gradient["probes"]["inputs"][0][...]).max() > 1e-6


def test_probes_of_other_parameters_are_refused() -> None:
    other = trace(lambda p, x: x @ p["a"], {"a": jnp.ones((3, 4))}, jnp.ones((4, 3)))
    assert_error(
        OptionError,
        lambda: Functional(other, [1, 2], out="", probes=probes(), rngs=nnx.Rngs(0)),
        "specification of probes= is a different one",
        "Specification(",
        "Specification(",
        "probes=Probes(",
    )


def test_absent_neurons_are_refused() -> None:
    network = Functional(SPEC, [1, 2], out="", probes=probes(), rngs=nnx.Rngs(0))
    assert_error(
        OptionError,
        lambda: network(PARAMS, mask={"h0": np.arange(6) < 4}),
        "takes no mask",
        "mask=",
        "the width of spec",
        "leave mask out",
    )
