"""Inputs of explainers, and how elements of the groups of a signature move them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError, ShapeError
from equikit._keywords import Call
from equikit.auditing._action import Elements, act_each
from equikit.auditing._elements import listed_products
from equikit.auditing._probe import random_element
from equikit.auditing._reading import Question, read_question, seeds_of
from equikit.groups import Group
from equikit.signatures import Signature, Term


@dataclass(frozen=True, slots=True)
class Moves:
    """Inputs, and how the groups of a signature move them.

    Attributes:
        question: the signature and the inputs, `[samples, *axes, channels]`.
        listed: all elements of the groups, or `None` if there are too many.
        draws: the number of elements to draw for each sample in this case.
        seed: of drawn elements.
    """

    question: Question
    listed: list[dict[str, np.ndarray]] | None
    draws: int
    seed: int

    @property
    def signature(self) -> Signature:
        """The signature, with sizes of all groups."""
        return self.question.signature

    @property
    def groups(self) -> dict[str, Group]:
        """The group of each label, without stars."""
        return groups_of(self.signature)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.question.batch[0]

    @property
    def count(self) -> int:
        """The number of elements for each sample."""
        return self.draws if self.listed is None else len(self.listed)

    def elements(self) -> Iterator[list[Elements]]:
        """Yield one element for each sample: all elements, or independent random ones."""
        if self.listed is not None:
            for element in self.listed:
                every: list[Elements] = [element] * self.samples
                yield every
            return
        random = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            yield [random_element(self.signature, random) for _ in range(self.samples)]

    def inputs(self, elements: list[Elements] | None = None) -> Any:
        """Return the inputs, moved by an element for each sample, in their own dtype and package."""
        moved = {term.name: self._moved(term, elements) for term in self.signature.inputs}
        return moved if self.question.as_dict else next(iter(moved.values()))

    def _moved(self, term: Term, elements: list[Elements] | None) -> Any:
        x = self.question.arrays[term.name]
        if elements is None:
            return x
        moved = act_each(self.signature, term, elements, x)
        return jnp.asarray(moved, x.dtype) if isinstance(x, jax.Array) else moved.astype(x.dtype)


def groups_of(signature: Signature) -> dict[str, Group]:
    """Return the group of each label, without stars."""
    return {label: what for label, what in signature.bindings if isinstance(what, Group)}


def moves(
    signature: str,
    x: Any,
    groups: Mapping[str, object] | None,
    bindings: Mapping[str, object],
    call: Call,
    *,
    most: int,
    draws: int,
    seed: int,
) -> Moves:
    """Read a signature and the inputs, and list or draw elements."""
    if not all(np.size(array) for array in jax.tree.leaves(x)):
        raise OptionError(
            "nothing would be compared: an input has no entries",
            got=", ".join(f"shape {[*np.shape(array)]}" for array in jax.tree.leaves(x)),
            expected="one sample or more, with one entry or more",
            step="give more samples, or bind groups of size 1 or more",
        )
    options: Any = {"channels": None, "batch": (), "seeds": seeds_of(None)}
    question = read_question(signature, None, x, **options, groups=groups, bindings=bindings, call=call)
    if len(question.batch) != 1:
        raise ShapeError(
            "the inputs have no axis of samples" if not question.batch else "the inputs have several axes of samples",
            got=", ".join(f"shape {[*np.shape(array)]}" for array in question.arrays.values()),
            expected="arrays [samples, *axes, channels]",
            step="reshape the inputs, and check the signature",
        )
    return Moves(question, listed_products(groups_of(question.signature), most), draws, seed)


def axes_of(given: Moves, term: Term) -> list[int | str]:
    """Return the expected axes of a batch of a term, for `_checks.shaped`."""
    return [given.samples, *(given.question.sizes[label] for label in term.labels), "channels"]
