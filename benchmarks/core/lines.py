"""Results as JSON lines: one for each case, direction, rival and seed, appended and synced."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Line = dict[str, Any]
"""A record with the name of its cell, the number of records of the cell, the seed, the revision and the machine."""


ENTRIES = frozenset(
    ("benchmark", "cell", "of", "seed", "quick", "date", "limits", "case", "direction", "rival", "status")
)
"""Entries that every line has."""


def rounded(value: Any) -> Any:
    """Round all numbers of a tree to six digits."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def append(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Append lines, and return when they are on the disk."""
    text = "".join(json.dumps(rounded(line), ensure_ascii=False) + "\n" for line in lines)
    with path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():  # a killed process may have left half a line
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(text.encode(errors="backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Line]:
    """Return the lines of all complete cells; the last measurement of a cell and seed counts, whatever its limits.

    Quick runs count apart.

    A line that a killed process has left unfinished or that is damaged, and the rest of its cell, are left out.
    """
    if not path.is_file():
        return []
    cells: dict[str, list[Line]] = {}
    for text in path.read_bytes().split(b"\n"):
        try:
            line: Line = json.loads(text)
        except ValueError:  # also bytes that are no text
            continue
        if not isinstance(line, dict) or not line.keys() >= ENTRIES:
            continue
        same = [line[name] for name in ("benchmark", "cell", "seed", "quick")]
        known = cells.setdefault(json.dumps(same, sort_keys=True), [])
        if len(known) == line["of"] or (known and known[0]["date"] != line["date"]):
            known.clear()
        known.append(line)
    return [line for of in cells.values() if len(of) == of[0]["of"] for line in of]


def done(lines: Sequence[Line]) -> set[tuple[str, int]]:
    """Names of cells, and seeds, of lines."""
    return {(line["cell"], line["seed"]) for line in lines}


def write(path: Path, lines: Sequence[Line]) -> None:
    """Replace a file of lines in one step."""
    other = path.with_suffix(".new")
    other.unlink(missing_ok=True)
    append(other, lines)
    other.replace(path)
