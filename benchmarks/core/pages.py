"""The pages of the benchmarks: the table of each, the index, and the two tables of papers."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.core import catalog, lines, paper
from benchmarks.core.benchmark import Benchmark
from benchmarks.core.folders import README, RESULTS, ROOT
from benchmarks.core.lines import Line
from benchmarks.core.measurement import Skip
from benchmarks.core.numbers import with_spread
from benchmarks.core.paper import Ours, Published
from benchmarks.core.report import grid
from benchmarks.core.results import joined, result

FRONT = ROOT / "README.md"
PAPERS = ROOT / "docs" / "papers.md"
REPOSITORY: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
ROOM_TITLES = {
    "speed": "Speed and memory",
    "accuracy": "Accuracy",
    "tasks": "Tasks of our own",
    "papers": "Papers",
}


def page(name: str) -> Path:
    """The page of a benchmark: NOTES.md in its folder, or a file next to its module."""
    file = Path(str(importlib.import_module(catalog.modules()[name]).__file__))
    return file.with_name("NOTES.md") if file.stem == "__init__" else file.with_suffix(".md")


def stored(name: str) -> list[Line]:
    """The stored lines of a benchmark."""
    return lines.read(RESULTS / f"{name}.jsonl")


def paste(document: Path, name: str, text: str) -> None:
    """Put a text between the markers `begin NAME` and `end NAME` of a document.

    Raises:
        ValueError: if the document lacks the markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = document.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    after, count = pattern.subn(lambda _: f"{begin}\n{text}{end}", before)
    if count != 1:
        raise ValueError(f"{document.name} has no markers {begin} and {end}")
    document.write_text(after, encoding="utf-8")


def draw(name: str, benchmark: Benchmark, found: list[Line], folder: Path) -> None:
    """Draw the plot of lines into a folder.

    Raises:
        Skip: if matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise Skip("matplotlib is not installed, so that there is no plot: pip install matplotlib")
    whole, rivals = result(benchmark, found), benchmark.rivals
    benchmark.style.plot(folder / f"{name}.png", whole, list(rivals), benchmark.panel, benchmark.axis)


def text(benchmark: Benchmark, found: list[Line]) -> str:
    """The tables of a benchmark as Markdown, with verdicts on a paper's values."""
    whole = result(benchmark, found)
    return benchmark.style.markdown(whole, benchmark.rivals) + verdicts(benchmark, found)


def source(published: Published) -> str:
    """Return the place of a published value."""
    return published.place or "*recalled*"


def _ours(found: Ours | None, data: str | None) -> str:
    if found is None:
        return "–"
    seeds = "1 seed" if found.seeds == 1 else f"{found.seeds} seeds"
    seeds += f", {found.lost} lost" if found.lost else ""
    return f"{with_spread(found.mean, found.sd)} ({seeds}{f', on {data}' if data else ''})"


def _theirs(one: Published) -> str:
    return f"{with_spread(one.value, one.spread)} ({source(one)})"


def verdicts(benchmark: Benchmark, found: list[Line]) -> str:
    """The table of a paper's values, ours, and verdicts."""
    if benchmark.paper is None:
        return ""
    ours = paper.values(joined(found))
    claims = benchmark.paper.claims
    body = [
        [one.label, f"{one.row} / {one.rival}", one.metric, _theirs(one), _ours(one.ours(ours), one.data), verdict]
        for one in benchmark.paper.published
        for verdict in [paper.verdict(one, claims, ours)]
    ]
    said = [
        f"- {claim.task}: {claim.better} better than {claim.than} ({claim.place}): "
        + {True: "holds", False: "fails", None: "open"}[paper.holds(claim, ours)]
        for claim in claims
    ]
    table = grid(["task", "paper / here", "metric", "paper", "here", "verdict"], body, 6)
    return "\n".join(["", "The paper's values:", "", *table, *(["", "Its claims:", "", *said] if said else [])]) + "\n"


