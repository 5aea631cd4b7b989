"""Progress bar for operations that take more than two seconds, and lines of text (terminals only)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 2.0
"""Seconds before a bar is shown."""


def tell(text: str, console: Any = None) -> None:
    """Print a line on terminals and in notebooks.

    Args:
        text: the line.
        console: a rich console; by default the console of the standard error.
    """
    from rich.console import Console

    shown = Console(stderr=True) if console is None else console
    if shown.is_terminal or shown.is_jupyter:
        shown.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(what: str, total: int, console: Any = None) -> Iterator[Callable[[str], None]]:
    """Count steps on a terminal, from two seconds on; the bar disappears at the end.

    Args:
        what: the name of the work.
        total: the number of steps.
        console: a rich console; by default the console of the standard error, so that no output is disturbed.

    Yields:
        A function to call after each step, with a text on how things stand.
    """
    start, done = time.perf_counter(), 0
    bar: Any = None
    task: Any = None

    def advance(text: str = "") -> None:
        nonlocal bar, task, done
        done += 1
        if bar is None:
            if time.perf_counter() - start < PATIENCE:
                return
            from rich.console import Console  # imported for those who wait
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            shown = Console(stderr=True) if console is None else console
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            bar = Progress(*columns, console=shown, disable=not shown.is_terminal, transient=True)
            task = bar.add_task(what, total=total)
            bar.start()
        bar.update(task, completed=done, description=f"{what}: {text}" if text else what)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()
