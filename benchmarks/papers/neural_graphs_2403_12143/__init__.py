"""Neural graphs: message passing and relational transformers on one zoo of many architectures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import reproduction
from benchmarks.papers import _curves, _mixed_zoo_tasks as mixed
from benchmarks.papers._mixed_zoo_figure import plot

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
TASKS = mixed.Mixed(dict.fromkeys(("statistics", "message passing", "transformer"), (mixed.WITHIN,)))

BENCHMARK = reproduction(
    title="Neural graphs",
    summary="the accuracy of networks of six families, told by message passing and by a transformer",
    rivals={rival: mixed.RIVALS[rival] for rival in TASKS.rivals},
    cells=TASKS.cells,
    start=TASKS.start,
    limits=TASKS.limits,
    style=_curves.style(plot),
    paper=PAPER,
)
