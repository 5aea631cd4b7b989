"""The methods of a plan: one function whichever runs, the choice between them, and what compiled programs hold."""

import functools
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_close,
    assert_error,
    bindings,
    every,
    labels_of,
    partly_slow,
    random_inputs,
    random_masks,
    random_weights,
)
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import Layout, apply, lay_out, plan, weight_shapes
from equikit.plans.costs._method import dense_work, factored_work, fastest
from equikit.plans.costs._rates import RATES, rates_of

SIZES = {"p": 3, "q": 2, "x": 3, "f": 2, "g": 3}
SIGNATURES = [
    "p -> p",
    "p p -> p p",
    "q p q -> p q",
    "p p + p -> p + ()",
    "p f -> g p p",
    "f p g p -> p f",
    "() -> p p",
]


def prepare(signature, normalize="mean", masked=False, batch=(2,), channels=1):
    space = ek.hom(signature, groups=bindings(signature))
    count = [len(side) for side in (space.signature.inputs, space.signature.outputs)]
    program = plan(space, ((channels,) * count[0], (channels + 1,) * count[1]), normalize=normalize, bias=True)
    sizes = {label: SIZES[label] for label in labels_of(signature)}
    x, w = random_inputs(program, sizes, batch), random_weights(program)
    mask = random_masks(program, sizes, batch) if masked else None
    given = {label: size for label, size in sizes.items() if label in program.signature.groups}
    return lambda x, w, **options: apply(program, x, w, mask=mask, sizes=given, **options), x, w


def loss(function, **options):
    return lambda x, w: sum(jnp.sum(jnp.sin(y)) for y in function(x, w, **options).values())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("signature", "normalize", "batch"),
    partly_slow(every(SIGNATURES, ["sum", "mean"], [(), (2, 2), (0,)]), lambda place: place % 6 in (1, 2, 3)),
)
def test_every_method_computes_the_same(signature, normalize, batch):
    function, x, w = prepare(signature, normalize, batch=batch, channels=2)
    expected = in_numpy(functools.partial(function, method="naive"), x, w)
    for method in ("auto", "factored", "dense"):
        assert_close(in_numpy(functools.partial(function, method=method), x, w), expected, 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("signature", ["p p -> p p", "p p + p -> p + ()"])
def test_the_dense_method_keeps_masks_where_sums_are_sums(signature):
    function, x, w = prepare(signature, "sum", masked=True)
    dense, naive = (in_numpy(functools.partial(function, method=method), x, w) for method in ("dense", "naive"))
    assert_close(dense, naive, 1e-12)


@functools.cache
def derivatives(signature, **options):
    """Gradients by inputs and weights, a directional derivative, and one of the gradient."""
    function, x, w = prepare(signature)
    tangent = jax.tree.map(np.ones_like, (x, w))

    def run(x, w):
        f = loss(function, **options)
        by_input, second = jax.jvp(jax.grad(f), (x, w), tangent)
        return {"input": by_input, "weights": jax.grad(f, 1)(x, w), "second": second} | {
            "forward": jax.jvp(f, (x, w), tangent)[1]
        }

    return in_numpy(run, x, w)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("options", [{"method": "dense"}, {"method": "factored", "remat": True}, {"remat": True}])
@pytest.mark.parametrize("signature", ["p p -> p p", "p p + p -> p + ()"])
def test_derivatives_of_both_orders_agree_with_the_naive_method(signature, options):
    assert_close(derivatives(signature, **options), derivatives(signature, method="naive"), 1e-11)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("method", ["auto", "factored", "dense"])
def test_methods_under_vmap_and_scan(method):
    function, x, w = prepare("p p -> p p", batch=(4,), channels=1)

    def run(x, w):
        return function({"p p": x}, w, method=method)["p p"]

    @jax.jit
    def ways(x, w):
        one = jax.vmap(run, (0, None))(x, w)
        _, rows = jax.lax.scan(lambda c, x: (c, run(x, w)), 0, x)
        many = jax.vmap(run, (None, 0))(x, jax.tree.map(lambda a: jnp.stack([a, 2 * a]), w))
        return one, rows, many[1] / 2

    expected = in_numpy(run, x["p p"], w)
    for found in ways(x["p p"], w):
        assert_close(found, expected, 1e-12)


SMALL = ek.hom("p -> p", p=ek.S).plan()
BIG = ek.hom("p p -> p p", p=ek.S).plan((8, 8))


def big():
    rng = np.random.default_rng(0)
    w = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in weight_shapes(BIG).items()}
    return jnp.asarray(rng.normal(size=(8, 32, 32, 8)), jnp.float32), w


