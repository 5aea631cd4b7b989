"""Compile a space of multilinear maps to a plan that shares work between diagrams. No JAX.

A diagram is applied in three stages. Every input is *reduced* by the part of the diagram that lies only in it:
diagonals, traces and sums. The reduced inputs are *contracted* with each other, with Levi-Civita tensors, invariant
tensors and the weights. The result is *expanded* to the output by the part of the diagram that lies in the output.
Diagrams share one contraction if they have the same reductions and join the reduced inputs in the same way, wherever
they place the axes of the result in the output.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import OptionError, ShapeError
from equikit.diagrams import (
    Diagram,
    HalfDiagram,
    Invariants,
    Move,
    MultilinearSpace,
    OrbitSum,
    bare,
    canonical,
    leg_order,
    walk,
)
from equikit.plans._ir import MODES, NORMALIZE, Contraction, LeviCivita, Mode, MultilinearPlan, Normalize, Use
from equikit.plans.compilation._lattice import cheapest_expansions, cheapest_reductions
from equikit.plans.compilation._lower import FEWER, Channels, channel_pair
from equikit.plans.compilation._tensors import is_disjoint, joint_tensors

MOST_MAPS = 50_000
"""The most basis elements for which there is a plan: 21,147 of S take 2 s."""


def _terms(total: OrbitSum, invariants: Invariants, moves: tuple[Move, ...]) -> list[tuple[Diagram, dict[int, Any]]]:
    """Return the diagrams of a basis element up to exchanges of axes, each with coefficients of invariant tensors.

    Tensors are symmetrized before and after, so diagrams that differ by exchanges of axes need only one representative.
    """
    left: dict[Diagram, dict[int, Any]] = {}
    for member, factor in total.terms:
        left.setdefault(bare(member), {})[invariants.choice(member)] = factor
    found = []
    while left:
        diagram = next(iter(left))
        own, factors = walk(diagram, moves)[0], left[diagram]
        for member in own:
            del left[member]
        found.append((diagram, {choice: factor * len(own) for choice, factor in factors.items()}))
    return found


def _half(labels: tuple[str, ...], growth: Sequence[int], opened: set[int]) -> tuple[HalfDiagram, tuple[int, ...]]:
    """A row of a diagram as a half diagram whose open blocks propagate, and these blocks in the order of its core."""
    own = canonical(growth)
    number = dict(zip(own, growth, strict=True))
    half = HalfDiagram(labels, own, tuple(sorted(new for new, old in number.items() if old in opened)))
    return half, tuple(number[block] for block in half.wires)


@functools.lru_cache(maxsize=4096)
def _contraction(space: MultilinearSpace, diagram: Diagram) -> tuple[Contraction, HalfDiagram, tuple[int, ...]]:
    """Return the contraction of a diagram, without uses; its output half, and the axes of the half in it."""
    rows = [slice(start, stop) for start, stop in itertools.pairwise(space.starts)]
    growths, names = [diagram.growth[row] for row in rows], [diagram.labels[row] for row in rows]
    heads = [(label, count, leg_order(diagram, label)) for label, count, _ in diagram.heads]
    legs = {block for _, _, parts in heads for part in parts for block in part}
    whole = [diagram.growth[vertex] for vertex in space.invariants.vertices]
    legs.update(whole)
    above, forms = set(growths[0]), dict(diagram.forms)
    letter: dict[int, int] = {}
    halves, letters, lowered = [], [], []
    seen = set[int]()
    for i, growth in enumerate(growths[1:], 1):
        rest = {block for other in (*growths[:i], *growths[i + 1 :]) for block in other}
        half, wires = _half(names[i], growth, rest | legs)
        halves.append(half)
        letters.append(tuple(letter.setdefault(block, len(letter)) for block in wires))
        # The later end of a form in the bottom row is multiplied by the form.
        ends = (block in seen and block not in above for block in wires)
        lowered.append(tuple(a for a, end in enumerate(ends) if end and half.core[a] in forms))
        seen.update(growth)
    tensors = []
    for label, count, (shared, up, down) in heads:
        order = tuple(letter.setdefault(block, len(letter)) for block in (*shared, *up, *down))
        tensors.append(LeviCivita(label, order, count, tuple(range(len(shared) + len(up), len(order)))))
    held = tuple(letter.setdefault(block, len(letter)) for block in whole)
    labels = diagram.block_labels
    kept = tuple(sorted(number for block, number in letter.items() if block in above))
    averaged = sorted(labels[block] for block in letter if block not in above and block not in legs)
    top, wires = _half(names[0], growths[0], {*letter})
    contraction = Contraction(
        tuple(halves),
        tuple(letters),
        tuple(lowered),
        tuple(tensors),
        held,
        kept,
        tuple(labels[block] for block in letter),
        tuple(averaged),
    )
    return contraction, top, tuple(kept.index(letter[block]) for block in wires)


@functools.lru_cache(maxsize=256)
def _contractions(space: MultilinearSpace, elements: tuple[int, ...]) -> tuple[Contraction, ...]:
    """Return the contractions of some basis elements; with invariant tensors one for each position in the output."""
    found: dict[tuple[object, ...], tuple[Contraction, list[Use]]] = {}
    basis, invariants = space.basis, space.invariants
    moves = tuple(move for place in range(len(space.operands) + 1) for move in space.axis_moves(place))
    for number, element in enumerate(elements):
        for diagram, factors in _terms(basis[element], invariants, moves):
            contraction, half, axes = _contraction(space, diagram)
            place = (half, axes) if contraction.held else None
            _, uses = found.setdefault((contraction, place), (contraction, []))
            uses += [Use(number, factor, half, axes, choice) for choice, factor in factors.items()]
    return tuple(replace(contraction, uses=tuple(uses)) for contraction, uses in found.values())


def multilinear_plan(
    space: MultilinearSpace,
    channels: tuple[Channels, int] = (1, 1),
    *,
    normalize: Normalize = "sum",
    mode: Mode = "full",
) -> MultilinearPlan:
    """Compile a space of multilinear maps to a plan; `space.plan` is the public method.

    Args:
        space: from `hom`, with commas.
        channels: one number for each input, or one number for all; and the channels of the output.
        normalize: `"sum"`, or `"mean"` to divide each sum over an index that is not in the output by its size.
        mode: `"full"` or `"channelwise"`.

    Raises:
        OptionError, ShapeError, GroupError: if an argument does not fit.
    """
    wide, (narrow,) = channel_pair(channels, checked_space(space).inputs, (space.output,))
    check_request(space, wide, narrow, mode)
    return planned_maps(space, wide, narrow, _checks.choice("normalize", normalize, NORMALIZE), mode)


def checked_space(space: object) -> MultilinearSpace:
    """Return a space of multilinear maps, or raise `OptionError`."""
    return _checks.instance("space", space, MultilinearSpace, 'ek.hom("x, x -> x", x=ek.SO(3))')


def check_request(space: MultilinearSpace, channels: tuple[int, ...], out_channels: int, mode: Mode) -> None:
    """Raise `OptionError` or `ShapeError` if a space has no maps of a mode, or none with these channels."""
    if _checks.choice("mode", mode, MODES) == "full":
        return
    if space.multiplicity != 1:
        plain = sorted(set(space.signature.sizes) - set(space.signature.groups))
        raise OptionError(
            "plain axes have no channelwise maps",
            got=f"{space}, with plain axes {', '.join(plain)}",
            expected="axes on which groups act",
            step='write mode="full", or make the plain axes channels',
        )
    if {*channels} != {out_channels}:
        raise ShapeError(
            "channelwise maps need one number of channels",
            got=f"{channels} in, {out_channels} out",
            expected="the same for all inputs and the output",
            step='write mode="full", which mixes channels',
        )


@functools.lru_cache(maxsize=256)
def planned_maps(
    space: MultilinearSpace,
    channels: tuple[int, ...],
    out_channels: int,
    normalize: Normalize = "sum",
    mode: Mode = "full",
    elements: tuple[int, ...] | None = None,
) -> MultilinearPlan:
    """Return the plan of some basis elements, by default all, for a checked request.

    Raises:
        TooLargeError: if there are too many basis elements.
    """
    signature = space.signature
    count = space.count if elements is None else len(elements)
    _checks.refuse_if_more("the plan has too many maps", count, MOST_MAPS, "maps", FEWER)
    applied = tuple(range(count)) if elements is None else elements
    products = _contractions(space, applied)
    return MultilinearPlan(
        signature,
        (channels, (out_channels,)),
        normalize,
        space,
        mode,
        applied,
        cheapest_reductions(signature, products),
        products,
        cheapest_expansions(signature, products),
    )


def invariant_sums(plan: MultilinearPlan, contraction: Contraction) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the basis elements of a contraction, and for each its combination of invariant tensors.

    The tensors are `[elements, entries]`.
    """
    return _invariant_sums(plan.space, contraction.uses)


