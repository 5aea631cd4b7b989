"""Activation matching: what two networks compute from the same data, index by index of every label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from equikit.weightspace._blame import labelled_axes
from equikit.weightspace._program import INLINED, Reader, of_constant
from equikit.weightspace._rules import Axes, rigid
from equikit.weightspace._specification import Specification

Value = tuple[Any, Any] | Any
"""What both networks compute; alone where it does not depend on the parameters."""


class _Pair:
    """An array of each network, and whether the data are in it."""

    __slots__ = ("data", "one", "two")

    def __init__(self, one: Any, two: Any, data: bool) -> None:
        self.one, self.two, self.data = one, two, data


class Lockstep(Reader):
    """Reads a program and evaluates it for two networks, operation by operation, and lets a function see the results.

    Attributes:
        see: called with the axes of a result and both arrays, where the data are in it.
    """

    def __init__(self, see: Callable[[Axes, jax.Array, jax.Array], None]) -> None:
        super().__init__()
        self.see = see

    def run(self, closed: Any, axes: Sequence[Axes], pairs: Sequence[_Pair]) -> tuple[list[Axes], list[_Pair]]:
        """The axes of what a program returns, and its values."""
        jaxpr, constants = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
        known = {variable: of_constant(value) for variable, value in zip(jaxpr.constvars, constants, strict=True)}
        values = {
            variable: _Pair(value, value, False) for variable, value in zip(jaxpr.constvars, constants, strict=True)
        }
        known.update(zip(jaxpr.invars, axes, strict=True))
        values.update(zip(jaxpr.invars, pairs, strict=True))

        def of(variable: Any) -> tuple[Axes, _Pair]:
            if isinstance(variable, Literal):
                return of_constant(np.asarray(variable.val)), _Pair(variable.val, variable.val, False)
            return known[variable], values[variable]

        for equation in jaxpr.eqns:
            given, operands = map(list, zip(*map(of, equation.invars), strict=True)) if equation.invars else ([], [])
            name = equation.primitive.name
            if name in INLINED and INLINED[name] in equation.params:
                found, results = self.run(equation.params[INLINED[name]], given, operands)
            else:
                found = self.equation(equation, given)
                data = any(operand.data for operand in operands)
                one = _evaluated(equation, [operand.one for operand in operands])
                two = _evaluated(equation, [operand.two for operand in operands])
                results = [_Pair(*both, data) for both in zip(one, two, strict=True)]
                for its_axes, result in zip(found, results, strict=True):
                    if data and jnp.issubdtype(jnp.result_type(result.one), jnp.floating):
                        self.see(its_axes, result.one, result.two)
            known.update(zip(equation.outvars, found, strict=True))
            values.update(zip(equation.outvars, results, strict=True))
        both = [of(variable) for variable in jaxpr.outvars]
        return [axes for axes, _ in both], [pair for _, pair in both]


def _evaluated(equation: Any, operands: list[Any]) -> list[Any]:
    subfunctions, params = equation.primitive.get_bind_params(equation.params)
    found = equation.primitive.bind(*subfunctions, *operands, **params)
    return list(found) if equation.primitive.multiple_results else [found]


def correlations(
    spec: Specification, apply: Callable[..., Any], one: Any, two: Any, inputs: tuple[Any, ...]
) -> Mapping[str, np.ndarray]:
    r"""For every label the sum over all activations of the correlation of index i of the one with j of the other.

    An activation is every array that depends on the data and has one axis with the label; its correlation is
    Pearson's, over the data and all its other axes.
    """
    labelled, of_params = labelled_axes(spec.leaves, spec.groups)
    of_inputs = [[rigid(size, "an input") for size in leaf.shape] for leaf in jax.tree.leaves(inputs)]
    found = {label: np.zeros((axis.size, axis.size)) for label, axis in labelled.items()}

    def see(axes: Axes, first: jax.Array, second: jax.Array) -> None:
        for label, axis in labelled.items():
            places = [place for place, other in enumerate(axes) if other.root is axis.root]
            if len(places) == 1:
                found[label] += np.asarray(_correlation(first, second, places[0]))

    pairs = [
        *(_Pair(a, b, False) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)),
        *(_Pair(leaf, leaf, True) for leaf in jax.tree.leaves(inputs)),
    ]
    Lockstep(see).run(jax.make_jaxpr(apply)(one, *inputs), [*of_params, *of_inputs], pairs)
    return found


@jax.jit
def _standardized(rows: jax.Array) -> jax.Array:
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = jnp.linalg.norm(centred, axis=1, keepdims=True)
    return centred / jnp.where(length > 0, length, 1)


def _correlation(one: jax.Array, two: jax.Array, place: int) -> jax.Array:
    rows = [
        _standardized(jnp.moveaxis(array, place, 0).reshape(array.shape[place], -1).astype(jnp.float32))
        for array in (one, two)
    ]
    return rows[0] @ rows[1].T
