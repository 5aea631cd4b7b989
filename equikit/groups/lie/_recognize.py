"""Name a Lie algebra of matrices, and find the basis in which its matrices are standard."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equikit import _checks
from equikit._errors import GroupError
from equikit.groups.lie._algebra import (
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
from equikit.groups.lie._recognized import Block, Recognized
from equikit.groups.lie._simple import abstract_name

ACCEPTED = 3.0
"""A name is given to an algebra whose distance from the named one is at most this multiple of the tolerance."""


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


def moved(recognized: Recognized, frame: NDArray[np.float64], tolerance: float) -> Recognized:
    """Return an algebra in coordinates x = frame z, where its present ones are z.

    Args:
        recognized: the algebra.
        frame: an invertible matrix `[n, n]`.
        tolerance: the noise of the present algebra; its matrices are rounded to fractions if that allows it.
    """
    algebra = np.array([[[float(x) for x in row] for row in matrix] for matrix in recognized.matrices])
    algebra = orthonormal(frame @ algebra.reshape(-1, *frame.shape) @ np.linalg.inv(frame))
    exact = rational(algebra, tolerance)
    if exact is not None:
        rounded = np.array([[[float(x) for x in row] for row in matrix] for matrix in exact])
        found = _recognized(rounded.reshape(-1, *frame.shape), 1e-9)
        if found.name == recognized.name:
            return replace(found, matrices=exact, exact=True, residual=recognized.residual)
    if not recognized.known:
        return replace(recognized, matrices=algebra, standard=algebra, exact=False)
    change = frame @ recognized.change_of_basis
    matrices = change @ recognized.standard @ np.linalg.inv(change)
    return replace(recognized, matrices=matrices, change_of_basis=change, exact=False)


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
        # The coordinates enlarge the noise of the computation, but not the distance from a named algebra.
        bound = min(20 * max(noise, 1e-9), max(ACCEPTED * tolerance, 1e-7))
        whole = verified("", change @ columns, np.array(standard).reshape(-1, n, n), basis, bound)
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
