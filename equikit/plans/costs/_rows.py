"""The numbers of rows of a support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INDEX = 4
"""Bytes of the index of a row."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The numbers of rows of a support.

    Attributes:
        label: the label of the support.
        counts: the number of rows of each level.
        numbered: whether nodes have graph numbers.
    """

    label: str
    counts: tuple[int, ...]
    numbered: bool

    def of(self, core: Sequence[str]) -> int:
        """Return the number of rows of a tensor with these axes."""
        return self.counts[core.count(self.label)]
