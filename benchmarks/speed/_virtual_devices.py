"""Programs compiled for many virtual devices: each number of devices needs a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.core.folders import ROOT


def in_its_process(module: str, devices: int, *sizes: int) -> dict[str, dict[str, Any]]:
    """Return the numbers of every layout that a module prints in a process with this number of virtual devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    words = [sys.executable, "-m", module, *map(str, (devices, *sizes))]
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(f"compiling for {devices} devices failed: {done.stderr[-2000:]}")
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_layouts(measured: Callable[..., dict[str, Any]], layouts: Sequence[str]) -> None:
    """Print the numbers of every layout for the sizes on the command line; one device has one layout."""
    devices, *sizes = (int(word) for word in sys.argv[1:])
    chosen = layouts if devices > 1 else layouts[:1]
    print(json.dumps({layout: measured(layout, devices, *sizes) for layout in chosen}))
