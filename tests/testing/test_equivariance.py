"""Every public layer commutes with its groups, and the check that says so catches those that do not."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import PLAIN, every, labels_of, partly_slow

import equikit as ek
from equikit.testing import assert_equivariant, equivariance_error

BOUND = {"p": ek.S(5), "q": ek.S(4), "f": ek.Fixed(PLAIN["f"]), "g": ek.Fixed(PLAIN["g"])}
noisy = {"bias_init": nnx.initializers.normal(1.0)}


def rngs():
    return nnx.Rngs(0)


def groups_of(signature, bound=True):
    return {label: BOUND[label] if bound or label in PLAIN else ek.S for label in labels_of(signature)}


SIGNATURES = ["p -> p", "p p -> p p", "p p -> p", "p p -> ()", "p -> p p", "p p p -> p p", "q p q -> p q",
              "f p g p -> p f"]  # fmt: skip


@pytest.mark.parametrize(
    ("signature", "free"),
    partly_slow(every(SIGNATURES, [True, False]), lambda place: place % 4 in (0, 3)),  # one and the other by turns
)
def test_linear(signature, free, key):
    layer = ek.nn.Linear(signature, 3, 4, groups=groups_of(signature, not free), rngs=rngs(), **noisy)
    for mask in (False, True):
        assert_equivariant(
            layer, signature, groups=groups_of(signature), channels=3, key=key, mask=mask, samples=2
        )  # fmt: skip


@pytest.mark.parametrize("normalize", ["mean", "sum"])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_linear_under_other_options(normalize, batch, key):
    layer = ek.nn.Linear("p p -> p p", 3, 4, p=ek.S, rngs=rngs(), normalize=normalize, **noisy)
    assert_equivariant(layer, "p p -> p p", p=ek.S(6), channels=3, batch=batch, key=key)


@pytest.mark.usefixtures("x64")
def test_linear_in_double_precision(key):
    layer = ek.nn.Linear("p p p -> p p p", 2, 2, p=ek.S, rngs=rngs(), param_dtype=jnp.float64, **noisy)
    error = equivariance_error(jax.jit(layer), "p p p -> p p p", p=ek.S(4), channels=2, key=key)
    assert error < 1e-13


def test_terms_in_dictionaries(key):
    sides = {"p p": 2, "p": 3, "": 1}, {"p": 4, "": 2}
    layer = ek.nn.Linear(*sides, p=ek.S, rngs=rngs(), **noisy)
    for mask in (False, True):
        assert_equivariant(layer, *sides, p=ek.S(5), key=key, mask=mask, samples=2)
    named = {"edges": ("p p", 2), "more": ("p p", 3)}, {"nodes": ("p", 4)}
    assert_equivariant(ek.nn.Linear(*named, p=ek.S, rngs=rngs()), *named, p=ek.S(5), key=key)
    in_text = ek.nn.Linear("p p + p -> p", (2, 3), 4, p=ek.S, rngs=rngs())
    assert_equivariant(in_text, "p p + p -> p", channels=(2, 3), p=ek.S(5), key=key)


def test_invariant_and_pool(key):
    head = ek.nn.Invariant("p p", 3, 4, p=ek.S, rngs=rngs(), **noisy)
    assert_equivariant(head, "p p -> ()", p=ek.S(5), channels=3, key=key)
    assert_equivariant(head, "p p -> ()", p=ek.S(5), channels=3, key=key, mask=True)
    several = ek.nn.Invariant({"p p": 3, "p": 2}, out_channels=4, p=ek.S, rngs=rngs())
    assert_equivariant(several, {"p p": 3, "p": 2}, "()", p=ek.S(5), key=key, mask=True)
    for how in ("sum", "mean", "max"):
        pool = ek.nn.Pool("p f q", how=how, p=ek.S, f=ek.Fixed(2), q=ek.S)
        for mask in (False, True):
            assert_equivariant(
                pool, "p f q -> f", p=ek.S(5), q=ek.S(3), f=ek.Fixed(2), channels=3, key=key, mask=mask
            )  # fmt: skip


@pytest.mark.parametrize("out", ["", "p"])
def test_deep_sets(out, key):
    net = ek.nn.DeepSets(3, [8, 8], 2, out=out, rngs=rngs())
    assert_equivariant(net, "p -> " + (out or "()"), p=ek.S(6), channels=3, key=key)
    masked = lambda x, mask: net(x, mask=mask["p"])  # noqa: E731
    assert_equivariant(masked, "p -> " + (out or "()"), p=ek.S(6), channels=3, key=key, mask=True)


@pytest.mark.parametrize("out", ["", "p", "p p"])
def test_graph_network(out, key):
    net = ek.nn.GraphNetwork(2, [4, 4], 2, node_channels=3, out=out, rngs=rngs())
    terms = {"edges": ("p p", 2), "nodes": ("p", 3)}, {out: (out, 2)}
    assert_equivariant(lambda x: {out: net(**x)}, *terms, p=ek.S(5), key=key, samples=2)
    masked = lambda x, mask: {out: net(**x, mask=mask["p"])}  # noqa: E731
    assert_equivariant(masked, *terms, p=ek.S(5), key=key, mask=True, samples=2)
    bare = ek.nn.GraphNetwork(2, [4], 2, out=out, rngs=rngs())
    assert_equivariant(bare, f"p p -> {out or '()'}", p=ek.S(5), channels=2, key=key, samples=2)


VIOLATIONS = {
    "sums along": lambda x: jnp.cumsum(x, axis=1),
    "sorts": lambda x: jnp.sort(x, axis=1),
    "adds positions": lambda x: x + 0.01 * jnp.arange(x.shape[1])[:, None],
    "weighs one entry a little more": lambda x: x.at[:, 0].mul(1.0001),
    "reverses": lambda x: x[:, ::-1],
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_found_and_named(name, key):
    with pytest.raises(ek.EquivarianceError) as caught:
        assert_equivariant(VIOLATIONS[name], "p -> p", p=ek.S(5), channels=2, key=key)
    lines = str(caught.value).split("\n")
    assert lines[0] == "the function does not commute with the group of 'p -> p'"
    assert lines[1].startswith("  got:       relative error ")
    assert lines[2] == "  expected:  at most 7.63e-06"
    assert lines[3].startswith("  next step: check that every operation treats the entries of an axis alike")
    assert isinstance(caught.value, AssertionError)


def test_invariance_is_not_equivariance(key):
    sort = lambda x: jnp.sort(x, axis=1)  # noqa: E731
    assert_equivariant(lambda x: sort(x)[:, 0], "p -> ()", p=ek.S(5), channels=2, key=key)
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(sort, "p -> p", p=ek.S(5), channels=2, key=key)


def test_labels_move_independently(key):
    """The trace commutes with one permutation of both axes, and not with two."""
    trace = lambda x: jnp.einsum("biic->bc", x)  # noqa: E731
    assert_equivariant(trace, "p p -> ()", p=ek.S(5), channels=2, key=key)
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(trace, "p q -> ()", p=ek.S(5), q=ek.S(5), channels=2, key=key)


def test_plain_axes_do_not_move(key):
    ramp = lambda x: x * jnp.arange(3.0)[:, None]  # noqa: E731
    assert_equivariant(ramp, "p f -> p f", p=ek.S(5), f=ek.Fixed(3), channels=2, key=key)


def test_a_function_that_ignores_its_mask_is_caught_where_it_matters(key):
    """A mask that is read by place, not moved with the entries, breaks the symmetry."""
    assert_equivariant(lambda x, mask: x * mask["p"][..., None], "p -> p", p=ek.S(5), channels=1, key=key, mask=True)
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(
            lambda x, mask: x * mask["p"][:, :1, None] * (jnp.arange(5) > 1)[:, None],
            "p -> p", p=ek.S(5), channels=1, key=key, mask=True,
        )  # fmt: skip


def test_not_a_number_never_passes(key):
    for function in (lambda x: x * jnp.nan, lambda x: x.at[0, 0, 0].set(jnp.nan), lambda x: jnp.log(x)):
        with pytest.raises(ek.EquivarianceError, match="relative error nan"):
            assert_equivariant(function, "p -> p", p=ek.S(5), channels=2, key=key, tolerance=1e9)
        assert np.isnan(equivariance_error(function, "p -> p", p=ek.S(5), channels=2, key=key))


def test_equal_infinities_agree_and_others_do_not(key):
    assert_equivariant(lambda x: jnp.where(x > 0, jnp.inf, x), "p -> p", p=ek.S(5), channels=2, key=key)
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(lambda x: x.at[:, 0].set(jnp.inf), "p -> p", p=ek.S(5), channels=2, key=key)


def test_zero_passes_and_is_compared_absolutely(key):
    assert_equivariant(lambda x: 0 * x, "p -> p", p=ek.S(5), channels=2, key=key)


def ramp(x):
    """A function that does not commute with permutations of the second axis."""
    return x * jnp.arange(x.shape[1], dtype=x.dtype)[:, None]


@pytest.mark.parametrize("check", [assert_equivariant, equivariance_error])
@pytest.mark.parametrize(
    ("signature", "function", "options", "message"),
    [
        ("p -> p", ramp, {"batch": (0,)}, "each entry of batch= must be a whole number ≥ 1"),
        ("p -> p", ramp, {"batch": (2, 0)}, "each entry of batch= must be a whole number ≥ 1"),
        ("p -> p", ramp, {"channels": 0}, "the inputs have no entries"),
        ("p -> p", ramp, {"p": ek.S(0)}, "the inputs have no entries"),
        ("p -> ()", lambda x: x[:, 0] if x.shape[1] else x.sum(1), {"p": ek.S(0)}, "the inputs have no entries"),
        ("p f -> p", lambda x: x[:, :, 0], {"f": ek.Fixed(0)}, "the inputs have no entries"),
        ("p -> p", lambda x: ramp(x)[..., :0], {}, "the outputs have no entries"),
        ("p -> p f", lambda x: ramp(x)[..., None, :][..., :0, :], {"f": ek.Fixed(0)}, "the outputs have no entries"),
    ],
)
def test_a_check_that_would_compare_nothing_is_refused(check, signature, function, options, message, key):
    with pytest.raises(ek.OptionError, match=message):
        check(function, signature, **{"p": ek.S(5), "channels": 2, "key": key} | options)


def test_one_empty_array_among_others_is_allowed(key):
    """Only where nothing at all would be compared is there nothing to say."""
    sides = {"p": 2, "q": 3}, {"p": 2, "q": 3}
    assert_equivariant(lambda x: x, *sides, p=ek.S(0), q=ek.S(4), key=key)
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(lambda x: {**x, "q": ramp(x["q"])}, *sides, p=ek.S(0), q=ek.S(4), key=key)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda x: x[:, :3], "{'p': [2, 3, 2]}"),
        (lambda x: x.sum(), "{'p': []}"),
        (lambda x: x.sum((1, 2)), "{'p': [2]}"),
        (lambda x: (x, x), "tuple"),
        (lambda x: {"q": x}, "{'q': [2, 5, 2]}"),
        (lambda x: {"p": x, "q": x}, "'q': [2, 5, 2]"),
        (lambda x: None, "NoneType"),
    ],
)
def test_outputs_of_another_shape_are_an_error(function, got, key):
    with pytest.raises(ek.EquivarianceError) as caught:
        assert_equivariant(function, "p -> p", p=ek.S(5), channels=2, key=key)
    lines = str(caught.value).split("\n")
    assert lines[0] == "the function does not have the outputs of its signature"
    assert got in lines[1]
    assert lines[2] == "  expected:  'p' with shape [2, 5, channels]"


def test_arguments_that_settle_nothing_are_errors(key):
    with pytest.raises(ek.OptionError, match="samples= must be a whole number ≥ 1"):
        assert_equivariant(jnp.sin, "p -> p", p=ek.S(5), channels=2, key=key, samples=0)
    with pytest.raises(ek.OptionError, match="inputs of the function are not settled"):
        assert_equivariant(jnp.sin, "p -> p", p=ek.S(5), key=key)
    with pytest.raises(ek.OptionError, match="inputs of the function are not settled"):
        assert_equivariant(jnp.sin, {"p": 2}, p=ek.S(5), key=key)
    with pytest.raises(ek.GroupError, match="label 'p' is bound to a free group"):
        assert_equivariant(jnp.sin, "p -> p", p=ek.S, channels=2, key=key)
    with pytest.raises(ek.DTypeError, match="dtype= cannot be float64 while jax_enable_x64 is off"):
        assert_equivariant(jnp.sin, "p -> p", p=ek.S(5), channels=2, key=key, dtype=jnp.float64)
    with pytest.raises(ek.DTypeError, match="dtype= must be a floating-point dtype"):
        assert_equivariant(jnp.sin, "p -> p", p=ek.S(5), channels=2, key=key, dtype=int)
    with pytest.raises(ek.SignatureError, match="label 'p' is not bound"):
        assert_equivariant(jnp.sin, "p -> p", channels=2, key=key)


def test_tolerance_and_dtype(key):
    tilt = lambda x: x.at[:, 0].mul(1.0001)  # noqa: E731
    assert_equivariant(tilt, "p -> p", p=ek.S(5), channels=2, key=key, tolerance=1e-3)
    seen = []
    for dtype in (jnp.bfloat16, jnp.float16, jnp.complex64):
        assert_equivariant(
            lambda x: seen.append(x.dtype) or x, "p -> p", p=ek.S(5), channels=2, key=key, dtype=dtype
        )  # fmt: skip
        assert seen[-1] == dtype
    conjugate = lambda x: x + x.conj()[:, :1]  # noqa: E731
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(conjugate, "p -> p", p=ek.S(5), channels=2, key=key, dtype=jnp.complex64)


def test_complex_inputs_have_an_imaginary_part(key):
    seen = []
    equivariance_error(lambda x: seen.append(x) or x, "p -> p", p=ek.S(3), channels=1, key=key, dtype=jnp.complex64)
    assert float(jnp.min(jnp.abs(seen[0].imag))) > 0


def test_the_key_decides_the_numbers():
    seen = []
    for seed in (0, 0, 1):
        equivariance_error(
            lambda x: seen.append(float(x.sum())) or x, "p -> p", p=ek.S(3), channels=1, key=jax.random.key(seed)
        )  # fmt: skip
    first, again, other = np.array(seen).reshape(3, -1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    legacy = jax.random.PRNGKey(0)
    assert equivariance_error(jnp.sin, "p -> p", p=ek.S(3), channels=1, key=legacy) == 0.0


@pytest.mark.parametrize("seed", range(100))
def test_small_groups_are_tested_for_every_key(seed):
    """Of S(2), four random elements are all the identity for one key in sixteen; the generators are tried besides."""
    key = jax.random.key(seed)
    scale = jnp.arange(2.0)[:, None]
    assert equivariance_error(lambda x: x * scale, "p -> p", p=ek.S(2), channels=1, key=key, samples=1) > 0.1
    rotated = equivariance_error(lambda x: jnp.roll(x, 1, -2), "p -> p", p=ek.S(3), channels=1, key=key, samples=1)
    assert rotated > 0.1


@pytest.mark.parametrize(
    "options", [{"batch": 3}, {"batch": (-1,)}, {"key": 0}, {"batch": "2"}, {"samples": 0}], ids=str
)
def test_odd_options_are_refused(options):
    with pytest.raises(ek.EquikitError, match="next step"):
        equivariance_error(jnp.sin, "p -> p", p=ek.S(3), channels=1, **({"key": jax.random.key(0)} | options))


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), "small", True])
def test_the_tolerance_is_a_number(tolerance, key):
    with pytest.raises(ek.OptionError, match="tolerance= must be a number ≥ 0"):
        assert_equivariant(jnp.sin, "p -> p", p=ek.S(3), channels=1, key=key, tolerance=tolerance)


def test_the_tolerance_grows_with_boosts():
    """An invariant of four boosted axes is a small rest of large terms; one that is none is still refused."""
    layer = ek.nn.Linear("m m m m -> ()", 4, 4, m=ek.Lorentz, rngs=nnx.Rngs(0))
    for seed in range(20):
        assert_equivariant(layer, "m m m m -> ()", m=ek.Lorentz, channels=4, key=jax.random.key(seed))
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(jnp.sin, "m -> m", m=ek.Lorentz, channels=4, key=jax.random.key(0))


def test_what_stretches_hides_nothing():
    for group in (ek.MatrixGroup([[[2, 1], [1, 1]]]), ek.MatrixGroup([[[100, 0], [0, 1]]]), ek.GL(3)):
        layer = ek.nn.Linear("x x* -> x x*", 2, 2, x=group, rngs=nnx.Rngs(0))
        for seed in range(4):
            assert_equivariant(layer, "x x* -> x x*", x=group, channels=2, key=jax.random.key(seed))
            with pytest.raises(ek.EquivarianceError):
                assert_equivariant(jnp.sin, "x -> x", x=group, channels=2, key=jax.random.key(seed))


def test_data_are_for_audits(key):
    for check in (assert_equivariant, equivariance_error):
        with pytest.raises(ek.OptionError, match=f"{check.__name__} draws its inputs") as caught:
            check(jnp.sin, "p -> p", p=ek.S(3), data=np.ones((4, 3, 1)), key=key)
        assert caught.value.step == "use ek.audit for data, and read report.passed"


def test_the_assertion_names_its_options():
    names = [*inspect.signature(assert_equivariant).parameters]
    assert names == [
        *("function", "signature", "outputs", "key", "channels", "batch", "samples", "mask", "tolerance", "dtype"),
        *("groups", "bindings"),
    ]
