"""What every public layer does alike: tables of `nnx.tabulate`, arrays of NumPy, misspelled options."""

import inspect

import jax
import numpy as np
import pytest
from flax import nnx
from helpers import assert_compiles, assert_tabulates
from public_layers import LAYERS, RNGS

import equikit as ek
from equikit._keywords import options_of
from equikit.nn import __all__ as PUBLIC

every_layer = pytest.mark.parametrize(("layer", "inputs"), LAYERS.values(), ids=LAYERS)


def equal(first, second):
    return jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), first, second))


def test_every_public_layer_is_tried():
    layers = {
        name for name in PUBLIC if isinstance(kind := getattr(ek.nn, name), type) and issubclass(kind, nnx.Module)
    }
    assert layers == {type(layer).__name__ for layer, _ in LAYERS.values()}


@every_layer
def test_tabulate_shows_a_layer_and_leaves_nnx_working(layer, inputs):
    assert_tabulates(layer, *inputs)


@every_layer
def test_xla_computes_what_numpy_evaluates(layer, inputs):
    assert_compiles(layer, *inputs)


@every_layer
def test_a_layer_rounds_double_precision_of_numpy_as_jax_does(layer, inputs):
    assert equal(layer(*inputs), layer(*jax.tree.map(lambda x: np.asarray(x, np.float64), inputs)))


def identity(x):
    return x


O3 = {"x": ek.O(3)}
KEY = jax.random.key(0)
CALLS = {
    "Linear": (ek.nn.Linear, ("x -> x", 1, 1), {**O3, "rngs": RNGS}, ()),
    "Bilinear": (ek.nn.Bilinear, ({"x": 1}, 1, {"": 1}), {**O3, "rngs": RNGS}, (ek.nn.Linear,)),
    "Multilinear": (ek.nn.Multilinear, ("x, x -> ()", 1, 1), {**O3, "rngs": RNGS}, ()),
    "Invariant": (ek.nn.Invariant, ("x x", 1), {**O3, "rngs": RNGS}, ()),
    "Pointwise": (ek.nn.Pointwise, (jax.numpy.tanh, "p"), {"p": ek.S}, ()),
    "Gated": (ek.nn.Gated, ({"x": 1},), O3, ()),
    "NormGated": (ek.nn.NormGated, ({"x": 1},), O3, ()),
    "Pool": (ek.nn.Pool, ("p",), {"p": ek.S}, ()),
    "RMSNorm": (ek.nn.RMSNorm, ({"x": 1},), O3, ()),
    "LayerNorm": (ek.nn.LayerNorm, ({"x": 1},), O3, ()),
    "BatchNorm": (ek.nn.BatchNorm, ({"x": 1},), O3, ()),
    "Dropout": (ek.nn.Dropout, ({"x": 1}, 0.5), {**O3, "rngs": RNGS}, ()),
    "Network": (ek.nn.Network, ([{"x": 1}, {"": 1}, {"": 1}],), {**O3, "rngs": RNGS}, (ek.nn.Linear,)),
    "MLP": (ek.nn.MLP, ([{"x": 1}, {"": 1}, {"": 1}],), {**O3, "rngs": RNGS}, (ek.nn.Linear,)),
    "DeepSets": (ek.nn.DeepSets, (1, [1], 1), {"rngs": RNGS}, (ek.nn.Linear,)),
    "GraphNetwork": (ek.nn.GraphNetwork, (1, [1], 1), {"rngs": RNGS}, (ek.nn.Linear,)),
    "GeometricMessage": (
        ek.nn.GeometricMessage,
        ({"p": 1}, {"p": 1}),
        {**O3, "p": ek.S, "cutoff": 2.0, "rngs": RNGS},
        (),
    ),
    "Attention": (ek.nn.Attention, ({"p": 1},), {"p": ek.S, "heads": 1, "rngs": RNGS}, (ek.nn.Linear,)),
    "VectorNeurons": (ek.nn.VectorNeurons, ({"x": 1}, 3), {**O3, "rngs": RNGS}, (ek.nn.Linear,)),
    "MatrixNetwork": (ek.nn.MatrixNetwork, ({"x": 1}, "x"), {**O3, "rngs": RNGS}, (ek.nn.Network, ek.nn.Linear)),
    "hom": (ek.hom, ("x -> x",), O3, ()),
    "hom-multilinear": (ek.hom, ("x, x -> ()",), O3, ()),
    "equivariance_error": (ek.testing.equivariance_error, (identity, "x -> x"), {**O3, "channels": 1, "key": KEY}, ()),
    "assert_equivariant": (
        ek.testing.assert_equivariant,
        (identity, "x -> x"),
        {**O3, "channels": 1, "key": KEY},
        (ek.testing.equivariance_error,),
    ),
    "symmetrize": (ek.symmetrize, (identity, "x -> x"), {**O3, "how": ek.frames.QR()}, ()),
}
every_call = pytest.mark.parametrize(("call", "arguments", "keywords", "inner"), CALLS.values(), ids=CALLS)


