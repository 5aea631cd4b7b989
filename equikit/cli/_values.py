"""JSON values and files that the commands write."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from equikit._checks import count_text
from equikit._errors import OptionError
from equikit.diagrams import Diagram, HomSpace, MultilinearSpace

if TYPE_CHECKING:
    from equikit.plans import MultilinearPlan, Plan

LARGEST_NUMBER = 10**4000
"""Larger integers are written as text in JSON: Python reads and writes at most 4,300 digits."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<body>
{body}
</body>
</html>
"""


def print_json(value: object) -> None:
    """Print only a value, as JSON."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def number(value: Any) -> Any:
    """Return a number for JSON: text for formulas, and for integers with more digits than Python reads."""
    if not isinstance(value, int):
        return str(value)
    return value if value < LARGEST_NUMBER else count_text(value)


def space_value(space: HomSpace | MultilinearSpace) -> dict[str, Any]:
    """Return what every command reports about a space."""
    return {
        "signature": space.text if isinstance(space, MultilinearSpace) else str(space.signature),
        "groups": {label: str(what) for label, what in space.signature.bindings},
        "dimension": number(space.dim),
    }


def request_value(plan: Plan | MultilinearPlan, batch: int, n: dict[str, int] | None) -> dict[str, Any]:
    """Return the request of a plan."""
    from equikit.plans import MultilinearPlan

    return {
        "channels": plan.channels,
        "normalize": plan.normalize,
        **({"mode": plan.mode} if isinstance(plan, MultilinearPlan) else {"bias": plan.bias}),
        "batch": batch,
        "sizes": n,
    }


def plan_value(plan: Plan | MultilinearPlan, batch: int, n: dict[str, int] | None) -> dict[str, Any]:
    """Return a plan as numbers; as text with formulas if a size is free."""
    from equikit.plans import plan_cost

    flops, moved = plan.cost(batch=batch, n=n)
    return {
        **request_value(plan, batch, n),
        "steps": [
            {
                "stage": line.stage,
                "step": line.operation,
                "from": line.source,
                "to": line.result,
                "shape": [number(size) for size in line.shape],
                "flops": number(line.flops),
                "bytes": number(line.bytes),
            }
            for line in plan_cost(plan, batch=batch, n=n)
        ],
        "flops": number(flops),
        "bytes": number(moved),
    }


def stages_value(stages: Mapping[str, Plan], batch: int, n: dict[str, int] | None) -> dict[str, Any]:
    """Return the cost of a plan before all passes and after each."""
    costs = {name: plan.cost(batch=batch, n=n) for name, plan in stages.items()}
    last = [*stages.values()][-1]
    return {
        **request_value(last, batch, n),
        "passes": [
            {"after pass": name, "steps": plan.steps, "flops": number(costs[name][0]), "bytes": number(costs[name][1])}
            for name, plan in stages.items()
        ],
    }


def diagram_count(space: HomSpace) -> int:
    """Count the diagrams of all pairs of terms together."""
    return sum(pair.diagrams.__len__() for pair in space.pairs)  # len() rejects numbers that exceed a machine word


def numbered(space: HomSpace, wanted: Sequence[int] | None, limit: int) -> Iterator[tuple[int, Diagram]]:
    """Yield the diagrams to draw, numbered over all pairs of terms: the requested ones, or the first few.

    Raises:
        OptionError: if the diagram does not exist.
    """
    total = diagram_count(space)
    for index in wanted or ():
        if not 0 <= index < total:
            raise OptionError(
                "there is no such diagram",
                got=f"--index {index}",
                expected=f"0 to {total - 1}" if total else "nothing: the space has no diagrams",
                step="see `equikit basis` for the list",
            )
    for first, stop in [(0, limit)] if wanted is None else [(index, index + 1) for index in wanted]:
        start = 0
        for pair in space.pairs:
            count = pair.diagrams.__len__()
            begin, end = max(first - start, 0), min(stop - start, count)
            if begin < end:
                yield from enumerate(itertools.islice(pair.diagrams, begin, end), start + begin)
            start += count


def page(space: HomSpace, body: str) -> str:
    """Return a whole HTML page around a gallery."""
    return PAGE.format(title=html.escape(str(space.signature)), body=body)


def write(output: Path, text: str) -> None:
    """Write a file into a folder that exists: a folder that does not may be a typing error.

    Raises:
        OptionError: if it cannot be written.
    """
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        missing = not output.parent.exists()
        raise OptionError(
            "the file cannot be written",
            got=f"{output}: {f'no folder {output.parent}' if missing else error.strerror}",
            expected="a file in a folder that exists",
            step="make this folder first, or pass another --output" if missing else "pass another --output",
        ) from error
