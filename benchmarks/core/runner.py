"""A run: measures cell after cell, appends lines, records gaps with their reasons, and shows progress."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.core import lines, machine
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.lines import Line
from benchmarks.core.measurement import Measurement, Skip, first_line, one_line


@dataclass(frozen=True)
class Plan:
    """The options of a run.

    Attributes:
        quick: small cases and short training, to see that everything works.
        seeds: see `Benchmark.seeds`.
        only: a text that the names of the cells contain.
        resume: whether cells of an earlier run are kept.
        folder: where the lines and the log go.
        store: whether the lines are stored, so that lines of an uncommitted tree are measured again.
    """

    quick: bool
    seeds: tuple[int, ...]
    only: str | None
    resume: bool
    folder: Path
    store: bool = False


def limits(benchmark: Benchmark, quick: bool) -> dict[str, Any]:
    """Return the budget of a run, as in its lines."""
    found = {} if benchmark.limits is None else asdict(benchmark.limits(quick))
    plain: dict[str, Any] = json.loads(json.dumps(lines.rounded(found)))
    return plain


def chosen(benchmark: Benchmark, plan: Plan) -> list[Cell]:
    """Return the cells of a plan."""
    cells = benchmark.cells(plan.quick)
    return [cell for cell in cells if plan.only is None or plan.only.lower() in cell.name.lower()]


def gaps(cell: Cell, status: str, reason: str) -> list[Measurement]:
    """Return the records of a cell that was not measured."""
    return [Measurement(dict(cell.case), cell.direction, rival, status, reason) for rival in cell.rivals]


def measured(measure: Measure, cell: Cell, tell: Tell) -> list[Measurement]:
    """Measure a cell; an exception becomes a gap with its reason, and the traceback goes into the log."""
    try:
        return measure(cell)
    except Skip as reason:
        return gaps(cell, "skipped", first_line(str(reason)))
    except (Exception, SystemExit) as error:
        tell(traceback.format_exc())
        return gaps(cell, "failed", one_line(error))


def run(name: str, benchmark: Benchmark, plan: Plan, console: Console) -> list[Line]:
    """Run the cells of a plan, and return all lines of its file; none if there is no such cell.

    Raises:
        Skip: if the benchmark cannot run on this machine, or another run writes to the same file.
    """
    cells = chosen(benchmark, plan)
    if not cells:
        return []
    plan.folder.mkdir(parents=True, exist_ok=True)
    with alone(plan.folder / f"{name}.lock"):
        return _run(name, benchmark, cells, plan, console)


def complete(name: str, benchmark: Benchmark, quick: bool, path: Path) -> list[Line]:
    """Return the lines of a file that are from cells of a benchmark as it is now."""
    names, same = {cell.name for cell in benchmark.cells(quick)}, (name, quick, limits(benchmark, quick))
    found = [line for line in lines.read(path) if (line["benchmark"], line["quick"], line["limits"]) == same]
    return [line for line in found if line["cell"] in names]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Refuse to run while another process holds a file; nothing is refused where the system has no such locks."""
    with path.open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            raise Skip(f"another run writes to {path.parent}; wait for it, or pass another --output") from error
        yield


def _run(name: str, benchmark: Benchmark, cells: Sequence[Cell], plan: Plan, console: Console) -> list[Line]:
    path = plan.folder / f"{name}.jsonl"
    if not plan.resume and path.exists():
        old = path.with_suffix(f".{machine.now().replace(':', '').partition('+')[0]}.jsonl")
        path.replace(old)
        console.print(f"{name}: the lines of an earlier run are now in {old.name}", highlight=False, markup=False)
    earlier = complete(name, benchmark, plan.quick, path)
    if plan.store:  # a line of an uncommitted tree does not name what it has measured
        earlier = [line for line in earlier if line["revision"] and not line["revision"].endswith("+")]
    known = lines.done(earlier)
    common = {"quick": plan.quick, "revision": machine.revision(), "machine": machine.machine()}
    common |= {"versions": machine.versions(), "limits": limits(benchmark, plan.quick)}
    with progress(name, len(cells) * len(plan.seeds), plan.folder, console) as (tell, advance):
        for seed in plan.seeds:
            waiting = [cell for cell in cells if (cell.name, seed) not in known]
            for _ in range(len(cells) - len(waiting)):
                advance()
            if waiting:
                first = cells.index(waiting[0])
                before = {cell.name for cell in cells[:first]}
                before_first = [line for line in earlier if line["seed"] == seed and line["cell"] in before]
                measure = started(benchmark, plan.quick, seed, tell, before_first)
            for cell in waiting:
                tell(f"seed {seed}, {cell.name}")
                load, date, start = machine.load_average(), machine.now(), time.perf_counter()
                records = [m.record() for m in measured(measure, cell, tell)]
                about = {"benchmark": name, "cell": cell.name, "of": len(records), "seed": seed, "date": date}
                about |= {"seconds": time.perf_counter() - start, "load_average": [load, machine.load_average()]}
                lines.append(path, [about | common | record for record in records])
                advance()
    return complete(name, benchmark, plan.quick, path)


def started(benchmark: Benchmark, quick: bool, seed: int, tell: Tell, earlier: list[Line]) -> Measure:
    """Start a benchmark; if that fails, every cell fails with the same reason.

    Raises:
        Skip: if the benchmark cannot run on this machine.
    """
    try:
        return benchmark.start(quick, seed, tell, **({"earlier": earlier} if benchmark.family else {}))
    except Skip:
        raise
    except Exception as error:
        failure = error

        def fail(cell: Cell) -> list[Measurement]:
            raise failure

        return fail


@contextmanager
def progress(name: str, total: int, folder: Path, console: Console) -> Iterator[tuple[Tell, Callable[[], None]]]:
    """Show a bar, and write what it says to a log file with the time."""
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
    with bar, (folder / f"{name}.log").open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
        task = bar.add_task(name, total=total)

        def tell(text: str) -> None:
            bar.update(task, description=escape(f"{name}: {first_line(text)}"))
            log.write(f"{machine.now()} {text}\n")

        def advance() -> None:
            bar.advance(task)

        yield tell, advance
