"""Name a Lie algebra of matrices, and find the basis in which its matrices are standard."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups.families._matrix import MatrixGroup
from equikit.groups.lie._algebra import (
    Kind,
    Matrices,
    distance,
    killing_form,
    kind_of,
    openness,
    orthonormal,
    read_basis,
    signature,
    structure_constants,
)
from equikit.groups.lie._classical import classical
from equikit.groups.lie._modules import Component, balanced, components
from equikit.groups.lie._part import Part, verified
from equikit.groups.lie._rational import rational
from equikit.groups.lie._simple import abstract_name


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A group that acts on a part of the space, the same on each of several copies.

    Attributes:
        name: of the group.
        start: the first column of the change of basis that belongs to the block.
        size: the dimension of a copy.
        copies: the number of copies, which follow each other.
        signature: (p, q) of the metric, if the group is SO+(p, q).
        reflections: which reflections belong to the group too: of a positive direction, of a negative one, of both.
    """

    name: str
    start: int
    size: int
    copies: int = 1
    signature: tuple[int, int] | None = None
    reflections: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name if self.copies == 1 else f"{self.name} on {self.copies} copies"


@dataclass(frozen=True, slots=True, eq=False)
class Recognized:
    r"""The name of a Lie algebra of matrices, and a change of basis to its standard matrices.

    Attributes:
        name: of the connected group, such as `"SO+(1, 3)"`; a description if it has no standard name.
        known: whether the standard matrices are those of named groups.
        matrices: a basis of the Lie algebra in the given coordinates, `[d][n][n]`: fractions if it is exact, otherwise
            \\(P S P^{-1}\\) for the standard matrices S if it has a name.
        change_of_basis: P `[n, n]`; x = P z, and \(P S P^{-1}\) spans the algebra for standard matrices S.
        standard: the standard matrices `[d, n, n]`; the given ones if the algebra has no name.
        blocks: the groups that act on parts of the space.
        kind: trivial, abelian, semisimple, reductive, solvable or mixed.
        radical: the dimension of the largest solvable ideal.
        killing: how many eigenvalues of the Killing form are positive, negative and zero.
        exact: whether the algebra was rounded to rational matrices.
        residual: the distance between the given span and the result, as the sine of an angle.
        generators: elements of other components of the group, which are known only after tests, `[k, n, n]`.
    """

    name: str
    known: bool
    matrices: Any
    change_of_basis: NDArray[np.float64]
    standard: Matrices
    blocks: tuple[Block, ...]
    kind: Kind
    radical: int
    killing: tuple[int, int, int]
    exact: bool
    residual: float
    generators: tuple[Any, ...] = ()
    half: int | None = None

    @property
    def dimension(self) -> int:
        """The dimension of the Lie algebra."""
        return len(self.matrices)

    @property
    def group(self) -> MatrixGroup:
        """The group in the given coordinates."""
        algebra: Any = self.matrices
        generators: Any = self.generators
        if self.half is not None:
            m = self.half
            algebra, generators = (
                [np.asarray(a, float)[:m, :m] + 1j * np.asarray(a, float)[m:, :m] for a in part]
                for part in (algebra, generators)
            )
        n = self.half or len(self.change_of_basis)
        return MatrixGroup(generators, algebra, n=n, name=self.name if self.known else None)

    @property
    def metric(self) -> NDArray[np.float64] | None:
        """The invariant metric \\(P^{-T} \\eta P^{-1}\\) of SO+(p, q) on the whole space, otherwise `None`."""
        if len(self.blocks) != 1 or self.blocks[0].signature is None or self.blocks[0].copies != 1:
            return None
        inverse = np.linalg.inv(self.change_of_basis)
        metric: NDArray[np.float64] = inverse.T @ np.diag(np.repeat([1.0, -1.0], self.blocks[0].signature)) @ inverse
        return metric

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        about = f"{self.kind}, dimension {self.dimension}, n={self.half or len(self.change_of_basis)}"
        return f"Recognized({self.name!r}, {about}{', exact' if self.exact else f', residual {self.residual:.1e}'})"

    def reflection(self, block: int, which: str) -> NDArray[np.float64]:
        """Return the matrix in the given coordinates that reflects directions of a block of SO+(p, q).

        Args:
            block: the number of the block.
            which: `"positive"`, `"negative"` or `"both"`: the first positive and the last negative direction.
        """
        _checks.choice("which", which, ("positive", "negative", "both"))
        part = self.blocks[block]
        if part.signature is None:
            raise GroupError(
                "only blocks with a metric have reflections",
                got=part.name,
                expected="SO(n) or SO+(p, q)",
                step="look at blocks",
            )
        signs = np.ones(len(self.change_of_basis))
        for copy in range(part.copies):
            first = part.start + copy * part.size
            if which in ("positive", "both"):
                signs[first] = -1
            if which in ("negative", "both"):
                signs[first + part.size - 1] = -1
        return self.change_of_basis @ np.diag(signs) @ np.linalg.inv(self.change_of_basis)

    def moved(self, frame: NDArray[np.float64], tolerance: float) -> Recognized:
        """Return the algebra in coordinates x = frame z, where the present ones are z.

        Args:
            frame: an invertible matrix `[n, n]`.
            tolerance: the noise of the present algebra; its matrices are rounded to fractions if that allows it.
        """
        algebra = np.array([[[float(x) for x in row] for row in matrix] for matrix in self.matrices])
        algebra = orthonormal(frame @ algebra.reshape(-1, *frame.shape) @ np.linalg.inv(frame))
        exact = rational(algebra, tolerance)
        if exact is not None:
            rounded = np.array([[[float(x) for x in row] for row in matrix] for matrix in exact])
            found = _recognized(rounded.reshape(-1, *frame.shape), 1e-9)
            if found.name == self.name:
                return replace(found, matrices=exact, exact=True, residual=self.residual)
        if not self.known:
            return replace(self, matrices=algebra, standard=algebra, exact=False)
        change = frame @ self.change_of_basis
        matrices = change @ self.standard @ np.linalg.inv(change)
        return replace(self, matrices=matrices, change_of_basis=change, exact=False)

    def with_reflections(self, found: Sequence[Sequence[str]]) -> Recognized:
        """Return the group with other components: for each block the reflections that belong to it.

        SO(n) becomes O(n), and SO+(p, q) becomes O(p, q), or SO(p, q) with double reflections only.

        Args:
            found: for each block, which of `"positive"`, `"negative"` and `"both"` are symmetries.
        """
        blocks, generators = [], []
        for place, (block, kept) in enumerate(zip(self.blocks, found, strict=True)):
            blocks.append(replace(block, name=_full_name(block, tuple(kept)), reflections=tuple(kept)))
            generators += [self.reflection(place, which) for which in kept]
        matrices = tuple(_exact(matrix) if self.exact else matrix.tolist() for matrix in generators)
        return replace(self, name=" x ".join(map(str, blocks)), blocks=tuple(blocks), generators=matrices)


