"""Signatures: the input and output tensors of a map, and the group on each of their axes."""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from equikit.groups import Fixed, Group


def base(label: str) -> str:
    """Return the label without the star of the dual."""
    return label.removesuffix("*")


def normalized(name: Any) -> Any:
    """Normalize a label or term name as in signatures: NFKC, one space between words, `"()"` as the empty text."""
    if not isinstance(name, str):
        return name
    words = " ".join(unicodedata.normalize("NFKC", name).split())
    return "" if words == "()" else words


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """One tensor of a signature: a name, and a label for each axis. An unnamed term is named by its labels."""

    name: str
    labels: tuple[str, ...]

    @property
    def text(self) -> str:
        """The labels as written in a signature; `()` for a term without axes."""
        return " ".join(self.labels) or "()"

    def __str__(self) -> str:
        return self.text if self.name == " ".join(self.labels) else f"{self.name}: {self.text}"


@dataclass(frozen=True)
class Signature:
    """The type of a linear map between direct sums of tensors, with every axis label bound.

    Layers use the properties in every call, so each is computed once for a signature; that needs a
    `__dict__`, and is why the class has no slots. Mappings are read-only, because all callers share them.

    Attributes:
        inputs, outputs: the terms, in the order given.
        bindings: each label, without a star, with what is bound to it, sorted by label.
    """

    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    bindings: tuple[tuple[str, Group | Fixed], ...]

    def __str__(self) -> str:
        return f"{' + '.join(map(str, self.inputs))} -> {' + '.join(map(str, self.outputs))}"

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.inputs, self.outputs, self.bindings))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the fields: hashes of texts differ between processes."""
        return type(self), (self.inputs, self.outputs, self.bindings)

    @functools.cached_property
    def bound(self) -> Mapping[str, Group | Fixed]:
        """The group or plain axis of each label; for a label with a star, the dual of the group."""
        starred = {label for term in (*self.inputs, *self.outputs) for label in term.labels if base(label) != label}
        bound = dict(self.bindings)
        for label in sorted(starred):
            group = bound[base(label)]
            assert isinstance(group, Group), "only groups have duals"
            bound[label] = group.dual
        return MappingProxyType(bound)

    @functools.cached_property
    def groups(self) -> Mapping[str, Group]:
        """The labels on which a group acts."""
        return MappingProxyType({label: what for label, what in self.bound.items() if isinstance(what, Group)})

    @functools.cached_property
    def sizes(self) -> Mapping[str, int | None]:
        """The size of each label; `None` if it is free."""
        sizes = {label: what.size if isinstance(what, Fixed) else what.n for label, what in self.bound.items()}
        return MappingProxyType(sizes)

    @functools.cached_property
    def _fixed(self) -> Mapping[str, int]:
        """The size of each label on which nothing acts; none of them has a star."""
        return MappingProxyType({label: what.size for label, what in self.bindings if isinstance(what, Fixed)})

    @functools.cached_property
    def is_complex(self) -> bool:
        """Whether a group acts on complex arrays only."""
        return any(group.is_complex for group in self.groups.values())

    def acted(self, term: Term) -> tuple[int, ...]:
        """Return the positions of the axes of a term on which a group acts."""
        fixed = self._fixed
        return tuple(i for i, label in enumerate(term.labels) if label not in fixed)

    def plain(self, term: Term) -> tuple[int, ...]:
        """Return the positions of the axes of a term on which nothing acts."""
        fixed = self._fixed
        return tuple(i for i, label in enumerate(term.labels) if label in fixed)

    def multiplicity(self, term: Term) -> int:
        """Count the entries of the plain axes of a term: the copies of the acted tensor in it."""
        fixed = self._fixed
        return math.prod(fixed[label] for label in term.labels if label in fixed) if fixed else 1

    def pair(self, source: Term, target: Term) -> Signature:
        """Return the signature of the maps from one input term to one output term."""
        used = {base(label) for label in (*source.labels, *target.labels)}
        return Signature((source,), (target,), tuple(item for item in self.bindings if item[0] in used))

    def flip(self) -> Signature:
        """Return the signature of the transposed maps: outputs and inputs exchanged."""
        return Signature(self.outputs, self.inputs, self.bindings)
