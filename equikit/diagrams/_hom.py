"""The space of equivariant linear maps between two signatures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

import numpy as np

from equikit import _checks, _keywords
from equikit._errors import OptionError, ShapeError
from equikit.diagrams._dense import BASES, block_places, diagram_tensor, given_sizes, label_sizes, refuse_if_dense
from equikit.diagrams._diagram import Diagram
from equikit.diagrams._sequence import Diagrams, pair_diagrams
from equikit.diagrams.bases import _gram, _projection as projection
from equikit.diagrams.bases._determinant import gram_determinant
from equikit.diagrams.counting._count import dimension_text
from equikit.groups import Group
from equikit.signatures import Signature, Term, parse_signature

if TYPE_CHECKING:
    import sympy

    from equikit.diagrams.multilinear._space import MultilinearSpace
    from equikit.plans import Plan


@dataclass(frozen=True, slots=True)
class HomSpace:
    r"""The space \(\mathrm{Hom}_G(V_{in}, V_{out})\) of linear maps that commute with the group, with exact results.

    Made by `hom`. With several terms it is the direct sum of the spaces between single terms, in `pairs`. Axes bound to
    `Fixed` are not part of the diagrams: each diagram stands for `multiplicity` maps, one for each pair of entries of
    the plain axes.

    Attributes:
        signature: the terms, with the group of every label.
    """

    signature: Signature

    def __str__(self) -> str:
        groups = ", ".join(f"{label}={what}" for label, what in self.signature.bindings)
        return f'hom("{self.signature}"{", " if groups else ""}{groups})'

    def __repr__(self) -> str:
        return f"<{self}: {dimension_text(self)}>"

    def _repr_html_(self) -> str:
        from equikit.draw import space_html  # draw is built on diagrams; only the picture imports it

        return space_html(self)

    def _repr_latex_(self) -> str:
        from equikit.draw import latex, space_tikz

        return latex(space_tikz(self), str(self))

    @property
    def pairs(self) -> tuple[HomSpace, ...]:
        """The spaces between one input term and one output term: all inputs to the first output, and so on."""
        sums = self.signature
        return tuple(HomSpace(sums.pair(source, target)) for target in sums.outputs for source in sums.inputs)

    @property
    def _single(self) -> tuple[Term, Term]:
        if len(self.signature.inputs) == len(self.signature.outputs) == 1:
            return self.signature.inputs[0], self.signature.outputs[0]
        raise OptionError(
            "a space with several terms has diagrams of several kinds",
            got=str(self),
            expected="a space between one input term and one output term",
            step="take them from space.pairs",
        )

    @property
    def multiplicity(self) -> int:
        """The number of maps for each diagram: the product of the sizes of the plain axes."""
        source, target = self._single
        return self.signature.multiplicity(source) * self.signature.multiplicity(target)

    @property
    def diagrams(self) -> Sequence[Diagram]:
        """The diagrams in canonical order, generated lazily.

        If n is bound, they are a basis: for the symmetric group the diagrams with at most n blocks, for groups with
        dependent pairings the first independent diagrams. If n is free, they are all diagrams, a basis from n = k + l
        on. A space with several terms has the diagrams of its pairs, one pair after another.
        """
        if len(self.signature.inputs) * len(self.signature.outputs) != 1:
            return tuple(diagram for pair in self.pairs for diagram in pair.diagrams)
        return pair_diagrams(self.signature, *self._single)

    @property
    def dim(self) -> int:
        """The dimension, computed without enumeration; if n is free, the dimension for n at least k + l."""
        if len(self.signature.inputs) * len(self.signature.outputs) != 1:
            return sum(pair.dim for pair in self.pairs)
        diagrams = self.diagrams
        assert isinstance(diagrams, Diagrams)
        return diagrams.count_all * self.multiplicity

    def sizes(self, n: int | Mapping[str, int] | None = None) -> dict[str, int]:
        """Return the size of every label: the bound sizes, and `n` for the free labels.

        Raises:
            ShapeError: if a free label has no size, or `n` contradicts a bound size or names an unknown label.
        """
        sizes = self.signature.sizes
        if n is not None:
            groups = () if None in sizes.values() else self.signature.groups
            step = None if None in sizes.values() else "leave n out: every label is bound"
            for label, size in given_sizes(groups, n, step).items():
                if label not in sizes or sizes[label] not in (None, size):
                    self._refuse_size(label, size)
        free = tuple(label for label, size in sizes.items() if size is None)
        given = label_sizes(free, {} if n is None else n)
        for label, group in self.signature.groups.items():
            if label in given:
                group.checked(given[label])
        return {label: given[label] if size is None else size for label, size in sizes.items()}

    def _refuse_size(self, label: Any, size: int) -> NoReturn:
        """Raise `ShapeError` for a size of an unknown label, or of a label that is bound to another size."""
        sizes, group = self.signature.sizes, self.signature.groups.get(label)
        free = None if group is None else group.free
        known = label in sizes
        raise ShapeError(
            f"the size given for label {label!r} does not fit the space",
            got=f"{label}: {_checks.count_text(size)} for {self}",
            expected=f"{sizes[label]}, to which it is bound" if known else f"one of {[*sizes]}",
            step=("leave n out" + (f", or bind {label}=ek.{free}" if free else "")) if known else "correct the label",
        )

    def matrices(self, n: int | Mapping[str, int] | None = None, *, basis: str = "diagram") -> np.ndarray:
        r"""Return a basis of the space as dense integer matrices, in the order of `diagrams`.

        Rows and columns run over the indices of the axes in row-major order, term after term. With plain axes each
        diagram gives one matrix for each input entry and output entry, in that order.

        Args:
            n: the size of the free labels; not needed if every label is bound.
            basis: `"diagram"`, or `"orbit"` for maps with disjoint supports.

        Returns:
            int64 `[dim, n^l, n^k]`; float64 or complex128 if a group is given by inexact generators.

        Raises:
            OptionError: if the basis is unknown.
            ShapeError: if a free label has no size, or `n` contradicts a bound size or names an unknown label.
            TooLargeError: if the result would exceed 1 GiB or 50,000 matrices; raised before anything is allocated.

        Cost: time and memory dim · \(n^{k+l}\).

        Example:
            >>> from equikit import S
            >>> hom("p -> p", p=S(2)).matrices(basis="orbit").tolist()
            [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
        """
        if _checks.choice("basis", basis, BASES) == "orbit":
            self._refuse_orbits()
        sizes = self.sizes(n)
        shape, places = block_places(self.signature, sizes)
        refuse_if_dense(self.dim, math.prod(shape))
        result, start = np.zeros((self.dim, *shape), self.dtype), 0
        for pair, (rows, columns) in zip(self.pairs, places, strict=True):
            part = result[start : start + pair.dim, rows, columns]
            start += pair.dim
            if part.size:  # otherwise there is nothing to fill, but a plain axis may be long
                for i, block in enumerate(pair._blocks(sizes, basis)):
                    part[i * len(block) : (i + 1) * len(block)] = block
        return result

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the matrices: int64, or floating point if a group is given by inexact generators."""
        bound = [what for _, what in self.signature.bindings if isinstance(what, Group)]
        whole = [group for group in bound if group.blocks == "whole"]
        return np.result_type(np.int64, *(group.invariants(()) for group in whole))

    def _blocks(self, sizes: dict[str, int], basis: str) -> Iterator[np.ndarray]:
        """Yield the dense matrices of each diagram of a single pair, `[multiplicity, rows, columns]`."""
        source, target = self._single
        acted = [(term, self.signature.acted(term)) for term in (target, source)]
        plain = [(term, self.signature.plain(term)) for term in (target, source)]
        shapes = [tuple(sizes[term.labels[i]] for i in places) for term, places in plain]
        units = [np.eye(math.prod(shape), dtype=np.int64).reshape(-1, *shape) for shape in shapes]
        # Axes: input entry, output entry, then all axes of the output term and of the input term in their order.
        order: list[int] = []
        offsets = [0, len(target.labels)]
        for offset, (_, places) in zip(offsets, acted, strict=True):
            order += [offset + i for i in places]
        for offset, (_, places) in zip(offsets, plain, strict=True):
            order += [offset + i for i in places]
        axes = np.argsort(order)
        width = math.prod(sizes[label] for label in source.labels)
        for diagram in self.diagrams:
            core = diagram_tensor(diagram, sizes, basis=basis)
            whole = np.multiply.outer(core, np.multiply.outer(units[0], units[1]))
            whole = np.moveaxis(whole, (core.ndim + 1 + len(shapes[0]), core.ndim), (0, 1))
            whole = whole.transpose(0, 1, *(2 + axes))
            yield whole.reshape(self.multiplicity, -1, width)

    @property
    def _has_orbits(self) -> bool:
        """Whether the diagrams are sums of orbit maps, as for groups that permute a basis."""
        return all(what.blocks in ("any", "even") and not what.legs for what in self.signature.groups.values())

    def _refuse_orbits(self) -> None:
        if not self._has_orbits:
            raise OptionError(
                "the space has no orbit basis",
                got=self,
                expected="groups that permute a basis, as S and H do",
                step='write basis="diagram"',
            )

    def gram(self, n: int | Mapping[str, int] | None = None) -> sympy.ImmutableDenseMatrix:
        r"""Return the inner products of the diagrams, a SymPy matrix of powers of n (of `n_p` etc. for several labels).

        Entry (i, j) is \(\mathrm{tr}(D_i^T D_j)\), n to the power of the number of blocks of the join of the two
        partitions.

        Args:
            n: the size of the labels, for numbers instead of powers.

        Raises:
            OptionError: for a space with several terms, whose diagrams belong to different pairs.
            GroupError, ShapeError: if `n` is not a size, or does not fit.

        Example:
            >>> from equikit import S
            >>> hom("p -> p", p=S).gram()
            Matrix([
            [n,    n],
            [n, n**2]])
            >>> hom("p -> p", p=S).gram(3)
            Matrix([
            [3, 3],
            [3, 9]])
        """
        self._single  # noqa: B018  # raises where there are several terms
        sizes = None if n is None else self.sizes(n)
        return _gram.gram_matrix(self.diagrams, sizes)

    def gram_determinant(self, n: int | Mapping[str, int] | None = None) -> sympy.Expr:
        r"""Return the factored determinant of `gram()`, which vanishes at the n where the diagrams are dependent.

        If the group permutes a basis, it is \(\prod_\pi n (n-1) \cdots (n-|\pi|+1)\), by the unitriangular change to
        the orbit basis; otherwise it is computed from the matrix.

        Example:
            >>> from equikit import S
            >>> hom("p -> p", p=S).gram_determinant()
            n**2*(n - 1)
        """
        self._single  # noqa: B018  # raises where there are several terms
        diagrams = self.diagrams
        assert isinstance(diagrams, Diagrams)
        return gram_determinant(diagrams, None if n is None else self.sizes(n))

    def change_of_basis(self, source: str, target: str) -> np.ndarray:
        """Return the exact matrix from the `source` to the `target` basis: row i has the coefficients of map i.

        Args:
            source, target: `"diagram"` or `"orbit"`.

        Returns:
            int64 `[diagrams, diagrams]`: zeta, Möbius, or the identity.

        Example:
            >>> from equikit import S
            >>> hom("p -> p", p=S).change_of_basis("orbit", "diagram").tolist()
            [[1, 0], [-1, 1]]
        """
        self._single  # noqa: B018  # raises where there are several terms
        self._refuse_orbits()
        if _checks.choice("source", source, BASES) == _checks.choice("target", target, BASES):
            return _gram.identity_matrix(self.diagrams)
        diagrams = self.diagrams
        return _gram.zeta_matrix(diagrams) if source == "diagram" else _gram.moebius_matrix(diagrams)

    def coefficients(self, matrix: Any, n: int | Mapping[str, int] | None = None) -> np.ndarray:
        r"""Return the weights of the equivariant map nearest to a matrix, in the order of `matrices`.

        They minimize \(\lVert M - \sum_i c_i D_i \rVert_F\), and solve the linear system of the Gram matrix and the
        inner products of M with the diagrams. Neither a dense diagram nor a projector is formed. If the diagrams of a
        free group are dependent, at small n, these are the weights of smallest norm for normalized diagrams.

        Args:
            matrix: real or complex, `[n^l, n^k]`, with rows and columns as in `matrices`.
            n: the size of the free labels; not needed if every label is bound.

        Returns:
            float64 `[dim]`, or complex128 if the matrix or a group is complex.

        Raises:
            ShapeError: if the matrix has another shape, or `n` does not fit.
            DTypeError: if the matrix does not contain numbers.
            TooLargeError: if there are too many diagrams for a Gram matrix, or too many entries to read.

        Cost: for each diagram its nonzero entries, \(n^b\) for b blocks, plus the cube of the number of diagrams.

        Example:
            >>> from equikit import S
            >>> hom("p -> p", p=S(3)).coefficients(np.diag([1.0, 2.0, 3.0])).round(6).tolist()
            [2.0, 0.0]
        """
        return projection.coefficients(self, matrix, n)

    def project(self, matrix: Any, n: int | Mapping[str, int] | None = None) -> np.ndarray:
        r"""Return the equivariant map nearest to a matrix, in the Frobenius norm.

        For a compact group of orthogonal or unitary matrices it is the mean of \(g M g^{-1}\) over the group.

        Args:
            matrix: real or complex, `[n^l, n^k]`, with rows and columns as in `matrices`.
            n: the size of the free labels; not needed if every label is bound.

        Returns:
            float64 or complex128 of the shape of the matrix.

        Raises:
            ShapeError, DTypeError, TooLargeError: as in `coefficients`.

        Cost: the cost of `coefficients`, and the same again to add up the diagrams.

        Example:
            >>> from equikit import S
            >>> hom("p -> p", p=S(3)).project(np.diag([1, 2, 3])).round(6).tolist()
            [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
        """
        return projection.project(self, matrix, n)

    def plan(
        self,
        channels: tuple[int | tuple[int, ...], int | tuple[int, ...]] = (1, 1),
        *,
        normalize: Literal["sum", "mean"] = "sum",
        bias: bool = False,
    ) -> Plan:
        """Return the plan that applies all maps of the space at once; see `equikit.plans.plan`."""
        from equikit.plans import plan  # plans is built on diagrams; users expect this method here

        return plan(self.signature, channels, normalize=normalize, bias=bias)


@overload
def hom(
    signature: Mapping[str, str],
    outputs: str | Mapping[str, str],
    /,
    *,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> HomSpace: ...


@overload
def hom(
    signature: str | Mapping[str, str],
    outputs: str | Mapping[str, str] | None = None,
    /,
    *,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> HomSpace | MultilinearSpace: ...


def hom(
    signature: str | Mapping[str, str],
    outputs: str | Mapping[str, str] | None = None,
    /,
    *,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> HomSpace | MultilinearSpace:
    r"""Return the space of linear maps that commute with the groups on the axes, or with commas, of multilinear maps.

    Args:
        signature: `"inputs -> outputs"`, each a list of axis labels with `+` between terms. Or only the inputs, as text
            or as a dictionary from name to labels. Commas separate the inputs of a multilinear map, `"x, x y -> y"`.
            `sym(x x)` and `alt(x x)` mark axes in which a tensor is symmetric or antisymmetric, `sym(x, x)` and `alt(x,
            x)` inputs that may be exchanged. A tilde after a label of O(n) or O(p, q) multiplies its term by the
            determinant: `"x~"` is an axial vector, `"x x~"` a pseudotensor, and `"det(x)"` a pseudoscalar. Two factors
            are one, and so is each under SO.
        outputs: the output terms, if `signature` has only the inputs.
        groups: the group of each label, as a dictionary.
        **bindings: the same as keywords: a group (`S(5)`), a free group (`S`), or `Fixed(size)`.

    Returns:
        The `HomSpace`, or with commas, `sym` or `alt` the `MultilinearSpace`; its dimension, diagrams and matrices are
        computed on demand. Type checkers cannot read the text: `assert isinstance(space, ek.HomSpace)` tells them
        which of the two it is.

    Raises:
        SignatureError: if the signature cannot be read, a label is unbound or bound twice, or a binding has no label.
        GroupError: if a free group is to have maps with an odd number of determinants, which depend on n.

    Example:
        >>> from equikit import S
        >>> space = hom("p p -> p p", p=S(5))
        >>> space.dim
        15
        >>> print(space.diagrams[0])
        p p -> p p: 1 1' | 2 2'
        >>> from equikit import SO
        >>> hom("x, x -> x", x=SO(3)).dim  # the cross product
        1
        >>> from equikit import O
        >>> hom("x, x -> x~", x=O(3)).dim, hom("x, x -> x", x=O(3)).dim  # is an axial vector
        (1, 0)

    Source:
        Maron et al., arXiv:1812.09902; Pearce-Crump, arXiv:2212.08648; Zhang et al., arXiv:2508.12596.
    """
    from equikit.diagrams.multilinear._space import multilinear  # made of Hom spaces
    from equikit.signatures import is_multilinear

    whole = f"{signature} -> {outputs}" if isinstance(signature, str) and isinstance(outputs, str) else signature
    if is_multilinear(whole):
        return multilinear(str(whole), groups, bindings, _keywords.call_of(hom))
    space = HomSpace(parse_signature(signature, outputs, groups=groups, keywords=bindings, call=_keywords.call_of(hom)))
    for pair in itertools.product(space.signature.inputs, space.signature.outputs):
        space.signature.between(*pair)  # raises for an odd number of determinants of a free group
    return space
