"""Seconds of a step, on published figures of accelerators and interconnects: max(compute, memory) + collectives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from equikit.plans.targets import Collective


@dataclass(frozen=True)
class Machine:
    """Published figures of a device and its interconnect, per second and in one direction.

    Attributes:
        flops, memory: floating-point operations and bytes.
        link: bytes that a device can send to the devices of its node.
        node: devices in a node; all devices where links reach everywhere.
        network: bytes that a device can send to other nodes.
        start, hop, far: microseconds: of any collective, of a step inside a node, of one between nodes.
    """

    flops: float
    memory: float
    link: float
    node: int
    network: float
    start: float = 0.0
    hop: float = 0.0
    far: float = 0.0


H100 = Machine(67e12, 3.35e12, 450e9, 8, 50e9)
"""FP32, memory, and NVLink 4 (900 GB/s in both directions together): "NVIDIA H100 Tensor Core GPU" datasheet, SXM.
Eight in a node, each with one InfiniBand NDR port of 400 Gb/s: "NVIDIA DGX H100" datasheet."""

H100_LATENCY = Machine(67e12, 3.35e12, 450e9, 8, 50e9, 6.8, 0.6, 5.0)
"""The same, with the latencies by which NCCL chooses its algorithms, for a tree and the protocol LL: `baseLat` and
`hwLat` in `src/graph/tuning.cc` of NVIDIA/nccl, in its versions for Hopper."""

TPU = Machine(459e12, 2765e9, 600e9, 1 << 20, 600e9)
"""BF16, in which JAX multiplies float32 by default there; memory; and ICI (1,200 GB/s in both directions together; in a
slice it reaches every chip): "TPU v5p", Google Cloud documentation."""

MACHINES = {"H100": H100, "H100 with latency": H100_LATENCY, "TPU v5p": TPU}


def collective_seconds(machine: Machine, each: Collective) -> float:
    """The time of one collective, without overlap.

    Inside a node bytes go over links. Beyond it, rings pass through all ports of a node side by side, so that the
    rate of a device is bounded by its link and by all ports of its node together. In an all-to-all or a permute every
    device sends data for other nodes through its own port. Latency assumes a tree, which an all-reduce passes down and
    up and other collectives pass once; a node is passed device by device.
    """
    nodes = len({device // machine.node for device in each.group})
    near = math.ceil(len(each.group) / nodes)
    if nodes == 1:
        seconds = each.moved / machine.link
    elif each.kind in ("all-to-all", "collective-permute"):
        share = 1.0 if each.kind == "collective-permute" else (nodes - 1) / nodes * near * nodes / (near * nodes - 1)
        seconds = max(each.moved * share / machine.network, each.moved * (1 - share) / machine.link)
    else:
        seconds = each.moved / min(machine.link, near * machine.network)
    passes = 2 if each.kind == "all-reduce" else 1
    steps = (near - 1) * machine.hop + math.log2(nodes) * machine.far
    return seconds + 1e-6 * (machine.start + passes * steps)


def step_seconds(machine: Machine, flops: float, memory: float, exchanged: Iterable[Collective]) -> float:
    """The time of a program: the longer of its arithmetic and its traffic with memory, then its collectives."""
    own = max(flops / machine.flops, memory / machine.memory)
    return own + sum(collective_seconds(machine, each) for each in exchanged)
