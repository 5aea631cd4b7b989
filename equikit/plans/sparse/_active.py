"""Which maps of a signature are not zero on a support. No JAX but for reading tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equikit import _checks
from equikit.diagrams import Core, Diagram, Diagrams, HalfDiagram, pair_diagrams
from equikit.plans._ir import Step, Widths
from equikit.plans._weights import weight_places
from equikit.plans.compilation._lattice import chain
from equikit.plans.sparse._call import refuse_support
from equikit.plans.sparse._halves import permutation_of, restricted
from equikit.plans.sparse._rows import table_of
from equikit.signatures import Signature
from equikit.supports import Support

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False, repr=False)
class Active(Mapping[str, Flags]):
    """For each parameter of a layer, which of its maps are not zero on a support; made by `Linear.active`.

    A map is zero if no present entry of the output depends on a present entry of the input. Its weights have no effect.

    Attributes:
        flags: for each parameter, `"in -> out"` or for a bias `"-> out"`, booleans `[diagrams]` in the order of the
            weights.
        diagrams: the diagrams of each parameter.
    """

    flags: Mapping[str, Flags]
    diagrams: Mapping[str, Diagrams]

    def __getitem__(self, name: str) -> Flags:
        return self.flags[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.flags)

    def __len__(self) -> int:
        return len(self.flags)

    @property
    def zero(self) -> dict[str, tuple[Diagram, ...]]:
        """For each parameter, the diagrams of the maps that are zero."""
        return {
            name: tuple(self.diagrams[name][int(i)] for i in np.flatnonzero(~flags))
            for name, flags in self.flags.items()
        }

    def __repr__(self) -> str:
        counts = (f"{name}: {int(flags.sum())} of {len(flags)}" for name, flags in self.flags.items())
        return f"Active({', '.join(counts)})"


def active_maps(signature: Signature, channels: Widths, bias: bool, support: Support) -> Active:
    """Return for each parameter which of its maps are not zero on a support.

    Args:
        signature, channels, bias: of the layer.
        support: the support, not traced.

    Raises:
        OptionError: if the support is not for a label of the signature that S permutes, lacks the entries of a term,
            or is traced.

    Cost: O(rows) for each half diagram, and for each pair of half diagrams of the label with a wiring.
    """
    refuse_support(signature, support)
    step = "call active outside jit"
    _checks.untraced("the support", support.levels[1].drop[0], step=step)
    there = _There(support)
    flags: dict[str, Flags] = {}
    every: dict[str, Diagrams] = {}
    for name, ((t, s), _) in weight_places(signature, channels, bias).items():
        source = None if t is None else signature.inputs[t]
        every[name] = pair_diagrams(signature, source, signature.outputs[s])
        flags[name] = np.array([flag for core in every[name].cores for flag in there.flags(core)], bool)
    return Active(flags, every)


@dataclass(frozen=True, eq=False)
class _There:
    """Where reductions of a support are not zero.

    Attributes:
        support: the support.
    """

    support: Support
    _rows: dict[HalfDiagram, Flags] = field(default_factory=dict)
    _joined: dict[tuple[HalfDiagram, HalfDiagram, tuple[int, ...] | None], bool] = field(default_factory=dict)

    def flags(self, core: Core) -> Iterator[bool]:
        """Yield for each diagram of a core whether it is not zero, in the order of the weights."""
        label = self.support.label
        tops, bottoms = ([restricted(half, label) for half in halves] for halves in (core.tops, core.bottoms))
        orders = [permutation_of(wiring, core.labels, label) for wiring in core.wires]
        for b, allowed in enumerate(core.allowed):
            for t in allowed:
                for w, order in enumerate(orders):
                    if (b, t, w) not in core.holes:
                        yield from [self._meet(tops[t], bottoms[b], order)] * core.copies

    def _meet(self, top: HalfDiagram, bottom: HalfDiagram, order: tuple[int, ...] | None) -> bool:
        key = top, bottom, order
        if key not in self._joined:
            level, rows = self.support.levels[len(bottom.propagating)], self.rows(bottom)
            if order is not None:
                rows = _at(rows, table_of(level, order))
            self._joined[key] = bool(np.any(rows & self.rows(top)))
        return self._joined[key]

    def rows(self, half: HalfDiagram) -> Flags:
        """Return the rows of a level to which entries of the user's data are reduced."""
        if half not in self._rows:
            steps = chain(0, half)
            self._rows[half] = self._reduced(steps[-1]) if steps else self._own(len(half.labels))
        return self._rows[half]

    def _reduced(self, step: Step) -> Flags:
        level, rows = self.support.levels[len(step.large.propagating)], self.rows(step.large)
        if step.operation == "diagonal":
            return _at(rows, level.repeat[step.axes[0], step.axes[1]])
        found = np.zeros(self.support.levels[level.length - 1].count, bool)
        found[np.asarray(level.drop[step.axes[0]])[rows]] = True
        return found

    def _own(self, order: int) -> Flags:
        present = np.asarray(self.support.present(order))
        level = self.support.levels[order]
        return present if level.own is None or not order else _at(present, level.own)


def _at(flags: Flags, rows: Any) -> Flags:
    """Return flags of rows, false where they are absent."""
    return np.append(flags, False)[np.asarray(rows)]
