r"""Solid harmonics as polynomials with integer coefficients, and the maps \(V_l \otimes V \to V_{l'}\) between them.

A homogeneous polynomial of degree l is a symmetric tensor of order l; the harmonic ones are the irreducible
representation of degree l of SO(3). Up to a norm for each degree and order they have integer coefficients, and so do
the maps: the gradient lowers the degree, \(x \times \nabla\) keeps it, and multiplication by a coordinate raises it.
This file takes no square roots.
"""

from __future__ import annotations

import functools
import math

import numpy as np

Exponents = tuple[int, int, int]
Polynomial = dict[Exponents, int]
r"""Monomials \(x^a y^b z^c\) with their coefficients."""

AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def product(p: Polynomial, q: Polynomial) -> Polynomial:
    """Multiply two polynomials."""
    result: Polynomial = {}
    for (a, b, c), left in p.items():
        for (d, e, f), right in q.items():
            place = (a + d, b + e, c + f)
            result[place] = result.get(place, 0) + left * right
    return {place: value for place, value in result.items() if value}


def power(p: Polynomial, exponent: int) -> Polynomial:
    """Raise a polynomial to a power."""
    return functools.reduce(product, [p] * exponent, {(0, 0, 0): 1})


def total(*terms: tuple[int, Polynomial]) -> Polynomial:
    """Add polynomials with integer coefficients."""
    result: Polynomial = {}
    for factor, p in terms:
        for place, value in p.items():
            result[place] = result.get(place, 0) + factor * value
    return {place: value for place, value in result.items() if value}


def derivative(p: Polynomial, axis: int) -> Polynomial:
    """Differentiate with respect to a coordinate."""
    step = AXES[axis]
    return {
        (place[0] - step[0], place[1] - step[1], place[2] - step[2]): place[axis] * value
        for place, value in p.items()
        if place[axis]
    }


def factorials(place: Exponents) -> int:
    r"""Return \(a!\, b!\, c!\)."""
    return math.prod(math.factorial(exponent) for exponent in place)


def inner(p: Polynomial, q: Polynomial) -> int:
    r"""The inner product \(\sum a!\, b!\, c!\, p_{abc}\, q_{abc}\) of symmetric tensors, which rotations preserve."""
    return sum(factorials(place) * value * q[place] for place, value in p.items() if place in q)


@functools.cache
def solid_harmonics(degree: int) -> tuple[Polynomial, ...]:
    r"""Return the real solid harmonics of a degree, each with coprime integer coefficients, orthogonal to each other.

    The polar axis is y, and the order is m = -l, ..., l: the imaginary part of \((z + ix)^{|m|}\) for negative m, the
    real part for the others, times a polynomial in y and \(r^2\) whose highest power of y is positive.

    Example:
        >>> [sorted(p.items()) for p in solid_harmonics(1)]
        [[((1, 0, 0), 1)], [((0, 1, 0), 1)], [((0, 0, 1), 1)]]
        >>> solid_harmonics(2)[2] == {(0, 2, 0): 2, (2, 0, 0): -1, (0, 0, 2): -1}
        True
    """
    square = {(2, 0, 0): 1, (0, 2, 0): 1, (0, 0, 2): 1}
    found = []
    for m in range(-degree, degree + 1):
        order = abs(m)
        # Re and Im of (z + ix)^order: i^j is real for even j, and its sign is the j // 2-th power of -1.
        round_axis = {
            (j, 0, order - j): (-1) ** (j // 2) * math.comb(order, j) for j in range(int(m < 0), order + 1, 2)
        }
        along_axis = total(
            *(
                (
                    (-1) ** k
                    * math.comb(degree, k)
                    * math.comb(2 * degree - 2 * k, degree)
                    * math.perm(degree - 2 * k, order),
                    product(power(square, k), {(0, degree - 2 * k - order, 0): 1}),
                )
                for k in range((degree - order) // 2 + 1)
            )
        )
        harmonic = product(along_axis, round_axis)
        divisor = math.gcd(*harmonic.values())
        found.append({place: value // divisor for place, value in harmonic.items()})
    return tuple(found)


def norms(degree: int) -> tuple[int, ...]:
    """Return the squared norms of the solid harmonics of a degree."""
    return tuple(inner(p, p) for p in solid_harmonics(degree))


@functools.cache
def step_matrix(source: int, target: int) -> np.ndarray:
    r"""Return the map \(V_l \otimes V \to V_{l'}\) in solid harmonics: int64 `[2l'+1, 2l+1, 3]`, up to a factor.

    Entry (m', m, i) is \(\langle Y'_{m'}, O_i Y_m \rangle / \langle Y_m, Y_m \rangle\), with O the gradient, the
    rotation \(x \times \nabla\), or multiplication by \(x_i\): vectors \(v_m\) that transform as the \(Y_m\) become
    \(v'_{m'} = \sum_{m, i} M_{m' m i}\, v_m \otimes e_i\) that transform as the \(Y'_{m'}\).
    """
    lengths = norms(source)
    common = math.lcm(*lengths)
    entries = []
    for above in solid_harmonics(target):
        for below, length in zip(solid_harmonics(source), lengths, strict=True):
            for axis in range(3):
                entries.append(inner(above, _image(below, axis, target - source)) * (common // length))
    divisor = math.gcd(*entries)
    return np.array([entry // divisor for entry in entries], np.int64).reshape(2 * target + 1, 2 * source + 1, 3)


def _image(p: Polynomial, axis: int, change: int) -> Polynomial:
    if change < 0:
        return derivative(p, axis)
    if change > 0:
        return product(p, {AXES[axis]: 1})
    before, after = (axis + 1) % 3, (axis + 2) % 3
    turns = [product({AXES[i]: 1}, derivative(p, j)) for i, j in ((before, after), (after, before))]
    return total((1, turns[0]), (-1, turns[1]))
