"""The correspondence of a parameter graph and the parameters: blocks of nodes and of edges.

A block is a grid: the product of the index sets of some axes. A tensor, which is a parameter or a piece of one with one
label per axis, is laid out by the number of its axes whose indices are neurons; its other axes, such as windows of
convolutions or steps of loops, are called windows here. A nested label, such as one inside a head of attention, has a
neuron for each index of both labels, joined to that of the outer label; both axes together count as one.

| neurons' axes | `"neurons"` | `"parameters"` |
| --- | --- | --- |
| none | a node for each entry | the same |
| one | channels of the neurons | an edge for each entry, to its neuron from a node that stands for the tensor |
| two | an edge for each pair of neurons, windows as channels | an edge for each entry |
| more | a node for each tuple of neurons, windows as channels, and an edge to each of them | the same for each entry |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._tensors import Tensor, tensors_of
from equikit.weightspace.specifications._terms import Symbol

GraphKind = Literal["neurons", "parameters"]
"""What nodes or edges represent: a node for each neuron, or an edge, or node, for each parameter."""


@dataclass(frozen=True)
class Block:
    """Nodes or edges, one for each index of some axes.

    Attributes:
        name: of the label, of the tensor, or of a tensor and one of its labels.
        axes: of the grid; the last changes fastest.
        coded: the places of the axes whose indices are told apart by a code, since nothing permutes them.
        neurons: whether they are neurons.
    """

    name: str
    axes: tuple[Symbol, ...]
    coded: tuple[int, ...] = ()
    neurons: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the grid."""
        return tuple(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        """The number of nodes or edges."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class EdgeBlock(Block):
    """Edges.

    Attributes:
        ends: for the sender and the receiver a block of nodes, by its number, and the axes of the grid that are the
            axes of that block.
    """

    ends: tuple[tuple[int, tuple[int, ...]], tuple[int, tuple[int, ...]]] = ((0, ()), (0, ()))


@dataclass(frozen=True)
class Place:
    """The place of the values of a tensor.

    Attributes:
        tensor: the tensor.
        on_edges: whether they are on edges.
        block: the number of the block of edges, or of nodes.
        axes: the axes of the tensor that are those of the block; the others are channels.
        first: the first of these channels.
    """

    tensor: Tensor
    on_edges: bool
    block: int
    axes: tuple[int, ...]
    first: int = 0

    @property
    def rest(self) -> tuple[int, ...]:
        """The axes that are channels."""
        return tuple(place for place in range(len(self.tensor.axes)) if place not in self.axes)

    @property
    def width(self) -> int:
        """The number of these channels."""
        return math.prod(self.tensor.axes[place].size for place in self.rest)


@dataclass(frozen=True)
class Layout:
    """All blocks, and the places of the values."""

    nodes: tuple[Block, ...]
    edges: tuple[EdgeBlock, ...]
    places: tuple[Place, ...]

    def width(self, on_edges: bool) -> int:
        """The largest number of channels of the values of an edge, or of a node."""
        return max((place.first + place.width for place in self.places if place.on_edges == on_edges), default=0)


def layout(spec: Specification, kind: GraphKind, neurons: Sequence[str]) -> Layout:
    """Lay out the parameters; `neurons` are the labels whose indices are neurons."""
    tensors = [tensor for leaf in spec.leaves for tensor in tensors_of(leaf)]
    met = {axis.label: axis for tensor in tensors for axis in tensor.axes}
    labels = [label for label, _ in spec.bindings if label in neurons and label in met]
    within = dict(spec.nested)
    nodes, edges, places = list[Block](), list[EdgeBlock](), list[Place]()
    for label in labels:
        both = (met[within[label]],) if label in within else ()
        nodes.append(Block(label, (*both, met[label]), (0,) if label not in spec.groups else (), True))
    number = {label: place for place, label in enumerate(labels)}
    for label in labels:
        if label in within:  # what tells which of them are within one index of the outer label
            outer = number[within[label]]
            name, ends = f"{label} within {within[label]}", ((number[label], (0, 1)), (outer, (0,)))
            edges.append(EdgeBlock(name, nodes[number[label]].axes, ends=ends))
    taken = dict.fromkeys(labels, 0)  # channels of neurons
    for tensor in tensors:
        neuron_axes = _neurons(tensor, number, within)
        every = tuple(range(len(tensor.axes)))
        held = sorted({axis for _, some in neuron_axes for axis in some})
        windows = tuple(place for place in every if place not in held)
        own = kind == "parameters" or not neuron_axes
        grid = every if own else tuple(held)
        axes = tuple(tensor.axes[place] for place in grid)
        coded = windows if own else ()
        of_neurons = [(block, tuple(grid.index(axis) for axis in some)) for block, some in neuron_axes]
        if len(of_neurons) == 1 and not own:
            block, some = neuron_axes[0]
            places.append(Place(tensor, False, block, some, taken[nodes[block].name]))
            taken[nodes[block].name] += places[-1].width
        elif len(of_neurons) in (1, 2):
            if len(of_neurons) == 1:
                nodes.append(Block(tensor.name, ()))
                of_neurons = [(len(nodes) - 1, ()), *of_neurons]
            one, two = of_neurons
            places.append(Place(tensor, True, len(edges), grid))
            edges.append(EdgeBlock(tensor.name, axes, coded, ends=(one, two)))
        else:
            places.append(Place(tensor, False, len(nodes), grid))
            itself = (len(nodes), tuple(range(len(grid))))
            nodes.append(Block(tensor.name, axes, coded))
            for (block, some), end in zip(neuron_axes, of_neurons, strict=True):
                name = f"{tensor.name}, axis {some[-1]}, {nodes[block].name}"
                edges.append(EdgeBlock(name, axes, ends=(itself, end)))
    return Layout(tuple(nodes), tuple(edges), tuple(places))


def _neurons(tensor: Tensor, number: Mapping[str, int], within: Mapping[str, str]) -> list[tuple[int, tuple[int, ...]]]:
    """The axes of a tensor whose indices are neurons: a block of nodes, and the axis; both axes of a nested label."""
    found: list[tuple[int, tuple[int, ...]]] = []
    outer: set[int] = set()
    for place, label in enumerate(tensor.labels):
        if label in number and label in within:
            outer.add(tensor.labels.index(within[label]))
            found.append((number[label], (tensor.labels.index(within[label]), place)))
        elif label in number:
            found.append((number[label], (place,)))
    # An axis that only says of which index of the outer label a neuron is stands for no neuron of its own.
    return [(block, axes) for block, axes in found if len(axes) > 1 or axes[0] not in outer]
