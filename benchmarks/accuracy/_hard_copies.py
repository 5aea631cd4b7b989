"""Hard inputs and their moved copies: rounded to a dtype, moved in float64, and rounded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Input:
    """One input, and the family it is counted with.

    Attributes:
        name, family: for tables.
        array: points `[N, 3]`, momenta `[N, 4]` or an adjacency matrix `[N, N]`, in float64.
        scale: a typical size of its entries, by which the backbone divides.
        speed: the speed of the boosts that move momenta, as a fraction of the speed of light.
    """

    name: str
    family: str
    array: np.ndarray
    scale: float
    speed: float = 0.0


@dataclass(frozen=True)
class Moves:
    """How copies are moved.

    Attributes:
        turns: the group that moves vectors: "O(3)", "H(3)", "O(1,3)", or "" for none.
        permutes: whether points, or nodes, come in another order.
        translates: whether the origin moves.
        matrices: whether inputs are adjacency matrices.
    """

    turns: str = ""
    permutes: bool = True
    translates: bool = False
    matrices: bool = False


@dataclass(frozen=True)
class Copies:
    """Inputs and moved copies, in float64 but rounded to a dtype; the first copy of each is the unmoved input.

    Attributes:
        arrays: `[inputs, copies, size, d]`, of matrices `[inputs, copies, size, size]`.
        there, order: `[inputs, copies, size]`: which points there are, and which point of the input each of them is.
        turns: `[inputs, copies, d, d]`; `None` of matrices.
        scale: `[inputs]`.
    """

    arrays: np.ndarray
    there: np.ndarray
    order: np.ndarray
    turns: np.ndarray | None
    scale: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of inputs and of copies."""
        return self.there.shape[0], self.there.shape[1]

    def together(self, values: np.ndarray, covariant: bool = False) -> np.ndarray:
        """Convert the points of copies, `[inputs, copies, size, d]`, to the order and frame of one copy.

        Points are in the order of the input, in the frame of reference of the last copy. Absent points are zero. Of
        matrices, a second axis of nodes is ordered too. Gradients are covariant: they turn by the inverse transpose.
        """
        if self.turns is not None:
            by = self.turns[:, -1:] @ np.linalg.inv(self.turns)
            by = np.linalg.inv(by).swapaxes(-1, -2) if covariant else by
            values = np.einsum("icpx,icyx->icpy", values, by)
        axes = [2, 3] if self.turns is None and values.shape[3] == self.there.shape[2] else [2]
        for axis in axes:
            index, there = self.order, self.there[:, :1]
            if axis == 3:
                index, there = index[:, :, None], there[:, :, None]
            else:
                index, there = index[..., None], there[..., None]
            found = np.zeros_like(values)
            np.put_along_axis(found, np.broadcast_to(index, values.shape), values, axis=axis)
            values = np.where(there, found, 0)
        return values


def rotations(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Random elements `[*shape, 3, 3]` of O(3)."""
    q, r = np.linalg.qr(generator.normal(size=(*shape, 3, 3)))
    found: np.ndarray = q * np.sign(np.einsum("...ii->...i", r))[..., None, :]
    return found


def signed_permutations(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Random elements `[*shape, 3, 3]` of H(3)."""
    order = np.argsort(generator.random((*shape, 3)), axis=-1)
    found: np.ndarray = np.eye(3)[order] * generator.choice([-1.0, 1.0], size=(*shape, 1, 3))
    return found


def boosts(speeds: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Sample boosts `[*shape, 4, 4]` of given speeds in random directions, after random elements of O(3)."""
    direction = generator.normal(size=(*speeds.shape, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    factor = 1 / np.sqrt((1 - speeds) * (1 + speeds))
    boost, turn = np.zeros((2, *speeds.shape, 4, 4))
    boost[..., 0, 0] = factor
    boost[..., 0, 1:] = boost[..., 1:, 0] = (factor * speeds)[..., None] * direction
    outer = direction[..., :, None] * direction[..., None, :]
    boost[..., 1:, 1:] = np.eye(3) + (factor - 1)[..., None, None] * outer
    turn[..., 0, 0], turn[..., 1:, 1:] = 1, rotations(speeds.shape, generator)
    found: np.ndarray = boost @ turn
    return found


def random_turns(turns: str, shape: tuple[int, int], speeds: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random elements `[*shape, d, d]` of a group."""
    if turns == "O(1,3)":
        return boosts(np.broadcast_to(speeds[:, None], shape), generator)
    kinds = {"O(3)": rotations, "H(3)": signed_permutations}
    return kinds[turns](shape, generator) if turns else np.broadcast_to(np.eye(3), (*shape, 3, 3)).copy()


def largest(values: np.ndarray) -> np.ndarray:
    """The largest finite absolute value of each input, `[inputs]`."""
    axes = tuple(range(1, values.ndim))
    found: np.ndarray = np.max(np.where(np.isfinite(values), np.abs(values), 0), axis=axes, initial=0)
    return found


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """Round to the nearest numbers of a dtype, in float64."""
    with np.errstate(all="ignore"):
        return array.astype(dtype).astype(np.float64)


def moved(
    inputs: Sequence[Input], moves: Moves, dtype: str, size: int, copies: int, seed: int = 0, shift: float = 1.0
) -> Copies:
    """Return the inputs, and copies that are moved at random; smaller ones are padded with zeros.

    Args:
        shift: by how many times the scale of the input the origin is moved. Positions are rounded after that.
    """
    generator, count = np.random.default_rng(seed + 1), len(inputs)
    there = np.arange(size) < np.array([len(one.array) for one in inputs])[:, None, None]
    there = np.broadcast_to(there, (count, copies, size))
    arrays = np.stack([_padded(one.array, size, moves.matrices) for one in inputs])[:, None]
    arrays = np.broadcast_to(rounded(arrays, dtype), (count, copies, *arrays.shape[2:]))
    scale = np.array([one.scale for one in inputs])
    if not moves.translates:  # the backbone sees how far away the points are
        scale = np.maximum(scale, largest(arrays[:, 0]))
    order = np.argsort(generator.random(there.shape) + ~there, axis=-1)  # absent points stay last
    order = order if moves.permutes else np.broadcast_to(np.arange(size), there.shape).copy()
    order[:, 0] = np.arange(size)
    new = np.take_along_axis(arrays, order[..., None], axis=2)
    if moves.matrices:
        new = np.take_along_axis(new, order[:, :, None, :], axis=3)
        return Copies(new, there, order, None, scale)
    turns = random_turns(moves.turns, (count, copies), np.array([one.speed for one in inputs]), generator)
    turns[:, 0] = np.eye(turns.shape[-1])
    with np.errstate(all="ignore"):
        new = np.einsum("icpx,icyx->icpy", new, turns)
        if moves.translates:
            new = new + shift * generator.normal(size=(count, copies, 1, 3)) * scale[:, None, None, None]
    new = rounded(np.where(there[..., None], new, 0), dtype)
    new[:, 0] = arrays[:, 0]
    return Copies(new, there, order, turns, scale)


def _padded(array: np.ndarray, size: int, matrix: bool) -> np.ndarray:
    more = size - len(array)
    return np.pad(array, ((0, more), (0, more if matrix else 0)))
