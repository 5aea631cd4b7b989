"""The layout of parameters on a parameter graph, in blocks of nodes and blocks of edges.

A block is a grid: the product of the index sets of some axes. A tensor (a parameter, or a piece of a parameter with one
label per axis) is laid out by the number of its neuron axes, whose indices are neurons. All other axes, such as windows
of convolutions or steps of loops, are called windows here. A nested label, such as the features within attention heads,
has a neuron for each pair of indices, with an edge to the neuron of the outer label; its two axes count as one axis.

| neuron axes | `"neurons"` | `"parameters"` |
| --- | --- | --- |
| none | a node for each entry | the same |
| one | channels of the neurons | an edge for each entry, to its neuron from a node that represents the tensor |
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
"""A node for each neuron, or an edge (or a node) for each entry of a parameter."""


@dataclass(frozen=True)
class Block:
    """A grid of nodes or edges, one for each combination of indices of some axes.

    Attributes:
        name: the name of the label or tensor, or of the tensor with one of its labels.
        axes: the axes of the grid; the last varies fastest.
        coded: the positions of the axes whose indices are encoded, because they are not permuted.
        neurons: whether the nodes are neurons.
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
    """A grid of edges.

    Attributes:
        ends: for sender and receiver, the number of a block of nodes, and the axes of this grid that index its nodes.
    """

    ends: tuple[tuple[int, tuple[int, ...]], tuple[int, tuple[int, ...]]] = ((0, ()), (0, ()))


@dataclass(frozen=True)
class Place:
    """The position of a tensor's values in the graph.

    Attributes:
        tensor: the tensor.
        on_edges: whether the values are on edges (True) or nodes (False).
        block: the number of the block of edges or nodes.
        axes: the axes of the tensor that are axes of the block; all others are channels.
        first: the number of the first channel.
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
        """The number of channels of the tensor."""
        return math.prod(self.tensor.axes[place].size for place in self.rest)


@dataclass(frozen=True)
class Layout:
    """All blocks of nodes and edges, and the position of each tensor's values."""

    nodes: tuple[Block, ...]
    edges: tuple[EdgeBlock, ...]
    places: tuple[Place, ...]

    def width(self, on_edges: bool) -> int:
        """Return the largest number of channels of an edge or a node.

        If no parameter has an entry on either side, nodes have one padded channel, so that features tell how many
        numbers there are for each value.
        """
        nodes, edges = (
            max((place.first + place.width for place in self.places if place.on_edges == side), default=0)
            for side in (False, True)
        )
        return edges if on_edges else max(nodes, int(edges == 0))


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
        if label in within:  # edges to the outer label show which neurons share an outer index
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
    """Return a block of nodes and the axis, or both axes of a nested label, for each neuron axis of a tensor."""
    found: list[tuple[int, tuple[int, ...]]] = []
    outer: set[int] = set()
    for place, label in enumerate(tensor.labels):
        if label in number and label in within:
            outer.add(tensor.labels.index(within[label]))
            found.append((number[label], (tensor.labels.index(within[label]), place)))
        elif label in number:
            found.append((number[label], (place,)))
    # The axis of an outer label that only locates nested neurons is not a neuron axis of its own.
    return [(block, axes) for block, axes in found if len(axes) > 1 or axes[0] not in outer]
