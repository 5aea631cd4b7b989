"""The bilinear form that contracts two axes in one row of a diagram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from equikit._checks import refuse_if_more
from equikit.groups._group import MOST_POINTS, refuse_if_wide


@dataclass(frozen=True, slots=True, order=True)
class Form:
    r"""A bilinear form other than the identity: a metric, or the symplectic form.

    A metric is \(\eta = \mathrm{diag}(1, \dots, 1, -1, \dots, -1)\); the symplectic form is
    \(\Omega = \begin{pmatrix} 0 & I \\ -I & 0 \end{pmatrix}\). Each is its own inverse up to sign, so the same matrix
    contracts two input axes and joins two output axes.

    Attributes:
        kind: `"metric"` or `"symplectic"`.
        positive, negative: the signature of a metric.
    """

    kind: Literal["metric", "symplectic"]
    positive: int = 0
    negative: int = 0

    def __str__(self) -> str:
        return "Sp" if self.kind == "symplectic" else f"O({self.positive}, {self.negative})"

    def fits(self, n: int) -> bool:
        """Whether the form exists on axes of this size."""
        return n == self.positive + self.negative if self.kind == "metric" else n % 2 == 0

    def matrix(self, n: int) -> np.ndarray:
        """Return the matrix of the form, int64 `[n, n]`.

        Example:
            >>> Form("symplectic").matrix(2).tolist()
            [[0, 1], [-1, 0]]
        """
        refuse_if_wide(f"the form of {self}", n)
        if self.kind == "metric":
            return np.diag(self.signs())
        half = np.eye(n // 2, dtype=np.int64)
        return np.block([[0 * half, half], [-half, 0 * half]])

    def signs(self) -> np.ndarray:
        """Return the diagonal of a metric, int64 `[n]`."""
        size = self.positive + self.negative
        refuse_if_more(f"the metric of {self} would not fit in memory", size, MOST_POINTS, "entries", "use a smaller n")
        return np.repeat(np.array([1, -1]), [self.positive, self.negative])
