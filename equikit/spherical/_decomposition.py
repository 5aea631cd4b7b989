"""Tensors over three-dimensional space as sums of irreducible representations, and the exact change of basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit import _checks
from equikit._errors import DTypeError
from equikit.spherical._characters import SYMMETRIES, Symmetry, count_irreps
from equikit.spherical._rows import MOST_AXES, coupling_paths, exact_rows

if TYPE_CHECKING:
    import sympy

MOST_WRITTEN = 1_500_000
"""The most entries of a SymPy matrix that is made in a few seconds."""


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """One irrep in a space of tensors.

    Attributes:
        degree: l; the irrep has dimension 2l + 1.
        parity: 1 (even) or -1 (odd): its factor under point reflection.
        path: the degrees after each axis, ending in l. Empty for order 0, and if the piece is a sum over several paths,
            such as the vector in the symmetric tensors of order three.

    Example:
        >>> print(Piece(2, 1, (1, 2)))
        2e
    """

    degree: int
    parity: int
    path: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.degree}{'e' if self.parity > 0 else 'o'}"


@dataclass(frozen=True, slots=True)
class Decomposition:
    r"""A space of tensors over \(V = \mathbb{R}^3\) as a sum of irreps, with the exact change of basis.

    Made by `decompose`. Pieces are ordered by degree, then by path; the pieces of one degree are orthogonal copies of
    the irrep.

    Attributes:
        order: the number of axes.
        symmetry: `None`, `"sym"` or `"alt"`.
        pseudo: whether point reflection gives an additional sign, as for a pseudovector.

    Raises:
        OptionError: if the order is not a nonnegative integer, the symmetry is unknown, or `pseudo` is not a bool.
    """

    order: int
    symmetry: Symmetry | None = None
    pseudo: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", _checks.count("order", self.order))
        object.__setattr__(self, "symmetry", _checks.choice("symmetry", self.symmetry, SYMMETRIES))
        object.__setattr__(self, "pseudo", _checks.flag("pseudo", self.pseudo))

    def __str__(self) -> str:
        return self.irreps

    @property
    def parity(self) -> int:
        r"""The factor of the tensors under point reflection: \((-1)^k\), times -1 for pseudotensors."""
        return -1 if (self.order + self.pseudo) % 2 else 1

    @property
    def multiplicities(self) -> dict[tuple[int, int], int]:
        """The number of copies of each irrep, by degree and parity, sorted."""
        return {(degree, self.parity): count for degree, count in count_irreps(self.order, self.symmetry).items()}

    @property
    def irreps(self) -> str:
        """The irreps in the notation of e3nn."""
        letter = "e" if self.parity > 0 else "o"
        return "+".join(f"{count}x{degree}{letter}" for (degree, _), count in self.multiplicities.items())

    @property
    def dim(self) -> int:
        """The dimension of the space."""
        return sum(count * (2 * degree + 1) for (degree, _), count in self.multiplicities.items())

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The irreps with their paths, in the order of the rows of the change of basis.

        Raises:
            TooLargeError: from order 15 on.
        """
        paths = coupling_paths(self.order)
        if self.symmetry is not None:
            single = {degree for degree, count in count_irreps(self.order).items() if count == 1}
            by_degree = {path[-1] if path else 0: path for path in paths}
            paths = [by_degree[degree] if degree in single else () for degree, _ in self.multiplicities]
        degrees = [degree for (degree, _), count in self.multiplicities.items() for _ in range(count)]
        return tuple(Piece(degree, self.parity, path) for degree, path in zip(degrees, paths, strict=True))

    def rows(self) -> np.ndarray:
        r"""Return the basis vectors of the irreps as integers, int64 `[dim, 3^order]`, read-only.

        Each row has coprime entries; divided by the square root of its entry of `squared_norms` it is a row of the
        change of basis. Rows are orthogonal: `rows @ rows.T` is the diagonal matrix of the squared norms.

        Raises:
            TooLargeError: from order 9 on, 13 for symmetric tensors; see `change_of_basis`.

        Example:
            >>> decompose(2, "sym").rows()[:1].tolist()     # the trace
            [[1, 0, 0, 0, 1, 0, 0, 0, 1]]
        """
        return exact_rows(self.order, self.symmetry)[0]

    def squared_norms(self) -> np.ndarray:
        """Return the squared norms of `rows`, int64 `[dim]`, read-only.

        Example:
            >>> decompose(2).squared_norms().tolist()
            [3, 2, 2, 2, 2, 2, 6, 2, 2]
        """
        return exact_rows(self.order, self.symmetry)[1]

    def matrix(self, dtype: Any = np.float64) -> np.ndarray:
        """Return the change of basis in floating point, rounded once from the exact one; see `change_of_basis`."""
        try:
            kind = np.dtype(dtype)
        except TypeError:
            kind = None
        if kind is None or kind not in (np.float32, np.float64):
            raise DTypeError(
                "the change of basis does not come in this dtype",
                got=f"dtype {_checks.shown(dtype) if kind is None else kind}",
                expected="float64 or float32",
                step="cast the result yourself, or take rows() and squared_norms(), which are exact",
            )
        rows, norms = exact_rows(self.order, self.symmetry)
        matrix: np.ndarray = (rows / np.sqrt(norms)[:, None]).astype(kind)
        return matrix

    def to_sympy(self) -> sympy.ImmutableDenseMatrix:
        """Return the change of basis as an exact SymPy matrix.

        Raises:
            TooLargeError: from order 7 on, 10 for symmetric tensors.

        Example:
            >>> decompose(2, "alt").to_sympy().row(0)
            Matrix([[0, 0, 0, 0, 0, sqrt(2)/2, 0, -sqrt(2)/2, 0]])
        """
        import sympy

        entries, step = self.dim * 3 ** min(self.order, MOST_AXES), "take rows() and squared_norms(), which are exact"
        _checks.refuse_if_more("the matrix takes too long to write", entries, MOST_WRITTEN, "entries", step)
        rows, norms = exact_rows(self.order, self.symmetry)
        roots = [1 / sympy.sqrt(int(norm)) for norm in norms]
        written = [int(x) * root for row, root in zip(rows, roots, strict=True) for x in row]
        return sympy.ImmutableDenseMatrix(self.dim, 3**self.order, written)


