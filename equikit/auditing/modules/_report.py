"""What was found in the modules of a model: a table of the actions on its activations, and the first fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from equikit.auditing.modules._infer import State


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """One call of a module.

    Attributes:
        name: its path, such as `"blocks.1.norm"`, `"blocks.1.norm#2"` for a second call, or a primitive and a line.
        kind: its class, or the primitive.
        inputs: for each change, `"kept"`, `"broken"` or `"unknown"`; kept if all arrays that come in are.
        outputs: the same for the arrays that come out.
        actions: for each change, how the outputs change, such as `"p on axis 1"`, or why that is unknown.
        errors: for each change, the error of the outputs relative to the root mean square of their entries.
        rounding: for each change, the part of the error that rounding explains.
        declared: whether the action is declared by `at=`.
    """

    name: str
    kind: str
    inputs: Mapping[str, State]
    outputs: Mapping[str, State]
    actions: Mapping[str, str]
    errors: Mapping[str, float]
    rounding: Mapping[str, float]
    declared: bool = False

    @property
    def breaks(self) -> tuple[str, ...]:
        """The changes for which the inputs have an action and the outputs have none."""
        return tuple(
            label for label, state in self.outputs.items() if state == "broken" and self.inputs[label] == "kept"
        )


@dataclass(frozen=True, slots=True)
class ModuleReport:
    """The modules of a model, in the order in which their calls end, and the first one that breaks a symmetry.

    Attributes:
        first_broken: the first module whose inputs have an action and whose outputs have none. It is `"output"` if the
            fault is in the code of the root module or function itself, between its modules; `None` if the whole
            function keeps the symmetry, or if no module can be blamed. Later faults are masked by the first one. For
            plain functions of JAX it is an operation; if all outputs have an action, the first one by which the group
            acts in another way than before.
        label: the label whose group it breaks.
        place: the equation of the fault and its source line, for functions of JAX.
        rows: one for each call; the last one is the whole function.
        never: modules that are not called.
        notes: what could not be decided, one sentence each.
        where: the place of the fault in words, if it is in the code of a module or function that calls modules, between
            them.
        step: what to do next in this case.
        hint: what to do about the first module whose outputs change by a fitted matrix, if the whole function fails;
            or how the outputs change, if no operation of a plain function is at fault.
    """

    first_broken: str | None
    label: str | None
    place: str | None
    rows: tuple[ModuleRow, ...]
    never: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    where: str | None = None
    step: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """A table of all calls: the action of each label on the outputs, and the error where there is none."""
        labels = [*self.rows[0].outputs] if self.rows else []
        body = [["module", "class", *labels]]
        for row in self.rows:
            name = f"{row.name} (declared)" if row.declared else row.name
            body.append([name, row.kind, *(self._cell(row, label) for label in labels)])
        widths = [max(len(line[i]) for line in body) for i in range(len(body[0]))]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in body
        ]
        if self.first_broken is not None:
            where = "" if self.place in (None, self.first_broken) else f" at {self.place}"
            where = where if self.where is None else f": {self.where}"
            lines.append(f"first broken: {self.first_broken}, for {self.label}{where}")
        if self.step is not None:
            lines.append(f"next step: {self.step}")
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        if self.never:
            lines.append(f"never called: {', '.join(self.never)}")
        return "\n".join([*lines, *self.notes])

    def _cell(self, row: ModuleRow, label: str) -> str:
        state, text = row.outputs[label], row.actions[label]
        if state == "broken":
            return f"broken, {row.errors[label]:.1e} (rounding {row.rounding[label]:.1e})"
        return text if state == "kept" else f"unknown: {text}"
