"""The multilinear layer: equivariant, initialized to keep variance, a module like the others."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import TURN, assert_close, assert_error, every, partly_slow
from in_numpy import by_numpy

import equikit as ek
from equikit import GL, SO, A, Bistochastic, D, Fixed, H, Lorentz, O, S, Sp
from equikit.nn import Multilinear

LAYERS = [
    ("x, x x -> x", {"x": O(3)}),
    ("x, x -> x", {"x": SO(3)}),
    ("x x, x -> x", {"x": Sp(4)}),
    ("m m, m -> m", {"m": Lorentz}),
    ("x x, x -> x", {"x": A(3)}),
    ("x, x -> x x", {"x": Bistochastic(3)}),
    ("x, x -> x x", {"x": H(3)}),
    ("p x, p -> p x", {"p": S(4), "x": O(2)}),
    ("p f, p -> p g", {"p": S(4), "f": Fixed(2), "g": Fixed(3)}),
    ("sym(x x), sym(x x) -> sym(x x)", {"x": O(3)}),
    ("alt(x, x) -> alt(x x)", {"x": O(3)}),
    ("x, x, x -> ()", {"x": SO(3)}),
    ("sym(v, v), v* -> v", {"v": GL(2)}),
    ("sym(z z), z -> z", {"z": D(3)}),
    ("x, x p -> p", {"x": TURN, "p": S(2)}),
]


def arrays(layer, batch=(2,), n=None, seed=0, dtype=jnp.float32):
    rng, space = np.random.default_rng(seed), layer.space
    sizes = space.sizes(n)
    return tuple(
        jnp.asarray(rng.normal(size=(*batch, *(sizes[x] for x in term.labels), c)), dtype)
        for term, c in zip(space.inputs, layer.channels, strict=True)
    )


def act(space, term, elements, array):
    """Apply group elements to the axes of an array, by their matrices."""
    start = array.ndim - 1 - len(term.labels)
    for i, label in enumerate(term.labels):
        if label in elements:
            array = np.moveaxis(np.tensordot(elements[label], array, ((1,), (start + i,))), 0, start + i)
    return array


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("case", "mode"),
    partly_slow(
        every(LAYERS, ["full", "channelwise"]),
        lambda place: place % 2 == 0 or place % 6 == 1,  # a third of the channelwise ones
        [f"{text}, {groups}, {mode}" for (text, groups), mode in every(LAYERS, ["full", "channelwise"])],
    ),
)
def test_it_commutes_with_random_elements(case, mode):
    text, groups = case
    if mode == "channelwise" and "f" in groups:
        return  # plain axes have no channelwise maps
    layer = Multilinear(text, 2, 2, mode=mode, groups=groups, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    space, rng = layer.space, np.random.default_rng(1)
    x = arrays(layer, dtype=jnp.float64)
    elements = []
    for _ in range(3):
        drawn = {label: group.random_element(rng) for label, group in groups.items() if not isinstance(group, Fixed)}
        elements.append({label: g.matrix(drawn[label.rstrip("*")]) for label, g in space.signature.groups.items()})
    copies = [
        np.stack([a, *(act(space, term, element, a) for element in elements)])
        for term, a in zip(space.inputs, x, strict=True)
    ]
    y, *moved = by_numpy(layer)(*copies)
    for element, found in zip(elements, moved, strict=True):
        wanted = act(space, space.output, element, y)
        assert_close(found, wanted, 1e-11)
        assert np.max(np.abs(wanted)) > 1e-3


def test_one_tensor_twice_is_checked_by_the_public_function():
    layer = Multilinear("sym(x, x) -> x x", 2, 3, x=O(3), rngs=nnx.Rngs(0))
    ek.testing.assert_equivariant(
        by_numpy(lambda x: layer(x, x)), "x -> x x", x=O(3), channels=2, key=jax.random.key(0), tolerance=1e-4
    )


def test_it_is_linear_in_each_input_and_not_in_all():
    layer = Multilinear("x, x x -> x", (2, 3), 4, x=O(3), rngs=nnx.Rngs(0))
    one, two = arrays(layer)
    other = arrays(layer, seed=1)[0]
    assert_close(layer(one + 2 * other, two), layer(one, two) + 2 * layer(other, two), 1e-5)
    assert_close(layer(3 * one, 3 * two), 9 * layer(one, two), 1e-5)


VARIANCE = [
    ("x, x x -> x", {"x": O(3)}, "mean"),
    ("x x, x x -> x x", {"x": O(4)}, "sum"),
    ("x, x -> x", {"x": SO(3)}, "sum"),
    ("p p, p -> p", {"p": S(6)}, "mean"),
]


@pytest.mark.parametrize(
    ("case", "mode"),
    partly_slow(every(VARIANCE, ["full", "channelwise"]), (0, 1, 4, 7)),  # each case but the second
)
def test_initial_variance_is_one(case, mode):
    """Over many draws of weights: the mean square of the output of independent inputs of variance one."""
    text, groups, normalize = case
    width = 4 if mode == "full" else 64

    def square(key):
        layer = Multilinear(text, width, width, mode=mode, groups=groups, normalize=normalize, rngs=nnx.Rngs(key))
        sizes = layer.space.sizes()
        keys = jax.random.split(jax.random.fold_in(key, 1), len(layer.space.inputs))
        x = [
            jax.random.normal(k, (16, *(sizes[i] for i in term.labels), width))
            for k, term in zip(keys, layer.space.inputs, strict=True)
        ]
        return jnp.mean(layer(*x) ** 2)

    values = jax.jit(jax.vmap(square))(jax.random.split(jax.random.key(0), 40))
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - 1) < 4 * error + 0.02
    assert error < 0.1


def test_free_labels_serve_every_size():
    layer = Multilinear("p p, p -> p", 2, 3, p=S, rngs=nnx.Rngs(0), init_size=5)
    for n in (1, 4, 7):
        assert layer(*arrays(layer, n=n)).shape == (2, n, 3)
    keep = jnp.array([True, True, False, True])
    x = arrays(layer, batch=(), n=4)
    y = layer(*x, mask={"p": keep})
    assert_close(y[2], jnp.zeros(3), 0)


MAKE = {
    "full": lambda seed=0: Multilinear("x, x x -> x", (2, 3), 4, x=O(3), rngs=nnx.Rngs(seed)),
    "channelwise": lambda seed=0: Multilinear(
        "alt(x, x) -> x", 2, mode="channelwise", x=SO(3), rngs=nnx.Rngs(seed), dtype=jnp.float32
    ),
}


@pytest.mark.parametrize("name", MAKE)
def test_it_is_a_module_like_the_others(name):
    layer, other = MAKE[name](), MAKE[name](1)
    x = arrays(layer)
    y = layer(*x)
    graph, state = nnx.split(layer)
    assert graph == nnx.split(other)[0]
    assert hash(graph) == hash(nnx.split(other)[0])
    assert_close(nnx.merge(graph, state)(*x), y, 0)
    assert [*map(type, jax.tree.leaves(nnx.state(layer)))] == [type(y)]
    leaves, structure = jax.tree.flatten(layer)
    assert structure == jax.tree.structure(other)
    assert_close(jax.tree.unflatten(structure, leaves)(*x), y, 0)
    assert_close(jax.jit(lambda m, x: m(*x))(layer, x), y, 1e-5)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), nnx.clone(layer)):
        assert_close(again(*x), y, 0)
    assert not any(isinstance(value, jax.Array | np.ndarray | nnx.Rngs) for value in vars(layer).values())


def test_an_optimizer_learns_the_cross_product():
    layer = Multilinear("x, x -> x", 1, 1, x=SO(3), rngs=nnx.Rngs(1))
    x = arrays(layer, (64,))
    target = jnp.cross(x[0][..., 0], x[1][..., 0])[..., None]
    optimizer = nnx.Optimizer(layer, optax.adam(5e-2), wrt=nnx.Param)

    @nnx.jit
    def step(layer, optimizer):
        loss, gradients = nnx.value_and_grad(lambda m: jnp.mean((m(*x) - target) ** 2))(layer)
        optimizer.update(layer, gradients)
        return loss

    for _ in range(300):
        loss = step(layer, optimizer)
    assert float(loss) < 1e-6
    assert_close(layer.kernel[...], jnp.ones((1, 1, 1, 1)), 1e-2)


def test_dtypes():
    layer = Multilinear("x, x -> x", 1, 1, x=SO(3), rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    assert layer(*arrays(layer)).dtype == jnp.bfloat16
    assert layer.kernel.dtype == jnp.float32


def make(text="x, x -> x", *arguments, **options):
    return lambda: Multilinear(text, *(arguments or (2, 2)), **({"x": SO(3), "rngs": nnx.Rngs(0)} | options))


ERRORS = {
    "zero": (
        ek.SignatureError,
        make("x, x -> x", x=O(3)),
        "no multilinear map but zero",
        "the axes of 'x' are 3",
        "one or more",
        "look at",
    ),
    "sign": (
        ek.SignatureError,
        make("sym(x, x) -> x"),
        "no multilinear map but zero",
        "changes its sign",
        "one or more",
        "look at",
    ),
    "no channels": (
        ek.OptionError,
        make("x, x -> x", 2, None),
        "channels of the output are not given",
        "'x, x -> x', 2",
        "output",
        "channelwise",
    ),
    "channel count": (
        ek.ShapeError,
        make("x, x -> x", (2, 2, 2), 2),
        "the number of input channels for",
        "3",
        "2",
        "each term",
    ),
    "channelwise": (
        ek.ShapeError,
        make("x, x -> x", (2, 3), 2, mode="channelwise"),
        "one number of channels",
        "(2, 3)",
        "same",
        "full",
    ),
    "mode": (ek.OptionError, make(mode="both"), "unknown value for mode=", "'both'", "full", "full"),
    "normalize": (ek.OptionError, make(normalize="max"), "unknown value for normalize=", "'max'", "mean", "mean"),
    "rngs": (ek.OptionError, make(rngs=3), "rngs= must be", "3", "Rngs", "Rngs(0)"),
    "dtype": (ek.DTypeError, make(dtype=jnp.int32), "dtype= must be a floating-point", "int32", "float32", "float32"),
    "init_size": (ek.SignatureError, make(init_size={"x": 3}), "init_size is given for 'x'", "3", "bound", "remove"),
    "input": (
        ek.ShapeError,
        lambda: make()()(jnp.ones((3, 2)), jnp.ones((3, 1))),
        "input 2 has 1 channels, not 2",
        "[3, 1]",
        "2 channels",
        "last axis",
    ),
    "too few": (
        ek.ShapeError,
        lambda: make()()(jnp.ones((3, 2))),
        "the number of inputs of 'x, x -> x' must be 2",
        "1",
        "2",
        "order",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    assert_error(*ERRORS[name])
