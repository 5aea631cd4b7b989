"""Saved weights are loaded where they mean the same, and refused elsewhere."""

import json
import pickle

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit.nn import _saved, check_saved, describe

BROKEN = {"layers": None}, {"layers": []}, {"layers": {"": None}}, {"shapes": None}, {"shapes": [[2, 3]]}
NUMBERED = {"shapes": {0: [2]}}, {"layers": {0: {}}}, {"layers": {"": {0: "sum"}}}


def linear(signature="p p -> p", channels=2, seed=0, **options):
    return ek.nn.Linear(signature, channels, 3, rngs=nnx.Rngs(seed), **({"p": ek.S} | options))


def saved(model):
    return json.loads(json.dumps(describe(model)))


MODELS = {
    "linear": linear,
    "multilinear": lambda seed=0: ek.nn.Multilinear("x, x x -> x", 2, 3, x=ek.O(3), rngs=nnx.Rngs(seed)),
    "graphs": lambda seed=0: ek.nn.GraphNetwork(1, [4], 3, rngs=nnx.Rngs(seed)),
    "jets": lambda seed=0: ek.nn.Network(
        [{"h m": 1}, {"": 4, "h m": 2}, {"": 1}], h=ek.S, m=ek.Lorentz, rngs=nnx.Rngs(seed)
    ),
    "attention": lambda seed=0: ek.nn.Attention({"p": 4}, heads=2, p=ek.S, rngs=nnx.Rngs(seed)),
    "law": lambda seed=0: ek.nn.ConstitutiveLaw(ek.O(3), hidden=(4,), rngs=nnx.Rngs(seed)),
}
models = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@models
def test_a_description_of_the_same_model_is_accepted(make):
    check_saved(make(seed=1), saved(make()))
    check_saved(nnx.eval_shape(make), saved(make()))
    check_saved(make(), saved(nnx.eval_shape(make)))


def test_a_description_has_every_layer_and_every_array():
    description = saved(MODELS["graphs"]())
    assert description["format"] == ek.nn.FORMAT
    assert description["equikit"] == ek.__version__
    assert description["layers"] == {
        "head": {"signature": "() -> ()", "normalize": "mean"},
        "layers.0": {"signature": "edges: p p -> p p, p=S", "normalize": "mean"},
        "pool": {"signature": "p p -> (), p=S", "normalize": "mean"},
    }
    assert description["shapes"]["layers.0.kernel.edges -> p p"] == [15, 1, 4]
    assert len(description["shapes"]) == len(jax.tree.leaves(nnx.state(MODELS["graphs"]())))


@pytest.mark.compiled
def test_orbax_saves_arrays_and_description_together(tmp_path):
    layer = linear()
    items = {
        "state": ocp.args.StandardSave(nnx.to_pure_dict(nnx.state(layer))),
        "description": ocp.args.JsonSave(describe(layer)),
    }
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(0, args=ocp.args.Composite(**items))
    other = linear(seed=1)
    graph, state = nnx.split(other)
    with ocp.CheckpointManager(tmp_path) as manager:
        check_saved(
            other, manager.restore(0, args=ocp.args.Composite(description=ocp.args.JsonRestore()))["description"]
        )
        wanted = ocp.args.StandardRestore(nnx.to_pure_dict(state))
        found = manager.restore(0, args=ocp.args.Composite(state=wanted))["state"]
    nnx.replace_by_pure_dict(state, found)
    x = np.ones((4, 4, 2), np.float32)
    np.testing.assert_array_equal(nnx.merge(graph, state)(x), layer(x))


def test_pickle_saves_arrays_and_description_together():
    layer, other = linear(), linear(seed=1)
    state, description = pickle.loads(pickle.dumps((nnx.state(layer), describe(layer))))
    check_saved(other, description)
    nnx.update(other, state)
    x = np.ones((4, 4, 2), np.float32)
    np.testing.assert_array_equal(other(x), layer(x))


def test_another_format_is_refused(monkeypatch):
    description = saved(linear())
    monkeypatch.setattr(_saved, "FORMAT", ek.nn.FORMAT + 1)
    assert_error(
        OptionError,
        lambda: check_saved(linear(), description),
        "saved in another format",
        f"format {ek.nn.FORMAT}, of equikit {ek.__version__}",
        f"format {ek.nn.FORMAT + 1}",
        f"load them with equikit {ek.__version__}",
    )


