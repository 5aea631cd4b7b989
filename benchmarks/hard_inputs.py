"""Hard inputs through every method of symmetrization: right, reported, reported without need, or silently wrong."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._hard_clouds import clouds
from benchmarks._hard_copies import Input, moved
from benchmarks._hard_errors import KINDS, Errors, errors, slopes
from benchmarks._hard_events import events
from benchmarks._hard_graphs import graphs
from benchmarks._hard_methods import RIVALS as METHODS
from benchmarks._hard_programs import Program

TITLE = "Hard inputs"
SUMMARY = "symmetric, flat, far and nearly symmetric inputs: right, reported, or silently wrong"
LISTS: dict[str, tuple[Callable[[int], list[Input]], int, int]] = {
    "clouds": (clouds, 12, 5), "graphs": (graphs, 16, 5), "events": (events, 5, 2)
}


def precise(dtype: str) -> Any:
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def list_errors(name: str, dtype: str, seed: int = 0) -> tuple[list[Input], Errors]:
    rival = METHODS[name]
    make, size, several = LISTS[rival.listed]
    inputs = make(seed)
    copies = moved(inputs, rival.moves, dtype, size, several, seed)
    program = Program(rival, size)
    flagged = None
    with precise(dtype):
        found = program(copies, dtype)
        if rival.flagged:
            flagged = Program(METHODS[rival.flagged], size)(copies, dtype)
    with precise("float64"):
        told = slopes(program, copies, found.force[:, 0], seed)
    return inputs, errors(copies, found, flagged, told)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--dtype", nargs="*", default=["float32", "float64"])
    options = parser.parse_args()
    totals: dict[str, Counter[str]] = {}
    for name in METHODS:
        if options.only and name not in options.only:
            continue
        for dtype in options.dtype:
            start = time.process_time()
            listed, e = list_errors(name, dtype)
            kinds = e.kinds(dtype)
            for what in kinds:
                totals[f"{name:26s} {dtype} {what:7s}"] = Counter(KINDS[k] for k in kinds[what])
            print(f"== {name}, {dtype} ({time.process_time() - start:.1f} s)", flush=True)
            for i, one in enumerate(listed):
                if max(kinds["outputs"][i], kinds["forces"][i]) > 1:
                    print(
                        f"   {one.family}: {one.name}: outputs {KINDS[kinds['outputs'][i]]}, forces {KINDS[kinds['forces'][i]]}; "
                        f"error {e.outputs[i]:.1e} (unreported {e.silent_outputs[i]:.1e}), forces {e.forces[i]:.1e} "
                        f"({e.silent_forces[i]:.1e}), slopes {e.slopes[i]:.1e}"
                    )
    print()
    for key, counts in totals.items():
        print(key, "  ".join(f"{kind} {counts[kind]:3d}" for kind in KINDS))


if __name__ == "__main__":
    main()
