"""`Network`: it commutes with every option, keeps variance, learns from long-tailed inputs, and says what is wrong."""

import copy
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_close, partly_slow
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import SO, A, Bistochastic, Fixed, H, Lorentz, O, S, Sp

FEATURES = [{"x": 2}, {"": 8, "x": 4}, {"x": 4, "": 8}, {"": 1, "x": 1}]
SETS = [{"p x": 2}, {"p": 6, "p x": 3}, {"p": 6, "p x": 3}, {"": 1, "x": 1}]


def rngs(seed=0):
    return nnx.Rngs(seed)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def leaves(module):
    return jax.tree.leaves(nnx.state(module, nnx.Param))


OPTIONS = [
    *((group, "gated") for group in (O(3), SO(3), Lorentz, H(3), Bistochastic(3), A(3), S(4))),
    *((group, "norm") for group in (O(3), Lorentz, H(3))),
]


@pytest.mark.parametrize(
    ("group", "nonlinearity"),
    partly_slow(OPTIONS, (1, 2, 6, 7, 9), [f"{group}, {kind}" for group, kind in OPTIONS]),
)
def test_it_commutes_with_all_options(group, nonlinearity):
    net = ek.nn.Network(
        FEATURES, nonlinearity=nonlinearity, normalize_features=True, residual=True, x=group, rngs=rngs()
    )
    assert net.residual == (False, True)
    assert sorted(net.norms) == ["1", "head"]
    ek.testing.assert_equivariant(
        by_numpy(net), {"x": 2}, {"": 1, "x": 1}, x=group, key=jax.random.key(0), tolerance=5e-4 if group.form else 5e-5
    )


def test_symplectic_groups_have_gates_but_no_norms():
    net = ek.nn.Network(FEATURES, x=Sp(2), normalize_features=True, rngs=rngs())
    ek.testing.assert_equivariant(
        by_numpy(net), {"x": 2}, {"": 1, "x": 1}, x=Sp(2), key=jax.random.key(0), tolerance=5e-4
    )
    with pytest.raises(ek.OptionError, match="has no norm under"):
        ek.nn.Network(FEATURES, x=Sp(2), nonlinearity="norm", rngs=rngs())


def test_pointwise_where_it_commutes():
    features = [{"p p": 2}, {"p p": 4, "p": 3}, {"": 2}]
    net = ek.nn.Network(features, nonlinearity="pointwise", p=S, rngs=rngs())
    ek.testing.assert_equivariant(
        jax.jit(net), {"p p": 2}, {"": 2}, p=S(5), mask=True, key=jax.random.key(0), tolerance=5e-5
    )
    plain = ek.nn.Network(features, nonlinearity="pointwise", products=0, activation=jnp.tanh, p=S, rngs=rngs())
    x = normal(3, 5, 5, 2)
    hidden = {name: jnp.tanh(array) for name, array in plain.linear[0]({"p p": x}).items()}
    assert_close(plain({"p p": x})[""], plain.head(hidden)[""], 0)
    signs = ek.nn.Network([{"x": 2}, {"x": 4}, {"x": 1}], nonlinearity="pointwise", products=0, activation=jnp.tanh,
                          x=H, rngs=rngs())  # fmt: skip
    ek.testing.assert_equivariant(signs, {"x": 2}, {"x": 1}, x=H(4), key=jax.random.key(0))
    with pytest.raises(ek.OptionError, match="does not commute with O"):
        ek.nn.Network(FEATURES, nonlinearity="pointwise", x=O(3), rngs=rngs())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"normalize_features": True}, {"residual": True}, {"normalize_features": True, "residual": True}],
    ids=str,
)
def test_absent_entries_count_nowhere(options):
    net = ek.nn.Network([SETS[1], *SETS[1:]], p=S, x=O(3), rngs=rngs(), **options)
    x = {"p": normal(2, 5, 6), "p x": normal(2, 5, 3, 3, seed=1)}
    mask = np.arange(5) < np.array([[3], [5]])
    hidden = {"p": np.where(mask[..., None], x["p"], np.nan)}
    hidden["p x"] = np.where(mask[..., None, None], x["p x"], np.nan)
    padded = by_numpy(net)(hidden, mask={"p": mask})
    alone = by_numpy(net)({name: array[:1, :3] for name, array in x.items()})
    for name in padded:
        assert_close(padded[name][0], alone[name][0], 1e-4)

    graph, state = nnx.split(net)
    slopes = jax.grad(lambda s: jnp.sum(nnx.merge(graph, s)(hidden, mask={"p": mask})["x"] ** 2))
    assert all(np.all(np.isfinite(slope)) for slope in jax.tree.leaves(in_numpy(slopes, state)))
    with pytest.raises(ek.ShapeError, match="the mask is for 'q'"):
        net(x, mask={"q": mask})


