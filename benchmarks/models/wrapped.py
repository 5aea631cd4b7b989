"""Rivals made by `ek.symmetrize`: the network of a task, its symmetry, and a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from benchmarks.core.fitting import Apply, Rows
from benchmarks.core.trained import Rival
from benchmarks.models.backbones import BACKBONES
from equikit.symmetrization import Info

How = Any
"""The argument `how` of `ek.symmetrize`."""

Draws = Literal["never", "training", "always"]
"""When a method gets a key, and so samples elements; without a key it takes the mean over all of them."""


@dataclass(frozen=True)
class Symmetry:
    """The symmetry of the arrays of a task.

    Attributes:
        inputs: name to labels of each input array, in their order.
        output: the labels of the output.
        groups: the group of each label.
        translate: name to label of all positions among the inputs and "output".
        axes: name of the input whose principal axes are the frame.
        weighted: computes that input from the others, if it is not one of them; the network does not see it.
    """

    inputs: Mapping[str, str]
    output: str
    groups: Mapping[str, object]
    translate: Mapping[str, str] = field(default_factory=dict)
    axes: str = "places"
    weighted: Callable[[Mapping[str, jax.Array]], jax.Array] | None = None

    def named(self, inputs: Rows) -> dict[str, jax.Array]:
        """Input arrays by name."""
        arrays = inputs if isinstance(inputs, tuple) else (inputs,)
        found = dict(zip(self.inputs, arrays, strict=False))
        return found if self.weighted is None else found | {self.axes: self.weighted(found)}


def _by_mass(named: Mapping[str, jax.Array]) -> jax.Array:
    """Return √m x, whose second moments determine the tensor of inertia."""
    return jnp.sqrt(named["masses"])[..., None] * named["places"]


SYMMETRIES = {
    "n-body": Symmetry(
        {"charges": "p", "places": "p x", "velocities": "p x"},
        "p x",
        {"p": ek.S, "x": ek.O(3)},
        {"places": "x", "output": "x"},
    ),
    "inertia": Symmetry(
        {"masses": "p", "places": "p x", "weighted": "p x"},
        "x x",
        {"p": ek.S, "x": ek.O(3)},
        axes="weighted",
        weighted=_by_mass,
    ),
    "scattering": Symmetry({"momenta": "p x"}, "", {"p": ek.Fixed(4), "x": ek.Lorentz}, axes="momenta"),
    "digits": Symmetry({"images": "i j"}, "c", {"i": ek.Fixed(8), "j": ek.Fixed(8), "c": ek.Fixed(10)}),
    "digit clouds": Symmetry({"points": "p x"}, "c", {"p": ek.S, "x": ek.Fixed(2), "c": ek.Fixed(10)}),
}


class Backbone(nnx.Module):
    """A network that takes its arrays by name, as `ek.symmetrize` gives them."""

    def __init__(self, network: nnx.Module, apply: Apply, names: tuple[str, ...]) -> None:
        self.network = network
        self.apply = apply
        self.names = names

    def __call__(self, named: dict[str, jax.Array]) -> jax.Array:
        """Apply the network; no network of a task is random."""
        arrays = tuple(named[name] for name in self.names)
        return self.apply(self.network, arrays if len(arrays) > 1 else arrays[0], jax.random.key(0))


def symmetrized(
    task: str,
    seed: int,
    how: How | Sequence[How],
    *,
    draws: Draws = "never",
    penalty: Callable[[Info], jax.Array] | None = None,
    groups: Mapping[str, object] | None = None,
) -> Rival:
    """The network of a task made equivariant.

    Args:
        task: its name.
        seed: of the parameters of the network.
        how: a method, or several.
        draws: see `Draws`.
        penalty: a term of the loss, computed from the method's `Info`.
        groups: groups that replace the groups of the task.
    """
    symmetry = SYMMETRIES[task]
    make, apply = BACKBONES[task]
    seen = tuple(name for name in symmetry.inputs if symmetry.weighted is None or name != symmetry.axes)
    backbone = Backbone(make(seed), apply, seen)
    module = ek.symmetrize(
        backbone,
        dict(symmetry.inputs),
        {"output": symmetry.output},
        groups={**symmetry.groups, **(groups or {})},
        translate=symmetry.translate or None,
        channels=False,
        how=how,
    )
    assert isinstance(module, nnx.Module)

    def test(module: Any, inputs: Rows, key: jax.Array) -> jax.Array:
        module.eval()
        found: jax.Array = module(symmetry.named(inputs), key=key if draws == "always" else None)["output"]
        return found

    def train(module: Any, inputs: Rows, key: jax.Array) -> tuple[jax.Array, jax.Array | float]:
        found, info = module(symmetry.named(inputs), key=None if draws == "never" else key, with_info=True)
        return found["output"], 0.0 if penalty is None else penalty(info)

    return Rival(module, test, train)
