"""Frames of permutations: the entries of an axis in lexicographic order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

from equikit._errors import GroupError, OptionError, explain
from equikit.groups import S
from equikit.groups._group import checked_size
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Array, Element
from equikit.symmetrization._frame import (
    Frame,
    Framed,
    Info,
    OnDegenerate,
    checked_choice,
    checked_on_degenerate,
    only_label,
    settled,
    standard_tolerance,
)
from equikit.symmetrization.frames import _ties


@dataclass(frozen=True)
class Sort(Framed):
    r"""The permutation that sorts the entries of an axis lexicographically, for S(n).

    Entry i is compared by all its numbers, in the order of the input terms, of their axes and of the channels. Numbers
    are ranked first, and those within the tolerance of each other share a rank: what rounding decides is then decided
    by the next number. Entries that share all ranks are tied. A permutation of tied entries leaves the input as it is,
    so that one evaluation serves all of them, and outputs with one axis of the label are averaged over ties, exactly.
    Only outputs with more axes need the frame itself, which has \(\prod_b b!\) elements for ties of b entries.

    Sorting is not continuous: where two entries pass each other in their first number, the order of all others stays,
    but what the backbone sees jumps.

    Args:
        label: the axis that is sorted; where it is not given, the only one bound to S.
        terms: names of the input terms that are compared; all that have the label once by default.
        tolerance: numbers within this of each other are equal, relative to the largest; by default the root of the
            rounding error.
        max_size: how many permutations of ties are listed, for outputs with two axes of the label or more.
        on_degenerate: what to do where there are more: `"error"`, `"flag"`, or `"sample"`, which orders ties at random.

    Raises:
        GroupError: if the label has another group.
        OptionError: if no term has the label once.
        FrameError: for an input with too many ties, where they matter.

    Cost: a sort of n entries for every number that they have; one evaluation of the backbone for each element listed.

    Example:
        >>> import equikit as ek
        >>> sym = ek.symmetrize(lambda x: jnp.cumsum(x, -1), "p -> p", p=ek.S, channels=False, how=ek.frames.Sort())
        >>> sym(jnp.array([3.0, 1.0, 2.0])).tolist()
        [6.0, 1.0, 3.0]

    Source:
        Puny et al., Frame averaging, arXiv:2110.03336, section 3.2.
    """

    label: str | None = None
    terms: tuple[str, ...] | None = None
    tolerance: float | None = None
    max_size: int = 1
    on_degenerate: OnDegenerate = "error"

    def __post_init__(self) -> None:
        checked_on_degenerate(self.on_degenerate, ("error", "flag", "sample"))
        if checked_size("max_size", self.max_size) == 0:
            checked_choice("max_size", 0, (1,))

    @property
    def needs_key(self) -> bool:  # type: ignore[override]
        """Whether ties are ordered at random."""
        return self.on_degenerate == "sample"

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the permutations."""
        label = only_label(self, action, self.label, (S,))
        if type(action.groups[label]) is not S:  # Z and D are subclasses
            raise GroupError(
                explain(
                    f"sorting is for all permutations, not for {action.groups[label]}",
                    got=f"{label}={action.groups[label]}",
                    expected="S",
                    step="use ek.frames.GroupAverage for small groups",
                )
            )
        if not self._compared(action, label):
            raise OptionError(
                explain(
                    f"no input says how to sort the entries of {label!r}",
                    got=f"{action.signature}, terms={self.terms}",
                    expected=f"an input term that has {label!r} once",
                    step="use ek.frames.Laplacian for graphs, or name other terms=",
                )
            )
        return frozenset([label])

    def _compared(self, action: Action, label: str) -> list[tuple[str, int]]:
        return [
            (term.name, term.labels.index(label))
            for term in action.inputs
            if term.labels.count(label) == 1 and (self.terms is None or term.name in self.terms)
        ]

    def of_sample(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], key: jax.Array | None
    ) -> Frame:
        """The order of the entries of one sample; absent ones come last."""
        (label,) = self.acts_on(action)
        numbers = jnp.concatenate([_rows(x[name], place) for name, place in self._compared(action, label)], axis=1)
        count = numbers.shape[0]
        there = masks.get(label)
        if there is not None:
            numbers = jnp.where(there[:, None], numbers, 0)
        largest = jnp.max(jnp.abs(numbers), initial=0)
        keys = _ties.ranks(jax.lax.stop_gradient(numbers), standard_tolerance(self.tolerance, numbers.dtype) * largest)
        if there is not None:
            keys = jnp.concatenate([(~there[:, None]).astype(keys.dtype), keys], axis=1)
        order, blocks = _ties.lexicographic(keys)
        if there is not None:  # absent entries are no ties
            blocks = jnp.where(there[order], blocks, jnp.arange(count) + count)
        return tied_frame(self, action, label, order, blocks, jnp.all(jnp.isfinite(numbers)), key, same=True)


def _rows(array: Array, place: int) -> Array:
    """The numbers of every entry of an axis, `[n, numbers]`, real and in float32 or more."""
    flat = jnp.moveaxis(array, place, 0).reshape(array.shape[place], -1)
    if jnp.iscomplexobj(flat):
        flat = jnp.concatenate([flat.real, flat.imag], axis=1)
    return flat.astype(jnp.promote_types(flat.dtype, jnp.float32))


class Tied(Protocol):
    """What decides how many permutations of ties are listed."""

    @property
    def max_size(self) -> int:
        """The most that are listed."""

    @property
    def on_degenerate(self) -> OnDegenerate:
        """What is done where there are more."""


def tied_frame(
    method: Tied,
    action: Action,
    label: str,
    order: Array,
    blocks: Array,
    finite: Array,
    key: jax.Array | None,
    *,
    same: bool,
) -> Frame:
    """The frame of an order with ties; `same` says that exchanging tied entries leaves the input as it is."""
    count = blocks.shape[0]
    numbers = jnp.concatenate([jnp.zeros(min(count, 1), jnp.int32), jnp.cumsum(jnp.diff(blocks) != 0, dtype=jnp.int32)])
    size = _ties.log_size(numbers)
    tied = count - jnp.max(numbers, initial=-1) - 1
    orders = max((term.labels.count(label) for term in action.signature.outputs), default=0)
    alone = same and orders < 2
    if alone:
        element = Element({label: order[None]}, stabilizer={label: numbers[None]} if orders else {})
        weights, enough = jnp.ones(1), jnp.ones((), bool)
    else:
        listing = _ties.listed(numbers, method.max_size)
        used = jnp.log(jnp.arange(method.max_size) + 0.5) < size
        weights = used / jnp.maximum(jnp.sum(used), 1)
        enough = jnp.log(method.max_size + 0.5) >= size
        if method.on_degenerate == "sample" and key is not None:
            draws = jax.vmap(_ties.drawn, (0, None))(jax.random.split(key, method.max_size), numbers)
            listing = jnp.where(enough, listing, draws)
            weights = jnp.where(enough, weights, 1 / method.max_size)
        element = Element({label: order[listing]})
    degenerate = ~(enough & finite)
    info = Info(
        jnp.exp(size), degenerate, degenerate & (method.on_degenerate == "error"), ties=tied, more={"log_size": size}
    )
    return Frame(element, settled(weights, info), info)