def test_residual_adds_the_input_where_features_agree():
    features = [{"x": 4, "": 3}, {"": 3, "x": 4}, {"": 3, "x": 4}, {"": 1}]
    with_sum, without = (ek.nn.Network(features, residual=on, x=O(3), rngs=rngs()) for on in (True, False))
    assert (with_sum.residual, without.residual) == ((True, True), (False, False))
    for net in (with_sum, without):
        for layer in net.linear:
            for kernel in layer.kernel.values():
                kernel[...] = jnp.zeros_like(kernel[...])
        for layer in net.bilinear.values():
            for kernel in layer.mix.kernel.values():
                kernel[...] = jnp.zeros_like(kernel[...])
    x = {"x": normal(5, 3, 4), "": normal(5, 3)}
    assert_close(with_sum(x)[""], with_sum.head(x)[""], 1e-6)
    assert float(jnp.abs(without(x)[""]).max()) == 0.0


@pytest.mark.parametrize("products", [0, 32])
def test_the_sum_of_a_hidden_layer_keeps_variance(products):
    """The root mean square over inputs and seeds, term by term, with independent normal inputs."""
    features = [{"": 32, "x": 32}, {"": 32, "x": 32, "x x": 32}, {"": 1}]

    def mean_squares_of(key):
        net = ek.nn.Network(features, products=products, x=O(4), rngs=nnx.Rngs(key))
        found = {}
        net.nonlinear[0] = Keep(found)
        scalars, vectors = jax.random.split(jax.random.fold_in(key, 1))
        net({"": jax.random.normal(scalars, (64, 32)), "x": jax.random.normal(vectors, (64, 4, 32))})
        return {name: jnp.mean(array**2) for name, array in found.items()}

    squares = jax.jit(jax.vmap(mean_squares_of))(jax.random.split(jax.random.key(0), 12))
    assert squares.keys() == {"", "x", "x x", "gate of x", "gate of x x"}
    for name, values in squares.items():
        assert np.mean(values) == pytest.approx(1.0, abs=0.25), name


class Keep(nnx.Module):
    """Put what comes in into a dictionary, and pass on the three terms of the layer."""

    def __init__(self, found):
        self.found = nnx.static(found)

    def __call__(self, x):
        self.found.update(x)
        return {name: x[name] for name in ("", "x", "x x")}


def fit(net, x, y, steps=48):
    static, params = nnx.split(net)
    optimizer = optax.adam(1.2e-2)

    def loss(params):
        return jnp.mean((nnx.merge(static, params)({"x": x})[""] - y) ** 2)

    @jax.jit
    def run(params):
        def step(state, _):
            params, memory = state
            updates, memory = optimizer.update(jax.grad(loss)(params), memory)
            return (optax.apply_updates(params, updates), memory), None

        return loss(jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[0][0])

    return float(run(params))


