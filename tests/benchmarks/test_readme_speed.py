"""The README states the stored times of `permutation_layers`."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.core import lines
from benchmarks.core.folders import RESULTS, ROOT

CASES = {"2 → 2, 8, 32": (2, 8, 32), "2 → 2, 64, 32": (2, 64, 32), "3 → 3, 16, 8": (3, 16, 8)}


def two_digits(value: float) -> str:
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if rounded >= 10 else f"{rounded:#.2g}"


def readme_cell(record: dict[str, Any] | None, base: float) -> str:
    """A slowdown, the memory that was missing, or a dash."""
    if record is not None and record.get("median"):
        return f"{two_digits(record['median'] / base)} ×"
    missing = re.search(r"needs ([\d.]+) GiB", (record or {}).get("reason") or "")
    return f"{float(missing[1]):.0f} GiB" if missing else "–"


def test_the_readme_states_the_stored_times() -> None:
    """IGN's own code stacks outputs at 2 → 2 alone, so that the README compares it there only."""
    stored = lines.read(RESULTS / "permutation_layers.jsonl")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, (k, n, batch) in CASES.items():
        for direction, head in (("forward", name), ("forward+backward", "")):
            found = {
                record["rival"]: record
                for record in stored
                if record["direction"] == direction
                and {"k": k, "n": n, "batch": batch}.items() <= record["case"].items()
            }
            base = found["equikit"]["median"]
            dense = "dense" if direction == "forward" else "dense, assembled"
            rivals = [found.get(rival) for rival in (dense, "einsum", "einsum, staged")]
            rivals += [found.get("stacked") if k == 2 else None, found.get("EMLP")]
            cells = [two_digits(base * 1e3), *(readme_cell(record, base) for record in rivals)]
            label = f"{head} | forward" if head else "| and backward"
            assert f"| {label} | {' | '.join(cells)} |" in readme
