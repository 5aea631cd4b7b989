"""A monitor follows the error of a model in `ek.train.fit` and in other loops."""

from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import Monitor

X = np.random.default_rng(0).normal(size=(8, 4, 2)).astype(np.float32)


class Flat(nnx.Module):
    """A perceptron of all points, with dropout in training."""

    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(8, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(jnp.tanh(self.hidden(x.reshape(len(x), -1)))))


def loss(model, batch):
    return jnp.mean((model(batch[0]) - batch[1]) ** 2)


def test_a_monitor_is_a_callback_of_fit():
    seen = []
    monitor = Monitor("p -> ()", data=X, every=2, log=seen.append, p=ek.S)
    target = X.sum((1, 2))[:, None]
    fitted = ek.train.fit(Flat(nnx.Rngs(0)), loss, (X, target), epochs=5, key=jax.random.key(0), callback=monitor)
    assert [entry.step for entry in monitor.history] == [0, 2, 4] == [entry.step for entry in seen]
    assert [entry.training for entry in monitor.history] == pytest.approx(fitted.losses[::2, 0])
    assert all(entry.error > 0.01 > entry.rounding for entry in monitor.history)
    # The last entry is of the model after the last epoch, in evaluation mode.
    monitor(6, model=fitted.model)
    assert monitor.history[-1].error == pytest.approx(monitor.history[-2].error)


def test_other_loops_and_the_picture():
    monitor = Monitor("p -> p", data=X, every=5, p=ek.S)
    for step in range(11):
        monitor(step, model=lambda x, step=step: x + step * jnp.arange(4.0)[:, None])
    errors = [entry.error for entry in monitor.history]
    assert errors[0] <= monitor.history[0].rounding < errors[1] < errors[2]
    picture = ElementTree.fromstring(monitor.svg())
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.get("points").split()) for line in lines] == [3, 3]
    assert monitor._repr_svg_() == monitor.svg()
    assert ElementTree.fromstring(Monitor("p -> p", data=X, p=ek.S).svg()) is not None


def test_arguments():
    with pytest.raises(ek.OptionError, match="every= must be"):
        Monitor("p -> p", data=X, every=0, p=ek.S)
    with pytest.raises(ek.OptionError, match="log= must be callable"):
        Monitor("p -> p", data=X, log=3, p=ek.S)
    with pytest.raises(ek.ShapeError):
        Monitor("p p -> p", data=X[0], p=ek.S)