@functools.lru_cache(maxsize=128)
def _invariant_sums(space: MultilinearSpace, uses: tuple[Use, ...]) -> tuple[tuple[int, ...], np.ndarray]:
    tensors = joint_tensors(tuple((group, stars, len(stars)) for _, group, stars, _ in space.invariants.labels))
    elements = tuple(dict.fromkeys(use.element for use in uses))
    place = {element: i for i, element in enumerate(elements)}
    total = np.zeros((len(elements), tensors.shape[1]), np.result_type(tensors, *(use.coefficient for use in uses)))
    for use in uses:
        total[place[use.element]] += use.coefficient * tensors[use.choice, :, 0]
    return elements, total


Letters = tuple[int, ...]
Order = tuple[tuple[int, int, Letters], ...]
"""Pairs of operands to contract, with the letters of their result, which becomes the last operand."""


@dataclass(frozen=True, slots=True)
class Equation:
    """The einsum of a contraction.

    Attributes:
        operands: the letters of each operand: inputs, Levi-Civita tensors, invariant tensors unless they are looked up
            in the weights, and weights if channels are mixed. After the letters of blocks there is one for the batch,
            one for the features of each input (one for all if channelwise), one for the basis elements and one for the
            features of the output.
        result: the letters of the result.
        order: pairs of operands to contract.
    """

    operands: tuple[Letters, ...]
    result: Letters
    order: Order


