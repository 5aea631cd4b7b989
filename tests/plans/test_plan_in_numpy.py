"""Plans and layers as functions of NumPy compute what they compute in JAX, without JAX."""

import functools
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_plan_duals as duals
import test_plan_families as families
import test_plan_multilinear as multilinear
import test_plan_null_space as null_space
import test_plan_values as values
from flax import nnx
from helpers import DUALS, SIGNATURES, WHOLE, assert_close, assert_error, numpy_apply, partly_slow
from in_numpy import by_numpy, in_numpy

import equikit as ek
from equikit.plans import activation_name, apply, apply_multilinear, multilinear_plan, plan, to_numpy, weight_shapes
from equikit.plans.readers._activations import IN_NUMPY

SYMMETRIC = [(text, n, free) for text in SIGNATURES for n in range(4) for free in (False, True)]
LINEAR = [
    (text, groups, normalize)
    for number, (text, groups) in enumerate([*families.CASES, *duals.CASES, *null_space.CASES])
    for normalize in (("sum", "mean") if number % 2 else ("mean", "sum"))
]
MULTILINEAR = [
    (text, groups, mode)
    for text, groups in [*multilinear.CASES, *DUALS, *WHOLE]
    for mode in ("full", "channelwise")
    if mode == "full" or "f" not in groups  # plain axes have no channelwise maps
]
QUICK = (0, 12, 22, 33, 56, 62, 68, 78, 84, 86, 92, 96)
"""The places in `LINEAR` of one case of each kind of group."""
QUICK_MAPS = (2, 9, 13, 34, 37, 48, 62, 70, 81, 84, 95)
"""The places in `MULTILINEAR` of cases that are quick to evaluate by the definition."""


def named(cases):
    return [", ".join(map(str, case)) for case in cases]


def linear_case(text, groups, normalize):
    """The plan of a case, with inputs and weights, complex for complex groups."""
    program = plan(ek.hom(text, groups=groups), (2, 3), normalize=normalize, bias=True)
    rng, sizes = np.random.default_rng(0), program.signature.sizes

    def draw(shape):
        return duals.complex_normal(rng, shape) if program.signature.is_complex else rng.normal(size=shape)

    weights = {name: draw(shape) for name, shape in weight_shapes(program).items()}
    return program, {t.name: draw((2, *(sizes[x] for x in t.labels), 2)) for t in program.signature.inputs}, weights


def multilinear_case(text, groups, mode):
    """The plan of a case, with inputs and weights."""
    space, inputs, weights = multilinear.prepare(text, groups, mode)
    channels = [x.shape[-1] for x in inputs], 2 if mode == "channelwise" else 4
    return multilinear_plan(space, channels, mode=mode, normalize="mean" if mode == "full" else "sum"), inputs, weights


def symmetric_case(text, n, free):
    """The plan of a case with options that differ from case to case, inputs, weights, masks and sizes."""
    number = 7 * SIGNATURES.index(text) + 2 * n + free
    program, sizes, inputs, weights, masks = values.prepare(text, n, free, *values.setting(number))
    return program, inputs, weights, masks, {label: sizes[label] for label in program.signature.groups}, sizes


@pytest.mark.parametrize(
    ("text", "n", "free"),
    partly_slow(SYMMETRIC, lambda place: place % 3 == 0 and "p p p ->" not in SYMMETRIC[place][0]),
)
def test_a_plan_of_permutations_is_the_sum_of_its_diagrams(text, n, free):
    program, inputs, weights, masks, given, sizes = symmetric_case(text, n, free)
    found = to_numpy(program, weights)(inputs, mask=masks, sizes=given)
    assert_close(found, numpy_apply(program, inputs, weights, sizes, masks), 1e-12)
    single = {name: x.astype(np.float32) for name, x in inputs.items()}
    rounded = to_numpy(program, weights, dtype="float32")(single, mask=masks, sizes=given)
    assert {y.dtype for y in rounded.values()} == {np.dtype("float32")}
    assert_close(rounded, found, 2e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("text", "groups", "normalize"), partly_slow(LINEAR, QUICK, named(LINEAR)))
