"""What `trace`, `act`, `rescale` and `check` refuse, and programs that were once read wrongly."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from architectures import normal, plain
from flax import nnx
from helpers import assert_error

import equikit as ek
from equikit.groups import S
from equikit.weightspace import (
    Functional,
    Leaf,
    LearnedOptimizer,
    ParameterGraph,
    Specification,
    Standardize,
    Symbol,
    align,
    fixed_weights,
    graph,
    singular_alignment,
    teleport,
    trace,
    transfer,
)


def apply(p, x):
    return jnp.tanh(x @ p["a"]) @ p["b"]


PARAMS, X = plain({"a": (3, 8), "b": (8, 2)}), normal(5, 3)
SPEC = trace(apply, PARAMS, X)


def test_forms_do_not_slip_to_another_axis_of_a_reshape() -> None:
    """24 indices that are cut and 4 times 6 that are joined: there are as many axes as before."""

    def model(p, x):
        return ((p["w"] * x[:, None, None, None]).reshape(4, 6, 5, 24)).sum(2) * x

    spec = trace(model, plain({"w": (24, 5, 4, 6)}), normal(24))
    assert spec.scalings == ()
    assert spec.linear_actions == ()


def test_forms_do_not_slip_to_another_part_of_a_concatenation() -> None:
    def model(p, x):
        z = jnp.concatenate([x, p["h"], x[:2], x[2:]]) * jnp.concatenate([x[:2], x[2:], p["g"], x])
        return z[4:9] @ p["v"], z[:4], z[9:]

    params, x = plain({"h": (5,), "g": (5,), "v": (5,)}), normal(4)
    spec = trace(model, params, x)
    assert len(spec.scalings) == 4
    assert spec.linear_actions == ()
    for scaling in spec.scalings:
        numbers = np.exp(np.arange(5) / 3) if scaling.kind == "positive" else np.array([1, -1, -1, 1, -1])
        scaled = model(spec.rescale(scaling, numbers, params), x)
        for one, two in zip(scaled, model(params, x), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_messages_along_edges_keep_their_neurons() -> None:
    """Sums over segments write whole features: the hidden ones are permuted."""

    def model(p, x):
        messages = jax.nn.relu(x @ p["a"])[jnp.array([0, 1, 3])]
        return jax.ops.segment_sum(messages, jnp.array([1, 2, 2]), 4) @ p["b"]

    spec = trace(model, PARAMS, X)
    assert spec.groups == {"h0": S(8)}
    assert spec.check(model, PARAMS, X, key=jax.random.key(0)) < 1e-5

    def cache(p, x):
        return jnp.zeros((7, 8)).at[2:7].set(x @ p["a"]).at[0].set(1.0) @ p["b"]

    spec = trace(cache, PARAMS, X)
    assert spec.groups == {"h0": S(8)}
    assert spec.check(cache, PARAMS, X, key=jax.random.key(0)) < 1e-5


def unread(p, x):
    """The sum of all subsets' products, of which nobody but the caller knows that it does not depend on an order."""
    return jax.lax.reduce(p["a"], 0.0, lambda one, two: one + two + one * two, (0, 1)) + apply(p, x)


@pytest.mark.parametrize("call", [trace, graph])
def test_operations_without_a_rule_are_named_once_at_the_line_of_the_caller(call) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(unread, PARAMS, X)
    (record,) = caught
    warning = record.message
    assert isinstance(warning, ek.TraceWarning)
    assert (record.filename, record.category) == (__file__, ek.TraceWarning)
    assert warning.problem == "the group of this model may be larger than the one that was found"
    assert warning.got == "operations without a rule, whose axes are fixed: reduce"
    assert "trace() can read" in warning.expected
    (code,) = re.findall(r"write (.*\))", warning.step)
    with warnings.catch_warnings():
        eval(code, {"warnings": warnings, "equikit": ek})
        call(unread, PARAMS, X)


