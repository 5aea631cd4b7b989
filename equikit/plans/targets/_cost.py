"""What a compiled program costs on a device, as a value and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from equikit import _checks
from equikit._errors import OptionError
from equikit.plans.costs._rows_as_text import aligned, html_table
from equikit.plans.targets._collectives import Collective
from equikit.plans.targets._devices import TARGETS

HEADER = ("target", "kernels", "bytes", "on chip", "× io", "temporaries", "FLOPs", "memory", "arithmetic", "compiled")
SENT = ("collectives", "sent")


@dataclass(frozen=True, slots=True)
class CompiledCost:
    """What a program costs on one device of a target, counted in the program that XLA compiled.

    Nothing is run, and no time is measured except the compiler's. `bytes` is a property of the program. The two times
    are rough lower bounds: no program reaches the figures of a datasheet, but an operand counts in full where only some
    of its rows are read, and all FLOPs at the rate of the widest dtype.

    Attributes:
        target: the target, as in `TARGETS`.
        devices: devices over which the batch is spread; all numbers are those of one device.
        gradient: whether the program is the value and gradient.
        dtype: the widest floating-point dtype of the arguments; `"float32 highest"` if products are computed at the
            highest precision.
        kernels: operations of the entry computation that run on the device: fusions, products, custom calls, copies,
            sorts, collectives. Calls and loops stand for what they call, once. Parameters, constants, bitcasts and
            tuples are not counted, and an asynchronous operation is counted once.
        bytes: what XLA's cost analysis counts: all operands and results of these operations, of which slices inside a
            fusion count only what is read. A custom call counts its operands and results. On TPUs arrays are padded
            to tiles.
        on_chip_bytes: the part of `bytes` that is no traffic with the memory of a TPU, an upper bound: operands and
            results that XLA keeps in on-chip memory, and what it counts more than once of asynchronous copies. 0 on
            other devices.
        io_bytes: arguments, parameters included, and results, without padding.
        temporaries: bytes of temporary arrays, as XLA allocates them.
        flops: floating-point operations by XLA's cost analysis, without those of `uncounted`.
        compile_seconds: time of the compiler on this machine.
        loops: loops of the program, whose body is counted once in all numbers.
        uncounted: targets of custom calls, whose FLOPs are unknown to XLA.
        collectives: the exchanges between devices, in the order of the program.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from equikit.plans import compiled_cost
        >>> x = jax.ShapeDtypeStruct((128, 64), jnp.float32)
        >>> cost = compiled_cost(jnp.negative, x, target="cpu")
        >>> cost.kernels, cost.bytes, cost.io_bytes, cost.ratio, cost.flops
        (1, 65536, 65536, 1.0, 8192)
    """

    target: str
    devices: int
    gradient: bool
    dtype: str
    kernels: int
    bytes: int
    on_chip_bytes: int
    io_bytes: int
    temporaries: int
    flops: int
    compile_seconds: float
    loops: int = 0
    uncounted: tuple[str, ...] = ()
    collectives: tuple[Collective, ...] = field(default=(), repr=False)  # the numbers of all devices are in it

    @property
    def ratio(self) -> float:
        """`bytes` over `io_bytes`; 1 is the least for a program that reads all arguments. NaN without arrays."""
        return self.bytes / self.io_bytes if self.io_bytes else math.nan

    @property
    def bandwidth_seconds(self) -> float | None:
        """The time to move `bytes` without `on_chip_bytes`, but at least `io_bytes`, at the device's bandwidth.

        `None` for a CPU.
        """
        bandwidth = TARGETS[self.target].bandwidth
        moved = max(self.bytes - self.on_chip_bytes, min(self.io_bytes, self.bytes))
        return None if bandwidth is None else moved / bandwidth

    @property
    def arithmetic_seconds(self) -> float | None:
        """The time of `flops` at the peak rate of the device for `dtype`; `None` for a CPU."""
        rates = TARGETS[self.target].rates
        return self.flops / rates.get(self.dtype, rates["bfloat16"]) if rates else None

    @property
    def sent_bytes(self) -> float:
        """The bytes that each device sends to others."""
        return sum(each.moved for each in self.collectives)

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers by name, for JSON."""
        derived = ("ratio", "bandwidth_seconds", "arithmetic_seconds", "sent_bytes")
        return asdict(self) | {name: getattr(self, name) for name in derived}

    def __str__(self) -> str:
        return compiled_table([self])

    def _repr_html_(self) -> str:
        return html_table(_title([self]), _rows([self]), _notes([self]))


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    unit, size = next(((unit, size) for unit, size in (("s", 1.0), ("ms", 1e-3)) if value >= size), ("µs", 1e-6))
    return f"{value / size:.3g} {unit}"


