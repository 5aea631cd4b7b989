"""Rows of the report, and the way that a fault takes through the equations of a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from equikit.auditing.modules._declared import Declared
from equikit.auditing.modules._experiment import Experiment, worst
from equikit.auditing.modules._infer import Found
from equikit.auditing.modules._report import ModuleRow
from equikit.auditing.modules.recording._calls import Call, Recording


def rows_of(experiment: Experiment, declared: Mapping[str, Declared]) -> tuple[ModuleRow, ...]:
    """Return a row for each call."""
    rows = []
    for place, call in enumerate(experiment.base.calls):
        whole = place == len(experiment.base.calls) - 1  # a module may have its name too
        how = None if whole else declared.get(call.name)
        sides: dict[str, dict[str, Found]] = {"inputs": {}, "outputs": {}}
        for side, found in sides.items():
            for label in experiment.changes:
                is_declared = how is not None and (side == "outputs" or how.inputs)
                found[label] = (
                    experiment.declared(label, place, side, how)
                    if is_declared and how is not None
                    else experiment.state(label, place, side)
                )
        rows.append(row_of(call, sides["inputs"], sides["outputs"], how is not None))
    return tuple(rows)


def row_of(call: Call, before: Mapping[str, Found], after: Mapping[str, Found], declared: bool) -> ModuleRow:
    """Return the row of a call from the actions on its inputs and outputs."""
    return ModuleRow(
        call.name,
        call.kind,
        {label: one.state for label, one in before.items()},
        {label: one.state for label, one in after.items()},
        {label: one.text for label, one in after.items()},
        {label: one.error for label, one in after.items()},
        {label: one.rounding for label, one in after.items()},
        declared,
    )


IsBroken = Callable[[int, str, int], bool]
"""Whether an array of an equation is broken: by the number of the equation, its side, and the place of the array."""


def broken_path(base: Recording, call: int, is_broken: IsBroken) -> tuple[list[int], int | None]:
    """Follow broken arrays from the outputs of a call back to the first equation whose operands are not broken.

    Returns:
        The equations on the way, in order, and the first one that breaks, if there is one.
    """
    equations, outer = base.equations, base.calls[call]
    producers = {result: place for place, one in enumerate(equations) for result in one.results}
    waiting = [producers[result] for result in outer.results if result in producers]
    seen: dict[int, bool] = {}
    stops = {*outer.sources}
    while waiting:
        place = waiting.pop()
        one = equations[place]
        if place in seen or not any(is_broken(place, "outputs", i) for i in range(len(one.outputs))):
            continue
        before = {
            producers[source]
            for i, source in enumerate(one.sources)
            if source in producers and source not in stops and is_broken(place, "inputs", i)
        }
        seen[place] = not before
        waiting += before
    path = sorted(seen)
    return path, next((place for place in path if seen[place]), None)


def equation_row(experiment: Experiment, place: int) -> ModuleRow:
    """Return the row of an equation."""
    one = experiment.base.equations[place]
    found: dict[str, list[Found]] = {}
    for label in experiment.changes:
        found[label] = [
            worst([experiment.array(label, "equations", place, side, i) for i in range(len(getattr(one, side)))])
            for side in ("inputs", "outputs")
        ]
    return row_of(one, {x: a for x, (a, _) in found.items()}, {x: b for x, (_, b) in found.items()}, False)
