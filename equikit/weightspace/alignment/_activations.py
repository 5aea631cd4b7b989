"""Compute the activations of two networks on the same data, as arrays with labeled axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.weightspace.alignment._losses import refuse_empty
from equikit.weightspace.specifications._evaluation import Seen, evaluated, labeled
from equikit.weightspace.specifications._specification import Specification

DATA = "data"
"""The label of all axes of activations that are not permuted."""


@dataclass(frozen=True)
class Activations:
    """The activations of both networks: arrays that depend on the data.

    Attributes:
        labels: the labels of the axes of each array.
        one, two: the arrays of the first and the second network.
    """

    labels: dict[str, tuple[str, ...]]
    one: dict[str, jax.Array]
    two: dict[str, jax.Array]


def _standardized(array: np.ndarray, labels: tuple[str, ...]) -> jax.Array:
    """Standardize over the data at each label index to mean 0 and norm 1, so that inner products are correlations.

    Correlations of complex arrays are the real parts of their inner products.
    """
    data = tuple(place for place, label in enumerate(labels) if label == DATA)
    with np.errstate(all="ignore"):  # entries that are not finite are refused later
        wide = _over_largest(array.astype(jnp.promote_types(array.dtype, jnp.float32)), data)
        centered = wide - wide.mean(axis=data, keepdims=True) if data else wide
        centered = _over_largest(centered, data)
        length = np.sqrt(np.sum(_square(centered), axis=data, keepdims=True))
        return jnp.asarray(centered / np.where(length > 0, length, 1))


def _square(array: np.ndarray) -> np.ndarray:
    """Return the squared absolute values."""
    found: np.ndarray = (array * array.conj()).real
    return found


def _over_largest(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Divide by the largest entry along some axes, so that squares neither overflow nor underflow."""
    largest = np.max(np.abs(array), axis=axes, keepdims=True, initial=0)
    found: np.ndarray = array / np.where(largest > 0, largest, 1)
    return found


def _in_double(array: np.ndarray) -> np.ndarray:
    """Return an array of any floating-point dtype in double precision."""
    wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
    return wide.astype(np.promote_types(wide.dtype, np.float64))


def _masked(array: np.ndarray, labels: tuple[str, ...]) -> Any:
    """Return a mask of data that are -inf at all indices of the labels, such as masked attention logits."""
    kept = tuple(place for place, label in enumerate(labels) if label != DATA)
    return np.all(array == -np.inf, axis=kept, keepdims=True)


def activations(
    spec: Specification, apply: Callable[..., Any], one: Any, two: Any, inputs: tuple[Any, ...]
) -> Activations:
    """Return all arrays of both networks that depend on the data and have a labeled axis, standardized.

    Raises:
        OptionError: if an array is not finite; data that are -inf at all indices of the labels are masked.
    """
    found = Activations({}, {}, {})
    for number, (labels, mine, other) in enumerate(_pairs(spec, apply, one, two, inputs)):
        name = f"{number}"
        found.labels[name] = labels
        found.one[name], found.two[name] = (_standardized(array, labels) for array in (mine, other))
    for side, arrays in (("params_a", found.one), ("params_b", found.two)):
        for name, array in arrays.items():
            _refuse_not_finite(side, array, found.labels[name])
    return found


def _pairs(
    spec: Specification, apply: Callable[..., Any], one: Any, two: Any, inputs: tuple[Any, ...]
) -> Iterator[tuple[tuple[str, ...], np.ndarray, np.ndarray]]:
    """Yield the labels and both networks' values of each array that depends on the data; masked data are zero.

    The values are on the host, where small arrays of many shapes need no compilation.
    """
    program = labeled(spec.leaves, spec.groups, apply, one, inputs)
    names = {axis.root: label for label, axis in program.axes.items()}
    seen: tuple[list[Seen], list[Seen]] = [], []
    for params, its in zip((one, two), seen, strict=True):
        evaluated(program, params, inputs, its.append)
    for mine, other in zip(*seen, strict=True):
        labels = tuple(names.get(axis, DATA) for axis in mine.axes)
        if set(labels) - {DATA}:
            arrays = np.asarray(mine.array), np.asarray(other.array)
            masked = _masked(arrays[0], labels) & _masked(arrays[1], labels)
            first, second = (np.where(masked, np.zeros((), array.dtype), array) for array in arrays)
            yield labels, first, second


