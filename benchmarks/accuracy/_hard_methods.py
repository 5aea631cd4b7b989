"""The small networks that `hard_inputs` symmetrizes, and all methods that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import equikit as ek
from benchmarks.accuracy._hard_copies import Moves
from equikit.symmetrization.canonicalization import EnergyDescent, RotationCanonicalization, VectorNeurons
from equikit.symmetrization.frames import (
    PCA,
    QR,
    Alignment,
    Canonical,
    Directions,
    GroupAverage,
    Laplacian,
    Sort,
    Stochastic,
)

WIDTH, MOST = 8, 1000
_RNG = np.random.default_rng(5)
# float32, so that both dtypes compute the same function.
IN, MIX, OUT = (
    (_RNG.normal(size=shape) / shape[0] ** 0.5).astype(np.float32) for shape in ((4, WIDTH), (WIDTH, WIDTH), (WIDTH, 4))
)
SHIFTS = _RNG.normal(size=(MOST, WIDTH)).astype(np.float32)


SPACE = Moves("O(3)", translates=True)


def _mean(h: jax.Array, mask: Any) -> jax.Array:
    """Return the mean over the present points."""
    there = jnp.ones((h.shape[-2], 1), h.dtype) if mask is None else mask["p"][..., None].astype(h.dtype)
    return jnp.sum(h * there, axis=-2) / jnp.maximum(jnp.sum(there, axis=-2), 1)


def _network(x: jax.Array, scale: jax.Array, mask: Any, shifts: np.ndarray) -> dict[str, jax.Array]:
    d = x.shape[-1]
    to, mix, out, shift = (jnp.asarray(array, x.dtype) for array in (IN[:d], MIX, OUT, shifts))
    h = jnp.tanh(x / scale[..., None, None] @ to + shift)
    y = jnp.tanh(h @ mix + _mean(h, mask)[..., None, :] + 0.3) @ out
    pooled = _mean(y, mask)
    return {"energy": 1 + pooled[..., 0] ** 2 + pooled[..., 1], "vector": y[..., :d]}


def of_points(x: jax.Array, scale: jax.Array, mask: Any = None) -> dict[str, jax.Array]:
    """An energy, and a vector of each point, by a network that permutes with the points."""
    return _network(x, scale, mask, SHIFTS[0])


def of_order(x: Any, scale: jax.Array, mask: Any = None) -> dict[str, jax.Array]:
    """Return an energy, and a vector of each point, by a network that treats each position differently."""
    x = x["input"] if isinstance(x, dict) else x
    return _network(x, scale, mask, SHIFTS[: x.shape[-2]])


def of_nodes(x: jax.Array, scale: jax.Array, mask: Any = None) -> dict[str, jax.Array]:
    """Return an energy, and a number of each node, by a network that treats each position differently."""
    a = x / scale[..., None, None]
    mix, out, shift = (jnp.asarray(array, x.dtype) for array in (MIX, OUT[:, 0], SHIFTS[: x.shape[-1]]))
    h = jnp.tanh(a @ shift + 0.3 * shift)
    y = jnp.tanh(a @ (h @ mix) + shift) @ out
    pooled = _mean(y[..., None], mask)[..., 0]
    return {"energy": 1 + pooled + pooled**2, "vector": y}


def encoded(x: jax.Array, mask: Any = None) -> jax.Array:
    """Return the energy for descent, of `[inputs, N, 3]`, which does not change with the scale."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=(-1, -2), keepdims=True, initial=0))
    unit = x / jnp.where(largest > 0, largest, 1)
    square = jnp.max(jnp.sum(unit**2, axis=-1), axis=-1, initial=0)
    unit = unit / jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 1)[..., None, None]
    h = jnp.tanh(2 * unit @ jnp.asarray(IN[:3], x.dtype)) @ jnp.asarray(OUT[:, 0], x.dtype)
    return _mean(h[..., None], mask)[..., 0]


def _vectors() -> VectorNeurons:
    return VectorNeurons({"p x": 1}, 3, channels=8, layers=2, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(1))


