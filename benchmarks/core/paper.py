"""A paper: its published values, and the rule that says whether they are reproduced."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["reproduced", "partly", "not", "contradicted", "not measured"]
CLOSE = 0.1
"""Relative difference of two values that count as equal."""
DEVIATIONS = 2.0


@dataclass(frozen=True)
class Ours:
    """A measured value.

    Attributes:
        mean: over seeds.
        sd: their standard deviation; `None` for a single seed.
        seeds: how many.
    """

    mean: float
    sd: float | None
    seeds: int


@dataclass(frozen=True)
class Published:
    """A value from a paper.

    Attributes:
        task, rival, score: where our value is found in the stored records.
        metric: what the value measures, in words.
        row: the name in the paper.
        value: see above.
        place: table and row, figure, or file of the authors; `None` for a value that is only recalled.
        spread: its standard deviation, where the paper gives it.
        seeds: repeats, where the paper says how many.
        headline: whether the front page shows it.
    """

    task: str
    rival: str
    score: str
    metric: str
    row: str
    value: float
    place: str | None = None
    spread: float | None = None
    seeds: int | None = None
    headline: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Task, rival and score."""
        return self.task, self.rival, self.score


@dataclass(frozen=True)
class Claim:
    """A claim of a paper: on a task, one rival has a better score than another.

    Attributes:
        task, score: of both.
        better, than: the rivals.
        larger: whether larger scores are better.
        place: where the paper says so.
    """

    task: str
    score: str
    better: str
    than: str
    place: str
    larger: bool = False


Found = Mapping[tuple[str, str, str], Ours]
"""Our values by task, rival and score."""


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        title, arxiv, authors, year: of the paper.
        settings: how the paper trains, and how we do, by name.
        published: its values.
        claims: its comparisons.
    """

    title: str
    arxiv: str
    authors: str
    year: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = ()

    def of(self, task: str, rival: str) -> list[Published]:
        """The values published for a rival on a task."""
        return [one for one in self.published if (one.task, one.rival) == (task, rival)]


def read(path: Path) -> Paper:
    """Read a paper from its TOML file.

    Raises:
        TypeError: if an entry is missing or unknown.
    """
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    published = tuple(Published(**one) for one in found.pop("published", []))
    claims = tuple(Claim(**one) for one in found.pop("claim", []))
    return Paper(**found, published=published, claims=claims)


def equal(ours: Ours, value: float, spread: float | None) -> bool:
    """Whether two values agree: within two standard deviations of both, or within ten percent."""
    gap = abs(ours.mean - value)
    known = [sd for sd in (ours.sd, spread) if sd is not None]
    return gap <= CLOSE * abs(value) or (bool(known) and gap <= DEVIATIONS * min(known))


def holds(claim: Claim, found: Found) -> bool | None:
    """Whether a claim holds; `False` only if the other rival is better by more than two standard deviations."""
    one, other = (found.get((claim.task, rival, claim.score)) for rival in (claim.better, claim.than))
    if one is None or other is None:
        return None
    gain = (one.mean - other.mean) * (1 if claim.larger else -1)
    if gain > 0:
        return True
    noise = math.hypot(one.sd or 0.0, other.sd or 0.0)
    return None if -gain <= DEVIATIONS * noise else False


def verdict(published: Published, claims: Iterable[Claim], found: Found) -> Verdict:
    """The verdict on a published value, by a rule fixed beforehand.

    - *reproduced*: our mean is within two standard deviations of both, or within ten percent;
    - *contradicted*: it is not, and a claim of the paper about this value fails by more than two standard deviations;
    - *partly*: it is not, and all claims about it hold;
    - *not*: otherwise.
    """
    ours = found.get(published.key)
    if ours is None:
        return "not measured"
    if equal(ours, published.value, published.spread):
        return "reproduced"
    about = [
        holds(claim, found)
        for claim in claims
        if (claim.task, claim.score) == (published.task, published.score)
        and published.rival in (claim.better, claim.than)
    ]
    if False in about:
        return "contradicted"
    return "partly" if about and all(about) else "not"


def values(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], Ours]:
    """Our values from records that are joined over seeds."""
    found = {}
    for record in records:
        task = record["case"].get("task")
        for name, mean in (record.get("scores") or {}).items():
            spread = record.get("spread", {}).get(name)
            found[task, record["rival"], name] = Ours(mean, spread, record.get("seeds", 1))
    return found
