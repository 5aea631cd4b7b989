"""Matrices behind flattened images: where the checkpoint has channels first, their inputs have another order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from equikit._errors import OptionError
from equikit.weightspace.checkpoints._arrangements import Arrangement
from equikit.weightspace.checkpoints._matching import Found
from equikit.weightspace.checkpoints._sources import Parameter, Shapes
from equikit.weightspace.specifications._terms import Leaf, Product
from equikit.weightspace.tracing._trace import trace


def with_images(
    found: Found,
    parameters: Mapping[str, Parameter],
    shapes: Shapes,
    apply: Callable[..., Any] | None,
    like: Any,
    inputs: Any,
) -> Found:
    """Return the arrangements with the inputs of matrices in the order of the model.

    A model with channels last flattens an image row by row, with all channels of a pixel together. PyTorch flattens it
    channel by channel.

    Args:
        found: one arrangement of each parameter.
        parameters: of the model, by name.
        shapes: of the arrays of the checkpoint.
        apply, like, inputs: the model, its parameters and its inputs, which tell what is behind an image.

    Raises:
        OptionError: if a matrix may be behind an image, and the model is not given or not understood.
    """
    channels = [one.shape[-1] for some in found.values() for one in some if _channels_first(one, shapes)]
    if not channels:
        return found
    widths = {shape[0] for shape in shapes.values() if shape}
    doubtful = {
        name: some[0]
        for name, some in found.items()
        if len(some) == 1
        and len(shapes[some[0].source]) == 2
        and (inputs_of := shapes[some[0].source][1]) not in widths
        and any(1 < count < inputs_of and inputs_of % count == 0 for count in channels)
    }
    if not doubtful:
        return found
    if apply is None:
        step = "write load(checkpoint, params, apply=apply, x=x), with the model and an input"
        raise _unknown(next(iter(doubtful)), "names and shapes alone", step)
    leaves = {leaf.name: leaf for leaf in trace(apply, like, inputs).leaves}
    kernels = [name for name, one in parameters.items() if "window" in one.roles]
    own = {label for name in kernels for label in _labels(leaves[name], parameters[name], "out")}
    changed = {name: [_reordered(one, leaves[name], parameters[name], own)] for name, one in doubtful.items()}
    return found | changed


def _channels_first(one: Arrangement, shapes: Shapes) -> bool:
    """Whether an array is the kernel of a convolution with its window last, in a model that has it first."""
    windows = len(shapes[one.source]) - 2
    return windows > 0 and len(one.axes) == windows + 2 and one.axes == (*range(2, windows + 2), 1, 0)


def _labels(leaf: Leaf, parameter: Parameter, role: str) -> list[str]:
    return [label for axis, own in zip(leaf.axes, parameter.roles, strict=True) if own == role for label in axis.labels]


def _reordered(one: Arrangement, leaf: Leaf, parameter: Parameter, channels: set[str]) -> Arrangement:
    """Return an arrangement whose array has the channels first among the factors of its inputs."""
    factors = [axis.factors if isinstance(axis, Product) else (axis,) for axis in leaf.axes]
    summed = [axis for axis, role in enumerate(parameter.roles) if role == "in"]
    inside = [factor for axis in summed for factor in factors[axis]]
    place = [number for number, factor in enumerate(inside) if channels & set(factor.labels)]
    if len(place) != 1 or len(inside) < 2:
        raise _unknown(
            leaf.name, f"{leaf} in the traced model", "in names, give a function that returns this parameter"
        )
    return _cut(one, [[factor.size for factor in some] for some in factors], summed, place[0])


def _cut(one: Arrangement, sizes: Sequence[Sequence[int]], summed: Sequence[int], first: int) -> Arrangement:
    """Return an arrangement with axes cut into factors, one of which comes first in the array among the summed ones."""
    order = sorted(range(len(one.axes)), key=lambda axis: one.axes[axis])
    # Each factor is an axis of the parameter, and its number there.
    atoms = [(axis, number) for axis in order for number in range(len(sizes[axis]))]
    inside = [atom for axis in summed for atom in ((axis, number) for number in range(len(sizes[axis])))]
    start = min(atoms.index(atom) for atom in inside)
    rest = [atom for atom in atoms if atom not in inside]
    inside = [inside[first], *inside[:first], *inside[first + 1 :]]
    atoms = [*rest[:start], *inside, *rest[start:]]
    split = tuple(sizes[axis][number] for axis, number in atoms)
    axes = tuple(atoms.index((axis, number)) for axis in range(len(sizes)) for number in range(len(sizes[axis])))
    return replace(one, split=split, axes=axes, joined=tuple(math.prod(some) for some in sizes))


def _unknown(name: str, got: str, step: str) -> OptionError:
    return OptionError(
        f"the order of the inputs of {name!r} is not known: they may be a flattened image, with channels first",
        got=got,
        expected="a model that flattens the image behind its last convolution",
        step=step,
    )
