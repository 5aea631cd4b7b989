"""Shared parts of frames of permutations: an order of the entries of an axis, or several if there are ties."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, settled
from equikit.symmetrization.engine._method import Framed, OnDegenerate, permuted_label
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.permutations import _ties


class Listing(NamedTuple):
    """Orders of the entries; each one puts entry `order[i]` at position i.

    Attributes:
        orders: `[most, n]`.
        chances: probabilities `[most]`, which sum to one; zero for unused rows.
        enough: whether all orders are listed.
        log_size: the logarithm of the number of orders.
    """

    orders: Array
    chances: Array
    enough: Array
    log_size: Array


class Orders(Protocol):
    """A probability measure on the orders of the entries."""

    def listed(self, most: int) -> Listing:
        """Return all orders, if there are at most `most`."""

    def drawn(self, key: jax.Array) -> tuple[Array, Array]:
        """Return a random order, `[n]`, and the log of the number of orders."""


@dataclass(frozen=True)
class Exchanges:
    """All orders that permute entries only within blocks, with equal probabilities."""

    blocks: Array

    def listed(self, most: int) -> Listing:
        """Return the first orders, with equal probabilities."""
        order, blocks = _ties.sorting(self.blocks)
        size = _ties.size_up_to(blocks, most)
        chances = (jnp.arange(most) < size) / jnp.minimum(size, most).astype(float)
        return Listing(order[_ties.listed(blocks, most)], chances, size <= most, _ties.log_size(blocks))

    def drawn(self, key: jax.Array) -> tuple[Array, Array]:
        """Return an order with ties in uniformly random order."""
        return _ties.drawn(key, self.blocks), _ties.log_size(_ties.sorting(self.blocks)[1])


@dataclass(frozen=True)
class One:
    """A single order that represents several, with the logarithm of their number."""

    order: Array
    log_size: Array

    def listed(self, most: int) -> Listing:
        """Return the order, for any requested number."""
        return Listing(self.order[None], jnp.ones(1), jnp.ones((), bool), self.log_size)

    def drawn(self, key: jax.Array) -> tuple[Array, Array]:
        """Return the same order."""
        return self.order, self.log_size


UNSURE = "unsure"
"""The name under which an order reports whether rounding has decided it."""


@dataclass(frozen=True)
class Ordered:
    """The order of one sample, and its diagnostics.

    Attributes:
        orders: the orders.
        ties: the number of entries with the keys of an earlier entry.
        finite: whether all compared numbers are finite.
        certain: whether errors of the numbers cannot change the order.
        interchangeable: the permutations that fix the input, in the form of the `stabilizer` of an `Element`, if one
            order represents all orders that differ by them.
        most: the largest number of listed orders, if it is not `max_size`.
        gap, more: for the `info` of the frame.
    """

    orders: Orders
    ties: Array
    finite: Array
    certain: Array | bool = True
    interchangeable: Array | None = None
    most: int | None = None
    gap: Array | None = None
    more: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Ordering(Framed):
    """A frame of permutations that order the entries of an axis: the base class of `Sort` and others."""

    label: str | None = None
    tolerance: float | None = None
    max_size: int = 1
    on_degenerate: OnDegenerate = "error"
    policies: ClassVar[tuple[str, ...]] = ("error", "flag", "sample")

    @property
    def needs_key(self) -> bool:
        """Whether ties are ordered at random if there are too many."""
        return self.on_degenerate == "sample"

    @abstractmethod
    def ordered(self, action: Action, label: str, sample: Sample) -> Ordered:
        """Return the order of the entries of one sample."""

    @abstractmethod
    def compared(self, action: Action, label: str) -> tuple[str, ...]:
        """Return the names of the input terms by which the entries of a label are compared."""

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the permutations."""
        label = permuted_label(self, action, self.label)
        self.compared(action, label)
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """The other labels of the terms that are compared."""
        (label,) = self.acts_on(action)
        names = self.compared(action, label)
        found = {other for term in action.inputs if term.name in names for other in term.used}
        return frozenset(found & set(action.groups)) - {label}

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return all orders of one sample, up to the largest number."""
        (label,) = self.acts_on(action)
        found = self.ordered(action, label, sample)
        most = self.max_size if found.most is None else found.most
        listing = found.orders.listed(most)
        if self.on_degenerate != "sample" or key is None or found.most is not None:
            return _frame(self, label, found, listing, ~(listing.enough & found.finite), None)
        draws, _ = jax.vmap(found.orders.drawn)(jax.random.split(key, most))
        orders = jnp.where(listing.enough, listing.orders, draws)
        chances = jnp.where(listing.enough, listing.chances, 1 / most)
        mixed = listing._replace(orders=orders, chances=chances)
        return _frame(self, label, found, mixed, ~(listing.enough & found.finite), listing.enough)

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Order ties at random, for any number of ties."""
        return _Draws(self, samples).frame(action, sample, key)


@dataclass(frozen=True)
class _Draws(Framed):
    """Independent samples of the orders of another method."""

    of: Ordering
    samples: int

    def acts_on(self, action: Action) -> frozenset[str]:
        return self.of.acts_on(action)

    def of_sample(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        assert key is not None, "draws are asked for with a key"
        (label,) = self.acts_on(action)
        found = self.of.ordered(action, label, sample)
        orders, log_sizes = jax.vmap(found.orders.drawn)(jax.random.split(key, self.samples))
        no = jnp.zeros((), bool)
        listing = Listing(orders, jnp.full(self.samples, 1 / self.samples), no, log_sizes[0])
        return _frame(self.of, label, found, listing, ~found.finite, no)


def _frame(
    method: Ordering, label: str, found: Ordered, listing: Listing, degenerate: Array, exact: Array | None
) -> Frame:
    """Return a frame of orders and its diagnostics; it is random if `exact` is given."""
    kept, degenerate = found.interchangeable, degenerate | ~jnp.asarray(found.certain)

    def of_moved(order: Array) -> dict[str, Array]:
        return {} if kept is None else {label: kept[jnp.ix_(*[order] * kept.ndim)]}

    info = Info(
        jnp.exp(listing.log_size),
        degenerate,
        degenerate & (method.on_degenerate == "error"),
        gap=found.gap,
        ties=found.ties,
        doubt=jnp.where(found.certain, 0.0, jnp.inf),
        exact=exact,
        more={"log_size": listing.log_size, UNSURE: ~jnp.asarray(found.certain), **found.more},
    )
    element = Element({label: listing.orders}, stabilizer=jax.vmap(of_moved)(listing.orders))
    return Frame(element, settled(listing.chances, info), info, drawn=exact is not None)


def ties_in(blocks: Array) -> Array:
    """Count the entries with the keys of an earlier entry."""
    return blocks.shape[0] - 1 - jnp.max(blocks, initial=-1)
