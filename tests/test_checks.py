"""The checks that all packages share, and the fields of errors."""

import ast
import pickle
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from house import modules, parsed

import equikit as ek
from equikit import _checks, _keywords
from equikit._errors import EquikitError, Place, UnboundLabelError

ACCEPTED = {
    "choice": (lambda: _checks.choice("how", "sum", ("sum", "mean")), "sum"),
    "choice-none": (lambda: _checks.choice("how", None, (None, "mean")), None),
    "flag": (lambda: _checks.flag("remat", np.True_), True),
    "count": (lambda: _checks.count("samples", np.int64(3), least=1), 3),
    "count-most": (lambda: _checks.count("samples", 3, most=3), 3),
    "number": (lambda: _checks.number("epsilon", 1e-6, above=0), 1e-6),
    "number-array": (lambda: _checks.number("epsilon", np.float32(2.0)), np.float32(2.0)),
    "number-none": (lambda: _checks.number("tolerance", None, optional=True), None),
    "number-integer": (lambda: _checks.number("scale", 10**30), 1e30),
    "number-static": (lambda: _checks.number("rate", jnp.bfloat16(0.5), traced=False), 0.5),
    "text": (lambda: _checks.text("label", "x"), "x"),
    "text-none": (lambda: _checks.text("label", None, optional=True), None),
    "names": (lambda: _checks.names("terms", ["a", "b"]), ("a", "b")),
    "names-one": (lambda: _checks.names("terms", "ab"), ("ab",)),
    "numbers": (lambda: _checks.numbers("decays", [0, np.float32(0.5)], least=0, below=1), (0.0, 0.5)),
    "widths": (lambda: _checks.widths("hidden", [8, np.int32(4)]), (8, 4)),
    "widths-empty": (lambda: _checks.widths("hidden", ()), ()),
    "dtype": (lambda: _checks.dtype("dtype", "bfloat16"), jnp.dtype(jnp.bfloat16)),
    "dtype-none": (lambda: _checks.dtype("dtype", None), None),
    "instance": (lambda: _checks.instance("group", 3, int, "3"), 3),
    "same-names": (lambda: _checks.same_names("inputs", {"a": 1}, ["a"], step="x"), {"a": 1}),
    "shaped-scalar": (lambda: _checks.shaped("x", 2.0, ()), 2.0),
}


@pytest.mark.parametrize(("call", "value"), ACCEPTED.values(), ids=ACCEPTED)
def test_valid_values_are_returned_in_normal_form(call, value):
    found = call()
    assert found == value
    assert type(found) is type(value)


