"""Runs resume, failures are gaps, lines are joined over seeds, and verdicts follow their rule."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.core import catalog, command, lines, machine, pages, paper
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.diff import changes
from benchmarks.core.folders import README, ROOT
from benchmarks.core.measurement import Measurement, Skip
from benchmarks.core.numbers import ranges, with_spread
from benchmarks.core.paper import Claim, Ours, Paper, Published
from benchmarks.core.results import joined, result
from benchmarks.core.runner import Plan, alone, run
from benchmarks.core.task_report import TRAINED

KILLED = """
import sys, time
from pathlib import Path
from rich.console import Console
from tests.benchmarks.test_workbench import slow
from benchmarks.core.runner import Plan, run
run("slow", slow(0.2), Plan(True, (0, 1), None, False, Path(sys.argv[1])), Console())
"""


def slow(seconds: float) -> Benchmark:
    """A benchmark of four cells, whose scores depend on the cell and the seed."""

    def start(quick: bool, seed: int, tell: Tell) -> Measure:
        def measure(cell: Cell) -> list[Measurement]:
            time.sleep(seconds)
            scores = {"error, as drawn": cell.case["n"] + seed / 10, "error, moved": 2.0}
            return [Measurement(dict(cell.case), cell.direction, rival, scores=scores) for rival in cell.rivals]

        return measure

    def cells(quick: bool) -> list[Cell]:
        return [Cell({"task": "t", "n": n}, "train", ("a", "b")) for n in range(1, 5)]

    return Benchmark("Slow", "sleeps", {"a": "one", "b": "other"}, cells, start, style=TRAINED, timed=False, seeds=2)


def test_a_killed_run_resumes_and_reports_the_same(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT)
    path = tmp_path / "slow.jsonl"
    while not (path.exists() and path.read_text(encoding="utf-8").count("\n") >= 4):
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = lines.read(path)
    assert 0 < len(lines.done(before)) < 8
    with path.open("a", encoding="utf-8") as file:
        file.write('{"cell": "half a li')  # as if it had been killed while writing
    run("slow", slow(0.0), Plan(True, (0, 1), None, True, tmp_path), Console())
    resumed = lines.read(path)
    assert [line for line in resumed if (line["cell"], line["seed"]) in lines.done(before)] == before
    whole = run("slow", slow(0.0), Plan(True, (0, 1), None, False, tmp_path / "whole"), Console())
    assert joined(resumed) == joined(whole)
    log = (tmp_path / "slow.log").read_text(encoding="utf-8")
    assert log.count("seed 1, task t, n 4, train") == 1
    assert re.search(r"^\d{4}-\d\d-\d\dT\S+ seed 0, task t, n 1, train$", log, re.MULTILINE)


def test_only_the_named_cells_run_and_a_new_run_keeps_the_lines_of_the_one_before(tmp_path: Path) -> None:
    plan = Plan(True, (3,), "N 2", False, tmp_path)
    found = run("slow", slow(0.0), plan, Console())
    assert {(line["cell"], line["seed"]) for line in found} == {("task t, n 2, train", 3)}
    again = run("slow", slow(0.0), replace(plan, only="n 4"), Console())
    assert {line["cell"] for line in again} == {"task t, n 4, train"}
    (before,) = tmp_path.glob("slow.2*.jsonl")
    assert {line["cell"] for line in lines.read(before)} == {"task t, n 2, train"}
    assert run("slow", slow(0.0), replace(plan, only="no such"), Console()) == []
    assert lines.read(tmp_path / "slow.jsonl") == again


def test_a_run_that_resumes_takes_no_lines_of_other_runs(tmp_path: Path) -> None:
    plan = Plan(True, (0,), "n 1", True, tmp_path)
    (one, *_) = run("slow", slow(0.0), plan, Console())
    foreign = [{"benchmark": "fast"}, {"quick": False}, {"limits": {"steps": 3}}, {"cell": "task t, n 9, train"}]
    lines.append(tmp_path / "slow.jsonl", [one | other | {"of": 1, "seed": 7} for other in foreign])
    found = run("slow", slow(0.0), replace(plan, only=None), Console())
    assert {line["seed"] for line in found} == {0}
    assert len(lines.done(found)) == 4


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (TypeError("unsupported operand\nmore"), "failed", "TypeError: unsupported operand"),
        (AssertionError(), "failed", "AssertionError"),
        (Skip("emlp is not installed\nat all"), "skipped", "emlp is not installed"),
        (SystemExit(0), "failed", "SystemExit: 0"),
        (ValueError("shape [/n, 3]"), "failed", "ValueError: shape [/n, 3]"),
    ],
)
def test_whatever_is_raised_is_a_gap_and_the_run_goes_on(
    error: Exception, status: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(quick: bool, seed: int, tell: Tell) -> Measure:
        good = slow(0.0).start(quick, seed, tell)

        def measure(cell: Cell) -> list[Measurement]:
            if cell.case["n"] == 2:
                raise error
            return good(cell)

        return measure

    broken = replace(slow(0.0), start=start)
    found = run("slow", broken, Plan(True, (0,), None, False, tmp_path), Console())
    assert len(found) == 8
    bad = [line for line in found if line["status"] != "measured"]
    assert [(line["rival"], line["status"], line["reason"]) for line in bad] == [
        ("a", status, reason),
        ("b", status, reason),
    ]
    assert command.finish("slow", broken, found, tmp_path, Console()) == int(status == "failed")
    assert f"{status}: seed 0, task t, n 2, train, a: {reason}" in capsys.readouterr().out
    assert reason in (tmp_path / "slow.md").read_text(encoding="utf-8")
    log = (tmp_path / "slow.log").read_text(encoding="utf-8")
    assert ("Traceback" in log) == (status == "failed")


def test_a_benchmark_that_cannot_start_fails_in_every_cell(tmp_path: Path) -> None:
    def start(quick: bool, seed: int, tell: Tell) -> Measure:
        raise OSError("no data")

    found = run("slow", replace(slow(0.0), start=start), Plan(True, (0,), None, False, tmp_path), Console())
    assert {line["reason"] for line in found} == {"OSError: no data"}
    assert len(found) == 8


def test_lines_of_a_cell_count_together(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    about = {"benchmark": "b", "quick": False, "limits": {}, "case": {}, "direction": "", "status": "measured"}
    line = about | {"cell": "c", "of": 2, "seed": 0, "date": "1"}
    lines.append(path, [line | {"rival": "a"}])
    assert lines.read(path) == []
    lines.append(path, [line | {"rival": "a", "date": "2"}, line | {"rival": "b", "date": "2", "x": 1 / 3}])
    assert [(one["rival"], one["date"]) for one in lines.read(path)] == [("a", "2"), ("b", "2")]
    assert lines.read(path)[1]["x"] == 0.333333
    lines.append(path, [line | {"rival": name, "date": "3"} for name in "ab"])
    assert [one["date"] for one in lines.read(path)] == ["3", "3"]
    lines.write(path, lines.read(path))
    assert path.read_text(encoding="utf-8").count("\n") == 2
    assert lines.read(tmp_path / "none.jsonl") == []
    lines.append(path, [line | {"rival": name, "date": "4", "limits": {"steps": 2}} for name in "ab"])
    assert [one["date"] for one in lines.read(path)] == ["4", "4"]  # a seed counts once, whatever its limits
    lines.append(path, [line | {"rival": name, "quick": True, "of": 1} for name in "q"])
    assert [one["quick"] for one in lines.read(path)] == [False, False, True]  # budgets do not replace one another
    with path.open("ab") as file:
        file.write(b'123\n[]\n{}\n{"cell": "c", "of": 1, "seed": 0}\n\xff\n')
    lines.append(path, [line | {"rival": "odd \u2028 \ud800", "seed": 1, "of": 1, "x": np.float32(0.5)}])
    assert [one["rival"] for one in lines.read(path)][-1] == "odd \u2028 \ud800"
    assert lines.read(path)[-1]["x"] == 0.5


def line(seed: int, error: float | None, **more: object) -> lines.Line:
    """A line of a seed, or of a failure."""
    status = {"status": "measured", "scores": {"error": error}} if error is not None else {"status": "failed"}
    return {"case": {"task": "t"}, "direction": "train", "rival": "a", "seed": seed, "cell": "c", **status, **more}


def test_seeds_are_joined() -> None:
    (found,) = joined([line(0, 1.0, median=2.0), line(1, 3.0, median=4.0), line(2, None, reason="diverged")])
    assert found["scores"] == {"error": 2.0}
    assert found["spread"] == {"error": pytest.approx(2**0.5)}
    assert (found["median"], found["seeds"], found["status"]) == (3.0, 2, "measured")
    assert found["reason"] == "seed 2: diverged"
    (alone,) = joined([line(0, 1.0)])
    assert "spread" not in alone
    assert "seed" not in alone
    (lost,) = joined([line(0, None, reason="x"), line(1, None, reason="x")])
    assert lost["status"] == "failed"
    (sizes, _) = joined([line(0, 1.0, peak_bytes=100), line(1, 1.0, peak_bytes=900), line(0, 1.0) | {"rival": "b"}])
    assert sizes["peak_bytes"] == 500
    (late,) = joined([line(0, 1.0) | {"scores": None}, line(1, 2.0), line(2, math.nan)])
    assert late["counts"] == {"error": 2}
    assert math.isnan(late["scores"]["error"])


def test_values_that_were_lost_or_are_not_finite_are_not_verdicts() -> None:
    seeds = [line(0, 1.0), *(line(seed, None, reason="x") for seed in range(1, 5))]
    (ours,) = set(paper.values(joined(seeds)).values())
    assert ours == Ours(1.0, None, 1, 4)
    assert pages._ours(ours, None) == "1 (1 seed, 4 lost)"
    for bad in (math.nan, math.inf):
        assert paper.values(joined([line(0, bad), line(1, 1.0)])) == {}
    assert paper.values([line(0, 1.0) | {"status": "differs"}]) == {}


def test_numbers() -> None:
    assert with_spread(0.0571, 0.0023) == "0.0571 ± 0.0023"
    assert with_spread(83.89, 12.95) == "84 ± 13"
    assert with_spread(2.61e-4, 3.2e-5) == "(2.61 ± 0.32)e-4"
    assert [with_spread(v) for v in (0.0571, 1234.0, 2.6e-5, 0.0)] == ["0.0571", "1.23e+03", "2.60e-5", "0"]
    assert with_spread(0.5, 0.0) == "0.5 ± 0"
    assert [with_spread(1234.0, s) for s in (678.0, 0.0996, 9.96)] == ["1230 ± 680", "1234.00 ± 0.10", "1234 ± 10"]
    assert with_spread(1e300, 1e-300) == "1e+300 ± 1.0e-300"
    assert with_spread(5e-324, 5e-324) == "4.94e-324 ± 4.9e-324"
    assert with_spread(1.0, math.nan) == "1 ± nan"
    assert with_spread(-0.0) == "0"
    assert [ranges(v) for v in ([0, 1, 2], [4, 1], [3])] == ["0 to 2", "1, 4", "3"]


PUBLISHED = Published("t", "a", "error", "error", "A", 1.0, "table 1", 0.1)
CLAIM = Claim("t", "error", "a", "b", "table 1")


@pytest.mark.parametrize(
    ("ours", "other", "verdict"),
    [
        (Ours(1.09, None, 1), None, "reproduced"),  # within ten percent
        (Ours(1.19, 0.1, 5), None, "reproduced"),  # within two standard deviations of both
        (Ours(1.19, 0.01, 5), None, "not"),  # within two of the paper's only
        (Ours(1.5, 1.0, 5), None, "not"),  # within two of ours only
        (Ours(2.0, 0.1, 5), Ours(3.0, 0.1, 5), "partly"),  # the claim holds
        (Ours(2.0, 0.1, 5), Ours(1.9, 0.1, 5), "not"),  # the claim is open
        (Ours(2.0, 0.1, 5), Ours(1.0, 0.1, 5), "contradicted"),
        (Ours(1.0, 0.1, 5), Ours(0.1, 0.1, 5), "reproduced"),  # the number, whatever the claim
        (None, Ours(1.0, 0.1, 5), "not measured"),
    ],
)
def test_the_verdict_follows_the_rule(ours: Ours | None, other: Ours | None, verdict: str) -> None:
    found = {key: value for key, value in ((("t", "a", "error"), ours), (("t", "b", "error"), other)) if value}
    assert paper.verdict(PUBLISHED, [CLAIM], found) == verdict


def test_on_other_data_only_claims_count() -> None:
    other = replace(PUBLISHED, data="fewer images")
    found = {("t", "a", "error"): Ours(1.0, 0.1, 5)}
    assert paper.verdict(other, [], found) == "other data"
    assert paper.verdict(other, [CLAIM], found) == "not"
    assert paper.verdict(other, [CLAIM], found | {("t", "b", "error"): Ours(3.0, 0.1, 5)}) == "partly"
    assert paper.verdict(other, [CLAIM], found | {("t", "b", "error"): Ours(0.1, 0.1, 5)}) == "contradicted"


def test_of_scores_near_one_the_distance_from_one_is_judged() -> None:
    about = replace(PUBLISHED, value=2e-4, spread=None, from_one=True)
    ours = {mean: {("t", "a", "error"): Ours(mean, 1e-5, 5)} for mean in (0.99979, 0.99)}
    assert [paper.verdict(about, [], found) for found in ours.values()] == ["reproduced", "not"]
    assert about.ours(ours[0.99]) == Ours(pytest.approx(0.01), 1e-5, 5)
    assert about.ours({}) is None


def test_a_single_seed_contradicts_by_more_than_ten_percent() -> None:
    other = (("t", "b", "error"), Ours(1.0, None, 1))
    assert paper.holds(CLAIM, dict([(("t", "a", "error"), Ours(1.05, None, 1)), other])) is None
    assert paper.holds(CLAIM, dict([(("t", "a", "error"), Ours(1.2, None, 1)), other])) is False


def test_a_larger_score_can_be_better() -> None:
    found = {("t", "a", "error"): Ours(1.0, 0.1, 5), ("t", "b", "error"): Ours(2.0, 0.1, 5)}
    assert paper.holds(CLAIM, found) is True
    assert paper.holds(replace(CLAIM, larger=True), found) is False
    assert paper.holds(replace(CLAIM, larger=True, task="u"), found) is None


def test_the_tables_of_a_paper() -> None:
    about = Paper("A title", "0000.00000", "A.", 2020, published=(PUBLISHED, replace(PUBLISHED, place=None)), claims=())
    benchmark = replace(slow(0.0), paper=about)
    text = pages.verdicts(benchmark, [line(0, 1.0), line(1, 1.1)])
    assert "| t | A / a | error | 1.00 ± 0.10 (table 1) | 1.050 ± 0.071 (2 seeds) | reproduced |" in text
    assert "1.00 ± 0.10 (*recalled*)" in text


def test_differences_of_runs() -> None:
    before = [
        {"case": {"n": 1}, "direction": "f", "rival": "ours", "median": 1.0, "scores": {"error": 1.0, "seconds": 3.0}},
        {"case": {"n": 1}, "direction": "f", "rival": "theirs", "median": 2.0},
        {"case": {"n": 2}, "direction": "f", "rival": "ours", "median": 2.0},
    ]
    after = [before[0] | {"scores": {"error": 1.5}}, before[1] | {"median": 4.0}]
    found = [(change.where, change.before, change.after) for change in changes(before, after)]
    assert found == [
        ("n 1, f, theirs, time as a multiple of the reference", 2.0, 4.0),
        ("n 1, f, ours, error", 1.0, 1.5),
        ("n 1, f, ours, time as a multiple of the reference", 1.0, 1.0),
    ]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main([]) == 0
    assert "permutation_layers" in capsys.readouterr().out
    for words, text in {
        ("run", "nothing"): "there is no benchmark 'nothing'; there are: all, ",
        ("run", "paper:1"): "there is no benchmark 'paper:1'",
        ("run", "memory", "--store", "--quick"): "--store is for complete runs, and takes no --quick",
        (
            "run",
            "memory",
            "--seeds",
            "x",
        ): "'x' is no range of seeds; write one seed below 2^31, such as 3, or 0:5 for 0 to 4",
        ("run", "memory", "--seeds", "5:5"): "'5:5' is no range of seeds",
        ("run", "memory", "--seeds", "0:3000000000"): "'0:3000000000' is no range of seeds",
        ("run", "memory", "--seeds", "4294967296"): "'4294967296' is no range of seeds",
        ("run", "memory", "--output", __file__): "is no folder that can be written",
    }.items():
        with pytest.raises(SystemExit):
            command.main(list(words))
        assert text in " ".join(capsys.readouterr().err.split())
    assert command.main(["run", "memory", "--quick", "--only", "no such", "--output", str(tmp_path)]) == 1
    assert "no cell's name contains 'no such'" in capsys.readouterr().out
    assert command.main(["diff", "memory", "--output", str(tmp_path)]) == 1
    assert command.seeds("0:5") == (0, 1, 2, 3, 4)
    assert command.seeds("3") == (3,)


def test_what_cannot_be_stored_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "revision", lambda: "abc+")
    assert "commit first" in str(command.unfit(["memory"]))
    monkeypatch.setattr(machine, "revision", lambda: "abc")
    monkeypatch.setattr(machine, "load_average", lambda: 3.0)
    assert "the load average is 3.0, more than 0.5" in str(command.unfit(["peers"]))
    assert command.unfit(["graph_atlas"]) is None  # its numbers do not depend on it
    monkeypatch.setattr(machine, "load_average", lambda: 0.1)
    assert command.unfit(["peers"]) is None


def test_a_paper_is_found_by_its_number() -> None:
    assert catalog.named("paper:2104.09459") == ["emlp_2104_09459"]
    assert set(catalog.named("all")) == set(catalog.modules())
    with pytest.raises(KeyError):
        catalog.named("paper:")


@pytest.mark.parametrize("name", catalog.modules())
def test_cells_have_names_of_their_own_and_pages_state_the_stored_lines(name: str) -> None:
    benchmark = catalog.load(name)
    for quick in (True, False):
        names = [cell.name for cell in benchmark.cells(quick)]
        assert names
        assert len(set(names)) == len(names)
    page = pages.page(name).read_text(encoding="utf-8")
    found = pages.stored(name)
    if not found:
        assert "It has not been run" in page
        return
    assert not any(line["quick"] for line in found)
    assert {line["cell"] for line in found} == set(names)
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    assert page.split(begin)[1].split(end)[0] == pages.text(benchmark, found)
    assert result(benchmark, found)["circumstances"]


@pytest.mark.parametrize("name", [name for name in catalog.modules() if catalog.load(name).paper])
def test_all_that_a_paper_names_is_measured(name: str) -> None:
    benchmark = catalog.load(name)
    assert benchmark.paper is not None
    measured = {(cell.case["task"], rival) for cell in benchmark.cells(False) for rival in cell.rivals}
    assert {rival for _, rival in measured} <= set(benchmark.rivals)
    assert {(target.case["task"], target.rival) for target in benchmark.targets} <= measured
    compared = {(one.task, one.rival, one.score) for one in benchmark.paper.published}
    compared |= {(c.task, rival, c.score) for c in benchmark.paper.claims for rival in (c.better, c.than)}
    stored = {
        (line["case"]["task"], line["rival"], score) for line in pages.stored(name) for score in line.get("scores", {})
    }
    assert compared <= stored


def test_the_overviews_state_the_stored_lines() -> None:
    overviews = [(README, "index", pages.index()), (pages.FRONT, "papers", pages.front())]
    for document, name, text in [*overviews, (pages.PAPERS, "papers", pages.papers())]:
        assert f"<!-- begin {name} -->\n{text}<!-- end {name} -->" in document.read_text(encoding="utf-8")


def test_the_index_counts_the_seeds_of_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"one": range(5), "two": range(1, 6)}
    found = [{"cell": cell, "seed": seed} for cell, seeds in cells.items() for seed in seeds]
    monkeypatch.setattr(pages, "stored", lambda name: found)
    assert "| 5 of 5 |" in pages.index()
    assert "| 6 of " not in pages.index()


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    plan = Plan(True, (0,), None, False, tmp_path)
    with alone(tmp_path / "slow.lock"), pytest.raises(Skip, match="another run writes to"):
        run("slow", slow(0.0), plan, Console())
    assert run("slow", slow(0.0), plan, Console())


def test_lines_of_an_uncommitted_tree_are_measured_again_to_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(True, (0,), None, True, tmp_path)
    monkeypatch.setattr(machine, "revision", lambda: "abc+")
    run("slow", slow(0.0), plan, Console())
    monkeypatch.setattr(machine, "revision", lambda: "abc")
    assert {line["revision"] for line in run("slow", slow(0.0), plan, Console())} == {"abc+"}
    assert {line["revision"] for line in run("slow", slow(0.0), replace(plan, store=True), Console())} == {"abc"}


def test_without_matplotlib_there_is_a_table_and_no_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run("slow", slow(0.0), Plan(True, (0,), None, False, tmp_path), Console())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command.finish("slow", slow(0.0), found, tmp_path, Console()) == 0
    assert "slow: matplotlib is not installed, so that there is no plot" in capsys.readouterr().out
    assert (tmp_path / "slow.md").exists()
    assert not (tmp_path / "slow.png").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[claim]]\ntask='t'\nscore='s'\nbetter='a'\nthan='b'\nplace='p'\nlarger='false'", "neither true nor false"),
        ("[[published]]\ntask='t'\nrival='a'\nscore='s'\nmetric='m'\nrow='r'\nvalue='0.3'", "a value is no number"),
        ("[[published]]\ntask='t'", "missing"),
        ("[[claims]]\ntask='t'", "unknown entries: claims"),
        ("[published]\ntask='t'", "items"),
    ],
)
def test_a_paper_that_cannot_be_read_is_named(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "paper.toml"
    file.write_text(f"title='t'\narxiv='1'\nauthors='a'\nyear=1\n{text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{tmp_path.name}/paper\.toml: .*{problem}"):
        paper.read(file)


def test_text_is_put_between_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n", encoding="utf-8")
    pages.paste(page, "x", "new \\1\n")
    assert page.read_text(encoding="utf-8") == "a\n<!-- begin x -->\nnew \\1\n<!-- end x -->\nb\n"
    with pytest.raises(ValueError, match="no markers"):
        pages.paste(page, "y", "")


def test_stored_lines_have_no_paths() -> None:
    about = json.dumps({"machine": machine.machine(), "versions": machine.versions()})
    assert "/home" not in about
    assert str(ROOT) not in about
