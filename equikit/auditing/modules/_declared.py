"""Declared actions on activations: `at={"blocks.1": "p x"}` or `at={"blocks.1": "p -> p x"}`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit.auditing._action import act
from equikit.auditing._elements import identity
from equikit.groups import Group
from equikit.signatures import Signature, Term, base, parse_arrow, parse_side


@dataclass(frozen=True, slots=True)
class Declared:
    """The terms of the arrays of one call: of its outputs, and of its inputs if they are declared too."""

    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]


def read_at(at: Any, signature: Signature) -> dict[str, Declared]:
    """Read declared actions, or raise `OptionError` or `SignatureError`."""
    if at is None:
        return {}
    if not isinstance(at, Mapping) or not all(isinstance(text, str) for pair in at.items() for text in pair):
        raise OptionError(
            "at= must be a dictionary from modules to their axes",
            got=_checks.shown(at),
            expected="paths of modules, and terms of a signature",
            step='write at={"blocks.1": "p x"}, with the path of a module',
        )
    found = {}
    for name, text in at.items():
        inputs, outputs = parse_arrow(text) if "->" in text else ((), parse_side(text, f"at={name!r}"))
        unknown = {base(label) for term in (*inputs, *outputs) for label in term.labels} - {*map(base, signature.sizes)}
        if unknown:
            raise SignatureError(
                f"label {min(unknown)!r} in at= is not a label of the signature",
                got=f"{name!r}: {text!r}",
                expected=", ".join(sorted(map(base, signature.sizes))),
                step='use labels of the signature, or "()" for an activation that no group moves',
            )
        found[name] = Declared(inputs, outputs)
    return found


def refuse_unknown(at: Collection[str], called: Collection[str], never: Collection[str]) -> None:
    """Raise `OptionError` for a declared module that does not exist, or that is never called."""
    for name in at:
        if name in called:
            continue
        if name in never:
            raise OptionError(
                f"module {name!r} is never called",
                got=f"at= with {name!r}",
                expected="modules that are called: " + _checks.shown(", ".join(called), 300)[1:-1],
                step=f"leave {name!r} out of at=",
            )
        near = _checks.nearest(name, [*called, *never])
        raise OptionError(
            f"the model has no module {name!r}",
            got=f"at= with {name!r}",
            expected=_checks.shown(", ".join(called), 300)[1:-1] or "no declared modules: the function has none",
            step=f"leave {name!r} out of at=" if near is None else f"use {near!r} in at=",
        )


def predicted(signature: Signature, term: Term, label: str, element: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Apply an element of one label to an activation `[samples, *axes, channels]`; channels may be missing.

    Raises:
        ShapeError: if the activation has other axes.
    """
    kind = Signature((term,), (term,), signature.bindings)
    sizes = [kind.sizes[one] for one in term.labels]
    array = first[..., None] if first.ndim == 1 + len(sizes) else first
    if list(array.shape[1:-1]) != sizes:
        raise ShapeError(
            f"the activation does not have the axes {term.name!r}",
            got=f"shape {list(first.shape)}",
            expected=f"[samples, {', '.join(map(str, [*sizes, 'channels']))}]",
            step="declare the axes that the activation has",
        )
    groups = {one: group for one, group in kind.bindings if isinstance(group, Group)}
    still = {one: identity(group) for one, group in groups.items()}
    return act(kind, term, still | {label: element}, array).reshape(first.shape)