def einsum_letters(plan: MultilinearPlan, contraction: Contraction) -> tuple[tuple[Letters, ...], Letters]:
    """Return the letters of the operands and of the result of a contraction, as in `Equation`."""
    count, pooled = len(contraction.halves), len(contraction.labels)
    channelwise = plan.mode == "channelwise"
    wide = [pooled + 1 if channelwise else pooled + 1 + i for i in range(count)]
    elements, out = pooled + 1 + count, pooled + 1 if channelwise else pooled + 2 + count
    features = (out,) if channelwise else (*wide, out)
    operands: list[Letters] = [(pooled, *own, c) for own, c in zip(contraction.letters, wide, strict=True)]
    operands += [head.letters for head in contraction.heads]
    result = (pooled, *contraction.kept, out)
    if contraction.held:
        looked_up = is_disjoint(invariant_sums(plan, contraction)[1])
        operands += (
            [(*contraction.held, *features)] if looked_up else [(elements, *contraction.held), (elements, *features)]
        )
    elif not channelwise:
        operands.append((elements, *features))
        result = (pooled, *contraction.kept, elements, out)
    return tuple(operands), result


def equation(plan: MultilinearPlan, contraction: Contraction, sizes: Mapping[str, Any], batch: Any) -> Equation:
    """Return the einsum of a contraction at the sizes of labels; unknown sizes count as one."""
    operands, result = einsum_letters(plan, contraction)
    known = tuple(map(_known, letter_sizes(plan, contraction, sizes, batch)))
    most = max(_bound(plan, sizes, batch), math.prod(known[letter] for letter in result))
    return Equation(operands, result, best_order(operands, result, known, most))


def letter_sizes(
    plan: MultilinearPlan, contraction: Contraction, sizes: Mapping[str, Any], batch: Any
) -> tuple[Any, ...]:
    """Return the size of every letter of an equation."""
    wide, (narrow,) = plan.features
    elements = len({use.element for use in contraction.uses}) if contraction.held else len(contraction.uses)
    return (*(sizes[label] for label in contraction.labels), batch, *wide, elements, narrow)


def _bound(plan: MultilinearPlan, sizes: Mapping[str, Any], batch: Any) -> int:
    """Return the entries of the largest input, times the number of features of the widest term."""
    signature, (wide, narrow) = plan.signature, plan.features
    largest = max(
        math.prod(_known(sizes[term.labels[i]]) for i in signature.acted(term)) * width
        for term, width in zip(signature.inputs, wide, strict=True)
    )
    return _known(batch) * largest * max(*wide, *narrow)


def _known(size: object) -> int:
    """Return a size for comparing orders; symbolic sizes of jax.export and empty axes count as one."""
    return max(size, 1) if isinstance(size, int) else 1


def best_order(operands: tuple[Letters, ...], result: Letters, sizes: tuple[int, ...], most: int) -> Order:
    """Find the pairwise contraction order with the fewest multiplications.

    The order is chosen among those whose intermediate results have at most `most` entries; if there are none, it is the
    order with the smallest largest intermediate result.

    Args:
        operands: the letters of each operand.
        result: the letters of the result.
        sizes: the size of each letter.
        most: a number of entries.

    Cost: grows as the factorial of the number of operands.
    """

    def entries(letters: Letters) -> int:
        count = 1
        for letter in letters:
            count *= sizes[letter]
        return count

    def search(left: tuple[Letters, ...]) -> tuple[int, int, Order]:
        if len(left) == 1:
            return 0, 0, ()
        best: tuple[int, int, Order] | None = None
        for j in range(len(left)):
            for i in range(j):
                rest = (*left[:i], *left[i + 1 : j], *left[j + 1 :])
                outside = {*result}.union(*rest)
                union = tuple(dict.fromkeys((*left[i], *left[j])))
                made = result if not rest else tuple(letter for letter in union if letter in outside)
                over, work, order = search((*rest, made))
                size = 0 if not rest else entries(made)
                option = max(over, size if size > most else 0), work + entries(union), ((i, j, made), *order)
                best = option if best is None else min(best, option)
        assert best is not None
        return best

    return search(operands)[2]
