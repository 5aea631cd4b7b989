"""A function on data whose group is sought: which axes it moves, and derivatives of the outputs along motions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import TraceContextError
from numpy.typing import NDArray

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError, SignatureError
from equikit.auditing import raised
from equikit.signatures import Term, base, parse_arrow

Array = NDArray[np.float64]
Arrays = dict[str, Any]

STEP = 1e-3
"""The step of finite differences, relative to the size of the data: their error is about 1e-12."""

STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))
"""Places and weights of a first derivative of fourth order."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The terms of a signature, and the labels whose groups are unknown.

    Attributes:
        inputs, outputs: the terms; outputs are empty if the output may have any shape and is invariant.
        label: the label of input axes that is moved by the unknown group.
        others: labels of outputs only, each with a representation of its own.
    """

    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    label: str
    others: tuple[str, ...]

    @classmethod
    def read(cls, signature: str | None, unknown: str | None, axes: int) -> Roles:
        """Read a signature; without one the last axis of a single input is moved, and outputs are invariant."""
        if signature is None:
            axes_before = (f"axis{i}" for i in range(axes - 1))
            return cls((Term.of([*axes_before, "x"]),), (), "x", ())
        inputs, outputs = parse_arrow(_checks.text("signature", signature, example="x -> x"))
        words = [word for term in (*inputs, *outputs) for word in term.words]
        if any(not word.rstrip("*").isidentifier() for word in words):
            raise SignatureError(
                "a signature with determinants cannot be used to find a group",
                got=repr(signature),
                expected="labels without ~ and det",
                step="leave the determinants out; reflections are tested at the end",
            )
        labels = [base(label) for term in inputs for label in term.labels]
        _checks.some("axes in the input", labels, got=repr(signature), step='write for example "x -> x"')
        label = labels[-1] if unknown is None else _checks.choice("unknown", unknown, tuple(dict.fromkeys(labels)))
        outside = dict.fromkeys(base(x) for term in outputs for x in term.labels)
        return cls(inputs, outputs, label, tuple(x for x in outside if x not in labels))


def acted(term: Term, array: Any, matrices: Mapping[str, Any], *, finite: bool = False) -> Any:
    """Return the action on an array `[samples, *axes, channels]` of matrices by label; axes without one are still.

    Args:
        term: the labels of the axes.
        array: of NumPy or JAX.
        matrices: elements of a Lie algebra, or of a group.
        finite: whether they are elements of a group.
    """
    space = jnp if isinstance(array, jax.Array) else np
    total = array if finite else 0 * array
    for place, label in enumerate(term.labels):
        matrix = matrices.get(base(label))
        if matrix is None:
            continue
        if label.endswith("*"):
            matrix = space.linalg.inv(matrix).T if finite else -matrix.T
        moved = space.tensordot(
            space.asarray(matrix, array.dtype), total if finite else array, axes=((1,), (1 + place,))
        )
        moved = space.moveaxis(moved, 0, 1 + place)
        total = moved if finite else total + moved
    return total


def read_data(data: Any, roles: Roles) -> Arrays:
    """Return the arrays of all input terms by name, and check their shapes; NumPy arrays stay as they are."""
    names = [term.name for term in roles.inputs]
    given = {names[0]: data} if len(names) == 1 and not isinstance(data, Mapping) else data
    step = f"pass data={{{', '.join(f'{name!r}: ...' for name in names)}}}"
    given = _checks.same_names("the data", given, names, step=step)
    sizes: dict[str, int] = {}
    for term in roles.inputs:
        array = given[term.name]
        axes = ["samples", *(base(label) for label in term.labels), "channels"]
        _checks.array("data", array, axes)
        _checks.some(
            "numbers in the data", range(array.size), got=f"shape {[*array.shape]}", step="pass data with entries"
        )
        _checks.finite("the data", array, step="remove samples that are not finite")
        for label, size in zip(axes, array.shape, strict=True):
            if label != "channels" and sizes.setdefault(label, size) != size:
                raise ShapeError(
                    f"the data have sizes {sizes[label]} and {size} on {label!r}",
                    got=f"shape {[*array.shape]} of {term.name!r}",
                    expected="one size for each label",
                    step="make the sizes equal",
                )
    return dict(given)


class Model:
    """A function on arrays by name, with its derivatives along motions of the data.

    Attributes:
        by_name: whether the function takes a dictionary.
        exact: whether derivatives come from JAX; finite differences otherwise.
        precision: the relative rounding error of derivatives.
    """

    def __init__(self, function: Callable[..., Any], data: Arrays, roles: Roles, *, by_name: bool) -> None:
        _checks.function("function", function, example="lambda x: x")
        self.function, self.roles, self.by_name = function, roles, by_name
        self.data = data
        self.values = self(data)
        self._refuse_state()  # before anything is traced
        self.exact = _is_traceable(self._called, {name: jnp.asarray(array[:1]) for name, array in data.items()})
        if self.exact:
            self.data = {name: jnp.asarray(array) for name, array in data.items()}
        else:
            self.data = {name: np.asarray(array, np.float64) for name, array in data.items()}
        self.values = self(self.data)
        kinds = [np.asarray(value).dtype for value in self.values.values()]
        self.precision = 4 * max(map(_rounding, kinds)) if self.exact else 1e-9
        self._along = jax.jit(self._derivative) if self.exact else self._difference

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(next(iter(self.data.values())))

    @property
    def outputs(self) -> tuple[Term, ...]:
        """The output terms."""
        return self.roles.outputs or (Term.of(()),)

    def _called(self, arrays: Arrays) -> dict[str, Any]:
        found = self.function(arrays if self.by_name else next(iter(arrays.values())))
        names = [term.name for term in self.outputs]
        if len(names) == 1 and not isinstance(found, Mapping):
            return {names[0]: found}
        step = f"return {{{', '.join(f'{name!r}: ...' for name in names)}}}"
        return dict(_checks.same_names("the outputs of the function", found, names, step=step))

    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """Return the outputs in float64 or in the dtype of the function, and check their shapes."""
        try:
            found = self._called(arrays)
        except Exception as error:
            raise raised(error) from error
        samples = len(next(iter(arrays.values())))
        sizes = {
            base(x): s for t in self.roles.inputs for x, s in zip(t.labels, arrays[t.name].shape[1:], strict=False)
        }
        checked = {}
        for term in self.outputs:
            value = np.asarray(found[term.name])
            if not jnp.issubdtype(value.dtype, jnp.floating):
                raise DTypeError(
                    "the outputs of the function are not real floating-point numbers",
                    got=f"dtype {value.dtype}",
                    expected="a differentiable function with real outputs",
                    step="pass the function before rounding or choosing a class, such as the logits",
                )
            axes: list[int | str] = [samples, *(sizes.get(base(label), base(label)) for label in term.labels)]
            _checks.shaped(
                "the output of the function",
                value,
                [*axes, "channels"] if term.labels else [samples, "*axes"],
                step=f"check the signature: the output term {term.name!r} has {len(term.labels)} axes before channels",
            )
            _checks.finite("the outputs of the function", value, step="remove samples where the function is not finite")
            checked[term.name] = value
        return checked

    def _refuse_state(self) -> None:
        """Raise `OptionError` if a second call with a part of the data gives other outputs."""
        half = max(1, self.samples // 2)
        again = self({name: array[:half] for name, array in self.data.items()})
        for name, value in again.items():
            first = self.values[name][:half]
            if not np.allclose(first, value, rtol=1e-3, atol=1e-3 * float(np.std(first)) + 1e-30):
                raise _has_state(f"a difference of {float(np.max(abs(first - value))):.1e}")

    def _derivative(self, arrays: Arrays, matrix: Any) -> dict[str, Any]:
        tangents = {t.name: acted(t, arrays[t.name], {self.roles.label: matrix}) for t in self.roles.inputs}
        derivative: dict[str, Any] = jax.jvp(self._called, (arrays,), (tangents,))[1]
        return derivative

    def _difference(self, arrays: Arrays, matrix: Any) -> dict[str, Any]:
        tangents = {t.name: acted(t, arrays[t.name], {self.roles.label: matrix}) for t in self.roles.inputs}
        size = max(float(np.linalg.norm(matrix, 2)), 1e-300)
        step = STEP / size
        total: dict[str, Any] = dict.fromkeys(self.values, 0.0)
        for place, weight in STENCIL:
            moved = self._called({name: array + place * step * tangents[name] for name, array in arrays.items()})
            total = {name: total[name] + weight / step * np.asarray(moved[name], np.float64) for name in total}
        return total

    def along(self, matrix: Array) -> dict[str, Array]:
        r"""Return the derivative of the outputs where the data move by \(\exp(t A)\), in float64."""
        found = self._along(self.data, jnp.asarray(matrix, jnp.result_type(float)) if self.exact else matrix)
        derivative = {name: np.asarray(value, np.float64) for name, value in found.items()}
        _checks.finite(
            "derivatives of the function",
            *derivative.values(),
            step="pass a differentiable function, such as one without a square root at zero",
        )
        return derivative

    def moved(self, element: Array, rows: NDArray[np.int64]) -> dict[str, Array]:
        """Return outputs for some samples that an element of the group has moved."""
        arrays = {
            t.name: acted(t, self.data[t.name][rows], {self.roles.label: element}, finite=True)
            for t in self.roles.inputs
        }
        return {name: np.asarray(value, np.float64) for name, value in self(arrays).items()}


def _rounding(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps)  # type: ignore[no-untyped-call]  # NumPy's finfo does not know bfloat16


def _has_state(got: str) -> OptionError:
    return OptionError(
        "the function gives other outputs for the same samples in a second call",
        got=got,
        expected="a function without state and noise, of each sample alone",
        step="pass a model after model.eval()",
    )


def _is_traceable(function: Callable[..., Any], arrays: Arrays) -> bool:
    """Whether JAX can trace a function; NumPy functions refuse tracers."""
    try:
        jax.eval_shape(function, arrays)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return False
    except TraceContextError as error:
        raise _has_state("a module that changes its variables") from error
    return True