REFUSED = {
    "choice": (lambda: _checks.choice("how", "maen", ("sum", "mean")), "'maen'", '"sum" or "mean"', 'write how="mean"'),
    "choice-start": (
        lambda: _checks.choice("how", "aut", ("out", "auto")),
        "'aut'",
        '"out" or "auto"',
        'write how="auto"',
    ),
    "choice-far": (lambda: _checks.choice("how", 5, ("sum", "mean")), "5", '"sum" or "mean"', 'write how="sum"'),
    "choice-one": (lambda: _checks.choice("how", np.ones(2), ("sum",)), "array([1., 1.])", '"sum"', 'write how="sum"'),
    "choice-none": (lambda: _checks.choice("how", "x", (None, "sum")), "'x'", 'None or "sum"', "write how=None"),
    "flag": (lambda: _checks.flag("remat", 1), "1", "a bool", "write remat=True"),
    "count-negative": (lambda: _checks.count("samples", -1), "-1", "an integer ≥ 0", "write samples=1"),
    "count-zero": (lambda: _checks.count("samples", 0, least=1), "0", "an integer ≥ 1", "write samples=1"),
    "count-float": (lambda: _checks.count("samples", 2.0), "2.0", "an integer ≥ 0", "write samples=2"),
    "count-bool": (lambda: _checks.count("samples", True), "True", "an integer ≥ 0", "write samples=1"),
    "count-many": (lambda: _checks.count("k", 9, most=8), "9", "an integer from 0 to 8", "write k=1"),
    "count-huge": (
        lambda: _checks.count("samples", 10**5000),
        "about 10^5000",
        "an integer ≥ 0, below about 10^100",
        "write samples=1",
    ),
    "choice-huge": (lambda: _checks.choice("how", -(10**5000), ("sum",)), "about -10^5000", '"sum"', 'write how="sum"'),
    "choice-huge-list": (
        lambda: _checks.choice("how", [10**5000], ("sum",)),
        "list with too many digits",
        '"sum"',
        'write how="sum"',
    ),
    "count-words": (lambda: _checks.count("the width", None, least=1), "None", "an integer ≥ 1", "give for example 1"),
    "number-nan": (lambda: _checks.number("rate", float("nan")), "nan", "a finite number", "write rate=1"),
    "number-complex": (lambda: _checks.number("rate", 1j), "1j", "a finite number", "write rate=1"),
    "number-text": (lambda: _checks.number("rate", "1"), "'1'", "a finite number", "write rate=1"),
    "number-bool": (lambda: _checks.number("rate", True), "True", "a finite number", "write rate=1"),
    "number-range": (
        lambda: _checks.number("rate", 2.0, above=0, most=1, example=0.5, optional=True),
        "2.0",
        "a number > 0 and ≤ 1, or None",
        "write rate=0.5",
    ),
    "number-huge": (lambda: _checks.number("rate", 10**400, most=2), f"1{'0' * 76}...", "a number ≤ 2", "write rate=1"),
    "number-key": (
        lambda: _checks.number("rate", jax.random.key(0)),
        "Array((), dtype=key<fry>) overlaying: [0 0]",
        "a finite number",
        "write rate=1",
    ),
    "text": (lambda: _checks.text("label", 1), "1", "a text", 'write label="x"'),
    "names": (lambda: _checks.names("terms", ["a", 1]), "['a', 1]", "texts", 'write terms=("x",)'),
    "names-none": (lambda: _checks.names("terms", (), fewest=1), "()", "texts", 'write terms=("x",)'),
    "numbers": (lambda: _checks.numbers("decays", 0.5), "0.5", "one number or more", "write decays=(0.5,)"),
    "numbers-entry": (lambda: _checks.numbers("d", [2.0], below=1), "2.0", "a number < 1", "give for example 0.5"),
    "widths-few": (
        lambda: _checks.widths("channels", (8,), fewest=2),
        "(8,)",
        "2 widths or more",
        "write channels=(32, 32)",
    ),
    "widths-scalar": (
        lambda: _checks.widths("hidden", np.array(8)),
        "array(8)",
        "one width a layer",
        "write hidden=(32, 32)",
    ),
    "widths": (lambda: _checks.widths("hidden", 8), "8", "one width a layer", "write hidden=(32, 32)"),
    "widths-text": (lambda: _checks.widths("hidden", "88"), "'88'", "one width a layer", "write hidden=(32, 32)"),
    "widths-of-none": (lambda: _checks.widths("batch", 8, what="sizes"), "8", "sizes", "write batch=(32, 32)"),
    "widths-zero": (lambda: _checks.widths("hidden", (0,)), "0", "an integer ≥ 1", "give for example 8"),
    "key": (lambda: _checks.key(0), "0", "a JAX key", "write key=jax.random.key(0)"),
    "keys": (
        lambda: _checks.key(jax.random.split(jax.random.key(0), 3)),
        "key<fry> of shape [3]",
        "a JAX key",
        "write key=jax.random.key(0)",
    ),
    "rngs": (lambda: _checks.rngs(0), "0", "nnx.Rngs", "write rngs=nnx.Rngs(0)"),
    "dtype": (lambda: _checks.dtype("dtype", int), "int64", _checks.FLOATS, "write dtype=jnp.float32"),
    "dtype-none": (lambda: _checks.dtype("dtype", "x"), "'x'", _checks.FLOATS, "write dtype=jnp.float32"),
    "function": (
        lambda: _checks.function("gate", 1, example="jax.nn.gelu"),
        "1",
        "a function",
        "write gate=jax.nn.gelu",
    ),
    "count-exact": (lambda: _checks.count("terms", 3, least=2, most=2, step="give 2"), "3", "2", "give 2"),
    "instance": (lambda: _checks.instance("at", 3, Place, "place"), "3", "a Place", "write at=place"),
    "some": (
        lambda: _checks.some("lines", [], got="none", step="add a line"),
        "none",
        "one or more lines",
        "add a line",
    ),
    "at-most-one": (lambda: _checks.at_most_one(x=1, y=2), "x=1, y=2", "at most one of x=, y=", "leave y out"),
    "together": (lambda: _checks.together(x=1, y=None), "x=1, y=None", "all of them, or none", "leave x out"),
    "given": (lambda: _checks.given("align", "write x=x", y=1, x=None), "x=None", "x=", "write x=x"),
    "same": (lambda: _checks.same("the plan", 1, 2, step="make it again"), "1", "2", "make it again"),
    "same-names": (
        lambda: _checks.same_names("the inputs", {"b": 1}, ["a"], step="give a"),
        "'b'",
        "a dictionary with the names 'a'",
        "give a",
    ),
    "same-names-of-a-list": (
        lambda: _checks.same_names("the inputs", [1], ["a"], step="give a"),
        "list",
        "a dictionary with the names 'a'",
        "give a",
    ),
    "array-of-integers": (
        lambda: _checks.array("x", np.ones(2, int), step="pass x[None]"),
        "dtype int64",
        "float32, bfloat16, float16 or float64",
        "pass jnp.asarray(x, float)",
    ),
    "array-of-a-network": (
        lambda: _checks.array("what the network returns", None, step="correct the network"),
        "NoneType",
        "float32, bfloat16, float16 or float64",
        "correct the network",
    ),
    "array-that-is-real": (
        lambda: _checks.array("x", np.ones(2), kind="complex"),
        "dtype float64",
        "complex64 or complex128",
        "pass jnp.asarray(x, complex)",
    ),
    "array-that-is-not-square": (
        lambda: _checks.array("x", np.ones((4, 2, 3)), ("*batch", "n", "n")),
        "shape [4, 2, 3]",
        "[*batch, n, n]",
        "pass an array of shape [*batch, n, n]",
    ),
    "shaped-few": (
        lambda: _checks.shaped("x", np.ones(2), ("*b", 2, 1)),
        "shape [2]",
        "[*b, 2, 1]",
        "pass an array of shape [*b, 2, 1]",
    ),
    "shaped-last": (
        lambda: _checks.shaped("x", np.ones((3, 1)), (2, "*axes"), step="cut"),
        "shape [3, 1]",
        "[2, *axes]",
        "cut",
    ),
    "finite": (
        lambda: _checks.finite("losses", np.array([1, np.inf]), np.array(np.nan), step="train again"),
        "2 of 3 entries infinite or NaN",
        "finite numbers",
        "train again",
    ),
    "untraced": (
        lambda: jax.jit(lambda x: _checks.untraced("x", x, step="leave jit"))(1.0),
        "a tracer of jit, grad or vmap",
        "an array with values",
        "leave jit",
    ),
    "package": (
        lambda: _checks.package("no_such_package", "no-such-package"),
        "no module no_such_package",
        "the package no_such_package, which only this function needs",
        "pip install no-such-package",
    ),
    "unknown": (lambda: _keywords.refuse_unknown("Linear", ["biass"], ["bias"]), "biass=", "bias", "write bias="),
    "unknown-far": (lambda: _keywords.refuse_unknown("Linear", ["q"], []), "q=", "no options", "remove q="),
}