def decompose(order: int, symmetry: Symmetry | None = None, *, pseudo: bool = False) -> Decomposition:
    r"""Decompose the tensors of an order over \(V = \mathbb{R}^3\) into irreps of SO(3), or of O(3) with its parities.

    \(V^{\otimes k} = \bigoplus_l m_l V_l\). Axis by axis, \(V_l \otimes V = V_{l-1} \oplus V_l \oplus V_{l+1}\) (and
    \(V_0 \otimes V = V_1\)), so the copies of \(V_l\) are the paths of degrees that end at l. Under O(3) all pieces
    have parity \((-1)^k\); under SO(3) parity has no meaning.

    Args:
        order: the number k of axes, each of size three.
        symmetry: `None` for all tensors, `"sym"` for symmetric ones, `"alt"` for alternating ones.
        pseudo: whether the tensors are pseudotensors, with the determinant as an additional factor. A cross product is
            a pseudovector, `decompose(1, pseudo=True)`, which is even. In signatures their axes are marked, `"x~"`.

    Returns:
        The decomposition: a value with its pieces, and the change of basis on demand.

    Raises:
        OptionError: if the order is not a nonnegative integer, the symmetry is unknown, or `pseudo` is not a bool.

    Cost: nothing until the basis is requested; then \(O(9^k)\) integers, see `change_of_basis`.

    Example:
        >>> print(decompose(3), decompose(4, "sym"), decompose(1, pseudo=True))
        1x0o+3x1o+2x2o+1x3o 1x0e+1x2e+1x4e 1x1e
        >>> [piece.path for piece in decompose(3).pieces if piece.degree == 1]
        [(1, 0, 1), (1, 1, 1), (1, 2, 1)]

    Source:
        Geiger and Smidt, e3nn: Euclidean neural networks, arXiv:2207.09453, for the basis of the irreps.
    """
    return Decomposition(order, symmetry, pseudo)


def change_of_basis(order: int, symmetry: Symmetry | None = None, *, dtype: Any = np.float64) -> np.ndarray:
    r"""Return the matrix Q from the Cartesian entries of a tensor to the components of its irreps.

    Columns are the entries in row-major order, axes x, y, z. Rows are the components of the pieces of
    `decompose(order, symmetry)` one after another. Rows are orthonormal, and for a rotation R
    \(Q R^{\otimes k} Q^T = \bigoplus D^l(R)\), with the real Wigner matrices of e3nn. Components agree with e3nn,
    m = -l, ..., l about the axis y: (x, y, z) for l = 1, and
    \((\sqrt{3} xz, \sqrt{3} xy, y^2 - (x^2 + z^2)/2, \sqrt{3} yz, \sqrt{3}(z^2 - x^2)/2)\) up to a positive factor for
    l = 2. Each step of a path has the sign of e3nn's `clebsch_gordan(l, 1, l')`. The exact matrix is
    `decompose(order).rows()` over the square roots of `squared_norms()`.

    Args:
        order: the number k of axes.
        symmetry: `None`, `"sym"` or `"alt"`; rows then span only these tensors.
        dtype: float64 or float32.

    Returns:
        `[dim, 3^order]`, square without symmetry.

    Raises:
        OptionError: as in `decompose`.
        DTypeError: if the dtype is another one.
        TooLargeError: if it would take more than 4 GiB to compute: from order 9 on, 13 for symmetric tensors.

    Cost: time and memory \(O(9^k)\); the integers are cached. A few ms up to order four, 0.1 s for order six, 7 s for
    order eight.

    Example:
        >>> change_of_basis(2)[0].round(3).tolist()     # the trace over the square root of three
        [0.577, 0.0, 0.0, 0.0, 0.577, 0.0, 0.0, 0.0, 0.577]

    Source:
        Geiger and Smidt, e3nn: Euclidean neural networks, arXiv:2207.09453.
    """
    return Decomposition(order, symmetry).matrix(dtype)
