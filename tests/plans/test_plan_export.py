"""Ahead of time: one artifact for every batch and every n, written and read again, with its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, assert_error, partly_slow
from jax import export

import equikit as ek

# The size of an axis as a symbol, and sizes to call the artifact at.
ODD = ("n", (1, 2, 5))
EVEN = ("2*h", (2, 4))
CASES = {
    "p -> p": (ODD, {"p": ek.S}),
    "p p -> p p": (ODD, {"p": ek.S}),
    "p p p -> p p p": (ODD, {"p": ek.S}),
    "p p p -> p": (ODD, {"p": ek.S}),
    "p p -> p q": (ODD, {"p": ek.S, "q": ek.S(3)}),
    "x x -> x x": (ODD, {"x": ek.O}),
    "x x x -> x": (ODD, {"x": ek.O}),
    "p x -> p x": (ODD, {"p": ek.S, "x": ek.SO(3)}),
    "z z -> z z": (EVEN, {"z": ek.Sp}),
    "z z z -> z": (EVEN, {"z": ek.Sp}),
    "h h -> h h": (ODD, {"h": ek.H}),
    "b b -> b b": (ODD, {"b": ek.Bistochastic}),
    "u u* -> u u*": (ODD, {"u": ek.GL}),
}
GRADIENTS = ["p -> p", "p p -> p p", "x x -> x x", "z z -> z z"]
SLOW = ["p p p -> p p p"]


def layer_and_shapes(signature):
    """A layer as a function of its parameters and an input, and the shapes of these with symbols."""
    (symbol, _), groups = CASES[signature]
    kind = jnp.complex64 if "u" in groups else jnp.float32
    module = ek.nn.Linear(signature, 2, 3, groups=groups, rngs=nnx.Rngs(0), param_dtype=kind)
    static, params = nnx.split(module)
    batch, n = export.symbolic_shape(f"batch, {symbol}")
    labels = module.signature.inputs[0].labels
    bound = module.signature.sizes
    sizes = [n if bound[label] is None else bound[label] for label in labels]
    x = jax.ShapeDtypeStruct((batch, *sizes, 2), kind)
    return jax.jit(lambda params, x: nnx.merge(static, params)(x)), params, x


def inputs(signature, x):
    """Arrays of several sizes, each with a batch of its own."""
    (_, sizes), _ = CASES[signature]
    rng = np.random.default_rng(0)
    for batch, size in enumerate(sizes, start=1):
        shape = (batch, *(one if isinstance(one, int) else size for one in x.shape[1:]))
        yield jnp.asarray(rng.normal(size=shape), x.dtype)


@pytest.mark.parametrize(
    "signature", partly_slow([(signature,) for signature in CASES], lambda place: place not in (2, 3, 4))
)
def test_one_program_serves_every_batch_and_size(signature):
    layer, params, x = layer_and_shapes(signature)
    saved = export.export(layer)(params, x)
    for array in inputs(signature, x):
        assert_close(saved.call(params, array), layer(params, array), 1e-5)


@pytest.mark.parametrize(
    "signature", [*GRADIENTS, *(pytest.param(signature, marks=pytest.mark.slow) for signature in SLOW)]
)
def test_an_artifact_that_is_read_again_has_the_layers_values_and_gradients(signature):
    pytest.importorskip("flatbuffers")
    layer, params, x = layer_and_shapes(signature)
    # An artifact knows arrays in dictionaries and lists, but not the state of a module.
    tree, shape = jax.tree.flatten(params)
    saved = export.export(jax.jit(lambda tree, x: layer(jax.tree.unflatten(shape, tree), x)))(tree, x)
    read = export.deserialize(bytearray(saved.serialize(vjp_order=1)))

    def slopes(function):
        return jax.grad(lambda tree, x: jnp.sum(jnp.sin(function(tree, x))), argnums=(0, 1))

    for array in [*inputs(signature, x)][1:]:
        assert_close(read.call(tree, array), layer(params, array), 1e-5)
        expected = slopes(lambda tree, x: layer(jax.tree.unflatten(shape, tree), x))(tree, array)
        jax.tree.map(lambda a, b: assert_close(a, b, 1e-4), slopes(read.call)(tree, array), expected)


@pytest.mark.parametrize("constraints", [(), ("mod(n, 2) == 0",)])
def test_symbols_that_are_not_twice_another_are_refused_for_sp(constraints):
    layer, params, x = layer_and_shapes("z z -> z z")
    batch, n = export.symbolic_shape("batch, n", constraints=constraints)
    shape = jax.ShapeDtypeStruct((batch, n, n, 2), x.dtype)
    assert_error(
        ek.ShapeError,
        lambda: export.export(layer)(params, shape),
        "the symbolic size of axis 'z' is not twice a symbol, and Sp needs an even one",
        "n",
        "an even number",
        '"batch, 2*half"',
    )


def test_a_symbol_for_a_bound_axis_is_refused():
    layer = ek.nn.Linear("p -> p", 1, 1, p=ek.S(3), rngs=nnx.Rngs(0))
    (n,) = export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((n, 1), jnp.float32)
    assert_error(
        ek.ShapeError,
        lambda: export.export(jax.jit(layer.__call__))(shape),
        "input 'p' has size n on axis 'p', but p is bound to S(3)",
        "shape [n, 1]",
        "[*batch, p=3, 1 channels]",
        "bind p=ek.S for any size, or give every 'p' size 3",
    )


@pytest.mark.parametrize(("signature", "group"), partly_slow([("p p, p -> p p", ek.S), ("p, p -> p p", ek.O)], (1,)))
def test_multilinear_layers(signature, group):
    layer = ek.nn.Multilinear(signature, (2, 2), 3, p=group, rngs=nnx.Rngs(0))
    batch, n = export.symbolic_shape("batch, n")
    axes = [len(part.split()) for part in signature.split("->")[0].split(",")]
    shapes = [jax.ShapeDtypeStruct((batch, *(n,) * k, 2), jnp.float32) for k in axes]
    saved = export.export(jax.jit(lambda *x: layer(*x)))(*shapes)
    for count, size in ((1, 2), (3, 5)):
        x = [jnp.ones((count, *(size,) * k, 2)) * (1 + i) for i, k in enumerate(axes)]
        assert_close(saved.call(*x), layer(*x), 1e-5)
