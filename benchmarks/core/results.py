"""Lines joined over seeds: the input of tables, plots, targets and verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.core.benchmark import Benchmark
from benchmarks.core.lines import Line
from benchmarks.core.numbers import ranges

ABOUT_THE_RUN = frozenset(
    ("benchmark", "cell", "of", "seed", "quick", "date", "seconds", "revision", "machine", "versions", "load_average")
) | {"limits"}
"""Entries of a line that do not belong to its record."""
Record = dict[str, Any]


def key(line: Mapping[str, Any]) -> str:
    """Return what the lines of one rival have in common for all seeds."""
    return json.dumps([line["case"], line["direction"], line["rival"]])


def joined(lines: Iterable[Line]) -> list[Record]:
    """Join lines over seeds: means in their places, standard deviations of scores in `spread`, the number in `seeds`.

    A seed that was not measured is left out of the means, and its reason is kept.
    """
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return [_joined(of) for of in groups.values()]


def _joined(of: Sequence[Line]) -> Record:
    records = [{name: value for name, value in line.items() if name not in ABOUT_THE_RUN} for line in of]
    if len(records) == 1:
        return records[0]
    measured = [record for record in records if record["status"] == "measured"] or records
    found = dict(measured[0])
    for name, value in found.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = _mean([record[name] for record in measured if name in record])
    scores = [record.get("scores") or {} for record in measured]
    names = dict.fromkeys(name for one in scores for name in one)
    if names:
        every = {name: [one[name] for one in scores if name in one] for name in names}
        found["scores"] = {name: _mean(values) for name, values in every.items()}
        with np.errstate(invalid="ignore"):  # infinite scores have no deviation
            found["spread"] = {name: float(np.std(v, ddof=1)) for name, v in every.items() if len(v) > 1}
        found["counts"] = {name: len(values) for name, values in every.items()}
    found["seeds"], found["lost"] = len(measured), len(records) - len(measured)
    reasons = [
        f"seed {line['seed']}: {line['reason']}" for line in of if "reason" in line and line["status"] != "measured"
    ]
    if reasons:
        found["reason"] = "; ".join(reasons)
    return found


def _mean(values: Sequence[float]) -> float:
    """The mean; equal values stay as they are."""
    return values[0] if len(set(values)) == 1 else float(np.mean(values))


def result(benchmark: Benchmark, lines: Sequence[Line]) -> dict[str, Any]:
    """Return records, targets, the summary if the style has one, and the circumstances."""
    records = joined(lines)
    found: dict[str, Any] = {
        "circumstances": circumstances(lines),
        "measurements": records,
        "targets": benchmark.style.check_targets(benchmark.targets, records),
    }
    if benchmark.style.summary is not None:
        found["summary"] = benchmark.style.summary(records)
    return found


def circumstances(lines: Sequence[Line]) -> str:
    """Return date, machine and versions of lines: a sentence for each revision, machine and set of versions."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(json.dumps([line["revision"], line["machine"], line["versions"]]), []).append(line)
    return "\n\n".join(map(_circumstances, groups.values()))


def _circumstances(of: Sequence[Line]) -> str:
    machine, versions = of[0]["machine"], of[0]["versions"]
    dates = sorted(line["date"][:16] for line in of)
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else ""
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    loads = [load for line in of for load in line["load_average"][:1] if load is not None]
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    seeds = {line["seed"] for line in of}
    system = f"{machine['os']}{_device(machine)}"
    return (
        f"{when}, {machine['cpu']}, {machine['cores']} cores{memory}, {system}; {known}; revision "
        f"{of[0]['revision']}; {'seed' if len(seeds) == 1 else 'seeds'} {ranges(seeds)}"
        + (f"; load average at most {max(loads)} before a case" if loads else "")
        + ("; a quick run, not for quoting." if any(line["quick"] for line in of) else ".")
    )


def _device(machine: Mapping[str, Any]) -> str:
    """The device that JAX has computed on, unless it is the processor."""
    device = machine["device"]
    return "" if device["platform"] == "cpu" else f", {device['kind']} ({device['platform']})"
