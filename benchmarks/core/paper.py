"""A paper: its published values, and the rule that says whether they are reproduced."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["reproduced", "partly", "not", "contradicted", "other data", "not measured"]
CLOSE = 0.1
"""Relative difference of two values that count as equal."""
DEVIATIONS = 2.0


@dataclass(frozen=True)
class Ours:
    """A measured value.

    Attributes:
        mean: over seeds.
        sd: their standard deviation; `None` for a single seed.
        seeds: how many of them were measured.
        lost: how many were not.
    """

    mean: float
    sd: float | None
    seeds: int
    lost: int = 0


@dataclass(frozen=True)
class Published:
    """A value from a paper.

    Attributes:
        task, rival, score: where our value is found in the stored records.
        metric: what the value measures, in words.
        row: the name in the paper.
        value: see above.
        place: table and row, figure, or file of the authors; `None` if the value is recalled.
        spread: its standard deviation, where the paper gives it.
        seeds: repeats, where the paper says how many.
        headline: whether the front page shows it.
        train: the number of training points, where the paper has values for several.
        data: our data, if they differ from the paper's.
        from_one: whether the score is stored, and one minus the score is the value: all cosines near one are within ten
            percent of each other.
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
    train: int | None = None
    data: str | None = None
    from_one: bool = False

    @property
    def key(self) -> Key:
        """Where our value is found."""
        return key(self.task, self.rival, self.score, self.train)

    def ours(self, found: Found) -> Ours | None:
        """Our value."""
        ours = found.get(self.key)
        return replace(ours, mean=1 - ours.mean) if ours is not None and self.from_one else ours

    @property
    def label(self) -> str:
        """The task, and the number of training points if it matters."""
        return self.task if self.train is None else f"{self.task}, {self.train:,} points"


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


Key = tuple[str, str, str] | tuple[str, str, str, int]
"""Task, rival, score, and the number of training points if it matters."""
Found = Mapping[Key, Ours]


def key(task: str, rival: str, score: str, train: int | None = None) -> Key:
    """Return the key of a value."""
    return (task, rival, score) if train is None else (task, rival, score, train)


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

    A published entry with lists is a curve: it has one value for each position in its lists.

    Raises:
        ValueError: if an entry is missing, unknown, given twice or of another type, or lists differ in length.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        published = tuple(Published(**one) for entry in found.pop("published", []) for one in _points(entry))
        claims = tuple(Claim(**one) for one in found.pop("claim", []))
        unknown = found.keys() - {"title", "arxiv", "authors", "year", "settings"}
        _refuse(bool(unknown), f"unknown entries: {', '.join(sorted(unknown))}")
        for one in (*published, *claims):
            _refuse(not isinstance(getattr(one, "larger", False), bool), f"larger is neither true nor false: {one}")
        for one in published:
            numbers = [number for number in (one.value, one.spread) if number is not None]
            _refuse(not all(type(number) in (int, float) for number in numbers), f"a value is no number: {one}")
            _refuse(one.spread is not None and one.spread < 0, f"a standard deviation is negative: {one}")
        _refuse(len({one.key for one in published}) < len(published), "two values have the same task, rival and score")
        return Paper(**found, published=published, claims=claims)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error


def _refuse(wrong: bool, text: str) -> None:
    if wrong:
        raise ValueError(text)


def _points(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an entry, or one for each point of its lists."""
    lists = {name: value for name, value in entry.items() if isinstance(value, list)}
    if not lists:
        return [entry]
    return [entry | dict(zip(lists, point, strict=True)) for point in zip(*lists.values(), strict=True)]


def equal(ours: Ours, value: float, spread: float | None) -> bool:
    """Return whether two values agree: within twice the smaller known standard deviation, or within ten percent."""
    gap = abs(ours.mean - value)
    known = [sd for sd in (ours.sd, spread) if sd is not None]
    return gap <= CLOSE * abs(value) or (bool(known) and gap <= DEVIATIONS * min(known))


def holds(claim: Claim, found: Found, train: int | None = None) -> bool | None:
    """Whether a claim holds; `None` if a value is missing, or if it fails by less than the noise.

    The noise is two standard deviations of the difference; for a single seed, ten percent.
    """
    one, other = (found.get(key(claim.task, rival, claim.score, train)) for rival in (claim.better, claim.than))
    if one is None or other is None:
        return None
    gain = (one.mean - other.mean) * (1 if claim.larger else -1)
    if gain > 0:
        return True
    known = [sd for sd in (one.sd, other.sd) if sd is not None]
    noise = DEVIATIONS * math.hypot(*known) if len(known) == 2 else CLOSE * abs(other.mean)
    return None if -gain <= noise else False


def verdict(published: Published, claims: Iterable[Claim], found: Found) -> Verdict:
    """The verdict on a published value, by a rule fixed beforehand.

    - *reproduced*: on the paper's data, our mean is within twice the smaller known standard deviation, or within ten
      percent;
    - *contradicted*: it is not, and a claim of the paper about this value fails by more than two standard deviations;
    - *partly*: it is not, and all claims about it hold;
    - *other data*: the data are not the paper's, and the paper makes no claim about the value;
    - *not*: otherwise.
    """
    ours = published.ours(found)
    if ours is None:
        return "not measured"
    if published.data is None and equal(ours, published.value, published.spread):
        return "reproduced"
    about = [
        holds(claim, found, published.train)
        for claim in claims
        if (claim.task, claim.score) == (published.task, published.score)
        and published.rival in (claim.better, claim.than)
    ]
    if False in about:
        return "contradicted"
    if not about and published.data is not None:
        return "other data"
    return "partly" if about and all(about) else "not"


def values(records: Sequence[Mapping[str, Any]]) -> dict[Key, Ours]:
    """Our values from records that are joined over seeds; a value that is not finite was not measured.

    A case with a number of training points is found with and without it; without it the last record counts.
    """
    found: dict[Key, Ours] = {}
    for record in records:
        task, train = record["case"].get("task"), record["case"].get("train")
        if record["status"] != "measured":
            continue
        for name, mean in (record.get("scores") or {}).items():
            if not math.isfinite(mean):
                continue
            seeds = record.get("counts", {}).get(name, 1)
            lost = record.get("seeds", 1) + record.get("lost", 0) - seeds
            ours = Ours(mean, record.get("spread", {}).get(name), seeds, lost)
            for points in (None, train):
                found[key(task, record["rival"], name, points)] = ours
    return found
