"""Specifications and elements as JSON, so that a group that was traced once is kept with its networks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from equikit import _checks
from equikit._errors import EquikitError, OptionError
from equikit.groups import Fixed, S
from equikit.weightspace.specifications._linear_action import LinearAction
from equikit.weightspace.specifications._scaling import Scaling
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._terms import Indexed, Leaf, Product, Sum, Symbol

KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Specification, Leaf, Symbol, Product, Sum, Indexed, Scaling, LinearAction, S, Fixed)
}
FORMAT = 1
"""The number of this format, which changes with the fields of a specification."""


def to_json(value: Specification | Mapping[str, Any]) -> str:
    """Return a specification or an element of its group as JSON text.

    Args:
        value: from `trace`, or from `spec.random_element` and `align(..., with_info=True)`.

    Returns:
        Text that `from_json` reads.

    Raises:
        OptionError: if `value` is neither.

    Cost: the length of the text.

    Example:
        >>> from equikit.weightspace import trace
        >>> params = {"a": np.ones((2, 3)), "b": np.ones((3, 1))}
        >>> spec = trace(lambda p, x: (x @ p["a"]) ** 2 @ p["b"], params, np.ones((4, 2)))
        >>> from_json(to_json(spec)) == spec
        True
        >>> to_json({"h0": np.array([1, 0])})
        '{"format": 1, "element": {"h0": [1, 0]}}'
    """
    if isinstance(value, Specification):
        return json.dumps({"format": FORMAT, "specification": _written(value)})
    _checks.instance("value", value, Mapping, "spec.random_element(key=jax.random.key(0))")  # type: ignore[type-abstract]
    arrays = {label: np.asarray(places) for label, places in value.items()}
    for label, places in arrays.items():
        if not np.issubdtype(places.dtype, np.integer):
            raise OptionError(
                f"the permutation of {label!r} is not an array of integers",
                got=places.dtype,
                expected="integers",
                step="pass an element of the group, as spec.random_element draws it",
            )
    return json.dumps({"format": FORMAT, "element": {label: places.tolist() for label, places in arrays.items()}})


def from_json(text: str) -> Any:
    """Return the specification or element that `to_json` has written.

    Raises:
        OptionError: if the text is nothing that `to_json` writes, or of another format.

    Example: see `to_json`.
    """
    _checks.text("text", text, example="...")
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ValueError("another format")
        known = _read(found["specification"]) if "specification" in found else None
        if isinstance(known, Specification):
            return known
        return {label: _permutation(places) for label, places in found["element"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, EquikitError) as error:
        raise OptionError(
            "the text is neither a specification nor an element",
            got=_checks.shown(text),
            expected=f"what to_json writes, of format {FORMAT}",
            step="read the text that to_json has written",
        ) from error


def _permutation(places: Any) -> np.ndarray:
    found = np.array(places)
    if not np.issubdtype(found.dtype, np.integer) or np.any(np.sort(found, -1) != np.arange(found.shape[-1])):
        raise ValueError("no permutation")
    return found.astype(np.int64)


def _written(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {"is": "Fraction", "text": str(value)}
    if isinstance(value, tuple):
        return [_written(one) for one in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: _written(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    return {"is": type(value).__name__, **fields}


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_read(one) for one in value)
    if not isinstance(value, dict):
        return value
    fields = {name: _read(one) for name, one in value.items() if name != "is"}
    if value["is"] == "Fraction":
        return Fraction(fields["text"])
    found = KINDS[value["is"]](**fields)
    hints = get_type_hints(type(found))
    for field in dataclasses.fields(found):
        if field.init and not (field.name in fields and _is_of(fields[field.name], hints[field.name])):
            raise ValueError(f"{field.name} is left out, or of another type")
    return found


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value has the type of a field."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is tuple:
        inner = inner[:1] * len(value) if isinstance(value, tuple) and inner[1:] == (...,) else inner
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_is_of, value, inner))
    if kind is Literal:
        return value in inner
    if inner:
        return any(_is_of(value, one) for one in inner)
    return isinstance(value, hint) and not isinstance(value, bool)