def front() -> str:
    """Return the short table of papers: the first headline value of each or the number of claims that hold."""
    body = []
    for name, benchmark in _papers():
        about = benchmark.paper
        assert about is not None
        metric, one, mean, verdict, _ = _headlines(name, about)[0]
        theirs = "–" if one is None else with_spread(one.value, one.spread) + ("" if one.place else " (*recalled*)")
        notes = f"{REPOSITORY}/blob/main/{page(name).relative_to(ROOT).as_posix()}"
        body.append([f"[{about.title}]({notes})", metric, theirs, mean, verdict])
    return "\n".join(grid(["paper", "metric", "paper's value", "ours", "verdict"], body, 5)) + "\n"


def papers() -> str:
    """Return the table of papers: headline values or the number of claims that hold, ours, verdict and command."""
    body = []
    for name, benchmark in _papers():
        about = benchmark.paper
        assert about is not None
        rows = [
            [metric, "–" if one is None else _theirs(one), whole, verdict]
            for metric, one, _, verdict, whole in _headlines(name, about)
        ]
        link = f"[{about.title}](https://arxiv.org/abs/{about.arxiv})"
        notes = Path(os.path.relpath(page(name), PAPERS.parent)).as_posix()
        command = f"[`run paper:{about.arxiv}`]({notes})"
        body += [[link, *rows[0], command], *(["", *row, ""] for row in rows[1:])]
    return "\n".join(grid(["paper", "metric", "paper's value", "ours", "verdict", "command"], body, 6)) + "\n"


def _headlines(name: str, about: paper.Paper) -> list[tuple[str, Published | None, str, str, str]]:
    """Return metric, published value, our mean, verdict, and our mean with seeds and data for each row of a paper."""
    ours = paper.values(joined(stored(name)))
    rows: list[tuple[str, Published | None, str, str, str]] = []
    for one in about.published:
        if one.headline:
            found = one.ours(ours)
            mean = "–" if found is None else with_spread(found.mean, found.sd)
            verdict = paper.verdict(one, about.claims, ours)
            rows.append((f"{one.label}: {one.metric}", one, mean, verdict, _ours(found, one.data)))
    if rows:
        return rows
    held = sum(paper.holds(claim, ours) is True for claim in about.claims)
    result = f"{held} of {len(about.claims)} hold" if about.claims else "see the notes"
    metric = "comparisons between methods" if about.claims else "bounds, without numbers"
    return [(metric, None, result, "–", result)]


def _papers() -> Iterator[tuple[str, Benchmark]]:
    for name in catalog.modules():
        benchmark = catalog.load(name)
        if benchmark.paper is not None:
            yield name, benchmark


def hours(found: Iterable[Line]) -> str:
    """Return the hours of all cells; a dash if a line does not have its seconds."""
    cells: dict[tuple[str, int], float] = {}
    for line in found:
        if "seconds" not in line:
            return "–"
        cells[line["cell"], line["seed"]] = line["seconds"]
    return f"{sum(cells.values()) / 3600:.2f}" if cells else "–"


def index() -> str:
    """The benchmarks, room by room: page, summary, cells, seeds, hours."""
    text: list[str] = []
    for room, title in ROOM_TITLES.items():
        body = []
        for name, module in catalog.modules().items():
            if module.split(".")[1] != room:
                continue
            benchmark, found = catalog.load(name), stored(name)
            stored_seeds = Counter(cell for cell, _ in {(line["cell"], line["seed"]) for line in found})
            seeds = f"{max(stored_seeds.values(), default=0)} of {benchmark.seeds}"
            link = f"[{name}]({Path(os.path.relpath(page(name), README.parent)).as_posix()})"
            body.append([link, benchmark.summary, str(len(benchmark.cells(False))), seeds, hours(found)])
        text += [f"**{title}**", "", *grid(["benchmark", "what", "cells", "seeds", "hours"], body, 2), ""]
    return "\n".join(text)
