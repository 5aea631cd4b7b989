"""Half precision: long sums and products run in float32, forward and backward, and results keep their dtype.

Each result is that of float64, rounded a few times; sums in half precision stop growing, or are off by percents.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import in_numpy
from jax import lax

import equikit as ek
from equikit._array_checks import Shapes
from equikit.plans import apply, apply_multilinear, multilinear_weight_shape, plan, weight_shapes
from equikit.plans._apply import keyed
from equikit.plans.execution._execute import run

pytestmark = pytest.mark.compiled

apply = functools.partial(apply, method="factored")  # at small sizes "auto" takes another

HALVES = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
MANY = 100_000
SMALL = 0.1  # float16 ends at 65,504


def roundings(dtype, count=3):
    """A few times half a unit of the last place."""
    return count * float(jnp.finfo(dtype).eps) / 2


def assert_rounded(found, exact, dtype, count=3):
    assert found.dtype == dtype
    found = np.asarray(found, np.float64)
    np.testing.assert_allclose(found, np.broadcast_to(exact, found.shape), rtol=roundings(dtype, count))


def held(value, dtype):
    """What a dtype holds instead of a number."""
    return float(jnp.asarray(value, dtype))


def ones(program, dtype):
    return {name: jnp.ones(shape, dtype) for name, shape in weight_shapes(program).items()}


@HALVES
def test_sums_in_half_precision_are_far_off(dtype):
    """What the tests below would see without float32."""
    x = jnp.full((MANY, 8), SMALL, dtype)
    raw = jax.jit(lambda x: lax.reduce_sum_p.bind(x, axes=(0,), out_sharding=None))(x)
    error = abs(float(raw[0]) / MANY / held(SMALL, dtype) - 1)
    assert error > 2 * roundings(dtype)
    one_by_one = np.asarray(jnp.ones(4096, jnp.bfloat16))
    assert np.add.accumulate(one_by_one)[-1] == 256


@HALVES
@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_a_sum_of_many_entries(dtype, normalize):
    program = plan(ek.hom("p -> ()", p=ek.S), normalize=normalize)
    y = jax.jit(lambda x: apply(program, x, ones(program, dtype)))(jnp.full((1, MANY, 1), SMALL, dtype))
    assert_rounded(y, held(SMALL, dtype) * (MANY if normalize == "sum" else 1), dtype)


@HALVES
def test_the_gradient_of_a_broadcast(dtype):
    program = plan(ek.hom("() -> p", p=ek.S), (8, 8))
    weights = {"() -> p": jnp.eye(8, dtype=dtype)[None]}
    y, pull = jax.vjp(lambda x: apply(program, x, weights, sizes={"p": MANY}), jnp.ones(8, dtype))
    (by_input,) = pull(jnp.full(y.shape, SMALL, dtype))
    assert_rounded(by_input, held(SMALL, dtype) * MANY, dtype)


@HALVES
@pytest.mark.parametrize("signature", ["p -> p", "() -> ()"])
def test_gradients_of_weights_sum_over_batch_and_entries(dtype, signature):
    axes = (4,) if signature == "p -> p" else ()
    program = plan(ek.hom(signature, groups={"p": ek.S} if axes else {}), (4, 4), bias=True)
    x = jnp.ones((MANY // 4 if axes else MANY, *axes, 4), dtype)
    y, pull = jax.jit(lambda w: jax.vjp(lambda w: apply(program, x, w), w))(ones(program, dtype))
    (by_weights,) = jax.jit(pull)(jnp.full(y.shape, SMALL, dtype))
    exact = {name: held(SMALL, dtype) * MANY * np.ones(1) for name in by_weights}
    if axes:  # the second map sends each entry to the sum of four
        exact["p -> p"] = exact["p -> p"] * np.array([1.0, 4.0])[:, None, None]
    if dtype == jnp.float16:
        exact = {name: np.where(value < 65504, value, np.inf) for name, value in exact.items()}
    for name, found in by_weights.items():
        assert_rounded(found, exact[name], dtype)


LARGE = {
    "alternating group": ("p p -> p p", {"p": ek.A(4)}),
    "permutations": ("p p -> p p", {"p": ek.S(4)}),
    "rotations": ("x x -> x", {"x": ek.SO(3)}),
    "symplectic": ("x x -> x x", {"x": ek.Sp(4)}),
    "cyclic": ("x x -> x", {"x": ek.Z(3)}),
    "sets of vectors": ("p x -> p x", {"p": ek.S(4), "x": ek.O(3)}),
}


@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("name", LARGE)
def test_entries_near_the_end_of_float16_give_every_result_that_it_holds(name, normalize):
    """Single terms of the result are beyond its range; so are sums over axes."""
    text, groups = LARGE[name]
    program = plan(ek.hom(text, **groups), (4, 4), normalize=normalize, bias=True)
    sizes = {label: group.n for label, group in program.signature.groups.items()}
    shape = [sizes[label] for label in program.signature.inputs[0].labels]
    rng = np.random.default_rng(0)
    x = (5e4 * np.sign(rng.normal(size=(2, *shape, 4)))).astype(np.float16)
    weights = {name: rng.normal(size=shape) for name, shape in weight_shapes(program).items()}
    with jax.enable_x64(True):
        double = functools.partial(in_numpy, functools.partial(apply, program), x.astype(float))
        largest = np.abs(double(weights)).max()
        weights = {name: (w * 3e4 / largest).astype(np.float16) for name, w in weights.items()}
        exact = double({name: w.astype(float) for name, w in weights.items()})

    @jax.jit
    def each(x, half):
        found = {method: apply(program, x, half, method=method) for method in ("factored", "dense", "naive")}
        for spread in ("axes", "channels"):
            (found[spread],) = run(program, [x], keyed(program, half), Shapes((2,), sizes), {}, spread=spread)
        return found

    for how, y in each(x, weights).items():
        assert y.dtype == jnp.float16, how
        np.testing.assert_allclose(y, exact, rtol=roundings(y.dtype), atol=3e4 * roundings(y.dtype), err_msg=how)


@pytest.mark.parametrize("text", ["x, x -> x", "sym(x x), x -> x", "x, x -> sym(x x)", "x, x, x -> x"])
def test_products_near_the_end_of_float16(text):
    space = ek.hom(text, x=ek.SO(3))
    count = len(space.inputs)
    x = [np.full((2, *[3] * len(term.labels), 4), 400.0, np.float16) for term in space.inputs]
    x = [a * np.asarray([1, -1, 1], np.float16)[:, None] for a in x]
    weights = np.full(multilinear_weight_shape(space, [4] * count, 2), 1e-6 if count == 3 else 1e-3, np.float16)
    with jax.enable_x64(True):
        exact = in_numpy(
            functools.partial(apply_multilinear, space), [a.astype(float) for a in x], weights.astype(float)
        )

    @jax.jit
    def both(x, weights):
        return [apply_multilinear(space, x, weights, method=method) for method in ("factored", "naive")]

    for found in both(x, weights):
        assert_rounded(found, exact, jnp.float16)


@HALVES
def test_a_product_with_many_inner_features(dtype):
    program = plan(ek.hom("() -> ()", groups={}), (4096, 2))
    weights = {"() -> ()": jnp.ones((1, 4096, 2), dtype)}
    x = jnp.ones((3, 4096), dtype)
    assert_rounded(jax.jit(lambda x: apply(program, x, weights))(x), 4096, dtype, 1)
    back = plan(ek.hom("() -> ()", groups={}), (2, 4096))
    weights = {"() -> ()": jnp.ones((1, 2, 4096), dtype)}
    slope = jax.jit(jax.grad(lambda x: jnp.sum(apply(back, x, weights), dtype=jnp.float32)))(jnp.ones((3, 2), dtype))
    assert_rounded(slope, 4096, dtype, 1)


@HALVES
def test_multilinear_sums_and_their_gradients(dtype):
    x, one, weights = jnp.full((1, MANY, 2), SMALL, dtype), jnp.ones((1, 2), dtype), jnp.ones((1, 2), dtype)
    space = ek.hom("p, () -> ()", p=ek.S)
    assert multilinear_weight_shape(space, (2, 2), 2, mode="channelwise") == weights.shape
    assert_rounded(apply_multilinear(space, (x, one), weights, mode="channelwise"), held(SMALL, dtype) * MANY, dtype)
    space = ek.hom("(), () -> p", p=ek.S)

    def grown(x, w):
        return apply_multilinear(space, (x, one), w, mode="channelwise", sizes={"p": MANY})

    y, pull = jax.vjp(grown, one, weights)
    for found in pull(jnp.full(y.shape, SMALL, dtype)):
        assert_rounded(found, held(SMALL, dtype) * MANY, dtype)


@HALVES
def test_channelwise_weights_sum_over_the_batch(dtype):
    space = ek.hom("(), () -> ()", groups={})
    x = jnp.ones((MANY, 2), dtype)
    y, pull = jax.vjp(lambda w: apply_multilinear(space, (x, x), w, mode="channelwise"), jnp.ones((1, 2), dtype))
    (found,) = pull(jnp.full(y.shape, SMALL, dtype))
    assert_rounded(found, held(SMALL, dtype) * MANY, dtype)


program = plan(ek.hom("p + p p -> p", p=ek.S), (2, 3), bias=True)
cross = ek.hom("x, x -> x", x=ek.SO(3))


def mixed(p, pp, w):
    inputs = {"p": struct((4, 2), p), "p p": struct((4, 4, 2), pp)}
    weights = {name: struct(shape, w) for name, shape in weight_shapes(program).items()}
    return jax.eval_shape(lambda x, w: apply(program, x, w), inputs, weights)


def crossed(one, other, w):
    def cross(x, y, w):
        return apply_multilinear(product, (x, y), w)

    return jax.eval_shape(cross, struct((3, 1), one), struct((3, 1), other), struct((1, 1, 1, 1), w))


def layer(dtype, param_dtype):
    return ek.nn.Linear("p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=param_dtype)


def layered(module, *dtypes):
    """A layer of any kind on numbers that are not computed with."""
    shapes = {ek.nn.Linear: [(4, 2)], ek.nn.ConstitutiveLaw: [(3, 3)], ek.nn.GeometricMessage: [(4, 2), (4, 3)]}
    arrays = [struct(shape, dtype) for shape, dtype in zip(shapes[type(module)], dtypes, strict=True)]
    if isinstance(module, ek.nn.GeometricMessage):
        return jax.eval_shape(lambda x, places: module({"p": x}, places), *arrays)
    return jax.eval_shape(lambda x: module(x), *arrays)


def law():
    return ek.nn.ConstitutiveLaw(rngs=nnx.Rngs(0), param_dtype=half)


def message():
    return ek.nn.GeometricMessage({"p": 2}, {"p": 2}, cutoff=2.0, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0), param_dtype=half)


struct = jax.ShapeDtypeStruct
half, other, single, double, wide = jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64, jnp.complex128
program = plan(ek.hom("p + p p -> p", p=ek.S), (2, 3), bias=True)
product = ek.hom("x, x -> x", x=ek.SO(3))
REFUSED = {  # call, the two that do not go together, some of what came, the next step
    "weights": (
        lambda: mixed(double, single, half),
        "weights 'p -> p' in bfloat16 cannot go with input 'p' in float64",
        "input 'p' of dtype float64, input 'p p' of dtype float32, weights 'p -> p' of dtype bfloat16",
        "cast weights 'p -> p' to float64, or input 'p' to bfloat16",
    ),
    "inputs": (
        lambda: mixed(half, double, single),
        "input 'p' in bfloat16 cannot go with input 'p p' in float64",
        "input 'p p' of dtype float64",
        "cast input 'p' to float64",
    ),
    "weights-double": (
        lambda: mixed(other, other, double),
        "input 'p' in float16 cannot go with weights 'p -> p' in float64",
        "dtype float64",
        "cast input 'p' to float64, or weights 'p -> p' to float16",
    ),
    "two-halves": (
        lambda: mixed(half, other, single),
        "input 'p' in bfloat16 cannot go with input 'p p' in float16",
        "input 'p p' of dtype float16",
        "cast input 'p' to float32",
    ),
    "complex": (
        lambda: mixed(wide, wide, half),
        "weights 'p -> p' in bfloat16 cannot go with input 'p' in complex128",
        "dtype complex128",
        "cast weights 'p -> p' to float64; a layer",
    ),
    "multilinear": (
        lambda: crossed(half, double, single),
        "in bfloat16 cannot go with input",
        "weights of dtype float32",
        "to float64",
    ),
    "multilinear-weights": (
        lambda: crossed(double, double, half),
        "weights in bfloat16 cannot go with input",
        "weights of dtype bfloat16",
        "cast weights to float64",
    ),
    "layer": (
        lambda: layered(layer(None, half), double),
        "weights 'p -> p' in bfloat16 cannot go with input 'p' in float64",
        "dtype bfloat16",
        "dtype=",
    ),
    "law": (
        lambda: layered(law(), double),
        "weights 0 in bfloat16 cannot go with input 'strain' in float64",
        "input 'strain' of dtype float64",
        "cast weights 0 to float64",
    ),
    "message": (
        lambda: layered(message(), single, double),
        "in bfloat16 cannot go with input 'positions' in float64",
        "input 'positions' of dtype float64",
        "or input 'positions' to bfloat16",
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", REFUSED)
def test_half_and_double_precision_do_not_go_together(case):
    call, problem, got, step = REFUSED[case]
    assert_error(ek.DTypeError, call, problem, got, "arrays of one dtype", step)


PROMOTED = [
    ((half, half, half), half),
    ((half, half, single), single),
    ((single, half, half), single),
    ((other, single, single), single),
    ((double, double, single), double),
    ((single, double, single), double),
    ((jnp.complex64, jnp.complex64, half), jnp.complex64),
    ((wide, wide, double), wide),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("arrays", "expected"), PROMOTED)
def test_single_precision_goes_with_every_other(arrays, expected):
    assert mixed(*arrays)["p"].dtype == expected


@pytest.mark.usefixtures("x64")
def test_a_layer_with_a_dtype_casts_whatever_comes():
    for stored in (half, double):
        for computed in (half, double):
            module = layer(computed, stored)
            assert all(layered(module, x).dtype == computed for x in (half, other, single, double))