def test_every_optional_package_is_what_an_extra_installs():
    """The next step names the distribution; the extra has it too, so that both stay the same."""
    calls = [node for path in modules().values() for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    named = {
        (call.args[0].value.partition(".")[0], call.args[1].value)
        for call in calls
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "_checks.package"
    }
    assert {module for module, _ in named} == {"e3j", "e3nn_jax", "matplotlib", "safetensors", "torch"}
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert all([distribution] in extras.values() for _, distribution in named)


@pytest.mark.parametrize(("call", "got", "expected", "step"), REFUSED.values(), ids=REFUSED)
def test_invalid_values_are_refused_with_a_next_step(call, got, expected, step):
    with pytest.raises(EquikitError) as caught:
        call()
    assert (caught.value.got, caught.value.expected, caught.value.step) == (got, expected, step)


@pytest.mark.parametrize("scalar", [np.array(0.5), jnp.array(0.5), jnp.array(0.5, jnp.bfloat16)])
def test_a_scalar_array_is_a_number(scalar):
    assert _checks.number("rate", scalar, above=0, most=1) is scalar


def test_a_traced_number_is_not_looked_at():
    assert jax.jit(lambda rate: _checks.number("rate", rate, above=0))(-1.0) == -1.0


def test_a_static_number_cannot_be_traced():
    with pytest.raises(ek.OptionError, match="rate= must be a number > 0"):
        jax.jit(lambda rate: _checks.number("rate", rate, above=0, traced=False))(1.0)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((), ()),
        ((2,), ("*batch", 2)),
        ((5, 2), ("*batch", 2)),
        ((2, 5, 6), (2, "*axes")),
        ((3, 4, 4), ("*batch", "n", "n")),
        ((0, 7), ("n", "m")),
    ],
)
def test_an_array_has_the_axes_that_are_named(shape, axes):
    array = np.ones(shape)
    assert _checks.array("x", array, axes) is array


def test_an_error_keeps_its_fields_when_pickled():
    place = Place("p -> q", 5)
    error = UnboundLabelError("label not bound", label="q", at=place, got=[1], expected="a group", step="add q=S")
    error.add_note("in the first layer")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is UnboundLabelError
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert str(error).split("\n")[1:3] == ["  p -> q", "       ^"]


def test_an_error_has_a_text_for_integers_of_any_length():
    assert ek.ShapeError("wrong", got=(10**5000,), expected=10**5000).expected == "int with too many digits"


def test_an_error_keeps_no_tracer_alive():
    def call(x):
        try:
            _checks.choice("how", "x", ("sum",))
            raise AssertionError
        except EquikitError:
            pass
        error = ek.ShapeError("wrong", got=x)
        assert isinstance(error.got, str)
        return x

    jax.jit(call)(1.0)


def test_every_error_class_can_be_raised_with_fields():
    classes = [kind for kind in vars(ek._errors).values() if isinstance(kind, type) and issubclass(kind, EquikitError)]
    assert len(classes) > 10
    for kind in classes:
        extra = {"label": "q"} if kind is UnboundLabelError else {}
        assert pickle.loads(pickle.dumps(kind("a problem", got=1, step="do it", **extra))).step == "do it"


def test_a_dtype_of_eight_bits_is_a_floating_point_dtype():
    with pytest.raises(ek.DTypeError, match="dtype= must be a floating-point dtype of 16 bits or more"):
        _checks.dtype("dtype", "float8_e4m3fn")
