"""The demonstration: a graph network learns properties of all small graphs, compared with a plain network.

The data are the 1,253 graphs of NetworkX's graph atlas; the targets are the number of triangles and the spectral
radius.
"""

from equikit.demo._data import TARGETS, Graphs, Split, atlas, split, to_graphs, twins
from equikit.demo._measure import Score, invariance_error, relabeled_score, score, twin_predictions
from equikit.demo._models import CONTESTANTS, Contestant, FlatMLP, TripleNetwork, parameter_count
from equikit.demo._report import Outcome, Report
from equikit.demo._run import EPOCHS, demo
from equikit.demo._train import Trained, train

__all__ = [
    "CONTESTANTS",
    "EPOCHS",
    "TARGETS",
    "Contestant",
    "FlatMLP",
    "Graphs",
    "Outcome",
    "Report",
    "Score",
    "Split",
    "Trained",
    "TripleNetwork",
    "atlas",
    "demo",
    "invariance_error",
    "parameter_count",
    "relabeled_score",
    "score",
    "split",
    "to_graphs",
    "train",
    "twin_predictions",
    "twins",
]
