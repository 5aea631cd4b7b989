"""Every rival of `basis_construction` finds the same dimension."""

import importlib.util

import pytest

from benchmarks.core.measurement import Skip
from benchmarks.speed import basis_construction
from benchmarks.speed.basis_construction import Case

CASES = [Case("S", 1, 1, 3), Case("O", 2, 2, 2), Case("SO", 2, 1, 3), Case("Sp", 2, 2, 2), Case("O(1,3)", 1, 1, 4)]
CASES += [Case(group, 1, 1, 2) for group in ("A", "H", "Bistochastic", "U", "GL", "Z", "D")] + [Case("cube", 1, 1, 3)]


@pytest.mark.parametrize("rival", [name for name in basis_construction.MAKERS if name != "EMLP"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rivals_agree(case: Case, rival: str) -> None:
    assert basis_construction.MAKERS[rival](case) == case.space().dim


def test_a_measurement_is_complete() -> None:
    given_up: set[tuple[str, ...]] = set()
    limits = basis_construction.limits(quick=True)
    measurements = basis_construction.measure(CASES[0], limits, lambda text: None, given_up)
    assert [m.rival for m in measurements] == list(basis_construction.RIVALS)
    assert all(m.median for m in measurements if m.status == "measured")


@pytest.mark.skipif(importlib.util.find_spec("emlp") is not None, reason="emlp is installed")
def test_without_emlp_the_reason_is_given() -> None:
    with pytest.raises(Skip, match="emlp is not installed"):
        basis_construction.emlp(CASES[0])


def test_what_is_too_large_is_skipped() -> None:
    with pytest.raises(Skip, match="would not fit in memory"):
        basis_construction.constraints(Case("O", 3, 3, 6))
    with pytest.raises(Skip, match="more than 300 unknowns"):
        basis_construction.sympy_null_space(Case("S", 2, 2, 8))