def test_places_that_are_written_are_rigid() -> None:
    def model(p, x):
        return jnp.zeros(8).at[jnp.argsort(x[:, 0])].add(p["v"][:5]) @ p["w"]

    params = plain({"v": (8,), "w": (8,)})
    assert trace(model, params, X).groups == {}
    spec = trace(model, params, X, unreached=True)
    assert spec.groups == {"h0": S(3)}, "those of v that are not used"
    assert spec.check(model, params, X, key=jax.random.key(0)) < 1e-5


def test_gradients_within_the_model_keep_the_symmetry() -> None:
    def model(p, x):
        return jax.grad(lambda x: jnp.sum(apply(p, x)))(x)

    assert trace(model, PARAMS, X).groups == {"h0": S(8), "h1": S(2)}, "outputs are summed"


def test_zeros_of_two_signs_are_not_alike() -> None:
    c = np.array([0.0, -0.0, 0.0, -0.0, 0.0])

    def model(p, x):
        return (jnp.arctan2(c, -1 - jnp.abs(x @ p["a"])) * p["v"]).sum(-1)

    assert trace(model, plain({"a": (3, 5), "v": (5,)}), X).groups == {}


def test_arrays_without_entries_and_scalars() -> None:
    def model(p, x):
        return ((x @ p["a"]).reshape(5, 0, 3) * p["c"]).reshape(5, 0) @ p["b"]

    params = plain({"a": (3, 0), "b": (0, 2), "c": (0, 3)})
    assert trace(model, params, X).check(model, params, X, key=jax.random.key(0)) == 0
    assert trace(lambda p, x: jnp.sum(p["a"] * x), PARAMS, 1.0, unreached=True).terms["b"] == "h2 h3"
    assert str(Specification((), ())) == "\n"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_numbers(dtype) -> None:
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    assert SPEC.check(apply, params, X.astype(dtype), key=jax.random.key(0)) < 0.1


@pytest.mark.parametrize(
    ("stored", "computed"),
    [("float64", "float32"), ("float64", "bfloat16"), ("float32", "float16"), ("bfloat16", "float32")],
)
def test_the_tolerance_follows_the_precision_that_a_model_computes_in(x64, stored, computed) -> None:
    """A symmetry passes, in float32 with larger differences than float64 allows; a false one does not."""
    trees = plain({"a": (3, 64), "b": (64, 2)}), X
    params, x = jax.tree.map(lambda leaf: leaf.astype(stored), trees)
    allowed = float(jnp.finfo(computed).eps) ** 0.5

    def model(p, x, bias=0.0):
        p, x = jax.tree.map(lambda leaf: leaf[:].astype(computed), (p, x))
        order = jnp.arange(64, dtype=computed) / 64
        return apply(p, x) + bias * (p["a"][0] @ order)

    spec = trace(apply, params, x)
    differences = [spec.check(model, params, x, key=jax.random.key(seed)) for seed in range(10)]
    if (stored, computed) == ("float64", "float32"):  # dots of half precision are added in float32, and equal here
        assert max(differences) > float(jnp.finfo(stored).eps) ** 0.5
    with pytest.raises(ek.EquivarianceError, match=f"at most {allowed:.1e}"):
        spec.check(lambda p, x: model(p, x, bias=200 * allowed), params, x, key=jax.random.key(1))


def test_inner_programs_and_outputs_count_for_the_tolerance() -> None:
    def inner(p, x):
        return jax.lax.cond(True, lambda h: h.astype(jnp.bfloat16), lambda h: h.astype(jnp.bfloat16) + 1, apply(p, x))

    found = SPEC.check(jax.jit(inner), PARAMS, X, key=jax.random.key(0))
    assert found <= 2**-7
    with pytest.raises(ek.EquivarianceError, match=r"at most 8\.8e-02"):
        SPEC.check(lambda p, x: inner(p, x) + p["a"][0, 0].astype(jnp.bfloat16), PARAMS, X, key=jax.random.key(0))


