"""What attention refuses, and the next step of each error."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit import GL, O, S
from equikit.nn import Attention

RNGS = nnx.Rngs(0)


def make(features=None, outputs=None, **options):
    features = {"p": 4, "p x": 2} if features is None else features
    used = {*"".join([*features, *(outputs or {}), *(options.get("context") or {})])} - {" "}
    bound = {label: group for label, group in {"p": S, "t": S, "q": S, "x": O(3)}.items() if label in used}
    return Attention(features, outputs, **{"heads": 2, "rngs": RNGS, **bound} | options)


BUILDS = {
    "no set": (
        lambda: make({"x": 4}), ek.SignatureError,
        "the input features are not features of the points of a set", "x, with x=O(3)",
        "a label bound to S that every term has exactly once", 'write {"p": 32, "p x": 8}, p=ek.S, x=ek.O(3)',
    ),
    "pairs as points": (
        lambda: make({"p p": 4}), ek.SignatureError,
        "the input features are not features of the points of a set", "p p, with p=S", "exactly once", "write",
    ),
    "two sets": (
        lambda: make({"p": 4, "q": 4}), ek.SignatureError,
        "the input features are not features of the points of a set", "p, q", "every term", "write",
    ),
    "outputs of another set": (
        lambda: make({"p": 4}, {"q": 4}), ek.SignatureError,
        "the output features are not features of the points of a set", "q, with p=S, q=S", "the label 'p'", "write",
    ),
    "a context without points": (
        lambda: make({"p": 4}, context={"x": 2}), ek.SignatureError,
        "the context features are not features of the points of a set", "x, with p=S, x=O(3)", "a label bound to S",
        "write",
    ),
    "no score": (
        lambda: make({"p x": 2}, x=GL(2)), ek.SignatureError,
        "no product of a query and a key is invariant", "queries p x and keys p x",
        "features with an invariant bilinear map", 'add an invariant of each point, such as {"p": 8}',
    ),
    "no value": (
        lambda: make({"p x": 2}, {"p": 3}), ek.SignatureError,
        "no value reaches the output 'p'", "values of the kinds x", "a linear map but zero from a value",
        "remove 'p' from the outputs, or write products=8",
    ),
    "no product": (
        lambda: make({"p x": 2}, products=2), ek.OptionError,
        "no product of values and queries reaches an output", "products=2", "bilinear map", "leave products out",
    ),
    "heads": (
        lambda: make(heads=0), ek.OptionError, "heads= must be a whole number ≥ 1", "0", "an integer ≥ 1",
        "write heads=4",
    ),
    "qkv channels": (
        lambda: make(qkv_features={"": 5}), ek.OptionError,
        "the qkv channels of '' cannot be divided among the heads", "5 channels, heads=2", "a multiple of 2",
        'write qkv_features={"": 6}',
    ),
    "unused qkv": (
        lambda: make({"p": 4, "p x x": 2}, qkv_features={"": 4, "x": 2}), ek.SignatureError,
        "neither scores nor values can have the kind 'x'", "(), x", "kinds that linear maps of a point reach",
        "remove 'x' from qkv_features",
    ),
    "qkv of another label": (
        lambda: make({"p": 4}, qkv_features={"": 4, "y": 2}), ek.SignatureError,
        "neither scores nor values can have the kind 'y'", "(), y", "kinds that linear maps of a point reach",
        "remove 'y' from qkv_features",
    ),
    "pairs": (
        lambda: make(pairs={"p": 2}), ek.SignatureError,
        "the features of pairs are not invariants of a query and a key", "p", 'the labels "p p"',
        'write pairs={"p p": 4}',
    ),
    "pairs of other sets": (
        lambda: make({"p": 2}, context={"t": 2}, pairs={"p p": 2}), ek.SignatureError,
        "the features of pairs are not invariants of a query and a key", "p p", 'the labels "p t"',
        'write pairs={"p t": 4}',
    ),
    "points without space": (
        lambda: make({"p": 2}, points=2), ek.OptionError,
        "points= does not know the axis of space", "p=S", "one label bound to O(n) or SO(n)", "add x=ek.O(3)",
    ),
    "points in two spaces": (
        lambda: make({"p x": 2, "p y": 2}, points=2, y=O(2)), ek.OptionError,
        "points= does not know the axis of space", "x=O(3), y=O(2)", "one label bound to O(n) or SO(n)",
        "leave points out",
    ),
    "dropout": (
        lambda: make(dropout_rate=2.0), ek.OptionError, "dropout_rate= must be a number", "2.0", "≥ 0 and ≤ 1",
        "write dropout_rate=0.1",
    ),
    "block size": (
        lambda: make(block_size=0), ek.OptionError, "block_size= must be a whole number ≥ 1", "0", "≥ 1",
        "write block_size=256",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUILDS)
def test_layers_that_are_refused(name):
    call, error, *texts = BUILDS[name]
    assert_error(error, call, *texts)


X = {"p": np.ones((5, 4), np.float32), "p x": np.ones((5, 3, 2), np.float32)}
CONTEXT = {"t": np.ones((4, 4), np.float32)}
LAYER, CROSS = make(), make({"p": 4}, context={"t": 4})
PAIRED, POINTED = make(pairs={"p p": 1}), make(points=1)
CALLS = {
    "context": (
        lambda: LAYER(X, X), ek.OptionError, "the layer does not take context=", "context= with dict",
        "a layer that was made for it", "leave context out",
    ),
    "no context": (
        lambda: CROSS({"p": X["p"]}), ek.OptionError, "the layer needs context=", "context=None", "context=",
        "pass the features of the context after x",
    ),
    "no pairs": (
        lambda: PAIRED(X), ek.OptionError, "the layer needs pairs=", "None", "pairs=", "pass a dictionary of arrays",
    ),
    "pairs": (
        lambda: LAYER(X, pairs={"p p": X}), ek.OptionError, "the layer does not take pairs=", "dict", "no pairs=",
        "leave pairs out",
    ),
    "pairs of another size": (
        lambda: PAIRED(X, pairs={"p p": jnp.ones((4, 4, 1))}), ek.ShapeError,
        "input 'pairs p p' has size 4 on axis 'p', but it is 5 in input 'p'", "[4, 4, 1]", "[*batch, p, p, 1 channels]",
        "give every 'p' one size",
    ),
    "no positions": (
        lambda: POINTED(X), ek.OptionError, "the layer needs positions=", "None", "positions=", "pass the positions",
    ),
    "positions with channels": (
        lambda: POINTED(X, positions=jnp.ones((5, 3, 1))), ek.ShapeError, "positions have an axis of channels",
        "[5, 3, 1]", "[*batch, points, 3]", "drop the axis of channels: pass positions[..., 0]",
    ),
    "pair mask of numbers": (
        lambda: LAYER(X, pair_mask=np.ones((5, 5))), ek.DTypeError, "pair_mask= is not an array of booleans",
        "float64", "bool: True where a query sees a key", "pass jnp.asarray(pair_mask, dtype=bool)",
    ),
    "pair mask of another shape": (
        lambda: LAYER(X, pair_mask=np.ones((5, 4), bool)), ek.ShapeError, "pair_mask must have shape [5, 5]",
        "shape [5, 4]", "[5, 5]", "pass an array of shape [5, 5]",
    ),
    "mask of another size": (
        lambda: CROSS({"p": X["p"]}, CONTEXT, mask={"t": np.ones(5, bool)}), ek.ShapeError,
        "the mask for 't' has the wrong shape", "[5]", "[4]", "pass a mask of shape [4]",
    ),
    "context of another batch": (
        lambda: CROSS({"p": X["p"]}, {"t": np.ones((2, 4, 4), np.float32)}), ek.ShapeError,
        "input 'context t' has batch axes [2], but input 'p' has []", "[2, 4, 4]", "[*batch, t, 4 channels]",
        "make them equal",
    ),
    "integers": (
        lambda: LAYER(X | {"p": np.ones((5, 4), int)}), ek.DTypeError, "does not hold floating-point numbers", "int64",
        "float32", "pass x.astype(jnp.float32)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_are_refused(name):
    call, error, *texts = CALLS[name]
    assert_error(error, call, *texts)