@pytest.mark.slow
@pytest.mark.parametrize("residual", [False, True])
def test_normalized_features_learn_from_long_tailed_inputs(residual):
    """Vectors whose lengths are spread over three powers of ten: degree eight without normalization."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3, 2)) * np.exp(rng.normal(size=(300, 1, 1)))
    one, two = np.linalg.norm(x, axis=1).T
    y = np.log(one + 1) + (x[..., 0] * x[..., 1]).sum(1) / (one * two)
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(((y - y.mean()) / y.std())[:, None], jnp.float32)
    features = [{"x": 2}, *[{"": 16, "x": 4}] * 3, {"": 1}]
    plain, cured = (
        fit(ek.nn.Network(features, normalize_features=on, residual=residual, x=O(3), rngs=rngs()), x, y)
        for on in (False, True)
    )
    assert cured < 0.05
    assert not plain < 1.0  # no better than a constant, or not a number


def test_mlp_is_the_network_without_options():
    arguments = [{"x": 2}, {"": 8, "x": 4}, {"": 1}]
    one, two = (kind(arguments, x=O(3), rngs=rngs()) for kind in (ek.nn.MLP, ek.nn.Network))
    assert isinstance(one, ek.nn.Network)
    x = {"x": normal(5, 3, 2)}
    assert_close(one(x)[""], two(x)[""], 0)


def test_out_channels_and_products_by_layer():
    short = ek.nn.Network(FEATURES[:3], out_channels=3, products=[4, 0], x=O(3), rngs=rngs())
    long = ek.nn.Network([*FEATURES[:3], {"": 3}], products=(4, 0), x=O(3), rngs=rngs())
    assert list(short.bilinear) == ["0"]
    assert short.bilinear["0"].left.kernel["x -> x"].shape == (1, 2, 4)
    x = {"x": normal(5, 3, 2)}
    assert_close(short(x)[""], long(x)[""], 0)
    assert short(x)[""].shape == (5, 3)
    scalars = ek.nn.Network([{"x": 2, "": 1}], out_channels=1, products=0, x=O(3), rngs=rngs())
    assert scalars(x | {"": normal(5, 1)})[""].shape == (5, 1)


@pytest.mark.slow
def test_options_reach_the_layers():
    by_label, plain = (ek.nn.Network(SETS, p=S, x=O(3), init_size=n, rngs=rngs()) for n in ({"p": 10}, 10))
    x = {"p x": normal(5, 3, 2)}
    assert_close(by_numpy(by_label)(x)["x"], by_numpy(plain)(x)["x"], 0)
    with pytest.raises(ek.SignatureError, match="init_size is given for 'q'"):
        ek.nn.Network(SETS, p=S, x=O(3), init_size={"q": 10}, rngs=rngs())
    half = ek.nn.Network(FEATURES, x=O(3), dtype=jnp.bfloat16, normalize_features=True, residual=True, rngs=rngs())
    assert jax.eval_shape(half, {"x": normal(5, 3, 2)})["x"].dtype == jnp.bfloat16
    wide = ek.nn.Network([{"x f": 1}, {"f": 2, "x": 3}, {"": 1}], x=O(3), f=Fixed(2), rngs=rngs())
    assert jax.eval_shape(wide, {"x f": normal(4, 3, 2, 1)})[""].shape == (4, 1)


def test_double_precision(x64):
    net = ek.nn.Network(FEATURES, x=SO(3), param_dtype=jnp.float64, normalize_features=True, residual=True, rngs=rngs())
    assert all(leaf.dtype == jnp.float64 for leaf in leaves(net))
    ek.testing.assert_equivariant(
        jax.jit(net), {"x": 2}, {"": 1, "x": 1}, x=SO(3), key=jax.random.key(0), tolerance=1e-12
    )


@pytest.mark.parametrize("nonlinearity", ["gated", "norm", "pointwise"])
def test_networks_are_modules(nonlinearity):
    group = S(3) if nonlinearity == "pointwise" else SO(3)

    def make(seed=0):
        return ek.nn.Network(
            FEATURES, nonlinearity=nonlinearity, normalize_features=True, residual=True, x=group, rngs=rngs(seed)
        )

    net, x = make(), {"x": normal(5, 3, 2)}
    graph, state = nnx.split(net)
    assert graph == nnx.split(make(1))[0]
    assert hash(graph) == hash(nnx.split(make(1))[0])
    assert jax.tree.structure(net) == jax.tree.structure(make(1))
    assert len(leaves(net)) == len(jax.tree.leaves(nnx.state(net)))
    expected = by_numpy(net)(x)["x"]
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), nnx.clone(net)):
        assert_close(by_numpy(other)(x)["x"], expected, 0)
    assert_close(jax.jit(lambda s, x: nnx.merge(graph, s)(x)["x"])(state, x), expected, 1e-5)
    assert_close(jax.jit(lambda m, x: m(x)["x"])(net, x), expected, 1e-5)


def test_gradients_reach_every_parameter():
    net = ek.nn.Network(FEATURES, x=SO(3), normalize_features=True, residual=True, rngs=rngs())
    graph, state = nnx.split(net)
    target = {"": 1.0, "x": 2.0}
    x = {"x": normal(9, 3, 2)}
    slopes = jax.jit(
        jax.grad(lambda s: sum(jnp.mean((y - target[n]) ** 2) for n, y in nnx.merge(graph, s)(x).items()))
    )(state)
    dead = [path for path, leaf in jax.tree.leaves_with_path(slopes) if not np.any(leaf)]
    assert dead == []
    assert math.isfinite(sum(np.sum(leaf) for leaf in jax.tree.leaves(slopes)))


@pytest.mark.parametrize(
    ("features", "options", "error", "message"),
    [
        ([{"x": 2}], {}, ek.OptionError, "not a list of dictionaries"),
        ("x", {}, ek.OptionError, "not a list of dictionaries"),
        ([{"x": 2}, "x"], {}, ek.OptionError, "not a list of dictionaries"),
        ([{"x": 2}, {}], {}, ek.SignatureError, "no output terms"),
        ([{"x": 2}, {"y": 1}], {}, ek.SignatureError, "'y' is not bound"),
        (FEATURES, {"groups": {"y": O(3)}}, ek.SignatureError, "'y'"),
        (FEATURES, {"y": O(3)}, ek.SignatureError, "'y'"),
        (FEATURES, {"nonlinearity": "relu"}, ek.OptionError, "unknown value for nonlinearity="),
        (FEATURES, {"products": [8]}, ek.OptionError, "numbers of products do not fit"),
        (FEATURES, {"products": -1}, ek.EquikitError, "number of products"),
        (FEATURES, {"products": False}, ek.EquikitError, "give 0 for none, or for example 8"),
        (FEATURES, {"products": "two"}, ek.EquikitError, "number of products"),
        (FEATURES, {"residual": 1}, ek.OptionError, "residual= must be True or False"),
        (FEATURES, {"normalize_features": "yes"}, ek.OptionError, "normalize_features= must be True or False"),
        (FEATURES[:2] + FEATURES[-1:], {"residual": True}, ek.OptionError, "residual would change nothing"),
        ([{"x": 2}, {"": 1, "x": 1}], {"normalize_features": True}, ek.OptionError, "features would change nothing"),
        (FEATURES, {"out_channels": 1.5}, ek.EquikitError, "out_channels"),
        (
            [{"x": 2}, {"x": 2}, {"x": 1}],
            {"nonlinearity": "norm"},
            ek.OptionError,
            "no product of features reaches hidden layer 1",
        ),
    ],
)
def test_bad_arguments(features, options, error, message):
    with pytest.raises(error, match=message):
        ek.nn.Network(features, **{"x": O(3)} | options, rngs=rngs())


def test_no_invariant_mean_square_under_boosts():
    with pytest.raises(ek.OptionError, match="normalize_features would change nothing"):
        ek.nn.Network([{"m": 2}, {"m": 2}, {"m": 1}], nonlinearity="norm", products=0, normalize_features=True,
                      m=Lorentz, rngs=rngs())  # fmt: skip


def test_bad_arrays():
    net = ek.nn.Network(FEATURES, residual=True, x=O(3), rngs=rngs())
    with pytest.raises(ek.ShapeError, match="channels"):
        net({"x": normal(5, 3, 4)})
    with pytest.raises(ek.ShapeError, match="do not have the expected names"):
        net({"y": normal(5, 3, 2)})


def test_terms_without_a_norm_are_not_normalized():
    features = [{"u": 2}, {"u": 2, "": 2}, {"u": 1}]
    network = ek.nn.Network(features, products=0, u=ek.GL(2), normalize_features=True, rngs=nnx.Rngs(0))
    assert network({"u": jnp.ones((3, 2, 2))})["u"].shape == (3, 2, 1)


POINTS_AND_ALL = {"p": ("p", 8), "all": ("", 8)}
PAIRS_TOO = {"pairs": ("p p", 8)} | POINTS_AND_ALL


def mean_squares(inputs, hidden, depth, x, draws, **options):
    """The mean square of the output over the inputs, for each of several networks."""

    def mean_square(key):
        net = ek.nn.Network([inputs, *[hidden] * depth, {"": 1}], p=S, rngs=nnx.Rngs(key), **options)
        return jnp.mean(net(x)[""] ** 2)

    return np.asarray(jax.jit(jax.vmap(mean_square))(jax.vmap(jax.random.key)(jnp.arange(draws))))


@pytest.mark.parametrize(
    ("depth", "normalize"), partly_slow([(d, how) for d in (1, 2, 3, 4) for how in ("mean", "sum")], lambda i: i == 7)
)
def test_deep_networks_of_linear_layers_do_not_grow(depth, normalize):
    """Linear layers after the first keep the largest mean square or lower it, and so does silu. Scaled for independent
    entries, the mean square was 2.6, 2.1, 5.7 and 7.8."""
    x = {"p": normal(32, 8, 1)}
    options = {"products": 0, "normalize": normalize, "init_size": 8}
    values = mean_squares({"p": ("p", 1)}, POINTS_AND_ALL, depth, x, 16, **options)
    assert np.mean(values) < 1


@pytest.mark.parametrize(
    ("inputs", "hidden", "depth", "normalize"),
    [
        ({"p": ("p", 1)}, POINTS_AND_ALL, 2, "sum"),
        *(
            pytest.param({"p": ("p p", 1)}, PAIRS_TOO, depth, normalize, marks=pytest.mark.slow)
            for depth in (1, 2, 3, 4)
            for normalize in ("mean", "sum")
        ),
    ],
)
def test_products_of_sums_start_near_one(inputs, hidden, depth, normalize):
    """A layer maps a mean square v to at most (v + v²) / 2, which is 1 for v = 1. Products of products have long tails,
    so this is about the median network. It was 500 for two layers on points, and 1e12 for three on pairs."""
    x = {"p": normal(32, *[8] * len(inputs["p"][0].split()), 1)}
    median = np.median(mean_squares(inputs, hidden, depth, x, 11, normalize=normalize, init_size=8))
    assert 1e-3 < median < 4
