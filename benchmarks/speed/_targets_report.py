"""The report of `targets`: kernels, bytes and bounds of compiled layers, now and before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, log_axis, new_figure, save, tidy
from benchmarks.core.report import grid
from benchmarks.core.style import of_tables
from benchmarks.core.targets import rows

Record = Mapping[str, Any]
NAMES = {"h100": "H100", "v5e": "TPU v5e"}
CHANGED = ("layer", "direction", "kernels", "MB", "× in and out", "temporaries, MB")
BOUNDS = ("layer", "direction", "GFLOP", "µs by bandwidth", "µs by arithmetic", "seconds to compile")


@dataclass(frozen=True)
class Fewer:
    """A claim: programs that moved more than `above` times input plus output before move fewer bytes; none moves more.

    Attributes:
        target, direction: of the programs.
        above: bytes over input plus output.
    """

    target: str
    direction: str
    above: float


def pairs(records: Iterable[Record]) -> Iterator[tuple[dict[str, Any], str, Record | None, Record | None]]:
    """Yield layer and target, direction, and the records of now and before; `None` for one that was not compiled."""
    for case, direction, by_rival in rows(records):
        found = [by_rival.get(rival) for rival in ("now", "before")]
        now, before = (record if record is not None and "scores" in record else None for record in found)
        yield case, direction, now, before


def check_targets(targets: Iterable[Fewer], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return how many programs move fewer bytes than before, and name those that move as many or more."""
    found = []
    for target in targets:
        fewer, same, more = 0, [], []
        for case, direction, now, before in pairs(records):
            if (case["target"], direction) != (target.target, target.direction) or now is None or before is None:
                continue
            change = now["scores"]["bytes"] - before["scores"]["bytes"]
            if change > 0:
                more.append(case["layer"])
            elif before["scores"]["ratio"] > target.above:
                fewer, same = fewer + (change < 0), same + [case["layer"]] * (change == 0)
        if fewer or same or more:
            one = {"target": target.target, "direction": target.direction, "above": target.above, "fewer": fewer}
            found.append(one | {"same": same, "more": more, "met": not same and not more})
    return found


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """Write one sentence for each claim."""
    return [
        f"{NAMES[target['target']]}, {target['direction']}: of the layers above {target['above']:g} × input plus "
        f"output, "
        f"{target['fewer']} move fewer bytes than before; unchanged: {_listed(target['same'])}; more bytes: "
        f"{_listed(target['more'])}; {'met' if target['met'] else 'missed'}"
        for target in result["targets"]
    ]


def _listed(layers: Sequence[str]) -> str:
    return "; ".join(f"*{layer}*" for layer in layers) or "none"


def megabytes(value: float) -> str:
    """Bytes as MB, with three digits where they are few."""
    mb = value / 1e6
    return f"{mb:,.0f}" if mb >= 100 else f"{mb:.1f}" if mb >= 10 else f"{mb:.2f}"


def _change(now: Record | None, before: Record | None, text: Any) -> str:
    """The number before and now, or one of both if they are the same."""
    words = [text(record) if record is not None else "–" for record in (before, now)]
    return words[0] if words[0] == words[1] else " → ".join(words)


def _microseconds(value: float) -> str:
    us = value * 1e6
    return f"{us:,.0f}" if us >= 100 else f"{us:.1f}"


def _changed(case: Record, direction: str, now: Record | None, before: Record | None) -> list[str]:
    return [
        case["layer"],
        direction,
        _change(now, before, lambda record: f"{record['scores']['kernels']:.0f}"),
        _change(now, before, lambda record: megabytes(record["scores"]["bytes"])),
        _change(now, before, lambda record: f"{record['scores']['ratio']:.1f}"),
        _change(now, before, lambda record: megabytes(record["temporary_bytes"])),
    ]


def _bounds(case: Record, direction: str, record: Record) -> list[str]:
    scores = record["scores"]
    seconds = (scores["bandwidth_seconds"], scores["arithmetic_seconds"])
    return [
        case["layer"],
        direction,
        f"{record['flops'] / 1e9:.2f}",
        *map(_microseconds, seconds),
        f"{record['compile_seconds']:.1f}",
    ]


def tables(records: Sequence[Record]) -> list[str]:
    """Return the tables of each target: what has changed, and the bounds of the newest programs."""
    lines: list[str] = []
    every = list(pairs(records))
    for target in dict.fromkeys(case["target"] for case, *_ in every):
        of = [one for one in every if one[0]["target"] == target]
        lines += [f"{NAMES[target]}, before → now:", "", *grid(CHANGED, [_changed(*one) for one in of], 2), ""]
        newest = [(case, way, now or before) for case, way, now, before in of]
        body = [_bounds(case, way, record) for case, way, record in newest if record is not None]
        lines += [f"{NAMES[target]}, now:", "", *grid(BOUNDS, body, 2), ""]
    return lines[:-1]


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot bytes over input plus output, a panel for each target and direction, and save the plot."""
    every = list(pairs(result["measurements"]))
    layers = list(dict.fromkeys(case["layer"] for case, *_ in every))
    kinds = list(dict.fromkeys((case["target"], direction) for case, direction, *_ in every))
    figure = new_figure(2.4 + 2.9 * len(kinds), 1.2 + 0.3 * len(layers))
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for place, rival in enumerate(("now", "before")):
            points = [
                (found["scores"]["ratio"], layers.index(case["layer"]))
                for case, direction, *both in every
                if (case["target"], direction) == kind and (found := both[place]) is not None
            ]
            color, marker = STYLES[place]
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, marker, color=color, markersize=6 - place, label=rival, zorder=3 - place)
        axes.axvline(1, color="#888888", linewidth=1, linestyle=":")
        axes.set_yticks(range(len(layers)), layers, fontsize=7)
        log_axis(axes)
        tidy(axes, f"{NAMES[kind[0]]}, {kind[1]}")
        axes.set_xlabel("bytes over input plus output", fontsize=8)
    panels[0].invert_yaxis()
    save(figure, path, panels[0], 2)


STYLE = of_tables(tables, check_targets=check_targets, target_lines=target_lines, plot=plot)
