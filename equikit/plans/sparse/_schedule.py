"""In which order the letters of a contraction are summed over, and on which level each sum runs. No JAX.

A letter is a node. To sum over one, all factors with this letter are multiplied on the tuples of all their letters, and
added. No tuple may be missing where the product is not zero: one or two letters are a node or a pair that a factor has;
more letters have to be those of one factor, or three nodes that factors and the output link in pairs, on a support
that has all these triples.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from equikit._errors import OptionError
from equikit.plans._ir import Contraction, MultilinearPlan, Use
from equikit.plans.compilation._contractions import Letters

if TYPE_CHECKING:
    from equikit.supports import Support


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum over one letter.

    Attributes:
        rows: the letters of the tuples on which it runs.
        letter: the letter that is summed over.
    """

    rows: Letters
    letter: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The sums of a contraction over nodes, in order.

    Attributes:
        sums: the sums.
        needs_triples: whether a sum runs over triples of nodes that are linked in pairs.
        frame: the letters of the result in an order in which all tuples where it is not zero are present; `None` if a
            tuple may be missing in every order, so that each order in which the result is used is computed on its own.
    """

    sums: tuple[Sum, ...]
    needs_triples: bool
    frame: Letters | None


@functools.lru_cache(maxsize=4096)
def schedule(factors: tuple[Letters, ...], kept: Letters, links: tuple[Letters, ...]) -> Schedule | None:
    """Return the sums that run on the shortest tuples; `None` if a sum would need tuples that nothing links.

    Args:
        factors: the letters of each factor.
        kept: the letters of the result.
        links: pairs of letters that are linked wherever the result is needed and not zero.

    Example:
        >>> schedule(((0, 1), (1, 2), (2,)), (0,), ((0, 1), (1, 2))).sums  # along a path no triples are needed
        (Sum(rows=(1, 2), letter=2), Sum(rows=(0, 1), letter=1))
        >>> schedule(((0, 1), (1, 2)), (0, 2), ((0, 1), (1, 2), (0, 2))).sums
        (Sum(rows=(0, 1, 2), letter=1),)
    """
    linked = {frozenset(pair) for pair in links}
    summed = sorted({letter for own in factors for letter in own} - {*kept})
    found = [
        (sorted((len(one.rows) for one in made.sums), reverse=True), made)
        for order in itertools.permutations(summed)
        if (made := _in_order(order, factors, kept, linked)) is not None
    ]
    return min(found, key=lambda option: option[0])[1] if found else None


def _in_order(
    order: Letters, factors: tuple[Letters, ...], kept: Letters, linked: set[frozenset[int]]
) -> Schedule | None:
    left, sums, needs_triples = [*factors], [], False
    for letter in order:
        nodes = {node for own in left if letter in own for node in own}
        rows = _in_their_order(nodes, (*left, *factors))
        if rows is None:
            rows, needs_triples = tuple(sorted(nodes)), True
            if len(rows) > 3 or any(frozenset(pair) not in linked for pair in itertools.combinations(rows, 2)):
                return None
        left = [own for own in left if letter not in own] + [tuple(node for node in rows if node != letter)]
        sums.append(Sum(rows, letter))
    return Schedule(tuple(sums), needs_triples, _in_their_order({*kept}, left))


def _in_their_order(nodes: set[int], factors: Iterable[Letters]) -> Letters | None:
    """Return some nodes in the order of a factor that has all of them: its tuples are present in this order only."""
    covering = (own for own in factors if nodes <= {*own})
    return next((tuple(node for node in own if node in nodes) for own in covering), None)


def planned_sums(plan: MultilinearPlan, contraction: Contraction, label: str) -> Schedule | None:
    """Return the sums of a contraction over the nodes of a label; `None` if there is no way."""
    factors = tuple(
        tuple(letter for letter in own if contraction.labels[letter] == label) for own in contraction.letters
    )
    kept = tuple(letter for letter in contraction.kept if contraction.labels[letter] == label)
    terms = (*plan.signature.inputs, *plan.signature.outputs)
    # The pairs of longer terms are projections of their tuples, which need not be linked.
    links = tuple(
        own
        for term, own in zip(terms, (*factors, kept), strict=True)
        if len(own) == 2 and term.labels.count(label) == 2
    )
    return schedule(factors, kept, links)


def frame_of(contraction: Contraction, use: Use, label: str) -> Letters:
    """Return the nodes of the result of a contraction in the order of an output half."""
    places = [axis for axis, own in zip(use.axes, use.half.core, strict=True) if own == label]
    return tuple(contraction.kept[axis] for axis in places)


def by_frame(contraction: Contraction, sums: Schedule, label: str) -> Iterator[tuple[Letters, Contraction]]:
    """Yield the orders of nodes in which a contraction is computed, each with the contraction of its uses alone."""
    frames: dict[Letters, list[Use]] = {}
    for use in contraction.uses:
        frames.setdefault(sums.frame or frame_of(contraction, use, label), []).append(use)
    for frame, uses in frames.items():
        yield frame, replace(contraction, uses=tuple(uses))


def refuse_products(plan: MultilinearPlan, support: Support) -> None:
    """Raise `OptionError` if a contraction needs tuples of nodes that a support lacks."""
    unable, triples = _needs(plan, support.label)
    if unable is not None:
        raise OptionError(
            f"a product in {plan.space.text!r} runs over nodes that no entry and no triangle holds together",
            got=f"basis element {unable}: {plan.space.basis[unable].terms[0][0]}",
            expected="products over the nodes of one entry, or over three nodes that pairs link",
            step="multiply fewer inputs at a time, by layers in a row, or use dense arrays",
        )
    if triples is not None and not support.complete:
        raise OptionError(
            f"a product in {plan.space.text!r} runs over triples of nodes that are linked in pairs",
            got=f"a support without all of them; basis element {triples}: {plan.space.basis[triples].terms[0][0]}",
            expected="a support with all triples of nodes that are linked in pairs",
            step="write support=edges | edges.cliques()",
        )


@functools.lru_cache(maxsize=256)
def _needs(plan: MultilinearPlan, label: str) -> tuple[int | None, int | None]:
    """Return a basis element that no support can apply, and one that needs triples."""
    unable = triples = None
    for contraction in plan.products:
        sums, element = planned_sums(plan, contraction, label), plan.elements[contraction.uses[0].element]
        if sums is None:
            unable = element if unable is None else unable
        elif sums.needs_triples:
            triples = element if triples is None else triples
    return unable, triples
