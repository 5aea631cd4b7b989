"""Means and variances inside a model over data: where it normalizes, and where it adds a bias to a product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal as Constant

from equikit import _checks
from equikit.weightspace.tracing._roles import Traced, rearranged
from equikit.weightspace.tracing.programs._program import CALLS, PROGRAMS, opened, program_of


@dataclass(frozen=True)
class Place:
    """A place in a program whose mean and variance two parameters determine.

    Attributes:
        kind: `"norm"`, where running averages are subtracted and divided by, `"product"` with a kernel, or `"layer"`, a
            product plus a bias.
        first: the number of the running mean, or of the kernel.
        second: the number of the running variance, of the bias, or of the kernel of a product.
        axes: the axes of the first parameter that its statistics have, in order: channels, or outputs.
        seconds: the same axes of the second parameter.
    """

    kind: str
    first: int
    second: int
    axes: tuple[int, ...]
    seconds: tuple[int, ...]


Moments = tuple[np.ndarray, np.ndarray]
"""The mean and the variance of one place."""


@dataclass(frozen=True)
class _Parameter:
    traced: Traced


@dataclass(frozen=True)
class _Shifted:
    """A variance plus a small number; `power` is 1, or 1/2 for its root, or -1/2 for the inverse of its root."""

    traced: Traced
    power: float = 1.0


@dataclass(frozen=True)
class _Centered:
    mean: Traced
    before: Any


@dataclass(frozen=True)
class _Product:
    """A product with a kernel: for each axis of the result the axis of the kernel, or `None`."""

    kernel: int
    axes: tuple[int | None, ...]

    @property
    def traced(self) -> Traced:
        """The kernel, with the axes that the result has of it."""
        return self.kernel, tuple(() if axis is None else (axis,) for axis in self.axes)


Tag = _Parameter | _Shifted | _Centered | _Product | None


@dataclass
class _Reading:
    """What was met in a program: places with the arrays there, and how often each parameter is used."""

    places: list[Place] = field(default_factory=list)
    arrays: list[tuple[Any, tuple[int, ...]]] = field(default_factory=list)
    uses: Counter[int] = field(default_factory=Counter)

    def run(self, jaxpr: Any, constants: Sequence[Any], operands: Sequence[tuple[Any, Tag]]) -> list[tuple[Any, Tag]]:
        """Evaluate a program, and note its places. Loops are evaluated as they are."""
        known = dict(zip(jaxpr.invars, operands, strict=True))
        known.update((one, (value, None)) for one, value in zip(jaxpr.constvars, constants, strict=True))

        def of(variable: Any) -> tuple[Any, Tag]:
            return (variable.val, None) if isinstance(variable, Constant) else known[variable]

        for equation in jaxpr.eqns:
            given = [of(variable) for variable in equation.invars]
            program = next((equation.params[key] for key in PROGRAMS if key in equation.params), None)
            if equation.primitive.name in CALLS and program is not None:
                inner, held = opened(program)
                found = self.run(inner, held, given)
            else:
                bound = equation.primitive.get_bind_params(equation.params)
                values = equation.primitive.bind(*(value for value, _ in given), **bound)
                several = list(values) if equation.primitive.multiple_results else [values]
                found = [(value, None) for value in several]
                found[0] = several[0], self._tagged(equation, given, several[0])
            known.update(zip(equation.outvars, found, strict=True))
        return [of(variable) for variable in jaxpr.outvars]

    def _tagged(self, equation: Any, given: list[tuple[Any, Tag]], result: Any) -> Tag:
        name, params = equation.primitive.name, equation.params
        tags = [tag for _, tag in given]
        if len(given) == 1 and isinstance(tags[0], _Parameter | _Shifted):
            moved = rearranged(name, params, equation, tags[0].traced)
            if moved is not None:
                return _Parameter(moved) if isinstance(tags[0], _Parameter) else _Shifted(moved, tags[0].power)
        if name == "convert_element_type":
            return tags[0]
        self.uses.update({tag.traced[0]: 1 for tag in tags if isinstance(tag, _Parameter)})
        if name in ("dot_general", "conv_general_dilated"):
            product = _product(name, params, tags, len(result.shape))
            if product is not None:
                self._note("product", product.traced, product.traced, result)
            return product
        if name == "rsqrt" or name == "sqrt":
            shifted = tags[0]
            if isinstance(shifted, _Shifted) and shifted.power == 1:
                return _Shifted(shifted.traced, 0.5 if name == "sqrt" else -0.5)
        if len(given) == 2 and name in ("add", "sub", "mul", "div"):
            return self._of_two(name, given, result) or (
                self._of_two(name, given[::-1], result) if name in ("add", "mul") else None
            )
        return None

    def _of_two(self, name: str, given: Sequence[tuple[Any, Tag]], result: Any) -> Tag:
        """Return the tag of a sum, difference, product or quotient, and note a place that it completes."""
        (one, first), (two, second) = given
        if name == "add" and isinstance(first, _Parameter) and second is None and np.ndim(two) == 0:
            return _Shifted(first.traced)
        if name == "sub" and isinstance(second, _Parameter) and not isinstance(first, _Parameter):
            return _Centered(second.traced, one)
        if name == "mul" and isinstance(first, _Shifted) and isinstance(second, _Parameter):
            return first
        if name == "add" and isinstance(first, _Product) and isinstance(second, _Parameter):
            self._note("layer", first.traced, second.traced, result)
        inverse = isinstance(second, _Shifted) and second.power == (-0.5 if name == "mul" else 0.5)
        if name in ("mul", "div") and isinstance(first, _Centered) and isinstance(second, _Shifted) and inverse:
            self._note("norm", first.mean, second.traced, first.before)
        return None

    def _note(self, kind: str, one: Traced, two: Traced, array: Any) -> None:
        """Note a place if both parameters lie along the same axes of the array."""
        (first, axes), (second, others) = one, two
        kept = [i for i, some in enumerate(axes) if some]
        alike = kept == [i for i, some in enumerate(others) if some]
        if alike and all(len(axes[i]) == len(others[i]) == 1 for i in kept):
            self.places.append(Place(kind, first, second, *(tuple(its[i][0] for i in kept) for its in (axes, others))))
            self.arrays.append((array, tuple(i for i in range(array.ndim) if i not in kept)))


def _product(name: str, params: Any, tags: Sequence[Tag], rank: int) -> _Product | None:
    """Return which axes of a product or convolution are axes of its kernel, if one operand is a parameter."""
    sides = [i for i, tag in enumerate(tags[:2]) if isinstance(tag, _Parameter)]
    if len(sides) != 1:
        return None
    (side,) = sides
    tag = tags[side]
    assert isinstance(tag, _Parameter)
    number, origins = tag.traced
    found: list[int | None] = [None] * rank
    if name == "dot_general":
        contracted, batched = params["dimension_numbers"]
        free = [i for i in range(len(origins)) if i not in contracted[side] and i not in batched[side]]
        start = len(batched[side]) if side == 0 else rank - len(free)
        outs = dict(zip(range(start, start + len(free)), free, strict=True)) | dict(enumerate(batched[side]))
    elif side == 1:
        outs = {params["dimension_numbers"].out_spec[1]: params["dimension_numbers"].rhs_spec[0]}
    else:
        return None
    for axis, own in outs.items():
        if len(origins[own]) != 1:
            return None
        found[axis] = origins[own][0]
    return _Product(number, tuple(found))


def places_of(apply: Callable[..., Any], params: Any, inputs: tuple[Any, ...]) -> list[Place]:
    """Return the places of a model in the order of its program; parameters that are used elsewhere too have none."""
    found: list[Place] = []

    def read(params: Any, inputs: Any) -> list[Any]:
        reading = _read(apply, params, inputs)
        found.extend(p for p in reading.places if reading.uses[p.first] == reading.uses[p.second] == 1)
        return []

    jax.eval_shape(read, params, inputs)
    return found


def arrays_at(
    apply: Callable[..., Any], places: Sequence[Place], params: Any, inputs: tuple[Any, ...]
) -> list[tuple[Any, tuple[int, ...]]]:
    """Return the array at each place, with its axes of data: all that are not axes of the place."""
    reading = _read(apply, params, inputs)
    return [pair for place, pair in zip(reading.places, reading.arrays, strict=True) if place in places]


def moments_at(apply: Callable[..., Any], places: Sequence[Place]) -> Callable[[Any, Iterable[Any]], list[Moments]]:
    """Return a function that computes means and variances at all places over batches; it is compiled once a shape."""

    @jax.jit
    def of_batch(params: Any, inputs: Any) -> list[tuple[jax.Array, jax.Array]]:
        found = []
        for array, axes in arrays_at(apply, places, params, inputs):
            wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
            step = "give the real and the imaginary part of complex inputs as two inputs"
            _checks.array("activations whose statistics are corrected", wide, step=step)
            found.append((jnp.mean(wide, axes), jnp.var(wide, axes)))
        return found

    def computed(params: Any, batches: Iterable[Any]) -> list[Moments]:
        sums: list[list[np.ndarray]] = []
        count = 0
        for inputs in batches:
            size = np.shape(jax.tree.leaves(inputs)[0])[0]
            now = [[np.asarray(one, np.float64) for one in pair] for pair in of_batch(params, inputs)]
            now = [[size * mean, size * (variance + mean**2)] for mean, variance in now]
            sums = (
                [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(sums, now, strict=True)] if sums else now
            )
            count += size
        return [(total / count, squares / count - (total / count) ** 2) for total, squares in sums]

    return computed


def _read(apply: Callable[..., Any], params: Any, inputs: tuple[Any, ...]) -> _Reading:
    program = program_of(apply, params, inputs)
    leaves = jax.tree.leaves(params)
    tags: list[Tag] = [
        _Parameter((i, tuple((axis,) for axis in range(np.ndim(leaf))))) for i, leaf in enumerate(leaves)
    ]
    values = [*leaves, *jax.tree.leaves(inputs)]
    reading = _Reading()
    tags += [None] * (len(values) - len(leaves))
    reading.run(program.jaxpr, program.consts, list(zip(values, tags, strict=True)))
    return reading