@dataclass(frozen=True)
class _Moments:
    """First and second moments, summed over the data, of the values of both networks at the n indices of the labels.

    Attributes:
        labels: the labels of the array, without the data axes.
        shape: the sizes of the labels.
        count, total, products: the number of data, the sums `[2n]`, and the sums of products `[2n, 2n]` with complex
            conjugates.
    """

    labels: tuple[str, ...]
    shape: tuple[int, ...]
    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, labels: tuple[str, ...], *arrays: np.ndarray) -> _Moments:
        """Return the sums of one batch."""
        kept = [place for place, label in enumerate(labels) if label != DATA]
        shape = tuple(arrays[0].shape[place] for place in kept)
        order = [*kept, *(place for place in range(len(labels)) if place not in kept)]
        rows = np.concatenate([_in_double(one).transpose(order).reshape(math.prod(shape), -1) for one in arrays])
        return cls(tuple(labels[place] for place in kept), shape, rows.shape[1], rows.sum(1), rows @ rows.conj().T)

    def __add__(self, other: _Moments) -> _Moments:
        """Add the sums of two batches."""
        total, products = self.total + other.total, self.products + other.products
        return _Moments(self.labels, self.shape, self.count + other.count, total, products)

    def correlated(self) -> tuple[np.ndarray, np.ndarray]:
        """Return arrays `[*shape, 2n]` of both networks; inner products over the last axis are the correlations."""
        centered = (self.products - np.outer(self.total, self.total.conj()) / max(self.count, 1)).real
        length = np.sqrt(np.maximum(np.diag(centered), 0))
        # The computed variance of a constant activation is only rounding error.
        still = length**2 <= 8 * self.count * np.finfo(float).eps * np.diag(self.products).real
        scale = np.where(still, 0, 1 / np.where(still, 1, length))
        values, vectors = np.linalg.eigh(scale[:, None] * centered * scale)
        factor = vectors * np.sqrt(np.maximum(values, 0))
        one, two = np.split(factor, 2)
        return one.reshape(*self.shape, -1), two.reshape(*self.shape, -1)


def streamed(
    spec: Specification, apply: Callable[..., Any], one: Any, two: Any, batches: Iterable[tuple[Any, ...]]
) -> Activations:
    r"""Compute `activations` over all batches, with one batch in memory at a time.

    Matching needs only inner products over the data. For an array with n label indices, the sums of the 2n values and
    of their \((2n)^2\) products suffice; a factor of the correlation matrix replaces the activations.

    Raises:
        OptionError: as for `activations`, or if there are no batches, or one is empty.
    """
    sums: list[_Moments] = []
    count = 0
    for inputs in batches:
        refuse_empty(f"batches[{count}]", inputs)
        found = [_Moments.of(labels, *arrays) for labels, *arrays in _pairs(spec, apply, one, two, inputs)]
        for batch in found:
            for side, total in zip(("params_a", "params_b"), np.split(batch.total, 2), strict=True):
                _refuse_not_finite(side, total, batch.labels)
        sums = [before + now for before, now in zip(sums, found, strict=True)] if sums else found
        count += 1
    _checks.some("batches", range(count), got="no batches", step="pass a list, or a generator that was not used before")
    named = {f"{name}": (moments, *moments.correlated()) for name, moments in enumerate(sums)}
    return Activations(
        {name: (*moments.labels, DATA) for name, (moments, _, _) in named.items()},
        {name: jnp.asarray(mine) for name, (_, mine, _) in named.items()},
        {name: jnp.asarray(other) for name, (_, _, other) in named.items()},
    )


def correlations(
    spec: Specification, apply: Callable[..., Any], one: Any, two: Any, batches: Iterable[tuple[Any, ...]]
) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Return, for each array, its labels and the correlation of both networks over the data at each index of them.

    For complex arrays it is the real part of the correlation. Where an activation is constant in both networks, it is
    1; in one of them alone, 0.

    Raises:
        OptionError: as for `activations`.
    """
    sums: list[np.ndarray] = []
    found: list[tuple[str, ...]] = []
    for inputs in batches:
        found, now = [], []
        for labels, *arrays in _pairs(spec, apply, one, two, inputs):
            data = tuple(place for place, label in enumerate(labels) if label == DATA)
            first, second = map(_in_double, arrays)
            products = _square(first), _square(second), (first * second.conj()).real
            parts = (np.ones_like(products[0]), first, second, *products)
            now.append(np.stack([part.sum(axis=data) for part in parts]))
            found.append(tuple(label for label in labels if label != DATA))
            for side, total in (("params_a", now[-1][1]), ("params_b", now[-1][2])):
                _refuse_not_finite(side, total, found[-1])
        sums = [before + each for before, each in zip(sums, now, strict=True)] if sums else now
    return [(labels, _correlation(*total)) for labels, total in zip(found, sums, strict=True)]


def _correlation(count: Any, one: Any, two: Any, ones: Any, twos: Any, both: Any) -> np.ndarray:
    count, ones, twos, both = (part.real for part in (count, ones, twos, both))  # they are stacked with complex sums
    squares = [wide - _square(total) / count for wide, total in ((ones, one), (twos, two))]
    # The computed variance of a constant activation is only rounding error.
    still = [part <= 8 * count * np.finfo(float).eps * wide for part, wide in zip(squares, (ones, twos), strict=True)]
    length = np.sqrt(np.where(still[0] | still[1], 1, squares[0] * squares[1]))
    found: np.ndarray = np.where(
        still[0] | still[1], 1.0 * (still[0] & still[1]), (both - (one * two.conj()).real / count) / length
    )
    return found


def _refuse_not_finite(side: str, array: Any, labels: tuple[str, ...]) -> None:
    step = "see whether the data are finite, or training diverged; or write how='weights'"
    _checks.finite(f"activations of {side} with axes {', '.join(labels)}", array, step=step)
