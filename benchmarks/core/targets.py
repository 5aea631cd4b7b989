"""Claims about ratios of times, and their checks against measurements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """A claim: in this case and direction, `rival` takes at least `factor` times as long as the first rival.

    Attributes:
        rival: its name; or several names, and the slowest counts.
        case: entries that the cases have in common.
        direction, factor: see above.
        most: whether the claim is reversed: the first rival takes at most `factor` times as long as `rival`.
        against: the direction of the rival's time, if it differs.
        quantity: median times, or seconds to trace and compile.
    """

    rival: str | tuple[str, ...]
    case: Mapping[str, int | str]
    direction: str
    factor: float
    most: bool = False
    against: str | None = None
    quantity: Literal["median", "compile"] = "median"


Row = tuple[dict[str, Any], str, dict[str, dict[str, Any]]]


def rows(measurements: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Group measurements by case and direction: the case, the direction, rival to record."""
    found: dict[str, Row] = {}
    for record in measurements:
        key = json.dumps([record["case"], record["direction"]])
        _, _, by_rival = found.setdefault(key, (record["case"], record["direction"], {}))
        by_rival[record["rival"]] = dict(record)
    return list(found.values())


def value(record: Mapping[str, Any], quantity: str) -> float | None:
    """Return the median time of a record, or the time at which it was stopped; or its seconds to trace and compile."""
    if quantity == "median":
        time: float | None = record.get("median", record.get("longer_than"))
        return time
    return record["trace_seconds"] + record["compile_seconds"] if "compile_seconds" in record else None


def _ratio(target: Target, ours: Mapping[str, Any], theirs: Mapping[str, Mapping[str, Any]]) -> float | None:
    names = (target.rival,) if isinstance(target.rival, str) else target.rival
    base = value(ours, target.quantity)
    found = [value(theirs.get(name, {}), target.quantity) for name in names]
    known = [one for one in found if one]
    if not base or len(known) < len(names):
        return None
    return base / max(known) if target.most else max(known) / base


def check_targets(targets: Iterable[Target], measurements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Ratios for the targets whose cases were run."""
    found, grouped = [], rows(measurements)
    by_key = {(json.dumps(case), direction): by_rival for case, direction, by_rival in grouped}
    for target in targets:
        for case, direction, by_rival in grouped:
            if direction != target.direction or target.case.items() - case.items():
                continue
            base, *_ = by_rival.values()
            one = isinstance(target.rival, str)
            ratio = _ratio(target, base, by_key.get((json.dumps(case), target.against or direction), {}))
            found.append(
                {
                    "rival": target.rival if one else f"the slower of {' and '.join(target.rival)}",
                    "case": case,
                    "direction": direction,
                    "against": target.against,
                    "quantity": target.quantity,
                    "wanted": target.factor,
                    "most": target.most,
                    "ratio": ratio,
                    "at_least": isinstance(target.rival, str) and "longer_than" in by_rival.get(target.rival, {}),
                    "met": ratio is not None and (ratio <= target.factor if target.most else ratio >= target.factor),
                }
            )
    return found
