"""Every rival of `basis_construction` finds the same dimension."""

import importlib.util
import time
from dataclasses import replace

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


def test_a_cell_is_measured_as_it_is_described() -> None:
    cell, *_ = basis_construction.BENCHMARK.cells(True)
    measure = basis_construction.BENCHMARK.start(True, 0, lambda text: None)
    measurements = measure(cell)
    assert tuple(m.rival for m in measurements) == cell.rivals == tuple(basis_construction.RIVALS)
    assert all(m.median for m in measurements if m.status == "measured")
    assert {m.rival for m in measurements if m.status == "measured"} >= {"equikit", "NumPy", "SymPy"}


def test_what_differs_fails_or_takes_too_long_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(case: Case) -> int:
        raise TypeError("no such group")

    def slow(case: Case) -> int:
        time.sleep(1.0)
        return case.space().dim

    monkeypatch.setattr(basis_construction, "MAKERS", {"one more": lambda case: 3, "raises": raises, "slow": slow})
    limits, given_up = replace(basis_construction.limits(quick=True), prepare=0.05), set()
    wrong, failed, late = basis_construction.construct(Case("S", 1, 1, 4), limits, print, given_up)
    assert (wrong.status, wrong.reason, wrong.median) == ("differs", "it finds 3 maps, not 2", None)
    assert (failed.status, failed.reason) == ("failed", "TypeError: no such group")
    assert (late.status, late.longer_than, late.given_up) == ("skipped", 0.05, "it took longer than 0.05 s")
    resumed = {basis_construction.family(late.record()["case"], "slow")}
    for known in (given_up, resumed):
        *_, again = basis_construction.construct(Case("S", 1, 1, 8), limits, print, known)
        assert (again.status, again.reason) == ("skipped", "it took too long in a smaller case")


@pytest.mark.skipif(importlib.util.find_spec("emlp") is not None, reason="emlp is installed")
def test_without_emlp_the_reason_is_given() -> None:
    with pytest.raises(Skip, match="emlp is not installed"):
        basis_construction.emlp(CASES[0])


def test_what_is_too_large_is_skipped() -> None:
    with pytest.raises(Skip, match="would not fit in memory"):
        basis_construction.constraints(Case("O", 3, 3, 6))
    with pytest.raises(Skip, match="more than 300 unknowns"):
        basis_construction.sympy_null_space(Case("S", 2, 2, 8))