def _cells(cost: CompiledCost, sent: bool) -> tuple[str, ...]:
    kinds = {each.kind: None for each in cost.collectives}
    counts = [f"{sum(each.kind == kind for each in cost.collectives)} {kind}" for kind in kinds]
    spread = f" × {cost.devices}" if cost.devices > 1 else ""
    return (
        f"{cost.target}{spread}{', gradient' if cost.gradient else ''}",
        f"{cost.kernels:,}",
        f"{cost.bytes:,}",
        f"{cost.on_chip_bytes:,}",
        f"{cost.ratio:.3g}",
        f"{cost.temporaries:,}",
        f"{cost.flops:,}",
        _seconds(cost.bandwidth_seconds),
        _seconds(cost.arithmetic_seconds),
        f"{cost.compile_seconds:.2g} s",
        *((", ".join(counts) or "none", f"{cost.sent_bytes:,.0f}") if sent else ()),
    )


def _rows(costs: Sequence[CompiledCost]) -> list[tuple[str, ...]]:
    sent = any(cost.devices > 1 for cost in costs)
    return [HEADER + (SENT if sent else ()), *(_cells(cost, sent) for cost in costs)]


def _title(costs: Sequence[CompiledCost]) -> str:
    return f"compiled, not run: {' and '.join(dict.fromkeys(cost.dtype for cost in costs))}, numbers of one device"


def _notes(costs: Sequence[CompiledCost]) -> str:
    """Return what is counted once or not at all."""
    lines = []
    for cost in costs:
        if cost.loops:
            lines.append(f"{cost.target}: loops, {cost.loops}, are counted as if they ran once")
        if cost.uncounted:
            names = ", ".join(dict.fromkeys(cost.uncounted))
            lines.append(f"{cost.target}: FLOPs without those of {len(cost.uncounted)} custom calls ({names})")
    return "\n".join(lines)


def compiled_table(costs: Sequence[CompiledCost]) -> str:
    """Return costs as a table, a row for each: the table that `print(cost)` shows, for several targets.

    Args:
        costs: results of `compiled_cost`.

    Raises:
        OptionError: if it is not a list of costs.

    Returns:
        Lines of text. "memory" and "arithmetic" are `bandwidth_seconds` and `arithmetic_seconds`, "× io" is `ratio`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from equikit.plans import compiled_cost, compiled_table
        >>> x = jax.ShapeDtypeStruct((128, 64), jnp.float32)
        >>> costs = [compiled_cost(jnp.negative, x, target="cpu", gradient=gradient) for gradient in (False, True)]
        >>> compiled_table(costs).splitlines()[0]
        'compiled, not run: float32, numbers of one device'
    """
    if not isinstance(costs, Sequence) or not costs or not all(isinstance(cost, CompiledCost) for cost in costs):
        raise OptionError(
            "a table is made of a list of costs",
            got="one cost" if isinstance(costs, CompiledCost) else _checks.shown(costs),
            expected="a list of results of compiled_cost, at least one",
            step="write compiled_table([cost])",
        )
    text = aligned(_rows(costs), 1)
    rule = "-" * max(map(len, text))
    return "\n".join([_title(costs), rule, text[0], rule, *text[1:], *_notes(costs).splitlines()])
