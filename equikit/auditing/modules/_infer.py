"""Infer how a change of the input acts on an activation: not at all, by the group, by a permutation, by a matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from equikit.auditing._action import wide
from equikit.auditing.modules._match import MOST_ROWS, is_determined, matrix_error, permutation_error, rms, subsets
from equikit.groups import Group

State = Literal["kept", "broken", "unknown"]

MARGIN = 6.0
"""How many times the rounding error of an activation an action may be missed."""
MARGIN_OF_FITS = 24.0
"""The same for fitted matrices, to which the rounding errors of both sides contribute."""
MOST_AXES = 3


@dataclass(frozen=True, slots=True)
class Found:
    """How an activation changes with the input.

    Attributes:
        state: `"kept"` if it changes by an action, `"broken"` if by none that was tried, otherwise `"unknown"`.
        text: the action, or why it is unknown.
        error: the smallest error, relative to the root mean square of the entries; of the first action if it is kept.
        rounding: the error that rounding explains, relative as well.
        is_own: false if a permutation or a matrix is fitted, or would be with more samples.
    """

    state: State
    text: str
    error: float
    rounding: float
    is_own: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """An action to try: its name, and the activation at g x that it predicts for each change of the input."""

    text: str
    predict: Callable[[np.ndarray, int], np.ndarray]
    compared: Callable[[np.ndarray], np.ndarray] = lambda array: array


class Change(Protocol):
    """A change of the input with several instances, such as elements of a group."""

    def trials(self, shape: tuple[int, ...]) -> Iterator[Trial]:
        """Yield actions on an activation `[samples, ...]`, the simplest first."""

    @property
    def fits(self) -> bool:
        """Whether a fitted matrix is an action."""

    @property
    def permutes(self) -> bool:
        """Whether a fitted permutation is an action."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Elements of the group of one label, all other labels at rest."""

    name: str
    group: Group
    elements: tuple[np.ndarray, ...]

    @property
    def fits(self) -> bool:
        """A representation is a fitted matrix."""
        return True

    @property
    def permutes(self) -> bool:
        """Every group may permute other sets, such as edges, or its own elements in a regular representation."""
        return True

    def trials(self, shape: tuple[int, ...]) -> Iterator[Trial]:
        """Yield the identity, then the group on every set of axes of its size, also inside of flattened axes."""
        yield Trial("invariant", lambda array, _: array)
        if self.group.reflects:
            yield Trial("invariant up to the determinant", lambda array, i: array * self._sign(i))
        n = self.group.n
        assert n is not None
        if n < 2:
            return
        for split, text in _splits(shape, n):
            axes = [axis for axis in range(1, len(split)) if split[axis] == n]
            for chosen in _chosen(axes):
                where = f"{self.name} on axis {', '.join(map(str, chosen))}{text}"
                yield Trial(where, self._acting(split, chosen, odd=False))
                if self.group.reflects:
                    yield Trial(f"{where}, times the determinant", self._acting(split, chosen, odd=True))
                if not self.group.keeps_norm:
                    yield Trial(f"the dual of {where}", self._acting(split, chosen, odd=False, dual=True))

    def _sign(self, place: int) -> float:
        return float(np.sign(np.linalg.det(self.group.matrix(self.elements[place]))))

    def _acting(
        self, split: tuple[int, ...], axes: Sequence[int], *, odd: bool, dual: bool = False
    ) -> Callable[[np.ndarray, int], np.ndarray]:
        def predict(array: np.ndarray, place: int) -> np.ndarray:
            # A complex action on real numbers is one on complex numbers without imaginary parts.
            moved = array.reshape(split).astype(np.result_type(array, self.elements[place]))
            for axis in axes:
                if dual:
                    matrix = np.linalg.inv(self.group.matrix(self.elements[place])).T
                    moved = np.moveaxis(np.tensordot(matrix, moved, (1, axis)), 0, axis)
                else:
                    moved = self.group.act(self.elements[place], moved, axis)
            return moved.reshape(array.shape) * (self._sign(place) if odd else 1.0)

        return predict


@dataclass(frozen=True, slots=True)
class Unfitted:
    """A change after which neither a matrix nor a permutation is fitted."""

    name: str

    @property
    def fits(self) -> bool:
        """Whether a matrix is fitted."""
        return False

    @property
    def permutes(self) -> bool:
        """Whether a permutation is fitted."""
        return False


@dataclass(frozen=True, slots=True)
class Shifted(Unfitted):
    """Translations of the input."""

    def trials(self, shape: tuple[int, ...]) -> Iterator[Trial]:
        """Yield the identity; the other possibility, a shift by the same vector for all samples, is a comparison."""
        yield Trial("invariant", lambda array, _: array)
        if shape[0] > 1:
            yield Trial("shifted", lambda array, _: array - array.mean(0), lambda array: array - array.mean(0))


