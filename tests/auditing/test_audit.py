"""What an audit measures: the error by its definition, against rounding, and what it refuses."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import Report

POINTS = np.random.default_rng(0).normal(size=(6, 4, 3, 2))
ON_POINTS = {"p": ek.S(4), "x": ek.O(3)}


def shrunk(x):
    return x / (1 + np.linalg.norm(x, axis=-2, keepdims=True))


def rectified(x):
    return np.maximum(x, 0)


def ramp(x):
    return x * (1 + np.arange(x.shape[1]))[:, None]


def normalized(one, two):
    return np.linalg.norm(one - two) / max(np.linalg.norm(one) + np.linalg.norm(two), 1e-300)


def test_the_error_over_a_finite_group_is_the_mean_over_its_elements():
    x = np.random.default_rng(1).normal(size=(5, 3, 2))
    report = ek.audit(ramp, "p -> p", p=ek.S, data=x)
    errors, relative = [], []
    for permutation in itertools.permutations(range(3)):
        matrix = np.eye(3)[list(permutation)]
        for sample in x:
            one, two = ramp((matrix @ sample)[None])[0], matrix @ ramp(sample[None])[0]
            errors.append(normalized(one, two))
            relative.append([np.linalg.norm(one - two), np.linalg.norm(two)])
    assert report.error == pytest.approx(np.mean(errors))
    difference, size = np.sum(relative, 0)
    assert report.relative == pytest.approx(difference / size)
    assert report.worst == pytest.approx(np.max(errors))
    np.testing.assert_allclose(report.by_sample, np.reshape(errors, (6, 5)).mean(0))
    assert report.interval.low == report.interval.high == pytest.approx(report.error)
    assert str(report.interval) == "exact, 6 elements"
    assert report.worst_element.error == pytest.approx(np.reshape(errors, (6, 5)).mean(1).max())
    assert not report.passed


def test_the_interval_contains_the_mean_over_the_group():
    """The mean over rotations of the plane, by a fine grid of angles."""
    x = np.random.default_rng(2).normal(size=(8, 2, 1))
    report = ek.audit(rectified, "x -> x", x=ek.SO(2), data=x)
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    mean = np.mean([normalized(rectified(t @ s), t @ rectified(s)) for t in turns for s in x])
    assert report.interval.low <= mean <= report.interval.high
    assert report.error == pytest.approx(mean, abs=0.08)
    # The search finds more than random draws.
    worst = max(np.mean([normalized(rectified(t @ s), t @ rectified(s)) for s in x]) for t in turns)
    assert report.worst_element.error == pytest.approx(worst, rel=0.02)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_rounding_explains_the_errors_of_an_equivariant_function(dtype):
    report = ek.audit(shrunk, "p x -> p x", **ON_POINTS, data=POINTS, dtype=dtype)
    eps = float(jnp.finfo(dtype).eps)
    assert report.passed
    assert report.verdict.startswith("equivariant up to rounding")
    assert report.precision == jnp.dtype(dtype).name
    assert eps / 50 < report.error < report.rounding < 10 * eps


def test_audits_without_end_are_refused():
    options = {"x": ek.O(3), "channels": 1}
    with pytest.raises(ek.OptionError, match="draws= must be a whole number ≤ 1,000,000"):
        ek.audit(np.sin, "x -> x", **options | {"draws": 10**30})
    for call in (ek.audit, ek.testing.equivariance_error):
        with pytest.raises(ek.TooLargeError, match="the random inputs are too large"):
            call(np.sin, "x -> x", **options | {"channels": 10**30, "key": jax.random.key(0)})
    with pytest.raises(ek.OptionError, match="samples= must be a whole number ≤ 1,000,000"):
        ek.testing.equivariance_error(np.sin, "x -> x", **options, key=jax.random.key(0), samples=10**30)


def test_a_hidden_cast_is_found():
    """Numbers in half precision inside of a function in single precision."""
    hidden = lambda x: np.asarray(np.asarray(shrunk(x), np.float16), np.float32)  # noqa: E731
    report = ek.audit(hidden, "p x -> p x", **ON_POINTS, data=POINTS.astype(np.float32))
    assert not report.passed
    assert 1e-5 < report.error < 1e-3
    assert report.rounding < 1e-5
    # An output in half precision says so itself.
    assert ek.audit(lambda x: hidden(x).astype(np.float16), "p x -> p x", **ON_POINTS, data=POINTS).passed


def test_cancellation_is_rounding():
    """The angle of parallel vectors is the root of a rounding error."""

    def angle(x):
        a, b = x[..., 0], x[..., 1]
        cosine = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
        return np.arccos(np.clip(cosine, -1, 1))[:, None]

    x = np.tile([[[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]], (4, 1, 1)) + 0 * np.zeros((4, 3, 2))
    x[1:] = np.random.default_rng(3).normal(size=(3, 3, 1)) * [1.0, 3.0]
    assert ek.audit(angle, "x -> ()", x=ek.O(3), data=x.astype(np.float32)).passed
    zero = ek.audit(lambda x: (x - x.mean(1, keepdims=True)).sum(1), "p -> ()", p=ek.S(7), channels=2)
    assert zero.passed


@pytest.mark.parametrize("group", [ek.Lorentz, ek.GL(3), ek.Sp(4), ek.U(2)], ids=str)
def test_stretching_groups_are_no_false_alarm(group):
    layer = ek.nn.Linear("x x* -> x x*" if group.has_dual else "x x -> x x", 2, 2, x=group, rngs=nnx.Rngs(0))
    text = "x x* -> x x*" if group.has_dual else "x x -> x x"
    assert ek.audit(layer, text, x=group, channels=2, batch=(4,), draws=40).passed


def test_a_sample_that_depends_on_others_moves_with_them():
    centered = lambda x: x - x.mean(0)  # noqa: E731
    report = ek.audit(centered, "x -> x", x=ek.O(3), channels=2, draws=40)
    assert report.passed
    assert report.mixes
    assert report.interval.draws == 40
    assert "samples are mixed" in str(report)
    assert not ek.audit(shrunk, "x -> x", x=ek.O(3), channels=2, draws=40).mixes


def test_outputs_that_vanish():
    """The relative error of a function that is zero on the data is infinite, and no number of JSON."""
    data = -np.ones((3, 2, 1))
    report = ek.audit(lambda x: np.maximum(x, 0), "x -> x", x=ek.SO(2), data=data, draws=40)
    assert (report.relative, report.as_dict()["relative"]) == (np.inf, None)
    assert report.worst == 1
    zero = ek.audit(lambda x: 0 * x, "x -> x", x=ek.SO(2), data=data, draws=40)
    assert (zero.error, zero.relative, zero.passed) == (0, 0, True)


def test_terms_in_dictionaries():
    def function(x):
        return {"energy": (x["r"] ** 2).sum((1, 2)), "forces": x["r"] + x["q"][:, :, None]}

    sides = {"r": ("p x", 2), "q": ("p", 2)}, {"energy": ("", 1), "forces": ("p x", 2)}
    report = ek.audit(function, *sides, p=ek.S(3), x=ek.O(2), draws=40)
    assert not report.passed
    assert report.by_term["energy"] < 1e-6 < 0.1 < report.by_term["forces"]
    assert "error of energy" in str(report)
    data = {"q": np.ones((2, 3, 2)), "r": np.random.default_rng(0).normal(size=(2, 3, 2, 2))}
    assert ek.audit(function, *sides, p=ek.S, x=ek.O, data=data).by_term["energy"] < 1e-6


def test_without_batch_axes_and_without_groups():
    assert ek.audit(np.sin, "p -> p", p=ek.S(3), data=np.arange(6.0).reshape(3, 2)).samples == 1
    plain = ek.audit(ramp, "f -> f", f=ek.Fixed(3), channels=2)
    assert plain.passed
    assert str(plain.kept) == "no group acts"
    assert ek.audit(ramp, "p -> p", p=ek.S(1), channels=2).passed
    batches = ek.audit(lambda x: x.sum(-2), "p -> ()", p=ek.S, data=np.random.default_rng(0).normal(size=(2, 3, 4, 1)))
    assert (batches.samples, batches.by_sample.shape) == (6, (6,))


def test_functions_that_are_not_differentiable_work():
    """Rounding to integers, and branches of Python."""
    stairs = lambda x: np.round(x) if x.sum() > -1e9 else x  # noqa: E731
    report = ek.audit(stairs, "x -> x", x=ek.SO(2), channels=1)
    assert not report.passed
    assert str(report.kept) == "at least Z(4), generated by the rotation of x by -90°"


def test_random_numbers_follow_the_key():
    def error(key):
        return ek.audit(rectified, "x -> x", x=ek.SO(2), channels=1, draws=40, key=key).error

    assert error(None) == error(None)
    assert error(jax.random.key(1)) == error(jax.random.key(1)) != error(jax.random.key(2))


# Bad input.


def counted(calls=[0]):  # noqa: B006
    def function(x):
        calls[0] += 1
        return x + calls[0]

    return function


def not_a_number(x):
    y = np.array(x)
    y[1] = np.nan if y[1].sum() > -1e9 else 0
    return y


def only_at_data(x):
    return np.where(np.all(x == np.ones_like(x), axis=(1, 2), keepdims=True), x, np.inf)


BAD = {
    "raises": (
        lambda: ek.audit(lambda x: x[:, 9, 9, 9, 9], "p -> p", p=ek.S(3), channels=1),
        ek.OptionError,
        "the function raises an exception",
        "call the function on the data, and follow its traceback",
    ),
    "raises-later": (
        lambda: ek.audit(lambda x: x if np.all(x == 1) else 1 / 0, "p -> p", p=ek.S(3), data=np.ones((2, 3, 1))),
        ek.OptionError,
        "the function raises an exception",
        "call the function on the data, and follow its traceback",
    ),
    "cannot-be-called": (
        lambda: ek.audit(3, "p -> p", p=ek.S(3), channels=1),
        ek.OptionError,
        "this cannot be called",
        "pass a function, such as jnp.sin",
    ),
    "state": (
        lambda: ek.audit(counted(), "p -> p", p=ek.S(3), channels=1),
        ek.EquivarianceError,
        "two calls of the function with the same input differ",
        "switch dropout off, and give the function its random keys",
    ),
    "shape": (
        lambda: ek.audit(lambda x: x.sum(1), "p -> p", p=ek.S(3), channels=1),
        ek.EquivarianceError,
        "the function does not have the outputs of its signature",
        "check the signature, or the function",
    ),
    "not-finite": (
        lambda: ek.audit(not_a_number, "p -> p", p=ek.S(3), channels=1),
        ek.EquivarianceError,
        "the function returns numbers that are not finite",
        "look at the function on sample 1, or leave this sample out",
    ),
    "group-that-does-not-act": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S(4), data=np.ones((2, 3, 1))),
        ek.ShapeError,
        "input 'p' has size 3 on axis 'p', but p is bound to S(4)",
        "bind p=ek.S for any size, or give every 'p' size 4",
    ),
    "group-of-odd-size": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.Sp, data=np.ones((2, 3, 1))),
        ek.GroupError,
        "Sp needs an even number of points",
        "give every 'p' a size that Sp has",
    ),
    "too-few-axes": (
        lambda: ek.audit(np.sin, "p p -> p", p=ek.S(4), data=np.ones((4, 1))),
        ek.ShapeError,
        "input 'p p' has too few axes",
        "add the missing axes; channels come last",
    ),
    "too-few-draws": (
        lambda: ek.audit(np.sin, "x -> x", x=ek.O(3), data=np.ones((3, 1)), draws=4),
        ek.OptionError,
        "too few samples for the claimed confidence",
        "write draws=36",
    ),
    "free": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S, channels=1),
        ek.GroupError,
        "label 'p' is bound to a free group",
        "bind p=ek.S(4)",
    ),
    "free-in-outputs": (
        lambda: ek.audit(np.sin, "p -> q", p=ek.S, q=ek.S, data=np.ones((2, 3, 1))),
        ek.GroupError,
        "label 'q' is bound to a free group",
        "bind q=ek.S(4)",
    ),
    "no-channels": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S(3)),
        ek.OptionError,
        "the inputs of the function are not settled",
        "write channels=1",
    ),
    "no-entries": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S(0), channels=1),
        ek.OptionError,
        "nothing would be compared: the inputs have no entries",
        "bind groups of size 1 or more, with one channel or more",
    ),
    "no-entries-in-data": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S, data=np.ones((2, 0, 1))),
        ek.OptionError,
        "nothing would be compared: the inputs have no entries",
        "bind groups of size 1 or more, with one channel or more",
    ),
    "no-outputs": (
        lambda: ek.audit(lambda x: x[..., :0], "p -> p", p=ek.S(3), channels=1),
        ek.OptionError,
        "nothing would be compared: the outputs have no entries",
        "bind groups of size 1 or more, with one channel or more",
    ),
    "no-samples": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S, data=np.ones((0, 3, 1))),
        ek.OptionError,
        "the data have no samples",
        "give data with samples, or leave data out and write channels=1",
    ),
    "data-not-finite": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S, data=np.full((2, 3, 1), np.nan)),
        ek.OptionError,
        "the data are not finite",
        "leave these samples out",
    ),
    "integers": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S, data=np.ones((2, 3, 1), int)),
        ek.DTypeError,
        "the data of 'p' must be an array of real or complex floating-point numbers",
        "give floats",
    ),
    "one-array-for-two-inputs": (
        lambda: ek.audit(np.sin, "p + p p -> p", p=ek.S, data=np.ones((2, 3, 1))),
        ek.ShapeError,
        "the data do not have the expected names",
        "give a dictionary with an array for each input",
    ),
    "real-data-of-a-complex-group": (
        lambda: ek.audit(np.sin, "u -> u", u=ek.U(3), data=np.ones((2, 3, 1))),
        ek.DTypeError,
        "the data of 'u' must be an array of complex floating-point numbers",
        "give complex numbers",
    ),
    "confidence": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S(3), channels=1, confidence=1),
        ek.OptionError,
        "confidence= must be a number > 0 and < 1",
        "write confidence=0.95",
    ),
    "misspelled": (
        lambda: ek.audit(np.sin, "p -> p", p=ek.S, data=np.ones((2, 3, 1)), chanels=1),
        ek.OptionError,
        "audit has no option 'chanels'",
        "write channels=",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_a_next_step(name):
    call, kind, problem, step = BAD[name]
    with pytest.raises(kind) as caught:
        call()
    assert (caught.value.problem, caught.value.step) == (problem, step)
    assert caught.value.got


def test_the_sample_and_the_exception_are_named():
    with pytest.raises(ek.EquivarianceError) as caught:
        BAD["not-finite"][0]()
    assert caught.value.got == "NaN or infinity in 'p' for sample 1"
    with pytest.raises(ek.EquivarianceError) as caught:
        ek.audit(only_at_data, "x -> x", x=ek.O(2), data=np.ones((2, 2, 1)))
    assert "infinity in 'x' for sample" in caught.value.got
    with pytest.raises(ek.OptionError) as caught:
        BAD["raises-later"][0]()
    assert "ZeroDivisionError" in caught.value.got
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_report_is_returned():
    assert isinstance(ek.audit(np.sin, "p -> p", p=ek.S(2), channels=1), Report)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_data_that_no_element_moves_are_refused(value):
    with pytest.raises(ek.OptionError) as caught:
        ek.audit(lambda x: x * np.arange(4.0)[:, None], "p -> p", p=ek.S(4), data=np.full((8, 4, 1), value))
    assert caught.value.problem == "the data do not show whether the function is equivariant"
    assert caught.value.step == "give data that vary along the axes of the groups"


def test_masks_of_data_are_not_dropped():
    data = np.ma.masked_array(np.ones((1, 3, 1)), mask=[[[True], [False], [False]]])
    with pytest.raises(ek.DTypeError, match="the data of 'p' must not be a masked array"):
        ek.audit(jnp.sin, "p -> p", p=ek.S(3), data=data)


def test_lists_are_arrays():
    assert ek.audit(jnp.sin, "p -> p", p=ek.S(3), data=[[[1.0], [2.0], [3.0]]]).passed
    with pytest.raises(ek.DTypeError, match="the data of 'p' must be an array of real or complex"):
        ek.audit(jnp.sin, "p -> p", p=ek.S(3), data=[[[1], [2], [3]]])
