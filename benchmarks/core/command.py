"""`python -m benchmarks`: list, run, report, diff and check."""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console
from rich.markup import escape

from benchmarks.core import catalog, lines, machine, pages
from benchmarks.core.benchmark import Benchmark
from benchmarks.core.diff import changes
from benchmarks.core.folders import README, RESULTS, SCRATCH
from benchmarks.core.lines import Line
from benchmarks.core.measurement import Skip, one_line
from benchmarks.core.report import rich_table
from benchmarks.core.results import joined, result
from benchmarks.core.runner import Plan, complete, run

IDLE = 0.5
"""The load average above which a machine is busy."""
SMALL = 0.1
"""Relative changes that `diff` does not list."""


MOST_SEEDS = 1000


def seeds(word: str) -> tuple[int, ...]:
    """Read `3` or `0:5`."""
    match = re.fullmatch(r"(\d{1,10})(?::(\d{1,10}))?", word)
    found = range(0) if match is None else range(int(match[1]), int(match[2] or int(match[1]) + 1))
    if not 0 < len(found) <= MOST_SEEDS or found[-1] >= 2**31:
        raise argparse.ArgumentTypeError(
            f"{word[:20]!r} is no range of seeds; write one seed below 2^31, such as 3, or 0:5 for 0 to 4, at most "
            f"{MOST_SEEDS}"
        )
    return tuple(found)


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    whole = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure equikit against its rivals.")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="list the benchmarks (also without a command)")
    which = "a benchmark, paper:NUMBER for the one of an arXiv number, or all"
    one = commands.add_parser("run", help="run benchmarks")
    one.add_argument("which", metavar="NAME", help=which)
    one.add_argument(
        "--quick", action="store_true", help="small cases, short training, quick compilation: does everything work?"
    )
    one.add_argument("--seeds", type=seeds, metavar="FIRST:END", help="one seed, or a range without its end")
    one.add_argument("--only", metavar="CASE", help="cells whose name contains this")
    one.add_argument("--resume", action="store_true", help="keep the cells of an earlier run into the same folder")
    one.add_argument("--output", type=Path, metavar="DIR", help="folder for lines, log, table and plot")
    one.add_argument("--store", action="store_true", help="also store the lines, with table and plot, in the project")
    report = commands.add_parser("report", help="write tables and plots from stored lines again")
    report.add_argument("which", metavar="NAME", nargs="?", default="all", help=which)
    diff = commands.add_parser("diff", help="compare the last run with the stored one")
    diff.add_argument("which", metavar="NAME", nargs="?", default="all", help=which)
    diff.add_argument("--output", type=Path, metavar="DIR", default=SCRATCH, help="folder of the run")
    check = commands.add_parser(
        "check", help="compare the ratios of three small cases, and three compiled layers, with the stored ones"
    )
    check.add_argument("--store", action="store_true", help="store the ratios instead")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit status."""
    read = parser()
    options = read.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # tables have arrows, which some encodings lack
    console = Console()
    if options.command in (None, "list"):
        return show_list(console)
    if options.command == "check":
        from benchmarks.speed import _check, _target_check

        return _check.run(console, keep=options.store) | (0 if options.store else _target_check.run(console))
    try:
        names = catalog.named(options.which)
    except KeyError:
        read.error(f"there is no benchmark {options.which!r}; there are: all, {', '.join(catalog.modules())}")
    if options.command == "report":
        return report(names, console)
    if options.command == "diff":
        return diff(names, options.output, console)
    folder: Path = options.output or (SCRATCH / "quick" if options.quick else SCRATCH)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        read.error(f"--output {str(folder)!r} is no folder that can be written: {error.strerror}")
    if options.store and options.quick:
        read.error("--store is for complete runs, and takes no --quick")
    problem = unfit(names) if options.store else None
    if problem:
        read.error(problem)
    if options.quick:  # most of a short run is compilation
        jax.config.update("jax_disable_most_optimizations", True)
    try:
        return run_all(names, options, folder, console)
    except KeyboardInterrupt:
        console.print("interrupted; the same command with --resume keeps the cells that are done", highlight=False)
        return 130


def unfit(names: Sequence[str]) -> str | None:
    """Return why a run cannot be stored now; `None` if it can."""
    if (machine.revision() or "+").endswith("+"):
        return "--store wants a committed tree, so that a stored line names what it has measured: commit first"
    load = machine.load_average()
    if load is not None and load > IDLE and any(catalog.load(name).timed for name in names):
        return (
            f"--store wants an idle machine for benchmarks that measure times: the load average is {load}, more than "
            f"{IDLE:g}; wait until nothing else runs"
        )
    return None


def show_list(console: Console) -> int:
    """Print the benchmarks."""
    for name in catalog.modules():
        benchmark = catalog.load(name)
        paper = "" if benchmark.paper is None else f" (paper:{benchmark.paper.arxiv})"
        text = escape(f"{paper}  {benchmark.summary}")
        console.print(f"[bold]{name}[/]{text}", highlight=False, soft_wrap=True)
    console.print(
        "[bold]check[/]  compare three ratios of times, and the counts of three compiled layers, with the stored ones"
    )
    return 0


def run_all(names: Sequence[str], options: argparse.Namespace, folder: Path, console: Console) -> int:
    """Run benchmarks one after another; the status is 1 if one cannot run here, loses a cell or has no report."""
    status, matched = 0, False
    for name in names:
        benchmark = catalog.load(name)
        default = (0,) if options.quick else tuple(range(benchmark.seeds))
        plan = Plan(options.quick, options.seeds or default, options.only, options.resume, folder, options.store)
        try:
            found = run(name, benchmark, plan, console)
        except Skip as reason:
            said(console, f"{name}: {reason}")
            status = 1
            continue
        if not found:
            continue
        matched = True
        try:
            status |= finish(name, benchmark, found, folder, console)
            if options.store:
                store(name, benchmark, found)
                console.print(f"{name}: stored", highlight=False)
        except Exception as error:  # the lines are written, and other benchmarks wait
            traceback.print_exc()
            said(console, f"{name}: no report, {one_line(error)}; its lines are in {folder}")
            status = 1
    if not matched and not status:
        said(console, f"no cell's name contains {options.only!r}")
        return 1
    if options.store:
        write_overviews()
    return status


def wide(console: Console) -> Console:
    """A console in which tables fit where the output is a file."""
    return console if console.is_terminal else Console(width=200)


def said(console: Console, text: str) -> None:
    """Print a text as it is."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def finish(name: str, benchmark: Benchmark, found: list[Line], folder: Path, console: Console) -> int:
    """Write the report of a run, and print it; the status is 1 if every rival of a cell has failed."""
    whole = result(benchmark, found)
    wide(console).print(benchmark.style.terminal_table(benchmark.title, whole["measurements"], list(benchmark.rivals)))
    for target in benchmark.style.target_lines(whole):
        said(console, f"target: {target}")
    (folder / f"{name}.md").write_text(pages.text(benchmark, found), encoding="utf-8")
    try:
        pages.draw(name, benchmark, found, folder)
    except Skip as reason:
        said(console, f"{name}: {reason}")
    for line in found:
        if line["status"] != "measured":
            where = f"seed {line['seed']}, {line['cell']}, {line['rival']}"
            said(console, f"{line['status']}: {where}: {line['reason']}")
    statuses: dict[tuple[str, int], set[str]] = {}
    for line in found:
        statuses.setdefault((line["cell"], line["seed"]), set()).add(line["status"])
    seconds = sum({(line["cell"], line["seed"]): line.get("seconds", 0.0) for line in found}.values())
    said(console, f"{seconds:.0f} s; written: {name}.jsonl, .log, .md and .png in {folder}")
    return int(any(not of & {"measured", "skipped"} for of in statuses.values()))


