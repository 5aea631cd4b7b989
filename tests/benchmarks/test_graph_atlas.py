"""The benchmark of the graph atlas runs, and the README states its stored result."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tasks import graph_atlas
from equikit import demo

ROOT = Path(__file__).parents[2]
ROWS = {
    "graph network (2-IGN)": "graph network",
    "graph network with one layer through triples of nodes": "graph network, triples",
    "MLP on the adjacency matrix": "MLP",
    "the same MLP, trained on graphs relabeled at random": "MLP, augmented",
    "mean of the training graphs": graph_atlas.MEAN,
}


def test_a_quick_run_has_errors_of_every_target():
    found = [m for group in graph_atlas.run(True, 0, lambda _: None) for m in group]
    assert [(m.rival, m.case["task"]) for m in found] == [
        (r, t) for r in ("MLP", graph_atlas.MEAN) for t in demo.TARGETS
    ]
    data = demo.split(demo.atlas(), 0), demo.split(demo.atlas(), 1)
    constant = [np.abs(one.test.targets - one.train.targets.mean(0)).mean(0)[0] for one in data]
    assert found[2].scores["error, as drawn"] == pytest.approx(np.mean(constant), rel=1e-5)
    assert found[2].scores["sd, moved"] == pytest.approx(np.std(constant, ddof=1), rel=1e-3)
    assert found[0].scores["error, as drawn"] != found[0].scores["error, moved"]


def test_the_readme_states_the_stored_result():
    stored = json.loads((ROOT / "benchmarks/results/graph_atlas.json").read_text(encoding="utf-8"))
    scores = {(m["rival"], m["case"]["task"]): m["scores"] for m in stored["measurements"]}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row, rival in ROWS.items():
        (cells,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", readme, re.MULTILINE)
        parameters, *errors = cells.split(" | ")
        assert parameters == f"{scores[rival, 'triangles']['parameters']:,.0f}"
        wanted = [
            f"{scores[rival, task][f'error, {name}']:.{digits}f} ± {scores[rival, task][f'sd, {name}']:.{digits}f}"
            for task, digits in (("triangles", 2), ("spectral radius", 3))
            for name in ("as drawn", "moved")
        ]
        assert errors == wanted
