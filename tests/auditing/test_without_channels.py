"""Audits, checks and monitors of functions whose arrays have no axis of channels, with `channels=False`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import Monitor, locate, padding_error, translation_error

CLOUDS = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
SPACE = {"p": ek.S(5), "x": ek.O(3)}
STRETCH = np.array([1.0, 1.0, 2.0], np.float32)


def centered(x):
    return x - x.mean(axis=-2, keepdims=True)


def stretched(x):
    return x * STRETCH


def with_axis(function):
    """The same function, of arrays with one channel."""
    return lambda x: function(x[..., 0])[..., None]


class Pair(nnx.Module):
    """Mixes points, then uses the components of vectors as numbers."""

    def __init__(self, rngs):
        self.mix, self.bias = nnx.Linear(5, 5, use_bias=False, rngs=rngs), nnx.Linear(3, 3, rngs=rngs)
        self.bias.bias[...] += 1

    def __call__(self, x):
        return self.bias(jnp.tanh(self.mix(x.mT).mT))


@pytest.mark.parametrize(
    ("function", "data"),
    [
        (centered, None),
        (stretched, None),
        (stretched, CLOUDS),
        (centered, jnp.asarray(CLOUDS)),
        (centered, CLOUDS.tolist()),
    ],
    ids=["centered", "stretched", "of-numpy", "of-jax", "of-lists"],
)
def test_a_report_is_the_report_of_one_channel(function, data):
    one = None if data is None else np.asarray(data)[..., None]
    options = SPACE | {"draws": 40}
    found = ek.audit(function, "p x -> p x", data=data, channels=False, **options)
    wanted = ek.audit(with_axis(function), "p x -> p x", data=one, channels=1 if data is None else None, **options)
    assert found.passed == (function is centered)
    assert found.error == pytest.approx(wanted.error, rel=1e-3, abs=1e-6)
    assert found.samples == wanted.samples
    assert str(found.kept) == str(wanted.kept)


def test_a_function_of_one_sample():
    alone = ek.audit(lambda x: x - x.mean(axis=0), "p x -> p x", channels=False, batch=(), draws=40, **SPACE)
    assert alone.passed
    assert alone.samples == 1
    energy = ek.audit(lambda x: (x**2).sum(), "p x -> ()", channels=False, batch=(), draws=40, **SPACE)
    assert energy.passed


def test_several_terms_are_dictionaries_of_labels():
    sides = {"a": "p x", "b": "p"}, {"y": "p x"}
    good, bad = (lambda d, c=c: {"y": d["a"] * d["b"][..., None] * c} for c in (1.0, STRETCH))
    options = {"channels": False, "draws": 40} | SPACE
    assert ek.audit(good, *sides, **options).passed
    assert not ek.audit(bad, *sides, **options).passed
    ek.testing.assert_equivariant(good, *sides, key=jax.random.key(0), channels=False, **SPACE)
    data = {"a": CLOUDS, "b": CLOUDS[..., 0]}
    assert ek.audit(good, *sides, data=data, **options).passed


def test_a_free_group_has_the_size_of_the_data():
    groups = {"p": ek.S, "x": ek.O}
    assert ek.audit(centered, "p x -> p x", data=CLOUDS, channels=False, draws=40, **groups).passed


def test_modules_and_operations_at_fault():
    report = ek.audit(Pair(nnx.Rngs(0)), "p x -> p x", data=CLOUDS, channels=False, draws=40, p=ek.Fixed(5), x=ek.O(3))
    assert report.modules.rows[0].actions["x"] == "x on axis 1"
    assert report.modules.place.startswith("tanh (test_without_channels.py:")
    found = locate(lambda x: jnp.tanh(2 * x), "p x -> p x", data=CLOUDS, channels=False, **SPACE)
    assert found.first_broken.startswith("tanh (")
    assert found.label == "x"


@pytest.mark.parametrize("function", [centered, stretched])
def test_assertions(function, key):
    error = ek.testing.equivariance_error(function, "p x -> p x", channels=False, key=key, **SPACE)
    assert error == ek.testing.equivariance_error(with_axis(function), "p x -> p x", channels=1, key=key, **SPACE)
    assert (error < 1e-5) == (function is centered)
    if function is centered:
        ek.testing.assert_equivariant(function, "p x -> p x", channels=False, batch=(), key=key, **SPACE)
    else:
        with pytest.raises(ek.EquivarianceError, match="does not commute"):
            ek.testing.assert_equivariant(function, "p x -> p x", channels=False, key=key, **SPACE)


def test_a_mask_has_no_channels_in_any_case(key):
    def total(x, mask):
        return jnp.sum(x * mask["p"][..., None], axis=-2)

    assert ek.testing.equivariance_error(total, "p x -> x", channels=False, key=key, mask=True, **SPACE) < 1e-5


def test_a_monitor():
    monitors = [Monitor("p x -> p x", data=CLOUDS, channels=False, **SPACE)]
    monitors += [Monitor("p x -> p x", data=CLOUDS[..., None], **SPACE)]
    for monitor, model in zip(monitors, [stretched, with_axis(stretched)], strict=True):
        monitor(0, model=model)
    first, second = (monitor.history[0] for monitor in monitors)
    assert first.error == pytest.approx(second.error, rel=1e-3)
    assert first.error > 0.01 > first.rounding


def test_padding_and_translations():
    def leaking(x, mask):
        return (x * mask[..., None]).mean(1)

    def closed(x, mask):
        return (x * mask[..., None]).sum(1) / mask.sum(1)[:, None]

    options = {"data": CLOUDS, "channels": False} | SPACE
    assert [padding_error(f, "p x -> x", along="p", **options).passed for f in (leaking, closed)] == [False, True]
    moved = [translation_error(f, "p x -> p x", along="x", **options).passed for f in (stretched, centered)]
    assert moved == [False, True]


def test_true_is_the_default():
    report = ek.audit(with_axis(centered), "p x -> p x", data=CLOUDS[..., None], channels=True, draws=40, **SPACE)
    assert report.passed
    with pytest.raises(ek.OptionError, match="not settled") as caught:
        ek.audit(centered, "p x -> p x", channels=True, **SPACE)
    assert caught.value.step == "write channels=1"
    for check in (Monitor, lambda *args, **options: locate(centered, *args, **options)):
        with pytest.raises(ek.OptionError, match="channels= must be True or False"):
            check("p x -> p x", data=CLOUDS, channels=1, **SPACE)


def test_errors_show_the_shapes_of_the_function():
    with pytest.raises(ek.EquivarianceError) as caught:
        ek.audit(lambda x: x[..., 0, :], "p x -> p x", channels=False, **SPACE)
    assert caught.value.got == "{'p x': [16, 3]}"
    assert caught.value.expected == "'p x' with shape [16, 5, 3]"
    with pytest.raises(ek.OptionError, match="raises an exception") as caught:
        ek.audit(lambda x: x @ jnp.ones((4, 4)), "p x -> p x", channels=False, **SPACE)
    assert caught.value.expected == "a function of arrays [*batch, *axes]"
    with pytest.raises(ek.OptionError, match="without an axis of channels"):
        ek.audit(lambda x: x @ jnp.eye(3), "p x -> p x", channels=1, **SPACE)


def test_faults_that_channels_do_not_explain_are_told_as_they_are():
    with pytest.raises(ek.EquivarianceError, match="not finite"):
        ek.audit(lambda x: x * jnp.nan, "p x -> p x", channels=1, **SPACE)


def test_a_function_of_one_sample_is_told_to_be_mapped():
    net = eqx.nn.MLP(15, 2, 4, 1, key=jax.random.key(0))

    def alone(x):
        return net(x.reshape(15))

    for call in (
        lambda f: ek.audit(f, "p x -> c", data=CLOUDS, channels=False, draws=40, c=ek.Fixed(2), **SPACE),
        lambda f: locate(f, "p x -> c", data=CLOUDS, channels=False, c=ek.Fixed(2), **SPACE),
    ):
        with pytest.raises(ek.OptionError, match="takes one sample, not a batch") as caught:
            call(alone)
        assert caught.value.step == "pass jax.vmap(function)"
        assert caught.value.got == "'p x' of shape [6, 5, 3]"
        call(jax.vmap(alone))


def test_data_without_channels_that_fit_a_signature_of_free_groups():
    def squares(x):
        return jnp.stack([jnp.sum(x**2, axis=(1, 2))] * 2, axis=-1)

    options = {"data": CLOUDS, "p": ek.S, "x": ek.O, "c": ek.Fixed(2), "draws": 40}
    with pytest.raises(ek.OptionError, match="the data have no axis of channels") as caught:
        ek.audit(squares, "p x -> c", **options)
    assert caught.value.step == "write channels=False"
    assert ek.audit(squares, "p x -> c", channels=False, **options).passed