def store(name: str, benchmark: Benchmark, found: list[Line]) -> None:
    """Add lines to the stored ones, replacing the same cells and seeds, and write the page."""
    new, known = lines.done(found), {cell.name for cell in benchmark.cells(False)}
    kept = [line for line in pages.stored(name) if (line["cell"], line["seed"]) not in new and line["cell"] in known]
    order = {cell.name: place for place, cell in enumerate(benchmark.cells(False))}
    every = sorted([*kept, *found], key=lambda line: (line["seed"], order[line["cell"]]))
    lines.write(RESULTS / f"{name}.jsonl", every)
    write_page(name, benchmark, every)


def write_page(name: str, benchmark: Benchmark, found: list[Line]) -> None:
    """Write the tables and the plot of stored lines."""
    pages.paste(pages.page(name), name, pages.text(benchmark, found))
    pages.draw(name, benchmark, found, RESULTS)


def write_overviews() -> None:
    """Write the index, and the table of papers on the front page."""
    pages.paste(README, "index", pages.index())
    pages.paste(pages.FRONT, "papers", pages.front())
    pages.paste(pages.PAPERS, "papers", pages.papers())


def report(names: Sequence[str], console: Console) -> int:
    """Write the pages and plots of stored benchmarks, and the overviews."""
    for name in names:
        benchmark, found = catalog.load(name), pages.stored(name)
        if found:
            write_page(name, benchmark, found)
            console.print(f"{name}: written from {len(found)} lines", highlight=False)
    write_overviews()
    return 0


def diff(names: Sequence[str], folder: Path, console: Console) -> int:
    """Print what differs between runs in a folder and the stored ones."""
    compared = 0
    for name in names:
        new, old = complete(name, catalog.load(name), False, folder / f"{name}.jsonl"), pages.stored(name)
        if not new or not old:
            continue
        compared += 1
        every = changes(joined(old), joined(new))
        body = [
            [change.where, _digits(change.before), _digits(change.after), f"{change.relative:.0%}"]
            for change in every
            if change.relative > SMALL
        ]
        title = f"{name}: {len(body)} of {len(every)} numbers differ by more than {SMALL:.0%}"
        wide(console).print(rich_table(title, ["what", "stored", "run", "change"], body))
    if not compared:
        said(console, f"nothing to compare: {folder} has no complete run of a stored benchmark")
        return 1
    return 0


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