def _exact(matrix: NDArray[np.float64]) -> list[list[Any]]:
    """Return a reflection of a rational metric with fractions for entries."""
    rounded = [[Fraction(float(x)).limit_denominator(1000) for x in row] for row in matrix]
    near = np.allclose([[float(x) for x in row] for row in rounded], matrix, rtol=0, atol=1e-9)
    plain: list[list[Any]] = matrix.tolist()
    return rounded if near else plain


def _full_name(block: Block, kept: tuple[str, ...]) -> str:
    if block.signature is None or not kept:
        return block.name
    p, q = block.signature
    scaling = "R+ x " if block.name.startswith("R+ x ") else ""
    if not p or not q:
        return f"{scaling}O({p or q})"
    if len(kept) == 3:
        return f"{scaling}O({p}, {q})"
    return f"{scaling}SO({p}, {q})" if kept == ("both",) else f"{block.name} with reflections of a {kept[0]} direction"


def recognize(basis: Any, tolerance: float = 1e-6) -> Recognized:
    r"""Name the connected group of a Lie algebra of matrices, and find a basis in which its matrices are standard.

    Named are SO(n), SO+(p, q), Sp(n), SL(n), GL+(n), complex and unitary groups on real vectors of twice the length,
    one-parameter groups (rotations, boosts, scalings, shears), their products on blocks of the space, and copies of
    them. Every name is verified: its standard matrices, moved to the given coordinates, span the given algebra. Other
    algebras get a description by their Killing form. Matrices are rounded to fractions if their noise allows it.

    Args:
        basis: matrices `[d, n, n]` that span a Lie algebra, real or complex; a complex one is a real vector space.
        tolerance: the noise of the span, as the sine of an angle.

    Returns:
        The name, with `group` as a `MatrixGroup` in the given coordinates.

    Raises:
        GroupError: if the matrices are not square or not finite, or their span is not closed under commutators.
        TooLargeError: if the matrices have more than 24 rows.
        OptionError: if the tolerance is not a number between 0 and 0.1.

    Cost: singular values of matrices with d n^2 rows and n^2 columns; milliseconds for n up to 5.

    Example:
        >>> from equikit import O
        >>> hidden = np.array([[2.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 3, 0], [0, 1, 0, 1]])
        >>> boosts = hidden @ np.array(O(1, 3).lie_algebra()) @ np.linalg.inv(hidden)
        >>> found = recognize(boosts)
        >>> found.name, found.kind, found.dimension, found.exact
        ('SO+(1, 3)', 'semisimple', 6, True)
        >>> recognize([[[0, 1, 0], [1, 0, 0], [0, 0, 0]]]).name
        'SO+(1, 1) x Trivial(1)'

    Source:
        Humphreys, Introduction to Lie algebras and representation theory, sections 5 and 6, on the Killing form;
        Kempf and Ness, The length of vectors in representation spaces, 1979, on the coordinates of the computation.
    """
    _checks.number("tolerance", tolerance, above=0, below=0.1, example=1e-6)
    tolerance = float(tolerance)
    matrices, half = read_basis(basis)
    reduced = orthonormal(matrices, max(1e-9, 2 * tolerance))
    _refuse_open(reduced, tolerance)
    exact = rational(reduced, tolerance)
    if exact is not None and len(exact):
        rounded = np.array([[[float(x) for x in row] for row in matrix] for matrix in exact])
        found = _recognized(rounded, 1e-9)
        return replace(found, matrices=exact, exact=True, residual=distance(rounded, reduced), half=half)
    found = _recognized(reduced, tolerance)
    inverse = np.linalg.inv(found.change_of_basis)
    clean = found.change_of_basis @ found.standard @ inverse if found.known else reduced
    return replace(found, matrices=clean, exact=not len(clean), residual=distance(clean, reduced), half=half)


