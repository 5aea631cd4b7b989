"""What programs do with parameters and neurons, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import MODELS

from equikit.weightspace import graph
from equikit.weightspace.tracing._usage import ACTIVATIONS, USES, Use


def uses(apply, params, x, kind="neurons"):
    """The use of each parameter, with one step, and of each label."""
    made = graph(apply, params, x, kind)
    each = zip(made.spec.leaves, made.usage.params, strict=True)
    return {leaf.name: its[0] if len(its) == 1 else its for leaf, its in each} | dict(made.usage.labels)


PARAMETERS = {
    "perceptron": {  # five parameters are met one after another
        "w0": Use(("product",), ("tanh",), 0.1, 0.1),
        "b0": Use(("added",), ("tanh",), 0.3, 0.3),
        "w1": Use(("product",), ("max",), 0.5, 0.5),
        "w2": Use(("product",), (), 0.9, 0.9),
        "in": Use((), (), 0.0, 0.0),
        "h0": Use((), ("tanh",), 0.2, 0.4),
        "h1": Use((), ("max",), 0.6, 0.8),
        "out": Use((), (), 1.0, 1.0),
    },
    "tied_layers": {"hidden": Use(("product",), ("tanh",), 1.5 / 8, 5.5 / 8)},
    "autoencoder_with_tied_weights": {"w": Use(("product",), ("max",), 0.5 / 3, 2.5 / 3), "in": Use((), (), 0.0, 1.0)},
    "scanned_layers": {
        "hidden": tuple(Use(("product",), ("tanh",), place / 12, place / 12) for place in (3, 5, 7, 9)),
        "h3": Use((), ("tanh",), 4 / 6, 4 / 6),
    },
    "branches": {"h0": Use((), ("max", "tanh"), 1 / 3, 2 / 3)},
    "equilibrium": {"w": Use(("product",), ("tanh",), 0.5, 0.5), "out": Use((), (), 1.0, 1.0)},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_uses_and_positions_are_those_of_the_program(name: str) -> None:
    found = uses(*MODELS[name]())
    for what, wanted in PARAMETERS[name].items():
        for one, two in zip(*(x if isinstance(x, tuple) else (x,) for x in (found[what], wanted)), strict=True):
            assert (one.kinds, one.activations) == (two.kinds, two.activations)
            np.testing.assert_allclose((one.first, one.last), (two.first, two.last))


def test_normalizations_and_tables_are_told_apart() -> None:
    found = uses(*MODELS["convolution_with_batch_norm"]())
    kinds = {"mean": "subtracted", "var": "divided", "scale": "scaled", "bias": "added"}
    for name, kind in kinds.items():
        its = next(use for which, use in found.items() if which.endswith(f"BatchNorm_0/{name}"))
        assert (its.kinds, its.activations) == ((kind,), ("max",))
    assert found["params/Conv_0/kernel"].kinds == ("convolution",)
    tied = uses(*MODELS["language_model_with_tied_embedding"]())
    assert tied["embedding"].kinds == ("product", "looked up")
    assert tied["position"].kinds == ("added",)


def test_gates_of_a_recurrent_cell_have_different_nonlinearities() -> None:
    found = uses(*MODELS["gru"]())
    after = {name: found[f"params/GRUCell_0/{name}/kernel"].activations for name in ("ir", "in", "hn")}
    assert after == {"ir": ("logistic",), "in": ("tanh",), "hn": ("product",)}
    assert found["h0"].activations == ("tanh", "logistic", "product")


FUNCTIONS = {
    "leaky": (lambda y: jax.nn.leaky_relu(y), ("selection",)),
    "silu": (jax.nn.silu, ("logistic", "product")),
    "gelu": (lambda y: jax.nn.gelu(y, approximate=False), ("erf", "product")),
    "sine": (jnp.sin, ("sine",)),
    "square": (jnp.square, ("power",)),
    "softplus": (lambda y: jnp.log(1 + jnp.exp(y)), ("exponential", "logarithm")),
    "selu": (lambda y: jnp.where(y > 0, y, jnp.expm1(-jnp.abs(y))), ("exponential", "absolute value", "selection")),
    "linear": (lambda y: 3 - y / 2 + jnp.where(True, y, 0), ()),
    "other": (jnp.atan, ("other",)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nonlinearities_have_names(name: str) -> None:
    function, wanted = FUNCTIONS[name]
    params = {"a": np.ones((3, 4)), "b": np.ones((4, 2))}
    found = uses(lambda p, x: function(x @ p["a"]) @ p["b"], params, np.ones((5, 3)))
    assert found["h0"].activations == wanted
    assert {*found["a"].activations} <= {*wanted}  # only the next ones
    assert bool(found["a"].activations) == bool(wanted)
    assert found["b"].activations == ()


OPERATIONS = {
    "subtracted": lambda x, p: x - p,
    "added": lambda x, p: p - x,
    "scaled": lambda x, p: x / (1 / p),
    "divided": lambda x, p: x * jax.lax.rsqrt(p + 1),
    "looked up": lambda x, p: x + p[jnp.argmax(x, axis=-1)][:, None],
    "other": lambda x, p: jnp.arctan2(x, p),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_uses_of_a_vector_have_names(name: str) -> None:
    params = {"a": np.ones((3, 4)), "v": np.ones(4), "unused": np.ones(2)}
    found = uses(lambda p, x: OPERATIONS[name](x @ p["a"], p["v"]), params, np.ones((5, 3)))
    assert found["v"].kinds == (name,)
    assert found["unused"] == Use()


def test_softmax_is_exponential_quotient_and_maximum() -> None:
    found = uses(*MODELS["attention"]())
    assert {"exponential", "quotient", "pooling"} < {*found["h0"].activations}
    assert found["h1"].activations == ("product",)


def test_the_vocabularies_are_those_of_the_documentation() -> None:
    assert len(USES) == 8
    assert len(ACTIVATIONS) == 14
