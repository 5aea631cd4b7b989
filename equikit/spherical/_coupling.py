"""The coupling of two irreps to a third, as a diagram between Cartesian tensors with an exact scale."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from equikit import _checks
from equikit.diagrams import Diagram, refuse_if_large
from equikit.spherical._product import METHODS, Components, Method, Terms, by_e3j, by_terms, operands
from equikit.spherical._rows import exact_rows

if TYPE_CHECKING:
    import sympy

BYTES = 64
"""Estimated bytes for each entry of a dense diagram and of its products."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Coupling:
    r"""The equivariant map \(V_a \otimes V_b \to V_c\), unique up to a factor, as a diagram.

    Irreps of degrees a, b and c are the symmetric traceless tensors of these orders. The map is the diagram on the
    outer product of two such tensors, followed by the projection onto symmetric traceless tensors, times `scale`.

    Attributes:
        degrees: a, b and c.
        diagram: from a + b axes to c: pairs join \(\lfloor (a + b - c) / 2 \rfloor\) axes of the first tensor with axes
            of the second; if a + b - c is odd, a Levi-Civita tensor maps one axis of each to one of the result.
        squared_scale: the square of the scale, which is positive.
    """

    degrees: tuple[int, int, int]
    diagram: Diagram
    squared_scale: Fraction

    @property
    def scale(self) -> sympy.Expr:
        """The factor of the diagram, a square root of a rational number as a SymPy value."""
        import sympy

        return sympy.sqrt(sympy.Rational(self.squared_scale.numerator, self.squared_scale.denominator))

    def tensor(self) -> np.ndarray:
        r"""The map in components, float64 `[2a+1, 2b+1, 2c+1]`: e3nn's `clebsch_gordan(a, b, c)` times \(\sqrt{2c+1}\).

        Example:
            >>> coupling(1, 1, 0).tensor()[:, :, 0].diagonal().round(4).tolist()
            [0.5774, 0.5774, 0.5774]
        """
        whole, norms = _components(self.degrees, self.diagram)
        squares = self.squared_scale.numerator / (norms * self.squared_scale.denominator)
        tensor: np.ndarray = whole * np.sqrt(squares.astype(np.float64))
        return tensor

    def __call__(self, x: Components, y: Components, *, method: Method = "terms") -> Components:
        r"""Couple two arrays of irreps, channel by channel: \(z_k = \sum_{ij} T_{ijk} x_i y_j\), with T the `tensor`.

        The result is that of `tensor_product` in e3nn. Parities multiply, and are not looked at here.

        Args:
            x: `[*batch, 2a + 1, channels]`, such as an entry of what `to_irreps` returns.
            y: `[*batch, 2b + 1, channels]`. One of both may have a single channel, which goes with all of the other.
            method: `"terms"` sums the nonzero entries of T. `"e3j"` calls the tensor product of the package e3j, with
                the kernel that `e3j.config().tensor_product` names when the function is traced. Its kernel for TPUs
                reads and writes each array once, where `"terms"` moves several times as many bytes; on CPUs it has no
                kernel, and `"terms"` is faster.

        Returns:
            `[*batch, 2c + 1, channels]`, in the wider of both dtypes. Half precision is summed in float32.

        Raises:
            ShapeError: if an array does not fit.
            DTypeError: if an array is an integer array, would be cast, or the dtypes do not go together.
            OptionError: if the method is unknown, or e3j refuses the arrays: its kernel for Hopper needs float32 and a
                multiple of 128 channels.
            MissingPackageError: if the method is `"e3j"`, and e3j is not installed.

        Cost: three operations for each nonzero entry of T, batch entry and channel.

        Example:
            >>> import jax.numpy as jnp
            >>> u, v = jnp.eye(3)[:2, :, None]
            >>> (coupling(1, 1, 1)(u, v)[:, 0] * 2**0.5).round(4).tolist()     # the cross product
            [0.0, 0.0, 1.0]
        """
        _checks.choice("method", method, METHODS)
        left, right = operands(self.degrees, x, y)
        if method == "e3j":
            return by_e3j(self.degrees, left, right)
        result: Components = by_terms(_terms(self), left, right)
        return result


