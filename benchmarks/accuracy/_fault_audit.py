"""Ask about a suspect: whether an audit finds its fault, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equikit as ek


@dataclass(frozen=True)
class Answer:
    """What an audit says about a model.

    Attributes:
        found: whether it finds a fault.
        where: the module that it blames.
        error, rounding: the error, and the part that rounding explains.
    """

    found: bool
    where: str | None
    error: float
    rounding: float


def asked(suspect: Any) -> Answer:
    """Ask the question of a suspect."""
    options = {"data": suspect.data, "groups": suspect.groups}
    if suspect.check == "padding":
        padded = ek.auditing.padding_error(suspect.model, suspect.signature, along="p", **options)
        return Answer(not padded.passed, padded.first_broken, padded.error, padded.rounding)
    if suspect.check == "derivative":
        wrong = ek.auditing.derivative_errors(suspect.model, suspect.data)
        return Answer(wrong.first_wrong is not None, wrong.first_wrong, *wrong.whole)
    report = ek.audit(suspect.model, suspect.signature, **options)
    return Answer(not report.passed, report.first_broken, report.error, report.rounding)
