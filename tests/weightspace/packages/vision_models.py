"""Models of images of the packages flaim, equimo and dm-haiku."""

from __future__ import annotations

from typing import Any

import jax
import pytest
from package_models import Model, drawn, model, normal, of_equinox, of_linen


def flaim() -> Any:
    """The package flaim; an annotation of it has a name that JAX has removed."""
    if not hasattr(jax.random, "KeyArray"):
        jax.random.KeyArray = jax.Array
    return pytest.importorskip("flaim")


@model
def swin() -> Model:
    module = flaim().models.swin.Swin(
        depths=(2, 1), token_dim=6, n_heads=(2, 3), patch_size=2, window_size=2, n_classes=3
    )
    return of_linen(module, (normal(2, 8, 8, 3),))


@model
def convnext() -> Model:
    module = flaim().models.convnext.ConvNeXt(depths=(1, 1), out_dims=(6, 8), n_classes=3)
    return of_linen(module, (normal(2, 16, 16, 3),), (normal(2, 32, 32, 3),))


@model
def vit_of_equimo() -> Model:
    vision = pytest.importorskip("equimo.vision.models.vit")
    module = vision.VisionTransformer(
        *(4, 3, 6, 2, 2, [2]), mlp_ratio=2.0, reg_tokens=1, num_classes=3, key=jax.random.key(0)
    )

    def call(module, images):
        return jax.vmap(lambda image: module(image, key=jax.random.key(0), inference=True))(images)

    return of_equinox(module, call, (normal(2, 3, 4, 4),))


@model
def mobilenet() -> Model:
    hk = pytest.importorskip("haiku")
    network = hk.transform_with_state(
        lambda x, training: hk.nets.MobileNetV1(strides=(1, 2), channels=(8, 12), num_classes=3)(x, training)
    )
    image = normal(2, 17, 17, 3)
    params, state = network.init(jax.random.key(0), image, True)
    averages = {module: values["average"] for module, values in state.items()}

    def apply(given, x):
        moments = {name: {**state[name], "average": average} for name, average in given["averages"].items()}
        return network.apply(given["params"], moments, None, x, False)[0]

    return Model(apply, drawn({"params": params, "averages": averages}), (image,), (normal(2, 33, 33, 3),))
