"""Next steps of layers and networks, in the form of `CALL` in `test_steps_as_code.py`."""

import json

import jax
import jax.numpy as jnp
from flax import nnx
from names_of_steps import NAMES, RNGS

import equikit as ek


def material(**options):
    return ek.nn.ConstitutiveLaw(invariants=1, hidden=(), rngs=RNGS, **options).energy(jnp.zeros((3, 3)))


def odd_symbols(text="batch, half"):
    batch, size = jax.export.symbolic_shape(text) if isinstance(text, str) else text
    layer = ek.nn.Linear("z -> z", 1, 1, z=ek.Sp, rngs=RNGS)
    return jax.export.export(jax.jit(layer.__call__))(jax.ShapeDtypeStruct((batch, size, 1), jnp.float32))


def in_double_precision(text):
    try:
        eval(text, NAMES)
        return ek.nn.Linear("p -> p", 1, 1, p=ek.S, dtype=jnp.float64, rngs=RNGS)
    finally:
        jax.config.update("jax_enable_x64", False)


CALL = {
    "points-in-space": (
        lambda: ek.nn.GeometricMessage({"x": 1}, {"x": 1}, cutoff=1.0, x=ek.O(3), rngs=RNGS),
        '{"p": 16, "p x": 8}, p=ek.S, x=ek.O(3)',
        lambda text: eval(f"ek.nn.GeometricMessage({{'p': 1}}, {text}, cutoff=1.0, hidden=(), rngs=rngs)", NAMES),
    ),
    "powers-of-the-direction": (
        lambda powers=8: ek.nn.GeometricMessage(
            {"p x x x x": 1}, {"p x x x x": 1}, cutoff=1.0, powers=powers, hidden=(), p=ek.S, x=ek.O(3), rngs=RNGS
        ),
        "powers=1",
        None,
    ),
    "kernel-size": (
        lambda **o: ek.nn.GroupConvolution(1, ek.D(4), rngs=RNGS, **{"kernel_size": 2} | o),
        "kernel_size=3",
        None,
    ),
    "a-symbol-that-may-be-odd": (
        odd_symbols,
        'jax.export.symbolic_shape("batch, 2*half")',
        lambda text: odd_symbols(eval(text, NAMES)),
    ),
    "a-law-without-an-energy": (material, "hyperelastic=True", None),
    "channels-given-twice": (
        lambda: ek.nn.Invariant({"x x": 1}, 4, x=ek.O(3), rngs=RNGS),
        "out_channels=10",
        lambda text: eval(f"ek.nn.Linear('x -> x', 4, {text}, x=ek.O(3), rngs=rngs)", NAMES),
    ),
    "a-dead-group": (lambda **o: ek.nn.MatrixNetwork({"x": 1}, "x", rngs=RNGS, **{"x": ek.O} | o), "x=ek.O(3)", None),
    "channels-of-products": (
        lambda **o: ek.nn.Multilinear("x, x -> x", (4, 4), x=ek.SO(3), rngs=RNGS, **o),
        'mode="channelwise"',
        None,
    ),
    "double-precision": (
        lambda: ek.nn.Linear("p -> p", 1, 1, p=ek.S, dtype=jnp.float64, rngs=RNGS),
        'jax.config.update("jax_enable_x64", True)',
        in_double_precision,
    ),
    "fields-of-vectors": (
        lambda **o: ek.nn.GroupConvolution(1, ek.D(4), rngs=RNGS, **o)(jnp.ones((4, 4, 2, 1))),
        "vectors=True",
        None,
    ),
    "a-state-in-place-of-a-model": (
        lambda: ek.nn.describe(3),
        "nnx.state(model)",
        {"model": nnx.Linear(2, 2, rngs=RNGS)},
    ),
    "hidden-layers-without-products": (
        lambda **o: ek.nn.Network([{"x": 2}, {"": 4}, {"": 1}], x=ek.O(3), rngs=RNGS, **{"products": 0} | o),
        "products=8",
        None,
    ),
    "a-map-that-is-zero": (
        lambda: ek.nn.Linear("x -> ()", 1, 1, x=ek.O(3), rngs=RNGS),
        "ek.hom(...).dim",
        lambda text: eval(text.replace("...", "'x x -> ()', x=ek.O(3)"), NAMES),
    ),
    "a-product-that-is-zero": (
        lambda: ek.nn.Multilinear("x, x -> x", (1, 1), 1, x=ek.O(3), rngs=RNGS),
        "ek.hom(...).dim",
        lambda text: eval(text.replace("...", "'x, x -> x', x=ek.SO(3)"), NAMES),
    ),
    "a-description-that-is-none": (
        lambda: ek.nn.check_saved(nnx.Linear(2, 2, rngs=RNGS), 3),
        "json.dumps(ek.nn.describe(model))",
        {"json": json, "model": ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=RNGS)},
    ),
    "entries-that-are-not-permuted": (
        lambda drop="entries": ek.nn.Dropout({"x": 1}, 0.5, drop=drop, x=ek.O(3), rngs=nnx.Rngs(0))(jnp.ones((3, 1))),
        'drop="values"',
        None,
    ),
    "a-stack-that-casts": (
        lambda dtype=jnp.bfloat16: ek.nn.Stack(
            lambda rngs: ek.nn.Linear("p -> p", 1, 1, p=ek.S, dtype=dtype, rngs=rngs), 2, rngs=nnx.Rngs(0)
        )(jnp.ones((4, 1))),
        "dtype=float32",
        lambda text: CALL["a-stack-that-casts"][0](jnp.float32),
    ),
    "a-layer-in-place-of-a-function": (
        lambda: ek.nn.Stack(ek.nn.RMSNorm({"p": 1}, p=ek.S), 2, rngs=nnx.Rngs(0)),
        "make=lambda rngs: ek.nn.Residual(...)",
        lambda text: eval(
            f"ek.nn.Stack(depth=2, rngs=rngs, {text.replace('...', 'ek.nn.RMSNorm(dict(p=1), p=ek.S)')})", NAMES
        ),
    ),
    "a-complex-running-average": (
        lambda **o: ek.nn.BatchNorm({"p": 1}, p=ek.S, **o)(jnp.ones((2, 4, 1), jnp.complex64)),
        "param_dtype=jnp.complex64",
        None,
    ),
}
