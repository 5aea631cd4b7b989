"""Layers on edge lists: all maps between pairs on a support, against what users of graph libraries write."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Contender, Harness, Limits, recorded
from benchmarks.core.measurement import Measurement
from benchmarks.speed._sparse_layers import (
    Graph,
    SparseLayer,
    dense,
    edges_and_nodes,
    fifteen,
    fifteen_by_hand,
    messages,
    of_jraph,
    timed,
)
from benchmarks.speed._sparse_report import STYLE, Bound
from benchmarks.speed._sparse_torch import message_layer

DIRECTIONS = ("forward", "training")
RIVALS: dict[str, str] = {
    "equikit": "`equikit.nn.Linear` with `support=`, without bias",
    "by hand": "the same function, or one message layer, in 25 lines of `jnp` with `jax.ops.segment_sum`",
    "jraph": "one message layer as a `jraph.GraphNetwork` (another function: 6 of the maps)",
    "PyTorch Geometric": "the same message layer in PyTorch Geometric, in rounds of its own",
    "dense": "the dense layer on the n x n matrix",
}
MAKERS: dict[str, dict[str, Callable[[Graph], SparseLayer]]] = {
    "15 maps": {"equikit": fifteen, "by hand": fifteen_by_hand},
    "messages": {"equikit": edges_and_nodes, "by hand": messages, "jraph": of_jraph},
    "dense": {"equikit": fifteen, "dense": dense},
}
LARGEST = 1_000_000
TARGETS = (
    Bound("seconds", "forward", LARGEST, 1.0),
    Bound("seconds", "training", LARGEST, 2.0),
    Bound("memory", "forward", None, 4.0),
    Bound("memory", "training", None, 6.0),
    *(Bound("exponent", direction, None, 1.2, 0.8) for direction in DIRECTIONS),
)
DENSE_N = 256
# Float32 sums of a million terms, relative to the largest entry.
TOLERANCE = 1e-4


def limits(quick: bool) -> Limits:
    """The limits of a run."""
    return Limits(seconds=0.05, least=3, patience=0.5) if quick else Limits(seconds=2.0, patience=12.0)


def cells(quick: bool) -> list[Cell]:
    """Return the cells: two layers by the number of edges, ten a node; the dense layer by the share of entries."""
    edges = (1_000, 3_000) if quick else (10_000, 30_000, 100_000, 300_000, LARGEST)
    shares = (0.1, 1.0) if quick else (0.01, 0.03, 0.1, 0.3, 1.0)
    n = 32 if quick else DENSE_N
    graphs = [("15 maps", {}, count // 10, count) for count in edges]
    graphs += [("messages", {}, count // 10, count) for count in edges]
    graphs += [("dense", {"share": share}, n, round(share * n * n)) for share in shares]
    return [
        Cell(
            {"layer": layer, **more, "n": n, "edges": count},
            direction,
            (*MAKERS[layer], *(["PyTorch Geometric"] if layer == "messages" else [])),
            (n, count),
        )
        for layer, more, n, count in graphs
        for direction in DIRECTIONS
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare a run."""
    harness = Harness(limits(quick), seed, tell)

    def measure(cell: Cell) -> list[Measurement]:
        graph = Graph(*cell.given, seed)
        tell("make the graph")
        graph.support.levels  # noqa: B018  sorted here, not in the time of the first call
        makers = MAKERS[cell.case["layer"]]

        def made(make: Callable[[Graph], SparseLayer]) -> Any:
            return timed(make(graph), cell.direction)

        contenders = [Contender(name, functools.partial(made, make), 0, TOLERANCE) for name, make in makers.items()]
        found = harness.measure(cell.case, cell.direction, contenders)
        for m in found:
            if m.peak_bytes is not None and m.argument_bytes is not None and m.output_bytes is not None:
                m.scores = {"over_input_and_output": m.peak_bytes / (m.argument_bytes + m.output_bytes)}
        if "PyTorch Geometric" in cell.rivals:
            found.append(_torch(graph, cell, harness))
        return found

    return measure


def _torch(graph: Graph, cell: Cell, harness: Harness) -> Measurement:
    m = Measurement(dict(cell.case), cell.direction, "PyTorch Geometric")
    ready: list[tuple[Measurement, Callable[[], Any]]] = []
    with recorded(m):
        ready.append((m, message_layer(graph, cell.direction)))
    harness.rounds(ready)
    m.summarize()
    return m


BENCHMARK = Benchmark(
    title="Layers on edge lists",
    summary="all maps between pairs on a support against edge lists by hand, message layers and dense arrays",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=STYLE,
    panel=("layer",),
    axis="edges",
)
