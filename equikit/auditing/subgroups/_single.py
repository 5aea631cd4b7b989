"""A function under the elements of one label, with the identity on all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from equikit.auditing._probe import Probe
from equikit.groups import Group


@dataclass(frozen=True, slots=True)
class Single:
    """A function, of whose groups only one acts.

    Attributes:
        probe: the function.
        label: the label whose group acts.
        group: its group.
        rest: the identities of the other labels.
    """

    probe: Probe
    label: str
    group: Group
    rest: Mapping[str, np.ndarray]

    def keeps(self, element: np.ndarray) -> bool:
        """Whether the function commutes with an element, up to rounding."""
        return self.probe.keeps({**self.rest, self.label: element})

    def defect(self, element: np.ndarray) -> np.ndarray:
        """Return f(g x) - g f(x) over the norm of f(x), all terms and samples in one vector."""
        return self.probe.defect({**self.rest, self.label: element})
