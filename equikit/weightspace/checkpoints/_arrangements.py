"""How an array of a checkpoint becomes a parameter: a part of it, its axes split, permuted and joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from equikit.weightspace.tracing._roles import Roles


@dataclass(frozen=True)
class Arrangement:
    """A parameter as an array of a checkpoint: `np.split`, `reshape`, `transpose`, in this order.

    Attributes:
        source: the name of the array.
        split: the shape before axes are permuted.
        axes: the permutation, as in `numpy.transpose`.
        part: which of how many equal parts of the array it is, and along which axis; `None` for all of it.
    """

    source: str
    split: tuple[int, ...]
    axes: tuple[int, ...]
    part: tuple[int, int, int] | None = None

    def leaf(self, array: np.ndarray) -> np.ndarray:
        """Return the parameter."""
        if self.part is not None:
            number, count, axis = self.part
            array = np.split(array, count, axis)[number]
        return array.reshape(self.split).transpose(self.axes)

    def stored(self, leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the array, or its part, whose shape is given: the inverse of `leaf`."""
        return leaf.transpose(np.argsort(self.axes)).reshape(shape)

    def __str__(self) -> str:
        text = self.source
        if self.part is not None:
            number, count, axis = self.part
            text = f"np.split({text}, {count}, {axis})[{number}]"
        return text if self.axes == tuple(sorted(self.axes)) else f"{text}.transpose{self.axes}"


def part_of(arrangement: Arrangement, part: tuple[int, int, int] | None, source: str) -> Arrangement:
    """Return the arrangement of a part of an array, from the arrangement of the part alone."""
    return replace(arrangement, part=part, source=source)


def arrangements(
    source: str, shape: Sequence[int], target: Sequence[int], roles: Roles, kind: str, *, turned: bool | None
) -> list[Arrangement]:
    """Return all arrangements of an array that give a parameter.

    Args:
        source: the name of the array; one of PyTorch if it ends with `weight` or `bias`.
        shape: its shape.
        target: the shape of the parameter.
        roles: what the model does with the axes of the parameter.
        kind: the last word of the parameter's name, which tells the roles where the model does not.
        turned: whether a matrix has its inputs first, unlike the convention of PyTorch; `None` if it is unknown.
    """
    of_torch = source.rpartition(".")[2].endswith(("weight", "bias"))
    if math.prod(shape) != math.prod(target):
        return []
    if not of_torch:
        return [Arrangement(source, tuple(target), tuple(range(len(target))))] if tuple(shape) == tuple(target) else []
    if len(shape) < 2 or "looked up" in roles or kind == "embedding":
        flat = len(shape) < 2 or tuple(shape) == tuple(target)
        return [Arrangement(source, tuple(target), tuple(range(len(target))))] if flat else []
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], Arrangement] = {}
    for out, summed, window in _sides(target, roles, kind, len(shape) - 2):
        for first, second in ((out, summed),) * (turned is not True) + ((summed, out),) * (turned is not False):
            order = [*first, *second, *window]
            sizes = [math.prod(target[i] for i in side) for side in (first, second)]
            if [*sizes, *(target[i] for i in window)] == list(shape):
                split, axes = tuple(target[i] for i in order), tuple(int(i) for i in np.argsort(order))
                found[split, axes] = Arrangement(source, split, axes)
    return list(found.values())


def _sides(target: Sequence[int], roles: Roles, kind: str, windows: int) -> Iterator[tuple[list[int], ...]]:
    """Yield axes that are kept, summed over, and of a window: from the roles, or every choice that the name allows."""
    every = list(range(len(target)))
    if None not in roles:
        yield tuple([i for i in every if roles[i] == role] for role in ("out", "in", "window"))
        return
    for cut in range(1, len(every) - windows):
        left, right = every[windows : windows + cut], every[windows + cut :]
        if kind != "weight":  # inputs before outputs, as in `kernel` of Flax and `w` of Haiku
            yield right, left, every[:windows]
        if kind not in ("kernel", "w"):  # outputs before inputs, as in PyTorch and Equinox
            before = every[: len(every) - windows]
            yield before[:cut], before[cut:], every[len(every) - windows :]
