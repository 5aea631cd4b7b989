"""What can be read outside of JAX: plans with weights, and layers that say which plans they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit._shape_checks import by_name, mapping
from equikit.plans._ir import MultilinearPlan, Plan
from equikit.plans.readers._read import KERNEL, AnyPlan, shapes_of
from equikit.signatures import Signature


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan with weights.

    Attributes:
        plan: the plan.
        weights: by name, as NumPy arrays; `None` if they are given in each call.
        single: whether the result is one array also for a dictionary of inputs.
    """

    plan: AnyPlan
    weights: Mapping[str, np.ndarray] | None
    single: bool = False


@dataclass(frozen=True, eq=False)
class Paired:
    """A bilinear layer: products of the results of two plans, and a plan for the products.

    Attributes:
        signature: the features of the layer and the groups.
        left, right, mix: the three plans.
        products: for each product its name, the names of its two factors, and their `einsum`.
    """

    signature: Signature
    left: Planned
    right: Planned
    mix: Planned
    products: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, eq=False)
class Chained:
    """A network of linear layers, one after another.

    Attributes:
        signature: the features of the first layer and the groups.
        names: the names of the inputs, in the order of the arguments.
        stages: for each layer its plan, and the name of the activation after it, `None` if there is none.
    """

    signature: Signature
    names: tuple[str, ...]
    stages: tuple[tuple[Planned, str | None], ...]

    def named(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Return the inputs by name, or raise `ShapeError`; a dictionary has the labels of the inputs as its names."""
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            places = {" ".join(term.labels): term.name for term in self.signature.inputs}
            step = "pass one array for each name"
            found = _checks.same_names("the features", by_name(places, inputs[0]), places, step=step)
            return {name: found[place] for place, name in places.items()}
        if len(inputs) != len(self.names):
            raise ShapeError(
                "the network takes other inputs",
                got=f"{len(inputs)} arrays",
                expected=f"arrays for {', '.join(self.names)}",
                step="pass one array for each, in this order",
            )
        return dict(zip(self.names, inputs, strict=True))


Part = Planned | Paired | Chained


@runtime_checkable
class Readable(Protocol):
    """A layer that can be read outside of JAX."""

    def plans_and_weights(self) -> Part:
        """Return the plans and weights of the layer."""


def parts_of(what: object, weights: object = None) -> Part:
    """Return the plans and weights of a plan or layer, or raise `OptionError`."""
    if isinstance(what, Plan | MultilinearPlan):
        return Planned(what, None if weights is None else checked_weights(what, weights))
    if isinstance(what, type) or not isinstance(what, Readable) or _is_called_otherwise(what):
        layers = "Linear, Invariant, Multilinear, Bilinear, DeepSets or GraphNetwork"
        raise OptionError(
            "only plans, and layers that consist of plans, can be converted",
            got=type(what).__name__ if callable(what) else _checks.shown(what, 60),
            expected=f"a plan, or one of ek.nn.{layers}",
            step="convert its layers of these kinds one by one, and write what is between them in the other library",
        )
    if weights is not None:
        raise OptionError(
            "a layer has weights of its own",
            got="a layer and weights=",
            expected="weights= with a plan only",
            step="leave weights out",
        )
    return what.plans_and_weights()


def _is_called_otherwise(layer: object) -> bool:
    """Whether the class of a user overrides the call of a layer, which its plans then do not describe."""
    described, called = (
        next(kind for kind in type(layer).__mro__ if name in vars(kind)) for name in ("plans_and_weights", "__call__")
    )
    other = issubclass(called, described) and called is not described
    return other and called.__module__.partition(".")[0] != "equikit"


def planned_part(plan: AnyPlan, weights: Mapping[str, Any], *, single: bool = False) -> Planned:
    """Return the part of a layer that runs one plan, with its weights copied to NumPy."""
    return Planned(plan, {name: _array(f"the weights {name!r}", weight) for name, weight in weights.items()}, single)


def checked_weights(plan: AnyPlan, weights: object) -> dict[str, Any]:
    """Return weights by name as NumPy arrays, or raise `ShapeError`; for multilinear maps a single array will do."""
    return {name: _array(f"the weights {name!r}", array) for name, array in fitting_weights(plan, weights).items()}


def fitting_weights(plan: AnyPlan, weights: object) -> dict[str, Any]:
    """Return weights by name in the order of the plan, or raise `ShapeError` if names or shapes are wrong."""
    if isinstance(plan, MultilinearPlan) and not isinstance(weights, Mapping):
        weights = {KERNEL: weights}
    expected = shapes_of(plan)
    step = "see weight_shapes(plan)" if isinstance(plan, Plan) else "see multilinear_weight_shape"
    given = by_name(expected, mapping("weights", weights, names=expected))
    _checks.same_names("the weights", given, expected, step=step)
    for name, shape in expected.items():
        _checks.shaped(f"the weights {name!r}", given[name], shape, step=step)
    return {name: given[name] for name in expected}


def _array(what: str, weight: Any) -> np.ndarray:
    """Return a copy of weights of any library, or raise an error if they are traced or not floating-point numbers."""
    _checks.untraced(what, weight, step="convert the plan or layer outside of jit, grad and vmap")
    array = np.array(weight.detach().cpu().numpy() if hasattr(weight, "detach") else weight)
    if array.dtype.kind not in "fc" and array.dtype.name != "bfloat16":
        raise DTypeError(
            f"{what} are not floating-point numbers",
            got=f"dtype {array.dtype}",
            expected="floating-point or complex numbers",
            step="cast them to float32",
        )
    return array
