"""Compile a layer for a device that is not here."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies
from jaxlib import xla_client

H100 = """
gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x:
2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size:
52428800 clock_rate_ghz: 1.98 device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 7 } runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "copy-done", "slice-done")


def device(target: str) -> tuple[Any, str]:
    if target == "h100":
        return topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1").devices[0], "cuda"
    return topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0], "tpu"


def nbytes(tree: Any) -> int:
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


PEAKS = {"h100": (3.35e12, 67e12, 989e12), "v5e": (819e9, 197e12, 197e12)}


def cost(module: Any, x: Any, target: str, gradient: bool) -> dict[str, float]:
    graph, state = nnx.split(module)
    where, platform = device(target)
    sharding = jax.sharding.SingleDeviceSharding(where)

    def abstract(tree):
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)

    def forward(state, x):
        return nnx.merge(graph, state)(x)

    def loss(state, x):
        leaves = jax.tree.leaves(forward(state, x))
        return sum(jnp.sum(jnp.square(y.astype(jnp.float32))) for y in leaves) / sum(y.size for y in leaves)

    function = jax.value_and_grad(loss, argnums=(0, 1)) if gradient else forward
    args = (abstract(state), abstract(x))
    io = nbytes(args) + nbytes(jax.eval_shape(function, *args))
    start = time.perf_counter()
    compiled = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).compile()
    seconds = time.perf_counter() - start
    text = compiled.as_text()
    if target == "h100":
        modules = compiled.runtime_executable().hlo_modules()
        found = xla_client._xla.hlo_module_cost_analysis(jax.devices("cpu")[0].client, modules[0])
    else:
        found = compiled.cost_analysis()
    memory = compiled.memory_analysis()
    (entry,) = re.findall(r"^ENTRY .*?^}", text, re.MULTILINE | re.DOTALL)
    kinds = re.findall(r"^\s+(?:ROOT )?%?\S+ = (?:\(.*?\)|\S+) ([\w\-]+)\(", entry, re.MULTILINE)
    bandwidth, single, half = PEAKS[target]
    peak = half if jax.tree.leaves(x)[0].dtype == jnp.bfloat16 else single
    return {
        "kernels": sum(kind not in FREE for kind in kinds),
        "bytes": found["bytes accessed"],
        "io_bytes": io,
        "ratio": found["bytes accessed"] / io,
        "flops": found["flops"],
        "temporaries": memory.temp_size_in_bytes,
        "bandwidth_seconds": found["bytes accessed"] / bandwidth,
        "arithmetic_seconds": found["flops"] / peak,
        "compile_seconds": seconds,
    }