@pytest.mark.usefixtures("x64")
def test_large_results_are_written_out_before_they_are_used():
    """A network of two layers: the sum of all contributions, a select or pad for the diagonal among them, is computed
    once a layer, and not again for each of the reductions and products that use it."""
    x, w = big()

    def network(x, w, wrap):
        return apply(BIG, jax.nn.relu(wrap(apply(BIG, x, w, method="factored"))), w, method="factored")

    text = jax.jit(lambda x, w: network(x, w, lambda y: y)).lower(x, w).compile().as_text()
    calls = re.findall(r"= f32\[8,32,32,8\]\S* call\(", text)
    assert len(calls) == 2
    # The expansions of both layers, and their transposes.
    gradient = jax.jit(jax.grad(lambda x, w: jnp.sum(network(x, w, lambda y: y) ** 2), (0, 1))).lower(x, w).compile()
    assert len(re.findall(r" call\(", gradient.as_text())) == 4


def test_small_results_are_fused_with_what_uses_them():
    x, w = big()
    text = jax.jit(lambda x, w: apply(BIG, x, w)).lower(x[:1, :4, :4], w).compile().as_text()
    assert " call(" not in text


def test_small_results_with_many_contributions_are_summed_once():
    """Fused with its uses, the sum of 16 tensors would be computed for each of 16 reductions of the gradient."""
    labels = "a b c d"
    program = ek.hom(f"{labels} -> {labels}", **dict.fromkeys(labels.split(), ek.S)).plan((4, 4))
    w = {name: jnp.ones(shape) for name, shape in weight_shapes(program).items()}
    x = jnp.ones((2, 2, 2, 2, 2, 4))

    def additions(f):
        return len(re.findall(r" add\(", jax.jit(f).lower(x, w).compile().as_text()))

    def layer(x, w):
        return apply(program, x, w, method="factored")

    both = jax.value_and_grad(lambda x, w: jnp.mean(jax.nn.relu(layer(x, w)) ** 2), (0, 1))
    assert additions(both) <= 4 * additions(layer)


@pytest.mark.usefixtures("x64")
def test_a_call_that_is_not_inlined_leaves_values_derivatives_and_batches_alone():
    x, w = (jax.tree.map(lambda a: a.astype(float), part) for part in big())

    def f(x, w):
        return jnp.sum(jnp.sin(apply(BIG, x, w, method="factored")))

    @jax.jit
    def results(x, w):
        value, ahead = jax.jvp(f, (x, w), jax.tree.map(jnp.ones_like, (x, w)))
        return value, ahead, jax.grad(f, (0, 1))(x, w), jax.vmap(f, (0, None))(x[:, None], w)

    value, ahead, back, each = results(x, w)
    assert_close(ahead, sum(np.sum(g) for g in jax.tree.leaves(back)), 1e-9)
    assert_close(each.sum(), value, 1e-12)


def test_remat_keeps_inputs_and_weights_only():
    x, w = big()

    def kept(remat):
        _, pull = jax.vjp(lambda x, w: apply(BIG, x, w, method="factored", remat=remat), x, w)
        return sum(a.size for a in jax.tree.leaves(pull) if jnp.issubdtype(a.dtype, jnp.inexact))

    given = x.size + sum(a.size for a in jax.tree.leaves(w))
    assert kept(True) <= given
    assert kept(False) > given


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("cut", "remat"),
    partly_slow(
        every([((7,), 3), ((2, 3), 2), ((4,), 9), ((5,), 1), ((0,), 2), ((), 1)], [False, True]),
        (0, 1, 3, 4, 8, 9, 10),
    ),
)
def test_a_batch_in_chunks_is_the_batch(cut, remat):
    batch, chunk_size = cut
    function, x, w = prepare("p p + p -> p + ()", "mean", masked=True, batch=batch)
    whole, cut = (
        jax.grad(loss(function, **how), (0, 1))
        for how in ({"method": "factored"}, {"chunk_size": chunk_size, "remat": remat})
    )
    found, slopes = in_numpy(lambda x, w: (function(x, w, chunk_size=chunk_size), cut(x, w)), x, w)
    assert_close(found, in_numpy(functools.partial(function, method="naive"), x, w), 1e-12)
    for slow, fast in zip(in_numpy(whole, x, w), slopes, strict=True):
        assert_close(fast, slow, 1e-12)


