"""The data that a compiled program sends between devices, read from its HLO text."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from equikit._errors import OptionError
from equikit.plans.targets._operations import SIZES, computations

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_LINE = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (.*?) ({'|'.join(KINDS)})(-start)?\((.*)$", re.MULTILINE)
_SHAPE = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """One exchange between devices.

    Attributes:
        kind: one of `KINDS`.
        bytes: of its result on one device.
        group: numbers of the devices of the first group that takes part.
    """

    kind: str
    bytes: int
    group: tuple[int, ...]

    @property
    def moved(self) -> float:
        """The bytes that each device sends, by the ring algorithm, with g devices in a group.

        A reduce-scatter and an all-gather move (g - 1)/g of the whole array, an all-reduce is one after the other; in
        an all-to-all each device keeps one part of g; a permute sends everything.
        """
        g = len(self.group)
        if self.kind == "collective-permute":
            return float(self.bytes)
        factor = {"all-reduce": 2 * (g - 1) / g, "reduce-scatter": g - 1.0}.get(self.kind, (g - 1) / g)
        return factor * self.bytes


def _bytes(shapes: list[tuple[str, str]]) -> int:
    return sum(SIZES[dtype] * math.prod(int(size) for size in sizes.split(",") if size) for dtype, sizes in shapes)


def _not_understood(groups: str) -> OptionError:
    return OptionError(
        "replica groups of a collective are not understood",
        got=groups,
        expected="{{0,1},{2,3}}, [2,2]<=[4] or mesh['a'=2,'b'=2] {'a'}",
        step="compile with a version of JAX that equikit is tested with",
    )


def _group(rest: str, devices: int) -> tuple[int, ...]:
    """Return the first group of `replica_groups=`, which has three notations; all devices if it is empty or missing."""
    found = re.search(r"replica_groups=(\{\{[\d,]+\}|\{\}|\[[^ ]*|mesh\[[^\]]*\][^{]*\{[^}]*\})", rest)
    if found is None or found[1] == "{}":
        return tuple(range(devices))
    text = found[1]
    if text.startswith("{{"):
        return tuple(int(number) for number in text[2:-1].split(","))
    if text.startswith("["):  # [groups, members]<=[sizes]T(order): the numbers in that order, cut into rows
        parts = re.fullmatch(r"\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?,?", text)
        if parts is None:
            raise _not_understood(text)
        sizes = [int(size) for size in parts[3].split(",")]
        order = [int(axis) for axis in parts[4].split(",")] if parts[4] else range(len(sizes))
        rows = np.arange(math.prod(sizes)).reshape(sizes).transpose(order).reshape(int(parts[1]), int(parts[2]))
        return tuple(rows[0].tolist())
    mesh = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", text)}
    used = text[text.index("{") :]
    names = re.findall(r"'([^']+)'", used)
    if ":" in used or not mesh.keys() >= set(names):
        raise _not_understood(text)
    grid = np.arange(math.prod(mesh.values())).reshape(tuple(mesh.values()))
    return tuple(grid[tuple(slice(None) if name in names else 0 for name in mesh)].ravel().tolist())


def _in_loops(hlo: str) -> list[str]:
    """Return the conditions and bodies of loops that have collectives, also in what they call."""
    _, known = computations(hlo)
    sends = {
        name: any(one.opcode.removesuffix("-start") in KINDS for one in operations)
        for name, operations in known.items()
    }
    calls = {
        name: {word for one in operations for word in re.findall(r"[\w.\-]+", one.rest) if word in known}
        for name, operations in known.items()
    }
    starts = set(re.findall(r"(?:body|condition)=%?([\w.\-]+)", hlo))

    def reached(name: str, seen: set[str]) -> bool:
        seen.add(name)
        return name in sends or any(reached(one, seen) for one in calls.get(name, set()) - seen)

    return sorted(name for name in starts if reached(name, set()))


def collectives(hlo: str, devices: int) -> list[Collective]:
    """Return every collective of a compiled program for a number of devices, in the order of the text.

    Raises:
        OptionError: for a notation of groups that is not known, or collectives inside a loop, which run more than once.
    """
    for name in _in_loops(hlo):
        raise OptionError(
            f"the loop {name} has collectives, which run an unknown number of times",
            got="a loop, such as lax.scan, over arrays that are spread over devices",
            expected="collectives outside loops",
            step="unroll the loop: write unroll=True where it is made, or chunk_size=None in a layer of equikit",
        )
    found = []
    for result, kind, start, rest in _LINE.findall(hlo):
        shapes = _SHAPE.findall(result)
        operands = len(re.split(r"\)(?:, |$)", rest, maxsplit=1)[0].split(","))
        if start and len(shapes) > operands:  # the operands come first, then the results, then a context
            shapes = shapes[operands : 2 * operands]
        if kind == "collective-permute":
            pairs = re.search(r"source_target_pairs=\{(\{[\d,]+\})", rest)
            group = tuple(int(number) for number in re.findall(r"\d+", pairs[1])) if pairs else (0,)
        else:
            group = _group(rest, devices)
        if len(group) > 1:
            found.append(Collective(kind, _bytes(shapes), group))
    return found
