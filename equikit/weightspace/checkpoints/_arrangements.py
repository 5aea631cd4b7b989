"""How an array of a checkpoint becomes a parameter: a part of it, its axes split, permuted and joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from equikit.weightspace.tracing._roles import Roles


@dataclass(frozen=True)
class Arrangement:
    """A parameter as an array of a checkpoint: `np.split`, `reshape`, `transpose`, `reshape`, in this order.

    Attributes:
        source: the name of the array.
        split: the shape before axes are permuted.
        axes: the permutation, as in `numpy.transpose`.
        part: which of how many equal parts of the array it is, and along which axis; `None` for all of it.
        joined: the shape of the parameter if permuted axes are joined, otherwise `None`.
    """

    source: str
    split: tuple[int, ...]
    axes: tuple[int, ...]
    part: tuple[int, int, int] | None = None
    joined: tuple[int, ...] | None = None

    def leaf(self, array: np.ndarray) -> np.ndarray:
        """Return the parameter."""
        if self.part is not None:
            number, count, axis = self.part
            array = np.split(array, count, axis)[number]
        return array.reshape(self.split).transpose(self.axes).reshape(self.shape)

    def stored(self, leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the array, or its part, whose shape is given: the inverse of `leaf`."""
        # Writers of files copy memory as it is, so that the entries have to be in order.
        permuted = leaf.reshape([self.split[axis] for axis in self.axes])
        return np.ascontiguousarray(permuted.transpose(np.argsort(self.axes)).reshape(shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the parameter."""
        return self.joined or tuple(self.split[axis] for axis in self.axes)

    def __str__(self) -> str:
        text = self.source
        if self.part is not None:
            number, count, axis = self.part
            text = f"np.split({text}, {count}, {axis})[{number}]"
        if self.joined is not None:
            return f"{text}.reshape{self.split}.transpose{self.axes}.reshape{self.joined}"
        return text if self.axes == tuple(sorted(self.axes)) else f"{text}.transpose{self.axes}"


Order = Literal["outputs first", "inputs first", "as it is"]
"""The order of the axes of a matrix or kernel: of PyTorch, of Flax, Haiku and GPT-2, or of the model itself."""


def arrangements(
    source: str, shape: Sequence[int], target: Sequence[int], roles: Roles, word: str, order: Order | None
) -> list[Arrangement]:
    """Return all arrangements of an array that give a parameter.

    Args:
        source: the name of the array.
        shape: its shape.
        target: the shape of the parameter.
        roles: what the model does with the axes of the parameter.
        word: the last word of the parameter's name, which tells the roles where the model does not.
        order: the order of the axes of the array, `None` if it is unknown.
    """
    same, whole = tuple(shape) == tuple(target), Arrangement(source, tuple(target), tuple(range(len(target))))
    if math.prod(shape) != math.prod(target) or "transposed" in roles:
        return []
    if len(shape) < 2:
        return [whole]
    if order == "as it is" or "looked up" in roles or word == "embedding":
        return [whole] if same else []
    if order == "inputs first" and word in ("kernel", "w") and same:
        return [whole]
    found: dict[tuple[tuple[int, ...], ...], Arrangement] = {}
    for out, summed, window in _sides(target, roles, word, len(shape) - 2):
        for each in (order,) if order else ("outputs first", "inputs first"):
            places = [out, summed, *([i] for i in window)]
            if each == "inputs first":
                places = [*places[2:], summed, out]
            if [math.prod(target[i] for i in some) for some in places] == list(shape):
                axes = [i for some in places for i in some]
                split, back = tuple(target[i] for i in axes), tuple(int(i) for i in np.argsort(axes))
                # Axes of one entry make no difference.
                key = tuple(n for n in split if n > 1), tuple(i for i in back if split[i] > 1)
                found.setdefault(key, Arrangement(source, split, back))
    return list(found.values())


def _sides(target: Sequence[int], roles: Roles, word: str, windows: int) -> Iterator[tuple[list[int], ...]]:
    """Yield axes that are kept, summed over, and of a window: from the roles, or every choice that the name allows."""
    every = list(range(len(target)))
    if None not in roles:
        yield tuple([i for i in every if roles[i] == role] for role in ("out", "in", "window"))
        return
    for cut in range(1, len(every) - windows):
        left, right = every[windows : windows + cut], every[windows + cut :]
        if word != "weight":  # inputs before outputs, as in `kernel` of Flax and `w` of Haiku
            yield right, left, every[:windows]
        if word not in ("kernel", "w"):  # outputs before inputs, as in PyTorch and Equinox
            before = every[: len(every) - windows]
            yield before[:cut], before[cut:], every[len(every) - windows :]
