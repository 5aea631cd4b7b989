"""Initial parameters: variance is preserved, by the exact norms of the diagrams."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import bindings, every, partly_slow, sizes_of

import equikit as ek
from equikit.diagrams import Diagrams, mean_square_gains
from equikit.nn.networks._hidden import LaterLinear


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "signature", ["p -> p", "p p -> p p", "p p -> ()", "() -> p p", "p p p -> p", "q p q -> p q", "p -> q p"]
)
def test_gains_are_the_norms_of_the_dense_matrices(signature, n, mean):
    sizes = sizes_of(signature, n) if n > 1 else dict.fromkeys(sizes_of(signature, n), 1)
    space = ek.hom(signature, groups=bindings(signature, sizes))
    diagrams = space.diagrams
    assert isinstance(diagrams, Diagrams)
    gains = mean_square_gains(diagrams, sizes, mean=mean)
    rows = space.matrices().shape[1]
    expected = []
    for diagram, dense in zip(diagrams, space.matrices(), strict=True):
        scale = Fraction(1)
        for block in diagram.blocks if mean else ():
            if block[0] >= len(diagram.top):
                scale /= sizes[diagram.labels[block[0]]]
        expected.append(int(np.sum(dense**2)) * scale**2 / rows)
    assert gains == expected
    assert all(isinstance(gain, Fraction) for gain in gains)


def mean_square(signature, n, width, draws, dictionary=None, **options):
    """The mean square of the outputs over independent layers and inputs, and its standard error."""
    sizes = sizes_of(signature, n)
    groups = bindings(signature, None if "init_size" in options else sizes)

    def one(key):
        first, second = jax.random.split(key)
        layer = ek.nn.Linear(signature, width, width, groups=groups, rngs=nnx.Rngs(first), **options)
        x = {
            term.name: jax.random.normal(
                jax.random.fold_in(second, i), (*(sizes[label] for label in term.labels), width)
            )
            for i, term in enumerate(layer.signature.inputs)
        }
        return {name: jnp.mean(y**2) for name, y in layer(x).items()}

    keys = jax.random.split(jax.random.key(1), draws)
    values = jax.jit(jax.vmap(one))(keys)
    return {name: (float(v.mean()), float(v.std() / np.sqrt(draws))) for name, v in values.items()}


CASES = [
    ("p -> p", 6),
    ("p p -> p p", 2),
    ("p p -> p p", 5),
    ("p p p -> p", 4),
    ("p -> p p", 5),
    ("p p -> ()", 5),
    ("q p q -> p q", 4),
    ("p f -> g p p", 3),
    ("p p + p -> p + ()", 4),
]


@pytest.mark.parametrize(
    ("case", "normalize"),
    partly_slow(every(CASES, ["mean", "sum"]), lambda place: place % 4 in (0, 3)),  # one and the other by turns
)
def test_variance_is_preserved_where_n_is_bound(case, normalize):
    """Each draw has a new layer and a new input of independent entries of variance one. Draws are independent, so the
    mean of D mean squares is within 4.5 of its own standard errors of its expectation, which is 1, but for 1 in
    100,000 times (and the key is fixed). The standard errors are about 0.01."""
    signature, n = case
    for value, error in mean_square(signature, n, 8, 300, normalize=normalize).values():
        assert error < 0.1
        assert abs(value - 1) < 4.5 * error


@pytest.mark.parametrize("normalize", ["mean", "sum"])
@pytest.mark.parametrize("signature", ["p p -> p p", "p -> p", "q p q -> p q"])
def test_variance_is_preserved_where_n_is_free_and_init_size_is_that_of_the_data(signature, normalize):
    sizes = sizes_of(signature, 5)
    for value, error in mean_square(signature, 5, 8, 300, normalize=normalize, init_size=sizes).values():
        assert abs(value - 1) < 4.5 * error


def test_the_default_size_keeps_variance_at_or_below_one_at_every_n():
    for n in (1, 2, 5, 9):
        ((value, error),) = mean_square("p p -> p p", n, 8, 200, init_size=1).values()
        assert value < 1 + 4.5 * error
        if n == 1:
            assert abs(value - 1) < 4.5 * error


def test_the_default_size_is_exact_for_entries_that_are_all_alike():
    """With means, a constant input meets 15 maps at n = 9 as at n = 1, on the diagonal; off it, those not 0."""

    def one(key):
        layer = ek.nn.Linear("p -> p", 8, 8, p=ek.S, rngs=nnx.Rngs(key))
        x = jax.random.normal(jax.random.fold_in(key, 7), (8,))
        return jnp.mean(layer(jnp.broadcast_to(x, (9, 8))) ** 2)

    values = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 400))
    assert abs(values.mean() - 1) < 4.5 * values.std() / 20


def test_each_diagram_has_the_scale_of_its_norm():
    """With an initializer of ones the kernel is the scale itself: (c_in · diagrams · gain)^(-1/2)."""
    for options in ({"p": ek.S(4)}, {"p": ek.S, "init_size": 4}, {"p": ek.S, "init_size": {"p": 4}}):
        layer = ek.nn.Linear("p p -> p", 3, 2, rngs=nnx.Rngs(0), kernel_init=nnx.initializers.ones, **options)
        gains = mean_square_gains(ek.hom("p p -> p", p=ek.S(4)).diagrams, {"p": 4}, mean=True)
        expected = [1 / np.sqrt(3 * 5 * float(gain)) for gain in gains]
        kernel = layer.kernel["p p -> p"][...]
        np.testing.assert_allclose(kernel, np.broadcast_to(np.reshape(expected, (5, 1, 1)), (5, 3, 2)), rtol=1e-6)


def test_all_input_terms_share_the_variance_of_an_output():
    layer = ek.nn.Linear({"p p": 3, "p": 5}, {"p": 2}, p=ek.S(4), rngs=nnx.Rngs(0), kernel_init=nnx.initializers.ones)
    total = 0.0
    for name, width in (("p p", 3), ("p", 5)):
        gains = mean_square_gains(ek.hom(f"{name} -> p", p=ek.S(4)).diagrams, {"p": 4}, mean=True)
        kernel = layer.kernel[f"{name} -> p"][:, 0, 0]
        total += width * sum(float(g) * float(k) ** 2 for g, k in zip(gains, kernel, strict=True))
    assert total == pytest.approx(1)


def test_initial_bias_is_zero_unless_an_initializer_says_otherwise():
    layer = ek.nn.Linear("p p -> p p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))
    assert not bool(jnp.any(layer.bias["-> p p"][...]))
    other = ek.nn.Linear("p p -> p p", 2, 3, p=ek.S, rngs=nnx.Rngs(0), bias_init=nnx.initializers.constant(2.0))
    assert bool(jnp.all(other.bias["-> p p"][...] == 2.0))


def test_initializers_are_called_once_for_each_parameter_with_its_shape_and_dtype():
    calls = []

    def record(key, shape, dtype):
        calls.append((shape, jnp.dtype(dtype).name))
        return jnp.ones(shape, dtype)

    ek.nn.Linear(
        {"p p": 2, "p": 3}, {"p": 4}, p=ek.S, rngs=nnx.Rngs(0), kernel_init=record, bias_init=record,
        param_dtype=jnp.bfloat16,
    )  # fmt: skip
    assert sorted(calls) == [((1, 4), "bfloat16"), ((2, 3, 4), "bfloat16"), ((5, 2, 4), "bfloat16")]


def test_seeds_decide_the_parameters():
    first, again, other = (ek.nn.Linear("p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(seed)) for seed in (0, 0, 1))
    assert bool(jnp.all(first.kernel["p -> p"][...] == again.kernel["p -> p"][...]))
    assert not bool(jnp.any(first.kernel["p -> p"][...] == other.kernel["p -> p"][...]))
    named = ek.nn.Linear("p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(params=0))
    assert named.kernel["p -> p"].shape == (2, 2, 3)


def test_a_label_and_its_dual_are_initialized_at_one_size():
    def weights(**options):
        layer = ek.nn.Linear({"u u*": 2}, {"u u*": 2, "": 1}, u=ek.U, rngs=nnx.Rngs(0), **options)
        return layer.kernel["u u* -> u u*"][...]

    np.testing.assert_array_equal(weights(init_size={"u": 3}), weights(init_size=3))
    np.testing.assert_array_equal(weights(init_size={"u*": 3}), weights(init_size=3))
    assert not np.array_equal(weights(init_size=3), weights())
    with pytest.raises(ek.SignatureError, match="two sizes for 'u' and its dual"):
        weights(init_size={"u": 3, "u*": 4})
    with pytest.raises(ek.SignatureError, match="init_size is given for '5'"):
        weights(init_size={5: 3})
    with pytest.raises(ek.SignatureError, match="init_size is given for '5'"):
        ek.nn.Network([{"u": 2}, {"u": 4}, {"u": 1}], u=ek.U, products=0, init_size={5: 3}, rngs=nnx.Rngs(0))
    network = [
        ek.nn.Network([{"u": 2, "u*": 1}, {"": 4}, {"": 1}], u=ek.U, init_size=size, rngs=nnx.Rngs(0))
        for size in ({"u": 3}, 3)
    ]
    jax.tree.map(np.testing.assert_array_equal, *(nnx.to_pure_dict(nnx.state(net)) for net in network))


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("signature", ["p -> p", "p p -> p p", "p p -> ()", "p -> q p", "q p q -> p q"])
def test_gains_of_equal_entries_are_the_largest_squares_of_the_sums_of_rows(signature, mean):
    sizes = sizes_of(signature, 4)
    space = ek.hom(signature, groups=bindings(signature, sizes))
    gains = mean_square_gains(space.diagrams, sizes, mean=mean, equal=[*sizes])
    sums = [int(dense.sum(axis=1).max()) for dense in space.matrices()]
    assert gains == [1 if mean else total**2 for total in sums]


CORRELATED = {
    "equal": lambda key: jnp.broadcast_to(jax.random.normal(key, (8,)), (8, 8, 8)),
    "rows": lambda key: jnp.broadcast_to(jax.random.normal(key, (8, 1, 8)), (8, 8, 8)),
    "independent": lambda key: jax.random.normal(key, (8, 8, 8)),
}


@pytest.mark.parametrize(
    ("entries", "normalize"), partly_slow(every([*CORRELATED], ["mean", "sum"]), lambda place: place == 1)
)
def test_no_entry_grows_in_a_layer_that_follows_another(entries, normalize):
    """A diagram sums at most n entries for each block, and the mean square of a sum is at most the number of its terms
    squared, for any correlation. Equal entries reach the bound, in outputs on which every diagram is nonzero."""

    def one(key):
        layer = LaterLinear("p p -> p p", 8, 8, p=ek.S, rngs=nnx.Rngs(key), normalize=normalize, init_size=8)
        return jnp.mean(layer(CORRELATED[entries](jax.random.fold_in(key, 7))) ** 2, axis=-1)

    values = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 400))
    mean, error = values.mean(axis=0), values.std(axis=0) / 20
    assert bool(jnp.all(mean < 1 + 4.5 * error))
    if entries == "equal":
        assert bool(jnp.all(jnp.abs(jnp.diagonal(mean) - 1) < 4.5 * jnp.diagonal(error)))
