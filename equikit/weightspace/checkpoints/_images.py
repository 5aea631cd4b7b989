"""Flattened images, whose features have another order in checkpoints with channels first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
        OptionError: if features may come from an image, and the model is not given or does not tell their order.
    """
    kernels = {name for name, one in parameters.items() if _is_kernel(one, found.get(name, ()), shapes)}
    # A kernel that is not found is computed by a function, such as one of a transposed convolution.
    if not any(name not in found or _outputs_first(parameters[name], found[name], shapes) for name in kernels):
        return found
    dense = {name: some[0] for name, some in found.items() if name not in kernels and len(some) == 1}
    used = {one.source for one in dense.values()}
    doubtful = dict(_doubtful(dense, shapes, [shape for name, shape in shapes.items() if name not in used]))
    if apply is None and doubtful:
        step = "write load(checkpoint, params, apply=apply, x=x), with the model and an input"
        raise _unknown(*next(iter(doubtful.items())), "names and shapes alone", step)
    if apply is None:
        return found
    images = _Images.of(apply, like, inputs, parameters, kernels)
    changed = {}
    for name, one in dense.items():
        shape = shape_of(one, shapes)
        new, unclear = images.reordered(one, shape, name)
        if name in doubtful and SIDES.index(doubtful[name]) in images.open_axes(one, shape, name):
            unclear.add(SIDES.index(doubtful[name]))
        if unclear:
            side = SIDES[min(unclear)] if len(shape) == 2 else "entries"
            step = "in names, give a function that returns this parameter"
            raise _unknown(name, side, f"{images.leaves[name]} in the traced model", step)
        changed[name] = [new]
    return found | changed


def shape_of(one: Arrangement, shapes: Shapes) -> tuple[int, ...]:
    """Return the shape of the array, or of its part, that is a parameter."""
    shape = shapes[one.source]
    if one.part is None:
        return shape
    _, count, axis = one.part
    return (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])


def _is_kernel(parameter: Parameter, some: Sequence[Arrangement], shapes: Shapes) -> bool:
    """Whether a parameter is the kernel of a convolution, as the model or the order of its axes shows."""
    if {"window", "transposed"} & {*parameter.roles}:
        return True
    unknown = not some and len(parameter.shape) > 2 and {*parameter.roles} == {None}
    return unknown or any(_window_last(one, shapes) for one in some)


def _window_last(one: Arrangement, shapes: Shapes) -> bool:
    """Whether an array is a kernel with its window last, of a model that has the window first."""
    windows = len(shapes[one.source]) - 2
    return windows > 0 and one.axes == (*range(2, windows + 2), 1, 0)


def _outputs_first(parameter: Parameter, some: Sequence[Arrangement], shapes: Shapes) -> bool:
    """Whether the array of a kernel has its outputs first, as in libraries that have channels first."""
    outputs = [axis for axis, role in enumerate(parameter.roles) if role == "out"]
    return any(
        _window_last(one, shapes) or (bool(outputs) and next(_runs(one, shape_of(one, shapes))) == outputs)
        for one in some
    )


def _doubtful(
    dense: Mapping[str, Arrangement], shapes: Shapes, others: Sequence[tuple[int, ...]]
) -> Iterator[tuple[str, str]]:
    """Yield dense layers that may read or return a flattened image, judged by sizes, and which of the two.

    Their inputs are a multiple of the channels of a convolution, and neither features of pixels nor what other layers
    make of these; or their outputs are a multiple of what a convolution reads, in a model that ends in a convolution.
    """
    kernels = [shape for shape in others if len(shape) > 2]
    matrices = {name: shape for name, one in dense.items() if len(shape := shape_of(one, shapes)) == 2}
    returned, read = {shape[0] for shape in kernels}, {shape[1] for shape in kernels}
    taken = {shape[1] for shape in shapes.values() if len(shape) > 1}
    features, reached = set[int](), {*returned}
    while reached != features:
        features = {*reached}
        reached |= {out for out, into in matrices.values() if into in features}
    for name, (out, into) in matrices.items():
        if into not in features and any(_flattened(into, count) for count in returned):
            yield name, SIDES[1]
        elif not returned <= taken and any(_flattened(out, count) for count in read if count > COLORS):
            yield name, SIDES[0]


def _flattened(size: int, channels: int) -> bool:
    return 1 < channels < size and size % channels == 0