@dataclass(frozen=True)
class Rival:
    """A method, and the inputs on which it is tested.

    Attributes:
        how: makes the method.
        about: one line.
        moves: how its inputs are moved.
        backbone: the network that is symmetrized.
        flagged: the rival of the same method without refusals, by which its reports are judged.
        keyed: whether it is called with a key.
        ranked: whether each point comes with its number, which moves with it.
    """

    how: Callable[[], Any]
    about: str
    moves: Moves = SPACE
    backbone: Callable[..., Any] = of_points
    flagged: str | None = None
    keyed: bool = False
    ranked: bool = False

    @property
    def listed(self) -> str:
        """Its list of inputs."""
        return "graphs" if self.moves.matrices else "events" if self.moves.turns == "O(1,3)" else "clouds"

    def symmetrized(self, size: int) -> Any:
        """The backbone made equivariant, for inputs of a size."""
        groups: dict[str, Any] = {"O(3)": ek.O(3), "H(3)": ek.H(3), "O(1,3)": ek.Lorentz, "": ek.Fixed(3)}
        label, bound = "p x", {"x": groups[self.moves.turns]}
        if self.moves.matrices:
            label, bound = "p p", {}
        return ek.symmetrize(
            self.backbone,
            {"input": label, **({"rank": "p"} if self.ranked else {})},
            {"energy": "", "vector": "p" if self.moves.matrices else label},
            how=self.how(),
            translate={"input": "x"} if self.moves.translates else None,
            channels=False,
            p=ek.S if self.moves.permutes else ek.Fixed(size),
            **bound,
        )


METHODS: dict[str, Rival] = {
    "PCA": Rival(lambda: PCA(on_degenerate="flag"), 'principal axes, `on_degenerate="flag"`'),
    "PCA, error": Rival(lambda: PCA(), 'the same, `"error"`', flagged="PCA"),
    "PCA, sample": Rival(lambda: PCA(on_degenerate="sample"), 'the same, `"sample"`', flagged="PCA", keyed=True),
    "PCA, weighted": Rival(lambda: PCA(on_degenerate="weighted"), 'the same, `"weighted"`', flagged="PCA"),
    "Stochastic": Rival(lambda: Stochastic(PCA(on_degenerate="flag")), "`Stochastic(PCA())` without a key"),
    "PCA, Sort": Rival(
        lambda: [PCA(on_degenerate="flag"), Sort(on_degenerate="flag")],
        "principal axes, then coordinates sorted",
        backbone=of_order,
    ),
    "QR": Rival(
        lambda: QR(on_degenerate="flag"),
        "Gram-Schmidt of points in a given order",
        Moves("O(3)", permutes=False),
        of_order,
    ),
    "Sort, QR": Rival(
        lambda: [Sort(terms=("rank",)), QR(on_degenerate="flag")],
        "points sorted by their numbers, then Gram-Schmidt",
        backbone=of_order,
        ranked=True,
    ),
    "Alignment": Rival(lambda: Alignment(on_degenerate="flag"), "alignments with pairs of points, weighted"),
    "RotationCanonicalization": Rival(
        lambda: RotationCanonicalization(_vectors(), on_degenerate="flag"), "Gram-Schmidt of vectors of `VectorNeurons`"
    ),
    "EnergyDescent": Rival(
        lambda: EnergyDescent(
            encoded, steps=5, starts=PCA(on_degenerate="flag"), on_degenerate="flag", invariant_to="p"
        ),
        "five steps of descent from principal axes",
    ),
    "Sort": Rival(lambda: Sort(on_degenerate="flag"), "coordinates sorted", Moves(), of_order),
    "Directions": Rival(
        lambda: Directions(on_degenerate="flag"), "points sorted along many directions, weighted", Moves(), of_order
    ),
    "GroupAverage": Rival(lambda: GroupAverage("x"), "all 48 elements of H(3)", Moves("H(3)")),
    "QR, O(1,3)": Rival(
        lambda: QR(on_degenerate="flag"),
        "Gram-Schmidt under the Lorentz group",
        Moves("O(1,3)", permutes=False),
        of_order,
    ),
    "Canonical": Rival(
        lambda: Canonical(on_degenerate="flag"), "canonical order of nodes", Moves(matrices=True), of_nodes
    ),
    "Laplacian": Rival(
        lambda: Laplacian(on_degenerate="flag"), "nodes sorted by the spectrum", Moves(matrices=True), of_nodes
    ),
}