def test_every_layer_and_function_with_labels_is_tried():
    without_labels = {
        ek.nn.Residual,
        ek.nn.Stack,
        ek.nn.Radial,
        ek.nn.ConstitutiveLaw,
        ek.nn.GroupConvolution,
        ek.nn.MatrixMLP,
    }
    layers = {kind for name in PUBLIC if isinstance(kind := getattr(ek.nn, name), type)} - without_labels
    assert layers <= {call for call, *_ in CALLS.values()}


@every_call
def test_a_misspelled_option_is_answered_with_the_nearest_one(call, arguments, keywords, inner):
    options = {option for function in (call, *inner) for option in options_of(function)}
    assert "groups" in options or call in (ek.nn.DeepSets, ek.nn.GraphNetwork)
    for option in options - {"rngs"}:
        with pytest.raises(ek.OptionError) as caught:
            call(*arguments, **keywords, **{option[:-1]: None})
        assert caught.value.problem == f"{call.__name__} has no option {option[:-1]!r}"
        assert caught.value.step == f"write {option}="


@every_call
def test_a_keyword_that_is_nearly_nothing_is_an_unused_binding(call, arguments, keywords, inner):
    with pytest.raises(ek.EquikitError) as caught:
        call(*arguments, **keywords, zzz=3)
    assert "zzz" in caught.value.problem
    assert caught.value.step.startswith("remove ")


@pytest.mark.parametrize("name", [name for name, (call, *_) in CALLS.items() if "rngs" not in options_of(call)])
def test_what_has_no_parameters_takes_no_random_keys(name):
    call, arguments, keywords, _ = CALLS[name]
    with pytest.raises(ek.OptionError) as caught:
        call(*arguments, **keywords, rngs=RNGS)
    assert caught.value.problem == f"{call.__name__} has no parameters to initialize"
    assert caught.value.step == "remove rngs="


def test_a_misspelled_label_is_answered_with_the_nearest_one():
    with pytest.raises(ek.OptionError) as caught:
        ek.nn.Linear("node -> node", 1, 1, nodes=ek.S, rngs=RNGS)
    assert caught.value.step == "write node="


def positional(function):
    """The names of the arguments that can be given by position, `self` aside."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]


@every_layer
def test_options_are_keywords_after_what_the_layer_is_made_of(layer, inputs):
    kind = type(layer)
    made_of = {"signature", "features", "inputs", "outputs", "channels", "in_channels", "out_channels", "hidden"}
    made_of |= {"edge_channels", "function", "rate", "layers", "make", "depth", "cutoff", "group", "label", "vectors"}
    assert {*positional(kind.__init__)} <= made_of | {"entries", "size"}
    assert len(positional(kind.__call__)) <= max(len(inputs), 2)
    assert not {"mask", "key", "rngs"} & {*positional(kind.__init__), *positional(kind.__call__)}


@pytest.mark.parametrize("label", ["method", "self", "products"])
def test_a_label_named_like_an_argument_is_bound_by_groups(label):
    for call, given in {
        ek.nn.Linear: (f"{label} -> {label}", 1, 1),
        ek.nn.Invariant: (label, 1, 1),
        ek.nn.Bilinear: ({label: 1}, 1, {label: 1}),
        ek.nn.Network: ([{label: 1}, {label: 1}, {label: 1}],),
    }.items():
        with pytest.raises(ek.SignatureError) as caught:
            call(*given, rngs=RNGS)
        step, _, more = caught.value.step.partition(", or give the feature labels")
        assert more == ("" if call is ek.nn.Linear else f', as in {{"{label}": ("p p", 1)}}')
        keyword = step == f"add {label}=ek.S"
        assert keyword or step == f'add groups={{"{label}": ek.S}}'
        bound = {label: ek.S} if keyword else {"groups": {label: ek.S}}
        assert call(*given, rngs=RNGS, **bound)
