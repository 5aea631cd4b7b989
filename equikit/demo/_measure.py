"""Errors on held-out graphs, and changes of predictions under relabeling."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from jaxtyping import Float

from equikit.demo._data import NODES, Graphs, to_graphs
from equikit.demo._train import Trained

RELABELINGS = 5


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of a model, one number for each target.

    Attributes:
        mae: mean absolute error.
        rmse: root of the mean squared error.
    """

    mae: tuple[float, ...]
    rmse: tuple[float, ...]


def score(predicted: Float[np.ndarray, "graphs targets"], true: Float[np.ndarray, "graphs targets"]) -> Score:
    """Compare predictions with the truth.

    Example:
        >>> score(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]]))
        Score(mae=(1.0,), rmse=(1.4142135623730951,))
    """
    error = predicted.astype(np.float64) - true
    mae, rmse = np.abs(error).mean(0), np.sqrt((error**2).mean(0))
    return Score(tuple(map(float, mae)), tuple(map(float, rmse)))


def relabeled_score(trained: Trained, graphs: Graphs, seed: int) -> Score:
    """Return the errors after relabeling the nodes of every graph, over several relabelings."""
    generator = np.random.default_rng(seed)
    moved = [graphs.relabeled(generator) for _ in range(RELABELINGS)]
    predicted = np.concatenate([trained.predict(each) for each in moved])
    return score(predicted, np.concatenate([each.targets for each in moved]))


def invariance_error(trained: Trained, graphs: Graphs, seed: int) -> float:
    """Return the largest change of a prediction under random permutations of all nodes, absent ones included.

    Returns:
        The change relative to the largest prediction, for the worse of the two targets.
    """
    generator = np.random.default_rng(seed)
    before = trained.predict(graphs)
    scale = np.abs(before).max(0)
    changes = [
        np.abs(trained.predict(graphs.relabeled(generator, padding=True)) - before).max(0) for _ in range(RELABELINGS)
    ]
    return float(np.max(np.array(changes) / scale))


def twin_predictions(trained: Trained) -> tuple[float, float]:
    """Return the triangles that a model predicts for a ring of six nodes (none) and two separate triangles (two)."""
    ring, pair = nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
    first, second = trained.predict(to_graphs([ring, pair], NODES))[:, 0].tolist()
    return first, second
