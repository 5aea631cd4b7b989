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
    # Fitted to kernels, bytes and FLOPs of layers compiled for an NVIDIA H100 and a TPU v5e, with the bandwidths and
    # peak rates of their datasheets, by `benchmarks/speed/target_rates.py`. Nothing was timed.
    "gpu": Rates(5.4e-6, 1.7e-6, 2.0e-15, 3.3e-13, 8.2e-7, 1.7e-13),
    "tpu": Rates(0.0, 3.3e-7, 5.1e-15, 3.6e-12, 2.9e-6, 1.1e-13),
}


def rates_of(platform: str) -> Rates:
    """Return the rates of a platform as JAX names it; other accelerators use the rates of a GPU."""
    return RATES.get(platform, RATES["gpu"])
