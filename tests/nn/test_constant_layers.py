"""Layers and networks that would ignore their input are refused; parts of them may ignore a part of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from in_numpy import by_numpy

import equikit as ek
from equikit import GL, O, S
from equikit.nn import MLP, Bilinear, Invariant, Linear, Network


def rngs():
    return nnx.Rngs(0)


CONSTANT = {
    "linear": lambda: Linear("x -> ()", 2, 3, x=O(3), rngs=rngs()),
    "linear, dictionaries": lambda: Linear({"x": 2, "x x x": 1}, {"": 3, "x x": 1}, x=O(3), rngs=rngs()),
    "invariant": lambda: Invariant("x", 2, 3, x=O(3), rngs=rngs()),
    "bilinear": lambda: Bilinear({"v": 2}, 4, {"": 1}, v=GL(2), rngs=rngs()),
    "head": lambda: Network([{"x": 2}, {"x": 3}, {"": 1}], nonlinearity="norm", products=0, x=O(3), rngs=rngs()),
    "no hidden layer": lambda: Network([{"x": 2}, {"": 1}], x=O(3), rngs=rngs()),
}
CONSTANT_NETWORKS = {
    "no products": ([{"x": 2}, {"": 4}, {"": 1}], {"products": 0}),
    "no products, gates": ([{"x": 2}, {"": 4, "x": 4}, {"": 4, "x": 2}, {"": 1}], {"products": 0}),
    "no products, norms": ([{"x": 2}, {"": 4, "x": 4}, {"": 1}], {"products": 0, "nonlinearity": "norm"}),
    "products too late": ([{"x": 2}, {"": 4}, {"": 4}, {"": 1}], {"products": [0, 8]}),
    "gates of nothing": ([{"": 2}, {"x": 4}, {"": 3}, {"": 1}], {}),
    "one of two outputs": ([{"x": 2}, {"x": 2, "": 1}, {"x": 1, "": 2}], {"products": 0}),
    "no bias": ([{"x": 2}, {"": 4}, {"": 1}], {"products": 0, "use_bias": False}),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_layers_that_ignore_their_input_are_refused(name):
    with pytest.raises(ek.SignatureError, match="no linear map but zero commutes with the group") as error:
        CONSTANT[name]()
    assert ("ek.nn.Linear" if name == "bilinear" else "ek.nn.Bilinear") in error.value.step


def linear(inputs, outputs, **options):
    return Linear(inputs, outputs, x=O(3), rngs=rngs(), **options)


PARTLY_CONSTANT = {  # a layer of its outputs, those that are reached, the one that is not, and whether it has a bias
    "zero": (lambda outputs: linear({"x": 2}, outputs, use_bias=False), {"x": 3}, "", False),
    "a bias": (lambda outputs: linear({"x": 2}, outputs), {"x": 3}, "", True),
    "two inputs": (lambda outputs: linear({"x": 2, "x x x": 1}, outputs), {"x": 3}, "x x", True),
    "products": (lambda outputs: Bilinear({"x": 2}, 4, outputs, x=O(3), rngs=rngs()), {"": 1}, "x", False),
    "products, a bias": (lambda outputs: Bilinear({"v": 2}, 4, outputs, v=GL(2), rngs=rngs()), {"v v": 1}, "", True),
}


@pytest.mark.parametrize("name", PARTLY_CONSTANT)
def test_an_output_that_no_input_reaches_is_refused_by_name(name):
    make, reached, lost, biased = PARTLY_CONSTANT[name]
    make(reached)
    with pytest.raises(ek.SignatureError, match=f"no input reaches the output {lost!r}") as error:
        make(reached | {lost: 1})
    assert f"remove {lost!r} from the outputs" in error.value.step
    assert ("only a bias is left" in error.value.problem) == biased


def test_hidden_products_have_only_the_outputs_that_they_reach():
    net = MLP([{"x": 2}, {"": 4, "x": 3}, {"": 1, "x": 2}], x=O(3), rngs=rngs())
    assert [term.name for term in net.bilinear["0"].mix.signature.outputs] == ["", "gate of x"]
    assert depends(net, {"x": (3, 2)}) == {"", "x"}


@pytest.mark.parametrize("name", CONSTANT_NETWORKS)
def test_networks_that_ignore_their_input_are_refused(name):
    features, options = CONSTANT_NETWORKS[name]
    problem = r"the output( '')? of the network does not depend on its input"
    with pytest.raises(ek.SignatureError, match=problem) as error:
        Network(features, x=O(3), rngs=rngs(), **options)
    assert ("products=8" in error.value.step) == ("products" in options)


def test_the_next_step_works():
    features, options = CONSTANT_NETWORKS["no products, gates"]
    net = Network(features, x=O(3), rngs=rngs(), **options | {"products": 8})
    assert depends(net, {"x": (3, 2)}) == {""}
    with pytest.raises(ek.OptionError, match="no product of features reaches hidden layer 1") as error:
        MLP([{"v": 2}, {"v": 4, "v*": 1}, {"": 4}, {"": 1}], v=GL(2), rngs=rngs())
    assert error.value.step.startswith("write products=[0, 8]")
    net = MLP([{"v": 2, "v*": 2}, {"v": 4, "v*": 1}, {"": 4}, {"": 1}], products=[0, 8], v=GL(2), rngs=rngs())
    assert depends(net, {"v": (2, 2), "v*": (2, 2)}) == {""}


def depends(layer, shapes):
    """The outputs that change with the input."""
    rng = np.random.default_rng(0)
    one, two = (
        by_numpy(layer)({name: rng.normal(size=(3, *shape)).astype(np.float32) for name, shape in shapes.items()})
        for _ in range(2)
    )
    return {name for name in one if np.abs(one[name] - two[name]).max(initial=0) > 0}


NETWORKS = {
    "an input that reaches nothing": ([{"x": 2, "": 1}, {"": 4}, {"": 1}], {"products": 0}, {""}),
    "products alone": ([{"x": 2}, {"": 4}, {"": 1}], {}, {""}),
    "products alone, no bias": ([{"x": 2}, {"": 4}, {"": 1}], {"use_bias": False}, {""}),
    "products first": ([{"x": 2}, {"": 4}, {"": 4}, {"": 1}], {"products": [8, 0]}, {""}),
    "gates alone": ([{"x": 2, "": 2}, {"x": 2}, {"x": 1}], {"products": 0}, {"x"}),
    "a gate on a bias": ([{"": 2}, {"x x": 2}, {"x x": 1}], {"products": 0}, {"x x"}),
    "residual": ([{"x": 2, "": 2}, {"x": 2, "": 2}, {"x": 1}], {"products": 0, "residual": True}, {"x"}),
    "no hidden layer": ([{"x": 2, "": 1}, {"": 1}], {}, {""}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_use_a_part_of_their_input_are_built(name):
    features, options, wanted = NETWORKS[name]
    net = Network(features, x=O(3), rngs=rngs(), **options)
    shapes = {label: ((3,) * len(label.split()) + (width,)) for label, width in features[0].items()}
    assert depends(net, shapes) == wanted


def test_layers_may_ignore_a_part_of_their_input():
    layer = Linear({"x": 2, "": 1}, {"": 3, "x x": 1}, x=O(3), rngs=rngs())
    assert set(layer.kernel) == {"() -> ()", "() -> x x"}
    assert Linear("() -> p p", 2, 3, p=S, rngs=rngs())(jnp.ones(2), sizes={"p": 4}).shape == (4, 4, 3)
    assert jax.eval_shape(Linear("p -> p", 0, 3, p=S, rngs=rngs()), jnp.ones((4, 0))).shape == (4, 3)