def test_outputs_without_rounding_have_to_be_equal() -> None:
    """Nothing is computed in floating point: there is no rounding error to allow."""
    spec = replace(SPEC, leaves=SPEC.leaves[:1])
    params = {"a": PARAMS["a"]}
    assert spec.check(lambda p, x: jnp.zeros((), int), params, X, key=jax.random.key(0)) == 0


def test_outputs_that_are_booleans_or_infinite() -> None:
    key = jax.random.key(0)
    assert SPEC.check(lambda p, x: apply(p, x) > 0, PARAMS, X, key=key) == 0
    assert SPEC.check(lambda p, x: jnp.where(x[:, :2] > 0, apply(p, x), -jnp.inf), PARAMS, X, key=key) < 1e-5
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, PARAMS)
    assert_error(
        ek.OptionError,
        lambda: SPEC.check(apply, broken, X, key=key),
        "outputs of the model are not finite",
        "10 of 10 entries infinite or NaN",
        "finite",
        "look at",
    )
    generator = np.random.default_rng(0)
    assert_error(
        ek.OptionError,
        lambda: SPEC.check(lambda p, x: apply(p, x) + generator.normal(), PARAMS, X, key=key),
        "something else a second time",
        "two outputs",
        "pure",
        "as an input",
    )


def counted(p, x):
    """A network with a counter, a mask of its hidden neurons, and a whole number for each."""
    hidden = jax.nn.relu(x @ p["a"]) * p["mask"] * (1 + p["whole"])
    return hidden @ p["b"] / (1 + p["count"])


@pytest.mark.parametrize("whole", ["int32", "uint8", "bool"])
def test_integers_and_booleans_are_permuted_like_others(whole) -> None:
    params = PARAMS | {
        "count": jnp.array(7),
        "mask": jnp.arange(8) % 3 > 0,
        "whole": (jnp.arange(8) % 5).astype(whole),
    }
    spec = trace(counted, params, X)
    assert spec.groups == {"h0": S(8)}
    assert (spec.terms["count"], spec.terms["mask"], spec.terms["whole"]) == ("", "h0", "h0")
    for seed in range(3):
        assert spec.check(jax.jit(counted), params, X, key=jax.random.key(seed)) < 1e-5
    element = spec.random_element(key=jax.random.key(0))
    moved = spec.act(element, params)
    assert jax.tree.map(lambda leaf: leaf.dtype, moved) == jax.tree.map(lambda leaf: leaf.dtype, params)
    np.testing.assert_array_equal(np.asarray(moved["mask"])[element["h0"]], params["mask"])
    zoo = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), params)
    for one in (jax.tree.map(lambda leaf, n=n: leaf[n], spec.augment(zoo, key=jax.random.key(1))) for n in range(4)):
        np.testing.assert_allclose(counted(one, X), counted(params, X), rtol=1e-5, atol=1e-6)
    false = replace(spec, bindings=tuple((label, S(spec.sizes[label])) for label, _ in spec.bindings))
    with pytest.raises(ek.EquivarianceError, match="'in' is not free"):
        false.check(counted, params, X, key=jax.random.key(3))


