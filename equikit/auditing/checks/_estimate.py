"""An error, the part of it that rounding explains, and the module at fault."""

from __future__ import annotations

from dataclasses import dataclass

from equikit.auditing.modules._report import ModuleReport

MARGIN = 8.0
"""Rounding explains an error up to this factor, since both are estimates."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A normalized error from 0 to 1.

    Attributes:
        error: the error.
        rounding: the error that rounding explains.
        modules: the table of modules, if the function fails.
    """

    error: float
    rounding: float
    modules: ModuleReport | None = None

    @property
    def passed(self) -> bool:
        """Whether rounding explains the error."""
        return self.error <= MARGIN * self.rounding

    @property
    def first_broken(self) -> str | None:
        """The first module at fault, if one was found."""
        return None if self.modules is None else self.modules.first_broken

    def __str__(self) -> str:
        fault = "" if self.first_broken is None else f"; first broken: {self.first_broken}"
        return f"{self.error:.3g} (rounding explains {self.rounding:.3g}){fault}"