def test_the_choice_follows_the_rates():
    tiny = ek.hom("a a a -> a a a", a=ek.A(5)).plan()
    assert fastest(tiny, 4096, (("a", 5),), 4, "cpu") == "dense"
    assert fastest(tiny, 1, (("a", 5),), 4, "cpu") == "factored"
    assert fastest(BIG, 32, (("p", 64),), 4, "cpu") == "factored"
    huge = ek.hom("p p p -> p p p", p=ek.S).plan((64, 64))
    assert fastest(huge, 1, (("p", 100),), 4, "gpu") == "factored"
    invariant = ek.hom("() -> p p p p", p=ek.S).plan((16, 16))  # 51 expansions, but fused: 2 ms, where dense takes 4.5
    assert all(fastest(invariant, batch, (("p", n),), 4, "cpu") == "factored" for batch in (1, 32) for n in (5, 8))
    assert rates_of("cpu") == RATES["cpu"]
    assert rates_of("metal") == RATES["gpu"]


def test_the_work_of_a_method_in_numbers():
    """S 1 -> 1 at n = 3, batch 2, 4 channels to 5: one product over all points, one over sums."""
    program = ek.hom("p -> p", p=ek.S).plan((4, 5))
    work = factored_work(program, 2, {"p": 3})
    assert (work.calls, work.products, work.steps) == (1, 2, 2)
    assert work.product_flops == 2 * (2 * 3) * 4 * 5 + 2 * 2 * 4 * 5
    dense = dense_work(program, 2, {"p": 3})
    assert dense.product_flops == 2 * 2 * 12 * 15 + (2 * 9 * 20 + 2 * 3 * 20)  # the product, and units through the plan
    assert dense.calls == 1


def test_compiled_programs_of_equal_plans_are_shared():
    again = pickle.loads(pickle.dumps(BIG))
    assert again == BIG
    assert hash(again) == hash(BIG)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("groups", [{"z": ek.Z(4)}, {"z": ek.S(4)}, {"z": ek.SO(3)}], ids=["Z", "S", "SO"])
def test_weights_laid_out_beforehand_give_the_same(groups):
    program = ek.hom("z z -> z z", groups=groups).plan((2, 3), bias=True, normalize="mean")
    w, x = random_weights(program), random_inputs(program, program.signature.sizes, (2,))
    layout = jax.jit(functools.partial(lay_out, program))(w)
    assert isinstance(layout, Layout)
    expected = in_numpy(functools.partial(apply, program, method="factored"), x, w)
    assert_close(apply(program, x, layout), expected, 1e-12)
    assert_close(jax.jit(lambda x, layout: apply(program, x, layout))(x, layout), expected, 1e-12)
    text = str(jax.make_jaxpr(lambda x, layout: apply(program, x["z z"], layout))(x, layout))
    assert "transpose" not in text or "concatenate" in text


