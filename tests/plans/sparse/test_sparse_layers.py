"""Layers on supports: products, heads, and what they are made of."""

import numpy as np
import pytest
from by_entries import by_entries, rows_of
from flax import nnx
from helpers import assert_close, message_of
from in_numpy import in_numpy

import equikit as ek

MASK = np.random.default_rng(0).random((4, 4)) < 0.6
SIZES = {"p": 4, "x": 2}


def random_for(features, rows: bool = False):
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=(*(SIZES[x] for x in name.split()), width)) for name, width in features.items()}


def as_rows(arrays):
    return {name: rows_of(x, tuple(name.split()), {2: MASK}).astype(np.float32) for name, x in arrays.items()}


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_a_bilinear_layer_multiplies_rows(normalize):
    inputs, outputs = {"p p": 2, "x p": 1, "p": 1, "": 2}, {"p p x x": 1, "p": 2, "": 1}
    layer = ek.nn.Bilinear(inputs, 2, outputs, p=ek.S, x=ek.O(2), normalize=normalize, rngs=nnx.Rngs(0))
    dense, part = random_for(inputs), layer.plans_and_weights()
    left, right = (by_entries(own.plan, dense, own.weights, SIZES, {2: MASK}) for own in (part.left, part.right))
    products = {name: np.einsum(text, left[one], right[other]) for name, one, other, text in part.products}
    wanted = by_entries(part.mix.plan, products, part.mix.weights, SIZES, {2: MASK})
    support = ek.Support.from_mask(MASK)
    found = in_numpy(lambda x: layer(x, support=support), as_rows(dense))
    assert_close(found, as_rows(wanted), 1e-5)


def test_a_product_of_several_graphs_is_of_each():
    inputs, outputs = {"": 2, "p": 1}, {"p": 1, "": 1}
    layer = ek.nn.Bilinear(inputs, 2, outputs, p=ek.S, rngs=nnx.Rngs(0))
    one, two = (ek.Support("p p", [0], [1], n=n) for n in (2, 3))
    rng = np.random.default_rng(0)
    x = [{"": rng.normal(size=2), "p": rng.normal(size=(s.n, 1))} for s in (one, two)]
    x = [{name: a.astype(np.float32) for name, a in own.items()} for own in x]
    alone = [in_numpy(lambda x, s=s: layer(x, support=s), own) for own, s in zip(x, (one, two), strict=True)]
    both = {"": np.stack([own[""] for own in x]), "p": np.concatenate([own["p"] for own in x])}
    found = in_numpy(lambda x: layer(x, support=ek.Support.join([one, two])), both)
    assert_close(found[""], np.stack([own[""] for own in alone]), 1e-6)
    assert_close(found["p"], np.concatenate([own["p"] for own in alone]), 1e-6)


def test_a_support_for_a_label_of_the_outputs_alone():
    layer = ek.nn.Bilinear({"x": 2}, 2, {"p x x": 1}, p=ek.S, x=ek.O(2), rngs=nnx.Rngs(0))
    x = np.ones((2, 2), np.float32)
    support = ek.Support("p p", [0], [1], n=4)
    found = in_numpy(lambda x: layer({"x": x}, support=support), x)
    dense = in_numpy(
        lambda x: layer.mix(layer._multiply(layer.left({"x": x}), layer.right({"x": x})), sizes={"p": 4}), x
    )
    assert_close(found["p x x"], dense["p x x"], 1e-6)


def test_a_bilinear_layer_refuses_what_its_parts_refuse():
    layer = ek.nn.Bilinear({"p p": 1}, 1, {"p": 1}, p=ek.S, rngs=nnx.Rngs(0))
    x = {"p p": np.ones((1, 1), np.float32)}
    assert message_of(ek.OptionError, lambda: layer(x, support=[0]))["problem"] == "support= must be a Support"
    other = ek.Support("q q", [0], [1], n=2)
    problem = message_of(ek.OptionError, lambda: layer(x, support=other))["problem"]
    assert problem == "the support is for 'q', which is not a label of the signature"


def test_a_head_returns_a_row_for_each_graph():
    head = ek.nn.Invariant("p p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    parts = [ek.Support.from_mask(MASK[:n, :n]) for n in (2, 3)]
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(part.entries[2], 2)).astype(np.float32) for part in parts]
    alone = [in_numpy(lambda x, s=s: head(x, support=s), own) for own, s in zip(x, parts, strict=True)]
    found = in_numpy(lambda x: head(x, support=ek.Support.join(parts)), np.concatenate(x))
    assert found.shape == (2, 3)
    assert_close(found, np.stack(alone), 1e-6)
