"""Polynomial invariants that characterize the matrices of a group, from the diagrams of the group."""

from __future__ import annotations

import functools
import itertools
import math
import string
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import GroupError
from equikit.diagrams import Diagram, diagram_tensor, forms_of, hom, refuse_if_large
from equikit.groups import Group
from equikit.symmetrization.engine._element import Array

LABEL = "x"
"""The label of the diagrams, for a single axis."""

MOST_MINORS = 6
"""The largest matrix whose determinant is computed by minors; n rows have 2^n minors."""


def invariants(group: Group, vectors: jax.Array, *, orders: int | Sequence[int] | None = None) -> dict[str, jax.Array]:
    r"""Evaluate the invariant tensors of a group on vectors: polynomials that the group preserves.

    For each diagram D of `hom("x ... x -> ", x=group)` with k axes and vectors \(v_1, \dots, v_m\) in columns, the
    invariants are all \(D(v_{a_1}, \dots, v_{a_k})\). Diagrams with several components are products of smaller
    diagrams, and are omitted. Pairings give \(V^T V\), \(V^T \eta V\), \(V^T \Omega V\) and for U(n) \(V^T \bar V\); a
    Levi-Civita tensor gives determinants, and blocks of permutations give sums of products of entries.

    For a square matrix M and enough orders, the invariants are complete: they equal the invariants of the identity if
    and only if M preserves each of these tensors. For all families here, such matrices are the group: for O, Sp and U
    by definition; for SO with the determinant; for permutations because a unit vector whose cubes sum to one has a
    single entry. Without the Levi-Civita tensor, reflections would satisfy the conditions of SO.

    Args:
        group: the group that acts on the vectors.
        vectors: `[*batch, n, m]`, m vectors in columns; complex for U(n).
        orders: the orders k of the tensors; by default orders that characterize the group, unknown for MatrixGroup.

    Returns:
        For each diagram, by its text, an array `[*batch, m, ..., m]` with k axes; for a head with k legs, one number
        for each k of the vectors, `[*batch, m! / (k! (m - k)!)]`. In float32 or wider.

    Raises:
        GroupError: if the orders are not known, or no polynomial is invariant, as for GL(n).
        ShapeError, DTypeError: if the vectors do not fit the group.
        TooLargeError: if the invariants do not fit in memory, or the diagrams are dependent and too many.

    Cost: \(O(n m^k)\) for each sample; \(O(n^3)\) for each determinant.

    Example:
        >>> from equikit import SO
        >>> reflection = jnp.diag(jnp.array([1.0, 1.0, -1.0]))
        >>> {name: value.shape for name, value in invariants(SO(3), reflection).items()}
        {"x x -> (): 1' 2'": (3, 3), "x x x -> (): ^1' | ^2' | ^3'": (1,)}

    Source:
        Nguyen et al., Learning symmetrization for equivariance with orbit distance minimization, arXiv:2311.07143,
        section 3; Weyl, The classical groups, for the tensors.
    """
    vectors = _checked(group, "vectors", vectors, "vectors")
    n = vectors.shape[-2]
    found: dict[str, jax.Array] = _all_evaluated(_known(group, n, orders), vectors)
    return found


def orbit_distance(group: Group, matrix: jax.Array, *, orders: int | Sequence[int] | None = None) -> jax.Array:
    r"""Return the squared distance between the invariants of a matrix and the invariants of the identity.

    It is \(\sum_D \lVert D(M, \dots, M) - D \rVert^2 / \lVert D \rVert^2\) over the diagrams of `invariants`, each
    relative to its own size. For O(p, q) it is \(\lVert M^T \eta M - \eta \rVert^2 / n\), for SO(n) this and
    \((\det M - 1)^2\). It is zero if and only if M is in the group, which is the orbit of the identity.

    Args:
        group: the group.
        matrix: `[*batch, n, n]`.
        orders: as for `invariants`.

    Returns:
        `[*batch]`, float32 or wider; its square root is the residual.

    Raises:
        ShapeError: if the matrix is not square; otherwise as in `invariants`.

    Cost: the same as for the invariants.

    Example:
        >>> from equikit import O, SO
        >>> reflection = jnp.diag(jnp.array([1.0, -1.0]))
        >>> float(orbit_distance(O(2), reflection)), float(orbit_distance(SO(2), reflection)) > 1
        (0.0, True)

    Source:
        Nguyen et al., arXiv:2311.07143, section 3.
    """
    step = "use invariants() for a number of vectors that is not their dimension"
    matrix = _checked(group, "matrix", matrix, _rows(group), step)
    n = matrix.shape[-2]
    distance: jax.Array = _distance(_known(group, n, orders), matrix)
    return distance