def test_integers_are_neither_scaled_nor_transformed() -> None:
    """A scale of the whole numbers would leave the function too, but they would not stay whole."""
    params = PARAMS | {"count": jnp.array(7), "mask": jnp.arange(8) % 3 > 0, "whole": jnp.arange(8)}
    spec = trace(counted, params, X)
    (scaling,) = (one for one in spec.scalings if one.kind == "positive")
    assert {name for name, _, powers in scaling.powers if any(powers)} == {"a", "b"}
    scaled = spec.rescale(scaling, np.exp(np.arange(8) / 4), params)
    assert scaled["whole"] is params["whole"]
    np.testing.assert_allclose(counted(scaled, X), counted(params, X), rtol=1e-4, atol=1e-5)
    floats = params | {"whole": params["whole"].astype(jnp.float32)}
    assert len([one for one in trace(counted, floats, X).scalings if one.kind == "positive"]) == 1, "of 1 + whole"

    def product(p, x):
        return (x @ p["a"]) * p["whole"] @ p["b"]

    assert len([one for one in trace(product, floats, X).scalings if one.kind == "positive"]) == 2
    assert len([one for one in trace(product, params, X).scalings if one.kind == "positive"]) == 1
    assert trace(product, params, X).linear_actions == ()

    def linear(p, x):
        return x @ p["a"] @ p["b"] + p["count"]

    spec = trace(linear, params, X)
    (action,) = spec.linear_actions
    large = params | {"count": jnp.array(2**30 + 1)}
    turned = spec.transform(action, np.eye(8) + normal(8, 8) / 8, large)
    assert turned["count"] == large["count"], "not rounded to float32"
    whole = params | {"b": jnp.round(params["b"]).astype(int)}
    assert trace(linear, whole, X).linear_actions == ()
    assert trace(linear, whole, X).scalings == ()


def test_actions_on_integers_of_another_model_are_refused() -> None:
    relu, linear = (
        trace(lambda p, x, f=f: f(x @ p["a"]) @ p["b"], PARAMS, X) for f in (jax.nn.relu, lambda hidden: hidden)
    )
    whole = PARAMS | {"a": jnp.ones((3, 8), int)}
    for name, call in (
        ("the scaling of 'h0'", lambda: relu.rescale(relu.scalings[0], np.ones(8), whole)),
        ("the linear group of 'h0'", lambda: linear.transform(linear.linear_actions[0], np.eye(8), whole)),
    ):
        texts = f"'a', which {name} multiplies, must be an array", "int32", "complex", "trace(apply"
        assert_error(ek.DTypeError, call, *texts)


REAL = {
    "a function of weights": (
        lambda spec, p: Functional(spec, [1, 2], out="", rngs=nnx.Rngs(0))(p),
        lambda spec, p: Standardize(spec, jax.tree.map(lambda leaf: leaf[None], p)),
        lambda spec, p: ParameterGraph(spec).features(p),
    ),
    "the straight-through estimator": (
        lambda spec, p: align(spec, p, p, how="straight_through", loss=lambda p, x: 0.0, batches=[X]),
    ),
    "transfer": (lambda spec, p: transfer(spec, [p, p], p, loss=lambda p, x: 0.0, batches=[X]),),
    "teleport": (lambda spec, p: teleport(spec, optax.sgd(0.1), every=2).init(p),),
    "a learned optimizer": (lambda spec, p: LearnedOptimizer(spec, rngs=nnx.Rngs(0)).transformation().init(p),),
    "singular_alignment": (lambda spec, p: singular_alignment(spec, p, p),),
    "fixed_weights": (lambda spec, p: fixed_weights(p, 1, key=jax.random.key(0)),),
}


@pytest.mark.parametrize("what", REAL)
def test_functions_that_need_real_weights_name_the_parameter_that_is_not(what: str) -> None:
    def model(p, x):
        return (jax.nn.relu(x @ p["a"]) @ p["b"] / (1 + p["n"])).real

    for value, got, step in ((1j, "complex64", "real and imaginary parts"), (7, "int32", "leave it out")):
        params = PARAMS | {"n": jnp.array(value)}
        spec = trace(model, params, X)
        for call in REAL[what]:
            if value == 7 and what in ("singular_alignment", "fixed_weights"):
                call(spec, params)  # integers are left out, or left as they are
                continue
            text = f"{what} needs real floating-point parameters: 'n'"
            assert_error(ek.DTypeError, partial(call, spec, params), text, got, "float32", step)


PLACES = {
    "gather": lambda p, h: h[:, p["n"]],
    "scatter": lambda p, h: jnp.zeros_like(h).at[:, p["n"]].add(h),
    "dynamic_slice": lambda p, h: jax.lax.dynamic_slice(h, (0, p["n"][0]), (5, 8)),
    "segments": lambda p, h: jax.ops.segment_sum(h.T, p["n"], 8).T,
    "sort": lambda p, h: h[:, jnp.argsort(p["n"])],
    "comparison": lambda p, h: h * (jnp.arange(8) < p["n"]),
}


