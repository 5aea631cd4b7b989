"""The plot: scores by explainer, against the invariance of the network, and against the elements of the average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.papers.explanations_2304_06715._data import DATA

CURVES = (
    "equivariance, gradient",
    "equivariance, integrated gradients",
    "equivariance, feature ablation",
    "invariance, CAV",
)


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Draw the three parts; bars are standard deviations over seeds."""
    tasks: dict[str, list[Mapping[str, Any]]] = {}
    for record in result["measurements"]:
        if record["status"] == "measured":
            tasks.setdefault(record["case"]["task"], []).append(record)
    figure = new_figure(13, 10)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
    _draw_explainers(left.subplots(), tasks, rivals)
    curves = right.subplots(3, 2)
    for axes, name in zip(curves.ravel(), DATA, strict=False):
        _draw_relaxed(axes, name, tasks.get(f"{name}, relaxed", ()))
    for axes, name in zip(curves[2], ("cyclic signals", "digits"), strict=True):
        _draw_averages(axes, name, tasks.get(f"{name}, averaged", ()))
    handles, labels = curves[0, 0].get_legend_handles_labels()
    if handles:
        right.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(path)


def _draw_explainers(axes: Any, tasks: Mapping[str, Sequence[Mapping[str, Any]]], rivals: Sequence[str]) -> None:
    every = {record["rival"] for name in DATA for record in tasks.get(name, ())}
    names = [rival for rival in rivals if rival in every]
    for place, (name, (color, marker)) in enumerate(zip(DATA, STYLES, strict=False)):
        records = tasks.get(name, ())
        found = [
            (r["rival"], key, value, r.get("spread", {}).get(key))
            for r in records
            for key, value in r["scores"].items()
        ]
        if found:
            places = [names.index(rival) + 0.15 * (place - 1.5) for rival, *_ in found]
            values, bars = [value for *_, value, _ in found], [spread or 0.0 for *_, spread in found]
            axes.errorbar(values, places, xerr=bars, fmt=marker, color=color, markersize=6, label=name)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlabel("equivariance, or invariance")
    tidy(axes, "explanations of invariant networks")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _draw_relaxed(axes: Any, name: str, records: Sequence[Mapping[str, Any]]) -> None:
    ordered = sorted(records, key=lambda record: record["scores"]["model invariance"])
    for score, (color, marker) in zip(CURVES, STYLES, strict=False):
        points = [
            (r["scores"]["model invariance"], r["scores"][score], r.get("spread", {}).get(score) or 0) for r in ordered
        ]
        if points:
            x, y, bars = zip(*points, strict=True)
            axes.errorbar(x, y, yerr=bars, fmt=f"{marker}-", color=color, markersize=4, linewidth=0.9, label=score)
    axes.axline((1, 1), slope=1, color="#999999", linestyle=":", linewidth=0.9)
    axes.set_xlabel("invariance of the network", fontsize=8)
    tidy(axes, name)


def _draw_averages(axes: Any, name: str, records: Sequence[Mapping[str, Any]]) -> None:
    places = [record["rival"].removesuffix("s").removesuffix(" element") for record in records]
    scores = dict.fromkeys(key for record in records for key in record["scores"])
    for score, (color, marker) in zip(scores, STYLES[6:], strict=False):
        values, bars = zip(*((r["scores"][score], r.get("spread", {}).get(score) or 0) for r in records), strict=True)
        axes.errorbar(
            range(len(values)), values, yerr=bars, fmt=f"{marker}-", color=color, label=score.partition(", ")[2]
        )
    axes.set_xticks(range(len(places)), places)
    axes.set_xlabel("elements of the average", fontsize=8)
    tidy(axes, f"{name}: averaged explanations")
    if records:
        axes.legend(frameon=False, fontsize=7)
