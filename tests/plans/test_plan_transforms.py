"""A plan under JAX's transformations: derivatives of first and second order, vmap, jit, scan, remat, export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, bindings, labels_of, random_inputs, random_masks, random_weights
from in_numpy import assert_derivatives, in_numpy

import equikit as ek
from equikit.plans import apply, plan

apply = functools.partial(apply, method="factored")  # at small sizes "auto" takes another

CASES = ["p -> p", "p p -> p p", "p p p -> p", "p -> p p p", "q p q -> p q", "p p + p -> p + ()", "p f -> g p p"]


def prepare(signature, masked=False, size=3, batch=(2,)):
    space = ek.hom(signature, groups=bindings(signature))
    program = plan(space, normalize="mean", bias=True)
    sizes = {"p": size, "q": 2, "f": 2, "g": 3}
    sizes = {label: sizes[label] for label in labels_of(signature)}
    x, w = random_inputs(program, sizes, batch), random_weights(program)
    mask = random_masks(program, sizes, batch) if masked else None
    given = {label: sizes[label] for label in program.signature.groups}
    return lambda x, w: apply(program, x, w, mask=mask, sizes=given), x, w


def loss_of(function):
    return lambda x, w: sum(jnp.sum(jnp.sin(y)) for y in function(x, w).values())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("signature", CASES)
def test_gradients_in_both_modes_against_finite_differences(signature):
    function, x, w = prepare(signature, masked=CASES.index(signature) % 2 == 0)
    assert_derivatives(loss_of(function), x, w)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("signature", "masked"),
    [("p p -> p", True), *(pytest.param(s, m, marks=pytest.mark.slow) for s in CASES for m in (False, True))],
)
def test_derivatives_of_second_order_in_both_modes(signature, masked):
    function, x, w = prepare(signature, masked)
    rng, loss = np.random.default_rng(5), loss_of(function)
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), (x, w))

    def by_gradient(x, w):
        slopes = jax.grad(loss, (0, 1))(x, w)
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, slopes, direction)))

    assert_derivatives(lambda x, w: jax.jvp(loss, (x, w), direction)[1], x, w)
    assert_derivatives(by_gradient, x, w)


@pytest.mark.usefixtures("x64")
def test_a_plan_is_linear_in_inputs_and_in_weights():
    function, x, w = prepare("p p + p -> p + ()", masked=True)
    dx = jax.tree.map(lambda a: a[::-1] + 1, x)
    zero_bias = {name: np.zeros_like(a) if name.startswith("->") else a for name, a in w.items()}
    value, tangent = in_numpy(lambda x, dx: jax.jvp(lambda x: function(x, w), (x,), (dx,)), x, dx)
    assert_close(tangent, in_numpy(function, dx, zero_bias), 1e-12)
    assert_close(value, in_numpy(function, x, w), 1e-12)
    _, tangent = in_numpy(lambda w, dw: jax.jvp(lambda w: function(x, w), (w,), (dw,)), w, zero_bias)
    assert_close(tangent, in_numpy(function, x, zero_bias), 1e-12)


@pytest.mark.usefixtures("x64")
def test_the_gradient_is_the_transposed_map():
    """⟨y, D x⟩ = ⟨Dᵀ y, x⟩, and Dᵀ is the same plan of the flipped signature: it too is equivariant."""
    function, x, w = prepare("p p -> p")
    rng = np.random.default_rng(4)

    def pulled(x, cotangent):
        y, pull = jax.vjp(lambda x: function(x, w)["p"], x)
        return y, *pull(cotangent)

    cotangent, order = rng.normal(size=(2, 3, 1)), np.array([2, 0, 1])
    y, back = in_numpy(pulled, x, cotangent)
    moved, back_moved = in_numpy(pulled, {"p p": x["p p"][:, order][:, :, order]}, cotangent[:, order])
    assert_close(moved, y[:, order], 1e-12)
    assert_close(back_moved["p p"], back["p p"][:, order][:, :, order], 1e-12)


def test_vmap_over_inputs_weights_and_masks_is_a_batch_axis():
    program = plan(ek.hom("p p -> p", p=ek.S), (2, 3), normalize="mean", bias=True)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 5, 5, 2)), jnp.float32)
    mask = jnp.asarray(rng.random((4, 5)) < 0.6)
    w = jax.tree.map(jnp.float32, random_weights(program))
    expected = apply(program, x, w, mask={"p": mask})
    assert_close(jax.vmap(lambda x, m: apply(program, x, w, mask={"p": m}))(x, mask), expected, 1e-5)
    doubled = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), w)
    several = jax.vmap(lambda w: apply(program, x, w))(doubled)
    assert_close(several[1], 2 * several[0], 1e-5)
    axis_last = jax.vmap(lambda x: apply(program, x, w), in_axes=-1, out_axes=-1)(jnp.moveaxis(x, 0, -1))
    assert_close(jnp.moveaxis(axis_last, -1, 0), apply(program, x, w), 1e-5)


def test_jit_scan_and_remat_change_nothing():
    program = plan(ek.hom("p p -> p p", p=ek.S), (2, 2), normalize="mean")
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 4, 4, 2)), jnp.float32)
    layers = {"p p -> p p": jnp.asarray(rng.normal(size=(5, 15, 2, 2)) / 8, jnp.float32)}

    def step(x, w):
        return apply(program, x, w), None

    loop = x
    for i in range(5):
        loop, _ = step(loop, jax.tree.map(lambda a, i=i: a[i], layers))
    assert_close(jax.jit(lambda x: jax.lax.scan(step, x, layers)[0])(x), loop, 1e-4)

    def loss(body):
        return jax.jit(jax.grad(lambda w: jnp.sum(jax.lax.scan(body, x, w)[0] ** 2)))

    assert_close(loss(jax.checkpoint(step))(layers), loss(step)(layers), 1e-4)


@pytest.mark.usefixtures("x64")
def test_the_hessian_of_a_scalar():
    space = ek.hom("p p -> ()", p=ek.S)
    program = plan(space)
    weights = {"p p -> ()": jnp.asarray([[[2.0]], [[3.0]]])}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 1)))
    function = lambda x: apply(program, x, weights)[0] ** 2 / 2  # noqa: E731
    gradient = np.tensordot([2.0, 3.0], space.matrices(n=3), 1)
    hessian = in_numpy(jax.hessian(function), x).reshape(9, 9)
    np.testing.assert_allclose(hessian, np.outer(gradient.ravel(), gradient.ravel()), atol=1e-12)


def test_export_with_symbolic_batch_and_n_serves_every_size():
    from jax import export

    program = plan(ek.hom("p p -> p p", p=ek.S), (2, 3), normalize="mean")
    w = jax.tree.map(jnp.float32, random_weights(program))
    b, n = export.symbolic_shape("b,n", constraints=["n>=1"])
    shape = jax.ShapeDtypeStruct((b, n, n, 2), jnp.float32)
    saved = export.export(jax.jit(lambda x: apply(program, x, w)))(shape)
    for size in (1, 4):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(3, size, size, 2)), jnp.float32)
        assert_close(saved.call(x), apply(program, x, w), 1e-5)
