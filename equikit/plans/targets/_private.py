"""Everything that is used of JAX and jaxlib but is not in their public interface."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jax._src.lib import _jax  # type: ignore[attr-defined]
from jax.experimental import topologies
from jax.extend.backend import get_backend

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  core_count: 132 fpus_per_core: 128 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84929347584
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""What XLA asks of a GPU, in its text format `GpuTargetConfigProto`."""

TPU_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else a second process that compiles fails by the lock file of the first
    "TPU_SKIP_MDS_QUERY": "1",  # there is no server that describes a machine with TPUs
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",  # the two below are looked up on that server; here they have no effect
    "TPU_WORKER_HOSTNAMES": "localhost",
}
"""What libtpu reads when it is loaded on a machine without a TPU."""


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment that are not set, for a while."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def tpu_devices(topology: str, options: Mapping[str, str]) -> list[Any]:
    """Return the devices of a TPU topology, which can be compiled for but not used."""
    attached = jax.default_backend() == "tpu"  # libtpu is loaded here where the machine has a TPU
    with _environment({} if attached else TPU_ENVIRONMENT):
        return list(topologies.get_topology_desc(topology, "tpu", **options).devices)


def cuda_devices(topology: str, plugin: str) -> list[Any]:
    """Return the devices of a topology of H100s, which can be compiled for but not used.

    JAX registers its CUDA plugin only where it finds the libraries of CUDA, or was asked for other platforms. They are
    not needed to compile, so the plugin is registered here without that check.
    """
    jax.devices()  # finds plugins
    options = {"target_config": H100, "topology": topology}
    try:
        return list(topologies.get_topology_desc("", "cuda", **options).devices)
    except NotImplementedError:
        with _environment({"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}):
            importlib.import_module(plugin).initialize()
        return list(topologies.get_topology_desc("", "cuda", **options).devices)


def cost_of(compiled: Any) -> dict[str, float]:
    """Return XLA's cost analysis of an optimized module; for CUDA JAX has none, and the analysis of the CPU is used."""
    found = compiled.cost_analysis()
    if found is None:
        module = compiled.runtime_executable().hlo_modules()[0]
        found = _jax.hlo_module_cost_analysis(get_backend("cpu"), module)
    return dict(found)
