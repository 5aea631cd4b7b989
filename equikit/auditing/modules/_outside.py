"""Words for a fault that no module has: the code of the root module or function between its modules, or a signature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equikit.auditing.modules._experiment import Experiment
from equikit.auditing.modules._infer import Moved
from equikit.auditing.modules._report import ModuleRow


def outside(experiment: Experiment, rows: Sequence[ModuleRow], label: str, place: str | None) -> tuple[str, str]:
    """Return where a fault is that only the whole function has, and what to do next.

    Args:
        experiment: the recordings.
        rows: one for each call; only the last one, of the whole function, breaks the symmetry.
        label: the label whose group is broken.
        place: the operation of JAX at fault and its line, if it is known.
    """
    returned = _returned(experiment)
    if returned is not None and rows[returned].outputs[label] != "broken":
        return _of_module(experiment, rows[returned], label)
    owner = _owner(rows[-1].kind)
    right = [number for number, row in enumerate(rows[:-1]) if row.outputs[label] == "kept"]
    after = f", after {_shown(rows[right[-1]])}, the last module that is right" if right else ""
    later = rows[right[-1] + 1 if right else 0 : -1]
    first = next((row for row in later if row.inputs[label] == "broken"), None)
    before = "" if first is None else f", {'and ' if right else ''}before {_shown(first)}"
    at = "" if place is None else f", at {place}"
    if place is not None:
        advice = f"correct this operation in the code of {owner}"
    elif len(rows) > 1:
        advice = "move this code into a module of its own, and audit again"
    else:
        advice = "divide the function into modules, or write it with jax.numpy, whose operations are named"
    return f"the code of {owner} itself{after}{before}{at}", advice


def _owner(kind: str) -> str:
    """Name the root by the kind of its call, as `whole_kind` writes it."""
    _, _, module = kind.partition("function of ")
    return f"the function or of {module}" if module else "the function" if kind == "function" else kind


def _shown(row: ModuleRow) -> str:
    return f"{row.name} ({row.kind})"


def _returned(experiment: Experiment) -> int | None:
    """Return the last module whose output the whole function returns unchanged, if there is one."""
    *calls, whole = experiment.base.calls
    for number, call in reversed([*enumerate(calls)]):
        pairs = [(a, b) for a in call.outputs for b in whole.outputs if a.size == b.size > 1]
        if any(np.array_equal(a.ravel(), b.ravel()) for a, b in pairs):
            return number
    return None


def _of_module(experiment: Experiment, row: ModuleRow, label: str) -> tuple[str, str]:
    """Return words for an output that a module returns and that the signature describes in another way."""
    known = row.outputs[label] == "kept"
    changes = f"changes by {row.actions[label]}, not as the signature says" if known else "changes in an unknown way"
    where = f"the output of {_shown(row)}, which {changes}"
    terms = experiment.signature.outputs
    advice = f"look at {row.name}, or correct the signature"
    if isinstance(experiment.changes[label].change, Moved) and len(terms) == 1:
        words = " ".join(terms[0].words)
        advice = (
            f'if {row.name} should return "{words}", write at={{"{row.name}": "{words}"}}; or correct the signature'
        )
    return where, advice
