"""Claims that a score is at most a number, and their checks against measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bound:
    """A claim: in the cases with these entries the score of `rival` is at most `most`."""

    rival: str
    case: Mapping[str, Any]
    score: str
    most: float


def check_targets(targets: Iterable[Bound], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores of the targets whose cases were run."""
    found = []
    for target in targets:
        for record in records:
            if record["rival"] != target.rival or target.case.items() - record["case"].items():
                continue
            value = record.get("scores", {}).get(target.score)
            found.append(
                {
                    "rival": target.rival,
                    "case": record["case"],
                    "score": target.score,
                    "wanted": target.most,
                    "value": value,
                    "met": value is not None and value <= target.most,
                }
            )
    return found


def number(value: float | None) -> str:
    """A score with two digits."""
    if value is None:
        return "–"
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")
