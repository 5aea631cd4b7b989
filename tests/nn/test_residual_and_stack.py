"""Residual blocks, and equal layers run by one scan."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close
from in_numpy import by_numpy, in_numpy

import equikit as ek

S, O3 = ek.S, ek.O(3)
FEATURES = {"p": 4, "p x": 2}
BOUND = {"p": S, "x": O3}
X = {"p": np.arange(40.0).reshape(2, 5, 4) / 20, "p x": np.sin(np.arange(60.0)).reshape(2, 5, 3, 2)}
X = {name: array.astype(np.float32) for name, array in X.items()}


def equal(one, other, tolerance=1e-5):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: assert_close(a, b, tolerance), one, other)


def layers(rngs, **options):
    gated = ek.nn.Gated(FEATURES, **BOUND)
    return [
        ek.nn.LayerNorm(FEATURES, **BOUND),
        ek.nn.Linear(FEATURES, gated.inputs, **BOUND, rngs=rngs, **options),
        gated,
    ]


def block(rngs):
    return ek.nn.Residual(layers(rngs))


def unrolled(depth, make=block, seed=0):
    """The same layers in a list, made with the same keys."""
    rngs = nnx.Rngs(seed)
    return nnx.List([make(rngs) for _ in range(depth)])


def run(parts, x, **options):
    for part in parts:
        x = part(x, **options)
    return x


# Residual blocks.


def test_a_residual_block_adds_its_input():
    parts = layers(nnx.Rngs(0))
    inner = in_numpy(functools.partial(run, parts), X)
    equal(by_numpy(ek.nn.Residual(parts))(X), {name: X[name] + inner[name] for name in X}, 0)


def test_one_layer_and_one_array_need_no_list_and_no_dictionary():
    layer, x = ek.nn.Linear("p -> p", 4, 4, p=S, rngs=nnx.Rngs(0)), X["p"]
    equal(ek.nn.Residual(layer)(x), x + layer(x), 0)


def test_a_residual_block_commutes():
    features = {"p": 4, "p x": 2}
    ek.testing.assert_equivariant(
        by_numpy(block(nnx.Rngs(0))),
        features,
        features,
        groups={"p": S(5), "x": O3},
        key=jax.random.key(0),
        tolerance=5e-5,
    )


def test_a_block_of_modules_of_flax_works():
    layer = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    equal(ek.nn.Residual([layer, nnx.Dropout(0.0)])(X["p"]), X["p"] + layer(X["p"]), 0)


@pytest.mark.parametrize("make", [block, lambda rngs: ek.nn.Stack(block, 2, rngs=rngs)], ids=["block", "stack"])
def test_absent_entries_are_zero_and_change_nothing(make):
    net = by_numpy(make(nnx.Rngs(0)))
    mask = np.array([[True, True, True, False, False]] * 2)
    wild = jax.tree.map(lambda a: np.concatenate([a[:, :3], np.nan * a[:, 3:]], 1), X)
    y, short = net(wild, mask={"p": mask}), net(jax.tree.map(lambda a: a[:, :3], X))
    equal(jax.tree.map(lambda a: a[:, :3], y), short)
    assert not any(a[:, 3:].any() for a in y.values())


@pytest.mark.parametrize(
    "make",
    [
        lambda: [on(S), ek.nn.Pointwise(jnp.cos, "p", p=S)],
        lambda: [ek.nn.Pointwise(jnp.cos, "p", p=S), on(S)],
        lambda: [nnx.Linear(2, 2, rngs=nnx.Rngs(0)), on(S)],
    ],
    ids=["pointwise last", "pointwise first", "flax first"],
)
def test_absent_entries_are_zero_next_to_layers_without_masks(make):
    x, mask = jnp.ones((3, 2)).at[2].set(jnp.nan), {"p": jnp.array([True, True, False])}
    net = ek.nn.Residual(make())
    y, gradient = net(x, mask=mask), nnx.grad(lambda net: net(x, mask=mask).sum())(net)
    assert not y[2].any()
    assert all(np.isfinite(a).all() for a in (y, *jax.tree.leaves(gradient)))


@pytest.mark.parametrize(("mask", "kind"), [(jnp.ones(4, bool), ek.ShapeError), (jnp.ones(3), ek.DTypeError)])
def test_a_wrong_mask_is_refused_where_no_layer_takes_masks(mask, kind):
    with pytest.raises(kind, match="the mask for 'p'"):
        ek.nn.Residual(ek.nn.Gated({"p": 2}, p=S))({"p": jnp.ones((3, 2))}, mask={"p": mask})


def test_the_mask_of_an_unknown_label_is_refused():
    with pytest.raises(ek.ShapeError, match="'q'"):
        block(nnx.Rngs(0))(X, mask={"q": jnp.ones((2, 5), bool)})


def linear(before, after):
    return ek.nn.Linear({"p": before}, {"p": after}, p=S, rngs=nnx.Rngs(0))


def on(group):
    return ek.nn.Linear("p -> p", 2, 2, p=group, rngs=nnx.Rngs(0))


DIFFERENT = "label 'p' is bound to different groups"


@pytest.mark.parametrize(
    ("make", "kind", "problem"),
    [
        (
            lambda: ek.nn.Residual([linear(4, 8), linear(8, 3)]),
            ek.ShapeError,
            "the layers do not give the features that they take",
        ),
        (lambda: ek.nn.Residual([linear(4, 8), linear(4, 4)]), ek.ShapeError, "two layers do not fit together"),
        (lambda: ek.nn.Residual(linear(4, 8)), ek.ShapeError, "the layers do not give the features that they take"),
        (lambda: ek.nn.Residual([on(ek.Fixed(5)), on(S)]), ek.SignatureError, DIFFERENT),
        (lambda: ek.nn.Residual([on(ek.O(4)), on(ek.Lorentz)]), ek.SignatureError, DIFFERENT),
        (lambda: ek.nn.Residual([on(S(4)), on(S), on(S(5))]), ek.SignatureError, DIFFERENT),
        (lambda: ek.nn.Residual([]), ek.OptionError, "a layer of a residual block or a stack is not an NNX module"),
        (
            lambda: ek.nn.Residual([jnp.tanh]),
            ek.OptionError,
            "a layer of a residual block or a stack is not an NNX module",
        ),
        (
            lambda: ek.nn.Residual(nnx.Linear(4, 8, rngs=nnx.Rngs(0)))(X["p"]),
            ek.ShapeError,
            "the layers change the names or shapes of arrays",
        ),
        (
            lambda: ek.nn.Stack(lambda rngs: linear(4, 8), 2, rngs=nnx.Rngs(0)),
            ek.ShapeError,
            "the layers do not give the features that they take",
        ),
        (
            lambda: ek.nn.Stack(lambda rngs: nnx.Linear(4, 8, rngs=rngs), 2, rngs=nnx.Rngs(0))(X["p"]),
            ek.ShapeError,
            "the layers change the names or shapes of arrays",
        ),
        (
            lambda: ek.nn.Stack(lambda rngs: jnp.tanh, 2, rngs=nnx.Rngs(0)),
            ek.OptionError,
            "a layer of a residual block or a stack is not an NNX module",
        ),
        (lambda: ek.nn.Stack(block, 0, rngs=nnx.Rngs(0)), ek.OptionError, "depth= must be a whole number ≥ 1"),
        (
            lambda: ek.nn.Stack(block, 10**30, rngs=nnx.Rngs(0)),
            ek.OptionError,
            "depth= must be a whole number ≤ 1,000",
        ),
        (lambda: ek.nn.Stack(block, 2, rngs=nnx.Rngs(0))(3), ek.DTypeError, "input 'x' is not a plain array"),
        (lambda: ek.nn.Stack(3, 2, rngs=nnx.Rngs(0)), ek.OptionError, "make= must be callable"),
        (
            lambda: ek.nn.Stack(linear(4, 4), 2, rngs=nnx.Rngs(0)),
            ek.OptionError,
            "make= is a layer, not a function that makes layers",
        ),
        (
            lambda: ek.nn.Stack(lambda _: ek.nn.Pointwise(lambda x: x, "p", p=S), 2, rngs=nnx.Rngs(0)),
            ek.OptionError,
            "the layers of a stack differ in more than their parameters",
        ),
        (
            lambda: ek.nn.Stack(block, 2, rngs=nnx.Rngs(0))({k: a.astype(jnp.bfloat16) for k, a in X.items()}),
            ek.DTypeError,
            "a layer of a stack changes the dtype of its input",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, kind, problem):
    with pytest.raises(kind) as caught:
        make()
    assert caught.value.problem == problem


def test_a_group_and_its_free_group_are_one_group_in_a_block():
    assert ek.nn.Residual([on(S), on(S(4)), on(S)])(jnp.ones((3, 4, 2))).shape == (3, 4, 2)


# Stacks.


def test_layers_without_variables_are_stacked():
    net = ek.nn.Stack(lambda _: ek.nn.Pointwise(jnp.cos, "p", p=S), 3, rngs=nnx.Rngs(0))
    x = jnp.arange(3.0)[:, None]
    assert_close(net(x), jnp.cos(jnp.cos(jnp.cos(x))), 1e-6)


@pytest.mark.parametrize("remat", [False, True])
def test_a_stack_has_the_values_and_gradients_of_its_layers_in_a_list(remat):
    stack, parts = ek.nn.Stack(block, 3, remat=remat, rngs=nnx.Rngs(0)), unrolled(3)

    def loss(state, graph, x):
        net = nnx.merge(graph, state)
        y = net(x) if isinstance(net, ek.nn.Stack) else run(net, x)
        return sum(jnp.sum(jnp.sin(array)) for array in y.values())

    (one, gradients), (other, each) = (
        in_numpy(jax.value_and_grad(functools.partial(loss, graph=graph)), state, x=X)
        for graph, state in map(nnx.split, (stack, parts))
    )
    assert_close(one, other, 1e-5)
    flat = [nnx.to_flat_state(gradient) for gradient in (gradients, each)]
    by_layer = {(*path[1:],): [] for path, _ in flat[1]}
    for path, value in flat[1]:
        by_layer[path[1:]].append(value[...])
    assert {path[1:] for path, _ in flat[0]} == set(by_layer)
    for path, value in flat[0]:
        assert_close(value[...], np.stack(by_layer[path[1:]]), 1e-4)


def eqns(net, x):
    """How many matrix products the program of a network has."""
    return str(jax.make_jaxpr(lambda x: net(x))(x)).count("dot_general[")


def lines(depth):
    """How many lines a stack has, as XLA gets it to compile."""
    graph, state = nnx.split(ek.nn.Stack(block, depth, rngs=nnx.Rngs(0)))
    lowered = jax.jit(lambda state, x: nnx.merge(graph, state)(x)).lower(state, X)
    return len(lowered.as_text().splitlines())


def test_the_program_holds_one_layer_whatever_the_depth():
    one = eqns(block(nnx.Rngs(0)), X)
    assert one > 0
    assert [eqns(ek.nn.Stack(block, depth, rngs=nnx.Rngs(0)), X) for depth in (1, 2, 16)] == [one] * 3


def test_what_is_compiled_does_not_grow_with_the_depth():
    assert lines(3) == lines(48)


def test_a_stack_is_described_and_checked_before_loading():
    stack, other = (ek.nn.Stack(block, 3, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    text = json.dumps(ek.nn.describe(stack))
    ek.nn.check_saved(other, json.loads(text))
    nnx.update(other, nnx.state(stack))
    equal(other(X), stack(X), 0)
    for wrong in (ek.nn.Stack(block, 4, rngs=nnx.Rngs(0)), nnx.List([block(nnx.Rngs(0))])):
        with pytest.raises(ek.ShapeError, match="does not fit the saved one"):
            ek.nn.check_saved(wrong, json.loads(text))


def test_a_stack_makes_no_program_for_each_shape(monkeypatch):
    def refuse(*_):
        raise AssertionError("an array was stacked by JAX")

    monkeypatch.setattr(jnp, "stack", refuse)
    stack = ek.nn.Stack(lambda rngs: ek.nn.Linear("p -> p", 4, 4, p=S, rngs=rngs), 3, rngs=nnx.Rngs(0))
    assert stack.layers.kernel["p -> p"].shape == (3, 2, 4, 4)


@pytest.mark.parametrize("remat", [False, True])
def test_dropout_and_batch_norm_in_a_stack_keep_their_own_state(remat):
    def make(rngs):
        bound = {"p": S, "rngs": rngs}
        return ek.nn.Residual([ek.nn.BatchNorm({"p": 4}, **bound), ek.nn.Dropout({"p": 4}, 0.5, **bound)])

    stack, parts, x = ek.nn.Stack(make, 3, remat=remat, rngs=nnx.Rngs(0)), unrolled(3, make), X["p"]
    for _ in range(2):
        equal(stack(x), run(parts, x))
    averages = jnp.stack([part.layers[0].mean["p"][...] for part in parts])
    assert_close(stack.layers.layers[0].mean["p"][...], averages, 1e-5)
    stack.eval()
    equal(stack(x), stack(x), 0)
    assert jax.grad(lambda x: stack(x).sum())(x).shape == x.shape
    assert repr(stack).splitlines()[0] == f"Stack(make, 3, {'remat=True, ' * remat} # 24 parameters"


def test_stacks_are_vmapped_abstract_and_trained():
    stack = ek.nn.Stack(block, 2, rngs=nnx.Rngs(0))
    equal(jax.vmap(lambda x: stack(x))(X), stack(X))
    shapes = jax.tree.map(jnp.shape, nnx.state(nnx.eval_shape(lambda: ek.nn.Stack(block, 2, rngs=nnx.Rngs(0)))))
    assert shapes == jax.tree.map(jnp.shape, nnx.state(stack))
    assert np.isfinite(float(nnx.grad(lambda net: jnp.sum(net(X)["p"]))(stack).layers.layers[1].kernel["p -> p"].sum()))


def test_a_deep_network_under_half_precision_keeps_its_dtype():
    def make(rngs):
        return ek.nn.Residual(layers(rngs, dtype=jnp.bfloat16))

    x = {name: array.astype(jnp.bfloat16) for name, array in X.items()}
    y = ek.nn.Stack(make, 2, rngs=nnx.Rngs(0))(x)
    assert {array.dtype for array in y.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("make", [nnx.LayerNorm, nnx.BatchNorm])
def test_layers_of_flax_do_not_get_masks_of_labels(make):
    linear = ek.nn.Linear("p -> p", 4, 4, p=S, rngs=nnx.Rngs(0))
    norm = make(4, rngs=nnx.Rngs(0))
    x, mask = X["p"], jnp.broadcast_to(jnp.arange(5) < 3, (2, 5))
    expected = x + norm(linear(x, mask=mask))
    found = ek.nn.Residual([linear, make(4, rngs=nnx.Rngs(0))])(x, mask=mask)
    assert_close(found[:, :3], expected[:, :3], 1e-6)
    assert not jnp.any(found[:, 3:])
