"""Fit a smooth network to data, so that its derivatives can be asked for symmetries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from equikit import _checks, train

Array = NDArray[np.float64]

FLAT = 1e-6
"""Directions with a smaller standard deviation than this part of the largest one are left out."""

FEWEST = 10
"""The smallest number of samples: a tenth is held out."""
ENTRIES = "pass samples with one number or more"


@dataclass(frozen=True, slots=True, eq=False)
class _Whitening:
    """An affine map to coordinates of zero mean and unit covariance.

    Attributes:
        shift, forward: z = (x - shift) forward, for flattened rows x.
        backward: x = z backward + shift.
    """

    shift: Array
    forward: Array
    backward: Array

    @classmethod
    def of(cls, rows: Array) -> _Whitening:
        shift = np.mean(rows, axis=0)
        values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False).reshape(rows.shape[1], rows.shape[1]))
        kept = values > FLAT**2 * max(float(values.max()), 1e-300)
        scale = np.sqrt(values[kept])
        return cls(shift, vectors[:, kept] / scale, (vectors[:, kept] * scale).T)


class _Perceptron(nnx.Module):
    """A multilayer perceptron with a smooth activation."""

    def __init__(self, widths: Sequence[int], rngs: nnx.Rngs) -> None:
        pairs = itertools.pairwise(widths)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairs])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers[:-1]:
            x = jax.nn.silu(layer(x))
        found: jax.Array = self.layers[-1](x)
        return found


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)  # jit refers to a function weakly
class Surrogate:
    """A fitted network, as a function of arrays like those that it was fitted to.

    Attributes:
        error: the root mean square error on validation samples relative to their standard deviation.
    """

    error: float
    _model: _Perceptron
    _inputs: _Whitening
    _outputs: _Whitening
    _names: tuple[str, ...] | None
    _given: dict[str, tuple[int, ...]]
    _shapes: dict[str, tuple[int, ...]]
    _single: bool

    def __call__(self, data: Any) -> Any:
        """Return outputs for an array `[samples, ...]`, or for a dictionary of arrays, as in the fit.

        Raises:
            ShapeError, DTypeError: if an array does not have the axes of the fit, or is not real.
        """
        if self._names is None:
            data = {"": data}
        else:
            _checks.same_names("the data", data, self._names, step="pass an array for each name of the fit")
        arrays: list[Any] = []
        for name, shape in self._given.items():
            samples = len(arrays[0]) if arrays else "samples"
            array = _checks.array(str(name) or "data", data[name], [samples, *shape])
            arrays.append(jnp.reshape(array, (len(array), math.prod(shape))))
        rows = jnp.concatenate(arrays, axis=1)
        kind = rows.dtype
        z = (rows - jnp.asarray(self._inputs.shift, kind)) @ jnp.asarray(self._inputs.forward, kind)
        y = self._model(z) @ jnp.asarray(self._outputs.backward, kind) + jnp.asarray(self._outputs.shift, kind)
        found, start = {}, 0
        for name, shape in self._shapes.items():
            size = math.prod(shape)
            found[name] = y[:, start : start + size].reshape(len(rows), *shape)
            start += size
        return next(iter(found.values())) if self._single else found


def surrogate(
    data: Any,
    targets: Any,
    *,
    key: jax.Array,
    hidden: Sequence[int] = (128, 128, 128),
    epochs: int = 100,
    batch: int = 256,
    learning_rate: float = 3e-3,
) -> Surrogate:
    """Fit a multilayer perceptron to data: the first of two steps to find the symmetry of a data set.

    Inputs and targets are whitened, so that the fit does not depend on linear coordinates. A tenth of the samples is
    held out, and the parameters of the best epoch are kept.

    Args:
        data: an array `[samples, ...]`, or a dictionary of arrays.
        targets: an array `[samples, ...]`, or a dictionary of arrays.
        key: a JAX key, for the initial parameters and the order of samples.
        hidden: the widths of hidden layers.
        epochs: the number of passes over the data.
        batch: samples in each step.
        learning_rate: the largest rate of Adam; it falls to zero as a cosine.

    Raises:
        OptionError: if an option has no meaning, there are fewer than ten samples, data or targets are constant, or
            training diverges.
        ShapeError, DTypeError: if an array is not real, or the numbers of samples differ.

    Cost: of training: epochs times samples times the square of the width.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(600, 2, 1))
        >>> model = surrogate(x, np.sum(x**2, axis=1), key=jax.random.key(0), hidden=(16,), epochs=2)
        >>> model(jnp.ones((3, 2, 1))).shape
        (3, 1)
    """
    widths = _checks.widths("hidden", hidden, fewest=1)
    _checks.count("epochs", epochs, least=1, example=100)
    batch = _checks.count("batch", batch, least=1, example=256)
    _checks.number("learning_rate", learning_rate, above=0, example=3e-3)
    inputs, names = _named(data)
    outputs, several = _named(targets)
    samples = len(_checks.array("data", next(iter(inputs.values())), ["samples", "*axes"]))
    for what, arrays in (("data", inputs), ("targets", outputs)):
        for array in arrays.values():
            _checks.array(what, array, [samples, "*axes"])
            _checks.finite(f"the {what}", array, step="remove samples that are not finite")
            _checks.some(f"numbers in the {what}", range(array.size), got=f"shape {list(array.shape)}", step=ENTRIES)
    _checks.count("the number of samples", samples, least=FEWEST, step="pass more samples")
    x, y = (np.concatenate([np.reshape(a, (samples, -1)) for a in part.values()], 1) for part in (inputs, outputs))
    x, y = x.astype(np.float64), y.astype(np.float64)
    into, out = _Whitening.of(x), _Whitening.of(y)
    z = ((x - into.shift) @ into.forward).astype(np.float32)
    t = ((y - out.shift) @ out.forward).astype(np.float32)
    for what, columns in (("data", z), ("targets", t)):
        _checks.some(
            f"changes in the {what}",
            range(columns.shape[1]),
            got="the same in all samples",
            step=f"pass {what} that vary",
        )
    order = np.random.default_rng(np.asarray(jax.random.key_data(_checks.key(key))).tolist()).permutation(samples)
    held, rest = order[: max(1, samples // 10)], order[max(1, samples // 10) :]
    model = _Perceptron([z.shape[1], *widths, t.shape[1]], nnx.Rngs(params=key))
    fitted = train.fit(
        model,
        lambda network, rows: jnp.mean((network(rows[0]) - rows[1]) ** 2),
        (z[rest], t[rest]),
        (z[held], t[held]),
        epochs=epochs,
        key=key,
        optimizer=learning_rate,
        batch=min(batch, len(rest), len(held)) if len(held) < batch else batch,
    )
    error = float(np.sqrt(fitted.losses[fitted.best, 1]))
    given, shapes = ({name: tuple(a.shape[1:]) for name, a in part.items()} for part in (inputs, outputs))
    return Surrogate(error, fitted.model, into, out, names, given, shapes, several is None)


def _named(given: Any) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    if isinstance(given, Mapping):
        _checks.some("arrays", given, got="an empty dictionary", step='pass {"x": x}')
        return dict(given), tuple(given)
    return {"": given}, None
