"""Dense layers that read or make flattened images are loaded in the order of the model, or refused."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_states import convolved, drawn, linear, of_linear
from helpers import assert_error
from numpy.testing import assert_allclose, assert_array_equal

from equikit import OptionError
from equikit.weightspace import load, name_map

FLATTENED = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,)} | of_linear("a", 80, 7) | of_linear("b", 7, 2)
IMAGES = np.random.default_rng(2).normal(size=(3, 6, 7, 3)).astype(np.float32)


def features_of(params: Any, x: Any) -> jax.Array:
    dims = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=dims)
    return jnp.tanh(x + params["conv"]["bias"])


def flattened(params: Any, x: Any) -> Any:
    """A convolution, an image of 4 × 5 pixels with four channels, and two dense layers."""
    x = features_of(params, x)
    *inputs, _ = params["a"]["kernel"].shape
    x = jnp.tensordot(x.reshape(-1, *inputs), params["a"]["kernel"], len(inputs))
    return jnp.tanh(x + params["a"]["bias"]) @ params["b"]["kernel"] + params["b"]["bias"]


def params_of_flattened(*inputs: int) -> Any:
    shapes = {"conv": (3, 3, 3, 4), "a": (*inputs, 7), "b": (7, 2)}
    return {name: {"kernel": np.ones(shape), "bias": np.ones(shape[-1])} for name, shape in shapes.items()}


@pytest.mark.parametrize("inputs", [(80,), (20, 4), (4, 5, 4)])
def test_flattened_images_have_channels_first(inputs: tuple[int, ...]) -> None:
    state, params = drawn(FLATTENED), params_of_flattened(*inputs)
    hidden = np.tanh(convolved(state, "conv", IMAGES.transpose(0, 3, 1, 2))).reshape(len(IMAGES), -1)
    truth = linear(state, "b", np.tanh(linear(state, "a", hidden)))
    names = name_map(state, params, apply=flattened, x=IMAGES)
    found = names.load(state, params)
    assert_allclose(np.asarray(flattened(found, IMAGES)), truth, atol=1e-5)
    for name, array in names.store(found).items():
        assert_array_equal(array, state[name])
    if inputs == (80,):
        assert "a.weight.reshape(7, 4, 4, 5).transpose(2, 3, 1, 0).reshape(80, 7)" in str(names)


def test_the_model_tells_what_is_behind_an_image() -> None:
    """The first matrix is square; the second reads its result and two kinds of pooled images."""
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,)} | of_linear("a", 80, 80) | of_linear("b", 88, 2)
    state, sizes = drawn(shapes), {"conv": (3, 3, 3, 4), "a": (80, 80), "b": (88, 2)}
    params = {name: {"kernel": np.ones(size), "bias": np.ones(size[-1])} for name, size in sizes.items()}

    def pooled(params: Any, x: Any) -> Any:
        x = features_of(params, x)
        hidden = jnp.tanh(x.reshape(len(x), -1) @ params["a"]["kernel"] + params["a"]["bias"])
        hidden = jnp.concatenate([hidden, x.mean((1, 2)), x.max((1, 2))], axis=-1)
        return hidden @ params["b"]["kernel"] + params["b"]["bias"]

    image = np.tanh(convolved(state, "conv", IMAGES.transpose(0, 3, 1, 2)))
    hidden = np.tanh(linear(state, "a", image.reshape(len(image), -1)))
    hidden = np.concatenate([hidden, image.mean((2, 3)), image.max((2, 3))], axis=-1)
    found = load(state, params, apply=pooled, x=IMAGES)
    assert_allclose(np.asarray(pooled(found, IMAGES)), linear(state, "b", hidden), atol=1e-4)


DECODED = of_linear("fc", 8, 120) | {"conv.weight": (3, 6, 3, 3), "conv.bias": (3,)}
LATENT = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)


def decoded(params: Any, x: Any, dilation: int = 1) -> Any:
    image = jnp.tanh(x @ params["fc"]["kernel"] + params["fc"]["bias"]).reshape(len(x), 5, 4, 6)
    options: Any = {"lhs_dilation": (dilation, dilation), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    return jax.lax.conv_general_dilated(image, params["conv"]["kernel"], (1, 1), [(0, 0), (0, 0)], **options)


def params_of_decoded() -> Any:
    sizes = {"fc": (8, 120), "conv": (3, 3, 6, 3)}
    return {name: {"kernel": np.ones(size), "bias": np.ones(size[-1])} for name, size in sizes.items()}


def test_outputs_that_become_an_image_have_channels_first() -> None:
    state, params = drawn(DECODED), params_of_decoded()
    found = load(state, params, apply=decoded, x=LATENT)
    image = np.tanh(linear(state, "fc", LATENT)).reshape(2, 6, 5, 4)
    truth = convolved(state | {"conv.bias": np.zeros(3)}, "conv", image)
    assert_allclose(np.asarray(decoded(found, LATENT)).transpose(0, 3, 1, 2), truth, atol=1e-5)
    texts = "outputs of 'fc/kernel' is not known", "names and shapes", "it flattens", "apply=apply, x=x"
    assert_error(OptionError, lambda: load(state, params), *texts)
    kernel = {"conv/kernel": lambda arrays: arrays["conv.weight"].transpose(2, 3, 1, 0)}  # of a transposed convolution
    again = load(state, params, apply=lambda p, x: decoded(p, x, dilation=2), x=LATENT, names=kernel)
    assert_array_equal(again["fc"]["kernel"], found["fc"]["kernel"])


def test_the_order_behind_an_image_is_not_guessed() -> None:
    state, params = drawn(FLATTENED), params_of_flattened(80)
    texts = (
        "'a/kernel' is not known",
        "names and shapes alone",
        "which axes it flattens",
        "load(checkpoint, params, apply=",
    )
    assert_error(OptionError, lambda: load(state, params), *texts)

    def sorted_first(params: Any, x: Any) -> Any:
        x = jnp.sort(features_of(params, x).reshape(len(x), -1), axis=-1)
        return (x @ params["a"]["kernel"] + params["a"]["bias"]) @ params["b"]["kernel"] + params["b"]["bias"]

    texts = "'a/kernel' is not known", "in the traced model", "which axes it flattens", "a function that returns"
    assert_error(OptionError, lambda: load(state, params, apply=sorted_first, x=IMAGES), *texts)
    names = {"a/kernel": lambda arrays: arrays["a.weight"].T}
    assert_array_equal(load(state, params, names=names)["a"]["kernel"], state["a.weight"].T)


READERS: dict[str, tuple[Callable[..., jax.Array], int]] = {
    "an image and a vector": (lambda image, x: jnp.concatenate([flat(image), x[:, 0, 0]], -1), 83),
    "two images": (lambda image, x: jnp.concatenate([flat(image), flat(image)], -1), 160),
    "channels between positions": (lambda image, x: flat(image[:, :, :4].reshape(-1, 4, 2, 2, 4).swapaxes(3, 4)), 64),
    "frames of a film": (lambda image, x: image.reshape(1, -1), 240),
    "the input itself": (lambda image, x: flat(x) + image.mean(), 126),
}


def flat(image: Any) -> jax.Array:
    return image.reshape(len(image), -1)


@pytest.mark.parametrize("name", READERS)
def test_orders_that_the_model_does_not_tell_are_refused(name: str) -> None:
    """PyTorch has the channels of each image first, but these features are more than one image, or another one."""
    reader, size = READERS[name]
    state = drawn({"conv.weight": (4, 3, 3, 3), "conv.bias": (4,)} | of_linear("fc", size, 2))
    params = {"conv": params_of_flattened(80)["conv"], "fc": {"kernel": np.ones((size, 2)), "bias": np.ones(2)}}

    def run(params: Any, x: Any) -> Any:
        return reader(features_of(params, x), x) @ params["fc"]["kernel"] + params["fc"]["bias"]

    texts = "inputs of 'fc/kernel'", "in the traced model", "positions, then features", "a function that returns"
    assert_error(OptionError, lambda: load(state, params, apply=run, x=IMAGES), *texts)


def test_fused_projections_beside_convolutions() -> None:
    state = drawn({"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "in_proj_weight": (12, 4)})
    params: Any = {"conv": params_of_flattened(80)["conv"]}
    params |= {name: {"kernel": np.ones((4, 4))} for name in ("query", "key", "value")}

    def run(params: Any, x: Any) -> Any:
        tokens = features_of(params, x).reshape(len(x), -1, 4)
        q, k, v = (tokens @ params[name]["kernel"] for name in ("query", "key", "value"))
        return jax.nn.softmax(q @ k.swapaxes(1, 2)) @ v

    found = load(state, params, apply=run, x=IMAGES)
    assert_array_equal(found["key"]["kernel"], state["in_proj_weight"][4:8].T)


def test_widths_behind_pooled_features_are_no_images() -> None:
    """A head of two layers on pooled features needs no model, although the second reads a multiple of the channels."""
    state = drawn({"conv.weight": (4, 3, 3, 3), "conv.bias": (4,)} | of_linear("a", 4, 8) | of_linear("b", 8, 2))
    params = params_of_flattened(4) | {"a": {"kernel": np.ones((4, 8)), "bias": np.ones(8)}}
    params |= {"b": {"kernel": np.ones((8, 2)), "bias": np.ones(2)}}
    assert_array_equal(load(state, params)["b"]["kernel"], state["b.weight"].T)


def test_flattened_images_of_models_with_channels_last_stay() -> None:
    params = params_of_flattened(80)
    state = {f"{module}.{name}": array for module, its in params.items() for name, array in its.items()}
    state["a.kernel"] = np.random.default_rng(0).normal(size=(80, 7)).astype(np.float32)
    assert_array_equal(load(state, params)["a"]["kernel"], state["a.kernel"])
