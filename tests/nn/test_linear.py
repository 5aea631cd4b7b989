"""`Linear`: shapes, options, one set of weights for every n, dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_close, every, partly_slow, random_inputs
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit.plans import apply, plan_cost, weight_shapes


def linear(signature="p p -> p p", channels=2, out_channels=3, seed=0, **options):
    if not isinstance(signature, str):
        return ek.nn.Linear(signature, channels, rngs=nnx.Rngs(seed), **options)
    return ek.nn.Linear(signature, channels, out_channels, rngs=nnx.Rngs(seed), **options)


def normal(*shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,), (2, 0)])
def test_batch_axes_come_first_and_may_be_none_or_empty(batch):
    assert linear(p=ek.S)(jnp.ones((*batch, 4, 4, 2))).shape == (*batch, 4, 4, 3)


@pytest.mark.parametrize(
    ("signature", "normalize"),
    partly_slow(
        every(["p p -> p p", "p p -> p", "p p -> ()", "p -> p p"], ["mean", "sum"]),
        lambda place: place % 4 in (0, 3),  # one and the other by turns
    ),
)
def test_one_set_of_weights_serves_every_n(signature, normalize):
    layer = linear(signature, p=ek.S, normalize=normalize, bias_init=nnx.initializers.ones)
    below, above = (side.count("p") for side in signature.split("->"))
    for n in (0, 1, 2, 5, 9):
        x = normal(*(n,) * below, 2)
        y = by_numpy(layer)(x)
        assert y.shape == (*(n,) * above, 3)
        assert np.all(np.isfinite(y))
        weights = {name: param[...] for group in (layer.kernel, layer.bias) for name, param in group.items()}
        assert_close(y, in_numpy(functools.partial(apply, layer.plan, method="naive"), x, weights), 1e-5)
    if not above:
        assert_close(layer(jnp.zeros((0,) * below + (2,))), layer.bias["-> ()"][...][0], 0)


def test_the_layer_is_a_sum_over_the_diagrams_of_its_space():
    layer = linear("p p -> p", p=ek.S, use_bias=False, normalize="sum")
    x = normal(5, 5, 2)
    matrices = layer.space.matrices(n=5)
    expected = np.einsum("dik,kc,dce->ie", matrices, x.reshape(25, 2), layer.kernel["p p -> p"][...])
    assert_close(layer(x), expected, 1e-5)


def test_dictionaries_of_terms():
    mixed = linear({"p p": 16, "p": 8}, {"p": 32, "": 10}, p=ek.S)
    y = mixed({"p p": normal(4, 5, 5, 16), "p": normal(4, 5, 8)})
    assert {name: array.shape for name, array in y.items()} == {"p": (4, 5, 32), "": (4, 10)}
    named = linear({"edges": ("p p", 16), "more": ("p p", 4)}, {"nodes": ("p", 32)}, p=ek.S)
    z = named({"more": normal(5, 5, 4), "edges": normal(5, 5, 16)})
    assert z["nodes"].shape == (5, 32)
    assert named.kernel.keys() == {"edges -> nodes", "more -> nodes"}
    several = linear("p p + p -> p", (16, 8), 3, p=ek.S)
    assert several({"p p": normal(5, 5, 16), "p": normal(5, 8)})["p"].shape == (5, 3)
    single = linear({"p": 2}, {"p": 3}, p=ek.S)
    assert single(normal(5, 2)).shape == (5, 3)
    assert single({"p": normal(5, 2)})["p"].shape == (5, 3)


def test_terms_in_a_dictionary_are_a_sum_of_single_layers():
    layer = linear({"p p": 2, "p": 3}, {"p": 4}, p=ek.S, use_bias=False)
    x = {"p p": normal(5, 5, 2), "p": normal(5, 3)}
    total = 0.0
    for name, channels in (("p p", 2), ("p", 3)):
        alone = linear(f"{name} -> p", channels, 4, p=ek.S, use_bias=False)
        alone.kernel[f"{name} -> p"][...] = layer.kernel[f"{name} -> p"][...]
        total = total + alone(x[name])
    assert_close(layer(x)["p"], total, 1e-5)


def test_plain_axes_mix_freely():
    layer = linear("p f -> g p p", 2, 3, p=ek.S, f=ek.Fixed(4), g=ek.Fixed(5))
    assert layer.kernel["p f -> g p p"].shape == (5, 4 * 2, 5 * 3)
    assert layer.bias["-> g p p"].shape == (2, 5 * 3)
    assert layer(normal(7, 6, 4, 2)).shape == (7, 5, 6, 6, 3)
    assert linear("f -> g", 2, 3, f=ek.Fixed(4), g=ek.Fixed(5))(normal(7, 4, 2)).shape == (7, 5, 3)


def test_a_layer_without_axes_is_a_dense_layer():
    layer = linear("() -> ()")
    x = normal(7, 2)
    assert_close(layer(x), x @ layer.kernel["() -> ()"][...][0], 1e-6)
    assert layer(normal(2)).shape == (3,)


def test_zero_channels_are_empty_or_the_bias():
    assert linear(channels=2, out_channels=0, p=ek.S)(normal(4, 4, 2)).shape == (4, 4, 0)
    layer = linear("p -> p", 0, 3, p=ek.S, bias_init=nnx.initializers.ones)
    assert layer(normal(4, 0)).tolist() == [[1.0] * 3] * 4
    assert jax.tree.all(jax.tree.map(lambda a: bool(jnp.all(jnp.isfinite(a))), nnx.state(layer)))


def test_bound_groups_have_a_basis_only():
    assert [linear(p=ek.S(n)).kernel["p p -> p p"].shape[0] for n in (1, 2, 3, 4, 9)] == [1, 8, 14, 15, 15]
    assert linear(p=ek.S).kernel["p p -> p p"].shape[0] == 15


@pytest.mark.parametrize("use_bias", [False, True])
def test_use_bias(use_bias):
    layer = linear(p=ek.S, use_bias=use_bias)
    assert list(layer.bias) == (["-> p p"] if use_bias else [])
    assert set(weight_shapes(layer.plan)) == {"p p -> p p", *layer.bias}
    if use_bias:
        layer.bias["-> p p"][...] = jnp.array([[1.0] * 3, [10.0] * 3])
        y = layer(jnp.zeros((4, 4, 2)))[..., 0]
        on, off = (1.0 + 10.0, 10.0) if y[0, 1] == 10.0 else (11.0, 1.0)
        assert y.tolist() == [[on if i == j else off for j in range(4)] for i in range(4)]


def test_normalize_divides_each_sum_by_its_number_of_terms():
    by_mean, by_sum = (linear("p p -> ()", 1, 1, p=ek.S, normalize=kind, use_bias=False) for kind in ("mean", "sum"))
    by_sum.kernel["p p -> ()"][...] = by_mean.kernel["p p -> ()"][...] / jnp.array([4.0, 16.0])[:, None, None]
    x = normal(4, 4, 1)
    assert_close(by_sum(x), by_mean(x), 1e-5)


def test_sizes_of_labels_that_only_outputs_have():
    layer = linear("p -> q p", 2, 3, p=ek.S, q=ek.S)
    assert layer(normal(4, 2), sizes={"q": 6}).shape == (6, 4, 3)
    assert layer(normal(4, 2), sizes={"q": 6, "p": 4}).shape == (6, 4, 3)
    assert linear("() -> p p", 2, 3, p=ek.S(4))(normal(2)).shape == (4, 4, 3)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float32", "complex64"])
def test_dtypes_of_inputs_parameters_and_computation(kind):
    dtype = jnp.dtype(kind)
    x = normal(4, 4, 2)
    assert linear(p=ek.S, param_dtype=dtype)(x.astype(dtype)).dtype == dtype
    assert linear(p=ek.S, dtype=dtype)(x).dtype == dtype
    mixed = linear(p=ek.S, param_dtype=dtype)
    assert {param.dtype for param in (*mixed.kernel.values(), *mixed.bias.values())} == {dtype}
    assert mixed(x).dtype == jnp.promote_types(dtype, jnp.float32)
    assert linear(p=ek.S)(x.astype(dtype)).dtype == jnp.promote_types(dtype, jnp.float32)
    mask = {"p": jnp.array([True, True, False, True])}
    tolerance = {"bfloat16": 0.05, "float16": 0.01}.get(kind, 1e-5)
    assert_close(
        linear(p=ek.S, dtype=dtype)(x, mask=mask).astype(jnp.complex64),
        linear(p=ek.S)(x, mask=mask).astype(jnp.complex64),
        tolerance,
    )


@pytest.mark.usefixtures("x64")
def test_double_precision():
    layer = linear(p=ek.S, param_dtype=jnp.float64)
    assert layer(np.ones((4, 4, 2))).dtype == jnp.float64
    assert linear(p=ek.S, dtype=jnp.float32)(np.ones((4, 4, 2))).dtype == jnp.float32
    assert linear(p=ek.S, param_dtype=jnp.complex128)(np.ones((4, 4, 2))).dtype == jnp.complex128


def test_complex_layers_are_complex_linear():
    layer = linear(p=ek.S, param_dtype=jnp.complex64)
    x = normal(4, 4, 2).astype(jnp.complex64)
    assert float(jnp.max(jnp.abs(layer.kernel["p p -> p p"][...].imag))) > 0
    assert_close(layer(1j * x), 1j * layer(x), 1e-5)


def test_precision_reaches_the_matrix_products():
    layer = linear(p=ek.S, precision="highest")
    jaxpr = jax.make_jaxpr(lambda x: layer(x))(normal(4, 4, 2))
    products = str(jaxpr).split("dot_general")[1:]
    assert products
    assert all("HIGHEST" in text for text in products)


def test_numpy_arrays_are_taken_as_they_are():
    x = np.ones((4, 4, 2), np.float32)
    assert_close(linear(p=ek.S)(x, mask={"p": np.ones(4, bool)}), linear(p=ek.S)(jnp.asarray(x)), 1e-6)


def test_not_a_number_passes_through_to_what_is_summed_over_it():
    layer = linear("p -> p", 1, 1, p=ek.S)
    layer.kernel["p -> p"][...] = jnp.array([1.0, 0.5])[:, None, None]
    assert bool(jnp.all(jnp.isnan(layer(jnp.array([[1.0], [jnp.nan]])))))
    y = linear("q p -> q", 1, 1, p=ek.S, q=ek.Fixed(2))(jnp.array([[[1.0], [jnp.nan]], [[1.0], [2.0]]]))
    assert bool(jnp.any(jnp.isnan(y)))


LABELS = [
    "lambda",
    "class",
    "größe",
    "点",
    "dtype",
    "rngs",
    "mask",
    "self",
    "signature",
    "channels",
    "groups",
    "x" * 80,
]


@pytest.mark.parametrize("label", LABELS)
def test_any_word_is_a_label_through_groups(label):
    layer = linear(f"{label} {label} -> {label}", 2, 3, groups={label: ek.S})
    assert layer(normal(4, 4, 2)).shape == (4, 3)
    mask = {label: jnp.array([True, True, False, False])}
    assert not bool(jnp.any(layer(normal(4, 4, 2), mask=mask)[2:]))


def test_labels_are_normalized_as_python_normalizes_keywords():
    layer = linear("ﬁ -> ﬁ", 2, 3, groups={"ﬁ": ek.S})
    assert layer.signature.bound == {"fi": ek.S()}
    assert linear("ﬁ -> ﬁ", 2, 3, fi=ek.S)(normal(4, 2)).shape == (4, 3)


def test_orders_up_to_eight():
    assert linear("p p p p p -> p p p", 1, 1, p=ek.S).kernel["p p p p p -> p p p"].shape == (4140, 1, 1)
    layer = linear("p p p p -> p", 1, 1, p=ek.S)
    assert layer(normal(3, 3, 3, 3, 1)).shape == (3, 1)
    assert sum(line.flops for line in plan_cost(layer.plan, n=8)) < 50_000  # 52 dense maps take 3,407,872


def test_plan_and_space_belong_to_the_layer():
    layer = linear({"p p": 2, "p": 3}, {"p": 4}, p=ek.S(5))
    assert layer.space == ek.hom("p p + p -> p", p=ek.S(5))
    assert layer.space.dim == sum(param.shape[0] for param in layer.kernel.values())
    assert layer.plan is layer.plan
    assert layer.plan.channels == ((2, 3), (4,))
    inputs = random_inputs(layer.plan, {"p": 5})
    assert layer({name: jnp.asarray(a, jnp.float32) for name, a in inputs.items()})["p"].shape == (5, 4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_means_do_not_overflow_in_half_precision(dtype):
    layer = ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0), dtype=dtype, kernel_init=nnx.initializers.ones)
    y = layer(jnp.full((1000, 1), 200.0, dtype))
    assert y.dtype == dtype
    assert bool(jnp.all(jnp.isfinite(y)))


def test_names_may_be_spelled_as_in_the_signature_or_as_normalized():
    """Python turns keyword arguments into Unicode's form NFKC, where the micro sign of keyboards is a Greek letter."""
    micro, mu = "\u00b5", "\u03bc"
    layer = ek.nn.Linear({micro: 1}, {micro: 1}, groups={micro: ek.S}, rngs=nnx.Rngs(0))
    for label in (micro, mu):
        y = layer({label: jnp.ones((3, 1))}, mask={label: jnp.ones(3, bool)})
        assert y[mu].shape == (3, 1)
    assert ek.hom(f"{micro} -> {micro}", groups={micro: ek.S}).matrices({micro: 3}).shape == (2, 3, 3)
    spaced = ek.nn.Linear({"p  p": 1}, {"()": 1}, p=ek.S, rngs=nnx.Rngs(0))
    assert spaced({"p  p": jnp.ones((3, 3, 1))})[""].shape == (1,)
