"""What two networks compute from the same data, as arrays whose axes have labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from equikit._errors import OptionError
from equikit.weightspace._axes import Axis, factors
from equikit.weightspace._blame import labeled_axes
from equikit.weightspace._program import INLINED, Reader, of_constant, opened, program_of
from equikit.weightspace._rules import Axes, rigid
from equikit.weightspace._specification import Specification

DATA = "data"
"""The label of axes of activations that nothing permutes."""


@dataclass(frozen=True)
class Pair:
    """An array of each network, and whether the data are in it."""

    one: Any
    two: Any
    data: bool


@dataclass
class Activations(Reader):
    """Reads a program and evaluates it for two networks at once, and keeps what depends on the data.

    Attributes:
        labeled: an index set for each label.
        labels: for each array that is kept, the labels of its axes.
        one, two: the arrays, of the two networks.
    """

    labeled: dict[str, Axis] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    one: dict[str, jax.Array] = field(default_factory=dict)
    two: dict[str, jax.Array] = field(default_factory=dict)

    def run(self, closed: Any, axes: Sequence[Axes], pairs: Sequence[Pair]) -> tuple[list[Axes], list[Pair]]:
        """The axes of what a program returns, and its values."""
        jaxpr, constants = opened(closed)
        known: dict[Any, tuple[Axes, Pair]] = {
            variable: (of_constant(value), Pair(value, value, False))
            for variable, value in zip(jaxpr.constvars, constants, strict=True)
        }
        known.update(zip(jaxpr.invars, zip(axes, pairs, strict=True), strict=True))

        def of(variable: Any) -> tuple[Axes, Pair]:
            if isinstance(variable, Literal):
                return of_constant(np.asarray(variable.val)), Pair(variable.val, variable.val, False)
            return known[variable]

        for equation in jaxpr.eqns:
            given = [axes for axes, _ in map(of, equation.invars)]
            operands = [pair for _, pair in map(of, equation.invars)]
            name = equation.primitive.name
            if name in INLINED and INLINED[name] in equation.params:
                found, results = self.run(equation.params[INLINED[name]], given, operands)
            else:
                found = self.equation(equation, given)
                data = any(operand.data for operand in operands)
                one = _evaluated(equation, [operand.one for operand in operands])
                two = _evaluated(equation, [operand.two for operand in operands])
                results = [Pair(*both, data) for both in zip(one, two, strict=True)]
                for its_axes, result in zip(found, results, strict=True):
                    self._keep(its_axes, result)
            known.update(zip(equation.outvars, zip(found, results, strict=True), strict=True))
        both = [of(variable) for variable in jaxpr.outvars]
        return [axes for axes, _ in both], [pair for _, pair in both]

    def _keep(self, axes: Axes, pair: Pair) -> None:
        if not pair.data or not jnp.issubdtype(jnp.result_type(pair.one), jnp.floating):
            return
        # Axes that are products, as those of flattened arrays, fall into their factors. What is concatenated has been
        # seen before.
        inner = [factors(axis) if axis.root.kind == "product" else [axis.root] for axis in axes]
        atoms = [atom for some in inner for atom in some]
        roots = {axis.root: label for label, axis in self.labeled.items()}
        labels = tuple(roots.get(atom, DATA) for atom in atoms)
        if set(labels) - {DATA} and all(atom.kind != "sum" for atom in atoms):
            name, shape = f"{len(self.labels)}", [atom.size for atom in atoms]
            self.labels[name] = labels
            both = [jnp.reshape(array, shape) for array in (pair.one, pair.two)]
            masked = _masked(both[0], labels) & _masked(both[1], labels)
            self.one[name], self.two[name] = (_standardized(jnp.where(masked, 0, array), labels) for array in both)


def _evaluated(equation: Any, operands: list[Any]) -> list[Any]:
    found = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(equation.params))
    return list(found) if equation.primitive.multiple_results else [found]


def _standardized(array: jax.Array, labels: tuple[str, ...]) -> jax.Array:
    """Of mean zero and length one over the data, for each index of the labels: products are correlations."""
    data = tuple(place for place, label in enumerate(labels) if label == DATA)
    wide = _over_largest(array.astype(jnp.promote_types(array.dtype, jnp.float32)), data)
    centered = wide - wide.mean(axis=data, keepdims=True) if data else wide
    centered = _over_largest(centered, data)
    length = jnp.sqrt(jnp.sum(centered**2, axis=data, keepdims=True))
    return centered / jnp.where(length > 0, length, 1)


def _over_largest(array: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Over the largest entry along some axes, so that squares neither overflow nor vanish."""
    largest = jnp.max(jnp.abs(array), axis=axes, keepdims=True, initial=0)
    return array / jnp.where(largest > 0, largest, 1)


def _masked(array: jax.Array, labels: tuple[str, ...]) -> jax.Array:
    """Where the data have minus infinity at all indices of the labels, as logits of attention that are masked have."""
    return jnp.all(
        array == -jnp.inf, axis=[place for place, label in enumerate(labels) if label != DATA], keepdims=True
    )


def activations(
    spec: Specification, apply: Callable[..., Any], one: Any, two: Any, inputs: tuple[Any, ...]
) -> Activations:
    """All arrays that depend on the data and have an axis with a label, of both networks.

    Raises:
        OptionError: if one of them is not finite; data that are minus infinity at all indices of labels are masked.
    """
    labeled, of_params = labeled_axes(spec.leaves, spec.groups)
    of_inputs = [[rigid(size, "an input") for size in jnp.shape(leaf)] for leaf in jax.tree.leaves(inputs)]
    pairs = [
        *(Pair(a, b, False) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)),
        *(Pair(leaf, leaf, True) for leaf in jax.tree.leaves(inputs)),
    ]
    found = Activations(labeled=labeled)
    found.run(program_of(apply, one, inputs), [*of_params, *of_inputs], pairs)
    for side, arrays in (("params_a", found.one), ("params_b", found.two)):
        for name, array in arrays.items():
            _refuse_not_finite(side, array, found.labels[name])
    return found


def _refuse_not_finite(side: str, array: jax.Array, labels: tuple[str, ...]) -> None:
    if not np.all(np.isfinite(np.asarray(array))):
        raise OptionError(
            f"{side} compute activations that are no numbers",
            got=f"infinite entries, or not a number, in an array {list(array.shape)} with axes {', '.join(labels)}",
            expected="finite activations for all data",
            step="see whether the data are finite, or training diverged; or write how='weights'",
        )
