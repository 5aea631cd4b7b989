"""The benchmark of the graph atlas runs, and its page states its stored result."""

import re

import numpy as np
import pytest

from benchmarks.core import lines
from benchmarks.core.folders import RESULTS, ROOT
from benchmarks.tasks import graph_atlas
from equikit import demo

ROWS = {
    "graph network (2-IGN)": "graph network",
    "graph network with one layer through triples of nodes": "graph network, triples",
    "MLP on the adjacency matrix": "MLP",
    "the same MLP, trained on graphs relabeled at random": "MLP, augmented",
    "mean of the training graphs": graph_atlas.MEAN,
}


def test_a_quick_run_has_errors_of_every_target():
    mlp, mean = graph_atlas.cells(True)
    for seed in range(2):
        measure = graph_atlas.start(True, seed, lambda _: None)
        found = measure(mean)
        assert [(m.rival, m.case["task"]) for m in found] == [(graph_atlas.MEAN, task) for task in demo.TARGETS]
        data = demo.split(demo.atlas(), seed)
        constant = np.abs(data.test.targets - data.train.targets.mean(0)).mean(0)
        assert [m.scores["error, as drawn"] for m in found] == pytest.approx(constant, rel=1e-5)
        assert all(m.scores["error, moved"] == m.scores["error, as drawn"] for m in found)
    trained = measure(mlp)
    assert [(m.rival, m.case["task"]) for m in trained] == [("MLP", task) for task in demo.TARGETS]
    assert all(m.scores["error, moved"] != m.scores["error, as drawn"] > 0 for m in trained)


def test_the_page_states_the_stored_result():
    found = {}
    for line in lines.read(RESULTS / "graph_atlas.jsonl"):
        found.setdefault((line["rival"], line["case"]["task"]), {})[line["seed"]] = line["scores"]
    assert all(list(of) == list(range(graph_atlas.BENCHMARK.seeds)) for of in found.values())
    page = (ROOT / "docs" / "demonstration.md").read_text(encoding="utf-8")
    for row, rival in ROWS.items():
        (cells,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", page, re.MULTILINE)
        parameters, *errors = cells.split(" | ")
        assert parameters == f"{found[rival, 'triangles'][0]['parameters']:,.0f}"
        wanted = []
        for task, digits in (("triangles", 2), ("spectral radius", 3)):
            for name in ("as drawn", "moved"):
                values = [scores[f"error, {name}"] for scores in found[rival, task].values()]
                wanted.append(f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}")
        assert errors == wanted
