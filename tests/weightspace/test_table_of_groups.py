"""The table of what is found in each architecture, in the README of tracing, is what is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from architectures import MODELS

from equikit.weightspace import Scaling, Specification, trace, tracing

TEXT = (Path(tracing.__file__).parent / "README.md").read_text(encoding="utf-8")
_, TABLE = TEXT.split("## What is found\n")
ROWS = {
    cells[0].strip("`"): [cell.strip("`") for cell in cells[1:]]
    for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.split("\n## ")[0].splitlines())
    if cells and cells[0].startswith("`")
}
QUICK = ("perceptron", "fused_attention", "gated_units", "mixture_of_experts", "branches")


def permutations(spec: Specification) -> str:
    """As `S(8) × S(5)`; what is nested in a label as `(S(4) × S(4)) ≀ S(2)`."""
    inner = {label for label, _ in spec.nested}
    factors = []
    for label, group in spec.groups.items():
        inside = [str(spec.groups[one]) for one, outer in spec.nested if outer == label]
        product = f"({' × '.join(inside)})" if len(inside) > 1 else "".join(inside)
        if label not in inner:
            factors.append(f"{product} ≀ {group}" if inside else str(group))
    return " × ".join(f"({one})" if "≀" in one and len(factors) > 1 else one for one in factors)


def numbers(spec: Specification, kind: str) -> str:
    """How many there are, one for each index of a label."""

    def count(scaling: Scaling) -> int:
        return spec.sizes[scaling.label]

    return " + ".join(str(count(scaling)) for scaling in spec.scalings if scaling.kind == kind)


def linear(spec: Specification) -> str:
    """As `GL(6)`, or where every head has its own `GL(4)^2`."""
    found = [
        f"GL({spec.sizes[action.label]})" + ("" if action.within is None else f"^{spec.sizes[action.within]}")
        for action in spec.linear_actions
    ]
    return " × ".join(found)


def test_every_architecture_has_a_row() -> None:
    assert list(ROWS) == list(MODELS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]
)
def test_the_row_says_what_is_found(name: str) -> None:
    spec = trace(*MODELS[name]())
    assert ROWS[name] == [permutations(spec), numbers(spec, "positive"), numbers(spec, "sign"), linear(spec)]