def _refuse_open(reduced: Matrices, tolerance: float) -> None:
    leaving = openness(reduced)
    if leaving > 10 * tolerance:
        raise GroupError(
            "the matrices do not span a Lie algebra",
            got=f"a commutator with a part {leaving:.1e} outside their span",
            expected=f"at most ten times the tolerance, {10 * tolerance:.1e}",
            step="pass generate(matrices), or a larger tolerance",
        )


def _recognized(algebra: Matrices, tolerance: float) -> Recognized:
    n, basis = algebra.shape[-1], orthonormal(algebra)
    change = balanced(basis, tolerance)
    noise = min(0.05, tolerance * float(np.linalg.cond(change)))
    inner = orthonormal(np.linalg.inv(change) @ basis @ change)
    constants = structure_constants(inner)
    kind, radical = kind_of(constants, max(1e-6, 20 * noise))
    killing = signature(killing_form(constants), max(1e-6, 20 * noise))
    parts = [_part(inner, group, noise) for group in _factors(components(inner, noise), inner, noise)]
    columns = np.concatenate([columns for _, columns, _ in parts], axis=1)
    known = all(part is not None for part, _, _ in parts)
    if known:
        blocks, standard, start = [], [], 0
        for part, _, copies in parts:
            assert part is not None
            blocks.append(Block(part.name, start, part.size, copies, part.signature))
            for matrix in part.standard:
                wide = np.zeros((n, n))
                end = start + part.size * copies
                wide[start:end, start:end] = np.kron(np.eye(copies), matrix)
                standard.append(wide)
            start += part.size * copies
        whole = verified("", change @ columns, np.array(standard).reshape(-1, n, n), basis, 20 * max(noise, 1e-9))
        if whole is not None:
            name = _product_name(blocks)
            return Recognized(
                name, True, basis, whole.basis, whole.standard, tuple(blocks), kind, radical, killing, False, 0.0
            )
    name = abstract_name(len(basis), kind, killing, n)
    return Recognized(name, False, basis, np.eye(n), basis, (Block(name, 0, n),), kind, radical, killing, False, 0.0)


