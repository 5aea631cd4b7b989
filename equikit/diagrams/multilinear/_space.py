"""Spaces of equivariant multilinear maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from equikit import _checks
from equikit._errors import SignatureError, TooLargeError
from equikit._keywords import Call
from equikit.diagrams._dense import diagram_tensor, refuse_if_dense
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._hom import HomSpace
from equikit.diagrams._sequence import Diagrams
from equikit.diagrams.bases._gain import mean_square_gains
from equikit.diagrams.counting._count import dimension_text
from equikit.diagrams.counting._rules import whole_labels
from equikit.diagrams.multilinear._invariants import Invariants
from equikit.diagrams.multilinear._orbits import Move, OrbitSum, orbit_sums, square_norm
from equikit.groups import Fixed, Group
from equikit.signatures import ANY, MULTILINEAR, Exchange, Operand, Signature, Term, base, bind, parse_multilinear

if TYPE_CHECKING:
    from equikit.plans import MultilinearPlan


MOST_SUMMED = 2**30
"""The most entries of all diagrams of a basis together for which their sums are written: more takes seconds."""


@dataclass(frozen=True, slots=True)
class MultilinearSpace:
    r"""The space of multilinear maps \(V_1 \times \dots \times V_m \to W\) that commute with a group.

    It is \(\mathrm{Hom}_G(V_1 \otimes \dots \otimes V_m, W)\), spanned by the diagrams whose bottom row has the axes of
    all inputs, one input after another. If tensors are symmetric or antisymmetric in some axes, or the map in some
    inputs, the basis consists of signed sums over the orbits of diagrams; a map with an antisymmetric input depends
    only on the antisymmetric part of that input. If a group has no diagrams, its invariant tensors on all axes of its
    label replace them.

    Made by `hom`, from text with commas. Axes bound to `Fixed` are not part of the diagrams: each basis element stands
    for `multiplicity` maps, one for each choice of entries of the plain axes.

    Attributes:
        operands: the inputs, each with the axes in which it is symmetric or antisymmetric.
        target: the output, in the same form.
        exchanges: the sets of inputs that may be exchanged.
        bindings: each label with its group or fixed size, sorted by label.

    Source:
        Zhang et al., Constructing Invariant and Equivariant Operations by Symmetric Tensor Network, arXiv:2508.12596.
    """

    operands: tuple[Operand, ...]
    target: Operand
    exchanges: tuple[Exchange, ...]
    bindings: tuple[tuple[str, Group | Fixed], ...]

    @property
    def text(self) -> str:
        """The signature as text that can be typed."""
        words, place = [], 0
        first = {exchange.members[0]: exchange for exchange in self.exchanges}
        while place < len(self.operands):
            exchange = first.get(place)
            if exchange is None:
                words.append(str(self.operands[place]))
                place += 1
            else:
                inside = ", ".join(str(self.operands[i]) for i in exchange.members)
                words.append(f"{exchange.word}({inside})")
                place += len(exchange.members)
        return f"{', '.join(words)} -> {self.target}"

    def __str__(self) -> str:
        groups = "".join(f", {label}={what}" for label, what in self.bindings)
        return f'hom("{self.text}"{groups})'

    def __repr__(self) -> str:
        return f"<{self}: {dimension_text(self)}>"

    @property
    def signature(self) -> Signature:
        """The inputs and the output as terms; inputs with the same labels are distinguished by their number."""
        terms = [operand.term for operand in self.operands]
        texts = [term.name for term in terms]
        names = [f"{text or '()'} (input {i + 1})" if texts.count(text) > 1 else text for i, text in enumerate(texts)]
        inputs = tuple(replace(term, name=name) for name, term in zip(names, terms, strict=True))
        return Signature(inputs, (self.target.term,), self.bindings)

    @property
    def inputs(self) -> tuple[Term, ...]:
        """The input terms, in order."""
        return self.signature.inputs

    @property
    def output(self) -> Term:
        """The output term."""
        return self.signature.outputs[0]

    @property
    def joined(self) -> HomSpace:
        """The linear maps from the outer product of the inputs, ignoring symmetries."""
        words = (word for term in self.inputs for word in term.words)
        return HomSpace(Signature((Term.of(words),), (self.output,), self.bindings))

    @property
    def all_diagrams(self) -> Diagrams:
        """The diagrams between the joined inputs and the output, ignoring symmetries."""
        groups = self.signature.groups
        rows = (self.target,), self.operands
        top, bottom = (tuple(x for operand in row for x in operand.labels if x in groups) for row in rows)
        return Diagrams(top, bottom, self.signature.between(*self.inputs, self.output))

    @property
    def invariants(self) -> Invariants:
        """The invariant tensors of the groups without diagrams."""
        diagrams = self.all_diagrams
        return Invariants.of(diagrams.top, diagrams.bottom, diagrams.groups)

    @property
    def symmetric(self) -> bool:
        """Whether any axes or inputs are symmetric or antisymmetric."""
        return bool(self.exchanges or any(operand.exchanges for operand in (self.target, *self.operands)))

    @property
    def multiplicity(self) -> int:
        """The number of maps for each basis element: the product of the sizes of the plain axes."""
        signature = self.signature
        return math.prod(signature.multiplicity(term) for term in (*signature.inputs, self.output))

    @property
    def basis(self) -> Sequence[OrbitSum]:
        """The basis: signed sums of diagrams, in the order of their first diagrams; single diagrams without symmetry.

        Raises:
            TooLargeError: with symmetries, if there are too many diagrams to list their orbits, or too many invariant
                tensors.
        """
        if self.symmetric:
            return orbit_sums(self.all_diagrams, self.moves)
        return tuple(OrbitSum(((diagram, 1),)) for diagram in self.all_diagrams)

    @property
    def diagrams(self) -> Sequence[Diagram]:
        """The diagrams of the basis, in canonical order; with symmetries, the first of each orbit."""
        return tuple(total.first for total in self.basis) if self.symmetric else self.all_diagrams

    @property
    def dim(self) -> int:
        """The dimension, counted if nothing is symmetric; if n is free, for n at least the number of axes.

        Example:
            >>> from equikit import O, hom
            >>> hom("x x, x x -> x x", x=O(3)).dim, hom("sym(sym(x x), sym(x x)) -> sym(x x)", x=O(3)).dim
            (15, 4)
        """
        return self.count * self.multiplicity

    @property
    def count(self) -> int:
        """The number of basis elements, however large."""
        return len(self.basis) if self.symmetric else self.all_diagrams.count_all

    @property
    def starts(self) -> tuple[int, ...]:
        """The first vertex of the output and of each input, and the number of vertices."""
        groups = self.signature.groups
        counts = [sum(label in groups for label in operand.labels) for operand in (self.target, *self.operands)]
        return tuple(itertools.accumulate(counts, initial=0))

    def vertices(self, place: int) -> tuple[int, ...]:
        """The vertex of each axis of a tensor, where the output is number 0; -1 for a plain axis."""
        groups, operand = self.signature.groups, (self.target, *self.operands)[place]
        numbers = itertools.count(self.starts[place])
        return tuple(next(numbers) if label in groups else -1 for label in operand.labels)

    def axis_moves(self, place: int) -> tuple[Move, ...]:
        """Return the exchanges of neighboring axes of one tensor, where the output is number 0."""
        vertices, operand = self.vertices(place), (self.target, *self.operands)[place]
        found = []
        for exchange in operand.exchanges:
            for one, other in itertools.pairwise(exchange.members):
                found.append((exchange.sign, _swap(self.starts[-1], [vertices[one]], [vertices[other]])))
        return tuple(found)

    @property
    def input_moves(self) -> tuple[Move, ...]:
        """The exchanges of neighboring inputs."""
        found = []
        for exchange in self.exchanges:
            for one, other in itertools.pairwise(exchange.members):
                rows = (range(self.starts[i + 1], self.starts[i + 2]) for i in (one, other))
                found.append((exchange.sign, _swap(self.starts[-1], *rows)))
        return tuple(found)

    @property
    def moves(self) -> tuple[Move, ...]:
        """All exchanges of neighbors, which generate the group under which the maps change by a sign."""
        own = (move for place in range(len(self.operands) + 1) for move in self.axis_moves(place))
        return (*own, *self.input_moves)

    def sizes(self, n: int | Mapping[str, int] | None = None) -> dict[str, int]:
        """Return the size of every label: the bound sizes, and `n` for the free labels.

        Raises:
            ShapeError: if a free label has no size, or `n` contradicts a bound size or names an unknown label.
        """
        return self.joined.sizes(n)

    def matrices(self, n: int | Mapping[str, int] | None = None) -> np.ndarray:
        r"""Return the basis as dense integer matrices on the outer product of the inputs.

        Rows run over the indices of the output, columns over the indices of all inputs, both in row-major order. With
        plain axes each basis element gives one matrix for each choice of entries of the inputs' and then the output's
        plain axes.

        Args:
            n: the size of the free labels; not needed if every label is bound.

        Returns:
            int64 `[dim, n^l, n^k]`, where k is the number of axes of all inputs together; float64 or complex128 if a
            group is given by inexact generators.

        Raises:
            ShapeError: if a free label has no size, or `n` contradicts a bound size or names an unknown label.
            TooLargeError: if the result would exceed 1 GiB or 50,000 matrices; raised before anything is allocated.

        Cost: time and memory dim · \(n^{k+l}\).

        Example:
            >>> from equikit import SO, hom
            >>> cross = hom("x, x -> x", x=SO(3)).matrices()
            >>> (cross[0] @ np.kron([1, 0, 0], [0, 1, 0])).tolist()
            [0, 0, 1]
        """
        sizes, groups = self.sizes(n), self.signature.groups
        rows = (*self.target.labels,), tuple(label for operand in self.operands for label in operand.labels)
        labels = rows[0] + rows[1]
        height, width = (math.prod(sizes[label] for label in row) for row in rows)
        refuse_if_dense(self.dim, height * width)
        if self.symmetric:
            terms, step = sum(len(total.terms) for total in self.basis), "use a smaller size, or a plan or a layer"
            what = "the sums of diagrams take too long to write as dense matrices"
            _checks.refuse_if_more(what, terms * height * width, MOST_SUMMED, "entries", step)
        plain = [i for i, label in enumerate(labels) if label not in groups]
        entry = {axis: len(labels) + j for j, axis in enumerate(plain)}
        order = [axis for axis in plain if axis >= len(rows[0])] + [axis for axis in plain if axis < len(rows[0])]
        result = np.zeros((self.dim, height, width), self.joined.dtype)
        if not result.size:
            return result
        for count, total in enumerate(self.basis):
            acted = {label: sizes[label] for label in total.first.labels}
            operands: list[object] = [_dense(total, acted), [i for i in range(len(labels)) if i not in entry]]
            for axis in plain:
                operands += [np.eye(sizes[labels[axis]], dtype=np.int64), [entry[axis], axis]]
            whole = np.einsum(*operands, [*(entry[axis] for axis in order), *range(len(labels))])  # type: ignore[call-overload]
            start = count * self.multiplicity
            result[start : start + self.multiplicity] = whole.reshape(-1, height, width)
        return result

    def mean_square_gains(self, n: int | Mapping[str, int] | None = None, *, mean: bool = False) -> list[Fraction]:
        r"""Return each basis element's mean square output entry for independent input entries of variance one.

        It is \(\lVert b \rVert_F^2 / n^l\), from the inner products of diagrams. Entries of a symmetric tensor are not
        independent: for them, the mean square is larger by a factor of at most the number of permutations of its axes.

        Args:
            n: the size of the free labels; sizes are one or more.
            mean: whether sums over the inputs are divided by their number of terms.

        Returns:
            Exact fractions, in the order of `basis`.

        Example:
            >>> from equikit import O, hom
            >>> hom("x, x -> ()", x=O(3)).mean_square_gains()
            [Fraction(3, 1)]
        """
        sizes, diagrams = self.sizes(n), self.all_diagrams
        _checks.flag("mean", mean)
        if not self.symmetric:
            return mean_square_gains(diagrams, sizes, mean=mean)
        entries = math.prod(sizes[label] for label in diagrams.top)
        whole = {label for label, _ in whole_labels(diagrams.groups, diagrams.top + diagrams.bottom)}
        gains = []
        for total in self.basis:
            gain = square_norm(total, sizes) / entries
            legs = {block for _, _, blocks in total.first.heads for block in blocks}
            for number, block in enumerate(total.first.blocks):
                label = total.first.labels[block[0]]
                if mean and number not in legs and block[0] >= len(diagrams.top) and base(label) not in whole:
                    gain /= sizes[label] ** 2
            gains.append(gain)
        return gains

    def plan(
        self,
        channels: tuple[int | tuple[int, ...], int] = (1, 1),
        *,
        normalize: Literal["sum", "mean"] = "sum",
        mode: Literal["full", "channelwise"] = "full",
    ) -> MultilinearPlan:
        """Return the plan that `apply_multilinear` runs: its table shows the steps, with shapes, FLOPs and bytes.

        Args:
            channels: one number for each input, or one number for all; and the channels of the output.
            normalize, mode: as in `equikit.plans.apply_multilinear`.

        Raises:
            OptionError, ShapeError, TooLargeError: as in `equikit.plans.multilinear_plan`.

        Example:
            >>> from equikit import O, hom
            >>> hom("x x, x -> x", x=O(3)).plan((4, 8)).steps
            5
        """
        from equikit.plans import multilinear_plan  # as in `HomSpace.plan`

        return multilinear_plan(self, channels, normalize=normalize, mode=mode)


def _dense(total: OrbitSum, sizes: Mapping[str, int]) -> np.ndarray:
    """Return an orbit sum as a tensor with one axis for each vertex."""
    tensors = [factor * diagram_tensor(diagram, sizes) for diagram, factor in total.terms]
    if total.first.elements and tensors[0].dtype.kind == "i":  # otherwise entries are signs and zeros
        most = sum(int(abs(tensor).max(initial=0)) for tensor in tensors)
        most = max(most, *(abs(factor) for _, factor in total.terms))
        if most >= 2**63:
            raise TooLargeError(
                "entries of the basis would not fit in 64 bits",
                got=f"sums of terms up to {most:,}",
                expected="below 2^63",
                step="write MatrixGroup(..., exact=False), for a numerical basis",
            )
    result: np.ndarray = sum(tensors[1:], tensors[0])
    return result


def _swap(order: int, first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    places = list(range(order))
    for one, other in zip(first, second, strict=True):
        places[one], places[other] = other, one
    return tuple(places)


def multilinear(
    signature: str,
    groups: Mapping[str, object] | None = None,
    keywords: Mapping[str, object] | None = None,
    call: Call = ANY,
) -> MultilinearSpace:
    """Read a signature with commas, and bind its labels to the groups in `call`; `hom` is the public function.

    Raises:
        OptionError: for a keyword that is a misspelled option or label.
        SignatureError: if it cannot be read, a label is not bound, or `sym` or `alt` contains plain axes.
    """
    operands, target, exchanges = parse_multilinear(signature)
    *terms, output = (replace(operand.term, name=str(operand)) for operand in (*operands, target))
    bound = bind(tuple(terms), (output,), groups, keywords or {}, signature, grammar=MULTILINEAR, call=call)
    space = MultilinearSpace(operands, target, exchanges, bound.bindings)
    bound.between(*terms, output)  # raises for an odd number of determinants of a free group
    acted = space.signature.groups
    for operand in (*operands, target):
        members = {i for exchange in operand.exchanges for i in exchange.members}
        swapped = any(operand is operands[i] for exchange in exchanges for i in exchange.members)
        for i, label in enumerate(operand.labels):
            if label not in acted and (i in members or swapped):
                raise SignatureError(
                    f"the plain axis {label!r} is inside sym or alt",
                    got=f"{space.text!r}, where {label} is bound to {bound.bound[label]}",
                    expected="axes on which groups act: entries of plain axes are told apart, as channels are",
                    step="make the plain axis channels, or leave sym and alt out",
                )
    return space
