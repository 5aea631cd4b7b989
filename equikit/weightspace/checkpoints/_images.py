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
    behind = {
        name: some[0]
        for name, some in found.items()
        if len(some) == 1 and any(_may_read(shapes[some[0].source], count) for count in channels)
    }
    widths = {shape[0] for shape in shapes.values() if shape}
    doubtful = [name for name, one in behind.items() if shapes[one.source][1] not in widths]
    if apply is None and doubtful:
        step = "write load(checkpoint, params, apply=apply, x=x), with the model and an input"
        raise _unknown(doubtful[0], "names and shapes alone", step)
    if apply is None or not behind:
        return found
    spec = trace(apply, like, inputs)
    leaves = {leaf.name: leaf for leaf in spec.leaves}
    kernels = [name for name, one in parameters.items() if "window" in one.roles]
    features = {
        label
        for name in kernels
        for axis, role in zip(leaves[name].axes, parameters[name].roles, strict=True)
        for label in axis.labels
        if role == "out"
    }
    changed = {}
    for name, one in behind.items():
        leaf, summed = leaves[name], [axis for axis, role in enumerate(parameters[name].roles) if role == "in"]
        new = _reordered(one, leaf, summed, features, {*spec.groups})
        if new is None and name in doubtful:
            step = "in names, give a function that returns this parameter"
            raise _unknown(name, f"{leaf} in the traced model", step)
        changed[name] = [new or one]
    return found | changed


def _may_read(shape: Sequence[int], count: int) -> bool:
    """Whether a matrix with this shape, outputs first, may read images with so many features."""
    return len(shape) == 2 and 1 < count < shape[1] and shape[1] % count == 0


def _channels_first(one: Arrangement, shapes: Shapes) -> bool:
    """Whether an array is the kernel of a convolution with its window last, in a model that has it first."""
    windows = len(shapes[one.source]) - 2
    return windows > 0 and len(one.axes) == windows + 2 and one.axes == (*range(2, windows + 2), 1, 0)


def _reordered(
    one: Arrangement, leaf: Leaf, summed: Sequence[int], features: set[str], permuted: set[str]
) -> Arrangement | None:
    """Return an arrangement whose array has the features of an image first among its inputs.

    It is the same one if neurons alone are inputs, and `None` if the model does not tell.
    """
    factors = [axis.factors if isinstance(axis, Product) else (axis,) for axis in leaf.axes]
    inside = [factor for axis in summed for factor in factors[axis]]
    of_image = [bool(features & {*factor.labels}) for factor in inside]
    if sum(of_image) == 1 < len(inside):
        return _cut(one, [[factor.size for factor in some] for some in factors], summed, of_image.index(True))
    if {label for factor in inside for label in factor.labels} <= permuted and (len(inside) == 1 or not any(of_image)):
        return one
    return None


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