def coupling(first: int, second: int, result: int) -> Coupling:
    r"""Couple irreps of degrees a and b to degree c by a diagram, with the scale that e3nn's `tensor_product` has.

    With \(P_l\) the last 2l + 1 rows of `change_of_basis(l)`, which map symmetric traceless tensors to components,

    \(\mathrm{tensor\_product}(x, y)_c = s\, P_c D (P_a^T x \otimes P_b^T y)\)

    in e3nn's default normalization (`irrep_normalization="component"`). The square of s is rational and computed with
    integers; s is positive, as comparisons with e3nn for all degrees up to four show. Up to degree two:

    | a, b, c | s | | a, b, c | s |
    | --- | --- | --- | --- | --- |
    | 0, l, l | 1 | | 1, 2, 2 | \(\sqrt{2/3}\) |
    | a, b, a + b | 1 | | 2, 2, 0 | \(\sqrt{1/5}\) |
    | 1, 1, 0 | \(\sqrt{1/3}\) | | 2, 2, 1 | \(\sqrt{2/5}\) |
    | 1, 1, 1 | \(\sqrt{1/2}\) | | 2, 2, 2 | \(\sqrt{12/7}\) |
    | 1, 2, 1 | \(\sqrt{3/5}\) | | 2, 2, 3 | 1 |

    Args:
        first, second: the degrees a and b.
        result: the degree c, from |a - b| to a + b.

    Returns:
        The diagram and its scale.

    Raises:
        OptionError: if a degree is not a nonnegative integer, or no equivariant map exists.
        TooLargeError: if a + b + c is above 16, where dense diagrams take gigabytes.

    Cost: \(3^{a + b + c}\) integers.

    Example:
        >>> cross = coupling(1, 1, 1)
        >>> print(cross.diagram, "times", cross.scale)
        x x -> x: ^1 | ^1' | ^2' times sqrt(2)/2

    Source:
        Geiger and Smidt, e3nn: Euclidean neural networks, arXiv:2207.09453.
    """
    degrees = {"first": first, "second": second, "result": result}
    a, b, c = (_checks.count(name, degree) for name, degree in degrees.items())
    step = f"write coupling({a}, {b}, {abs(a - b)})"
    _checks.count("result", c, least=abs(a - b), most=a + b, step=step)
    return _coupling(a, b, c)


@functools.lru_cache(maxsize=256)
def _coupling(a: int, b: int, c: int) -> Coupling:
    diagram = contraction(a, b, c)
    whole, norms = _components((a, b, c), diagram)
    terms = (Fraction(int(entry) ** 2, norm) for entry, norm in zip(whole.flat, norms.flat, strict=True) if entry)
    return Coupling((a, b, c), diagram, (2 * c + 1) / sum(terms, Fraction(0)))


@functools.lru_cache(maxsize=256)
def _terms(coupling: Coupling) -> Terms:
    """Return the nonzero entries of the tensor for each component of the result."""
    tensor = coupling.tensor()
    return tuple(
        tuple((int(i), int(j), float(entries[i, j])) for i, j in np.argwhere(entries))
        for entries in np.moveaxis(tensor, 2, 0)
    )


def contraction(a: int, b: int, c: int) -> Diagram:
    """Return the diagram of a coupling: it joins the last axes of both tensors, and keeps the axes before them."""
    joined, crossed = divmod(a + b - c, 2)
    top, left, right = [*range(c)], [*range(c, c + a)], [*range(c + a, c + a + b)]
    pairs = [(left.pop(), right.pop()) for _ in range(joined)]
    legs = [(row.pop(),) for row in (top, left, right)] if crossed else []
    blocks = [*legs, *pairs, *zip(top, [*left, *right], strict=True)]
    diagram = Diagram.from_blocks(("x",) * c, ("x",) * (a + b), blocks)
    if not crossed:
        return diagram
    return Diagram(
        diagram.top, diagram.bottom, diagram.growth, (), (("x", 3, tuple(diagram.growth[v] for (v,) in legs)),)
    )


def _components(degrees: tuple[int, int, int], diagram: Diagram) -> tuple[np.ndarray, np.ndarray]:
    """Return the map between integer rows, int64 `[2a+1, 2b+1, 2c+1]`, and the product of their squared norms."""
    a, b, c = degrees
    step = "use smaller degrees, whose sum is at most 16"
    refuse_if_large("the dense form of the diagram", 3 ** (a + b + c), BYTES, step)
    sources = []
    for degree in degrees:
        rows, norms = exact_rows(degree, "sym")
        sources.append((rows[-(2 * degree + 1) :], norms[-(2 * degree + 1) :]))
    (left, n), (right, m), (above, k) = sources
    largest = [int(abs(rows).sum(axis=1).max()) for rows in (left, right, above)]
    assert math.prod(largest) < 2**63, "the integers of these degrees need more than 64 bits"
    dense = diagram.matrix(3).reshape(3**c, 3**a, 3**b)
    whole = np.einsum("tij,ai,bj,ct->abc", dense, left, right, above, optimize=True)
    return whole, np.multiply.outer(np.multiply.outer(n.astype(object), m), k)
