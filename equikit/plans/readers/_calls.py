"""Check the arguments of a call of a plan that is read outside of JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit._shape_checks import Shapes, by_label, by_name, checked_shapes, is_array, masks_of
from equikit.plans._ir import MultilinearPlan
from equikit.plans.readers._parts import Planned
from equikit.plans.readers._read import AnyPlan


def ordered(plan: AnyPlan, inputs: Sequence[Any]) -> list[Any]:
    """Return the input arrays in the order of the terms.

    A linear plan takes an array or a dictionary by name; a multilinear plan takes an array for each input.
    """
    names = [term.name for term in plan.signature.inputs]
    if isinstance(plan, MultilinearPlan):
        step, what = "give one array for each input, in the order of the signature", f"inputs of {plan.space.text!r}"
        _checks.count(
            f"the number of {what}", len(inputs), least=len(names), most=len(names), step=step, error=ShapeError
        )
        return [*inputs]
    if len(inputs) != 1:
        raise ShapeError(
            "a linear plan takes one argument",
            got=f"{len(inputs)} arguments",
            expected="an array, or a dictionary with an array for each term",
            step="pass a dictionary with one array for each term",
        )
    (given,) = inputs
    if not isinstance(given, Mapping) and len(names) == 1:
        return [given]
    named = by_name(names, given) if isinstance(given, Mapping) else given
    _checks.same_names("the inputs", named, names, step="pass a dictionary with one array for each term")
    return [named[name] for name in names]


def is_complex(array: Any) -> bool:
    """Whether an array of any library is complex."""
    return "complex" in str(array.dtype)


def checked_call(
    plan: AnyPlan, arrays: Sequence[Any], mask: object, sizes: object, cast: str
) -> tuple[Shapes, dict[str, Any]]:
    """Return the batch axes and sizes, and the masks by label.

    Args:
        plan: the plan.
        arrays: floating-point arrays in the order of the terms.
        mask: the masks, as in `apply`.
        sizes: the sizes of labels that no input has.
        cast: the code that casts an array in the library, such as `"x.astype(np.{})"`.

    Raises:
        ShapeError, DTypeError, OptionError: if an array does not fit; nothing is broadcast or cast.
    """
    signature = plan.signature
    kinds = [is_complex(array) for array in arrays]
    if not all(kinds) and (any(kinds) or signature.is_complex):
        number = kinds.index(False)
        wider = "complex128" if str(arrays[number].dtype).endswith("64") else "complex64"
        raise DTypeError(
            f"input {signature.inputs[number].name!r} is real, but the {'group' if signature.is_complex else 'others'} "
            "complex",
            got=f"dtype {arrays[number].dtype}",
            expected="complex arrays",
            step=f"pass {cast.format(wider)}",
        )
    masks = masks_of(signature, mask)
    for label, own in masks.items():
        if not is_array(own):
            raise OptionError(
                f"the mask for {label!r} is not an array",
                got=_checks.shown(own, 60),
                expected="booleans [*batch, n]: True where the entry is present",
                step=f"leave the mask of {label!r} out" if own is None else "pass an array of booleans",
            )
    return checked_shapes(signature, plan.channels[0], arrays, masks, by_label("sizes", sizes)), masks


def named(part: Planned, results: Sequence[Any], inputs: Sequence[Any]) -> Any:
    """Return the results by name if there are several or the inputs are a dictionary, or the single result."""
    as_dict = len(inputs) == 1 and isinstance(inputs[0], Mapping) and not part.single
    if len(results) == 1 and not as_dict:
        return results[0]
    return {term.name: array for term, array in zip(part.plan.signature.outputs, results, strict=True)}


def masks_among(own: AnyPlan, labels: Mapping[str, Any], masks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the masks of a layer for one of its plans; masks of unknown labels are kept, so that they are refused."""
    return {label: mask for label, mask in masks.items() if label in own.signature.groups or label not in labels}
