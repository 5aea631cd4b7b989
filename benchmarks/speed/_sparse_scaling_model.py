"""What each device holds and sends for a layer on a random graph that is spread over devices, from sizes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.speed._scaling_model import MACHINES, collective_seconds
from equikit.plans.targets import Collective

EXCHANGES = 8
"""All-to-alls of a training step of `"p p -> p p"`: sums over rows and over columns go to the owners, values for
rows and for columns come back, in the forward and in the backward pass; counted in compiled programs by a test."""

FLOAT = 4


@dataclass(frozen=True)
class Load:
    """What a device of a spread support has.

    Attributes:
        devices: how many there are.
        entries, nodes, copies: rows of a device; nodes without copies.
        slots: rows that it can send to each device.
        channels: of input and output.
    """

    devices: int
    entries: float
    nodes: float
    copies: float
    slots: float
    channels: int

    @property
    def row(self) -> int:
        """Bytes of a row of features."""
        return FLOAT * self.channels

    @property
    def exchanged(self) -> list[Collective]:
        """The all-to-alls of a training step."""
        size = round(self.devices * self.slots * self.row)
        return [Collective("all-to-all", size, tuple(range(self.devices)))] * EXCHANGES

    def held(self, of_entry: float) -> float:
        """Bytes of a device if a step holds so many bytes for each entry and its share of nodes, on one device.

        Copies take a row in two sums and in two arrays of values at a time, and each slot a row on both sides of an
        exchange.
        """
        return self.entries * of_entry + (4 * self.copies + 2 * self.devices * self.slots) * self.row


def random_load(edges: float, nodes: float, channels: int, devices: int) -> Load:
    """Return the load of a symmetric random graph: a pair's other node is on any device alike.

    Copies are the different ones among these nodes. For slots, the largest of devices^2 Poisson numbers is taken as
    4.5 standard deviations above the mean.
    """
    pairs, others = edges / devices / 2, nodes * (1 - 1 / devices)
    copies = others * -math.expm1(-pairs / nodes)
    mean = copies / (devices - 1)
    return Load(devices, edges / devices, nodes / devices, copies, mean + 4.5 * math.sqrt(mean), channels)


LARGE = random_load(1e9, 1e8, 16, 256)
"""A billion edges, both directions counted, between a hundred million nodes on 256 devices."""


def predicted(load: Load, alone: Mapping[str, Any], edges: int) -> dict[str, float]:
    """Return bytes held and sent in a step, and seconds: of a device's own work, and of exchanges, for each machine.

    Args:
        load: the sizes.
        alone: what was counted for one device.
        edges: of that device.
    """
    share, sent = load.entries / edges, sum(each.moved for each in load.exchanged)
    found = {"held": load.held(alone["held"] / edges), "sent": sent}
    for name, machine in MACHINES.items():
        flops, memory = own_work(alone, share, sent)
        found[f"own {name}"] = max(flops / machine.flops, memory / machine.memory)
        found[f"exchange {name}"] = sum(collective_seconds(machine, each) for each in load.exchanged)
    return found


def own_work(alone: Mapping[str, Any], share: float, sent: float) -> tuple[float, float]:
    """Return FLOPs and bytes of memory of a device: of one alone, and two reads and writes of what is exchanged."""
    return alone["flops"] * share, alone["bytes"] * share + 4 * sent