@pytest.mark.parametrize("name", PLACES)
def test_integers_that_are_places_are_read_as_such(name: str) -> None:
    def model(p, x):
        return PLACES[name](p, jnp.tanh(x @ p["a"])) @ p["b"]

    params = PARAMS | {"n": jnp.array([3, 1, 0, 2, 5, 4, 7, 6])}
    spec = trace(model, params, X)
    for seed in range(4):
        assert spec.check(model, params, X, key=jax.random.key(seed)) < 1e-5


def recurrent(p, x):
    """A linear recurrence of complex numbers, as in LRU and S4, of which the real part is taken."""

    def step(state, row):
        state = jnp.exp(-jnp.exp(p["decay"]) + 1j * p["angle"]) * state + p["b"] @ row
        return state, (p["c"] @ state).real

    return jax.lax.scan(step, 0 * p["b"][:, 0], x)[1]


def diagonal_recurrence():
    params = plain({"decay": (6,), "angle": (6,), "b": (6, 3), "c": (2, 6)})
    params["b"] = params["b"] + 1j * normal(6, 3, seed=8)
    params["c"] = params["c"] + 1j * normal(2, 6, seed=9)
    return params


def test_complex_parameters_are_permuted_and_scaled() -> None:
    params = diagonal_recurrence()
    spec = trace(recurrent, params, X)
    assert spec.groups == {"h0": S(6)}
    assert spec.terms == {"angle": "h0", "b": "h0 in", "c": "out h0", "decay": "h0"}
    assert spec.check(jax.jit(recurrent), params, X, key=jax.random.key(0)) < 1e-5
    assert sorted(scaling.kind for scaling in spec.scalings) == ["positive", "sign"]
    for scaling in spec.scalings:
        numbers = np.exp(np.arange(6) / 3) if scaling.kind == "positive" else np.array([1, -1, -1, 1, 1, -1])
        scaled = spec.rescale(scaling, numbers, params)
        assert scaled["b"].dtype == jnp.complex64
        np.testing.assert_allclose(recurrent(scaled, X), recurrent(params, X), rtol=1e-4, atol=1e-5)
    assert spec.linear_actions == (), "the recurrence is diagonal"


def test_complex_parameters_are_transformed_by_real_matrices() -> None:
    def model(p, x):
        return (x @ p["a"] @ p["b"]).real

    params = {"a": normal(3, 8) + 1j * normal(3, 8, seed=1), "b": normal(8, 2) - 1j * normal(8, 2, seed=2)}
    spec = trace(model, params, X)
    (action,) = spec.linear_actions
    matrix = np.eye(8) + normal(8, 8, seed=3) / 8
    turned = spec.transform(action, matrix, params)
    assert turned["a"].dtype == jnp.complex64
    np.testing.assert_allclose(model(turned, X), model(params, X), rtol=1e-4, atol=1e-5)
    texts = "not in the general linear group", "shape [8, 8], complex", "an invertible real matrix", "np.eye(8)"
    assert_error(ek.OptionError, lambda: spec.transform(action, matrix * 1j, params), *texts)


@pytest.mark.parametrize(
    ("element", "got"),
    [
        ({"h0": np.zeros(8, int)}, "array"),
        ({"h0": np.arange(9)}, "array"),
        ({"h0": np.arange(7)}, "array"),
        ({"zz": np.arange(8)}, "array"),
        ({"in": np.arange(3)}, "array"),
        ({"h0": np.tile(np.arange(8), (2, 1))}, "array"),
        ({"h0": [0, 1]}, "[0, 1]"),
    ],
)
def test_what_is_no_element(element, got: str) -> None:
    (label,) = element
    call = lambda: SPEC.act(element, PARAMS)  # noqa: E731
    assert_error(
        ek.OptionError, call, f"no element of the group has this for {label!r}", got, "", "spec.random_element"
    )


