"""The rivals made by `ek.symmetrize`: the network of a task, what acts on its inputs and outputs, and a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from flax import nnx

import equikit as ek
from benchmarks._symmetrization_backbones import BACKBONES
from benchmarks._symmetrization_rivals import Rival
from benchmarks._symmetrization_training import Apply, Rows

How = Any
"""What `ek.symmetrize` takes as `how`."""


@dataclass(frozen=True)
class Symmetry:
    """What acts on the arrays of a task.

    Attributes:
        inputs: name to labels of each input array, in their order.
        output: the labels of the output.
        groups: what is bound to each label.
        translate: name to label of the terms that are positions, of inputs and "output".
    """

    inputs: Mapping[str, str]
    output: str
    groups: Mapping[str, object]
    translate: Mapping[str, str] = field(default_factory=dict)

    def named(self, inputs: Rows) -> dict[str, jax.Array]:
        """Input arrays by name."""
        arrays = inputs if isinstance(inputs, tuple) else (inputs,)
        return dict(zip(self.inputs, arrays, strict=True))


SYMMETRIES = {
    "n-body": Symmetry(
        {"charges": "p", "places": "p x", "velocities": "p x"},
        "p x",
        {"p": ek.S, "x": ek.O(3)},
        {"places": "x", "output": "x"},
    ),
    "inertia": Symmetry({"masses": "p", "places": "p x"}, "x x", {"p": ek.S, "x": ek.O(3)}),
    "scattering": Symmetry({"momenta": "p x"}, "", {"p": ek.Fixed(4), "x": ek.Lorentz}),
    "digit clouds": Symmetry({"points": "p x"}, "c", {"p": ek.S, "x": ek.Fixed(2), "c": ek.Fixed(10)}),
}


class Backbone(nnx.Module):
    """A network that takes its arrays by name, as `ek.symmetrize` gives them."""

    def __init__(self, network: nnx.Module, apply: Apply, single: bool) -> None:
        self.network = network
        self.apply = apply
        self.single = single

    def __call__(self, named: dict[str, jax.Array]) -> jax.Array:
        """Apply the network; no network of a task draws anything at random."""
        arrays = tuple(named.values())
        return self.apply(self.network, arrays[0] if self.single else arrays, jax.random.key(0))


def symmetrized(task: str, seed: int, how: How | Sequence[How], *, draws: bool = False) -> Rival:
    """The network of a task made equivariant.

    Args:
        task: its name.
        seed: of the parameters of the network.
        how: a method, or several.
        draws: whether training gives the method a key, so that it draws elements, and tests do not.
    """
    symmetry = SYMMETRIES[task]
    make, apply = BACKBONES[task]
    backbone = Backbone(make(seed), apply, len(symmetry.inputs) == 1)
    module = ek.symmetrize(
        backbone,
        dict(symmetry.inputs),
        {"output": symmetry.output},
        groups=symmetry.groups,
        translate=symmetry.translate or None,
        channels=False,
        how=how,
    )
    assert isinstance(module, nnx.Module)

    def test(module: Any, inputs: Rows, key: jax.Array) -> jax.Array:
        found: jax.Array = module(symmetry.named(inputs))["output"]
        return found

    def train(module: Any, inputs: Rows, key: jax.Array) -> jax.Array:
        found: jax.Array = module(symmetry.named(inputs), key=key)["output"]
        return found

    return Rival(module, test, train if draws else None)


def _axes(task: str) -> How:
    """Principal axes of the positions; inputs whose axes are not determined are used all the same."""
    return ek.frames.PCA(terms=("places",), on_degenerate="flag")


def frame(task: str, seed: int) -> Rival:
    """The mean over the frame of principal axes, in training and in the tests."""
    return symmetrized(task, seed, _axes(task))


def stochastic_frame(task: str, seed: int) -> Rival:
    """One element of the frame at random in training, the mean over all in the tests."""
    return symmetrized(task, seed, ek.frames.Stochastic(_axes(task)), draws=True)


def sorted_frame(task: str, seed: int) -> Rival:
    """The same, with bodies sorted by mass or points by their coordinates."""
    if task == "digit clouds":
        return symmetrized(task, seed, ek.frames.Sort())
    return symmetrized(task, seed, [ek.frames.Stochastic(_axes(task)), ek.frames.Sort(terms=("masses",))], draws=True)


MAKERS: dict[str, Callable[[str, int], Rival]] = {
    "frame": frame,
    "stochastic frame": stochastic_frame,
    "sorted": sorted_frame,
}
