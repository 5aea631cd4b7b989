"""Words for a fault in the code of a module or function between the modules that it calls, or in a signature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equikit.auditing.modules._experiment import Experiment
from equikit.auditing.modules._infer import Moved
from equikit.auditing.modules._report import ModuleRow


def outside(
    experiment: Experiment, rows: Sequence[ModuleRow], at: int, label: str, place: str | None
) -> tuple[str, str] | None:
    """Return where a fault is in the code of a module that calls others, and what to do next.

    Args:
        experiment: the recordings.
        rows: one for each call.
        at: the row at fault. The modules that it calls are not.
        label: the label whose group is broken.
        place: the operation of JAX at fault and its line, if it is known.

    Returns:
        `None` for a module that calls no others.
    """
    whole, row = at == len(rows) - 1, rows[at]
    inner = rows[:-1] if whole else inside(rows, at)
    if not whole and not inner:
        return None
    returned = _returned(experiment) if whole else None
    if returned is not None and rows[returned].outputs[label] != "broken":
        return _of_module(experiment, rows[returned], label)
    owner = _owner(row.kind)
    first = next((number for number, one in enumerate(inner) if one.inputs[label] == "broken"), len(inner))
    right = next((one for one in reversed(inner[:first]) if one.outputs[label] == "kept"), None)
    later = None if first == len(inner) else inner[first]
    ends = [_shown(one) for one in (right, later) if one is not None]
    word = "between " if len(ends) == 2 else "after " if right is not None else "before "
    between = f"{word}{' and '.join(ends)}, " if ends else ""
    if place is not None:
        advice = f"correct this operation in the code of {owner}"
    elif len(rows) > 1:
        advice = "move this code into a module of its own, and audit again"
    else:
        advice = "divide the function into modules, or write it with jax.numpy, whose operations are named"
    return f"{between}in the code of {owner}{'' if place is None else f', at {place}'}", advice


def inside(rows: Sequence[ModuleRow], at: int) -> Sequence[ModuleRow]:
    """Return the calls of modules that a call of another module makes, by their paths; they end just before it."""
    start, path = at, rows[at].name.partition("#")[0]
    while start and rows[start - 1].name.startswith(f"{path}."):
        start -= 1
    return rows[start:at]


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


def hint(rows: Sequence[ModuleRow], labels: Sequence[str]) -> str | None:
    """Return what to do about a module whose outputs change by a matrix, which may or may not be as intended.

    Args:
        rows: one for each call; the last one is the whole function.
        labels: the labels whose groups are broken.
    """
    for row in rows[:-1]:
        for label in labels:
            if row.outputs[label] == "kept" and row.actions[label].startswith("a matrix") and not row.declared:
                others = [other for other, text in row.actions.items() if text.startswith(f"{other} on axis")]
                return (
                    f"the outputs of {_shown(row)} change by {row.actions[label]} under {label}, and any matrix counts "
                    f'as an action; if {label} should not act on them, write at={{"{row.name}": '
                    f'"{" ".join(others) or "()"}"}}'
                )
    return None


def hint_of_inputs(experiment: Experiment, rows: Sequence[ModuleRow], at: int, label: str) -> str | None:
    """Return what to look at if the inputs of the module at fault change by a matrix: the code that makes them."""
    texts = experiment.state(label, at, "inputs").text.split("; ")
    text = next((one for one in texts if one.startswith("a matrix")), None)
    if at == len(rows) - 1 or text is None:
        return None
    return (
        f"the inputs of {_shown(rows[at])} change by {text} under {label}, and any matrix counts as an action; "
        "look also at the code that makes them"
    )


def hint_of_operation(row: ModuleRow, label: str) -> str | None:
    """Return what to do about an operation whose outputs change by a fitted matrix or permutation, if they do."""
    if row.outputs[label] != "kept":
        return None
    return (
        f"{label} acts on the outputs of {row.name} in another way than on its inputs: {row.actions[label]}; if this "
        "is intended, such as another basis, look at the operations after it"
    )


def hint_of_outputs(experiment: Experiment, label: str) -> str:
    """Return how the outputs change, if the group acts on all arrays of a function, but not as the signature says."""
    last = len(experiment.base.calls) - 1
    places = range(len(experiment.base.calls[last].outputs))
    text = "; ".join(dict.fromkeys(experiment.array(label, "calls", last, "outputs", i).text for i in places))
    return (
        f"{label} acts on the outputs in another way than the signature says: {text}; correct the signature, or the "
        "operation that puts the axes in this order"
    )