@functools.partial(jax.jit, static_argnums=0)
def _all_evaluated(diagrams: tuple[Diagram, ...], vectors: Array) -> dict[str, Array]:
    wide = vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))
    return {str(diagram): _evaluated(diagram, wide) for diagram in diagrams}


@functools.partial(jax.jit, static_argnums=0)
def _distance(diagrams: tuple[Diagram, ...], matrix: Array) -> Array:
    found = _all_evaluated(diagrams, matrix)
    wanted = _all_evaluated(diagrams, jnp.eye(matrix.shape[-1], dtype=matrix.dtype))
    total = jnp.zeros(matrix.shape[:-2], jnp.zeros((), jnp.promote_types(matrix.dtype, jnp.float32)).real.dtype)
    for name, target in wanted.items():
        error = jnp.sum(jnp.abs(found[name] - target) ** 2, axis=tuple(range(-target.ndim, 0)))
        total = total + error / jnp.sum(jnp.abs(target) ** 2)
    return total


@functools.lru_cache(maxsize=256)
def connected(group: Group, n: int, orders: tuple[int, ...]) -> tuple[Diagram, ...]:
    """Return the diagrams of invariant tensors of these orders that are not products of smaller ones."""
    found: list[Diagram] = []
    for order in orders:
        bottom = (
            f"{LABEL} {LABEL}*" if group.has_dual and group.is_complex and order == 2 else " ".join([LABEL] * order)
        )
        if not order or not n:
            continue
        diagrams = hom(f"{bottom} -> ", groups={LABEL: group}).diagrams
        if group.blocks == "whole":
            found.extend(diagrams)
            continue
        # All vertices in one block, or all as legs of one head. A search is too long: SO(16) has 2,027,025 pairings.
        labels, single = tuple(bottom.split()), [(vertex,) for vertex in range(order)]
        forms, made = forms_of(((LABEL, group),), labels), []
        if order == 2 or not forms:
            made.append(Diagram.from_blocks((), labels, [range(order)], forms))
        if group.legs - order in (0, 1):
            head = (LABEL, group.legs, tuple(range(order)))
            made.append(Diagram.from_blocks((), labels, single, forms, (head,)))
        found.extend(diagram for diagram in made if diagram in diagrams)
    return tuple(found)


def _known(group: Group, n: int, orders: int | Sequence[int] | None) -> tuple[Diagram, ...]:
    """Return the diagrams of these orders; raise an error if there are none, because nothing would be compared."""
    wanted = _orders(group, n, orders)
    found = connected(group, n, wanted)
    if n and not found:
        raise GroupError(
            f"{group} has no invariants of these orders",
            got=f"orders={wanted}",
            expected="orders of invariant tensors that are not products of smaller ones",
            step="leave orders= out, or write orders=(2,)",
        )
    return found


def checked_group(group: object) -> Group:
    """Return a group, or raise `OptionError`."""
    return _checks.instance("group", group, Group, "ek.SO(3)")  # type: ignore[type-abstract]  # none is made


def checked_orders(given: object) -> tuple[int, ...]:
    """Return the distinct orders in order, or raise `OptionError`; a single order is allowed."""
    listed = given if isinstance(given, list | tuple) else (given,)
    return tuple(dict.fromkeys(_checks.count("each entry of orders=", order, most=1000, example=2) for order in listed))


def _orders(group: Group, n: int, given: int | Sequence[int] | None) -> tuple[int, ...]:
    if given is not None:
        return checked_orders(given)
    orders = group.defining_orders(n)
    if not orders:
        raise GroupError(
            f"no invariants are known that characterize {group}",
            got=f"{group}",
            expected="O, SO, Sp, U, Bistochastic, S, A, Z, D or H",
            step="every invertible matrix is in the group: there is nothing to learn"
            if orders == ()
            else "give orders=, the orders of invariant tensors that no other matrices keep: orders=(2, 3)",
        )
    return tuple(sorted({order for order in orders if order > 0}))