@dataclass(frozen=True)
class _Images:
    """What a traced model tells of images.

    Attributes:
        leaves: the parameters.
        features: labels of the channels of images.
        ends: labels of inputs and outputs of the model.
        neurons: labels of neurons, and `ends`; labels that are neither these nor `features` count positions.
        windows: the largest number of axes of an image.
    """

    leaves: Mapping[str, Leaf]
    features: frozenset[str]
    ends: frozenset[str]
    neurons: frozenset[str]
    windows: int

    @classmethod
    def of(cls, apply: Any, like: Any, inputs: Any, parameters: Mapping[str, Parameter], kernels: set[str]) -> _Images:
        spec = trace(apply, like, inputs)
        leaves = {leaf.name: leaf for leaf in spec.leaves}
        ends = {label for label, reason in spec.reasons if reason in (INPUT, OUTPUT)}
        features = {label for name in kernels for axis in leaves[name].axes for label in axis.labels}
        windows = max(len(parameters[name].shape) - 2 for name in kernels)
        return cls(leaves, frozenset(features), frozenset(ends), frozenset({*spec.groups} | ends), windows)

    def factors(self, one: Arrangement, shape: Sequence[int], name: str) -> Iterator[list[tuple[int, int, Any]]]:
        """Yield the factors that each axis of an array consists of: axis of the parameter, number there, factor."""
        axes = [axis.factors if isinstance(axis, Product) else (axis,) for axis in self.leaves[name].axes]
        for run in _runs(one, shape):
            yield [(axis, number, factor) for axis in run for number, factor in enumerate(axes[axis])]

    def reordered(self, one: Arrangement, shape: Sequence[int], name: str) -> tuple[Arrangement, set[int]]:
        """Return an arrangement whose array has the features of images before their positions, along each axis.

        The second result is the axes of the array where an image has another order than positions and then features.
        """
        found: list[list[tuple[int, int, Any]]] = []
        unclear = set()
        for place, every in enumerate(self.factors(one, shape, name)):
            some = [each for each in every if each[2].size > 1]  # a factor of one entry can stand anywhere
            labels = [{*factor.labels} for *_, factor in some]
            of_image = [bool(self.features & each) for each in labels]
            positions = [not each <= self.neurons | self.features for each in labels]
            count, ends = sum(of_image), len(some) > 1 and all(each <= self.ends for each in labels)
            if count and any(positions) and not any(of_image[: positions.index(True)]):
                # Positions and then features, of a single image of the kind that convolutions read?
                last = of_image == [False] * (len(some) - count) + [True] * count
                single = sum(positions) == len(some) - count <= self.windows and not any(positions[-count:])
                if last and single and not self._by_pixel(some[-count:]):
                    some = [*some[-count:], *some[:-count]]
                else:
                    unclear.add(place)
            elif ends:  # an image that is an input or an output of the model
                unclear.add(place)
            found.append([*some, *(each for each in every if each[2].size == 1)])
        if len(shape) > 2 and len({*shape}) == 1 and self.features & {*self.leaves[name].labels}:
            unclear.add(0)  # an image of parameters, whose channels may be first
        atoms = [(axis, number) for some in found for axis, number, _ in some]
        sizes = {(axis, number): factor.size for some in found for axis, number, factor in some}
        axes = sorted(sizes)
        joined = tuple(
            math.prod(sizes[atom] for atom in axes if atom[0] == axis) for axis in range(len(self.leaves[name].axes))
        )
        split, order = tuple(sizes[atom] for atom in atoms), tuple(atoms.index(atom) for atom in axes)
        return replace(one, split=split, axes=order, joined=None if len(axes) == len(joined) else joined), unclear

    def _by_pixel(self, some: Sequence[tuple[int, int, Any]]) -> bool:
        """Whether dense layers act on the features of single pixels: then PyTorch may have them last, too."""
        labels = {label for *_, factor in some for label in factor.labels}
        return any(len(leaf.axes) == 2 and labels & self._plain(leaf) for leaf in self.leaves.values())

    def _plain(self, leaf: Leaf) -> set[str]:
        return {label for axis in leaf.axes if len(axis.labels) == 1 for label in axis.labels}

    def open_axes(self, one: Arrangement, shape: Sequence[int], name: str) -> set[int]:
        """Return the axes of an array that may be flattened images, although no features of images are known there."""
        found = set()
        for place, some in enumerate(self.factors(one, shape, name)):
            labels = {label for *_, factor in some for label in factor.labels}
            if not labels & self.features and not labels <= self.neurons:
                only_positions = len(some) > 1 and not labels & self.neurons
                found |= set() if only_positions else {place}
        return found


def _runs(one: Arrangement, shape: Sequence[int]) -> Iterator[list[int]]:
    """Yield the axes of the parameter that each axis of the array is split into, in their order in the parameter."""
    start, back = 0, {place: axis for axis, place in enumerate(one.axes)}
    for number, size in enumerate(shape, 1):
        end = start
        while end < len(one.split) and (math.prod(one.split[start:end]) < size or number == len(shape)):
            end += 1
        yield sorted(back[place] for place in range(start, end))
        start = end


def _unknown(name: str, side: str, got: str, step: str) -> OptionError:
    return OptionError(
        f"the order of the {side} of {name!r} is not known: they may be a flattened image, with channels first",
        got=got,
        expected="a model that shows which axes it flattens: positions, then features",
        step=step,
    )
