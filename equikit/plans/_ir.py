"""The intermediate representation of plans: nodes, steps, products. Plain frozen values; no JAX.

A plan applies all maps of a signature at once, in three stages:

* *reduce*: every input half diagram is a smaller tensor, computed from a larger one by a single diagonal or sum;
* *mix*: for each core, one matrix product maps the channels of all its input halves to the channels of all its output
  halves; in a plan of multilinear maps, contractions map one half of each input to output halves;
* *expand*: every output half diagram is added to a larger one by a single broadcast or diagonal embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from equikit import _checks
from equikit.diagrams import HalfDiagram, HeadKind, MultilinearSpace
from equikit.signatures import Signature

if TYPE_CHECKING:
    from equikit.supports import Support

Normalize = Literal["mean", "sum"]
"""Whether sums over an axis are divided by its number of entries, so that weights serve every n."""
NORMALIZE: tuple[Normalize, ...] = ("mean", "sum")
Mode = Literal["full", "channelwise"]
"""Which channels a multilinear map multiplies: every choice of one from each input, or corresponding ones."""
LARGEST_AXIS = 2**63 - 1
"""The largest size of an axis of an array."""

MODES: tuple[Mode, ...] = ("full", "channelwise")

Widths = tuple[tuple[int, ...], tuple[int, ...]]
"""Numbers of channels or features of each input term, and of each output term."""

TermPair = tuple[int | None, int]
"""The numbers of an input term and an output term; maps from the trivial representation (a bias) have no input."""


@dataclass(frozen=True, slots=True)
class Step:
    """One edge of the lattice of half diagrams: a larger tensor and a smaller one.

    Read downwards it is a reduction (`diagonal`, `sum` or `head`, large to small), read upwards an expansion (diagonal
    embedding, broadcast or `head`, small to large).

    Attributes:
        term: the number of the input or output term.
        large, small: the half diagrams; the core of `small` has one axis less, or one more head.
        operation: the operation of the reduction.
        axes: positions in the core of `large`: the two axes of a diagonal, which stays at the first; the axis of a sum;
            or the axes that are legs of the head.
    """

    term: int
    large: HalfDiagram
    small: HalfDiagram
    operation: Literal["diagonal", "sum", "head"]
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WeightBlock:
    """The position of the weights of one pair of terms in the matrix of a product.

    Attributes:
        source: the input term; `None` for the bias, the maps from the trivial representation.
        target: the output term.
        segments: slices of the diagram axis, in the order of the matrix, as (start, count); a start of -1 stands for
            zeros, for pairs of halves with more blocks than the group allows.
    """

    source: int | None
    target: int
    segments: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Product:
    """The matrix product of one core.

    Attributes:
        core: the labels of its axes: first labels of the wires, then labels of heads.
        inputs: for each input term, the half diagrams whose tensors enter, concatenated along the channels.
        outputs: for each output term, the half diagrams of the result.
        wires_in, wires_out: the permutations of axes before and after the product. Each wiring of the core is one of
            the former followed by one of the latter; the wirings in order are these pairs, `wires_in` fastest.
        blocks: where the matrix has the weights of each pair of terms.
        tensors: labels whose groups have no diagrams: their axes are folded into the rows and columns of the matrix,
            which is the weighted sum of their invariant tensors.
    """

    core: tuple[str, ...]
    inputs: tuple[tuple[HalfDiagram, ...], ...]
    outputs: tuple[tuple[HalfDiagram, ...], ...]
    wires_in: tuple[tuple[int, ...], ...]
    wires_out: tuple[tuple[int, ...], ...]
    blocks: tuple[WeightBlock, ...]
    tensors: tuple[HeadKind, ...] = ()

    @property
    def permutes_in(self) -> bool:
        """Whether axes are permuted before the product."""
        return _permutes(self.wires_in)

    @property
    def permutes_out(self) -> bool:
        """Whether axes are permuted after the product."""
        return _permutes(self.wires_out)


def _permutes(wirings: tuple[tuple[int, ...], ...]) -> bool:
    return wirings != (tuple(range(len(wirings[0]))),)


@dataclass(frozen=True, slots=True, order=True)
class LeviCivita:
    """A Levi-Civita tensor as an operand of a contraction.

    Attributes:
        label: the label of its legs.
        letters: the letter of each leg, in order; one letter less than legs if the last leg is summed over.
        legs: the number of legs.
        lowered: the positions of the legs in the bottom row only, which a metric lowers.
    """

    label: str
    letters: tuple[int, ...]
    legs: int
    lowered: tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """One use of the result of a contraction.

    Attributes:
        element: the number of the basis element, among the elements of the plan.
        coefficient: the factor of the element.
        half: the output half that it contributes to.
        axes: for each axis of the half the axis of the result.
        choice: the number of the invariant tensor.
    """

    element: int
    coefficient: Any
    half: HalfDiagram
    axes: tuple[int, ...]
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Contraction:
    """A contraction of one half of each input with tensors and weights; a letter is a block.

    Axes of groups without diagrams, joined by invariant tensors, are letters too.

    Attributes:
        halves: for each input term, the half diagram whose tensor enters.
        letters: for each input the letter of each axis of its core.
        lowered: for each input the axes that are multiplied by the form of their label.
        heads: the Levi-Civita tensors.
        held: the letter of each axis of the invariant tensors.
        kept: the letters of the result, ascending; all others are summed over.
        labels: the label of each letter.
        averaged: the labels of the letters that a mean divides by: those that are summed over and are not legs.
        uses: the uses of the result; with invariant tensors always the same half and axes.
    """

    halves: tuple[HalfDiagram, ...]
    letters: tuple[tuple[int, ...], ...]
    lowered: tuple[tuple[int, ...], ...]
    heads: tuple[LeviCivita, ...]
    held: tuple[int, ...]
    kept: tuple[int, ...]
    labels: tuple[str, ...]
    averaged: tuple[str, ...]
    uses: tuple[Use, ...] = ()

    @property
    def inputs(self) -> tuple[tuple[HalfDiagram, ...], ...]:
        """For each input term the half diagrams whose tensors enter."""
        return tuple((half,) for half in self.halves)

    @property
    def outputs(self) -> tuple[tuple[HalfDiagram, ...], ...]:
        """For the output term the half diagrams of the result: one for each use, a single one with tensors."""
        return (tuple(use.half for use in self.uses[: 1 if self.held else None]),)


def feature_widths(signature: Signature, channels: tuple[Sequence[int], Sequence[int]]) -> Widths:
    """Return the channels of each input and output term, times the sizes of the plain axes of the term.

    Raises:
        TooLargeError: if no array can have that many.
    """
    wide, narrow = (
        tuple(signature.multiplicity(term) * count for term, count in zip(terms, counts, strict=True))
        for terms, counts in zip((signature.inputs, signature.outputs), channels, strict=True)
    )
    what, step = "a term has too many features for an array", "use fewer channels, or plain axes with fewer entries"
    _checks.refuse_if_more(what, max((*wide, *narrow), default=0), LARGEST_AXIS, "features", step)
    return wide, narrow


class Stages:
    """Base class of plans: three stages, a table and a cost."""

    __slots__ = ()
    signature: Signature
    channels: Widths
    normalize: Normalize
    reductions: tuple[Step, ...]
    products: tuple[Product, ...] | tuple[Contraction, ...]
    expansions: tuple[Step, ...]

    @property
    def heading(self) -> tuple[str, str, str]:
        """The signature, the separator of its terms, and the options."""
        raise NotImplementedError

    @property
    def features(self) -> Widths:
        """The channels of each term with its plain axes folded in: the width of its tensors in the plan."""
        return feature_widths(self.signature, self.channels)

    @property
    def steps(self) -> int:
        """The number of steps: reductions, products and expansions together."""
        return len(self.reductions) + len(self.products) + len(self.expansions)

    def __str__(self) -> str:
        from equikit.plans.costs._table import plan_table

        return plan_table(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from equikit.plans.costs._table import plan_html

        return plan_html(self)

    def cost(
        self, *, batch: int = 1, n: int | dict[str, int] | None = None, support: Support | None = None
    ) -> tuple[Any, Any]:
        """Return FLOPs and bytes of all steps together: integers, or polynomials in n if a size is free.

        Args:
            batch: the number of entries of all batch axes together.
            n: sizes of the free labels.
            support: count the rows of a support, and the indices of rows that are read; outside `jit`.

        Raises:
            OptionError: if the plan cannot be applied on the support.

        Example:
            >>> from equikit import S, Support, hom
            >>> hom("p -> p", p=S).plan().cost()
            (4*n + 2, 20*n + 24)
            >>> program = hom("p p -> p p", p=S).plan()
            >>> program.cost(n=100), program.cost(support=Support("p p", [0, 1], [1, 0], n=100))
            ((92208, 567692), (2226, 9852))
        """
        from equikit.plans.costs._cost import plan_cost, total
        from equikit.plans.costs._table import sparse_cost

        return total([*plan_cost(self, batch=batch, n=n)]) if support is None else sparse_cost(self, support, batch, n)

    def table(self, *, batch: int = 1, n: int | dict[str, int] | None = None, support: Support | None = None) -> str:
        """Return the steps with shapes, FLOPs and bytes, at a batch size and at sizes of the free labels.

        On a support, shapes have rows, and two lines below the total compare it with dense arrays: their cost, and the
        number of entries with which the support would move as many bytes.
        """
        from equikit.plans.costs._table import plan_table, sparse_table

        return plan_table(self, batch=batch, n=n) if support is None else sparse_table(self, support, batch, n)


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Stages):
    """All maps of a signature as one list of steps; made by `plan`, run by `apply`.

    Several products may write to one output half; their results are added. An expansion takes one of the tensors that
    wait at its smaller end, and the last expansion from there takes the sum of all remaining ones.

    The printed table names tensors by their axes. In reductions the axes of the input stand before the arrow and the
    remaining axes after it: from `ij->ij` to `ij->i` is the sum over j. In expansions the axes of the output stand
    after the arrow, and the axes that the tensor has so far before it: from `->i` to `i->i` repeats a number along i.

    Attributes:
        signature: the terms and the groups of their axes.
        channels: channels of each input term, and of each output term.
        normalize: whether sums over the input are means.
        bias: whether the invariant vectors of the output are added.
        reductions: steps from the inputs down, in order of computation.
        products: one for each core, longest core first; in the plan of `unshared`, one for each diagram.
        expansions: steps up to the outputs, in order of computation.
    """

    signature: Signature
    channels: Widths
    normalize: Normalize
    bias: bool
    reductions: tuple[Step, ...]
    products: tuple[Product, ...]
    expansions: tuple[Step, ...]

    @property
    def heading(self) -> tuple[str, str, str]:
        """The signature, the separator of its terms, and the options."""
        return str(self.signature), " + ", f"{self.normalize}, bias" if self.bias else self.normalize

    @property
    def T(self) -> Plan:
        """The plan of the transposed maps, and so of the gradient with respect to the inputs.

        Outputs and inputs are exchanged, terms keep their names, and there is no bias; labels of groups that
        distinguish vectors from dual vectors gain or lose their star. Means of this plan become sums.
        `transpose_weights` computes its weights.

        Example:
            >>> from equikit import S, hom
            >>> hom("p p -> p", p=S).plan((2, 3)).T.signature == hom("p -> p p", p=S).signature
            True
        """
        from equikit.plans.compilation._transpose import transposed

        return transposed(self)

    def __hash__(self) -> int:
        """Hash only the fields from which the steps follow: plans are cache keys in every call."""
        counts = len(self.reductions), len(self.products), len(self.expansions)
        return hash((self.signature, self.channels, self.normalize, self.bias, counts))

    def code(self) -> str:
        """Return the executed steps as a function in NumPy notation, one statement each, for reading.

        The function takes the inputs, the matrices and biases of the products (see `lay_out`) and the size of every
        label. It uses NumPy functions, the tensors `eta`, `omega` and `epsilon` of the groups, and `fold` and `unfold`
        for plain axes. Masks, half precision and sharding are omitted.

        Example:
            >>> from equikit import S, hom
            >>> print(hom("p -> p", p=S).plan((16, 32)).code())
            def run(inputs, matrices, biases, n):
                x0 = inputs[0]  # p
                x1 = einsum("...iZ -> ...Z", x0)  # i->i to i->
                m0 = x0 @ matrices[0]  # core p
                m1 = x1 @ matrices[1]  # core ()
                y0 = einsum("...Z, i -> ...iZ", m1, ones(n['p']))  # ->i to i->i
                y1 = m0 + y0  # i->i
                y2 = y1  # p
                return y2,
        """
        from equikit.plans._code import plan_code

        return plan_code(self)


@dataclass(frozen=True, slots=True, repr=False)
class MultilinearPlan(Stages):
    """The maps of a multilinear space as one list of steps; made by `space.plan`, run by `apply_multilinear`.

    Inputs are symmetrized or antisymmetrized before the first step, and the output after the last, as the space says.

    Attributes:
        signature: the terms and the groups of their axes.
        channels: channels of each input term, and of the output.
        normalize: whether sums over the inputs are means.
        space: the space.
        mode: `"full"`, or `"channelwise"` if channel c of the output depends only on channel c of every input.
        elements: the numbers of the basis elements that are applied.
        reductions: steps from the inputs down, in order of computation.
        products: the contractions.
        expansions: steps up to the output, in order of computation.
    """

    signature: Signature
    channels: Widths
    normalize: Normalize
    space: MultilinearSpace
    mode: Mode
    elements: tuple[int, ...]
    reductions: tuple[Step, ...]
    products: tuple[Contraction, ...]
    expansions: tuple[Step, ...]

    @property
    def heading(self) -> tuple[str, str, str]:
        """The signature, the separator of its terms, and the options."""
        return self.space.text, ", ", f"{self.normalize}, {self.mode}"

    def code(self) -> str:
        """Return the executed steps as a function in NumPy notation, one statement each, for reading.

        As `Plan.code`, but the function takes the weights, and for each contraction with groups without diagrams the
        coefficients of its basis elements in the invariant tensors. The order of an `einsum` of several tensors is left
        open.

        Example:
            >>> from equikit import SO, hom
            >>> print(hom("x, x -> x", x=SO(3)).plan(((2, 2), 4)).code())
            def run(inputs, weights, invariants, n):
                x0 = inputs[0]  # x (input 1)
                x1 = inputs[1]  # x (input 2)
                m0 = einsum("...il, ...jm, kij, nlmZ -> ...knZ", x0, x1, epsilon['x', 0], weights[[0]])  # contraction
                y0 = m0[..., 0, :]  # i->i
                y1 = y0  # x
                return y1,
        """
        from equikit.plans._code import plan_code

        return plan_code(self)

    def __hash__(self) -> int:
        """Hash only the fields from which the steps follow: plans are cache keys in every call."""
        return hash((self.space, self.channels, self.normalize, self.mode, self.elements))