@dataclass(frozen=True, slots=True)
class Padded(Unfitted):
    """Masked entries appended to axes of size n, so that they have size n + more; present entries must not change."""

    n: int
    more: int

    def trials(self, shape: tuple[int, ...]) -> Iterator[Trial]:
        """Yield the identity on present entries."""
        yield Trial("present entries unchanged", lambda array, _: array)


def infer(
    change: Change, first: np.ndarray, seconds: Sequence[np.ndarray], noise: float, batch: tuple[int, ...]
) -> Found:
    """Find how an activation changes.

    Args:
        change: the change of the input.
        first: the activation at x.
        seconds: the activations at every changed x.
        noise: the root mean square of the errors that rounding explains.
        batch: the batch axes of the inputs, which tell the batch axes of the activation.
    """
    arrays = [batch_first(wide(array), batch) for array in (first, *seconds)]
    if isinstance(change, Padded):
        cut = [_cut(array, arrays[0].shape, change.more) for array in arrays[1:]]
        if any(array is None for array in cut):
            return Found("unknown", f"shape {list(first.shape)} becomes {list(seconds[0].shape)}", np.nan, np.nan)
        arrays = [arrays[0], *(array for array in cut if array is not None)]
    if any(array.shape != arrays[0].shape for array in arrays):
        return Found("unknown", "its shape changes", np.nan, np.nan)
    if not all(np.isfinite(array).all() for array in arrays):
        return Found("unknown", "not finite", np.nan, np.nan)
    scale = rms(arrays[0]) or 1.0
    base, moved = arrays[0], arrays[1:]
    best, text = np.inf, ""
    for trial in change.trials(base.shape):
        error = max(rms(trial.predict(base, i) - trial.compared(array)) for i, array in enumerate(moved))
        best = min(best, error)
        if error <= MARGIN * noise:
            return Found("kept", trial.text, error / scale, noise / scale)
    if change.permutes:
        for axis in range(1, base.ndim if base.size else 0):
            if not 1 < base.shape[axis] <= MOST_ROWS:
                continue
            error = max(permutation_error(base, array, axis) for array in moved)
            best = min(best, error)
            if error <= MARGIN * noise:
                return Found("kept", f"permutes axis {axis}", error / scale, noise / scale, is_own=False)
    tried = False
    if change.fits:
        for axes in subsets(base.shape):
            if not is_determined(base.shape, axes):
                continue
            tried = True
            fits = [matrix_error(base, array, axes, noise) for array in moved]
            error, norm = max(error for error, _ in fits), max(norm for _, norm in fits)
            best = min(best, error)
            if error <= MARGIN_OF_FITS * noise * max(1.0, norm):
                text = f"a matrix on axis {', '.join(map(str, axes))}"
                return Found("kept", text, error / scale, noise / scale, is_own=False)
    if change.fits and not tried and base[0].size > 1:
        return Found("unknown", "too few samples to fit a matrix", best / scale, noise / scale, is_own=False)
    return Found("broken", "no action", best / scale, noise / scale)


def _chosen(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for count in range(1, min(len(axes), MOST_AXES) + 1):
        yield from itertools.combinations(axes, count)


def _splits(shape: tuple[int, ...], n: int) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the shape, and shapes in which an axis of k n entries is written as [k, n] or as [n, k]."""
    yield shape, ""
    for axis in range(1, len(shape)):
        k = shape[axis] // n
        if k > 1 and shape[axis] == k * n:
            for pair in dict.fromkeys(((k, n), (n, k))):
                text = f" of axis {axis} as {list(pair)}"
                yield (*shape[:axis], *pair, *shape[axis + 1 :]), text


def batch_first(array: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
    """Return an activation as `[samples, ...]`: an axis of the samples comes first, a flattened one is divided.

    An activation without samples, such as positions in a sequence, is one sample.
    """
    samples = math.prod(batch)
    if not batch or not array.ndim:
        return array[None]
    if array.shape[: len(batch)] == batch:
        return array.reshape(samples, *array.shape[len(batch) :])
    if array.shape[0] != samples and samples in array.shape:
        return np.moveaxis(array, array.shape.index(samples), 0)
    if array.shape[0] and array.shape[0] % samples == 0:
        return array.reshape(samples, -1, *array.shape[1:]) if array.shape[0] > samples else array
    return array[None]


def _cut(array: np.ndarray, shape: tuple[int, ...], more: int) -> np.ndarray | None:
    """Return the present entries of an activation of a padded input, or `None` if it has another shape."""
    if array.ndim != len(shape) or any(b - a not in (0, more) for a, b in zip(shape, array.shape, strict=True)):
        return None
    return array[tuple(map(slice, shape))]