@pytest.mark.parametrize(
    ("signatures", "before", "after", "setting"),
    [
        (("p p -> p", "p -> p p"), {"p": ek.S}, {"p": ek.S}, "signature"),
        (("p p -> p p",) * 2, {"p": ek.S}, {"p": ek.S(5)}, "signature"),
        (("p p -> p p",) * 2, {"p": ek.O(4)}, {"p": ek.Lorentz}, "signature"),
        (
            ("p -> p",) * 2,
            {"p": ek.MatrixGroup([[[0, -1], [1, 0]]])},
            {"p": ek.MatrixGroup([[[0, 1], [1, 0]]])},
            "signature",
        ),
        (("p p -> p p",) * 2, {"p": ek.S, "normalize": "mean"}, {"p": ek.S, "normalize": "sum"}, "normalize"),
    ],
    ids=["terms", "size", "form", "generators", "normalization"],
)
def test_weights_that_mean_other_maps_are_refused(signatures, before, after, setting):
    """All arrays have the same shapes but for the first case, so that the description alone can tell."""
    description = saved(linear(signatures[0], **before))
    with pytest.raises(SignatureError, match=f"the saved layer has another {setting}"):
        check_saved(linear(signatures[1], **after), description)


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda changed: ek.nn.ConstitutiveLaw(scale=2.0 if changed else 1.0, rngs=nnx.Rngs(0)), "scale"),
        (lambda changed: ek.nn.ConstitutiveLaw(stress_free=changed, rngs=nnx.Rngs(0)), "stress_free"),
        (
            lambda changed: ek.nn.ConstitutiveLaw(
                axes=((1, 0, 0),) if changed else ((0, 0, 1),), hidden=(4,), rngs=nnx.Rngs(0)
            ),
            "axes",
        ),
        (lambda changed: ek.nn.Radial(5.0 if changed else 3.0, 2, rngs=nnx.Rngs(0)), "cutoff"),
        (
            lambda changed: ek.nn.Radial(3.0, 2, basis="gaussian" if changed else "bessel", rngs=nnx.Rngs(0)),
            "basis",
        ),
        (lambda changed: ek.nn.Pool("p", p=ek.S, how="max" if changed else "sum"), "how"),
    ],
    ids=["scale", "stress_free", "axes", "cutoff", "basis", "how"],
)
def test_options_that_change_what_is_computed_are_refused(make, setting):
    check_saved(make(False), saved(make(False)))
    with pytest.raises(SignatureError, match=f"another {setting}"):
        check_saved(make(True), saved(make(False)))


def test_the_layer_that_differs_is_named():
    description = saved(MODELS["graphs"]())
    other = ek.nn.GraphNetwork(1, [4], 3, normalize="sum", rngs=nnx.Rngs(0))
    assert_error(
        SignatureError,
        lambda: check_saved(other, description),
        "the layer 'head' was saved with another normalize",
        'saved with normalize="mean"',
        'normalize="sum"',
        "make the model with the arguments that were saved",
    )


@pytest.mark.parametrize(
    ("other", "problem", "got", "expected"),
    [
        (lambda: linear(channels=4), "'kernel.p p -> p'", "saved with shape [5, 2, 3]", "shape [5, 4, 3]"),
        (lambda: linear(use_bias=False), "'bias.-> p'", "saved with shape [1, 3]", "no such array"),
    ],
    ids=["channels", "bias"],
)
def test_arrays_that_do_not_fit_are_refused(other, problem, got, expected):
    step = "make the model with the channels and layers that were saved"
    assert_error(ShapeError, lambda: check_saved(other(), saved(linear())), problem, got, expected, step)
    with pytest.raises(ShapeError):
        check_saved(linear(), saved(other()))


@pytest.mark.parametrize(
    "description",
    [None, {}, {"format": 1}, "format 1", *({**describe(linear()), **part} for part in (*BROKEN, *NUMBERED))],
    ids=str,
)
def test_other_descriptions_are_refused(description):
    with pytest.raises(OptionError, match=r"does not come from ek\.nn\.describe"):
        check_saved(linear(), description)


def test_only_modules_are_described():
    with pytest.raises(OptionError, match="only NNX modules"):
        describe(nnx.state(linear()))
