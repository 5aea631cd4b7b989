"""Flattened images, whose features have another order in checkpoints with channels first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from equikit._errors import OptionError
from equikit.weightspace.checkpoints._arrangements import Arrangement
from equikit.weightspace.checkpoints._matching import Found
from equikit.weightspace.checkpoints._sources import Parameter, Shapes
from equikit.weightspace.specifications._terms import Leaf, Product
from equikit.weightspace.tracing._trace import trace
from equikit.weightspace.tracing.programs._reading import INPUT, OUTPUT

SIDES = "outputs", "inputs"
"""The axes of a matrix of PyTorch."""
COLORS = 4
"""A convolution with at most so many inputs reads an image that is an input of the model."""


def with_images(
    found: Found,
    parameters: Mapping[str, Parameter],
    shapes: Shapes,
    apply: Callable[..., Any] | None,
    like: Any,
    inputs: Any,
) -> Found:
    """Return the arrangements with the features of flattened images in the order of the model.

    A model with channels last flattens an image pixel by pixel, PyTorch flattens it channel by channel. This concerns
    what a dense layer reads behind an image, and what it returns if that becomes an image.

    Args:
        found: one arrangement of each parameter.
        parameters: of the model, by name.
        shapes: of the arrays of the checkpoint.
        apply, like, inputs: the model, its parameters and its inputs, which tell what is flattened.

    Raises:
        OptionError: if features may be those of an image, and the model is not given or not understood.
    """
    kernels = {name for name in parameters if _is_kernel(parameters[name], found.get(name, ()), shapes)}
    # A kernel that is not found is computed by a function, as those of transposed convolutions in PyTorch.
    if not any(name not in found or any(_channels_first(one, shapes) for one in found[name]) for name in kernels):
        return found
    dense = {name: some[0] for name, some in found.items() if name not in kernels and len(some) == 1}
    doubtful = dict(_doubtful(dense, shapes))
    if apply is None:
        for name, side in doubtful.items():
            step = "write load(checkpoint, params, apply=apply, x=x), with the model and an input"
            raise _unknown(name, side, "names and shapes alone", step)
        return found
    spec = trace(apply, like, inputs)
    leaves = {leaf.name: leaf for leaf in spec.leaves}
    features = {label for name in kernels for axis in leaves[name].axes for label in axis.labels}
    known = {*spec.groups, *(label for label, reason in spec.reasons if reason in (INPUT, OUTPUT))}
    changed = {}
    for name, one in dense.items():
        new, unclear = _reordered(one, shapes[one.source], leaves[name], features, known)
        if name in doubtful and SIDES.index(doubtful[name]) in unclear:
            step = "in names, give a function that returns this parameter"
            raise _unknown(name, doubtful[name], f"{leaves[name]} in the traced model", step)
        changed[name] = [new]
    return found | changed


def _is_kernel(parameter: Parameter, some: Sequence[Arrangement], shapes: Shapes) -> bool:
    of_window = {"window", "transposed"} & {*parameter.roles}
    return bool(of_window) or any(_channels_first(one, shapes) for one in some)


def _channels_first(one: Arrangement, shapes: Shapes) -> bool:
    """Whether an array is the kernel of a convolution with its window last, in a model that has it first."""
    windows = len(shapes[one.source]) - 2
    return windows > 0 and one.axes == (*range(2, windows + 2), 1, 0)


def _doubtful(dense: Mapping[str, Arrangement], shapes: Shapes) -> Iterator[tuple[str, str]]:
    """Yield dense layers that may be beside a flattened image, by sizes, and whether by their inputs or outputs.

    Their inputs are outputs of no layer, but a multiple of the channels of some convolution; or their outputs are
    inputs of no layer, but a multiple of those of a convolution that no other layer can be in front of.
    """
    matrices = [shape for shape in shapes.values() if len(shape) > 1]
    returned, taken = {shape[0] for shape in shapes.values() if shape}, {shape[1] for shape in matrices}
    kernels = [shape for shape in matrices if len(shape) > 2]
    first = {shape[1] for shape in kernels if shape[1] > COLORS} - returned
    for name, one in dense.items():
        if len(shapes[one.source]) != 2:
            continue
        out, into = shapes[one.source]
        if into not in returned and any(_flattened(into, shape[0]) for shape in kernels):
            yield name, SIDES[1]
        elif out not in taken and any(_flattened(out, count) for count in first):
            yield name, SIDES[0]


def _flattened(size: int, channels: int) -> bool:
    return 1 < channels < size and size % channels == 0


def _reordered(
    one: Arrangement, shape: Sequence[int], leaf: Leaf, features: set[str], known: set[str]
) -> tuple[Arrangement, set[int]]:
    """Return an arrangement whose array has the features of an image before its positions, along each of its axes.

    The second result is the axes of the array along which the model does not tell whether there is an image.
    """
    atoms: list[tuple[int, int]] = []
    unclear = set()
    factors = [axis.factors if isinstance(axis, Product) else (axis,) for axis in leaf.axes]
    for place, run in enumerate(_runs(one, shape)):
        some = [(axis, number) for axis in run for number in range(len(factors[axis]))]
        labels = [{*factors[axis][number].labels} for axis, number in some]
        of_image = [bool(features & each) for each in labels]
        if sum(of_image) == 1 < len(some):
            first = of_image.index(True)
            some = [some[first], *some[:first], *some[first + 1 :]]
        elif sum(of_image) > 1 or not set().union(*labels) <= known:
            unclear.add(place)  # positions may be among them
        atoms += some
    split = tuple(factors[axis][number].size for axis, number in atoms)
    axes = tuple(atoms.index((axis, number)) for axis, each in enumerate(factors) for number in range(len(each)))
    joined = tuple(math.prod(factor.size for factor in each) for each in factors)
    return replace(one, split=split, axes=axes, joined=None if len(axes) == len(joined) else joined), unclear


def _runs(one: Arrangement, shape: Sequence[int]) -> Iterator[list[int]]:
    """Yield the axes of the parameter that each axis of the array is split into, in their order in the parameter."""
    start, back = 0, {place: axis for axis, place in enumerate(one.axes)}
    for number, size in enumerate(shape, 1):
        end = start
        while math.prod(one.split[start:end]) < size or (number == len(shape) and end < len(one.split)):
            end += 1
        yield sorted(back[place] for place in range(start, end))
        start = end


def _unknown(name: str, side: str, got: str, step: str) -> OptionError:
    return OptionError(
        f"the order of the {side} of {name!r} is not known: they may be a flattened image, with channels first",
        got=got,
        expected="a model that shows which axes it flattens",
        step=step,
    )