def _product_name(blocks: Sequence[Block]) -> str:
    return " x ".join(map(str, blocks))


def _factors(found: list[Component], algebra: Matrices, tolerance: float) -> list[list[Component]]:
    """Group components so that the algebra is the direct sum of its images on the groups, with groups as small as
    possible."""

    def dimension(group: Sequence[Component]) -> int:
        if not len(algebra):
            return 0
        joined = np.concatenate([part.algebra.reshape(len(algebra), -1) for part in group], axis=1)
        singular = np.linalg.svd(joined, compute_uv=False)
        return int(np.sum(singular > max(1e-6, 4 * tolerance * len(algebra) ** 0.5)))

    def split(group: list[Component]) -> list[list[Component]]:
        whole = dimension(group)
        for count in range(1, len(group) // 2 + 1):
            for chosen in itertools.combinations(range(len(group)), count):
                one = [group[i] for i in chosen]
                rest = [part for i, part in enumerate(group) if i not in chosen]
                if dimension(one) + dimension(rest) == whole:
                    return [*split(one), *split(rest)]
        return [group]

    trivial = [part for part in found if dimension([part]) == 0]
    others = [part for part in found if part not in trivial]
    groups = split(others) if others else []
    groups.sort(key=lambda group: (-dimension(group), -sum(part.size for part in group)))
    return groups + [[part] for part in trivial]


def _part(algebra: Matrices, group: list[Component], tolerance: float) -> tuple[Part | None, NDArray[np.float64], int]:
    """Return the group on one part of the space, the columns of its standard basis, and the number of copies."""
    columns = np.concatenate([part.basis for part in group], axis=1)
    if len(group) > 1 or not len(algebra):
        inside = (
            np.linalg.pinv(columns) @ algebra @ columns if len(algebra) else np.zeros((0, *2 * (columns.shape[1],)))
        )
        part = classical(inside, tolerance)
        return part, columns if part is None else columns @ part.basis, 1
    (only,) = group
    trivial = np.linalg.norm(only.algebra) <= max(1e-6, 4 * tolerance * len(algebra) ** 0.5)
    if trivial:
        size = only.size * only.copies
        return Part(f"Trivial({size})", np.eye(size), np.zeros((0, size, size))), columns, 1
    if only.size == 1:
        return Part("R+ (scaling)", np.eye(only.copies), np.eye(only.copies)[None]), columns, 1
    part = classical(only.algebra, tolerance)
    if part is None:
        return None, columns, only.copies
    return part, columns @ np.kron(np.eye(only.copies), part.basis), only.copies
