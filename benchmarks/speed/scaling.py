"""A layer's training step compiled for 8 to 256 devices: the data exchanged, and the expected scaling."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import equikit as ek
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.bounds import Bound
from benchmarks.core.measurement import Measurement
from benchmarks.speed._scaling_model import MACHINES, step_seconds
from benchmarks.speed._scaling_program import LAYOUTS, in_a_process
from benchmarks.speed._scaling_report import SCALING
from equikit.plans import weight_shapes
from equikit.plans.targets import KINDS, Collective

RIVALS: dict[str, str] = {
    "batch": "samples spread over all devices, weights on each",
    "tensor axis": "the first tensor axis over 8 devices, samples over the rest",
    "channels": "channels of input and output over 8 devices, samples over the rest",
}
TARGETS = (
    *(Bound("batch", {"devices": devices}, "beyond_weights", 4.0) for devices in (8, 256)),  # the loss itself
    Bound("batch", {"devices": 256}, "loss H100", 0.05),
    Bound("batch", {"devices": 256}, "loss H100 with latency", 0.05),
    Bound("batch", {"devices": 256}, "loss TPU v5p", 0.05),
)


@dataclass(frozen=True)
class Limits:
    """The layer 2 → 2 of S: size of its axes, channels in and out, samples a device."""

    n: int
    channels: int
    batch: int


def limits(quick: bool) -> Limits:
    """Return the compiled layer sizes."""
    return Limits(n=16, channels=16, batch=2) if quick else Limits(n=64, channels=32, batch=32)


def cells(quick: bool) -> list[Cell]:
    """Return a cell for each number of devices; all layouts are compiled in one process."""
    return [
        Cell({"devices": devices}, "value and gradient", LAYOUTS if devices > 1 else LAYOUTS[:1])
        for devices in ((1, 8) if quick else (1, 8, 16, 32, 64, 128, 256))
    ]


def weight_bytes(channels: int) -> int:
    """Bytes of the layer's parameters in float32."""
    plan = ek.hom("p p -> p p", p=ek.S).plan((channels, channels), bias=True)
    sizes = weight_shapes(plan).values()
    return 4 * sum(shape[0] * channels ** (len(shape) - 1) for shape in sizes)


def scores(found: dict[str, Any], alone: dict[str, Any], channels: int) -> dict[str, float]:
    """Return the numbers of one layout: FLOPs and bytes of a device, data sent, efficiency relative to one device.

    `beyond_weights` is the number of bytes that collectives return in addition to the gradient; `loss ...` is one minus
    efficiency.
    """
    exchanged = [Collective(each["kind"], each["bytes"], tuple(each["group"])) for each in found["collectives"]]
    result = {
        "flops": found["flops"],
        "bytes": found["bytes"],
        "collectives": float(len(exchanged)),
        "moved": sum(each.moved for each in exchanged),
        "beyond_weights": float(sum(each.bytes for each in exchanged) - weight_bytes(channels)),
    }
    result |= {f"moved {kind}": sum(each.moved for each in exchanged if each.kind == kind) for kind in KINDS}
    for name, machine in MACHINES.items():
        before = step_seconds(machine, alone["flops"], alone["bytes"], [])
        seconds = step_seconds(machine, found["flops"], found["bytes"], exchanged)
        result |= {
            f"us {name}": 1e6 * seconds,
            f"efficiency {name}": before / seconds,
            f"loss {name}": 1 - before / seconds,
        }
    return result


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Prepare the reference of all cells: the program of one device, compiled when it is first needed."""
    size = limits(quick)

    @functools.cache
    def compiled(devices: int) -> dict[str, dict[str, Any]]:
        tell(f"compile for {devices} devices")
        return in_a_process(devices, size.n, size.channels, size.batch)

    def measure(cell: Cell) -> list[Measurement]:
        alone, found = compiled(1)[LAYOUTS[0]], compiled(cell.case["devices"])
        measurements = []
        for layout in cell.rivals:
            m = Measurement(dict(cell.case), cell.direction, layout)
            m.scores = scores(found[layout], alone, size.channels)
            m.flops = found[layout]["flops"]
            measurements.append(m)
        return measurements

    return measure


BENCHMARK = Benchmark(
    title="Scaling on paper",
    summary="a layer compiled for 8 to 256 virtual devices: bytes exchanged, expected efficiency",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=SCALING,
    axis="devices",
    timed=False,
)
