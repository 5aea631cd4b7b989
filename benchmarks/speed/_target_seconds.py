"""The expected time of a program, from its counts and the figures of a datasheet."""

from __future__ import annotations

from collections.abc import Mapping

from equikit.plans import TARGETS

LAUNCH = {"cuda": 3e-6, "tpu": 1e-6}
"""Seconds of a kernel in addition to its bytes and FLOPs, by platform: an assumption. Datasheets do not state it."""


def expected_seconds(counts: Mapping[str, float], target: str) -> float:
    """Return kernels × launch + bytes / bandwidth + FLOPs / peak rate, as if they were never at the same time."""
    launches = counts["kernels"] * LAUNCH[TARGETS[target].platform]
    return launches + counts["bandwidth_seconds"] + counts["arithmetic_seconds"]
