"""Counts against products done by hand, exponents of known power laws, and a run over a few small cases."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import sympy

from benchmarks.core.harness import Harness
from benchmarks.speed import diagram_multiplication as benchmark
from benchmarks.speed._diagram_cases import (
    GROUPS,
    HEADED,
    OVERHEAD,
    RIVALS,
    N,
    Row,
    degree,
    free_rows,
    headed_rows,
    text,
)
from benchmarks.speed._diagram_report import report
from benchmarks.speed._power_law import Exponent, exponent
from benchmarks.speed.diagram_multiplication import Case


def name(row: Row) -> str:
    return f"{row.family} {row.k}-{row.l}" + (f" n={row.bound}" if row.bound else "")


def by_hand(row: Row, n: int) -> int:
    """Additions of the algorithm, entry by entry, from the dense tensors of the components alone.

    Components of the input alone are summed first, each over the entries of its tensor that are not zero; then the
    others, each for all entries of the axes that are left.
    """
    factored = row.diagram.factor()
    count, axes = 0, len(factored.input.bottom)
    for component in sorted(factored.components, key=lambda c: bool(c.top)):
        matrix = component.matrix(n)
        axes -= len(component.bottom)
        for _ in itertools.product(range(n), repeat=axes):
            count += sum(max(np.count_nonzero(line) - 1, 0) for line in matrix)
        axes += len(component.top) if component.bottom else 0  # what is of the output alone is copied at the end
    return count


@pytest.mark.parametrize("row", free_rows(), ids=name)
def test_polynomials_are_the_counts_of_small_products(row: Row) -> None:
    multiplications, additions = row.counted()
    assert multiplications == 0
    for n in (2, 4):
        assert additions.subs(N, n) == by_hand(row, n)
        assert row.naive().subs(N, n) == row.diagram.matrix(n).size
        reads = np.count_nonzero(row.diagram.matrix(n).any(axis=0))
        assert row.moved().subs(N, n) == reads + n**row.l


@pytest.mark.parametrize("row", [row for row in headed_rows() if row.bound and row.bound < 6], ids=name)
def test_numbers_with_a_head_are_the_counts_of_products(row: Row) -> None:
    assert row.bound is not None
    assert row.counted() == (0, by_hand(row, row.bound))
    assert row.naive() == row.diagram.matrix(row.bound).size


def test_the_paper_agrees_with_the_costliest_diagram_of_each_shape() -> None:
    for row in free_rows():
        if row.family == "S, best":
            costs = [d.factor().operations()[1] for d in row.space.diagrams if len({*d.growth[row.l :]}) == 1]
        else:
            costs = [d.factor().operations()[1] for d in row.space.diagrams]
        assert max(degree(sympy.expand(cost)) for cost in costs) == degree(row.paper())
        assert degree(row.counted()[1]) == degree(row.paper())


def test_with_a_head_we_stay_below_the_paper() -> None:
    rows = [row for row in headed_rows() if row.family == "SO, head"]
    assert rows
    for row in rows:
        n, s = row.bound, row.legs_above
        assert n is not None
        assert row.paper() == n ** (row.k - n + s) * (math.factorial(n) + sympy.Rational(n) ** (s - 1))
        assert row.counted()[1] < row.paper()
    assert all(row.paper() is None for row in headed_rows() if row.family == "A, head")


def test_every_shape_is_there() -> None:
    shapes = {}
    for row in (*free_rows(), *headed_rows()):
        shapes.setdefault(row.family, set()).add((row.k, row.l))
    four = {(2, 2), (3, 3), (3, 1), (2, 3)}
    odd = {(2, 3)}  # no pairing of five vertices
    assert shapes == dict.fromkeys(["S, worst", "S, best", *HEADED], four) | dict.fromkeys(["O, SO", "Sp"], four - odd)


def test_text() -> None:
    assert text(3 * N**2 - N) == "3 n^2 - n"
    assert degree(3 * N**2 - N) == 2
    assert degree(sympy.Integer(5)) == degree(0) == 0


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5, 6.0])
def test_the_exponent_of_a_power_law_is_recovered(power: float) -> None:
    sizes = [10, 14, 20, 28, 40, 56]
    fit = exponent(sizes, [3e-6 * size**power for size in sizes])
    assert fit.value == pytest.approx(power, abs=1e-9)
    assert fit.error == pytest.approx(0, abs=1e-7)
    assert (fit.points, fit.first, fit.last) == (6, 10, 56)


def test_the_error_of_an_exponent_is_the_scatter_of_repeated_fits() -> None:
    rng, sizes = np.random.default_rng(0), [10, 14, 20, 28, 40, 56]
    fits = [exponent(sizes, [size**2 * math.exp(0.1 * rng.normal()) for size in sizes]) for _ in range(400)]
    scatter = np.std([fit.value for fit in fits])
    assert np.mean([fit.value for fit in fits]) == pytest.approx(2, abs=4 * scatter / 20)
    assert np.sqrt(np.mean([fit.error**2 for fit in fits])) == pytest.approx(scatter, rel=0.15)


def test_exponents_that_cannot_be_fitted() -> None:
    assert exponent([1, math.e], [1, math.e]) == Exponent(1.0, None, 2, 1, math.e)
    assert str(exponent([1, 2], [1, 8])) == "3.00"
    assert str(exponent([1, 2, 4], [1, 8, 64])) == "3.00 ± 0.00"
    for x, y in (([1, 1], [1, 2]), ([1, 2], [1, 0]), ([1, 2], [1])):
        with pytest.raises(ValueError, match="a power law needs positive values"):
            exponent(x, y)


def test_overhead_is_taken_off_before_the_fit() -> None:
    row = Row("O, SO", 2, 2)
    records = [
        {"case": Case(row, n).record, "rival": rival + tail, "median": 1e-5 + 1e-9 * n**power}
        for rival, power in zip(RIVALS, (1, 2, 2, 4), strict=True)
        for n, tail in ((2, OVERHEAD), (100, ""), (1000, ""), (10000, ""), (100000, ""))
    ]
    (found,) = benchmark.STYLE.summary(records)["free"]
    values = [found["exponents"][rival] and round(found["exponents"][rival]["value"], 2) for rival in RIVALS]
    assert values == [None, 2, 2, 4]  # of the first only the last two sizes take longer than half of the overhead
    assert (found["degree"], found["moved_degree"], found["plan_degree"]) == (1, 2, 2)


def test_a_row_without_overhead_has_no_exponent() -> None:
    row = Row("O, SO", 2, 2)
    records = [
        {"case": Case(row, n).record, "rival": rival, "median": 1e-9 * n**2}
        for rival in ("factored", "dense", "factored" + OVERHEAD)
        for n in (2, 100, 1000, 10000)
    ]
    failed = {"case": Case(row, 2).record, "rival": "plan", "status": "failed"}  # without a time
    (found,) = benchmark.STYLE.summary([*records, failed])["free"]
    assert found["exponents"]["factored"]["value"] == pytest.approx(2, abs=1e-3)
    assert [found["exponents"][rival] for rival in ("factored, written", "plan", "dense")] == [None, None, None]


def test_what_differs_is_recorded_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case, seed: int) -> dict:
        results = (("expected", 1), ("a", 1), ("b", 2))
        return {rival: (lambda: None, lambda value=value: np.full(4, value)) for rival, value in results}

    monkeypatch.setattr(benchmark, "calls", broken)
    a, b = benchmark.timed(Case(Row("Sp", 2, 2), 4), Harness(benchmark.limits(quick=True)), 0)
    assert (a.status, a.relative_error) == ("measured", 0.0)
    assert a.repeats >= 3
    assert (b.status, b.repeats, b.median) == ("differs", 0, None)
    assert b.reason == "its result is 1.0e+00 of the largest entry away from the result of factored, over 1e-03"


def test_names_of_cells_are_unique() -> None:
    for quick in (True, False):
        names = [cell.name for cell in benchmark.BENCHMARK.cells(quick)]
        assert len(set(names)) == len(names)


@pytest.mark.slow
def test_a_quick_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    about = benchmark.BENCHMARK
    chosen = [cell for cell in about.cells(True) if cell.direction == "2 → 2"]
    assert {cell.case["group"] for cell in chosen} == set(GROUPS)
    measure = about.start(True, 0, lambda text: None)
    found = []
    for cell in chosen:
        measured = [m.record() for m in measure(cell)]
        assert tuple(m["rival"] for m in measured) == cell.rivals
        assert all(m["case"] == cell.case and m["direction"] == cell.direction for m in measured)
        found += measured
    assert {m["rival"] for m in found} == {rival + tail for rival in RIVALS for tail in ("", OVERHEAD)}
    assert all(m["relative_error"] < 1e-3 for m in found)
    summary = about.style.summary(found)
    assert [row["family"] for row in summary["free"]] == ["S, worst", "S, best", "O, SO", "Sp"]
    assert {row["family"] for row in summary["headed"]} == set(HEADED)
    table = "\n".join(report(summary))
    assert "| S, worst | 2 → 2 | `1 1' \\| 2 \\| 2'` | O(n^2) | 0 | n^2 - n | 2 n^2 | n^4 |" in table
    about.style.plot(tmp_path / "a.png", {"measurements": found}, list(RIVALS), about.panel, about.axis)
    assert (tmp_path / "a.png").stat().st_size > 10_000