LAYOUT = lay_out(plan(ek.hom("p -> p", p=ek.S)), {"p -> p": jnp.ones((2, 1, 1))})
ERRORS = {
    "dense-masks": (
        ek.OptionError,
        lambda: apply(
            ek.hom("p -> p", p=ek.S).plan(normalize="mean"),
            jnp.ones((2, 3, 1)),
            {"p -> p": jnp.ones((2, 1, 1))},
            mask={"p": jnp.ones((2, 3), bool)},
            method="dense",
        ),
        "the dense method has one matrix for the whole batch",
        "masks for ['p']",
        'normalize="sum"',
        'method="factored"',
    ),
    "dense-large": (
        ek.TooLargeError,
        lambda: jax.eval_shape(
            lambda x, w: apply(BIG, x, w, method="dense"),
            jax.ShapeDtypeStruct((1, 300, 300, 8), "float32"),
            {"p p -> p p": jax.ShapeDtypeStruct((15, 8, 8), "float32")},
        ),
        "the dense matrix would not fit in memory",
        "518,400,000,000 entries",
        "at most",
        "use a smaller size, or a plan",
    ),
    "layer-method": (
        ek.OptionError,
        lambda: ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=ek.nn._linear.nnx.Rngs(0), method="fast"),
        "unknown value for method=",
        "'fast'",
        '"auto"',
        'method="auto"',
    ),
    "chunk": (
        ek.OptionError,
        lambda: apply(BIG, big()[0], big()[1], chunk_size=0),
        "chunk_size= must be a whole number",
        "0",
        "an integer ≥ 1",
        "chunk_size=8",
    ),
    "layer-chunk": (
        ek.OptionError,
        lambda: ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=ek.nn._linear.nnx.Rngs(0), chunk_size=2.5),
        "chunk_size= must be a whole number",
        "2.5",
        "an integer ≥ 1",
        "chunk_size=8",
    ),
    "layout-of-another-plan": (
        ek.OptionError,
        lambda: apply(BIG, jnp.ones((1, 3, 3, 8)), lay_out(SMALL, {"p -> p": jnp.ones((2, 1, 1))})),
        "the plan of the layout is a different one",
        "p -> p",
        "p p -> p p",
        "lay_out(plan, weights)",
    ),
    "layout-cut": (
        ek.ShapeError,
        lambda: apply(BIG, big()[0], jax.tree.map(lambda array: array[..., :1], lay_out(BIG, big()[1]))),
        "the layout is a different one",
        "[((SequenceKey(idx=0), SequenceKey(idx=0), SequenceKey(i",
        "[((SequenceKey(idx=0), SequenceKey(idx=0), SequenceKey(i",
        "as it is",
    ),
    "layout-integers": (
        ek.DTypeError,
        lambda: apply(BIG, big()[0], jax.tree.map(lambda array: array.astype(int), lay_out(BIG, big()[1]))),
        "matrix '0' does not hold floating-point numbers",
        "int",
        "float32",
        "astype",
    ),
    "layout-of-another-normalization": (
        ek.OptionError,
        lambda: apply(plan(ek.hom("p -> p", p=ek.S), normalize="mean"), jnp.ones((3, 1)), LAYOUT),
        "the plan of the layout is a different one",
        "normalize='sum'",
        "normalize='mean'",
        "lay_out(plan, weights)",
    ),
    "precision": (
        ek.OptionError,
        lambda: apply(SMALL, jnp.ones((3, 1)), {"p -> p": jnp.ones((2, 1, 1))}, precision={}, method="naive"),
        "unknown value for precision=",
        "{}",
        "highest",
        "precision=",
    ),
    "sizes": (
        ek.ShapeError,
        lambda: apply(SMALL, jnp.ones((3, 1)), {"p -> p": jnp.ones((2, 1, 1))}, sizes={3: 3}),
        "no axis has it",
        "3",
        "sizes for p",
        "correct sizes",
    ),
    "no-plan": (
        ek.OptionError,
        lambda: lay_out(None, {}),
        "plan= must be a Plan",
        "None",
        "a Plan",
        "space.plan",
    ),
    "layout-dense": (
        ek.OptionError,
        lambda: apply(BIG, big()[0], lay_out(BIG, big()[1]), method="dense"),
        "unknown value for method=",
        "'dense'",
        '"factored"',
        "pass the weights themselves",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_wrong(case):
    assert_error(*ERRORS[case])


@pytest.mark.parametrize("method", ["dense", "naive"])
def test_methods_that_need_sizes_refuse_symbols(method):
    n = jax.export.symbolic_shape("n")[0]
    x = jax.ShapeDtypeStruct((1, n, 1), "float32")
    w = {"p -> p": jnp.ones((2, 1, 1))}
    export = jax.export.export(jax.jit(lambda x: apply(SMALL, x, w, method=method)))
    assert_error(
        ek.OptionError, lambda: export(x), f"the {method} method needs to know every size", "n", "whole", "factored"
    )


def test_a_batch_of_unknown_size_is_not_cut():
    x = jax.ShapeDtypeStruct((jax.export.symbolic_shape("b")[0], 3, 1), "float32")
    export = jax.export.export(jax.jit(lambda x: apply(SMALL, x, {"p -> p": jnp.ones((2, 1, 1))}, chunk_size=2)))
    assert_error(ek.OptionError, lambda: export(x), "symbolic size cannot be computed in chunks", "b", "known", "leave")


def test_chunks_of_nothing():
    program = plan(ek.hom("p p -> p p", p=ek.S), (2, 3))
    weights = {"p p -> p p": jnp.ones((15, 2, 3))}
    assert apply(program, jnp.ones((4, 0, 0, 2)), weights, chunk_size=3).shape == (4, 0, 0, 3)


def test_layouts_compare_by_identity():
    assert hash(LAYOUT) == hash(LAYOUT)
    assert lay_out(SMALL, {"p -> p": jnp.ones((2, 1, 1))}) != LAYOUT
