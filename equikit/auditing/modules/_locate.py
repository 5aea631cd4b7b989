"""Find the first module that breaks a symmetry: change the input, and infer how every activation changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equikit.auditing._action import act, wide
from equikit.auditing._callables import host
from equikit.auditing._elements import identity, simple
from equikit.auditing._evaluation import Evaluation
from equikit.auditing._reading import Masks
from equikit.auditing._rounding import epsilon, perturbed
from equikit.auditing.modules._declared import Declared, read_at, refuse_unknown
from equikit.auditing.modules._experiment import Arrays, Changed, Experiment
from equikit.auditing.modules._infer import Moved
from equikit.auditing.modules._outside import hint, hint_of_inputs, hint_of_operation, hint_of_outputs, outside
from equikit.auditing.modules._paths import broken_path, equation_row, rows_of
from equikit.auditing.modules._report import ModuleReport, ModuleRow
from equikit.auditing.modules.recording._calls import Recording
from equikit.auditing.modules.recording._recorder import Recorder, recorder
from equikit.groups import Group
from equikit.signatures import Signature

PERTURBED = 3
"""The number of inputs that are perturbed by rounding errors."""
RANDOM = 2
"""The number of random elements of each group."""
MOST_SAMPLES = 256
"""The largest number of samples that are used."""
MOST_ENTRIES = 2**20
"""The largest number of entries of an input; fewer samples are used if each has many entries, but not less than 8."""

Run = Callable[..., Recording]
"""Records the function at changed inputs, with keyword arguments if they are given."""
Make = Callable[[Run, Recording, str | None], dict[str, Changed]]
"""Makes the changes of the inputs, all or only one of them, from the recording at x."""


@dataclass(frozen=True, slots=True)
class Study:
    """A function, its inputs, and a source of random numbers.

    Attributes:
        evaluation: the function and its signature.
        arrays: an array for each input in double precision, rounded to the function's dtype.
        batch: the batch axes.
        run: the recorder.
        seeds: the source of random numbers.
        keywords: keyword arguments of the function, such as masks.
        masks: masks of the samples, which move with the inputs, if the function takes masks.
    """

    evaluation: Evaluation
    arrays: Arrays
    batch: tuple[int, ...]
    run: Recorder
    seeds: np.random.Generator
    keywords: Mapping[str, Any] = field(default_factory=dict)
    masks: Masks | None = None

    def experiment(self, make: Make, *, equations: bool = False, only: str | None = None) -> Experiment:
        """Record the function at x, at inputs with rounding errors, and at changed inputs."""

        def run(arrays: Arrays, keywords: Mapping[str, Any] | None = None) -> Recording:
            return self.run(arrays, self.keywords if keywords is None else keywords, equations=equations)

        base = run(self.arrays)
        precision = max([self.evaluation.function.dtype, *(a.dtype for a in base.calls[-1].outputs)], key=epsilon)
        near = tuple(
            run({n: perturbed(a, precision, self.seeds) for n, a in self.arrays.items()}) for _ in range(PERTURBED)
        )
        return Experiment(self.evaluation.signature, self.batch, precision, base, near, make(run, base, only))

    def report(self, make: Make, declared: Mapping[str, Declared] | None = None) -> ModuleReport:
        """Return the table of modules, and the first one that breaks the symmetry."""
        return blamed(
            self.experiment(make), declared or {}, lambda label: self.experiment(make, equations=True, only=label)
        )


def study(
    evaluation: Evaluation,
    arrays: Mapping[str, Any],
    seeds: np.random.Generator,
    masks: Masks | None = None,
) -> Study:
    """Prepare a study; some of the samples are enough."""
    batch, skip = evaluation.batch, len(evaluation.batch)
    some = {name: wide(evaluation.function.rounded(host(array))) for name, array in arrays.items()}
    largest = max((math.prod(array.shape[skip:]) for array in some.values()), default=0)
    most = min(MOST_SAMPLES, max(8, MOST_ENTRIES // max(largest, 1)))
    if math.prod(batch) > most:
        some, batch = {name: a.reshape(-1, *a.shape[skip:])[:most] for name, a in some.items()}, (most,)
    masks = None if masks is None else masks.shaped(batch, math.prod(batch))
    keywords = {} if masks is None else masks.keywords()
    return Study(evaluation, some, batch, recorder(evaluation.function), seeds, keywords, masks)


def moved_by(
    signature: Signature, arrays: Arrays, label: str, element: np.ndarray, terms: Any
) -> dict[str, np.ndarray]:
    """Apply an element of one label to the arrays of some terms."""
    groups = {one: group for one, group in signature.bindings if isinstance(group, Group)}
    elements = {one: identity(group) for one, group in groups.items()} | {label: element}
    return {term.name: act(signature, term, elements, arrays[term.name]) for term in terms}


def elements_of(group: Group, seeds: np.random.Generator, given: Sequence[np.ndarray] = ()) -> tuple[np.ndarray, ...]:
    """Return elements to try: those given, random ones, and simple ones, for O(n) also reflections."""
    easy = list(simple(group))
    chosen = dict.fromkeys((0, len(easy) // 2, len(easy) - 1)) if easy else ()
    return (*given, *(group.random_element(seeds) for _ in range(RANDOM)), *(easy[place] for place in chosen))


def outputs_of(recording: Recording, evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return the outputs of the whole function by their terms."""
    names = sorted(term.name for term in evaluation.signature.outputs)
    return {name: wide(a) for name, a in zip(names, recording.calls[-1].outputs, strict=False)}


