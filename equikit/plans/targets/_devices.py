"""Published figures of the devices for which programs can be compiled, each with its datasheet; JAX is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Device:
    """A device, and the interconnect between several of them.

    Rates are peak values per second of what JAX calls a device. `None` where they differ from machine to machine.

    Attributes:
        platform: the platform for which programs are lowered: `"cpu"`, `"cuda"` or `"tpu"`.
        kind: the name of the device.
        source: the documents that state the figures.
        bandwidth: bytes between the memory and the processor.
        rates: floating-point operations by dtype; `"float32"` at JAX's default precision of products, which is TF32 on
            the H100 and bfloat16 on TPUs, `"float32 highest"` at `precision="highest"`.
        link: bytes that a device sends to the devices of its node, in one direction.
        node: devices in a node; `None` where links reach all devices.
        network: bytes that a device sends to other nodes.
        topologies: for each number of devices the name of a topology with as many or more.
    """

    platform: str
    kind: str
    source: str
    bandwidth: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    link: float | None = None
    node: int | None = None
    network: float | None = None
    topologies: Mapping[int, str] = field(default_factory=dict)


def _tpu(
    kind: str, page: str, flops: float, bandwidth: float, link: float, topologies: Mapping[int, str], cores: int = 1
) -> Device:
    """Return a TPU by the figures of a chip, which has one or two devices.

    Products of float32 take one pass of bfloat16 by default, and six at the highest precision.
    """
    return Device(
        "tpu",
        kind,
        f'"{page}", Google Cloud documentation' + (", for one of two devices of a chip" if cores > 1 else ""),
        bandwidth / cores,
        {"float32": flops / cores, "float32 highest": flops / cores / 6, "bfloat16": flops / cores},
        link / cores,
        None,
        link / cores,
        topologies,
    )


SQUARES = {1: "2x2", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
CUBES = {8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8"} | dict.fromkeys((1, 4), "2x2x1")
PAIRS = {16: "2x2x2", 32: "2x2x4", 64: "2x4x4", 128: "4x4x4", 256: "4x4x8"} | dict.fromkeys((1, 4, 8), "2x2x1")
"""The chips of one host at least; in `PAIRS` a chip has two devices. The first devices of a topology are used."""

TARGETS: Mapping[str, Device] = MappingProxyType(
    {
        "cpu": Device("cpu", "this machine", "none: the figures differ from machine to machine"),
        "h100": Device(
            "cuda",
            "NVIDIA H100 80GB HBM3",
            '"NVIDIA H100 Tensor Core GPU" datasheet, SXM, without sparsity; "NVIDIA DGX H100" datasheet',
            3.35e12,
            {
                "float64": 67e12,
                "float32": 494.7e12,
                "float32 highest": 67e12,
                "bfloat16": 989.4e12,
                "float16": 989.4e12,
            },
            450e9,  # NVLink 4: 900 GB/s in both directions together
            8,
            50e9,  # a port of InfiniBand NDR for each device, 400 Gb/s
            {1: "1x1x1", 4: "1x1x4", 8: "1x1x8"} | {8 * hosts: f"1x{hosts}x8" for hosts in (2, 4, 8, 16, 32)},
        ),
        "v4": _tpu("TPU v4", "TPU v4", 275e12, 1200e9, 300e9, CUBES),
        "v5e": _tpu("TPU v5 lite", "TPU v5e", 197e12, 819e9, 200e9, SQUARES),
        "v5p": _tpu("TPU v5", "TPU v5p", 459e12, 2765e9, 600e9, CUBES),
        "v6e": _tpu("TPU v6 lite", "TPU v6e", 918e12, 1638e9, 400e9, SQUARES),
        "tpu7x": _tpu("TPU7x", "TPU7x (Ironwood)", 2307e12, 7380e9, 600e9, PAIRS, cores=2),
    }
)
"""The devices that `compiled_cost` compiles for, by the name of the target."""
