"""What a program costs on a device that is not there: compiled by XLA, counted, and not run."""

from equikit.plans.targets._collectives import KINDS, Collective, collectives
from equikit.plans.targets._cost import CompiledCost, compiled_table
from equikit.plans.targets._devices import TARGETS, Device

__all__ = ["KINDS", "TARGETS", "Collective", "CompiledCost", "Device", "collectives", "compiled_table"]
