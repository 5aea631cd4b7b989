"""The machine of a measurement, without names of persons, hosts or paths."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.core.folders import ROOT

PACKAGES = (
    "jax",
    "jaxlib",
    "jax-cuda12-plugin",
    "libtpu",
    "flax",
    "numpy",
    "opt_einsum",
    "scikit-learn",
    "emlp",
    "e3nn-jax",
    "cuequivariance-jax",
    "equikit",
)


def cpu_model() -> str:
    """The model of the processor, as the system names it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Physical memory, where the system says how much there is."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def load_average() -> float | None:
    """Return the load average of the last minute: well above zero before a run, the machine is not idle."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, and the device that JAX computes on."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    release = re.match(r"[\d.]+", platform.release())
    device = jax.devices()[0]
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores": cores,
        "memory_bytes": memory_bytes(),
        "os": f"{platform.system()} {release[0] if release else ''}".strip(),
        "device": {"platform": device.platform, "kind": device.device_kind},
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that matter; `None` for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def revision() -> str | None:
    """The commit of the working tree, with a plus sign if `equikit/` or `benchmarks/` differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "equikit", "benchmarks/*.py", "benchmarks/*.toml")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def now() -> str:
    """The date and time, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
