"""Maps that are zero on a support, and layers without the maps that are zero where there are no loops."""

import copy
import json
import pickle

import jax
import numpy as np
import pytest
from by_entries import by_entries, rows_of
from flax import nnx
from helpers import assert_close, assert_error
from in_numpy import in_numpy

import equikit as ek
from equikit.diagrams import Diagrams
from equikit.nn import check_saved, describe
from equikit.plans import RunOptions, plan, to_numpy, weight_shapes

RNGS = nnx.Rngs(0)


def layer_of(signature: str = "p p -> p p", **options) -> ek.nn.Linear:
    return ek.nn.Linear(signature, 1, 1, **{"p": ek.S, "rngs": nnx.Rngs(0)} | options)


def cycle(n: int) -> np.ndarray:
    return np.roll(np.eye(n, dtype=bool), 1, axis=1)


MASKS = {
    "undirected": cycle(4) | cycle(4).T,
    "one direction": cycle(4),
    "loops": cycle(4) | cycle(4).T | np.diag([True, False, False, False]),
    "loops alone": np.eye(3, dtype=bool),
    "empty": np.zeros((3, 3), bool),
    "two nodes": cycle(2),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("signature", ["p p -> p p", "p p + () -> p + p p", "p x p -> p x"])
def test_a_map_is_active_where_it_is_not_zero(signature, kind):
    """Against the sum of the absolute values of each map on the support."""
    mask = MASKS[kind]
    more = {"x": ek.O(2)} if "x" in signature else {}
    layer = layer_of(signature, **more)
    found = layer.active(ek.Support.from_mask(mask))
    sizes, terms = {"p": len(mask), "x": 2}, layer.signature
    bare = plan(ek.hom(signature, p=ek.S, **more), bias=True)
    inputs = {t.name: np.random.default_rng(0).random((*(sizes[x] for x in t.labels), 1)) + 1 for t in terms.inputs}
    for name, weight in layer.weights().items():
        source, target = (part.strip() for part in name.split("->"))
        for number in range(len(weight)):
            one = np.zeros(weight.shape)
            one[number] = 1.0
            out = by_entries(bare, inputs, {name: one}, sizes, {2: mask})[target.strip("()")]
            assert found[name][number] == bool(np.any(out)), (name, number, source)


def test_eight_of_fifteen_maps_vanish_without_loops():
    found = layer_of().active(ek.Support.from_mask(MASKS["undirected"]))
    assert repr(found) == "Active(p p -> p p: 7 of 15, -> p p: 1 of 2)"
    assert [len(zero) for zero in found.zero.values()] == [8, 1]
    for diagram in found.zero["p p -> p p"]:
        rows = [{*block} for block in diagram.blocks]
        assert any({0, 1} <= row or {2, 3} <= row for row in rows)
    assert dict(found).keys() == {"p p -> p p", "-> p p"}
    assert len(found) == 2


def test_triangles_have_34_of_203_maps():
    pairs = ek.Support.from_mask(~np.eye(7, dtype=bool))
    layer = layer_of("p p p -> p p p")
    assert layer.active(pairs.triangles())["p p p -> p p p"].sum() == 34
    assert layer_of("p p p -> p p p", loops=False).kernel["p p p -> p p p"].shape == (34, 1, 1)


def kept_by(layer: ek.nn.Linear, full: ek.nn.Linear) -> dict[str, np.ndarray]:
    """The places of the weights of a layer without loops among all weights."""
    places = {}
    for name in full.weights():
        source, target = (part.strip() for part in name.split("->"))
        rows = [tuple(part.split()) for part in (target.strip("()"), source.strip("()"))]
        every = Diagrams(*rows, tuple(full.signature.groups.items()))
        rest = Diagrams(*rows, tuple(layer.signature.groups.items()))
        texts = [str(diagram) for diagram in every]
        places[name] = np.array([texts.index(str(diagram)) for diagram in rest], int)
    return places


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_without_loops_a_layer_is_the_layer_whose_other_weights_are_zero(normalize):
    full, layer = (layer_of("p p + p -> p p + p", loops=loops, normalize=normalize) for loops in (True, False))
    places, weights, rng = kept_by(layer, full), layer.weights(), np.random.default_rng(0)
    for name, param in [*full.kernel.items(), *full.bias.items()]:
        value = np.zeros(param.shape, np.float32)
        value[places[name]] = rng.normal(size=weights[name].shape)
        param[...] = jax.numpy.asarray(value)
        side = layer.bias if name.startswith("->") else layer.kernel
        side[name][...] = param[...][places[name]]
    mask = MASKS["loops"]
    x = {"p p": rng.normal(size=(4, 4, 1)).astype(np.float32), "p": rng.normal(size=(4, 1)).astype(np.float32)}
    dense = [in_numpy(lambda x, own=own: own(x), x) for own in (layer, full)]
    assert_close(*dense, 1e-5)
    support, rows = ek.Support.from_mask(mask), x | {"p p": rows_of(x["p p"], ("p", "p"), {2: mask})}
    sparse = [in_numpy(lambda x, own=own: own(x, support=support), rows) for own in (layer, full)]
    assert_close(*sparse, 1e-5)


def test_every_method_computes_a_layer_without_loops():
    x, layer = np.random.default_rng(0).normal(size=(3, 3, 1)).astype(np.float32), layer_of(loops=False)
    wanted = in_numpy(layer, x)
    for method in ("factored", "dense", "naive"):
        layer.options = RunOptions(method=method)
        assert_close(in_numpy(layer, x), wanted, 1e-5)
    assert_close(to_numpy(layer)(x), wanted, 1e-5)
    assert weight_shapes(layer.plan.T) == {"p p -> p p": (7, 1, 1)}


def test_a_layer_without_loops_says_so():
    layer = layer_of(loops=False)
    assert repr(layer).startswith('Linear("p p -> p p", 1, 1, loops=False, p=S)  # 7 maps, 8 parameters')
    assert not layer.loops
    assert layer_of().loops
    description = json.loads(json.dumps(describe(layer)))
    assert description["layers"][""]["loops"] == "False"
    assert "loops" not in describe(layer_of())["layers"][""]
    check_saved(layer_of(loops=False), description)
    assert_error(
        ek.EquikitError,
        lambda: check_saved(layer_of(), description),
        "the saved layer has another loops",
        "saved with loops=False",
        "loops=True",
        "make the model with the arguments that were saved",
    )
    assert pickle.loads(pickle.dumps(layer.signature)) == copy.deepcopy(layer.signature) == layer.signature


def test_bound_sizes_limit_the_maps():
    shapes = [layer_of(loops=False, p=ek.S(n)).kernel["p p -> p p"].shape[0] for n in (2, 3, 4)]
    assert shapes == [2, 6, 7]


@pytest.mark.parametrize(
    ("signature", "groups", "got"),
    [
        ("p -> p", {"p": ek.S}, "no such label"),
        ("p p q q -> p", {"p": ek.S, "q": ek.S}, "p and q"),
        ("x x -> x x", {"x": ek.O(3)}, "no such label"),
    ],
)
def test_loops_need_one_label(signature, groups, got):
    assert_error(
        ek.SignatureError,
        lambda: ek.nn.Linear(signature, 1, 1, loops=False, groups=groups, rngs=RNGS),
        "loops=False needs one label with several axes in a term, bound to S",
        got,
        "p p -> p p",
        "leave loops out",
    )


def test_active_maps_are_read_outside_jit():
    layer, support = layer_of(), ek.Support.from_mask(MASKS["loops"])
    assert_error(
        ek.OptionError,
        lambda: jax.jit(lambda s: layer.active(s)["p p -> p p"])(support),
        "the support must not be traced",
        "a tracer",
        "an array with values",
        "call active outside jit",
    )
