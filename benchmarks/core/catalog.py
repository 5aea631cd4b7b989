"""The benchmarks: public modules of the rooms, found by name or by the arXiv number of their paper."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator

from benchmarks.core.benchmark import Benchmark

ROOMS = ("speed", "accuracy", "tasks", "papers")
BY_PAPER = "paper:"


@functools.cache
def modules() -> dict[str, str]:
    """Name to module of every benchmark, room by room."""

    def found() -> Iterator[tuple[str, str]]:
        for room in ROOMS:
            folder = importlib.import_module(f"benchmarks.{room}")
            for one in sorted(pkgutil.iter_modules(folder.__path__), key=lambda info: info.name):
                if not one.name.startswith("_"):
                    yield one.name, f"benchmarks.{room}.{one.name}"

    return dict(found())


def load(name: str) -> Benchmark:
    """Import a benchmark."""
    found: Benchmark = importlib.import_module(modules()[name]).BENCHMARK
    return found


def named(word: str) -> list[str]:
    """Return the benchmarks that a word of the command line names: one by name, by paper, or `all`.

    Raises:
        KeyError: if there is none.
    """
    if word == "all":
        return list(modules())
    if word.startswith(BY_PAPER):
        number = word.removeprefix(BY_PAPER).replace(".", "_")
        found = [name for name in modules() if number and name.endswith(f"_{number}")]
    else:
        found = [name for name in modules() if name == word]
    if not found:
        raise KeyError(word)
    return found
