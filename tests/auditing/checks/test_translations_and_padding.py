"""Translations and padding: errors by their definition, the module at fault, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import padding_error, translation_error

X = np.random.default_rng(0).normal(size=(6, 4, 3, 1)).astype(np.float32)
GROUPS = {"p": ek.S, "x": ek.O}


def centered(x):
    return x - x.mean(1, keepdims=True)


class Net(nnx.Module):
    def __init__(self, centers, rngs):
        self.center = Part(centered if centers else lambda x: x)
        self.length = Part(lambda x: jnp.sum(x**2, -2))
        self.out = nnx.Linear(1, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(self.length(self.center(x)))


class Part(nnx.Module):
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


def test_translations_of_a_model():
    right = translation_error(Net(True, nnx.Rngs(0)), "p x -> p", data=X, along="x", **GROUPS)
    assert right.passed
    assert right.first_broken is None
    wrong = translation_error(Net(False, nnx.Rngs(0)), "p x -> p", data=X, along="x", **GROUPS)
    assert not wrong.passed
    assert wrong.first_broken == "length"
    assert wrong.modules.rows[0].actions["translation"] == "shifted"
    assert "first broken: length" in str(wrong)


def test_outputs_that_move_along():
    moving = {"data": X, "along": "x", "moves": True, **GROUPS}
    assert translation_error(lambda x: 2 * x - x.mean(1, keepdims=True), "p x -> p x", **moving).passed
    assert not translation_error(centered, "p x -> p x", **moving).passed
    # Numbers do not move, and of two channels only the first is a position.
    two = {"x": np.concatenate([X[:, 0], X[:, 1]], -1)}
    both = translation_error(lambda x: x["x"][..., :1] * 0, {"x": 2}, {"x": 1}, data=two, along="x", x=ek.O)
    assert both.passed
    velocity = {"data": two["x"], "along": "x", "positions": [0], "x": ek.O}
    assert translation_error(lambda x: jnp.sum(x[..., 1:] ** 2, 1), "x -> ()", **velocity).passed
    assert not translation_error(lambda x: jnp.sum(x[..., :1] ** 2, 1), "x -> ()", **velocity).passed


def test_the_size_of_the_error_is_that_of_the_definition():
    offset = 3.0
    found = translation_error(
        lambda x: jnp.sum(x, (1, 2)) * 0 + offset + x[:, 0, 0], "p x -> ()", data=X, along="x", **GROUPS
    )
    seeds = np.random.default_rng(0)
    shifts = [np.std(X) * seeds.normal(size=3) for _ in range(3)]
    before = offset + X[:, 0, 0].astype(float)
    errors = [abs(t[0]) * np.sqrt(6) / (np.linalg.norm(before) + np.linalg.norm(before + t[0])) for t in shifts]
    assert found.error == pytest.approx(np.mean(errors), rel=1e-4)


def sets(mask_the_mean):
    def function(x, mask):
        present = mask[..., None]
        count = present.sum(1) if mask_the_mean else x.shape[1]
        return jnp.sum(jnp.where(present, jnp.tanh(x), 0), 1) / count

    return function


POINTS = X[..., 0]


@pytest.mark.parametrize("masked", [True, False])
def test_padding(masked):
    found = padding_error(sets(masked), "p -> ()", data=POINTS, along="p", p=ek.S)
    assert found.passed is masked
    assert found.error == pytest.approx(0 if masked else 3 / 11, abs=1e-6)  # 1/4 against 1/7
    assert (found.first_broken is None) is masked


def test_masks_of_layers_and_of_functions_of_numpy():
    layer = ek.nn.Linear("p p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
    pairs = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(np.float32)
    options = {"data": pairs, "along": "p", "more": 2, "as_dict": True, "p": ek.S}
    assert padding_error(layer, "p p -> p", **options).passed
    assert not padding_error(lambda x, mask: layer(x), "p p -> p", **options).passed
    found = padding_error(
        lambda x, mask: np.where(mask, x[..., 0], 0).sum(1, keepdims=True),
        "p -> ()",
        data=POINTS[..., :1],
        along="p",
        p=ek.S,
    )
    assert found.passed


def test_refusals():
    with pytest.raises(ek.OptionError, match="no input has the label 'y' once"):
        translation_error(centered, "p x -> p x", data=X, along="y", **GROUPS)
    with pytest.raises(ek.OptionError, match="no input has the label 'q'"):
        padding_error(sets(True), "p -> ()", data=POINTS, along="q", p=ek.S)
    with pytest.raises(ek.OptionError, match="the function takes no mask="):
        padding_error(lambda x: x.sum(1), "p -> ()", data=POINTS, along="p", p=ek.S)
    with pytest.raises(ek.OptionError, match="the outputs are not finite"):
        translation_error(lambda x: jnp.log(x), "p x -> p x", data=jnp.asarray(abs(X)), along="x", **GROUPS)


@pytest.mark.parametrize("result", [lambda x: None, lambda x: x[:, 0], lambda x: {"y": x}])
def test_outputs_that_do_not_fit(result):
    with pytest.raises(ek.EquivarianceError, match="the outputs of its signature"):
        translation_error(lambda x: result(x), "p x -> p x", data=X, along="x", **GROUPS)
    with pytest.raises(ek.EquivarianceError, match="the outputs of its signature"):
        padding_error(lambda x, mask: result(x), "p x -> p x", data=X, along="p", **GROUPS)


@pytest.mark.parametrize(
    ("positions", "error", "text"),
    [
        ([5], ek.OptionError, "each entry of positions= must be 0"),
        ([-1], ek.OptionError, "each entry of positions="),
        ([0.5], ek.OptionError, "each entry of positions="),
        ([], ek.OptionError, "there are no positions"),
        (0, ek.ShapeError, "positions must have shape"),
    ],
)
def test_positions_that_are_no_channels(positions, error, text):
    with pytest.raises(error, match=text):
        translation_error(centered, "p x -> p x", data=X, along="x", positions=positions, **GROUPS)


def leaking(x, mask):
    return (x * mask[..., None]).mean(1)


def test_padding_that_is_too_large():
    with pytest.raises(ek.TooLargeError, match="the padded inputs are too large"):
        padding_error(leaking, "p -> ()", data=POINTS, along="p", more=10**9, p=ek.S)


def test_data_that_reveal_nothing():
    with pytest.raises(ek.OptionError, match="all data are zero"):
        padding_error(leaking, "p -> ()", data=0 * POINTS, along="p", p=ek.S)
    # Appended entries are as large as the data, also where these are all equal.
    assert not padding_error(lambda x, mask: x.sum(1), "p -> ()", data=0 * POINTS + 1, along="p", p=ek.S).passed


def test_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")

    class Sets(torch.nn.Module):
        def __init__(self, masked):
            super().__init__()
            self.masked, self.out = masked, torch.nn.Linear(3, 1)

        def forward(self, x, mask):
            present = mask[..., None] if self.masked else 1
            return self.out((torch.tanh(x) * present).sum(1))

    passed = [
        padding_error(Sets(m), "p -> ()", data=torch.tensor(POINTS), along="p", p=ek.S).passed for m in (True, False)
    ]
    assert passed == [True, False]
    shifted = translation_error(
        lambda x: x - x.mean(1, keepdim=True), "p x -> p x", data=torch.tensor(X), along="x", **GROUPS
    )
    assert shifted.passed
    assert jax.devices()
