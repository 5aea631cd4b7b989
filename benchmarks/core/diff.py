"""The difference between a run and the stored one: ratios to the reference for times, values for scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.core.report import label
from benchmarks.core.targets import rows


@dataclass(frozen=True)
class Change:
    """A number before and after.

    Attributes:
        where: the case, the direction, the rival and the score.
        before, after: `None` where one of the runs lacks it.
    """

    where: str
    before: float | None
    after: float | None

    @property
    def relative(self) -> float:
        """The difference relative to the number before; infinite if one is missing, not finite or zero."""
        if self.before is None or self.after is None or not math.isfinite(self.after - self.before):
            return 0.0 if str(self.before) == str(self.after) else float("inf")
        if self.before == self.after:
            return 0.0
        return abs(self.after - self.before) / abs(self.before) if self.before else float("inf")


def numbers(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the compared numbers: scores other than seconds, and times as multiples of the reference of their case."""
    for case, direction, by_rival in rows(records):
        reference = next(iter(by_rival.values())).get("median")
        for rival, record in by_rival.items():
            where = (label(case), direction, rival)
            for name, value in (record.get("scores") or {}).items():
                if "second" not in name:
                    yield (*where, name), value
            if reference and record.get("median"):
                yield (*where, "time as a multiple of the reference"), record["median"] / reference


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Return the changes of all numbers, the largest relative change first; ties keep the order of the first run."""
    old, new = dict(numbers(before)), dict(numbers(after))
    run = {(label(r["case"]), r["direction"], r["rival"]) for r in after}
    names = [name for name in {**old, **new} if name[:3] in run]
    found = [Change(", ".join(part for part in name if part), old.get(name), new.get(name)) for name in names]
    return sorted(found, key=lambda change: -change.relative)