def test_what_is_no_dictionary_of_permutations() -> None:
    assert_error(
        ek.OptionError,
        lambda: SPEC.act(None, PARAMS),
        "element= must be a Mapping",
        "None",
        "a Mapping",
        "spec.random_element",
    )


def batch_norm():
    parts = nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(nnx.Sequential(*parts), nnx.Param, ...)
    return lambda p, x: nnx.merge(graph, p, rest)(x), params


@pytest.mark.parametrize(
    ("build", "got", "expected"),
    [
        (batch_norm, "TraceContextError", "without state"),
        (lambda: (None, PARAMS), "TypeError", "a pure function"),
        (lambda: (lambda p, x: p["c"], PARAMS), "KeyError", "a pure function"),
        (lambda: (lambda p, x: x if p["a"].sum() > 0 else -x, PARAMS), "TracerBoolConversionError", "a pure function"),
        (lambda: (lambda p, x: apply(p, x[:, :2]), PARAMS), "TypeError", "a pure function"),
    ],
)
def test_models_that_cannot_be_traced(build, got: str, expected: str) -> None:
    model, params = build()
    assert_error(ek.OptionError, lambda: trace(model, params, X), "the model cannot be traced", got, expected, "")


def test_actions_of_another_model() -> None:
    other = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], PARAMS, X)
    linear = trace(lambda p, x: x @ p["a"] @ p["b"], PARAMS, X)
    text = "this does not act on these parameters"
    assert_error(
        ek.OptionError,
        lambda: SPEC.rescale(other.scalings[0], 2 * np.ones(8), PARAMS),
        text,
        "h0 positive",
        "h0 sign",
        "spec.scalings",
    )
    assert_error(
        ek.OptionError,
        lambda: SPEC.transform(linear.linear_actions[0], np.eye(8), PARAMS),
        text,
        "h0 linear",
        "is empty",
        "spec.linear_actions",
    )
    (scaling,) = (one for one in other.scalings if one.kind == "positive")
    assert_error(
        ek.OptionError,
        lambda: other.rescale(scaling, 1e300 * np.ones(8), PARAMS),
        "too large or too small for",
        "300",
        "float32",
        "nearer to one",
    )
    assert_error(
        ek.OptionError,
        lambda: other.rescale(scaling, 1j * np.ones(8), PARAMS),
        "do not scale 'h0'",
        "complex",
        "real",
        "jnp.exp",
    )
    scaled = jax.jit(lambda numbers: other.rescale(scaling, numbers, PARAMS))(jnp.full(8, 2.0))
    np.testing.assert_allclose(scaled["a"] @ scaled["b"], PARAMS["a"] @ PARAMS["b"], rtol=1e-5)


def test_batches_that_differ_and_keys_that_are_traced() -> None:
    zoo = {"a": normal(9, 3, 8), "b": normal(4, 8, 2)}
    assert_error(
        ek.ShapeError,
        lambda: SPEC.augment(zoo, key=jax.random.key(0)),
        "the parameter 'b' must have shape [9, 8, 2]",
        "shape [4, 8, 2]",
        "[9, 8, 2]",
        "stack",
    )
    assert_error(
        ek.OptionError,
        lambda: jax.jit(lambda key: SPEC.random_element(key=key))(jax.random.key(0)),
        "key= must not be traced",
        "a tracer of jit, grad or vmap",
        "an array with values",
        "spec.augment",
    )


def test_sizes_that_differ() -> None:
    leaf = Leaf("a", (Symbol("h", 3),))
    assert_error(
        ek.OptionError,
        lambda: Specification((leaf,), (("h", S(4)),)),
        "'h' has two sizes",
        "4 in its group; 3 in 'a' axis 0",
        "one size",
        "different",
    )
    assert_error(
        ek.OptionError, lambda: Specification((leaf,), ()), "'h' has no group", "3 in 'a' axis 0", "one size", "bind it"
    )
