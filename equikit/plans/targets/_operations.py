"""What a compiled program runs, read from its optimized HLO text: operations on the device, and where arrays lie."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SIZES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16} | {
    f"{sign}{bits}": bits // 8 for sign in "su" for bits in (8, 16, 32, 64)
}
"""Bytes of a number by its dtype in HLO; those of 8 bits with other names are counted as one byte."""

VALUES = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all", "opt-barrier"} | {
    "add-dependency",
    "domain",
    "partition-id",
    "replica-id",
}
"""Operations that name a value and run nothing."""

NOTHING = {"AllocateBuffer", "ConcatBitcast"}
"""Custom calls that run nothing."""

LIBRARIES = ("__cublas$", "__cudnn$")
"""Custom calls whose last result is memory that the library works with."""

ON_CHIP = ("S(1)", "S(3)")
"""Marks of arrays in the on-chip memories of a TPU: VMEM, and CMEM of the v4. GPUs use them for other things."""

_SHAPE = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\](\{[^}]*\})?")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LAYOUT = re.compile(r"\{([\d,]*):T\(([\d,]+)\)")


@dataclass(frozen=True, slots=True)
class Array:
    """An array in a program: its bytes with the padding of tiles, and whether it lies in on-chip memory."""

    bytes: int
    on_chip: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a computation: the opcode, the arrays it writes, names of operands, and the rest of the line."""

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    rest: str

    @property
    def custom_call(self) -> str | None:
        """The target of a custom call."""
        found = re.search(r'custom_call_target="([^"]+)"', self.rest) if self.opcode == "custom-call" else None
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        """Whether it runs on the device, on its own; `-done` is the second half of an asynchronous operation."""
        second = self.opcode.endswith(("-done", "-update"))
        return self.opcode not in VALUES and not second and self.custom_call not in NOTHING


@dataclass(frozen=True, slots=True)
class Ran:
    """What a computation runs.

    Attributes:
        kernels: operations that run on the device.
        on_chip: bytes of their operands and results in on-chip memory, and what is counted twice of copies to it.
        loops: loops, whose condition and body are counted once.
        custom_calls: targets of custom calls, in order, once for each call.
        custom_bytes: bytes of their operands and results.
    """

    kernels: int = 0
    on_chip: int = 0
    loops: int = 0
    custom_calls: tuple[str, ...] = ()
    custom_bytes: int = 0

    def __add__(self, other: Ran) -> Ran:
        return Ran(
            self.kernels + other.kernels,
            self.on_chip + other.on_chip,
            self.loops + other.loops,
            self.custom_calls + other.custom_calls,
            self.custom_bytes + other.custom_bytes,
        )


def _array(dtype: str, sizes: str, layout: str) -> Array:
    axes = [int(size) for size in sizes.split(",") if size]
    tiled = _LAYOUT.match(layout)
    if tiled:  # the layout names axes from the fastest to the slowest, a tile its sizes the other way round
        axes = [axes[int(axis)] for axis in tiled[1].split(",") if axis]
        tile = [int(size) for size in tiled[2].split(",")][::-1]
        axes += [1] * (len(tile) - len(axes))
        axes = [-(-size // tile[i]) * tile[i] if i < len(tile) else size for i, size in enumerate(axes)]
    return Array(SIZES.get(dtype, 1) * math.prod(axes), any(space in layout for space in ON_CHIP))


def arrays(text: str) -> tuple[Array, ...]:
    """Return the arrays of a type in HLO text, such as `(f32[8,128]{1,0:T(8,128)S(1)}, s32[])`."""
    return tuple(_array(*found) for found in _SHAPE.findall(text))


def computations(hlo: str) -> tuple[str, dict[str, list[Operation]]]:
    """Return the name of the entry computation, and the operations of every computation by its name."""
    found: dict[str, list[Operation]] = {}
    entry, inside = "", None
    for line in hlo.splitlines():
        header = _HEADER.match(line)
        if header:
            inside = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            inside = None
        elif inside is not None and (match := _LINE.match(line)):
            name, result, opcode, rest = match.groups()
            operands = re.split(r"\)(?:, |$)", rest, maxsplit=1)[0]
            inside.append(Operation(name, opcode, arrays(result), tuple(re.findall(r"%([\w.\-]+)", operands)), rest))
    return entry, found


def _called(operation: Operation, *names: str) -> Iterator[str]:
    """Yield the computations that attributes of an operation name."""
    for name in names:
        for group in re.findall(rf"\b{name}=(\{{[^}}]*\}}|%?[\w.\-]+)", operation.rest):
            yield from re.findall(r"%?([\w.\-]+)", group)


COUNTED = 4
"""How often XLA counts the bytes of an asynchronous copy: its start has source and copy as results, and the source as
operand, its end has the copy. Other asynchronous operations are not counted at all."""


def _on_chip(operation: Operation, moved: Sequence[Array]) -> int:
    """Return the bytes of an operation that XLA counts, but that are no traffic with the memory of a device."""
    if operation.opcode == "copy-start":
        copy, source, *_ = operation.results
        return copy.bytes * (COUNTED - (not copy.on_chip) - (not source.on_chip))
    if operation.opcode.endswith("-start"):
        return 0
    return sum(array.bytes for array in moved if array.on_chip)


def ran(hlo: str) -> Ran:
    """Return what a program runs: operations of the entry computation, and of computations that it calls.

    A call stands for the operations of its computation, a loop for those of its condition and body, once, a branch for
    those of the computation that runs most. A fusion is one operation.
    """
    entry, known = computations(hlo)

    def of(name: str) -> Ran:
        total, inside = Ran(), {}
        for operation in known.get(name, ()):
            inside[operation.name] = operation.results
            if operation.opcode == "while":
                total += sum(map(of, _called(operation, "condition", "body")), Ran(loops=1))
            elif operation.opcode == "call":
                total += sum(map(of, _called(operation, "to_apply")), Ran())
            elif operation.opcode == "conditional":
                names = _called(operation, "branch_computations", "true_computation", "false_computation")
                total += max(map(of, names), key=lambda branch: branch.kernels, default=Ran())
            elif operation.runs:
                read = (array for name in operation.operands for array in inside.get(name, ()))
                moved = [*operation.results, *read]
                custom = operation.custom_call
                if custom and custom.startswith(LIBRARIES) and len(operation.results) > 1:
                    moved.remove(operation.results[-1])
                total += Ran(
                    1,
                    _on_chip(operation, moved),
                    0,
                    (custom,) if custom else (),
                    sum(array.bytes for array in moved) if custom else 0,
                )
        return total

    return of(entry)
