"""`LayerNorm` and `BatchNorm`: permuted features, vectors, masks, running averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit import A, Bistochastic, H, Lorentz, O, S, Sp, U, Z

KINDS = pytest.mark.parametrize("kind", [ek.nn.LayerNorm, ek.nn.BatchNorm])
FEATURES = {"": 3, "p": 4, "p p": 2, "p x": 4, "x x": 2}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(2, 3, shape).astype(np.float32)


def with_parameters(layer):
    """The layer with random scales, biases and running averages."""
    graph, state = nnx.split(layer)
    rng = np.random.default_rng(5)
    drawn = jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.5, 2, a.shape), a.dtype), state)
    return nnx.merge(graph, drawn)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(ek.nn.LayerNorm, {}), *((ek.nn.BatchNorm, {"use_running_average": running}) for running in (False, True))],
    ids=["layer", "batch", "running"],
)
@pytest.mark.parametrize("group", [O(3), H(3), Bistochastic(3)], ids=str)
def test_normalization_commutes(kind, options, group):
    layer = with_parameters(kind(FEATURES, p=S, x=group, **options))
    bound = {"p": S(4), "x": group}
    ek.testing.assert_equivariant(
        by_numpy(layer), FEATURES, FEATURES, groups=bound, key=jax.random.key(0), tolerance=5e-5
    )


@KINDS
@pytest.mark.parametrize("group", [Z(4), A(4), S(4)], ids=str)
def test_every_group_of_permutations_has_biases(kind, group):
    layer = with_parameters(kind({"z": 2}, z=group))
    assert "z" in layer.bias
    ek.testing.assert_equivariant(by_numpy(layer), "z -> z", z=group, channels=2, key=jax.random.key(0), tolerance=2e-5)


@KINDS
def test_pseudotensors_have_no_bias_and_keep_their_parity(kind):
    features = {"p x~": 2, "p det(x)": 3, "det(x)": 2}
    layer = with_parameters(kind(features, p=S, x=O(3)))
    assert not jax.tree.leaves(nnx.state(layer.bias))
    bound = {"p": S(4), "x": O(3)}
    ek.testing.assert_equivariant(
        by_numpy(layer), features, features, groups=bound, key=jax.random.key(0), tolerance=5e-5
    )


@KINDS
def test_vectors_have_no_bias_and_keep_their_direction(kind):
    layer, x = kind({"p x": 2}, p=S, x=O(3)), normal(2, 4, 3, 2)
    assert not jax.tree.leaves(nnx.state(layer.bias))
    y = by_numpy(layer)(x)
    cosine = np.sum(x * y, -2) / np.linalg.norm(x, axis=-2) / np.linalg.norm(y, axis=-2)
    assert_close(cosine, np.ones_like(cosine), 1e-5)


@KINDS
@pytest.mark.parametrize("group", [Lorentz, Sp(4), ek.GL(2)], ids=str)
def test_groups_without_an_invariant_sum_of_squares_are_refused(kind, group):
    with pytest.raises(ek.OptionError, match="is not invariant under") as caught:
        kind({"x": 1}, x=group)
    assert caught.value.step == "leave the term out; ek.nn.Gated scales it by invariants"


def test_layer_norm_of_permuted_features_is_that_of_flax():
    layer, flax = ek.nn.LayerNorm({"p": 5}, p=S), nnx.LayerNorm(5, rngs=nnx.Rngs(0), use_fast_variance=False)
    x = normal(3, 4, 5)
    expected = by_numpy(flax)(x)
    assert_close(by_numpy(layer)(x), expected, 1e-5)
    assert_close(by_numpy(layer)({"p": x})["p"], expected, 1e-5)


def test_layer_norm_of_vectors_is_the_root_mean_square():
    one, other = ek.nn.LayerNorm({"p x": 2}, p=S, x=O(3)), ek.nn.RMSNorm({"p x": 2}, p=S, x=O(3))
    assert_close(by_numpy(one)(normal(2, 4, 3, 2)), by_numpy(other)(normal(2, 4, 3, 2)), 0)


def test_batch_norm_of_permuted_features_is_that_of_flax():
    layer, flax = ek.nn.BatchNorm({"p p": 3}, p=S), nnx.BatchNorm(3, rngs=nnx.Rngs(0), use_fast_variance=False)
    for seed in range(3):
        x = normal(4, 5, 5, 3, seed=seed)
        assert_close(layer(x), flax(x), 1e-5)
    assert_close(layer.mean["p p"][...], flax.mean[...], 1e-5)
    assert_close(layer.var["p p"][...], flax.var[...], 1e-5)
    layer.eval()
    flax.eval()
    assert_close(layer(normal(4, 5, 5, 3)), flax(normal(4, 5, 5, 3)), 1e-5)
    layer.train()
    assert not layer.use_running_average


def padded(x, n, axes, value):
    """An array with more entries on some axes."""
    pads = [(0, n if i in axes else 0) for i in range(x.ndim)]
    return np.pad(x, pads, constant_values=value)


@KINDS
def test_padding_changes_neither_results_nor_statistics_nor_gradients(kind):
    features = {"p p": 2, "p x": 3, "": 2}
    x = {"p p": normal(4, 3, 3, 2), "p x": normal(4, 3, 3, 3), "": normal(4, 2)}
    more = {"p p": padded(x["p p"], 2, (1, 2), np.nan), "p x": padded(x["p x"], 2, (1,), np.inf), "": x[""]}
    mask = np.arange(5)[None] < np.full((4, 1), 3)

    @nnx.value_and_grad(has_aux=True)
    def loss(layer, x, mask):
        y = layer(x, mask=mask)
        return sum(jnp.sum(jnp.sin(array)) for array in y.values()), y

    def results(x, mask):
        layer = kind(features, p=S, x=O(3))
        (value, y), gradients = loss(layer, x, mask)
        return y, (value, gradients, nnx.state(layer))

    y, plain = in_numpy(results, x, None)
    z, masked = in_numpy(results, more, {"p": mask})
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), plain, masked)
    assert_close(z["p p"][:, :3, :3], y["p p"], 1e-5)
    assert not z["p p"][:, 3:].any()
    assert not z["p x"][:, 3:].any()


def test_the_running_averages_are_those_of_the_present_entries():
    layer = ek.nn.BatchNorm({"p x": 1}, momentum=0.0, p=S, x=O(2))
    x, mask = normal(2, 4, 2, 1), jnp.array([[True, False, True, False], [True, True, True, False]])
    layer(x, mask=mask)
    assert_close(layer.var["p x"][0], np.mean(np.asarray(x)[np.asarray(mask)] ** 2), 1e-5)


def test_different_elements_on_each_sample_leave_the_statistics():
    layer = ek.nn.BatchNorm({"p x": 2}, p=S, x=O(3))
    x, other, generator = normal(3, 4, 3, 2), nnx.clone(layer), np.random.default_rng(0)
    matrices = [O(3).matrix(O(3).random_element(generator)) for _ in x]
    turned = jnp.stack([jnp.roll(g @ sample, i, 0) for i, (g, sample) in enumerate(zip(matrices, x, strict=True))])
    layer(x)
    other(turned)
    assert_close(layer.var["p x"][...], other.var["p x"][...], 1e-5)


@pytest.mark.parametrize("shape", [(0, 4, 2), (3, 0, 2)])
@KINDS
def test_nothing_present_gives_no_nan_and_leaves_the_averages(kind, shape):
    layer = kind({"p": 2}, p=S)
    before = jax.tree.map(jnp.copy, nnx.state(layer))
    assert layer(jnp.ones(shape)).shape == shape
    assert not layer(jnp.full((3, 4, 2), jnp.nan), mask=jnp.zeros((3, 4), bool)).any()
    jax.tree.map(lambda a, b: assert_close(a, b, 0), before, nnx.state(layer))


@KINDS
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_statistics_do_not_overflow_in_half_precision(kind, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        layer = kind({"p": 400, "x": 400}, p=S, x=O(2))
        signs = (np.where(np.arange(400) % 2 == 0, 1, -1) * 300).astype(dtype)
        y = by_numpy(layer)({"p": (np.tile(signs, (2, 3, 1)) + 100).astype(dtype), "x": np.tile(signs, (2, 2, 1))})
        assert {a.dtype for a in y.values()} == {jnp.dtype(dtype)}
        expected = 0 if kind is ek.nn.BatchNorm else 1  # the batch has equal values in each channel
        assert_close(np.abs(y["p"].astype(float)), np.full((2, 3, 400), expected), 1e-2)
        assert_close(np.abs(y["x"].astype(float)), np.ones((2, 2, 400)), 1e-2)


def test_averages_of_complex_groups_are_complex():
    layer = ek.nn.BatchNorm({"": 2, "u": 2}, u=U(2))
    x = jax.random.normal(jax.random.key(0), (5, 2), jnp.complex64)
    y = layer({"": x, "u": jax.random.normal(jax.random.key(1), (5, 2, 2), jnp.complex64)})
    assert layer.mean[""].dtype == jnp.complex64
    assert layer.var[""].dtype == jnp.float32
    assert_close(jnp.mean(y[""], 0), jnp.zeros(2), 1e-5)


def test_complex_features_with_real_averages_are_refused_and_the_next_step_works():
    x = jnp.ones((2, 3, 1), jnp.complex64)
    with pytest.raises(ek.DTypeError) as caught:
        ek.nn.BatchNorm({"p": 1}, p=S)(x)
    assert caught.value.step == "write param_dtype=jnp.complex64"
    assert ek.nn.BatchNorm({"p": 1}, param_dtype=jnp.complex64, p=S)(x).dtype == jnp.complex64


def test_running_averages_of_parameters_in_half_precision_are_wide():
    layer = ek.nn.BatchNorm({"p": 1}, param_dtype=jnp.bfloat16, p=S)
    assert layer.scale["p"].dtype == jnp.bfloat16
    assert layer.mean["p"].dtype == layer.var["p"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"momentum": 2}, "write momentum=0.99"),
        ({"epsilon": 0}, "write epsilon=1e-05"),
        ({"use_running_average": 1}, "write use_running_average=True"),
    ],
    ids=str,
)
def test_bad_options_of_batch_norm(options, step):
    with pytest.raises(ek.OptionError) as caught:
        ek.nn.BatchNorm({"p": 1}, p=S, **options)
    assert caught.value.step == step


def test_batch_norm_trains_under_jit_vmap_and_scan():
    layer, xs = ek.nn.BatchNorm({"p": 2}, p=S), normal(3, 4, 5, 2)

    @nnx.jit
    def steps(layer, xs):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        def step(layer, x):
            return layer, layer(x)

        return step(layer, xs)[1]

    other = nnx.clone(layer)
    expected = jnp.stack([other(x) for x in xs])
    assert_close(steps(layer, xs), expected, 1e-5)
    assert_close(layer.mean["p"][...], other.mean["p"][...], 1e-5)
    running = nnx.vmap(lambda layer, x: layer(x, use_running_average=True), in_axes=(None, 0))
    assert_close(running(layer, xs), layer(xs, use_running_average=True), 1e-5)
