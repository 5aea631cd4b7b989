"""Hard inputs through every method of symmetrization: right, reported, reported without need, or silently wrong."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from typing import Any

import jax
import numpy as np

from benchmarks._hard_clouds import clouds
from benchmarks._hard_measure import KINDS, Errors, Program, errors, evaluated, moved
from benchmarks._hard_methods import RIVALS

TITLE = "Hard inputs"
SUMMARY = "symmetric, flat, far and nearly symmetric inputs: right, reported, or silently wrong"


def cloud_errors(name: str, dtype: str, seed: int = 0) -> Errors:
    rival, listed = RIVALS[name], clouds(seed)
    copies = moved(listed, rival, dtype, seed)
    found = evaluated(Program(rival), copies, dtype)
    flagged = None
    if rival.flagged:
        flagged = evaluated(Program(RIVALS[rival.flagged]), copies, dtype)
    return errors(copies, found, flagged)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--dtype", nargs="*", default=["float32", "float64"])
    options = parser.parse_args()
    names = [clouds_ for clouds_ in RIVALS if RIVALS[clouds_].turns != "O(1,3)"]
    listed = clouds()
    totals: dict[str, Counter[str]] = {}
    for name in names:
        if options.only and name not in options.only:
            continue
        for dtype in options.dtype:
            start = time.process_time()
            with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
                e = cloud_errors(name, dtype)
            values, forces = e.kinds(dtype)
            for what, kinds in (("output", values), ("force", forces)):
                totals[f"{name:26s} {dtype} {what:6s}"] = Counter(KINDS[k] for k in kinds)
            print(f"== {name}, {dtype} ({time.process_time() - start:.1f} s)", flush=True)
            for i, cloud in enumerate(listed):
                if values[i] > 1 or forces[i] > 1:
                    print(
                        f"   {cloud.family}: {cloud.name}: output {KINDS[values[i]]}, force {KINDS[forces[i]]}; "
                        f"error {e.outputs[i]:.1e} (unreported {e.unreported[i]:.1e}), forces {e.forces[i]:.1e} "
                        f"({e.forces_unreported[i]:.1e})"
                    )
    print()
    for key, counts in totals.items():
        print(key, "  ".join(f"{kind} {counts[kind]:3d}" for kind in KINDS))


if __name__ == "__main__":
    main()
