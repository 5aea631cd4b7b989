"""A method as one compiled program: outputs, forces and reports of a batch of inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accuracy._hard_copies import Copies
from benchmarks.accuracy._hard_methods import Rival


@dataclass(frozen=True)
class Results:
    """What a method returned for inputs `[*batch]`, in float64.

    Attributes:
        energy: `[*batch]`.
        vector: vectors of points `[*batch, size, d]`, or numbers of nodes `[*batch, size, 1]`.
        force: the gradient of the energy with respect to the input, times the scale, `[*batch, size, d]`.
        reported, refused: `[*batch]`.
    """

    energy: np.ndarray
    vector: np.ndarray
    force: np.ndarray
    reported: np.ndarray
    refused: np.ndarray


class Program:
    """A method for inputs of one size; one compiled program for each dtype.

    Args:
        rival: the method.
        size: of the inputs, the padded points included.
        batch: how many inputs are evaluated at once.
        forces: whether the gradient is computed.
    """

    def __init__(self, rival: Rival, size: int, batch: int = 128, forces: bool = True) -> None:
        self.rival, self.size, self.batch, self.forces = rival, size, batch, forces
        self.symmetrized = rival.symmetrized(size)
        self._run: Callable[..., Any] = jax.jit(self._traced)

    def _traced(self, array: Any, scale: Any, mask: Any, rank: Any, key: Any) -> tuple[Any, ...]:
        def energy(array: Any) -> Any:
            x = {"input": array, "rank": rank} if self.rival.ranked else array
            y, info = self.symmetrized(x, scale, mask=mask, key=key, with_info=True)
            return jnp.sum(y["energy"]), (y, info)

        if self.forces:
            force, (y, info) = jax.grad(energy, has_aux=True)(array)
            force = force * jnp.expand_dims(scale, range(1, force.ndim))
        else:
            y, info = energy(array)[1]
            force = jnp.zeros_like(array)
        vector = y["vector"].reshape(*array.shape[:2], -1)
        return y["energy"], vector, force, info.degenerate | info.refused, info.refused

    def rows(
        self, arrays: np.ndarray, there: np.ndarray, rank: np.ndarray, scale: np.ndarray, dtype: str
    ) -> tuple[np.ndarray, ...]:
        """The fields of `Results` for inputs `[rows, size, d]`."""
        found = []
        key = jax.random.key(0) if self.rival.keyed else None
        for start in range(0, len(arrays), self.batch):
            at = np.arange(start, start + self.batch) % len(arrays)  # all batches are of one shape
            mask = {"p": there[at]} if self.rival.moves.permutes else None
            with np.errstate(all="ignore"):
                given = arrays[at].astype(dtype), scale[at].astype(dtype), mask, rank[at].astype(dtype)
            found.append([np.asarray(array) for array in self._run(*given, key)])
        joined = (np.concatenate(parts)[: len(arrays)] for parts in zip(*found, strict=True))
        return tuple(array if array.dtype == bool else array.astype(np.float64) for array in joined)

    def __call__(self, copies: Copies, dtype: str) -> Results:
        """The results of all copies, `[inputs, copies]`."""
        count, several = copies.shape

        def flat(array: np.ndarray) -> np.ndarray:
            return array.reshape(count * several, *array.shape[2:])

        scale = np.repeat(copies.scale, several)
        found = self.rows(flat(copies.arrays), flat(copies.there), flat(copies.order), scale, dtype)
        return Results(*(array.reshape(count, several, *array.shape[1:]) for array in found))
