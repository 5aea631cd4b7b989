"""The result of recognition: the name of a group of matrices, with the basis in which its matrices are standard."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups._group import Group
from equikit.groups.families._matrix import MatrixGroup
from equikit.groups.families._orthogonal import SO, O
from equikit.groups.families._symplectic import Sp
from equikit.groups.lie._algebra import Kind, Matrices

FAMILY = re.compile(r"(O|SO|Sp)\((\d+(?:, \d+)?)\)")
"""Names of groups that are families of equikit."""


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
        known: whether the standard matrices belong to named groups.
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
        half: for complex matrices their size, half of n: they are represented by real ones of twice the size.
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
    def standard_group(self) -> Group | None:
        """The family of equikit whose matrices are the standard ones, or `None` if there is none.

        Its layers have diagrams, which are faster than null spaces; they act on data in standard coordinates
        \\(z = P^{-1} x\\).
        """
        if len(self.blocks) != 1 or self.blocks[0].copies != 1:
            return None
        found = FAMILY.fullmatch("Sp(2)" if self.name == "SL(2)" else self.name)
        families = {"O": O, "SO": SO, "Sp": Sp}
        return None if found is None else families[found[1]](*map(int, found[2].split(", ")))

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
