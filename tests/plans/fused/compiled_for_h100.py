"""Compile fused kernels for an H100 that is not there; `test_fused_compiled.py` runs this program.

It prints, for each layer, temporaries over inputs and outputs, and the number of kernels of Pallas.
"""

import json
import os

os.environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_gpu_autotune_level=0"}

import jax
import jax.numpy as jnp
from jax._src.mesh import AbstractDevice
from jax.experimental import topologies
from jax.sharding import AbstractMesh, SingleDeviceSharding

import equikit as ek
from equikit.plans import apply, kernels, weight_shapes

NAME = "NVIDIA H100 80GB HBM3"
CONFIG = f"""
gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000
  l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 minor: 0 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536 }}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 7 }}
runtime_version {{ major: 12 minor: 9 patch: 0 }}
device_description_str: "{NAME}"
"""
LAYERS = {
    "pairs": ("p p -> p p", {"p": ek.S}, (32, 256, 256, 32), jnp.float32),
    "half": ("p p -> p p", {"p": ek.S}, (32, 256, 256, 32), jnp.bfloat16),
    "masked tiles": ("p p -> p p", {"p": ek.S}, (3, 33, 33, 5), jnp.float32),
    "points": ("p -> p", {"p": ek.S}, (64, 4096, 32), jnp.float32),
    "vectors": ("p x -> p x", {"p": ek.S, "x": ek.O(3)}, (512, 1024, 3, 32), jnp.float32),
    "tensors": ("x x x -> x x x", {"x": ek.O(3)}, (64, 3, 3, 3, 16), jnp.bfloat16),
}


def main() -> None:
    (device,) = topologies.get_topology_desc(platform="cuda", target_config=CONFIG, topology="1x1x1").devices
    described = AbstractDevice(device_kind=NAME, num_cores=None, platform="gpu")
    mesh = AbstractMesh((1,), ("d",), abstract_device=described)
    found = {}
    for name, (signature, groups, shape, dtype) in LAYERS.items():
        plan = ek.hom(signature, **groups).plan((shape[-1],) * 2, normalize="mean", bias=True)

        def array(shape, dtype=dtype):
            return jax.ShapeDtypeStruct(shape, dtype, sharding=SingleDeviceSharding(device))

        def run(x, w, plan=plan):
            return apply(plan, x, w, method="fused")

        def both(x, w, run=run):
            y, pull = jax.vjp(run, x, w)
            return pull(y)

        weights = {name: array(shape) for name, shape in weight_shapes(plan).items()}
        with kernels("compile"), jax.sharding.use_abstract_mesh(mesh):
            for way, function in (("forward", run), ("gradient", both)):
                lowered = jax.jit(function).trace(array(shape), weights).lower(lowering_platforms=("cuda",))
                compiled = lowered.compile()
                memory = compiled.memory_analysis()
                moved = memory.argument_size_in_bytes + memory.output_size_in_bytes
                count = compiled.as_text().count('custom_call_target="__gpu$xla.gpu.triton"')
                found[f"{name}, {way}"] = [memory.temp_size_in_bytes / moved, count]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