def _evaluated(diagram: Diagram, vectors: Array) -> Array:
    """Evaluate a tensor on all tuples of vectors; an antisymmetric head only on ascending tuples."""
    n, m = vectors.shape[-2:]
    order = len(diagram.bottom)
    entries = math.comb(m, order) * n * n if diagram.heads else m**order
    refuse_if_large("the invariants", entries, step="use lower orders, or fewer vectors")
    if diagram.heads:
        ((_, legs, _),) = diagram.heads
        tuples = np.array([*itertools.combinations(range(m), order)], np.int32).reshape(-1, order)
        chosen = jnp.moveaxis(vectors[..., tuples], -2, -3)
        # Missing legs are summed over.
        rest = jnp.ones((*chosen.shape[:-1], legs - order), chosen.dtype)
        first = diagram.forms[0][1].signs() if diagram.forms else np.ones(n)
        return determinant(jnp.concatenate([chosen, rest], axis=-1)) * math.prod(first.tolist())
    columns = [jnp.conj(vectors) if label.endswith("*") else vectors for label in diagram.bottom]
    inner, outer = string.ascii_lowercase[:order], string.ascii_uppercase[:order]
    if len(diagram.blocks) == 1 and not diagram.forms and not diagram.elements:
        inner, tensor = "i" * order, None  # a sum of products of entries, without the tensor
    else:
        tensor = jnp.asarray(diagram_tensor(diagram, n), vectors.dtype)
    terms = [f"...{i}{a}" for i, a in zip(inner, outer, strict=True)]
    spec = ",".join([*terms, *([inner] if tensor is not None else [])]) + f"->...{outer}"
    operands = [*columns, *([tensor] if tensor is not None else [])]
    return jnp.einsum(spec, *operands, precision=jax.lax.Precision.HIGHEST, optimize=True)


def determinant(matrix: Array) -> Array:
    """Compute the determinant of matrices `[*batch, n, n]`, with its derivatives; O(n^3).

    `jnp.linalg.det` has wrong derivatives for some singular matrices of four rows or more.
    """
    n = matrix.shape[-1]
    if n > MOST_MINORS:
        found: Array = jnp.vectorize(_eliminated, signature="(n,n)->()")(matrix)
        return found
    minors = jnp.ones((*matrix.shape[:-2], 1), matrix.dtype)
    for row in range(n):
        place = {chosen: i for i, chosen in enumerate(itertools.combinations(range(n), row))}
        larger = np.array([*itertools.combinations(range(n), row + 1)], np.int32)
        smaller = np.array(
            [[place[(*chosen[:i], *chosen[i + 1 :])] for i in range(row + 1)] for chosen in larger.tolist()], np.int32
        )
        signs = jnp.asarray((-1.0) ** (row + np.arange(row + 1)), matrix.dtype)
        minors = jnp.sum(signs * matrix[..., row, larger] * minors[..., smaller], axis=-1)
    return minors[..., 0]


def _eliminated(matrix: Array) -> Array:
    """Compute the determinant of a matrix `[n, n]` by elimination, with the largest entry as the pivot of each step.

    A pivot is zero only if all that is left is zero. The last rows are left to minors, a polynomial.
    """
    n = matrix.shape[-1]
    places = np.arange(n)

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
        (matrix, product), left, after = carry, places >= k, places > k
        largest = jnp.argmax(jnp.where(left[:, None] & left, jnp.abs(jax.lax.stop_gradient(matrix)), -1))
        row, column = largest // n, largest % n
        swaps = [jnp.where(places == k, to, jnp.where(places == to, k, places)) for to in (row, column)]
        matrix = matrix[swaps[0]][:, swaps[1]]
        pivot = matrix[k, k]
        factors = jnp.where(after, matrix[:, k], 0) / jnp.where(pivot == 0, 1, pivot)
        product = product * jnp.where((row == k) == (column == k), pivot, -pivot)
        return (matrix - factors[:, None] * matrix[k], product), None

    steps = jnp.arange(n - MOST_MINORS)
    (matrix, product), _ = jax.lax.scan(step, (matrix, jnp.ones((), matrix.dtype)), steps)
    return product * determinant(matrix[n - MOST_MINORS :, n - MOST_MINORS :])


def _rows(group: Group) -> int | str:
    n = checked_group(group).n
    return "n" if n is None else n


def _checked(group: Group, name: str, given: object, columns: int | str, step: str | None = None) -> jax.Array:
    axes, kind = ("*batch", _rows(group), columns), "complex" if group.is_complex else "real or complex"
    return jnp.asarray(_checks.array(name, given, axes, kind=kind, step=step))