def groups_moved(
    asked: Study, run: Run, base: Recording, given: Mapping[str, np.ndarray], only: str | None = None
) -> dict[str, Changed]:
    """Record the function at inputs that elements of one group at a time have moved."""
    kind, found = asked.evaluation.signature, {}
    outputs = outputs_of(base, asked.evaluation)
    used = set(kind.groups)
    for label, group in kind.bindings:
        if not isinstance(group, Group) or not used & {label, f"{label}*"} or only not in (None, label):
            continue
        elements = elements_of(group, asked.seeds, [given[label]] if label in given else [])
        inputs = [moved_by(kind, asked.arrays, label, element, kind.inputs) for element in elements]
        masks = [None if asked.masks is None else asked.masks.moved(kind, {label: g}).keywords() for g in elements]
        found[label] = Changed(
            Moved(label, group, elements),
            tuple(run(x, more) for x, more in zip(inputs, masks, strict=True)),
            tuple(moved_by(kind, outputs, label, element, kind.outputs) for element in elements),
        )
    return found


def located(asked: Study, *, at: Any = None, elements: Mapping[str, np.ndarray] | None = None) -> ModuleReport:
    """Find the first module of a function that breaks the symmetry of its signature.

    Args:
        asked: the function and its inputs, as `study` prepares them.
        at: declared actions on activations by the names of modules.
        elements: an element for each label to try besides random ones, such as the worst one.
    """
    declared = read_at(at, asked.evaluation.signature)

    def make(run: Run, base: Recording, only: str | None) -> dict[str, Changed]:
        refuse_unknown([*declared], [call.name for call in base.calls[:-1]], base.never)
        return groups_moved(asked, run, base, elements or {}, only)

    return asked.report(make, declared)


def blamed(
    experiment: Experiment, declared: Mapping[str, Declared], again: Callable[[str], Experiment]
) -> ModuleReport:
    """Find the first module that breaks an action that the whole function does not have in the end.

    Args:
        experiment: the recordings.
        declared: declared actions.
        again: makes the recordings for one label again, with equations.
    """
    rows = rows_of(experiment, declared)
    never = experiment.base.never
    broken = [label for label, state in rows[-1].outputs.items() if state == "broken"]
    if len(rows) == 1 and experiment.base.equations and broken:
        label = broken[0]
        path, culprit = broken_path(experiment.base, 0, experiment.is_broken(label))
        if culprit is None:
            path, culprit = broken_path(experiment.base, 0, experiment.is_broken(label, exactly=True))
        steps = tuple(equation_row(experiment, place) for place in path)
        if culprit is None:
            return ModuleReport(None, None, None, rows, never, hint=hint_of_outputs(experiment, label))
        row = steps[path.index(culprit)]
        return ModuleReport(row.name, label, row.name, (*steps, *rows), never, hint=hint_of_operation(row, label))
    advice = hint(rows, broken)
    found = _fault(experiment, rows, broken)
    if found is None:
        notes = tuple(
            f"{label} is broken, but no module has inputs with an action and outputs without one" for label in broken
        )
        return ModuleReport(None, None, None, rows, never, notes, hint=advice)
    place, label = found
    closer, name = again(label), None
    if closer.base.equations:
        culprit = broken_path(closer.base, place, closer.is_broken(label))[1]
        name = None if culprit is None else closer.base.equations[culprit].name
    notes = unknown_notes(rows, label, place)
    where, step = outside(experiment, rows, place, label, name) or (None, None)
    advice = None if step is not None and "at=" in step else advice or hint_of_inputs(experiment, rows, place, label)
    return ModuleReport(rows[place].name, label, name, rows, never, notes, where, step, advice)


def _fault(experiment: Experiment, rows: Sequence[ModuleRow], broken: Sequence[str]) -> tuple[int, str] | None:
    """Return the number of the row at fault and the label that it breaks; `None` if no row can be blamed.

    It is the first row whose inputs have an action and whose outputs have none. Where the inputs of a module have no
    action although all outputs before do, it is the module whose code makes these inputs.
    """
    right = dict.fromkeys(broken, True)
    for place, row in enumerate(rows):
        for label in broken:
            if label in row.breaks:
                return place, label
        for label in broken:
            if right[label] and place < len(rows) - 1 and _has_broken_inputs(experiment, place, label):
                return _caller(rows, place, label), label
            right[label] &= row.outputs[label] != "broken"
    return None


def _has_broken_inputs(experiment: Experiment, place: int, label: str) -> bool:
    """Whether an input of a call has no action; indices, such as neighbors in a graph, may have others."""
    arrays = experiment.base.calls[place].inputs
    return any(
        array.dtype.kind not in "biu" and experiment.array(label, "calls", place, "inputs", i).state == "broken"
        for i, array in enumerate(arrays)
    )


def _caller(rows: Sequence[ModuleRow], place: int, label: str) -> int:
    """Return the innermost row around a module, by its path, that breaks a label; otherwise the last one."""
    last = len(rows) - 1
    around = (at for at in range(place + 1, last) if rows[place].name.startswith(f"{rows[at].name.partition('#')[0]}."))
    return next((at for at in around if label in rows[at].breaks), last)


def unknown_notes(rows: Sequence[ModuleRow], label: str, last: int) -> tuple[str, ...]:
    """Name the modules before the first broken one whose activations are unknown: they are not blamed."""
    names = [row.name for row in rows[:last] if row.outputs[label] == "unknown"]
    return (f"unknown, and therefore not blamed: {', '.join(names)}",) if names else ()
