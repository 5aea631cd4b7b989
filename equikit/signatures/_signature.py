"""Signatures: the input and output tensors of a map, and the group on each of their axes."""

from __future__ import annotations

import functools
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from equikit.groups import Fixed, Group


def base(label: str) -> str:
    """Return the label without the star of the dual."""
    return label.removesuffix("*")


MARK = "~"
"""The mark after a label that multiplies a term by the determinant, as in axial vectors."""


def without_mark(word: str) -> str:
    """Return the label of a word without the mark of a determinant."""
    return word.removesuffix(MARK)


def determinant_of(word: str) -> str | None:
    """Return the label of the determinant in a word (x for `"x~"` and for `"det(x)"`), or `None`."""
    if word.endswith(")"):
        return word[word.index("(") + 1 : -1]
    return base(without_mark(word)) if word.endswith(MARK) else None


def is_axis(word: str) -> bool:
    """Whether a word of a term denotes an axis; only `"det(x)"` does not."""
    return not word.endswith(")")


def normalized(name: Any) -> Any:
    """Normalize a label or term name as in signatures: NFKC, one space between words, `""` for `"()"`."""
    if not isinstance(name, str):
        return name
    words = " ".join(unicodedata.normalize("NFKC", name).split())
    return "" if words == "()" else words


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """One tensor of a signature: a name, and a label for each axis. An unnamed term is named by its words.

    The words are labels and determinants: `"x~"` and `"det(x)"` multiply the term by the determinant of the element
    that acts on `x`.

    Attributes:
        name: the name.
        labels: the label of each axis, without marks.
        written: the words as written, if there are determinants; otherwise empty.
    """

    name: str
    labels: tuple[str, ...]
    written: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: Iterable[str], name: str | None = None) -> Term:
        """Return the term with these words, such as `"x"`, `"x~"` or `"det(x)"`, which are also its default name."""
        words = tuple(words)
        labels = tuple(without_mark(word) for word in words if is_axis(word))
        return cls(" ".join(words) if name is None else name, labels, () if labels == words else words)

    @property
    def words(self) -> tuple[str, ...]:
        """The labels and determinants, as written."""
        return self.written or self.labels

    @property
    def determinants(self) -> tuple[str, ...]:
        """The label of each determinant."""
        return tuple(label for word in self.written if (label := determinant_of(word)) is not None)

    @property
    def used(self) -> tuple[str, ...]:
        """The labels of the axes, then the labels of the determinants."""
        return self.labels + self.determinants

    @property
    def text(self) -> str:
        """The words as written in a signature; `()` for a term without words."""
        return " ".join(self.words) or "()"

    def relabeled(self, labels: Iterable[str]) -> Term:
        """Return a term with new labels on its axes and the same name and marks."""
        new = iter(labels)
        words = [next(new) + word[len(without_mark(word)) :] if is_axis(word) else word for word in self.words]
        return Term.of(words, self.name)

    def __str__(self) -> str:
        return self.text if self.name == " ".join(self.words) else f"{self.name}: {self.text}"


@dataclass(frozen=True)
class Signature:
    """The type of a linear map between direct sums of tensors, in which every axis label is bound.

    Layers use the properties in every call, so each is cached in the `__dict__`; the class therefore has no slots.
    Mappings are read-only, because all callers share them.

    Attributes:
        inputs, outputs: the terms, in the order given.
        bindings: each label, without a star, with its group or plain axis, sorted by label.
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
        """The group of each label on which a group acts."""
        return MappingProxyType({label: what for label, what in self.bound.items() if isinstance(what, Group)})

    @functools.cached_property
    def sizes(self) -> Mapping[str, int | None]:
        """The size of each label; `None` if it is free."""
        sizes = {label: what.size if isinstance(what, Fixed) else what.n for label, what in self.bound.items()}
        return MappingProxyType(sizes)

    @functools.cached_property
    def _fixed(self) -> Mapping[str, int]:
        """The size of each plain label, without a star."""
        return MappingProxyType({label: what.size for label, what in self.bindings if isinstance(what, Fixed)})

    @functools.cached_property
    def is_complex(self) -> bool:
        """Whether a group acts on complex arrays only."""
        return any(group.is_complex for group in self.groups.values())

    def odd(self, *terms: Term) -> tuple[str, ...]:
        """Return the labels with an odd total number of determinants in these terms, except for special groups."""
        found = Counter(label for term in terms for label in term.determinants)
        return tuple(sorted(x for x, count in found.items() if count % 2 and self.groups[x].reflects))

    def between(self, *terms: Term) -> tuple[tuple[str, Group], ...]:
        """Return the group of each label for the maps between terms: twisted if its number of determinants is odd.

        Raises:
            GroupError: if the number of determinants of a free group is odd.
        """
        odd = self.odd(*terms)
        return tuple((label, group.twisted if label in odd else group) for label, group in self.groups.items())

    def acted(self, term: Term) -> tuple[int, ...]:
        """Return the positions of the axes of a term on which a group acts."""
        fixed = self._fixed
        return tuple(i for i, label in enumerate(term.labels) if label not in fixed)

    def plain(self, term: Term) -> tuple[int, ...]:
        """Return the positions of the axes of a term on which nothing acts."""
        fixed = self._fixed
        return tuple(i for i, label in enumerate(term.labels) if label in fixed)

    def multiplicity(self, term: Term) -> int:
        """Return the number of entries of a term's plain axes: the copies of the tensor on which groups act."""
        fixed = self._fixed
        return math.prod(fixed[label] for label in term.labels if label in fixed) if fixed else 1

    def pair(self, source: Term, target: Term) -> Signature:
        """Return the signature of the maps from one input term to one output term."""
        used = {base(label) for label in (*source.used, *target.used)}
        return Signature((source,), (target,), tuple(item for item in self.bindings if item[0] in used))

    def flip(self) -> Signature:
        """Return the signature of the transposed maps, with inputs and outputs exchanged."""
        return Signature(self.outputs, self.inputs, self.bindings)
