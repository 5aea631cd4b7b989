"""Plans in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from equikit import _checks
from equikit._errors import DTypeError, OptionError
from equikit._shape_checks import mapping, masks_of
from equikit.plans.readers._activations import IN_NUMPY
from equikit.plans.readers._calls import checked_call, masks_among, named, ordered
from equikit.plans.readers._library import Library
from equikit.plans.readers._parts import Chained, Paired, Planned, checked_weights, fitting_weights, parts_of
from equikit.plans.readers._read import AnyPlan, read

DTYPES = ("float32", "float64", "complex64", "complex128")


class _NumPy(Library):
    """The operations of NumPy."""

    functions: ClassVar[Any] = np

    def permuted(self, x: np.ndarray, order: Sequence[int]) -> np.ndarray:
        return x.transpose(order)

    def embedded(self, x: np.ndarray, first: int, second: int, shape: Sequence[int]) -> np.ndarray:
        y = np.zeros(shape, x.dtype)
        places = np.einsum("...ii->...i", np.moveaxis(y, (first, second), (-2, -1)))  # a view
        places[...] = np.moveaxis(x, first, -1)
        return y

    def constant(self, values: np.ndarray, like: np.ndarray) -> np.ndarray:
        found: np.ndarray = values.astype(like.dtype)
        return found

    def zeros(self, shape: Sequence[int], like: np.ndarray) -> np.ndarray:
        return np.zeros(shape, like.dtype)

    def cast(self, x: np.ndarray, like: np.ndarray) -> np.ndarray:
        return x.astype(like.dtype)

    def at_least_one(self, size: int) -> int:
        return max(size, 1)

    def taken(self, x: np.ndarray, index: np.ndarray) -> np.ndarray:
        found: np.ndarray = x[index]
        return found

    def multiplied(self, x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        # In one product: `matmul` of many axes makes one for each entry of the leading axes.
        flat: np.ndarray = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ matrix
        return flat.reshape(*x.shape[:-1], matrix.shape[1])

    def contracted(self, operands: Any, result: Any) -> Any:
        terms = [term for array, letters in operands for term in (array, [*letters])]
        return np.einsum(*terms, [*result], optimize=len(operands) > 1)


def _checked(name: str, array: object, dtype: np.dtype | None) -> np.ndarray:
    """Return an array of a dtype that NumPy computes in, cast if a dtype is given, or raise `DTypeError`."""
    _checks.unmasked(name, array, step="pass x.filled(0), and the mask by mask=")
    own = str(getattr(array, "dtype", type(array).__name__))
    if not isinstance(array, np.ndarray) or (own not in DTYPES and not (dtype and own in ("float16", "bfloat16"))):
        step = "pass np.asarray(x) of floating-point numbers"
        if isinstance(array, np.ndarray) and own in ("float16", "bfloat16"):
            step = 'write dtype="float32" in to_numpy'
        elif isinstance(array, np.ndarray) and array.dtype.kind in "biufc":  # also numbers in another byte order
            native = array.dtype.newbyteorder("=").name
            wide = "complex128" if array.dtype.kind == "c" else "float64"
            step = f"pass x.astype(np.{native if native in DTYPES else wide})"
        raise DTypeError(
            f"{name} cannot be used in NumPy",
            got=f"{type(array).__name__} of dtype {own}" if hasattr(array, "dtype") else own,
            expected=f"a NumPy array of dtype {', '.join(DTYPES[:-1])} or {DTYPES[-1]}",
            step=step,
        )
    if dtype is None:
        return array
    if dtype.kind == "f" and array.dtype.kind == "c":
        raise DTypeError(
            f"{name} would lose its imaginary part",
            got=f"dtype {own}, dtype={dtype}",
            expected="a complex dtype",
            step='write dtype="complex64" in to_numpy',
        )
    return array.astype(dtype)


@dataclass(frozen=True, eq=False, repr=False)
class NumpyFunction:
    """A plan as a function of NumPy arrays; made by `to_numpy`.

    It needs no JAX, and can be pickled.

    Attributes:
        part: the plan and its weights.
        dtype: the dtype to which inputs and weights are cast; `None` for their promoted dtype.
    """

    part: Planned
    dtype: np.dtype | None = None

    @property
    def plan(self) -> AnyPlan:
        """The plan."""
        return self.part.plan

    @property
    def weights(self) -> Mapping[str, np.ndarray] | None:
        """The weights by name; `None` if they are given in each call."""
        return self.part.weights

    def __repr__(self) -> str:
        return f'{type(self).__name__}("{self.plan.heading[0]}", channels {self.plan.channels})'

    def __call__(
        self,
        *inputs: Any,
        weights: Mapping[str, np.ndarray] | np.ndarray | None = None,
        mask: Any = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Any:
        """Apply the plan.

        Args:
            *inputs: for linear maps an array `[*batch, *axes, channels]`, or a dictionary by name; for multilinear maps
                an array for each input, in order.
            weights: weights for this call, as in `apply` or `apply_multilinear`; by default its own.
            mask: for a label, booleans `[*batch, n]` that mark the entries that are present, as in `apply`.
            sizes: sizes of free labels that no input has.

        Returns:
            The output array `[*batch, *axes, channels]`, or a dictionary of arrays if there are several output terms or
            the inputs are a dictionary.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast.
            OptionError: if there are no weights.
        """
        given = self.weights if weights is None else checked_weights(self.plan, weights)
        if given is not None:
            given = fitting_weights(self.plan, given)  # the dictionary of the function can be changed
        else:
            raise OptionError(
                "the plan has no weights",
                got="no weights=",
                expected="the weights of the plan, by name",
                step="pass weights by name, with the shapes of weight_shapes(plan)",
            )
        own = {name: _checked(f"weights {name!r}", array, self.dtype) for name, array in given.items()}
        terms = self.plan.signature.inputs
        arrays = [
            _checked(f"input {term.name!r}", x, self.dtype)
            for term, x in zip(terms, ordered(self.plan, inputs), strict=True)
        ]
        shapes, masks = checked_call(self.plan, arrays, mask, sizes, "x.astype(np.{})")
        dtype, batch = np.result_type(*arrays, *own.values()), math.prod(shapes.batch)
        results = read(
            self.plan,
            _NumPy(),
            [x.astype(dtype, copy=False).reshape(batch, *x.shape[len(shapes.batch) :]) for x in arrays],
            {name: weight.astype(dtype, copy=False) for name, weight in own.items()},
            batch,
            shapes.sizes,
            {label: np.asarray(m).reshape(batch, m.shape[-1]) for label, m in masks.items()},
        )
        found = [np.ascontiguousarray(y).reshape(*shapes.batch, *y.shape[1:]) for y in results]
        return named(self.part, found, inputs)


@dataclass(frozen=True, eq=False, repr=False)
class NumpyBilinear:
    """A `Bilinear` layer as a function of NumPy arrays; made by `to_numpy`.

    Attributes:
        part: the plans, weights and products of the layer.
        dtype: the dtype to which inputs and weights are cast; `None` for their promoted dtype.
    """

    part: Paired
    dtype: np.dtype | None = None

    def __repr__(self) -> str:
        parts = (NumpyFunction(part) for part in (self.part.left, self.part.right, self.part.mix))
        return f"{type(self).__name__}({', '.join(map(repr, parts))})"

    def __call__(self, x: Mapping[str, np.ndarray], *, mask: Any = None) -> dict[str, np.ndarray]:
        """Apply the layer to a dictionary of arrays `[*batch, *axes, channels]`."""
        signature, x = self.part.signature, mapping("x", x)
        masks, groups = masks_of(signature, mask), signature.groups

        def run(part: Planned, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            function = NumpyFunction(part, self.dtype)
            found: dict[str, np.ndarray] = function(x, mask=masks_among(part.plan, groups, masks))
            return found

        left, right = run(self.part.left, x), run(self.part.right, x)
        return run(
            self.part.mix,
            {name: np.einsum(text, left[one], right[other]) for name, one, other, text in self.part.products},
        )


@dataclass(frozen=True, eq=False, repr=False)
class NumpyNetwork:
    """A network of linear layers as a function of NumPy arrays; made by `to_numpy`.

    Attributes:
        part: the plans, weights and activations of the network.
        dtype: the dtype to which inputs and weights are cast; `None` for their promoted dtype.
    """

    part: Chained
    dtype: np.dtype | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(NumpyFunction(stage)) for stage, _ in self.part.stages)})"

    def __call__(self, *inputs: np.ndarray, mask: Any = None) -> np.ndarray:
        """Apply the network to arrays `[*batch, *axes, channels]`, in the order of its arguments or by label."""
        masks, groups = masks_of(self.part.signature, mask), self.part.signature.groups
        y: Any = self.part.named(inputs)
        for stage, activation in self.part.stages:
            y = NumpyFunction(stage, self.dtype)(y, mask=masks_among(stage.plan, groups, masks))
            y = y if activation is None else IN_NUMPY[activation](y)
        found: np.ndarray = y
        return found


def to_numpy(
    what: Any, weights: Mapping[str, Any] | Any | None = None, *, dtype: DTypeLike | None = None
) -> NumpyFunction | NumpyBilinear | NumpyNetwork:
    r"""Return a NumPy function that computes a plan or a layer, without JAX.

    The function runs the steps of the plan: \(y_s = \sum_t \sum_d D_d x_t W_{t s d}\). Its weights are copied.

    Args:
        what: a plan (`space.plan(...)`); or, with its weights, a layer `Linear`, `Invariant`, `Multilinear` or
            `Bilinear`, or a network `DeepSets` or `GraphNetwork` with an activation of `jax.nn`.
        weights: for a plan, its weights by name with the shapes of `weight_shapes(plan)`; for a multilinear plan a
            single array. Without them the function takes `weights=` in each call.
        dtype: the dtype to which inputs and weights are cast: float32, float64, complex64 or complex128; required if a
            layer computes in half precision. By default their promoted dtype.

    Returns:
        A function with the arguments of the layer, such as `f(x, mask=..., sizes=...)`. It can be pickled; a process
            that loads and calls it does not import JAX.

    Raises:
        OptionError: for other layers and networks, and for traced weights.
        ShapeError, DTypeError: if the weights do not fit.

    Cost: as in `apply`, on one thread except for the matrix products.

    Example:
        >>> import numpy as np
        >>> from equikit import S, hom
        >>> program = hom("p -> p", p=S).plan()
        >>> function = to_numpy(program, {"p -> p": np.array([[[1.0]], [[10.0]]])})
        >>> function(np.array([[1.0], [2.0]])).tolist()
        [[31.0], [32.0]]
    """
    part = parts_of(what, weights)
    wanted = _wanted(dtype)
    if dtype is not None and wanted is None:
        raise DTypeError(
            "dtype= must be a dtype that NumPy computes in",
            got=_checks.shown(dtype),
            expected=f"{', '.join(DTYPES[:-1])} or {DTYPES[-1]}",
            step='write dtype="float32"',
        )
    if isinstance(part, Planned):
        _check_weights(part, wanted)
        return NumpyFunction(part, wanted)
    if isinstance(part, Paired):
        for own in (part.left, part.right, part.mix):
            _check_weights(own, wanted)
        return NumpyBilinear(part, wanted)
    for own, _ in part.stages:
        _check_weights(own, wanted)
    return NumpyNetwork(part, wanted)


def _wanted(dtype: Any) -> np.dtype | None:
    """Return a dtype that NumPy computes in, or `None` for any other value."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        return None
    return found if dtype is not None and found.name in DTYPES else None


def _check_weights(part: Planned, dtype: np.dtype | None) -> None:
    """Raise `DTypeError` now rather than in each call."""
    for name, weight in (part.weights or {}).items():
        _checked(f"weights {name!r}", weight, dtype)
