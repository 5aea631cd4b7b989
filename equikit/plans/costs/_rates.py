"""The cost of a unit of work on each platform."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of a cost model, in seconds.

    Attributes:
        call: for each program.
        product: for each matrix product, or contraction with a constant tensor.
        flop: for each floating-point operation of a product.
        product_byte: for each byte that a product reads or writes.
        step: for each reduction or expansion.
        step_byte: for each byte that a reduction reads or writes, and for `FUSED` bytes for each byte that an expansion
            writes.
    """

    call: float
    product: float
    flop: float
    product_byte: float
    step: float
    step_byte: float


RATES = {
    # Fitted to forward times of 21 layers at four batch sizes by `benchmarks/methods.py`: AMD EPYC, 2 cores.
    "cpu": Rates(4.2e-6, 5.9e-7, 6.0e-12, 6.6e-11, 1.3e-6, 1.4e-10),
    # Not measured: half of the 67 TFLOP/s (float32) and 3.35 TB/s of NVIDIA's H100 data sheet, 3 µs a kernel.
    "gpu": Rates(1e-5, 3e-6, 3e-14, 6e-13, 3e-6, 6e-13),
    # Not measured: half of the 459 TFLOP/s (bfloat16) and 2.77 TB/s that Google states for TPU v5p, 2 µs a kernel.
    "tpu": Rates(1e-5, 2e-6, 5e-15, 7e-13, 2e-6, 7e-13),
}


def rates_of(platform: str) -> Rates:
    """Return the rates of a platform as JAX names it; other accelerators use the rates of a GPU."""
    return RATES.get(platform, RATES["gpu"])
