"""The benchmark of layers on edge lists: its rivals agree, and its targets are checked on the right records."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from benchmarks.speed import sparse
from benchmarks.speed._sparse_layers import MAPS, Graph, dense, fifteen, fifteen_by_hand
from benchmarks.speed._sparse_report import Bound, check_targets, crossings


def test_graphs_have_different_edges_sorted_by_sender() -> None:
    for n, edges in ((10, 100), (50, 200), (7, 0)):
        senders, receivers = Graph(n, edges, 0).indices
        keys = senders * n + receivers
        assert len(keys) == edges
        assert (np.diff(keys) > 0).all()
        assert (receivers < n).all()


def test_rivals_compute_the_same_function() -> None:
    graph = Graph(6, 20, 1)
    assert len(MAPS) == 15
    outputs = []
    for make in (fifteen, fifteen_by_hand, dense):
        layer = make(graph)
        assert layer.compared is not None
        outputs.append(np.asarray(layer.compared(jax.jit(layer.apply)(layer.weights, layer.inputs, layer.data))))
    assert np.abs(outputs[0]).max() > 0.1
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], rtol=1e-4, atol=1e-5)


def record(layer: str, edges: int, rival: str, median: float, **more: float) -> dict[str, object]:
    case = {"layer": layer, **more, "n": edges // 10, "edges": edges}
    scores = {"over_input_and_output": 3.0}
    return {"case": case, "direction": "forward", "rival": rival, "median": median, "scores": scores}


def test_targets() -> None:
    records = [record("15 maps", edges, "equikit", edges * 2e-6) for edges in (1000, 10_000, 100_000)]
    records += [record("15 maps", 100_000, "by hand", 9.0), record("messages", 100_000, "equikit", 9.0)]
    bounds = [Bound("seconds", "forward", 100_000, 0.1), Bound("memory", "forward", None, 4.0)]
    bounds += [Bound("exponent", "forward", None, 1.2, 0.8), Bound("seconds", "training", 100_000, 1.0)]
    found = check_targets(bounds, records)
    assert [(target["met"], pytest.approx(target["value"])) for target in found] == [
        (False, 0.2),
        (True, 3.0),
        (True, 1.0),
    ]


def test_the_crossing_is_the_smallest_share_at_which_dense_is_faster() -> None:
    records = []
    for share, ours, theirs in ((0.1, 1.0, 2.0), (0.3, 3.0, 2.0), (1.0, 9.0, 2.0)):
        records += [
            record("dense", 100, "equikit", ours, share=share),
            record("dense", 100, "dense", theirs, share=share),
        ]
    assert crossings(records) == ["The dense layer is faster from a share of 0.3 on (forward)."]
    assert crossings(records[:2]) == ["The dense layer is faster at no share up to 0.1 (forward)."]


def test_every_layer_has_equikit_first() -> None:
    assert {cell.rivals[0] for cell in sparse.cells(quick=False)} == {"equikit"}
