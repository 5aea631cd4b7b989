"""Fused kernels, interpreted on a CPU: the values and gradients of the definition, in float32 and in half precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import PLAIN, as_floats, assert_close, compiled, random_inputs, random_masks, random_weights
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import apply, kernels, plan

FREE = {"p": ek.S, "q": ek.S, "f": ek.Fixed(PLAIN["f"]), "g": ek.Fixed(PLAIN["g"])}
SIZES = {"p": 5, "q": 3}
SIGNATURES = [
    ("p -> p", {}),
    ("p p -> p p", {}),
    ("p -> p p", {}),
    ("p p -> ()", {}),
    ("() -> p p", {}),
    ("p p + p -> p p + p", {}),
    ("p p + p + () -> p p + p + ()", {}),
    ("a: p p + b: p p -> c: p", {}),
    ("p q -> q q p", {}),
    ("q p q -> p q", {}),
    ("p p p -> p p", {}),
    ("p p p -> p p p", {"p": ek.S(3)}),
    ("p f -> g p p", {}),
    ("f p g p -> p f", {}),
    ("x p -> p x", {"x": ek.O(3)}),
    ("p p x -> p p x", {"x": ek.SO(4)}),
    ("x x x -> x x x", {"x": ek.O(3)}),
    ("x x -> x x", {"x": ek.O(1, 2)}),
    ("p y -> p y", {"y": ek.Sp(4)}),
    ("v v* -> v v*", {"v": ek.GL(3)}),
    ("p -> p p", {"p": ek.A(5)}),
    ("p b -> p b", {"b": ek.Bistochastic(3)}),
]
MASKED = ("p p -> p p", "p p + p -> p p + p", "q p q -> p q")


def prepare(signature, groups, normalize="mean", masked=False, batch=(2,), sizes=None, channels=(3, 2)):
    labels = {word.rstrip("*") for word in signature.replace("->", " ").split()} & {*FREE, *groups}
    space = ek.hom(signature, groups={label: {**FREE, **groups}[label] for label in labels})
    count = [len(side) for side in (space.signature.inputs, space.signature.outputs)]
    program = plan(space, ((channels[0],) * count[0], (channels[1],) * count[1]), normalize=normalize, bias=True)
    known = {**SIZES, **(sizes or {})}
    full = {label: known[label] if size is None else size for label, size in program.signature.sizes.items()}
    x, w = random_inputs(program, full, batch), random_weights(program)
    mask = random_masks(program, full, batch) if masked else None
    given = {label: full[label] for label, size in program.signature.sizes.items() if size is None}
    return lambda x, w, **options: apply(program, x, w, mask=mask, sizes=given, **options), x, w


def with_gradient(function):
    """The results of a function, and the gradient of a number that depends on each of them."""

    def both(x, w):
        found, pull = jax.vjp(function, x, w)
        return {"values": found, "gradient": pull(jax.tree.map(jnp.cos, found))}

    return both


def flat(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_fused(function, x, w, tolerance, run=with_gradient):
    """Compare the kernels in float32 with the definition in float64, evaluated in NumPy."""
    with kernels("interpret"):
        found = compiled(run(functools.partial(function, method="fused")), *as_floats((x, w)))
    with jax.enable_x64(True):
        expected = in_numpy(run(functools.partial(function, method="naive")), x, w)
    assert_close(flat(found), flat(expected), tolerance)


def test_the_kernels_compute_the_layer_and_its_gradient():
    function, x, w = prepare("p p -> p p", {}, masked=True, batch=(2, 1))
    assert_fused(function, x, w, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("signature", "groups"), SIGNATURES, ids=[text for text, _ in SIGNATURES])
def test_signatures(signature, groups):
    function, x, w = prepare(signature, groups)
    assert_fused(function, x, w, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("signature", MASKED)
def test_masks(signature, normalize):
    function, x, w = prepare(signature, {}, normalize, masked=True)
    assert_fused(function, x, w, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "batch"),
    [  # kernels see the product of the batch axes: each size with several samples, each batch below and above a tile
        *((size, (2, 3)) for size in (0, 1, 2, 16, 19)),
        *((size, batch) for size in (2, 19) for batch in ((), (2,), (0,))),
        (0, ()),
    ],
    ids=str,
)
def test_sizes_that_no_tile_divides(size, batch):
    function, x, w = prepare("p p -> p p", {}, sizes={"p": size}, batch=batch, channels=(1, 5))
    assert_fused(function, x, w, 1e-5)


@pytest.mark.parametrize(("sizes", "channels"), [({"p": 2, "q": 0}, (1, 2)), ({"p": 3, "q": 2}, (0, 2))], ids=str)
def test_arrays_without_entries_need_no_kernel(sizes, channels):
    function, x, w = prepare("p q -> p", {}, sizes=sizes, batch=(2,), channels=channels, masked=True)
    assert_fused(function, x, w, 1e-5)


@pytest.mark.slow
def test_programs_that_take_several_samples():
    function, x, w = prepare("p p -> p p", {}, sizes={"p": 2}, batch=(4103,), masked=True)
    assert_fused(function, x, w, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [(17, 33), (64, 1)])
def test_channels_of_any_number(channels):
    function, x, w = prepare("p p -> p p", {}, channels=channels)
    assert_fused(function, x, w, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["p p -> p p", "p q -> q q p", "x p -> p x"])
def test_second_derivatives_in_reverse_mode(signature):
    function, x, w = prepare(signature, {"x": ek.O(3)}, masked=signature == "p p -> p p")

    def second(function):
        def first(x, w):
            return jax.grad(lambda x, w: sum(jnp.sum(jnp.sin(y)) for y in function(x, w).values()), (0, 1))(x, w)

        return jax.grad(lambda x, w: sum(jnp.sum(jnp.cos(a)) for a in jax.tree.leaves(first(x, w))), (0, 1))

    assert_fused(function, x, w, 1e-4, second)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("signature", ["p p -> p p", "x p -> p x"])
def test_half_precision_is_summed_in_float32(signature, dtype):
    function, x, w = prepare(signature, {"x": ek.O(3)})
    x, w = (jax.tree.map(lambda a: np.asarray(jnp.asarray(a, dtype), np.float64), tree) for tree in (x, w))
    with kernels("interpret"):
        fused = with_gradient(functools.partial(function, method="fused"))
        found = flat(compiled(fused, *as_floats((x, w), dtype)))
    with jax.enable_x64(True):
        expected = flat(in_numpy(with_gradient(functools.partial(function, method="naive")), x, w))
    assert {leaf.dtype for leaf in found.values()} == {jnp.dtype(dtype)}
    step = float(jnp.finfo(dtype).eps)
    assert_close({name: np.asarray(leaf, np.float64) for name, leaf in found.items()}, expected, 3 * step)


@pytest.mark.slow
def test_large_sums_do_not_overflow_in_half_precision():
    program = ek.hom("p -> p", p=ek.S).plan(normalize="mean")
    x, w = jnp.full((1000, 1), 200, jnp.float16), {"p -> p": jnp.ones((2, 1, 1), jnp.float16)}
    with kernels("interpret"):
        assert np.asarray(apply(program, x, w, method="fused")).tolist() == [[400.0]] * 1000


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"remat": True}, {"chunk_size": 2}], ids=str)
def test_options_of_a_run(options):
    function, x, w = prepare("p p -> p p", {}, batch=(3,))
    assert_fused(lambda x, w, method: function(x, w, method=method, **options), x, w, 1e-5)


@pytest.mark.slow
def test_vmap_of_inputs_and_of_weights():
    function, x, w = prepare("p p -> p p", {}, batch=(3,))

    def ways(function):
        def run(x, w):
            return function({"p p": x}, w)["p p"]

        def both(x, w):
            many = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), w)
            slope = jax.vmap(jax.grad(lambda x, w: jnp.sum(jnp.sin(run(x, w)))), (0, None))
            return {
                "inputs": jax.vmap(run, (0, None))(x["p p"], w),
                "weights": jax.vmap(run, (None, 0))(x["p p"], many),
                "gradient": slope(x["p p"], w),
            }

        return both

    assert_fused(function, x, w, 1e-5, ways)


@pytest.mark.slow
def test_the_same_program_gives_the_same_bits():
    function, x, w = prepare("p p -> p p", {}, sizes={"p": 19})
    x, w = as_floats((x, w))
    with kernels("interpret"):
        runs = [jax.jit(functools.partial(function, method="fused"))(x, w)["p p"] for _ in range(2)]
    np.testing.assert_array_equal(*runs)


def test_a_layer_takes_the_method():
    layer = ek.nn.Linear("p -> p", 1, 1, p=ek.S, method="fused", rngs=nnx.Rngs(0))
    usual = ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
    x = jnp.arange(4.0)[:, None]
    with kernels("interpret"):
        found = layer(x)
    np.testing.assert_allclose(found, usual(x), rtol=1e-6)
