"""Whether one group contains another, decided on the generators and the Lie algebra of the smaller one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from equikit._errors import EquikitError, GroupError
from equikit.diagrams import HomSpace, hom
from equikit.groups import DirectSum, Group, MatrixGroup

CLOSE = 1e-9
"""Matrices whose entries differ by less than this, relative to the largest entry, are the same."""

HIGHEST = 4
"""The highest order of an invariant tensor that is compared; a determinant is compared by itself."""

SHIFTS = 8
"""The number of elements by which a matrix is moved before its logarithm is compared with a Lie algebra."""


def refuse_outside(label: str, larger: Group, smaller: Group) -> None:
    """Raise `GroupError` unless each generator and Lie algebra element of a group lies in the larger group.

    Generators are compared with what defines the larger group: its form or inner product, its invariant tensors, its
    elements if it is finite, its blocks if it is a direct sum. For a `MatrixGroup` with a Lie algebra, a generator has
    to be a product of given generators and an exponential, which is a proof of membership but may fail to find one.
    """
    if larger == smaller:
        return
    kinds = ("generator", elements(smaller), contains), ("Lie algebra element", algebra(smaller), contains_algebra)
    for kind, matrices, inside in kinds:
        for matrix in matrices:
            if not inside(larger, matrix):
                raise GroupError(
                    f"on {label!r} a group does not contain the next one",
                    got=f"{larger}, then {smaller}, whose {kind} {np.round(matrix, 3).tolist()} is not in it",
                    expected="groups in descending order",
                    step="give the larger group first, in the same coordinates",
                )


def elements(group: Group) -> list[np.ndarray]:
    """Return the generators of a group as matrices."""
    return [group.matrix(element) for element in group.generators(group.n)]


def algebra(group: Group) -> list[np.ndarray]:
    """Return matrices that generate the Lie algebra; nothing for a finite group."""
    found = getattr(group, "lie_algebra", None)
    matrices: list[np.ndarray] = [] if found is None else found(group.n)
    return matrices


def contains(group: Group, matrix: np.ndarray) -> bool:
    """Whether a matrix is an element of a group."""
    if isinstance(group, DirectSum):
        blocks = zip(group.parts, group.blocks_of_entries, strict=True)
        return _is_block_diagonal(group, matrix) and all(contains(part, matrix[at, at]) for part, at in blocks)
    if np.any(np.imag(matrix)) and not group.is_complex:
        return False
    if isinstance(group, MatrixGroup) and group.algebra:
        return _is_generated(group, matrix)
    orders = group.defining_orders(group.n or 0)
    if orders is None:
        return any(_same(group.matrix(element), matrix) for element in _listed(group))
    if group.special and not np.isclose(np.linalg.det(matrix), 1, atol=CLOSE):
        return False
    form = _form(group)
    kept = not orders or form is None or _same(_adjoint(group, matrix) @ form @ matrix, form)
    return kept and all(_same(tensor, _moved(tensor, matrix)) for tensor in _tensors(group, orders))


def contains_algebra(group: Group, matrix: np.ndarray) -> bool:
    """Whether a matrix is in the Lie algebra of a group."""
    if isinstance(group, DirectSum):
        blocks = zip(group.parts, group.blocks_of_entries, strict=True)
        return _is_block_diagonal(group, matrix) and all(contains_algebra(part, matrix[at, at]) for part, at in blocks)
    if np.any(np.imag(matrix)) and not group.is_complex:
        return False
    if isinstance(group, MatrixGroup):
        return _in_span(_closed(group), matrix)
    orders = group.defining_orders(group.n or 0)
    if orders is None or group.is_finite:
        return not np.any(matrix)
    form = _form(group)
    if orders and form is not None and not _vanishes(_adjoint(group, matrix) @ form + form @ matrix, matrix):
        return False
    return all(_vanishes(_derived(tensor, matrix), matrix) for tensor in _tensors(group, orders))


def _form(group: Group) -> np.ndarray | None:
    """Return the bilinear form or the inner product that a group preserves, `None` for none."""
    if group.form is not None:
        return group.form.matrix(group.n or 0)
    return np.eye(group.n or 0) if group.keeps_norm else None


def _adjoint(group: Group, matrix: np.ndarray) -> np.ndarray:
    """Return the transpose, or the conjugate transpose for an inner product."""
    return np.asarray(matrix.T if group.form is not None else matrix.conj().T)


def _tensors(group: Group, orders: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield the invariant tensors of a group that define it, apart from the form and the determinant."""
    for order in sorted({order for order in orders if order <= HIGHEST and order != 2}):
        space = hom(f"{' '.join('x' * order) or '()'} -> ()", x=group)
        assert isinstance(space, HomSpace)
        yield from space.matrices().reshape(-1, *(group.n or 0,) * order)


