"""Invariance-constrained augmentation: the law of the sampled transformations, dual steps, training, bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from in_numpy import in_numpy

import equikit as ek
from equikit.relax import Augmentation, Multiplier


class Identity(nnx.Module):
    """A model without parameters."""

    def __call__(self, x):
        return x


def shifted(x, *, key):
    """Add a random integer from 0 to 3 to every example."""
    return x + jax.random.randint(key, (len(x), 1), 0, 4).astype(x.dtype)


def losses(model, batch):
    return model(batch[0])[:, 0] + 1


def augmentation(**options):
    return Augmentation(Identity(), **{"transform": shifted, "loss": losses, "epsilon": 0.5} | options)


def test_transformations_are_drawn_in_proportion_to_the_loss():
    count = 4000
    moved, label = in_numpy(
        lambda x, key: augmentation(steps=12).worst((x, x), key=key),
        np.zeros((count, 1), np.float32),
        jax.random.key(0),
    )
    assert not label.any()  # only the inputs are moved
    found = np.bincount(moved[:, 0].astype(int), minlength=4) / count
    np.testing.assert_allclose(found, np.arange(1, 5) / 10, atol=0.025)
    first, _ = in_numpy(
        lambda x, key: augmentation(steps=1).worst((x, x), key=key), np.zeros((count, 1), np.float32), jax.random.key(0)
    )
    # One step from a uniform start: the probabilities by hand.
    stay = [1 - sum(min(1, (j + 1) / (i + 1)) for j in range(4)) / 4 for i in range(4)]
    wanted = [sum(min(1, (i + 1) / (j + 1)) / 16 for j in range(4)) + stay[i] / 4 for i in range(4)]
    assert abs(sum(wanted) - 1) < 1e-12
    np.testing.assert_allclose(np.bincount(first[:, 0].astype(int)) / count, wanted, atol=0.025)


def test_the_multiplier_takes_dual_steps():
    constant = augmentation(transform=lambda x, *, key: x + 1, epsilon=0.5, rate=0.1)
    x = jnp.zeros((4, 1))
    lagrangian, clean = constant.objective((x,), key=jax.random.key(0))
    assert (float(clean), float(lagrangian)) == (1.0, 1.0)  # the multiplier was zero
    np.testing.assert_allclose(constant.multiplier[...], 0.1 * (2 - 0.5), rtol=1e-6)
    np.testing.assert_allclose(constant.objective((x,), key=jax.random.key(0))[0], 1 + 0.15 * 2, rtol=1e-6)
    easy = augmentation(transform=lambda x, *, key: x, epsilon=2.0, rate=0.1)
    easy.objective((x,), key=jax.random.key(0))
    assert float(easy.multiplier[...]) == 0.0  # not below zero
    constant.eval()
    assert [float(value) for value in constant.objective((x,), key=jax.random.key(0))] == [1.0, 1.0]
    np.testing.assert_allclose(constant.multiplier[...], 0.3, rtol=1e-6)
    assert isinstance(constant.multiplier, Multiplier)
    assert not isinstance(constant.multiplier, nnx.Param)


@pytest.mark.slow
def test_the_multiplier_measures_how_invariant_the_task_is():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 2)).astype(np.float32)
    found = {}
    for name, y in {"even": np.cos(x[:, 0]), "odd": np.sin(x[:, 0])}.items():
        net = nnx.Sequential(nnx.Linear(2, 32, rngs=nnx.Rngs(0)), jax.nn.silu, nnx.Linear(32, 1, rngs=nnx.Rngs(1)))

        def flip(x, *, key):
            return x * jax.random.rademacher(key, (len(x), 1), x.dtype)

        def squares(model, batch):
            return (model(batch[0])[:, 0] - batch[1]) ** 2

        whole = Augmentation(net, flip, loss=squares, epsilon=0.1, rate=0.02)
        fit = ek.train.fit(
            whole, Augmentation.objective, (x, y), epochs=60, batch=64, key=jax.random.key(0), optimizer=1e-2
        )
        found[name] = float(fit.model.multiplier[...])
    assert found["even"] < 0.25 < 1 < found["odd"]


def test_bad_arguments():
    x, key = jnp.zeros((4, 1)), jax.random.key(0)
    wrong = augmentation(transform=lambda x, *, key: x[:2])
    assert_error(
        ek.ShapeError, lambda: wrong.objective((x,), key=key), "changes the shape", "(2, 1)", "(4, 1)", "every"
    )
    whole = augmentation(transform=lambda x, *, key: x.astype(int))
    assert_error(ek.ShapeError, lambda: whole.objective((x,), key=key), "or the dtype", "'int", "'float", "dtype")
    mean = augmentation(loss=lambda model, batch: jnp.mean(batch[0]))
    assert_error(
        ek.ShapeError,
        lambda: mean.objective((x,), key=key),
        "result of loss=",
        "[]",
        "[4]",
        "jnp.mean(errors, axis=-1)",
    )
    for wrong_dtype in (int, complex):
        other = augmentation(loss=lambda model, batch, dtype=wrong_dtype: batch[0][:, 0].astype(dtype))
        assert_error(
            ek.DTypeError,
            lambda other=other: other.objective((x,), key=key),
            "result of loss=",
            "dtype",
            "float",
            "real",
        )
    assert_error(ek.OptionError, lambda: augmentation().objective((x,), key=3), "one JAX key", "3", "key", "key=")
    text = "lambda x, *, key: x"
    assert_error(
        ek.OptionError, lambda: augmentation(transform=3), "transform= must be callable", "3", "function", text
    )
    assert_error(
        ek.OptionError, lambda: augmentation(transform=lambda x: x), "1 argument and key=", "lambda", "function", text
    )
    assert_error(
        ek.OptionError, lambda: augmentation(loss=len), "2 arguments", "len", "function", "loss=lambda model, batch"
    )
    assert_error(ek.OptionError, lambda: augmentation(epsilon=-1.0), "epsilon=", "-1", "≥ 0", "epsilon=0.6")
    assert_error(ek.OptionError, lambda: augmentation(epsilon=float("nan")), "epsilon=", "nan", "≥ 0", "epsilon=0.6")
    assert_error(ek.OptionError, lambda: augmentation(eps=1.0), "no option 'eps'", "eps=", "epsilon", "write epsilon=")
    assert_error(ek.OptionError, lambda: augmentation(rate=0.0), "rate=", "0", "> 0", "rate=0.0001")
    assert_error(ek.OptionError, lambda: augmentation(steps=0), "steps=", "0", "≥ 1", "steps=2")
    assert_error(
        ek.OptionError,
        lambda: Augmentation(3, shifted, loss=losses, epsilon=1.0),
        "model= must be",
        "3",
        "Module",
        "nnx.Linear",
    )


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(
    "batch", [(jnp.ones((0, 1)),), (), {"x": jnp.ones((4, 1))}, jnp.ones((4, 1)), (1.0,), (None,), "x"]
)
def test_batches_without_examples_are_refused(batch, deterministic):
    """The mean of no losses is NaN, and so would be the multiplier after it."""
    whole = augmentation()
    whole.deterministic = deterministic
    for call in (whole.objective, whole.worst):
        assert_error(
            ek.OptionError,
            lambda call=call: call(batch, key=jax.random.key(0)),
            "a batch must be a tuple",
            "",
            "(inputs, ...)",
            "pass (x, y)",
        )
    assert whole.multiplier[...] == 0


def test_losses_that_are_not_finite_stop_the_training():
    net = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    whole = Augmentation(net, lambda x, *, key: x * jnp.nan, loss=lambda m, b: m(b[0])[:, 0] ** 2, epsilon=1.0)
    rows = (np.ones((4, 1), np.float32),)
    assert_error(
        ek.OptionError,
        lambda: ek.train.fit(whole, Augmentation.objective, rows, epochs=2, key=jax.random.key(0)),
        "training diverged",
        "nan",
        "finite",
        "learning rate",
    )
