"""Sequences of methods for several groups."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import jax
from flax import nnx

from equikit import _checks
from equikit._errors import EquikitError, OptionError
from equikit.groups import O
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._frame import Frame, then
from equikit.symmetrization.engine._method import Framed, Method
from equikit.symmetrization.engine._sample import Sample, moved_back


class _Chain(Method):
    methods: Sequence[Method]

    @property
    def needs_key(self) -> bool:
        """Whether one of the methods needs a key."""
        return any(method.needs_key for method in self.methods)

    def acts_on(self, action: Action) -> frozenset[str]:
        """The labels on which any of the methods acts."""
        return frozenset().union(*(method.acts_on(action) for method in self.methods))

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return products of an element of each method; later methods see inputs moved back by earlier ones."""
        keys = [None] * len(self.methods) if key is None else [*jax.random.split(key, len(self.methods))]
        return _products(action, list(zip(self.methods, keys, strict=True)), sample)


def _products(action: Action, methods: list[tuple[Method, Any]], sample: Sample) -> Frame:
    (first, key), *rest = methods
    found = first.frame(action, sample, key)

    def later(found: Frame) -> Frame:
        return _products(action, rest, moved_back(action, sample, found.elements, found.tail, found.turns))

    return then(found, later) if rest else found


@dataclass(frozen=True)
class Sequential(_Chain):
    """A sequence of methods without parameters."""

    methods: tuple[Method, ...]


class SequentialModule(_Chain, nnx.Module):
    """A sequence of methods; some are modules."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self.methods = nnx.List(methods)

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.methods))}]"


def code_of(method: object) -> str:
    """Return a method as a call with its options that are not the default, for error messages."""
    options = []
    for field in fields(method) if is_dataclass(method) else []:
        value = getattr(method, field.name)
        if isinstance(value, Method):
            options.append(code_of(value))
        elif isinstance(value, str | int | float | tuple) and value != field.default:
            options.append(f"{field.name}={value!r}")
    return f"{type(method).__name__}({', '.join(options)})"


def accepting(how: Method, action: Action, step: str) -> str:
    """Return the next step for an input that a method refuses, with the values of `on_degenerate=` that accept it."""
    refusing = [part for part in parts_of(how) if getattr(part, "on_degenerate", None) in ("error", "weighted")]
    usable = [
        f'"{policy}"'
        for policy in ("flag", "sample", "weighted")
        if refusing and all(policy != part.on_degenerate and _takes(part, policy, action) for part in refusing)
    ]
    if usable:
        step = f"{step}; on_degenerate={' or '.join(usable)} accepts such inputs"
    return step


def random_part(how: Method) -> str:
    """Return the name of the first method that needs a key, of those that a method combines."""
    return next(type(part).__name__ for part in [*parts_of(how), how] if part.needs_key)


def parts_of(how: Any) -> list[Any]:
    """Return the methods that a method combines, or itself; of `EnergyDescent` itself and its starts."""
    inner = [*getattr(how, "methods", ()), getattr(how, "of", None), getattr(how, "starts", None)]
    found = [part for method in inner if isinstance(method, Method) for part in parts_of(method)]
    return [how, *found] if hasattr(how, "starts") or not found else found


def _takes(method: Any, policy: str, action: Action) -> bool:
    """Whether a method has this value of `on_degenerate=`, and accepts the groups of the signature with it."""
    other = copy.copy(method)
    object.__setattr__(other, "on_degenerate", policy)
    try:
        other.acts_on(action)
    except EquikitError:
        return False
    return policy in method.policies


def refuse_unsettled(methods: Sequence[Method], action: Action) -> None:
    """Raise `OptionError` if a frame depends on a group on which no method acts.

    The symmetry of that group is left to the backbone, but inputs moved by such a frame lose it even for an equivariant
    backbone. Learned methods are not checked: it is unknown whether their networks commute with the group.
    """
    settled: frozenset[str] = frozenset()
    for method in methods:
        of = getattr(method, "of", method)  # the method from which Stochastic samples
        open_labels = sorted(of.reads(action) - settled) if isinstance(of, Framed) else []
        settled |= method.acts_on(action)
        if open_labels:
            label, name = open_labels[0], type(of).__name__
            raise OptionError(
                f"{name} reads {label!r}, on which no method acts before it",
                got=f"{label}={action.groups[label]}, how=[{', '.join(map(code_of, methods))}]",
                expected=f"a method for {label!r} before {name}, or a label on which nothing acts",
                step=f"{_without_reading(label, of, action)}bind {label} to ek.Fixed(n) where nothing has to commute "
                f"with {action.groups[label]}",
            )


def _without_reading(label: str, method: Method, action: Action) -> str:
    """Return the methods to use where one cannot read a label, as the start of a next step."""
    acted = sorted(method.acts_on(action))
    if action.groups[label].elements_are != "permutations":
        return f'put ek.frames.PCA("{label}") first, or ' if _is_definite(label, action) else ""
    if len(acted) == 1 and _is_definite(acted[0], action):
        return f'use ek.frames.PCA("{acted[0]}"), which does not read {label!r}, or '
    return (
        f'put ek.frames.GroupAverage("{label}") first, for up to seven entries; or ek.frames.Sort("{label}", '
        f'terms=("q",)), with a second input "q" of one number for each entry; or '
    )


def _is_definite(label: str, action: Action) -> bool:
    """Whether a label has a frame of principal axes."""
    group = action.groups.get(label)
    return isinstance(group, O) and group.form is None


def _each_first(one: Method, two: Method, action: Action) -> OptionError:
    """Return the error where each of two methods reads the label of the other, so that neither order works."""
    readers = [
        (reader, label)
        for reader, other in ((one, two), (two, one))
        for label in sorted(reader.reads(action) & other.acts_on(action))
    ]
    reader, label = max(readers, key=lambda pair: action.groups[pair[1]].elements_are == "permutations")
    return OptionError(
        f"{type(one).__name__} and {type(two).__name__} each read the label of the other: neither can come first",
        got=f"how=[{code_of(one)}, {code_of(two)}]",
        expected=f"a method in place of one of them that does not read {label!r}, or a label on which nothing acts",
        step=f"{_without_reading(label, reader, action)}bind {label} to ek.Fixed(n)",
    )


def in_sequence(methods: Sequence[Method], action: Action) -> Method:
    """Combine methods into one, after a check that they fit together in this order.

    Raises:
        OptionError: if two methods act on the same label, or a frame depends on a group that comes later.
    """
    _checks.some("methods", methods, got="how=[], no translate", step="write how=ek.frames.PCA()")
    acted = [method.acts_on(action) for method in methods]
    for i, method in enumerate(methods):
        for j in range(i + 1, len(methods)):
            both = acted[i] & acted[j]
            early = method.reads(action) & acted[j]
            if early and methods[j].reads(action) & acted[i]:
                raise _each_first(method, methods[j], action)
            if both or early:
                label = sorted(both or early)[0]
                one, two = type(method).__name__, type(methods[j]).__name__
                raise OptionError(
                    f"{one} and {two} both act on {label!r}"
                    if both
                    else f"{one} comes before {two}, but reads {label!r}",
                    got=f"how=[{', '.join(map(code_of, methods))}]",
                    expected="one method for each label, each after those for the labels that it reads",
                    step="leave one out" if both else f"put {two} before {one}",
                )
    if len(methods) == 1:
        return methods[0]
    if any(isinstance(method, nnx.Module) for method in methods):
        return SequentialModule(methods)
    return Sequential(tuple(methods))
