"""A program with wider parameters, tried on an input: which labels can be widened, and what that changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from equikit._errors import OptionError
from equikit.weightspace.merging._combine import combined
from equikit.weightspace.merging._selection import Scores, groups_of
from equikit.weightspace.merging._widen import Wide, Widened, widened
from equikit.weightspace.specifications._blame import relative_difference
from equikit.weightspace.specifications._leaves import named_leaves
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.tracing._precision import rounding
from equikit.weightspace.tracing._roles import Roles, roles_of
from equikit.weightspace.tracing.programs._program import program_of


@dataclass(frozen=True)
class WideProgram:
    """A program whose parameters are widened, and an input to try it on."""

    spec: Specification
    apply: Callable[..., Any]
    params: Any
    inputs: tuple[Any, ...]

    @cached_property
    def roles(self) -> list[Roles]:
        """What the program does with each axis of each parameter."""
        program = program_of(self.apply, self.params, self.inputs)
        return roles_of(program, [leaf.shape for leaf in self.spec.leaves])

    def merged(self, trees: Sequence[Any], wide: Wide, shares: Sequence[float]) -> Any:
        """Return the networks as one."""
        plain = combined(trees, "mean", shares)
        leaves = [list(named_leaves(tree).values()) for tree in (*trees, plain)]
        found = [
            widened(leaf, arrays[:-1], roles, wide, shares)
            for leaf, roles, *arrays in zip(self.spec.leaves, self.roles, *leaves, strict=True)
        ]
        arrays = [one if new is None else jnp.asarray(new) for new, one in zip(found, leaves[-1], strict=True)]
        return jax.tree.unflatten(jax.tree.structure(plain), arrays)

    def twice(self, wide: Wide) -> Any:
        """Return the network merged with itself."""
        trees = [self.params] * 2
        return self.merged(trees, {label: Widened(each.size, each.kept, 2) for label, each in wide.items()}, (0.5, 0.5))

    def error(self, wide: Wide) -> float:
        """Return the relative difference of outputs between the network and its merge with itself."""
        before, after = (jax.jit(self.apply)(tree, *self.inputs) for tree in (self.params, self.twice(wide)))
        return relative_difference(before, after)

    def shared(self, trees: Sequence[Any], shares: Sequence[float]) -> dict[str, float]:
        """Return what the mean of each parameter without a permuted label changes in the mean of the outputs."""

        def outputs(params: Sequence[Any]) -> Any:
            return combined([jax.jit(self.apply)(tree, *self.inputs) for tree in params], "mean", shares)

        before, found = outputs(trees), dict[str, float]()
        leaves = [jax.tree.leaves(tree) for tree in (*trees, combined(trees, "mean", shares))]
        for place, leaf in enumerate(self.spec.leaves):
            if not {*leaf.labels} & self.spec.groups.keys():
                changed = [[*own[:place], leaves[-1][place], *own[place + 1 :]] for own in leaves[:-1]]
                after = outputs([jax.tree.unflatten(jax.tree.structure(trees[0]), own) for own in changed])
                found[leaf.name] = relative_difference(before, after)
        return {name: change for name, change in found.items() if change > self.allowed}

    @cached_property
    def allowed(self) -> float:
        """The difference of outputs that may be rounding."""
        return float(rounding(program_of(self.apply, self.params, self.inputs)) ** 0.5)

    def refuse_changed(self, error: float, wide: Wide, groups: Sequence[tuple[str, ...]]) -> None:
        """Raise an error if the first network merged with itself has other outputs."""
        if error <= self.allowed:
            return
        parts = [{label: wide[label] for label in some if label in wide} for some in groups]
        wrong = [label for part in parts if self.error(part) > self.allowed for label in part]
        raise OptionError(
            f"the program normalizes over {', '.join(map(repr, wrong or wide))}, where only some indices are kept",
            got=f"outputs that change by {error:.2g}, relative, if the first network is merged with itself",
            expected=f"at most {self.allowed:.1e}",
            step="leave the label out of keep=; to accept the change, write with_info=True",
        )

    def widenable(self, found: Scores) -> tuple[list[str], dict[str, str]]:
        """Return the labels that may be widened, and for all others the reason."""
        within = dict(self.spec.nested)
        nested = {label: f"kept together with each index of {within[label]!r}" for label in within}
        missing = {label: "no activation has it" for label in self.spec.groups if label not in {*found, *nested}}
        labels = [label for label in self.spec.groups if label not in {*nested, *missing}]
        refused, groups = dict[str, str](), groups_of(self.spec, labels)
        doubtful = self._doubtful(labels)
        if doubtful or (labels and self._reason(labels)):
            for some in groups:
                reason = self._reason(some) or doubtful.get(some[0], "")
                refused |= dict.fromkeys(some, reason) if reason else {}
        rest = [label for label in labels if label not in refused]
        reason = self._reason(rest) if refused and rest else ""
        refused |= dict.fromkeys(rest, reason) if reason else {}
        return [label for label in rest if label not in refused], refused | missing | nested

    def _doubtful(self, labels: Sequence[str]) -> dict[str, str]:
        """Return labels that an array has twice, where the program's use of its axes was not understood.

        A wrong role shows where an array is widened along one axis; `_reason` tries labels one by one for this.
        """
        found = dict[str, str]()
        for leaf, roles in zip(self.spec.leaves, self.roles, strict=True):
            several = [
                (label, role)
                for axis, role in zip(leaf.axes, roles, strict=True)
                for label in axis.labels
                if label in labels
            ]
            if len(several) > 1 and any(role is None for _, role in several):
                names = [label for label, _ in several]
                twice = "" if len(set(names)) == len(names) else f"the use of both axes of {leaf.name!r} is not clear"
                found |= dict.fromkeys(names, twice)
        return found

    def _reason(self, labels: Sequence[str]) -> str:
        """Return why labels cannot be widened, or an empty text."""
        sizes = {label: self.spec.sizes[label] for label in labels}
        wide = {label: Widened(size, tuple(range(size)), 2) for label, size in sizes.items()}
        twice = self.twice(wide)
        try:
            shapes = jax.eval_shape(self.apply, twice, *self.inputs)
        except Exception as error:  # any library may refuse other shapes, with any error
            return f"the program fails for other sizes: {type(error).__name__}: {str(error).splitlines()[0]:.100}"
        before = jax.eval_shape(self.apply, self.params, *self.inputs)
        if [leaf.shape for leaf in jax.tree.leaves(shapes)] != [leaf.shape for leaf in jax.tree.leaves(before)]:
            return "the outputs have other shapes"
        if self.error(wide) <= self.allowed:
            return ""
        return "features are counted by number, or summed over without a parameter"
