"""Seconds of a step, on published figures of accelerators and interconnects: max(compute, memory) + collectives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from equikit.plans.targets import TARGETS, Collective, Device


@dataclass(frozen=True)
class Machine:
    """Published figures of a device and its interconnect, per second and in one direction; sources are in `TARGETS`.

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


def _machine(device: Device, precision: str, **latency: float) -> Machine:
    """Return the figures of a device, for products at one precision."""
    node = 1 << 20 if device.node is None else device.node
    return Machine(device.rates[precision], device.bandwidth, device.link, node, device.network, **latency)


H100 = _machine(TARGETS["h100"], "float32 highest")
"""Products in float32, and not in TF32; eight in a node, each with its own port to other nodes."""

H100_LATENCY = _machine(TARGETS["h100"], "float32 highest", start=6.8, hop=0.6, far=5.0)
"""The same, with the latencies by which NCCL chooses its algorithms, for a tree and the protocol LL: `baseLat` and
`hwLat` in `src/graph/tuning.cc` of NVIDIA/nccl, in its versions for Hopper."""

TPU = _machine(TARGETS["v5p"], "bfloat16")
"""Products in bfloat16, in which JAX multiplies float32 by default there; links reach every chip of a slice."""

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
