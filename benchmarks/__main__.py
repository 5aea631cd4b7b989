"""`python -m benchmarks`: list the benchmarks, run one, or check for regressions."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import benchmarks
from benchmarks.core import machine as _machine
from benchmarks.core.folders import README, RESULTS, SCRATCH
from benchmarks.core.report import SCHEMA, paste, write_json
from benchmarks.core.style import TIMES, Style


def names() -> list[str]:
    """Return the benchmarks: the public modules of this package."""
    return sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__) if not info.name.startswith("_"))


def style(module: ModuleType) -> Style:
    """Return how a benchmark's results are shown: as times by default."""
    found: Style = getattr(module, "STYLE", TIMES)
    return found


def limits(module: ModuleType, quick: bool) -> dict[str, Any]:
    """Return the limits of a run; a benchmark without timing has none."""
    return asdict(module.limits(quick)) if hasattr(module, "limits") else {}


def measured(module: ModuleType, quick: bool, seed: int, console: Console) -> dict[str, Any]:
    """Run a benchmark with a progress bar, and return the content of its JSON file."""
    result: dict[str, Any] = {
        "benchmark": module.__name__.rsplit(".", 1)[-1],
        "schema": SCHEMA,
        "date": _machine.now(),
        "quick": quick,
        "seed": seed,
        "revision": _machine.revision(),
        "machine": _machine.machine(),
        "versions": _machine.versions(),
        "limits": limits(module, quick),
        "rivals": module.RIVALS,
    }
    records: list[dict[str, Any]] = []
    before, start = _machine.load_average(), time.perf_counter()
    bar = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        refresh_per_second=2,
    )
    with bar:
        task = bar.add_task("", total=len(module.cases(quick)))
        for measurements in module.run(quick, seed, lambda text: bar.update(task, description=text)):
            records += [m.record() for m in measurements]
            bar.advance(task)
    result["seconds"] = time.perf_counter() - start
    result["load_average"] = [before, _machine.load_average()]
    summary = style(module).summary
    if summary is not None:
        result["summary"] = summary(records)
    return result | {"targets": style(module).check_targets(module.TARGETS, records), "measurements": records}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time equikit against its rivals.")
    parser.add_argument("benchmark", nargs="?", help="which one to run, or `check`; without it they are listed")
    parser.add_argument("--quick", action="store_true", help="small cases and few repeats: does everything work?")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for JSON, plot and table (benchmarks/scratch)"
    )
    parser.add_argument(
        "--store", action="store_true", help="write to benchmarks/results, and the table into the README"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and the order of turns")
    options = parser.parse_args(arguments)
    console = Console()
    if options.benchmark is None:
        for name in names():
            console.print(f"[bold]{name}[/]  {importlib.import_module(f'benchmarks.{name}').SUMMARY}")
        console.print("[bold]check[/]  compare the ratios of three small cases with the stored ones")
        return 0
    if options.benchmark == "check":
        if options.quick or options.output:
            parser.error("check is quick already, and takes neither --quick nor --output")
        from benchmarks.speed import _check

        return _check.run(console, keep=options.store)
    if options.benchmark not in names():
        parser.error(f"there is no benchmark {options.benchmark!r}; there are: {', '.join(names())}")
    if options.store and (options.quick or options.output):
        parser.error("--store is for complete runs, and takes no --output")
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}; it has to be 0 or more")
    module, name = importlib.import_module(f"benchmarks.{options.benchmark}"), options.benchmark
    folder: Path = RESULTS if options.store else options.output or SCRATCH
    folder.mkdir(parents=True, exist_ok=True)  # before the measurements, so that nothing is lost at the end
    result = measured(module, options.quick, options.seed, console)
    write_json(folder / f"{name}.json", result)
    shown = style(module)
    text = shown.markdown(result, module.RIVALS)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    shown.plot(folder / f"{name}.png", result, list(module.RIVALS), module.PANEL, module.AXIS)
    if options.store:
        paste(README, name, text)
    wide = console if console.is_terminal else Console(width=200)
    wide.print(shown.terminal_table(module.TITLE, result["measurements"], list(module.RIVALS)))
    for line in shown.target_lines(result):
        console.print(f"target: {line}", highlight=False, soft_wrap=True)
    console.print(f"{result['seconds']:.0f} s; written: {name}.json, .md and .png in {folder}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
