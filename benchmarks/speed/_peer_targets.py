"""The targets of `peers`, including the ratios of `basis_construction`; and its tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.core import lines
from benchmarks.core.folders import RESULTS
from benchmarks.core.report import markdown, terminal_table
from benchmarks.core.style import TIMES
from benchmarks.core.targets import Target, check_targets
from benchmarks.speed import basis_construction

BASES = RESULTS / "basis_construction.jsonl"
YARDSTICKS = ("core product", "copy")

WHOLE, HALF = "forward+backward", "forward"
TARGETS = (
    Target("by hand", {"layer": "S 1 → 1"}, HALF, 1.2, most=True),
    Target("by hand", {"layer": "S 1 → 1"}, WHOLE, 1.2, most=True),
    Target("stacked", {"layer": "S 2 → 2", "n": 64}, HALF, 6.0),
    Target("stacked", {"layer": "S 2 → 2", "n": 64}, WHOLE, 8.0),
    Target("equikit", {"layer": "S 2 → 2", "n": 64}, WHOLE, 4.0, most=True, against=HALF),
    Target(("core product", "copy"), {"layer": "S 2 → 2", "n": 64}, HALF, 2.0, most=True),
    Target("einsum", {"layer": "S 3 → 3"}, HALF, 8.0),
    Target("einsum", {"layer": "S 3 → 3"}, WHOLE, 40.0),
    Target("EMLP", {"layer": "O 2 → 2", "n": 8}, HALF, 10.0),
    Target("EMLP", {"layer": "O 2 → 2", "n": 8}, WHOLE, 10.0),
    Target("copy", {"layer": "O 2 → 2", "n": 64}, HALF, 4.0, most=True),
    Target("e3nn-jax", {"layer": "O(3) 3 → 3"}, HALF, 1.5, most=True),
    Target("e3nn-jax", {"layer": "O(3) 3 → 3"}, WHOLE, 1.5, most=True),
    Target("cuEquivariance", {"layer": "O(3) 3 → 3"}, HALF, 1.5, most=True),
    Target("cuEquivariance", {"layer": "O(3) 3 → 3"}, WHOLE, 1.5, most=True),
    Target("one term at a time", {"layer": "RNN kernel, 15 terms"}, HALF, 10.0),
    Target("one term at a time", {"layer": "RNN kernel, 15 terms"}, WHOLE, 15.0),
    Target("one term at a time", {"layer": "MLP, 692 terms"}, HALF, 3.0, quantity="compile"),
    Target("one term at a time", {"layer": "MLP, 692 terms"}, WHOLE, 3.0, quantity="compile"),
)


def check(targets: Iterable[Target], measurements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the ratios of this run, and the ratios of `basis_construction` from its stored run."""
    bases = check_targets(basis_construction.TARGETS, lines.read(BASES))
    quoted = [target | {"from": "stored run of basis_construction"} for target in bases]
    return check_targets(targets, measurements) + quoted


STYLE = dataclasses.replace(
    TIMES,
    check_targets=check,
    markdown=partial(markdown, yardsticks=YARDSTICKS),
    terminal_table=partial(terminal_table, yardsticks=YARDSTICKS),
)