def _moved(tensor: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a matrix to every axis of a tensor."""
    for axis in range(tensor.ndim):
        tensor = np.moveaxis(np.tensordot(tensor, matrix, (axis, 0)), -1, axis)
    return tensor


def _derived(tensor: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply an element of a Lie algebra to a tensor: the sum over the axes."""
    parts = [np.moveaxis(np.tensordot(tensor, matrix, (axis, 0)), -1, axis) for axis in range(tensor.ndim)]
    return np.asarray(sum(parts, np.zeros(tensor.shape)))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.all(np.abs(one - other) <= CLOSE * max(1.0, float(np.max(np.abs(other), initial=0)))))


def _vanishes(array: np.ndarray, scale: np.ndarray) -> bool:
    return bool(np.all(np.abs(array) <= CLOSE * max(1.0, float(np.max(np.abs(scale), initial=0)))))


def _is_block_diagonal(group: DirectSum, matrix: np.ndarray) -> bool:
    rest = np.array(matrix)
    for at in group.blocks_of_entries:
        rest[at, at] = 0
    return not np.any(np.abs(rest) > CLOSE)


def _listed(group: Group) -> np.ndarray:
    try:
        return group.elements()
    except EquikitError as error:
        raise GroupError(
            f"it cannot be decided what {group} contains",
            got=f"{group}, whose elements cannot be listed",
            expected="a family of equikit, or generators of a finite group with at most 5,040 elements",
            step="give the Lie algebra of an infinite group as lie_algebra=",
        ) from error


def _closed(group: MatrixGroup) -> np.ndarray:
    """Return a basis of the Lie algebra as rows: given elements and their brackets, orthonormal."""
    size = group.n or 0
    rows = np.zeros((0, size * size))
    new = [matrix.ravel() for matrix in group.lie_algebra()]
    while new:
        before = len(rows)
        _, singular, found = np.linalg.svd(np.array([*rows, *new]))
        rows = found[: int(np.sum(singular > CLOSE * max(1.0, float(singular[0]))))]
        if len(rows) == before:
            break
        squares = [row.reshape(size, size) for row in rows]
        new = [(a @ b - b @ a).ravel() for a, b in itertools.combinations(squares, 2)]
    return rows


def _in_span(rows: np.ndarray, matrix: np.ndarray) -> bool:
    flat = matrix.ravel()
    return _vanishes(flat - rows.T @ (rows.conj() @ flat), flat)


def _is_generated(group: MatrixGroup, matrix: np.ndarray) -> bool:
    """Whether a matrix is found to be a product of up to two generators and exponentials of the Lie algebra."""
    from scipy.linalg import expm  # installed with JAX, not with NumPy

    size, rows, generator = group.n or 0, _closed(group), np.random.default_rng(0)
    if abs(np.linalg.det(matrix)) < CLOSE:
        return False
    inverse = np.linalg.inv(matrix)
    if not all(_in_span(rows, matrix @ row.reshape(size, size) @ inverse) for row in rows):
        return False  # every element of the group maps the Lie algebra to itself
    letters = {g.tobytes(): g for m in group.generators() for g in (m.astype(np.float64), np.linalg.inv(m))}
    words = [np.eye(size), *letters.values(), *(a @ b for a, b in itertools.product(letters.values(), repeat=2))]
    shifts = [expm((generator.normal(size=len(rows)) @ rows).reshape(size, size)) for _ in range(SHIFTS)]
    return any(_has_logarithm(matrix @ word @ shift, rows) for word, shift in itertools.product(words, shifts))


def _has_logarithm(matrix: np.ndarray, rows: np.ndarray) -> bool:
    """Whether the principal logarithm of a matrix lies in a Lie algebra; `False` where it has no eigenvectors."""
    values, vectors = np.linalg.eig(matrix)
    if np.linalg.cond(vectors) > 1e6 or np.min(np.abs(values + 1)) < 1e-3:
        return False
    return _in_span(rows, vectors @ np.diag(np.log(values.astype(complex))) @ np.linalg.inv(vectors))
