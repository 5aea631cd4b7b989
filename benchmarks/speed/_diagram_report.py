"""Convert the times of `diagram_multiplication` to exponents, and to tables next to the counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.markdown import Markdown

from benchmarks.core.report import duration, grid
from benchmarks.core.style import TIMES
from benchmarks.speed._diagram_cases import BATCH, HEADED, OVERHEAD, RIVALS, Row, degree, free_rows, headed_rows, text
from benchmarks.speed._power_law import Exponent, exponent
from equikit.plans import plan, plan_cost


def summary(measurements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of every measured row, and exponents of the times."""
    medians: dict[tuple[Any, ...], dict[int, float]] = {}
    for m in measurements:
        if "median" in m:
            key = (*(m["case"][name] for name in ("group", "k", "l")), m["rival"])
            medians.setdefault(key, {})[m["case"]["n"]] = m["median"]

    def overhead(row: Row, rival: str) -> float | None:
        """Return seconds with next to nothing to compute."""
        return medians.get((row.family, row.k, row.l, rival + OVERHEAD), {}).get(row.bound or 2)

    def times(row: Row, rival: str) -> dict[int, float]:
        """Return seconds at each n, minus the overhead; none where that is unknown."""
        base, found = overhead(row, rival), medians.get((row.family, row.k, row.l, rival), {})
        return {} if base is None else {n: seconds - base for n, seconds in found.items() if row.bound in (None, n)}

    free, headed = [], []
    for row in free_rows():
        if times(row, "factored"):
            fits = {rival: growth(times(row, rival), overhead(row, rival)) for rival in RIVALS}
            flops = sum(line.flops for line in plan_cost(plan(row.space)))
            degrees = {"degree": degree(row.counted()[1]), "moved_degree": degree(row.moved())}
            free.append(counted(row) | degrees | {"plan_degree": degree(flops), "exponents": fits})
    for row in headed_rows():
        if times(row, "factored"):
            seconds = {rival: next(iter(times(row, rival).values()), None) for rival in RIVALS}
            headed.append(counted(row) | {"n": row.bound, "s": row.legs_above, "seconds": seconds})
    return {"free": free, "headed": headed, "headed_exponents": headed_exponents(headed)}


def growth(times: Mapping[int, float], overhead: float | None) -> dict[str, Any] | None:
    """Return the exponent of times minus overhead, for times above half of it; `None` for fewer than three."""
    points = sorted((n, seconds) for n, seconds in times.items() if overhead is not None and seconds > overhead / 2)
    return asdict(exponent(*zip(*points, strict=True))) if len(points) > 2 else None


def headed_exponents(headed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return for each family with a head the growth of time with additions and moved entries, over all shapes and n."""
    found = {}
    for family in HEADED:
        points = [
            (r["additions"] + r["moved"], seconds)
            for r in headed
            if r["family"] == family and (seconds := r["seconds"]["factored, written"]) and seconds > 0
        ]
        if len({count for count, _ in points}) > 2:
            found[family] = asdict(exponent(*zip(*points, strict=True)))
    return found


def counted(row: Row) -> dict[str, Any]:
    """Return the counts of a row for JSON: numbers if n is bound, else texts."""
    keep = text if row.bound is None else int
    paper, (multiplications, additions) = row.paper(), row.counted()
    return {
        "family": row.family,
        "k": row.k,
        "l": row.l,
        "diagram": row.blocks,
        "paper": None if paper is None else keep(math.ceil(paper) if row.bound else paper),
        "multiplications": keep(multiplications),
        "additions": keep(additions),
        "moved": keep(row.moved()),
        "naive": keep(row.naive()),
    }


def report(found: Mapping[str, Any]) -> list[str]:
    """Return the tables of a summary as lines of Markdown."""

    def common(row: Mapping[str, Any]) -> list[str]:
        return [row["family"], f"{row['k']} → {row['l']}", f"`{row['diagram']}`"]

    free = [
        [*common(r), f"O({r['paper']})", r["multiplications"], r["additions"], r["moved"], r["naive"]]
        + [fitted(fit) for fit in r["exponents"].values()]
        for r in found["free"]
    ]
    bound = [
        [*common(r), str(r["n"]), "–" if r["paper"] is None else str(r["paper"])]
        + [str(r[key]) for key in ("multiplications", "additions", "moved", "naive")]
        + [duration(seconds) for seconds in r["seconds"].values()]
        for r in found["headed"]
    ]
    first, counts = ["family", "shape", "diagram"], ["paper", "×", "+", "moved", "naive ×"]
    lines = [
        "Operations as polynomials in n, and the exponent of measured processor time in n ± its standard error:",
        "",
    ]
    lines += grid([*first, *counts, *RIVALS], escaped(free), 3)
    lines += [
        "",
        f"With a head, where n is bound; ms of processor time for {BATCH} vectors, less the time for one:",
        "",
    ]
    lines += [*grid([*first, "n", *counts, *RIVALS], escaped(bound), 3), ""]
    for family, fit in found["headed_exponents"].items():
        lines.append(
            f"- {family}: *factored, written* grows as additions and entries moved to the power {fitted(fit)}."
        )
    return lines


def fitted(fit: Mapping[str, Any] | None) -> str:
    """Return an exponent as text for the table."""
    return "–" if fit is None else str(Exponent(**fit))


def escaped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Escape bars in rows, so that none ends a cell."""
    return [[cell.replace("|", "\\|") for cell in row] for row in rows]


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown."""
    return "\n".join([result["circumstances"], "", *report(result["summary"])]) + "\n"


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Markdown:
    """The tables for a terminal."""
    return Markdown("\n".join([f"**{title}**", "", *report(summary(records))]))


STYLE = replace(TIMES, markdown=markdown, terminal_table=terminal_table, summary=summary)
