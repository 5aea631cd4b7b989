"""Multilinear maps applied: against dense tensors, against finite differences, and counted in the jaxpr."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    DUALS,
    HEXAGON,
    TURN,
    WHOLE,
    assert_close,
    assert_error,
    compiled,
    equations,
    every,
    largest,
    partly_slow,
    primitives,
)
from in_numpy import assert_derivatives, in_numpy

import equikit as ek
from equikit import SO, A, Bistochastic, Fixed, H, Lorentz, O, S, Sp, U, Z
from equikit.plans import apply_multilinear, multilinear_weight_shape, plan_cost
from equikit.plans.compilation._contractions import best_order

CASES = [
    ("x, x -> x x", {"x": O(3)}),
    ("x, x -> x", {"x": SO(3)}),
    ("x x, x x -> x x", {"x": O(2)}),
    ("x x, x x -> x x", {"x": O(1, 2)}),
    ("x x, x x -> x x", {"x": Sp(2)}),
    ("x x, x, x -> x x", {"x": Sp(4)}),
    ("x x, x, x -> x", {"x": SO(3)}),
    ("x x, x -> x x x", {"x": SO(1, 2)}),
    ("x, x -> x x", {"x": SO(2)}),
    ("x x, x -> x", {"x": A(3)}),
    ("x, x -> x x", {"x": A(4)}),
    ("x x, x -> x", {"x": S(2)}),
    ("x x, x x -> x x", {"x": S(4)}),
    ("x x, x -> x x x", {"x": H(2)}),
    ("x x, x -> x", {"x": Bistochastic(2)}),
    ("p x, p x -> p", {"p": S(3), "x": O(3)}),
    ("x p, p x x -> p x", {"p": S(3), "x": SO(3)}),
    ("p m f, g m -> f p", {"p": S(3), "m": Lorentz, "f": Fixed(2), "g": Fixed(3)}),
    ("sym(x x), sym(x x) -> sym(x x)", {"x": O(3)}),
    ("sym(sym(x x), sym(x x)) -> sym(x x)", {"x": O(2)}),
    ("alt(x x), x -> x", {"x": Sp(4)}),
    ("alt(x, x) -> x", {"x": SO(3)}),
    ("alt(x x), x x -> alt(x x)", {"x": SO(1, 2)}),
    ("sym(x, x, x) -> sym(x x)", {"x": S(3)}),
    ("alt(p x, p x) -> p", {"p": S(2), "x": Sp(2)}),
    ("sym(x x x) -> x", {"x": O(3)}),
    ("sym(x x) y, x y -> ()", {"x": A(3), "y": Sp(2)}),
    ("alt(x x x), x -> x x", {"x": SO(3)}),
    ("(), x -> x", {"x": O(3)}),
    ("x x, () -> ()", {"x": O(3)}),
    ("x x, x -> x x", {"x": O(3)}),  # no map but zero
    ("alt(x, x) -> x~", {"x": O(3)}),
    ("x, x~ x -> x", {"x": O(2)}),
    ("det(m), sym(m m m) -> m~", {"m": O(1, 2)}),
]


FAST = [1, 3, 5, 9, 12, 14, 15, 18, 19, 21]
"""Those of `DUALS` and `WHOLE` that run each time: one of each kind of exchange, group and mixture."""


def prepare(text, groups, mode="full", batch=(2,), n=None, dtype=np.float64, width=None):
    space = ek.hom(text, groups=groups)
    sizes = space.sizes(n)
    rng = np.random.default_rng(1)
    count = len(space.operands)
    channels = [2] * count if mode == "channelwise" else [2, 3, 2][:count] if width is None else [width] * count
    out = 2 if mode == "channelwise" else 4 if width is None else width
    if space.signature.is_complex:
        dtype = np.result_type(dtype, np.complex64)

    def draw(shape):
        real = rng.normal(size=shape)
        return (real + 1j * rng.normal(size=shape) if np.issubdtype(dtype, np.complexfloating) else real).astype(dtype)

    inputs = [
        draw((*batch, *(sizes[x] for x in term.labels), c)) for term, c in zip(space.inputs, channels, strict=True)
    ]
    return space, inputs, draw(multilinear_weight_shape(space, channels, out, mode=mode))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("text", "groups"),
    partly_slow(CASES, lambda place: CASES[place][1] != {"x": S(4)}, [f"{text}, {groups}" for text, groups in CASES]),
)
def test_it_is_its_reference(text, groups):
    for mode, normalize in (("full", "mean"), ("channelwise", "sum")):
        if mode == "channelwise" and "f" in groups:
            continue  # plain axes have no channelwise maps
        space, x, w = prepare(text, groups, mode)

        def both(x, w, space=space, mode=mode, normalize=normalize):
            methods = ("factored", "naive")
            return [apply_multilinear(space, x, w, mode=mode, normalize=normalize, method=m) for m in methods]

        assert_close(*in_numpy(both, x, w), 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("text", "groups"), partly_slow(DUALS + WHOLE, FAST, [f"{text}, {groups}" for text, groups in DUALS + WHOLE])
)
def test_duals_and_invariant_tensors_are_their_reference_and_commute(text, groups):
    for mode, normalize in (("full", "mean"), ("channelwise", "sum")):
        if mode == "channelwise" and "f" in groups:
            continue
        space, x, w = prepare(text, groups, mode)
        rng = np.random.default_rng(0)
        elements = {
            label: group.random_element(rng) for label, group in groups.items() if label in space.signature.groups
        }

        def moved(term, array, space=space, elements=elements):
            for axis, label in enumerate(term.labels):
                if label in space.signature.groups:
                    matrix = space.signature.groups[label].matrix(elements[label.rstrip("*")])
                    array = jnp.moveaxis(
                        jnp.tensordot(jnp.asarray(matrix, array.dtype), array, ((1,), (1 + axis,))), 0, 1 + axis
                    )
            return array

        def run(x, w, space=space, mode=mode, normalize=normalize):
            other = [moved(term, array) for term, array in zip(space.inputs, x, strict=True)]
            fast, again = (apply_multilinear(space, a, w, mode=mode, normalize=normalize) for a in (x, other))
            slow = apply_multilinear(space, x, w, mode=mode, normalize=normalize, method="naive")
            return fast, slow, again, moved(space.output, fast)

        fast, slow, again, turned = in_numpy(run, x, w)
        assert_close(fast, slow, 1e-12)
        assert_close(again, turned, 1e-11)
        assert np.max(np.abs(fast)) > 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mode", ["full", "channelwise"])
@pytest.mark.parametrize(
    ("text", "groups"),
    [("z z, z -> z", {"z": Z(3)}), ("sym(x x), x -> x", {"x": HEXAGON}), ("x, x x -> x x", {"x": TURN})],
    ids=["cyclic", "exact", "rounded"],
)
def test_invariant_tensors_give_their_matrices(text, groups, mode):
    space, x, w = prepare(text, groups, "channelwise", batch=())
    n, c = next(iter(groups.values())).n, 2
    outer = (x[0].reshape(-1, 1, c) * x[1].reshape(1, -1, c)).reshape(-1, c)
    wanted = np.einsum("dij,jc,dc->ic", space.matrices().astype(float), outer, w)
    if mode == "full":  # a weight for each pair of channels, none but equal ones
        w = w[:, :, None, None] * np.eye(c)[None, :, :, None] * np.eye(c)[None, None, :, :] * np.eye(c)[None, :, None]
    y = in_numpy(functools.partial(apply_multilinear, space, mode=mode), x, w)
    assert_close(y, wanted.reshape(*[n] * len(space.output.labels), c), 1e-12)


def test_orbits_of_indices_look_weights_up():
    space, x, w = prepare("z z, z -> z", {"z": Z(3)}, dtype=np.float32)
    found = primitives(jax.make_jaxpr(lambda x, w: apply_multilinear(space, x, w))(x, w))
    assert found["gather"] == len(space.plan().products) == 1
    assert found["dot_general"] == 2
    space, x, w = prepare("x x, x -> x", {"x": HEXAGON}, dtype=np.float32)
    assert not primitives(jax.make_jaxpr(lambda x, w: apply_multilinear(space, x, w))(x, w))["gather"]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("text", ["x, x -> x", "sym(x x), x -> x", "x x, x x -> x x", "alt(x, x) -> alt(x x)"])
@pytest.mark.parametrize("group", [SO(3), Sp(2), SO(1, 1), S(2)], ids=str)
def test_it_is_its_matrices(text, group):
    """The reference shares the basis with the contractions; the matrices are made another way."""
    space, x, w = prepare(text, {"x": group}, "channelwise", batch=())
    n, c = group.n, 2
    outer = x[0].reshape(-1, c)
    for other in x[1:]:
        outer = (outer[:, None, :] * other.reshape(-1, c)[None, :, :]).reshape(-1, c)
    wanted = np.einsum("dij,jc,dc->ic", space.matrices().astype(float), outer, w)
    shape = (*[n] * len(space.output.labels), c)
    y = in_numpy(functools.partial(apply_multilinear, space, mode="channelwise"), x, w)
    assert_close(y, wanted.reshape(shape), 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("text", "groups"),
    partly_slow(
        [*(CASES[i] for i in (1, 5, 7, 9, 16, 18, 21)), DUALS[1], *WHOLE[2:8:2], WHOLE[13]], (0, 2, 5, 6, 9, 11)
    ),
)
def test_gradients_are_finite_differences(text, groups):
    space, x, w = prepare(text, groups)

    assert_derivatives(lambda x, w: jnp.sum(jnp.sin(apply_multilinear(space, x, w))), x, w)


FORBIDDEN = {
    "gather",
    "scatter",
    "scatter-add",
    "scatter_add",
    "dynamic_slice",
    "dynamic_update_slice",
    "sort",
    "while",
}
PAIRS = [
    ("p p, p p -> p p", {"p": S}),
    ("p, p -> p p", {"p": S}),
    ("p p, p -> p", {"p": H}),
    ("x x, x x -> x x", {"x": O}),
    ("x x x, x -> x x", {"x": O}),
    ("x x, x x -> ()", {"x": Sp}),
    ("x x, x x -> x x", {"x": Sp}),
    ("sym(x x), sym(x x) -> sym(x x)", {"x": O}),
]


@pytest.mark.parametrize("mode", ["full", "channelwise"])
@pytest.mark.parametrize(("text", "groups"), PAIRS, ids=[f"{t}, {g}" for t, g in PAIRS])
def test_two_inputs_need_no_array_above_the_largest_tensor(text, groups, mode):
    """The outer product of the inputs would be n to the number of all their axes."""
    n, batch, width = 8, 2, 2
    space, x, w = prepare(text, groups, mode, (batch,), n, np.float32, width)

    def forward(x, w):
        return apply_multilinear(space, x, w, mode=mode)

    def loss(x, w):
        return jnp.sum(forward(x, w) ** 2)

    axes = max(len(term.labels) for term in (*space.inputs, space.output))
    together = sum(len(term.labels) for term in space.inputs)
    uses = max(len(contraction.uses) for contraction in space.plan().products)
    wide = width * uses if mode == "full" else 1
    limit = batch * n**axes * width * wide * 1.02
    for function in (forward, jax.grad(loss, argnums=(0, 1))):
        jaxpr = jax.make_jaxpr(function)(x, w)
        assert not FORBIDDEN & primitives(jaxpr).keys()
        assert largest(jaxpr) <= max(limit, w.size)
    if mode == "channelwise" and together > axes:
        assert 2 * limit < batch * n**together * width


def test_weights_of_spaces_too_large_for_a_plan_have_a_shape():
    space = ek.hom("p p p p, p p p p, p p p p -> p p p p", p=S)
    assert multilinear_weight_shape(space, (1, 2, 3), 4) == (10480142147, 1, 2, 3, 4)


def test_diagrams_share_contractions():
    space = ek.hom("p p, p p -> p p", p=S)
    found = space.plan().products
    assert sum(len(contraction.uses) for contraction in found) == space.dim == 203
    # Partitions of the four input axes with up to two of their blocks marked to go on: 15 + 37 + 31.
    assert len(found) == 83
    _, x, w = prepare("p p, p p -> p p", {"p": S}, n=5, dtype=np.float32)
    products = primitives(jax.make_jaxpr(lambda x, w: apply_multilinear(space, x, w))(x, w))["dot_general"]
    assert products <= 2 * 83


def test_three_inputs_are_contracted_in_the_best_order():
    """The trace of a product of three matrices is n³ multiplications and no array above n²."""
    space, x, w = prepare("x x, x x, x x -> ()", {"x": O}, "channelwise", (), 16, np.float32)
    jaxpr = jax.make_jaxpr(lambda x, w: apply_multilinear(space, x, w, mode="channelwise"))(x, w)
    assert largest(jaxpr) <= 16**2 * 2 * 1.01


def test_the_best_order_is_the_cheapest_within_the_limit():
    # A vector through two matrices: from the side of the vector.
    assert best_order(((0, 1), (1, 2), (2,)), (0,), (10, 10, 10), 100) == ((1, 2, (1,)), (0, 1, (0,)))
    # The cheapest order forms [1, 2, 3] = 1000 entries; with a limit another is taken.
    chain = ((0, 1), (1, 2), (2, 3))
    cheap = best_order(chain, (0, 3), (2, 100, 2, 50), 10**6)
    assert cheap == ((0, 1, (0, 2)), (0, 1, (0, 3)))
    assert best_order(chain, (0, 3), (2, 2, 2, 2), 0)[-1][2] == (0, 3)


def test_inputs_and_the_output_are_reduced_and_expanded_one_step_at_a_time():
    plan = ek.hom("p p p, p -> p p p", p=S).plan((2, 4))
    for step in (*plan.reductions, *plan.expansions):
        assert len(step.large.core) == len(step.small.core) + 1
    made = [(step.term, step.small) for step in plan.reductions]
    assert len(made) == len(set(made))
    there = {(t, half) for contraction in plan.products for t, half in enumerate(contraction.halves)}
    assert there <= {*made, *((step.term, step.large) for step in plan.reductions)}
    down = [(step.large, step.operation, step.axes) for step in plan.reductions if not step.term]
    up = [(step.large, step.operation, step.axes) for step in plan.expansions]
    assert set(down) == set(up)  # one lattice, read downwards and upwards


def test_plans_of_multilinear_maps_are_values_that_print():
    space = ek.hom("x x, x -> x", x=O)
    plan = space.plan((4, 8))
    assert plan is space.plan((4, 8))
    assert plan != space.plan((4, 4))
    assert hash(plan) == hash(space.plan(((4, 4), 8)))
    assert plan.steps == len(str(plan).split("\n")) - 6 == 5
    assert str(plan).startswith('plan of "x x, x -> x" with x=O: channels 4, 4 -> 8, batch 1, sum, full')
    assert "<table>" in plan._repr_html_()
    wide = ek.hom("sym(x x), x z, x -> x z", x=SO(3), z=Z(2)).plan((2, 3), mode="full", normalize="mean")
    assert "tensors" in str(wide)
    assert str(ek.hom("x, x -> x", x=SO(3)).plan()).count("[kij]") == 1


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        *every(["x x, x -> x", "x x, x x -> ()", "x x, x x, x x -> ()"], ["full", "channelwise"]),
        ("x, x -> x x", "full"),
    ],
)
def test_the_cost_counts_the_products_of_the_program(text, mode):
    """FLOPs of all contractions, two operands at a time, are those of the products in the jaxpr."""
    space, x, w = prepare(text, {"x": O}, mode, (3,), 5, np.float32, 2)
    plan = space.plan((2, 2), mode=mode)
    flops = 0
    for equation in equations(jax.make_jaxpr(lambda x, w: apply_multilinear(space, x, w, mode=mode))(x, w)):
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            flops += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
    mixed = [line for line in plan_cost(plan, batch=3, n=5) if line.stage == "mix"]
    scaled = sum(math.prod(line.shape) for line in mixed) if mode == "channelwise" else 0
    assert sum(line.flops for line in mixed) - scaled >= flops > 0
    assert sum(line.flops for line in mixed) - scaled <= 1.3 * flops


@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 3), (2, 0)], ids=str)
def test_batch_axes(batch):
    space, x, w = prepare("sym(x x), x -> x", {"x": SO(3)}, batch=batch, dtype=np.float32)
    y = apply_multilinear(space, x, w)
    assert y.shape == (*batch, 3, 4)
    if math.prod(batch):
        assert_close(y, apply_multilinear(space, x, w, method="naive"), 1e-5)


def test_jit_and_vmap():
    space, x, w = prepare("p x, p x -> p", {"p": S, "x": O(3)}, batch=(4,), n={"p": 5}, dtype=np.float32)
    y = apply_multilinear(space, x, w)
    assert_close(jax.jit(lambda x, w: apply_multilinear(space, x, w))(x, w), y, 1e-5)
    assert_close(jax.jit(jax.vmap(lambda x: apply_multilinear(space, x, w)))(x), y, 1e-5)
    many = jax.jit(jax.vmap(lambda w: apply_multilinear(space, x, w)))(np.stack([w, 2 * w]))
    assert_close(many[1], 2 * y, 1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("text", ["x x, x -> x", "sym(x x), x -> x", "x, x -> x x"])
def test_half_precision(text, dtype):
    space, x, w = prepare(text, {"x": SO(3)} if text[0] == "s" else {"x": S(3)}, dtype=np.float32)

    def run(x, w):
        return apply_multilinear(space, x, w, normalize="mean")

    exact = in_numpy(run, x, w)
    half = np.asarray(compiled(run, [a.astype(dtype) for a in x], w.astype(dtype)))
    assert half.dtype == dtype
    assert_close(half.astype(np.float32), exact, 0.05)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize(
    ("text", "groups"),
    [("p p, p -> p p", {"p": S}), ("p x, p x -> p", {"p": S, "x": O(2)}), ("p, p p -> p", {"p": H})],
    ids=["pairs", "points", "signs"],
)
def test_masked_entries_are_not_there(text, groups, normalize):
    """A masked set is the smaller set without the masked points, whatever they hold."""
    space, x, w = prepare(text, groups, batch=(), n={"p": 5})
    keep = np.array([True, False, True, True, False])
    holed, small = [], []
    for term, a in zip(space.inputs, x, strict=True):
        part, whole = a, a
        for axis, label in enumerate(term.labels):
            if label == "p":
                part = part.take(np.flatnonzero(keep), axis=axis)
                whole = np.where(keep.reshape([-1 if i == axis else 1 for i in range(a.ndim)]), whole, np.nan)
        holed.append(whole)
        small.append(part)
    run = functools.partial(apply_multilinear, space, normalize=normalize)
    y = in_numpy(functools.partial(run, mask={"p": keep}), holed, w)
    wanted = in_numpy(run, small, w)
    for axis, label in enumerate(space.output.labels):
        if label == "p":
            assert_close(y.take(np.flatnonzero(~keep), axis=axis), 0 * y.take(np.flatnonzero(~keep), axis=axis), 0)
            y = y.take(np.flatnonzero(keep), axis=axis)
    assert_close(y, wanted, 1e-12)


@pytest.mark.usefixtures("x64")
def test_only_the_symmetric_part_of_an_input_enters():
    space, (matrix, vector), w = prepare("alt(x x), x -> x", {"x": O(3)})
    run = functools.partial(in_numpy, functools.partial(apply_multilinear, space))
    y = run((matrix, vector), w)
    part = (matrix - matrix.swapaxes(1, 2)) / 2
    assert_close(run((part, vector), w), y, 1e-12)
    assert_close(run((matrix - part, vector), w), 0 * y, 1e-12)


@pytest.mark.usefixtures("x64")
def test_complex_groups_take_complex_arrays():
    group, rng = U(2), np.random.default_rng(0)
    space, x, w = prepare("u u, u -> u u u", {"u": group}, dtype=np.complex128)
    x = [a + 1j * rng.normal(size=a.shape) for a in x]
    run = functools.partial(apply_multilinear, space)
    y = in_numpy(run, x, w)
    assert_close(y, in_numpy(functools.partial(run, method="naive"), x, w), 1e-12)
    g = group.matrix(group.random_element(rng))
    moved = np.einsum("ai,bj,zijc->zabc", g, g, x[0]), np.einsum("ai,zic->zac", g, x[1])
    assert_close(in_numpy(run, moved, w), np.einsum("ai,bj,ck,zijkd->zabcd", g, g, g, y), 1e-12)


@pytest.mark.usefixtures("x64")
def test_the_cross_product():
    space = ek.hom("x, x -> x", x=SO(3))
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3, 1))
    y = apply_multilinear(space, (a, b), np.ones((1, 1, 1, 1)))
    assert_close(y[..., 0], np.cross(a[..., 0], b[..., 0]), 1e-12)


def test_sizes_of_labels_that_no_input_has():
    space, x, w = prepare("p, p -> q", {"p": S, "q": S}, batch=(), n={"p": 3, "q": 4}, dtype=np.float32)
    assert apply_multilinear(space, x, w, sizes={"q": 4}).shape == (4, 4)


def test_equations_do_not_hold_the_dense_tensors():
    space, x, w = prepare("x, x -> x", {"x": SO(3)}, dtype=np.float32)
    sizes = [
        math.prod(v.aval.shape)
        for e in equations(jax.make_jaxpr(lambda x, w: apply_multilinear(space, x, w))(x, w))
        for v in e.outvars
    ]
    assert max(sizes) <= 2 * 3 * 2 * 3 * 4


ONE = ek.hom("x, x -> x", x=SO(3))
A3, W = np.ones((3, 2), np.float32), np.ones((1, 2, 2, 5), np.float32)
ERRORS = {
    "space": (
        ek.OptionError,
        lambda: apply_multilinear(ek.hom("x -> x", x=SO(3)), (A3,), W),
        "space= must be a MultilinearSpace",
        "hom",
        "a MultilinearSpace",
        'write space=ek.hom("x, x -> x", x=ek.SO(3))',
    ),
    "mode": (
        ek.OptionError,
        lambda: apply_multilinear(ONE, (A3, A3), W, mode="all"),
        "unknown value for mode=",
        "'all'",
        '"full"',
        "full",
    ),
    "normalize": (
        ek.OptionError,
        lambda: apply_multilinear(ONE, (A3, A3), W, normalize="max"),
        "unknown value for normalize=",
        "'max'",
        '"sum"',
        'normalize="mean"',
    ),
    "method": (
        ek.OptionError,
        lambda: apply_multilinear(ONE, (A3, A3), W, method="fast"),
        "unknown value for method=",
        "'fast'",
        '"factored"',
        "factored",
    ),
    "precision": (
        ek.OptionError,
        lambda: apply_multilinear(ONE, (A3, A3), W, precision="best"),
        "unknown value for precision=",
        "'best'",
        '"highest"',
        'precision="highest"',
    ),
    "count": (
        ek.ShapeError,
        lambda: apply_multilinear(ONE, (A3,), W),
        "the number of inputs of 'x, x -> x' must be 2",
        "1",
        "2",
        "order",
    ),
    "one array": (
        ek.OptionError,
        lambda: apply_multilinear(ONE, A3, W),
        "inputs= must be a Sequence",
        "array(",
        "a Sequence",
        "inputs=(x, y)",
    ),
    "weights": (
        ek.ShapeError,
        lambda: apply_multilinear(ONE, (A3, A3), W[:, :1]),
        "weights must have shape [1, 2, 2, 5]",
        "[1, 1, 2, 5]",
        "[1, 2, 2, 5]",
        "multilinear_weight_shape",
    ),
    "size": (
        ek.ShapeError,
        lambda: apply_multilinear(ONE, (A3, A3[:2]), W),
        "has size 2 on axis 'x'",
        "[2, 2]",
        "x=3",
        "give every 'x' size 3",
    ),
    "integers": (
        ek.DTypeError,
        lambda: apply_multilinear(ONE, (A3, A3.astype(int)), W),
        "does not hold floating-point",
        "int",
        "float32",
        "astype",
    ),
    "plain": (
        ek.OptionError,
        lambda: multilinear_weight_shape(ek.hom("x f, x -> ()", x=O(3), f=Fixed(2)), (1, 1), 1, mode="channelwise"),
        "plain axes have no channelwise maps",
        "plain axes f",
        "groups act",
        "full",
    ),
    "channels": (
        ek.ShapeError,
        lambda: multilinear_weight_shape(ONE, (1, 2), 1, mode="channelwise"),
        "one number of channels",
        "(1, 2) in, 1 out",
        "same",
        "full",
    ),
    "channel count": (
        ek.ShapeError,
        lambda: multilinear_weight_shape(ONE, (1,), 1),
        "the number of input channels for ['x (input 1): x', 'x (",
        "1",
        "2",
        "each",
    ),
    "mask": (
        ek.OptionError,
        lambda: apply_multilinear(ONE, (A3, A3), W, mask={"x": np.ones(3, bool)}),
        "cannot be masked",
        "SO(3)",
        "permutes",
        "leave",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    assert_error(*ERRORS[name])


def test_real_arrays_are_not_made_complex():
    space = ek.hom("p u, p -> p u", p=ek.S, u=ek.U(2))
    one, other = jnp.ones((3, 2, 1), jnp.complex64), jnp.ones((3, 1))
    weights = jnp.ones((space.dim, 1, 1, 1), jnp.complex64)
    with pytest.raises(ek.DTypeError, match="input 'p' is real, but u=U"):
        ek.plans.apply_multilinear(space, (one, other), weights)
