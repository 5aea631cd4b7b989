"""The `repr` of a layer is the call that makes it, with the number of its maps and parameters."""

import re

import jax
import jax.numpy as jnp
import pytest
import treescope
from flax import nnx
from public_layers import LAYERS

import equikit as ek
from equikit.nn._functions import relu

S, O3 = ek.S, ek.O(3)
NAMES = vars(ek) | vars(ek.nn) | {"tanh": jnp.tanh, "relu": relu, "bfloat16": jnp.bfloat16}


def rngs():
    return nnx.Rngs(0)


SHOWN = {
    'Linear("p p -> p p", 16, 32, p=S)  # 15 maps, 7,744 parameters': lambda: ek.nn.Linear(
        ek.hom("p p -> p p", p=S), 16, 32, rngs=rngs()
    ),
    'Linear("a: p p + p -> p f", (2, 1), 3, use_bias=False, normalize="sum", dtype=bfloat16, method="factored", '
    "f=Fixed(2), p=S)  # 14 maps, 72 parameters": lambda: ek.nn.Linear(
        {"a": ("p p", 2), "p": 1},
        {"p f": 3},
        normalize="sum",
        use_bias=False,
        method="factored",
        dtype=jnp.bfloat16,
        f=ek.Fixed(2),
        p=S,
        rngs=rngs(),
    ),
    'Linear({"gate of p": ("p", 2)}, {"p": 1}, p=S(4))  # 2 maps, 5 parameters': lambda: ek.nn.Linear(
        {"gate of p": ("p", 2)}, {"p": 1}, p=S(4), rngs=rngs()
    ),
    'Linear("method -> ()", 1, 1, groups={"method": S})  # 1 map, 2 parameters': lambda: ek.nn.Linear(
        "method -> ()", 1, 1, groups={"method": S}, rngs=rngs()
    ),
    'Linear("p x~ + det(x) -> x~", (1, 2), 1, p=S, x=O(3))  # 1 map, 1 parameter': lambda: ek.nn.Linear(
        ek.hom("p x~ + det(x) -> x~", p=S, x=O3), (1, 2), 1, rngs=rngs()
    ),
    'Linear("v* -> v*", 1, 1, v=GL(2))  # 1 map, 1 parameter': lambda: ek.nn.Linear(
        "v* -> v*", 1, 1, v=ek.GL(2), rngs=rngs()
    ),
    'Invariant({"my p": ("p", 2)}, out_channels=3, p=S)  # 1 map, 9 parameters': lambda: ek.nn.Invariant(
        {"my p": ("p", 2)}, out_channels=3, p=S, rngs=rngs()
    ),
    'Multilinear("sym(x, x) -> x x", 2, 2, mode="channelwise", x=O(3))  # 2 maps, 4 parameters': (
        lambda: ek.nn.Multilinear("sym(x, x) -> x x", 2, mode="channelwise", x=O3, rngs=rngs())
    ),
    'Pool("p p", how="max", p=S)': lambda: ek.nn.Pool("p p", how="max", p=S),
    "DeepSets(2, [3, 3], 1, activation=tanh,  # 52 parameters": lambda: ek.nn.DeepSets(
        2, [3, 3], 1, activation=jnp.tanh, rngs=rngs()
    ),
}


def made(text):
    """The layer that the first line of a `repr` makes."""
    call = re.sub(r",?(?:\)  #.*|  #.*|\))$", "", text.splitlines()[0])
    try:
        return eval(f"{call})", dict(NAMES))
    except TypeError:
        return eval(f"{call}, rngs=RNGS)", NAMES | {"RNGS": rngs()})


@pytest.mark.parametrize(("text", "make"), SHOWN.items(), ids=SHOWN)
def test_a_layer_shows_the_call_that_makes_it(text, make):
    layer = make()
    assert repr(layer).splitlines()[0] == text
    assert nnx.graphdef(made(text)) == nnx.graphdef(layer)


COMPLETE = [name for name in LAYERS if name not in ("Network", "MatrixNetwork", "GraphNetwork", "Residual", "Stack")]
"""Layers and networks whose first line has every argument; of the others the parts inside have the rest."""


@pytest.mark.parametrize("name", COMPLETE)
def test_what_a_layer_shows_makes_the_layer(name):
    layer, _ = LAYERS[name]
    assert nnx.graphdef(made(repr(layer))) == nnx.graphdef(layer)


@pytest.mark.parametrize(("layer", "_"), LAYERS.values(), ids=LAYERS)
def test_no_layer_shows_the_dataclasses_inside(layer, _):
    for text in (repr(layer), str(layer)):
        assert not re.search(r"Signature\(|Term\(|RunOptions\(|Array\(|<function", text)
        assert type(layer).__name__ in text


@pytest.mark.filterwarnings("ignore:The chararray class:DeprecationWarning")  # of treescope 0.1
@pytest.mark.parametrize("name", ["Linear", "Network", "Dropout", "Stack"])
def test_notebooks_show_the_call_and_the_parameters(name):
    layer, _ = LAYERS[name]
    text = treescope.render_to_text(layer, ignore_exceptions=False)
    call = repr(layer).splitlines()[0].partition("  #")[0].strip("),")
    assert text.startswith(type(layer).__name__)
    assert call in text.splitlines()[0]
    assert not re.search(r"Signature\(|Term\(|RunOptions\(", text)


@pytest.mark.parametrize(("layer", "_"), LAYERS.values(), ids=LAYERS)
def test_the_number_of_parameters_is_the_size_of_the_state(layer, _):
    size = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(layer, nnx.Param)))
    shown = re.search(r"([\d,]+) parameters?$", repr(layer).splitlines()[0])
    assert (int(shown[1].replace(",", "")) if shown else 0) == size


def test_a_network_lists_its_layers_and_a_module_of_the_user_too():
    network, _ = LAYERS["Network"]
    assert repr(network).splitlines()[0] == (
        'Network([{"x": 2}, {"": 3, "x": 2}, {"": 3, "x": 2}, {"": 1}], residual=True, x=O(3),  # 305 parameters'
    )
    assert '  head=Linear("() + x -> ()", (3, 2), 1, x=O(3))  # 1 map, 4 parameters' in repr(network)

    class Model(nnx.Module):
        def __init__(self):
            self.layer = ek.nn.Linear("p -> p", 1, 1, p=S, rngs=rngs())

    assert '  layer=Linear("p -> p", 1, 1, p=S)  # 2 maps, 3 parameters' in repr(Model())


def test_an_abstract_layer_shows_its_parameters_without_allocating_them():
    layer = nnx.eval_shape(lambda: ek.nn.Linear("p p -> p p", 10**5, 10**5, p=S, rngs=nnx.Rngs(0)))
    assert repr(layer) == 'Linear("p p -> p p", 100000, 100000, p=S)  # 15 maps, 150,000,200,000 parameters'


def test_a_layer_is_shown_inside_transformations_and_after_a_split():
    layer, texts = ek.nn.Linear("p -> p", 2, 2, p=S, rngs=rngs()), []

    @nnx.jit
    def apply(layer, x):
        texts.append(repr(layer))
        return layer(x)

    apply(layer, jnp.ones((3, 2)))
    assert [*texts, repr(nnx.merge(*nnx.split(layer)))] == [repr(layer)] * 2