def test_a_plan_of_any_group_is_its_reference(text, groups, normalize):
    program, x, w = linear_case(text, groups, normalize)
    assert_close(to_numpy(program, w)(x), in_numpy(functools.partial(apply, program, method="naive"), x, w), 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("text", "groups", "mode"), partly_slow(MULTILINEAR, QUICK_MAPS, named(MULTILINEAR)))
def test_a_multilinear_plan_is_its_reference(text, groups, mode):
    program, x, w = multilinear_case(text, groups, mode)
    slow = functools.partial(apply_multilinear, program.space, mode=mode, normalize=program.normalize, method="naive")
    assert_close(to_numpy(program, w)(*x), in_numpy(slow, x, w), 1e-12)


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


KEEP = np.random.default_rng(0).random((6, 4)) < 0.6
LAYERS = {
    "linear": (lambda: ek.nn.Linear("p p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0)), [drawn(6, 4, 4, 2)]),
    "features": (
        lambda: ek.nn.Linear({"p p": 2, "": 1}, {"p": 3, "": 2}, p=ek.S, rngs=nnx.Rngs(0)),
        [{"p p": drawn(6, 4, 4, 2), "": drawn(6, 1)}],
    ),
    "invariant": (
        lambda: ek.nn.Invariant({"p p": 2}, out_channels=3, p=ek.S, rngs=nnx.Rngs(0)),
        [{"p p": drawn(6, 4, 4, 2)}],
    ),
    "multilinear": (
        lambda: ek.nn.Multilinear("p x, p x -> p", (2, 3), 4, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)),
        [drawn(6, 4, 3, 2), drawn(6, 4, 3, 3)],
    ),
    "channelwise": (
        lambda: ek.nn.Multilinear("p, p -> p", 2, mode="channelwise", p=ek.S, rngs=nnx.Rngs(0)),
        [drawn(6, 4, 2), drawn(6, 4, 2)],
    ),
    "bilinear": (
        lambda: ek.nn.Bilinear({"x": 2, "p x": 3}, 4, {"": 1, "p x x": 2}, x=ek.O(3), p=ek.S, rngs=nnx.Rngs(0)),
        [{"x": drawn(6, 3, 2), "p x": drawn(6, 4, 3, 3)}],
    ),
    "sets": (lambda: ek.nn.DeepSets(2, [4, 3], 1, activation=jax.nn.silu, rngs=nnx.Rngs(0)), [drawn(6, 4, 2)]),
    "graphs": (
        lambda: ek.nn.GraphNetwork(1, [4], 2, node_channels=2, out="p", activation=jax.nn.gelu, rngs=nnx.Rngs(0)),
        [drawn(6, 4, 4, 1), drawn(6, 4, 2)],
    ),
}
"""Layers and networks that can be converted, and inputs."""


def with_biases(layer):
    """The layer with biases that are not zero."""
    state = nnx.state(layer, nnx.Param)
    nnx.update(
        layer, jax.tree.map(lambda a: a + 0.1 * np.arange(a.size, dtype=a.dtype).reshape(a.shape) / a.size, state)
    )
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_with_masks_is_the_layer(name):
    make, inputs = LAYERS[name]
    layer = with_biases(make())
    found, expected = to_numpy(layer)(*inputs, mask=KEEP), by_numpy(layer)(*inputs, mask=KEEP)
    assert type(found) is (dict if isinstance(expected, dict) else np.ndarray)
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize("function", [jax.nn.relu, jax.nn.silu, jax.nn.sigmoid, jnp.tanh, jax.nn.gelu, jnp.abs])
def test_activations_are_those_of_jax(function):
    x = np.append(np.linspace(-200, 200, 41), np.linspace(-3, 3, 61)).astype(np.float32)
    np.testing.assert_allclose(IN_NUMPY[activation_name(function)](x), function(x), rtol=0, atol=2e-6)


def test_a_function_shows_its_signature():
    assert repr(FUNCTION) == 'NumpyFunction("p -> p", channels ((1,), (1,)))'
    assert repr(to_numpy(LAYERS["bilinear"][0]())).startswith("NumpyBilinear(NumpyFunction(")
    assert repr(to_numpy(LAYERS["sets"][0]())).count("NumpyFunction") == 4


def test_weights_are_copied_or_given_in_each_call():
    layer = ek.nn.Linear("p -> p", 1, 1, p=ek.S, use_bias=False, rngs=nnx.Rngs(0))
    function, x = to_numpy(layer), drawn(4, 1)
    before = function(x)
    layer.kernel["p -> p"][...] = jnp.zeros((2, 1, 1))
    np.testing.assert_array_equal(function(x), before)
    weights = {"p -> p": np.array([[[1.0]], [[10.0]]])}
    ramp = np.array([[1.0], [2.0]])
    assert to_numpy(ek.hom("p -> p", p=ek.S).plan())(ramp, weights=weights).tolist() == [[31.0], [32.0]]
    assert function(ramp, weights=weights).shape == (2, 1)


def test_not_a_number_in_an_absent_entry_is_ignored():
    layer, x, keep = with_biases(LAYERS["linear"][0]()), drawn(6, 4, 4, 2), KEEP.copy()
    keep[:, 0] = False
    x[:, 0] = np.nan
    assert_close(to_numpy(layer)(x, mask=keep), by_numpy(layer)(x, mask=keep), 1e-6)


def test_a_pickled_function_runs_without_jax(tmp_path):
    layer = with_biases(LAYERS["bilinear"][0]())
    x = LAYERS["bilinear"][1][0]
    (tmp_path / "given").write_bytes(pickle.dumps((to_numpy(layer), x)))
    program = (
        "import pickle, sys\n"
        "sys.modules['jax'] = sys.modules['flax'] = None\n"
        "function, x = pickle.load(open('given', 'rb'))\n"
        "pickle.dump(function(x), open('found', 'wb'))\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert_close(pickle.loads((tmp_path / "found").read_bytes()), by_numpy(layer)(x), 1e-6)


def test_half_precision_is_computed_in_a_wider_dtype():
    half = ek.nn.Linear("p -> p", 2, 3, p=ek.S, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = drawn(4, 2)
    assert_close(to_numpy(half, dtype="float32")(x), by_numpy(half)(x).astype(np.float32), 0.05)
    assert to_numpy(half, dtype="float64")(x.astype(np.float16)).dtype == np.float64


PLAN = ek.hom("p -> p", p=ek.S).plan()
FUNCTION = to_numpy(PLAN, {"p -> p": np.ones((2, 1, 1))})


class Doubled(ek.nn.Linear):
    """A layer of a user that computes something else than its plan."""

    def __call__(self, x, **options):
        return 2 * super().__call__(x, **options)


def test_what_cannot_be_converted_is_refused():
    network = ek.nn.Network([{"p": 2}, {"p": 2}, {"": 1}], p=ek.S, rngs=nnx.Rngs(0))
    for other in (network, ek.nn.Pointwise(jnp.abs, "p", p=ek.S), 3, None):
        assert_error(
            ek.OptionError, lambda other=other: to_numpy(other), "only plans, and layers", "", "Linear", "one by one"
        )
    unknown = ek.nn.DeepSets(1, [2], 1, activation=jax.nn.softplus, rngs=nnx.Rngs(0))
    assert_error(ek.OptionError, lambda: to_numpy(unknown), "activation 'softplus'", "jax", "relu", "one by one")
    graphs = to_numpy(LAYERS["graphs"][0]())
    assert_error(ek.ShapeError, lambda: graphs(drawn(6, 4, 4, 1)), "other inputs", "1 arrays", "nodes", "one array")
    doubled = Doubled("p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
    for other in (doubled, Doubled, ek.nn.Linear):
        assert_error(ek.OptionError, lambda other=other: to_numpy(other), "only plans, and layers", "", "", "")
    layer = ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
    assert_error(
        ek.OptionError, lambda: to_numpy(layer, {}), "weights of its own", "weights=", "plan", "leave weights out"
    )


def test_a_network_takes_features_by_their_labels():
    network, (edges, nodes) = to_numpy(LAYERS["graphs"][0]()), LAYERS["graphs"][1]
    assert_close(network({"p": nodes, "p p": edges}, mask=KEEP), network(edges, nodes, mask=KEEP), 0)
    assert_error(ek.ShapeError, lambda: network({"p": nodes}), "the features", "'p'", "'p p', 'p'", "one array")


@pytest.mark.parametrize(
    ("name", "weights"), [("p -> p", np.ones((1, 2, 1))), ("p -> p", np.ones((4, 1, 1))), ("p-> p", np.ones((2, 1, 1)))]
)
def test_weights_that_are_replaced_are_checked(name, weights):
    function = to_numpy(PLAN, {"p -> p": np.ones((2, 1, 1))})
    function.weights[name] = weights
    with pytest.raises(ek.ShapeError, match="the weights"):
        function(np.ones((4, 1)))


CALLS = {
    "other-channels": (ek.ShapeError, lambda: FUNCTION(np.ones((4, 2))), "2 channels, not 1"),
    "two-arguments": (ek.ShapeError, lambda: FUNCTION(np.ones((4, 1)), np.ones((4, 1))), "one argument"),
    "another-name": (ek.ShapeError, lambda: FUNCTION({"q": np.ones((4, 1))}), "expected names"),
    "integers": (ek.DTypeError, lambda: FUNCTION(np.ones((4, 1), int)), "input 'p'"),
    "a-masked-array": (
        ek.DTypeError,
        lambda: FUNCTION(np.ma.masked_array(np.ones((4, 1)))),
        "input 'p' must not be a masked array",
    ),
    "traced-weights": (
        ek.OptionError,
        lambda: jax.jit(lambda x: to_numpy(PLAN, {"p -> p": x})(np.ones((4, 1))))(np.ones((2, 1, 1))),
        "the weights 'p -> p' must not be traced",
    ),
    "a-traced-layer": (
        ek.OptionError,
        lambda: nnx.jit(lambda layer: to_numpy(layer)(np.ones((4, 1))))(
            ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
        ),
        "the weights 'p -> p' must not be traced",
    ),
    "a-list": (ek.DTypeError, lambda: FUNCTION([[1.0]]), "input 'p'"),
    "a-mask-of-numbers": (
        ek.DTypeError,
        lambda: FUNCTION(np.ones((4, 1)), mask=np.ones(4)),
        "array of booleans",
    ),
    "a-mask-as-a-list": (ek.OptionError, lambda: FUNCTION(np.ones((4, 1)), mask=[True]), "not an array"),
    "a-short-mask": (ek.ShapeError, lambda: FUNCTION(np.ones((4, 1)), mask=np.ones(3, bool)), "wrong shape"),
    "other-weights": (ek.ShapeError, lambda: to_numpy(PLAN, {"p -> p": np.ones((3, 1, 1))}), "the weights 'p -> p'"),
    "weights-of-integers": (ek.DTypeError, lambda: to_numpy(PLAN, {"p -> p": np.ones((2, 1, 1), int)}), "the weights"),
    "missing-weights": (ek.OptionError, lambda: to_numpy(PLAN)(np.ones((4, 1))), "no weights"),
    "an-unknown-dtype": (ek.DTypeError, lambda: to_numpy(PLAN, dtype="float16"), "computes in"),
    "no-dtype": (ek.DTypeError, lambda: to_numpy(PLAN, dtype="x"), "computes in"),
    "a-real-input": (
        ek.DTypeError,
        lambda: to_numpy(ek.hom("u -> u", u=ek.U(2)).plan(), {"u -> u": np.ones((1, 1, 1))})(np.ones((2, 1))),
        "is real",
    ),
    "a-missing-input": (
        ek.ShapeError,
        lambda: to_numpy(ek.hom("p, p -> p", p=ek.S(3)).plan(), np.ones((5, 1, 1, 1)))(np.ones((3, 1))),
        "number of inputs",
    ),
    "an-array-for-features": (ek.OptionError, lambda: to_numpy(LAYERS["bilinear"][0]())(drawn(6, 3, 2)), "dictionary"),
    "no-size": (
        ek.ShapeError,
        lambda: to_numpy(ek.hom("() -> p", p=ek.S).plan(), {"() -> p": np.ones((1, 1, 1))})(np.ones((1,))),
        "how large",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_do_not_fit_are_refused(name):
    error, call, problem = CALLS[name]
    assert_error(error, call, problem, "", "", "")
