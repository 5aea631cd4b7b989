"""Graph metanetworks: one model for many architectures tells how well networks generalize from their weights."""

from __future__ import annotations

from pathlib import Path

from benchmarks.core import paper
from benchmarks.core.benchmark import reproduction
from benchmarks.papers import _curves, _mixed_zoo_tasks as mixed
from benchmarks.papers._mixed_zoo_figure import plot

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
TASKS = mixed.Mixed(
    {
        **dict.fromkeys(("statistics", "Deep Sets", "message passing"), mixed.everywhere()),
        "message passing, bare": (mixed.WITHIN,),
    }
)

BENCHMARK = reproduction(
    title="Graph metanetworks",
    summary="the accuracy of networks of six families, also of a family left out, told from their weights",
    rivals={rival: mixed.RIVALS[rival] for rival in TASKS.rivals},
    cells=TASKS.cells,
    start=TASKS.start,
    limits=TASKS.limits,
    style=_curves.style(plot),
    paper=PAPER,
)
