"""Features of nodes, edges and their values that mean the same for every architecture, read from the program."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from equikit.weightspace.graphs._layout import Block, Layout
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._tensors import pieces, tensors_of
from equikit.weightspace.specifications._terms import Leaf, Symbol
from equikit.weightspace.tracing._roles import Role
from equikit.weightspace.tracing._usage import ACTIVATIONS, USES, Usage, Use
from equikit.weightspace.tracing.programs._reading import INPUT, OUTPUT

LOOKED_UP = "gather"
"""The prefix of the reason why a label with looked-up indices, such as a vocabulary, is rigid."""

NODES = ("hidden", "input", "output", "row", "fixed", "parameter")
"""Kinds of nodes: neurons that are permuted, of inputs, of outputs, looked-up rows, other fixed neurons, and nodes that
represent parameters."""
EDGES = (*USES, "structure")
"""Kinds of edges: the use of their parameter, or edges without values."""

DEPTHS, PLACES, AXES = 3, 6, 3
"""Frequencies of the codes of depths and of positions, and the largest number of axes that are told apart."""


class Blocks(NamedTuple):
    """Features of blocks of nodes or of edges.

    Attributes:
        traits: `[blocks, TRAITS]`.
        channels: features of each value of a node or edge, `[blocks, width, VALUES]`.
        pools: the kind of each block, an index of `NODES` or `EDGES`, `[blocks]`.
        shares: factors that make sums means, `[blocks, 3]`: over the graph, over all blocks of one kind, and over a
            graph whose edges have both directions and self-loops. For edges `[blocks, 5]`, with the factors of messages
            at receivers and at senders. A mean is taken within each block first, and then over blocks.
    """

    traits: Any
    channels: Any
    pools: Any
    shares: Any


@dataclass(frozen=True)
class Traits:
    """Features of a graph that do not depend on the values of parameters.

    Attributes:
        nodes, edges: features of blocks.
        positions: features of every position, which `node_position` and `edge_position` number, nodes first.
        reversed: for each block of edges, whether data flow from the receiver to the sender.
    """

    nodes: Blocks
    edges: Blocks
    positions: np.ndarray
    reversed: tuple[bool, ...]


def traits_of(spec: Specification, layout: Layout, usage: Usage) -> Traits:
    """Return the features of the blocks of a graph."""
    uses, roles = _of_tensors(spec.leaves, usage)
    labels, reasons = dict(usage.labels), dict(spec.reasons)
    of_tensor = _ranked(layout, uses)
    nodes = [
        _traits(nodes=_role(block, spec, reasons), use=labels.get(block.name, Use()), sizes=[block.size])
        if block.neurons
        else of_tensor[block.name] + _traits(nodes="parameter", sizes=[block.size])
        for block in layout.nodes
    ]
    valued = {place.block: place.tensor.name for place in layout.places if place.on_edges}
    flipped = tuple(
        number in valued and _flipped(layout, number, roles[valued[number]]) for number in range(len(layout.edges))
    )
    oriented = [block.ends[::-1] if flip else block.ends for block, flip in zip(layout.edges, flipped, strict=True)]
    each = [
        [block.size // max(math.prod(block.axes[a].size for a in axes), 1) for _, axes in ends]
        for block, ends in zip(layout.edges, oriented, strict=True)
    ]
    edges = []
    for number, block in enumerate(layout.edges):
        if number in valued:
            edges.append(of_tensor[valued[number]] + _traits(sizes=each[number]))
        else:
            within = layout.nodes[block.ends[0][0]].neurons
            edges.append(_traits(within=within, incident=not within, sizes=each[number]))
    filled = [ends for block, ends in zip(layout.edges, oriented, strict=True) if block.size]
    met = [Counter(ends[side][0] for ends in filled) for side in (0, 1)]
    messages = np.array(
        [
            [1 / (max(each[number][side] * met[side][ends[side][0]], 1)) for side in (1, 0)]
            for number, ends in enumerate(oriented)
        ]
    ).reshape(-1, 2)
    of_nodes = [NODES.index("parameter" if not b.neurons else _role(b, spec, reasons)) for b in layout.nodes]
    of_edges = [
        EDGES.index((uses[valued[number]].kinds or ("other",))[0] if number in valued else "structure")
        for number in range(len(layout.edges))
    ]
    directed = 2 * len(filled) + sum(block.size > 0 for block in layout.nodes)
    of_edge_blocks = _blocks(layout, True, edges, of_tensor, of_edges, directed)
    return Traits(
        _blocks(layout, False, nodes, of_tensor, of_nodes, directed),
        of_edge_blocks._replace(shares=np.concatenate([of_edge_blocks.shares, messages.astype(np.float32)], axis=1)),
        np.concatenate(
            [_codes([b.axes[a].size for a in b.coded]) for b in (*layout.nodes, *layout.edges) if b.coded]
            or [np.zeros((0, POSITIONS), np.float32)]
        ),
        flipped,
    )


def _blocks(
    layout: Layout,
    on_edges: bool,
    traits: list[np.ndarray],
    of_tensor: dict[str, np.ndarray],
    pools: list[int],
    directed: int,
) -> Blocks:
    blocks: Sequence[Block] = layout.edges if on_edges else layout.nodes
    channels = np.zeros((len(blocks), layout.width(on_edges), VALUES), np.float32)
    for place in layout.places:
        if place.on_edges == on_edges:
            codes = _codes([place.tensor.axes[axis].size for axis in place.rest])
            rows = channels[place.block, place.first : place.first + place.width]
            rows[:, :TRAITS], rows[:, TRAITS:] = of_tensor[place.tensor.name], codes
    alike = Counter(pool for block, pool in zip(blocks, pools, strict=True) if block.size)
    shares = [
        [1 / max(block.size * count, 1) for count in (alike.total(), alike[pool], directed)]
        for block, pool in zip(blocks, pools, strict=True)
    ]
    return Blocks(
        np.array(traits, np.float32).reshape(-1, TRAITS),
        channels,
        np.array(pools, np.int32),
        np.array(shares, np.float32).reshape(-1, 3),
    )


def _of_tensors(leaves: tuple[Leaf, ...], usage: Usage) -> tuple[dict[str, Use], dict[str, tuple[Role | None, ...]]]:
    """Return the use of every tensor, and the role of each of its axes."""
    uses, roles = {}, {}
    for leaf, steps, its in zip(leaves, usage.params, usage.roles, strict=True):
        tensors = tensors_of(leaf)
        tagged = pieces(tuple(_tagged(axis, place) for place, axis in enumerate(leaf.axes)))
        for number, (tensor, axes) in enumerate(zip(tensors, tagged, strict=True)):
            uses[tensor.name] = steps[number * len(steps) // len(tensors)]
            roles[tensor.name] = tuple(its[int(axis.label)] for axis in axes)
    return uses, roles


def _tagged(axis: Any, place: int) -> Any:
    """Return an expression whose labels are the number of the axis."""
    if isinstance(axis, Symbol):
        return replace(axis, label=str(place))
    (name,) = (name for name in ("factors", "parts", "members") if hasattr(axis, name))
    return replace(axis, **{name: tuple(_tagged(one, place) for one in getattr(axis, name))})


def _ranked(layout: Layout, uses: dict[str, Use]) -> dict[str, np.ndarray]:
    """Return the features of every tensor; a rank tells tensors with equal features and labels apart."""
    found, met = {}, Counter[tuple[Use, tuple[str, ...]]]()
    for place in layout.places:
        name = place.tensor.name
        key = uses[name], place.tensor.labels
        found[name] = _traits(use=uses[name], rank=met[key])
        met[key] += 1
    return found


def _flipped(layout: Layout, number: int, roles: Sequence[Role | None]) -> bool:
    """Whether the first end of a block of edges is the output of a product and the second is its input."""
    (place,) = (one for one in layout.places if one.on_edges and one.block == number)
    first, second = ({roles[place.axes[axis]] for axis in axes} for _, axes in layout.edges[number].ends)
    return "out" in first and "in" not in first and "in" in second and "out" not in second


def _role(block: Block, spec: Specification, reasons: dict[str, str]) -> str:
    if block.name in spec.groups:
        return "hidden"
    why = reasons.get(block.name, "")
    return {INPUT: "input", OUTPUT: "output"}.get(why, "row" if why.startswith(LOOKED_UP) else "fixed")


def _traits(
    *,
    nodes: str = "",
    use: Use | None = None,
    rank: int = 0,
    within: bool = False,
    incident: bool = False,
    sizes: Sequence[int] = (),
) -> np.ndarray:
    """Return features of a block or a tensor, `[TRAITS]`."""
    found: list[float] = [nodes == name for name in NODES]
    found += [within, incident]
    found += [use is not None and name in use.kinds for name in USES]
    found += [use is not None and name in use.activations for name in ACTIVATIONS]
    for depth in (use.first, use.last) if use is not None else ():
        found += [depth, *_waves(np.array(depth), DEPTHS)]
    found += [0.0] * (len(NODES) + 2 + len(USES) + len(ACTIVATIONS) + 2 * (1 + 2 * DEPTHS) - len(found))
    logs = [math.log(max(size, 1)) / 8 for size in sizes]
    return np.array([*found, 1 - 1 / (1 + rank), *logs, *[0.0] * (2 - len(logs))], np.float32)


def _waves(place: np.ndarray, frequencies: int) -> np.ndarray:
    """Return sines and cosines of relative positions, `[*shape, 2 * frequencies]`."""
    angles = np.pi * place[..., None] * 2.0 ** np.arange(frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def _codes(sizes: Sequence[int]) -> np.ndarray:
    """Return features of all positions along some axes, `[positions, POSITIONS]`; leading axes are merged."""
    last = sizes[len(sizes) - AXES + 1 :] if len(sizes) > AXES else sizes
    merged = (math.prod(sizes[: len(sizes) - AXES + 1]), *last) if len(sizes) > AXES else tuple(sizes)
    grid = np.indices(merged).reshape(len(merged), math.prod(merged))
    found = np.zeros((grid.shape[1], AXES, 1 + 2 * PLACES), np.float32)
    for slot, (indices, size) in enumerate(zip(grid[::-1], merged[::-1], strict=True)):
        found[:, slot, 0] = 1
        found[:, slot, 1:] = _waves((indices + 0.5) / max(size, 1), PLACES)
    return found.reshape(len(found), POSITIONS)


TRAITS = len(_traits())
"""The number of features of a block or tensor."""
POSITIONS = AXES * (1 + 2 * PLACES)
"""The number of features of a position."""
VALUES = TRAITS + POSITIONS
"""The number of features of a value."""
