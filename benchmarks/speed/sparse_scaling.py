"""A layer on edge lists compiled for 8 to 256 devices: the data exchanged, and the expected scaling."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.bounds import Bound, check_targets
from benchmarks.core.measurement import Measurement
from benchmarks.speed._scaling_model import MACHINES
from benchmarks.speed._scaling_report import SCALING, compiled
from benchmarks.speed._sparse_scaling_model import LARGE, own_work, predicted
from benchmarks.speed._sparse_scaling_program import LAYOUTS, in_a_process
from benchmarks.speed.scaling import scores as dense_scores

RIVALS: dict[str, str] = {
    "spread": "Support.spread in jax.shard_map: edges with their reverse edges, and exchanges of nodes",
    "automatic": "rows of all features and tables over an automatic axis, as XLA divides the work",
}
TARGETS = (
    *(Bound("spread", {"devices": devices}, "sent for an entry", 8.0) for devices in (64, 256)),
    Bound("spread", {"devices": 256}, "loss TPU v5p", 0.5),
)


@dataclass(frozen=True)
class Limits:
    """The layer 2 → 2 of S: edges and nodes of each device, channels in and out."""

    edges: int
    nodes: int
    channels: int


def limits(quick: bool) -> Limits:
    """Return the sizes of the compiled layer."""
    return Limits(edges=1280, nodes=128, channels=4) if quick else Limits(edges=10_240, nodes=1024, channels=16)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each number of devices; both layouts are compiled in one process."""
    return [
        Cell({"devices": devices}, "value and gradient", LAYOUTS if devices > 1 else LAYOUTS[:1])
        for devices in ((1, 8) if quick else (1, 8, 64, 256))
    ]


def scores(found: dict[str, Any], alone: dict[str, Any], size: Limits) -> dict[str, float]:
    """Return the numbers of one layout, as `scaling` does, and what a device holds and sends for an entry of features.

    XLA:CPU divides an all-to-all into a slice for each device, and counts the array for each of them. So FLOPs and
    bytes of memory of a spread layer are taken from one device, and the exchanged rows are added.
    """
    if found["rows"]["slots"]:
        sent = sum(each["bytes"] for each in found["collectives"] if each["kind"] == "all-to-all")
        flops, memory = own_work(alone, found["rows"]["entries"] / size.edges, sent)
        found = found | {"flops": flops, "bytes": memory}
    result = dense_scores(found, alone, size.channels)
    features = 4 * size.edges * size.channels
    return result | {
        "held": found["held"],
        "sent for an entry": result["moved"] / features,
        **{name: float(number) for name, number in found["rows"].items()},
    }


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare the reference of all cells: the program of one device, compiled when it is first needed."""
    size = limits(quick)

    @functools.cache
    def programs(devices: int) -> dict[str, dict[str, Any]]:
        tell(f"compile for {devices} devices")
        return in_a_process(devices, size.edges, size.nodes, size.channels)

    def measure(cell: Cell) -> list[Measurement]:
        alone, found = programs(1)[LAYOUTS[0]], programs(cell.case["devices"])
        measurements = []
        for layout in cell.rivals:
            m = Measurement(dict(cell.case), cell.direction, layout)
            m.scores = scores(found[layout], alone, size)
            m.flops = m.scores["flops"]
            if cell.case["devices"] == 1:
                model = predicted(replace(LARGE, channels=size.channels), alone, size.edges)
                m.scores |= {f"large {name}": value for name, value in model.items()}
            measurements.append(m)
        return measurements

    return measure


def target_lines(result: Mapping[str, Any]) -> list[str]:
    """One sentence a target."""
    lines = []
    for target in result["targets"]:
        wanted, value = target["wanted"], target["value"]
        text = (
            f"sends {value:.1f} times its edge features in a step, wanted at most {wanted:.0f}"
            if target["score"] == "sent for an entry"
            else f"efficiency {1 - value:.1%} on {target['score'].removeprefix('loss ')}, wanted {1 - wanted:.0%}"
        )
        where = f"{target['rival']}, {target['case']['devices']} devices"
        lines.append(f"{where}: {text}, " + ("met" if target["met"] else "missed"))
    return lines


def large_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The model for a billion edges, from the record of one device."""
    for record in compiled(records):
        s = record["scores"]
        if "large held" in s:
            rows = f"{LARGE.entries / 1e6:.1f} million edges, {LARGE.nodes / 1e6:.2f} million nodes and "
            rows += f"{LARGE.copies / 1e6:.2f} million copies"
            times = ", ".join(
                f"{1e3 * s[f'large own {name}']:.1f} + {1e3 * s[f'large exchange {name}']:.1f} ms ({name})"
                for name in MACHINES
            )
            sizes = f"holds {s['large held'] / 1e9:.1f} GB and sends {s['large sent'] / 1e9:.2f} GB in a step"
            graph = "10⁹ edges and 10⁸ nodes on 256 devices"
            return [f"Model of {graph}: each has {rows}, {sizes}; own work + exchange: {times}."]
    return []


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown: the tables of `scaling`, and the model of a large graph."""
    tables, _, rest = SCALING.markdown({**result, "targets": []}, rivals).rpartition("\nTargets:\n")
    gaps = [line for line in rest.splitlines() if line.startswith("- ") and "none of their cases" not in line]
    lines = [*large_lines(result["measurements"]), "", "Targets:", ""]
    lines += [f"- {line}" for line in target_lines(result)] or ["- none of their cases was run"]
    return "\n".join([tables.rstrip("\n"), "", *lines, *gaps]) + "\n"


BENCHMARK = Benchmark(
    title="Sparse layers on many devices, on paper",
    summary="a layer on edge lists compiled for 8 to 256 virtual devices: bytes exchanged, expected efficiency",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=replace(
        SCALING,
        check_targets=lambda targets, records: check_targets(targets, compiled(records)),
        markdown=markdown,
        target_lines=target_lines,
    ),
    axis="devices",
    timed=False,
)
