"""The steps of a plan with the operations of any library: reductions before its products, and expansions after them.

`plans/execution` runs the same steps in JAX, with what XLA needs besides: chunks, sharding, sums in half precision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from equikit.diagrams import HalfDiagram
from equikit.groups import Form
from equikit.plans._ir import Stages, Step
from equikit.plans.compilation._lattice import acted_labels, root
from equikit.plans.compilation._tensors import levi_civita_tensor
from equikit.plans.readers._library import Array, Library, Size
from equikit.signatures import Term

Key = tuple[int, HalfDiagram]
"""The number of a term, and a half diagram of it."""


@dataclass(frozen=True, eq=False)
class Walk:
    """One call of a plan. The tensor of a half diagram is `[batch, *core, features]`.

    Attributes:
        plan: the plan.
        library: the array operations.
        batch: the size of the batch.
        sizes: the size of every label.
        masks: for a label, booleans `[batch, n]`.
    """

    plan: Stages
    library: Library
    batch: Size
    sizes: Mapping[str, Size]
    masks: Mapping[str, Array]

    def shape(self, core: Sequence[str], features: int) -> tuple[Size, ...]:
        """Return the shape of a tensor."""
        return self.batch, *(self.sizes[label] for label in core), features

    def form(self, label: str, kind: str) -> Form | None:
        """Return the form of a label if it is of a kind, `"metric"` or `"symplectic"`."""
        form = self.plan.signature.groups[label].form
        return form if form is not None and form.kind == kind else None

    def moved(self, x: Array, order: Sequence[int]) -> Array:
        """Permute the axes between batch and features."""
        if [*order] == [*range(len(order))]:
            return x
        return self.library.permuted(x, (0, *(1 + i for i in order), 1 + len(order)))

    def masked(self, x: Array, core: Sequence[str]) -> Array:
        """Set absent entries to zero, whatever they hold."""
        keep = None
        for axis, label in enumerate(core):
            if label in self.masks:
                after = len(core) - axis
                mask = self.masks[label][(slice(None), *(None,) * axis, slice(None), *(None,) * after)]
                keep = mask if keep is None else keep & mask
        return x if keep is None else self.library.where(keep, x)

    def averaged(self, x: Array, label: str, axes: int) -> Array:
        """Divide a sum over a label by its number of terms, if the plan has means; `axes` counts the axes of `x`."""
        if self.plan.normalize == "sum":
            return x
        if label not in self.masks:
            return x / self.library.at_least_one(self.sizes[label])
        count = self.library.cast(self.masks[label].sum(-1).clip(1), x)
        return x / count[(slice(None), *(None,) * (axes - 1))]

    def signed(self, x: Array, axis: int, form: Form, axes: int) -> Array:
        """Multiply an axis by the signs of a metric."""
        return x * self.library.constant(form.signs().reshape(-1, *(1,) * (axes - 1 - axis)), x)

    def halves(self, x: Array, axis: int, label: str) -> tuple[Array, Array]:
        """Return the positions and the momenta of a symplectic axis."""
        n = self.sizes[label]
        return self.library.part(x, axis, 0, n // 2), self.library.part(x, axis, n // 2, n)

    # Inputs and outputs: acted axes sorted by label, plain axes folded into the features.

    def _order(self, term: Term) -> tuple[list[int], list[str]]:
        acted, plain = self.plan.signature.acted(term), self.plan.signature.plain(term)
        return [*sorted(acted, key=lambda i: (term.labels[i], i)), *plain], [term.labels[i] for i in plain]

    def _inward(self, t: int, term: Term, x: Array) -> Array:
        (order, plain), core = self._order(term), root(acted_labels(self.plan.signature, term)).core
        x = self.moved(x, order)
        return x.reshape(self.shape(core, self.plan.features[0][t])) if plain else x

    def _outward(self, s: int, term: Term, y: Array) -> Array:
        (order, plain), core = self._order(term), root(acted_labels(self.plan.signature, term)).core
        if plain:
            y = y.reshape(self.shape((*core, *plain), self.plan.channels[1][s]))
        return self.moved(y, [int(i) for i in np.argsort(order)])

    # Reductions.

    def reduced(self, inputs: Sequence[Array]) -> dict[Key, Array]:
        """Return the tensors of all input half diagrams, from inputs `[batch, *axes, channels]`."""
        down: dict[Key, Array] = {}
        for t, (term, x) in enumerate(zip(self.plan.signature.inputs, inputs, strict=True)):
            top = root(acted_labels(self.plan.signature, term))
            down[t, top] = self.masked(self._inward(t, term, x), top.core)
        for step in self.plan.reductions:
            x = down[step.term, step.large]
            down[step.term, step.small] = (
                self._headed(step, x, upwards=False) if step.operation == "head" else self._reduced(step, x)
            )
        return down

    def _reduced(self, step: Step, x: Array) -> Array:
        label, axis, axes = step.large.core[step.axes[0]], 1 + step.axes[0], len(step.large.core) + 2
        if step.operation == "diagonal":
            second = 1 + step.axes[1]
            if self.form(label, "symplectic") is None:
                return self.library.diagonal(x, axis, second, axes)
            upper, lower = self.halves(x, axis, label)
            first = self.library.diagonal(self.halves(upper, second, label)[1], axis, second, axes)
            other = self.library.diagonal(self.halves(lower, second, label)[0], axis, second, axes)
            return self.library.joined([first, -other], axis)
        metric = self.form(label, "metric")
        x = x if metric is None else self.signed(x, axis, metric, axes)
        return self.averaged(x.sum(axis), label, axes - 1)

    # Expansions.

    def expanded(self, parts: Iterable[tuple[Key, Array]], like: Array) -> list[Array]:
        """Return the outputs `[batch, *axes, channels]`, from the tensors of output half diagrams.

        Tensors for the same half are added. An expansion takes one of the tensors that wait at its smaller end, and the
        last expansion from there takes the sum of all remaining ones.
        """
        signature, expansions = self.plan.signature, Counter((step.term, step.small) for step in self.plan.expansions)
        up: dict[Key, list[Array]] = {}

        def add(key: Key, y: Array) -> None:
            waiting = up.setdefault(key, [])
            waiting.append(waiting.pop() + y if waiting and expansions[key] < 2 else y)

        for key, y in parts:
            add(key, y)
        for step in self.plan.expansions:
            key = step.term, step.small
            expansions[key] -= 1
            waiting = up.get(key, [])
            taken = waiting[:1] if expansions[key] else waiting
            up[key] = waiting[len(taken) :]
            if taken:
                y = sum(taken[1:], taken[0])
                grown = self._headed(step, y, upwards=True) if step.operation == "head" else self._expanded(step, y)
                add((step.term, step.large), grown)
        results = []
        for s, term in enumerate(signature.outputs):
            top = root(acted_labels(signature, term))
            if (s, top) in up:
                (y,) = up[s, top]
                y = self.masked(y, top.core)
            else:  # no map leads here: the zero map
                y = self.library.zeros(self.shape(top.core, self.plan.features[1][s]), like)
            results.append(self._outward(s, term, y))
        return results

    def _expanded(self, step: Step, y: Array) -> Array:
        label, axis, axes = step.large.core[step.axes[0]], 1 + step.axes[0], len(step.large.core) + 2
        shape = self.shape(step.large.core, self.plan.features[1][step.term])
        if step.operation == "sum":
            metric, grown = self.form(label, "metric"), self.library.inserted(y, axis, shape)
            return grown if metric is None else self.signed(grown, axis, metric, axes)
        second = 1 + step.axes[1]
        if self.form(label, "symplectic") is None:
            return self.library.embedded(y, axis, second, shape)
        upper, lower = self.halves(y, axis, label)
        grown = self.library.embedded(self.library.joined([upper, -lower], axis), axis, second, shape)
        return self.library.joined(self.halves(grown, second, label)[::-1], second)

    # Heads.

    def _headed(self, step: Step, x: Array, *, upwards: bool) -> Array:
        """Convert between a tensor with legs among its axes, and a tensor with the axes of the head last.

        A head that is applied in this row is an einsum with the Levi-Civita tensor, whose contracted legs are those of
        the bottom row in either direction; otherwise axes are only permuted.
        """
        head, large, legs = step.small.heads[-1], step.large, step.axes
        letters = [*range(len(large.core))]
        others = [len(letters) + i for i in range(head.axes)] if head.applied else legs
        small = [*(letter for letter in letters if letter not in legs), *others]
        source, result = (small, letters) if upwards else (letters, small)
        if not head.applied:
            return self.moved(x, [source.index(letter) for letter in result])
        wired = [
            i
            for i, block in enumerate(large.wires)
            if head.wired and block in step.small.propagating and large.core[i] == head.label
        ]
        above, below = (legs, others) if upwards else (others, legs)
        own = (*wired, *above, *below)
        form, n = self.plan.signature.groups[head.label].form, self.plan.signature.sizes[head.label]
        assert n is not None
        lowered = range(len(own) - len(below), len(own))
        tensor = levi_civita_tensor(n, len(own), len(own) + head.loose, lowered, form)
        pooled, wide = len(letters) + head.axes, len(letters) + head.axes + 1
        operands = [(x, (pooled, *source, wide)), (self.library.constant(tensor, x), own)]
        return self.library.contracted(operands, (pooled, *result, wide))
