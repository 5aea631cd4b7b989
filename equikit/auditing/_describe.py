"""Words for group elements: cycles, shifts, rotations, reflections, boosts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from equikit.auditing._elements import identity, same
from equikit.groups import Group

SMALL = 1e-6
"""Smaller angles and rapidities are zero."""

MOST_MOVED = 8
"""Permutations that move more points are described by their number."""


def describe(groups: Mapping[str, Group], elements: Mapping[str, np.ndarray]) -> str:
    """Describe an element of a product of groups, without the labels on which it is the identity.

    Example:
        >>> from equikit import O, S
        >>> describe({"p": S(4), "x": O(3)}, {"p": np.array([3, 1, 2, 0]), "x": np.diag([1, 1, -1])})
        'the transposition (0 3) of p and the reflection of x along (0, 0, 1)'
    """
    moved = [label for label in elements if not same(groups[label], elements[label], identity(groups[label]))]
    return " and ".join(_described(label, groups[label], elements[label]) for label in moved) or "the identity"


def _described(label: str, group: Group, element: np.ndarray) -> str:
    if group.elements_are == "permutations":
        return _permutation(label, group, element)
    if group.elements_are == "signed permutations":
        return _signed(label, element)
    if group.form is None and group.keeps_norm and not group.is_complex:
        return _orthogonal(label, element)
    metric = group.form is not None and group.form.kind == "metric"
    return _boost(label, group, element) if metric else _matrix(label, group, element)


def cycles(permutation: np.ndarray) -> list[list[int]]:
    """Return the cycles of a permutation with more than one point, each from its smallest point on."""
    seen: set[int] = set()
    found = []
    for start in range(len(permutation)):
        cycle, point = [], start
        while point not in seen:
            seen.add(point)
            cycle.append(point)
            point = int(permutation[point])
        if len(cycle) > 1:
            found.append(cycle)
    return found


def _permutation(label: str, group: Group, element: np.ndarray) -> str:
    n, found = len(element), cycles(element)
    shift = int(element[0])
    if group.family in ("cyclic", "dihedral") and n > 2:
        if np.array_equal(element, (np.arange(n) + shift) % n):
            return f"the shift of {label} by {shift}"
        if np.array_equal(element, (shift - np.arange(n)) % n):
            return f"the reflection of {label} that sends i to {shift} - i"
    text = "".join(f"({' '.join(map(str, cycle))})" for cycle in found)
    moved = sum(map(len, found))
    if moved == 2:
        return f"the transposition {text} of {label}"
    if moved <= MOST_MOVED:
        return f"the permutation {text} of {label}"
    odd = (moved - len(found)) % 2
    return f"{'an odd' if odd else 'an even'} permutation of {label} that moves {moved} of {n} points"


def _signed(label: str, element: np.ndarray) -> str:
    negative = np.flatnonzero(element < 0)
    if np.array_equal(np.abs(element), np.arange(1, len(element) + 1)):
        return f"the sign change of {label} at {', '.join(map(str, negative))}"
    text = "".join(f"({' '.join(map(str, cycle))})" for cycle in cycles(np.abs(element) - 1))
    return f"the permutation {text} of {label} with {len(negative) or 'no'} sign change{'s' * (len(negative) != 1)}"


def vector_text(vector: np.ndarray) -> str:
    """Return a vector with two significant digits, scaled to a largest entry of one if all entries are then integers.

    Example:
        >>> vector_text(np.array([0.0, 0.6, 0.8])), vector_text(np.array([0.5**0.5, 0, 0.5**0.5]))
        ('(0, 0.6, 0.8)', '(1, 0, 1)')
    """
    scaled = vector / max(float(np.max(np.abs(vector), initial=0)), 1e-300)
    shown = np.round(scaled) if np.allclose(scaled, np.round(scaled), atol=1e-4) else np.round(vector, 2)
    return f"({', '.join(f'{entry + 0.0:g}' for entry in shown)})"


def upright(vector: np.ndarray) -> np.ndarray:
    """Return the vector or its negative, so that the last entry that is not small is positive."""
    large = np.flatnonzero(np.abs(vector) > 1e-6 * np.max(np.abs(vector), initial=0))
    return -vector if len(large) and vector[large[-1]] < 0 else vector


def _orthogonal(label: str, matrix: np.ndarray) -> str:
    n = len(matrix)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    is_symmetric = np.allclose(matrix, matrix.T, atol=SMALL)
    negative = int(np.sum(values < -0.5)) if is_symmetric else 0
    if n == 1:
        return f"the sign change of {label}"
    if is_symmetric and negative == 1:
        return f"the reflection of {label} along {vector_text(upright(vectors[:, 0]))}"
    if is_symmetric and negative == n and n != 2:
        return f"the inversion of {label}"
    odd = np.linalg.det(matrix) < 0
    if n == 3:
        axis, angle = _axis_angle(-matrix if odd else matrix)
        turn = f"by {angle:.0f}° about {vector_text(axis)}"
        return f"the inversion of {label} with a rotation {turn}" if odd else f"the rotation of {label} {turn}"
    turned = np.degrees(np.angle(np.linalg.eigvals(matrix)))
    turned = np.sort(turned[(turned > np.degrees(SMALL)) & (turned < 180 - np.degrees(SMALL))])[::-1]
    angles = ", ".join(f"{angle:.0f}°" for angle in turned)
    if n == 2:
        sine = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        return f"the rotation of {label} by {sine:.0f}°"
    turns = f"by {angles or '180°'} in {max(len(turned), 1)} plane{'s' * (len(turned) > 1)}"
    return f"a reflection of {label} with a rotation {turns}" if odd else f"a rotation of {label} {turns}"


def _axis_angle(rotation: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the axis of a rotation in three dimensions, and its angle in degrees."""
    from scipy.spatial.transform import Rotation  # takes a tenth of a second to import

    vector = Rotation.from_matrix(rotation).as_rotvec()
    angle = float(np.linalg.norm(vector))
    axis = vector / max(angle, 1e-300)
    up = upright(axis)
    flipped = not np.array_equal(up, axis) and angle < np.pi - SMALL
    return up, float(np.degrees(-angle if flipped else angle))


def _boost(label: str, group: Group, matrix: np.ndarray) -> str:
    """Describe an element of O(p, q); with one direction of time, by its boost."""
    form = group.form
    assert form is not None, "the caller has checked the group"
    signs = np.diag(form.matrix(len(matrix)))
    times = np.flatnonzero(signs == (1 if np.sum(signs > 0) == 1 else -1))
    if len(times) != 1:
        return _matrix(label, group, matrix)
    time, space = times[0], np.delete(np.arange(len(matrix)), times[0])
    words = ["a time reversal"] if matrix[time, time] < 0 else []
    words += ["a reflection of space"] if np.linalg.det(matrix[np.ix_(space, space)]) < 0 else []
    rapidity = float(np.arccosh(max(abs(matrix[time, time]), 1.0)))
    if rapidity > SMALL:
        direction = matrix[space, time] * np.sign(matrix[time, time])
        words.append(f"a boost with rapidity {rapidity:.2g} along {vector_text(direction / np.linalg.norm(direction))}")
    elif not words:
        words.append("a rotation of space")
    return f"{' and '.join(words)} of {label}"


def _matrix(label: str, group: Group, matrix: np.ndarray) -> str:
    if group.keeps_norm:
        return f"an element of {group} on {label}"
    return f"an element of {group} on {label} that stretches by {float(np.linalg.norm(matrix, 2)):.2g}"
