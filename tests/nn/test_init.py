"""Initial parameters take few compilations, and have the values that JAX draws for their key, shape and dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from helpers import compilations

import equikit as ek
from equikit.nn import initializers as _init
from equikit.weightspace import Functional, LearnedOptimizer, MessagePassing, graph, trace
from equikit.weightspace.asymmetric import AsymmetricLinear, AsymmetricMLP, FiGLU

TERMS = {labels: (labels, 4) for labels in ("p p", "p", "q", "p q", "q q")}
KEY = jax.random.key(3)
WEIGHTS = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}


def perceptron(params, x):
    return jnp.tanh(x @ params["first"]) @ params["second"]


def law(rngs):
    return ek.nn.ConstitutiveLaw(ek.O(3), rngs=rngs)


def message(rngs):
    return ek.nn.GeometricMessage({"p": 4}, {"p": 8, "p x": 2}, cutoff=2.0, p=ek.S, x=ek.O(3), rngs=rngs)


LAYERS = {
    "Linear": lambda rngs: ek.nn.Linear("p p -> p p", 16, 32, p=ek.S, rngs=rngs),
    "Linear with 25 pairs of terms": lambda rngs: ek.nn.Linear(TERMS, TERMS, p=ek.S, q=ek.S, rngs=rngs),
    "Multilinear": lambda rngs: ek.nn.Multilinear("x, x x -> x", (4, 2), 8, x=ek.O(3), rngs=rngs),
    "Bilinear": lambda rngs: ek.nn.Bilinear({"x": 2, "": 3}, 4, {"": 1, "x x": 2}, x=ek.O(3), rngs=rngs),
    "Invariant": lambda rngs: ek.nn.Invariant("p p", 16, 10, p=ek.S, rngs=rngs),
    "RMSNorm": lambda rngs: ek.nn.RMSNorm({"x": 3, "": 4}, x=ek.O(3), rngs=rngs),
    "Radial": lambda rngs: ek.nn.Radial(5.0, 4, hidden=(16, 24), rngs=rngs),
    "GeometricMessage": message,
    "Attention": lambda rngs: ek.nn.Attention({"p": 32, "p x": 8}, heads=4, p=ek.S, x=ek.O(3), rngs=rngs),
    "AsymmetricLinear": lambda rngs: AsymmetricLinear(8, 16, fixed=4, key=KEY, rngs=rngs),
    "FiGLU": lambda rngs: FiGLU(8, key=KEY),
}
NETWORKS = {
    "Network": lambda rngs: ek.nn.Network(
        [{"h m": 1, "h": 2}, {"": 64, "h m": 32}, {"": 64, "h m": 32}, {"": 2}],
        normalize_features=True, h=ek.S, m=ek.Lorentz, rngs=rngs,
    ),
    "MLP": lambda rngs: ek.nn.MLP([{"x": 2}, {"": 32, "x": 8}, {"": 1}], x=ek.O(3), rngs=rngs),
    "DeepSets": lambda rngs: ek.nn.DeepSets(2, [16, 32], 3, rngs=rngs),
    "GraphNetwork": lambda rngs: ek.nn.GraphNetwork(2, [16, 32], 3, rngs=rngs),
    "ConstitutiveLaw": law,
    "Functional": lambda rngs: Functional(
        trace(perceptron, WEIGHTS, jnp.ones((5, 3))), [1, 16, 4], out="", fixed="positions", head=[8], rngs=rngs
    ),
    "MessagePassing": lambda rngs: MessagePassing(
        graph(perceptron, WEIGHTS, jnp.ones((5, 3))), [1, 16, 24, 4], out="", rngs=rngs
    ),
    "VectorNeurons": lambda rngs: ek.nn.VectorNeurons({"p x": 2, "p": 1}, 3, p=ek.S, x=ek.O(3), rngs=rngs),
    "GroupConvolution": lambda rngs: ek.nn.GroupConvolution(1, ek.Z(4), rngs=rngs),
    "MatrixMLP": lambda rngs: ek.nn.MatrixMLP(16, 4, rngs=rngs),
    "AsymmetricMLP": lambda rngs: AsymmetricMLP([784, 64, 10], fixed=3, key=KEY, rngs=rngs),
    "AsymmetricMLP with gates": lambda rngs: AsymmetricMLP([8, 16, 10], how="gates", key=KEY, rngs=rngs),
    "LearnedOptimizer": lambda rngs: LearnedOptimizer(trace(perceptron, WEIGHTS, jnp.ones((5, 3))), [8], rngs=rngs),
}  # fmt: skip


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("make", "most"), [*((make, 3) for make in LAYERS.values()), *((make, 6) for make in NETWORKS.values())],
    ids=[*LAYERS, *NETWORKS],
)  # fmt: skip
def test_construction_takes_few_compilations(make, most):
    make(nnx.Rngs(0))  # what is compiled to find diagrams, or read a model, is no part of it
    rngs = nnx.Rngs(1)
    rngs.params()
    with compilations() as found:
        make(rngs)
    assert len(found) <= most


SHAPES = [(15, 4, 8), (1,), (2, 3000, 1), (0, 3), (70, 1000), (1100, 1000)]


@pytest.mark.compiled
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_values_are_those_that_jax_draws(shape, dtype):
    """Also where the draw has the next length, and beyond the longest one."""
    key = jax.random.key(5)
    np.testing.assert_array_equal(_init.unit_normal(key, shape, dtype), jax.random.normal(key, shape, dtype))


@pytest.mark.compiled
@pytest.mark.parametrize("shape", [(1, 1), (30, 20), (70, 1000)], ids=str)
def test_dense_layers_have_the_initial_values_of_flax(shape):
    ours, theirs = (nnx.Linear(*shape, rngs=nnx.Rngs(3), **options) for options in (_init.DENSE, {}))
    np.testing.assert_allclose(ours.kernel[...], theirs.kernel[...], rtol=3e-7)
    np.testing.assert_array_equal(ours.bias[...], theirs.bias[...])


@pytest.mark.compiled
def test_fixed_entries_are_those_that_jax_draws():
    layer, (places, numbers) = AsymmetricLinear(40, 70, fixed=7, key=KEY, rngs=nnx.Rngs(1)), jax.random.split(KEY)
    order = jnp.argsort(jax.random.uniform(places, (40, 70)), axis=0)
    mask = jnp.argsort(order, axis=0) < 7
    np.testing.assert_array_equal(layer.mask[...], mask)
    np.testing.assert_array_equal(layer.values[...], jnp.where(mask, jax.random.normal(numbers, (40, 70)), 0))
    compiled = jax.jit(lambda key: AsymmetricLinear(40, 70, fixed=7, key=key, rngs=nnx.Rngs(1)).values[...])(KEY)
    np.testing.assert_allclose(compiled, layer.values[...], rtol=1e-6)


@pytest.mark.compiled
def test_values_are_those_that_jax_draws_in_double_precision(x64):
    key = jax.random.key(5)
    for dtype in ("float64", "complex128"):
        np.testing.assert_array_equal(_init.unit_normal(key, (7, 9), dtype), jax.random.normal(key, (7, 9), dtype))


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_compiled_constructor_makes_the_same_layer(dtype, impl):
    def make(key):
        return ek.nn.Linear("p p -> p", 3, 5, p=ek.S, rngs=nnx.Rngs(key), param_dtype=dtype)

    key = jax.random.key(3, impl=impl)
    layer, compiled = make(key), nnx.jit(make)(key)
    one, two = (np.asarray(made.kernel["p p -> p"][...]) for made in (layer, compiled))
    assert one.dtype == two.dtype == jnp.dtype(dtype)
    np.testing.assert_allclose(one.astype(complex), two.astype(complex), rtol=2 * float(jnp.finfo(dtype).eps))
    assert bool(jnp.all(layer.bias["-> p"][...] == compiled.bias["-> p"][...]))


@pytest.mark.compiled
def test_other_generators_draw_for_each_shape():
    """Theirs need not begin with the numbers of a shorter draw."""
    key = jax.random.key(5, impl="rbg")
    np.testing.assert_array_equal(_init.unit_normal(key, (7, 9)), jax.random.normal(key, (7, 9)))
    with jax.threefry_partitionable(False):
        key = jax.random.key(5)
        np.testing.assert_array_equal(_init.unit_normal(key, (7, 9)), jax.random.normal(key, (7, 9)))


def test_split_keys_make_layers_that_differ():
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0)
    def make(rngs):
        return ek.nn.Linear("p -> p", 2, 4, p=ek.S, rngs=rngs)

    kernel = make(nnx.Rngs(0)).kernel["p -> p"][...]
    assert kernel.shape == (3, 2, 2, 4)
    assert len(np.unique(np.asarray(kernel))) == kernel.size


def test_abstract_parameters_of_any_size_need_no_memory():
    """The kernel would have 16 TB, the bias 8 GB."""

    def make():
        return ek.nn.Linear("p p -> p p f", 1 << 13, 1 << 15, p=ek.S, f=ek.Fixed(1 << 10), rngs=nnx.Rngs(0))

    layer = nnx.eval_shape(make)
    assert layer.kernel["p p -> p p f"].shape == (15, 1 << 13, 1 << 25)
    assert layer.bias["-> p p f"].shape == (2, 1 << 25)


HUGE = {
    "Linear": lambda c: ek.nn.Linear("p p -> p p", c, 2, p=ek.S, rngs=nnx.Rngs(0)),
    "a bias": lambda c: ek.nn.Linear("p -> p", 0, c, p=ek.S, rngs=nnx.Rngs(0)),
    "other initializer": lambda c: ek.nn.Linear(
        "p -> p", c, 2, p=ek.S, kernel_init=jax.nn.initializers.normal(1.0), rngs=nnx.Rngs(0)
    ),
    "Bilinear": lambda c: ek.nn.Bilinear({"x": 2}, c, {"": 1}, x=ek.O(3), rngs=nnx.Rngs(0)),
    "Multilinear": lambda c: ek.nn.Multilinear("x, x -> ()", (4, 2), c, x=ek.O(3), rngs=nnx.Rngs(0)),
    "RMSNorm": lambda c: ek.nn.RMSNorm({"x": c}, x=ek.O(3)),
    "NormGated": lambda c: ek.nn.NormGated({"x": c}, x=ek.O(3)),
    "Radial": lambda c: ek.nn.Radial(2.0, c, rngs=nnx.Rngs(0)),
    "GeometricMessage": lambda c: ek.nn.GeometricMessage(
        {"p": c}, {"p": 2}, cutoff=2.0, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)
    ),
    "DeepSets": lambda c: ek.nn.DeepSets(2, [c], 2, rngs=nnx.Rngs(0)),
    "ConstitutiveLaw": lambda c: ek.nn.ConstitutiveLaw(hidden=(c,), rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize("name", HUGE)
def test_parameters_that_no_device_holds_are_refused(name):
    with pytest.raises(ek.TooLargeError, match="is too large") as error:
        HUGE[name](10**12)
    assert "nnx.eval_shape" in error.value.step
    assert jax.tree.leaves(nnx.eval_shape(lambda: nnx.state(HUGE[name](10**5))))


@pytest.mark.parametrize("make", [lambda build: build(), nnx.eval_shape])
@pytest.mark.parametrize("name", HUGE)
def test_parameters_that_no_array_can_have_are_refused(name, make):
    with pytest.raises(ek.TooLargeError, match=r"too large|too many") as error:
        make(lambda: HUGE[name](10**30))
    assert "use fewer channels" in error.value.step


@pytest.mark.parametrize("option", ["degree", "invariants"])
def test_absurd_degrees_of_laws_are_refused_at_once(option):
    with pytest.raises(ek.OptionError, match=f"{option}= must be a whole number"):
        ek.nn.ConstitutiveLaw(**{option: 10**30}, rngs=nnx.Rngs(0))


def test_absurd_initial_sizes_are_refused():
    with pytest.raises(ek.OptionError, match="init_size of 'p' must be a whole number"):
        ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, init_size=10**30, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_initial_weights_are_normal(dtype):
    """Deviations are below 4.5 standard errors, which chance exceeds 7 times in a million; the key is fixed."""
    layer = ek.nn.Linear("p -> p", 512, 512, p=ek.S, rngs=nnx.Rngs(0), param_dtype=dtype)
    kernel = np.asarray(layer.kernel["p -> p"][...])
    drawn = kernel.astype(complex).ravel() * np.sqrt(1024)  # 2 diagrams and 512 channels share the variance
    parts = [drawn.real * np.sqrt(2), drawn.imag * np.sqrt(2)] if dtype == "complex64" else [drawn.real]
    for part in parts:
        assert abs(part.mean()) < 4.5 / np.sqrt(part.size)
        assert abs(part.var() - 1) < 4.5 * np.sqrt(2 / part.size)
        if dtype in ("float32", "complex64"):
            assert scipy.stats.kstest(part, "norm").pvalue > 1e-3


def test_parameters_are_independent():
    layer = ek.nn.Linear({"a": ("p", 64), "b": ("p", 64)}, {"p": 128}, p=ek.S, rngs=nnx.Rngs(0))
    other = ek.nn.Linear({"a": ("p", 64), "b": ("p", 64)}, {"p": 128}, p=ek.S, rngs=nnx.Rngs(1))
    drawn = [np.asarray(kernel[...]).ravel() for made in (layer, other) for kernel in made.kernel.values()]
    correlations = np.corrcoef(drawn)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(drawn[0].size)


def test_parameters_are_on_the_device_of_the_key():
    key = jax.device_put(jax.random.key(0), jax.devices()[0])
    layer = ek.nn.Linear("p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(key))
    free = ek.nn.Linear("p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    assert (layer.kernel["p -> p"][...].committed, free.kernel["p -> p"][...].committed) == (True, False)


def test_initial_parameters_can_be_donated():
    layer = ek.nn.Linear("p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    state = nnx.state(layer)
    kept = jax.tree.map(np.array, state)
    doubled = jax.jit(lambda state: jax.tree.map(lambda a: 2 * a, state), donate_argnums=0)(state)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 2 * b), doubled, kept)
