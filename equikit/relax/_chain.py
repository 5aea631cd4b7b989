"""Chains of groups: the maps that each group keeps, and those that the step to the next group breaks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from equikit import _checks
from equikit._errors import GroupError, OptionError, ShapeError, SignatureError
from equikit.diagrams import HomSpace, hom
from equikit.groups import Fixed, Group, common_null_space
from equikit.relax._containment import refuse_outside
from equikit.relax._spaces import maps, pair_spaces, shape_of
from equikit.signatures import HasGroup, Signature, normalized

Summands = tuple[np.ndarray, ...]
"""For every step of a chain, an orthonormal basis of the maps that it breaks, `[maps, diagrams of the last group]`."""


@dataclass(frozen=True, slots=True)
class Chain:
    r"""A descending chain of groups, and the split of the equivariant maps along it.

    A smaller group has more equivariant maps: if \(G_1 \supseteq \dots \supseteq G_r\), then \(\mathrm{Hom}_{G_r} = U_1
    \oplus \dots \oplus U_r\) with \(U_1 = \mathrm{Hom}_{G_1}\) and \(U_{i+1} = \mathrm{Hom}_{G_{i+1}} \cap \ker
    R_{G_i}\): the maps of the largest group, and those whose symmetry is broken in step i of the chain. R is the
    Reynolds operator, the projection onto equivariant maps whose kernel is invariant. Made by `chain`.

    Attributes:
        spaces: the space of every group, from the largest group with the fewest maps to the smallest group.
        labels: the labels whose groups change.
    """

    spaces: tuple[HomSpace, ...]
    labels: tuple[str, ...]

    def __str__(self) -> str:
        bindings = [dict(space.signature.bindings) for space in self.spaces]
        texts = [f"{x}=[{', '.join(str(one[x]) for one in bindings)}]" for x in self.labels]
        texts += [f"{label}={what}" for label, what in bindings[0].items() if label not in self.labels]
        return f'chain("{self.spaces[0].signature}", {", ".join(texts)})'

    def __repr__(self) -> str:
        return f"<{self}: dimensions {' + '.join(map(str, self.dims))}>"

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimension of each summand: the maps of the largest group, then those that each step breaks."""
        sizes = [space.dim for space in self.spaces]
        return (sizes[0], *(after - before for before, after in itertools.pairwise(sizes)))

    @property
    def steps(self) -> int:
        """The number of steps, one less than the number of groups."""
        return len(self.spaces) - 1

    def broken(self, *, bias: bool = True) -> Mapping[str, Summands]:
        """Return a basis of each broken summand by the name of its weights, in coordinates of the last group's maps.

        The bases are orthonormal in the Frobenius inner product, so that the sum of squared weights is the squared norm
        of the map.

        Args:
            bias: whether to include the biases, `"-> out"`.

        Returns:
            `"in -> out"` to one array `[maps, diagrams]` for each step; plain axes are not included.
        """
        return _broken(self, bias)

    def split(self, matrix: Any) -> tuple[np.ndarray, ...]:
        """Return the component of a matrix in each summand; they add up to the matrix.

        Args:
            matrix: a map of the smallest group, `[rows, columns]`, as `ek.hom(...).matrices()` has them.

        Returns:
            One array `[rows, columns]` for every group: the part that the largest group keeps, then the broken parts.

        Raises:
            ShapeError: if the matrix has another shape, or does not commute with the smallest group.
            OptionError: if it is not finite.

        Cost: the entries of all maps of all groups.

        Example:
            >>> from equikit import O, Trivial
            >>> kept, broken = chain("x -> x", x=[O(2), Trivial(2)]).split([[3.0, 1.0], [0.0, 1.0]])
            >>> kept.tolist(), broken.tolist()
            ([[2.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [0.0, -1.0]])
        """
        last = self.spaces[-1]
        found = _checks.shaped("matrix", np.asarray(matrix), shape_of(last))
        _checks.finite("the entries of matrix=", found, step="replace infinite entries and NaNs")
        parts = [np.zeros(found.shape)]
        parts += [_reynolds(space, found) for space in self.spaces[:-1]]
        every = maps(last)
        nearest = (_coordinates(every, found.reshape(1, -1).astype(np.result_type(np.float64, found))) @ every).reshape(
            found.shape
        )
        gap = float(np.max(np.abs(nearest - found), initial=0))
        if gap > 1e-6 * max(1.0, float(np.max(np.abs(found), initial=0))):
            raise ShapeError(
                "the matrix does not commute with the smallest group",
                got=f"a distance of {gap:.1e} from the maps of {last}",
                expected=f"a map of {last}",
                step="end the chain with ek.Trivial(n), which has all maps",
            )
        parts.append(found)
        return tuple(after - before for before, after in itertools.pairwise(parts))


def chain(
    signature: str | Mapping[str, str],
    outputs: str | Mapping[str, str] | None = None,
    /,
    *,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Chain:
    r"""Split the equivariant maps of a small group along a chain of larger groups.

    Args:
        signature, outputs: as in `ek.hom`, for linear maps.
        groups: the groups of each label, as a dictionary.
        **bindings: the same as keywords. A list is a chain, the largest group first, `x=[O(3), O(2) + O(1),
            Trivial(3)]`; all lists have the same length. A single group, or `Fixed`, stays the same.

    Returns:
        The `Chain`, with its dimensions, the bases of its summands, and its layer.

    Raises:
        SignatureError: if the signature or the groups cannot be read.
        OptionError: if there is no chain, or chains differ in length or have fewer than two groups.
        GroupError: if a group is free, sizes differ, a group does not contain the next one, or a group above the last
            has no Reynolds operator: it has to be compact or reductive.
        TooLargeError: if there are too many maps.

    Cost: the entries of the maps of every group, `[maps, rows, columns]`, and exact null spaces of Gram matrices.

    Example:
        >>> from equikit import O, Trivial
        >>> chain("x x -> x x", x=[O(3), O(2) + O(1), Trivial(3)]).dims
        (3, 7, 71)

    Source:
        Reynolds operators: Derksen and Kemper, Computational Invariant Theory, section 2.2; split weights:
        Finzi et al., Residual pathway priors, arXiv:2112.01388.
    """
    given = {**{normalized(label): what for label, what in (groups or {}).items()}, **bindings}
    lists = {label: checked_groups(label, what) for label, what in given.items() if isinstance(what, list | tuple)}
    fixed = {label: what for label, what in given.items() if label not in lists}
    spaces = [hom(signature, outputs, groups={**fixed, **one}) for one in steps_of(lists)]
    linear = [space for space in spaces if isinstance(space, HomSpace)]
    if len(linear) < len(spaces):
        raise SignatureError(
            "a chain is for linear maps, and the signature has several inputs",
            got=_checks.shown(signature),
            expected="one input, which may be a sum of terms",
            step='write one input, such as "x x -> x x"',
        )
    return chain_of([space.signature for space in linear], tuple(lists))


def checked_groups(label: str, given: Sequence[object]) -> tuple[Group, ...]:
    """Return the groups of one label, which have to be bound and of one size; results of searches stand for groups."""
    given = [group.__group__() if isinstance(group, HasGroup) else group for group in given]
    for group in given:
        if isinstance(group, list | tuple):
            raise GroupError(
                f"{label!r} has a list in the place of one group",
                got=_checks.shown(group),
                expected="a bound group, such as O(3)",
                step="write one group without brackets around it",
            )
        if not isinstance(group, Group) or group.n is None:
            name = group.__name__ if isinstance(group, type) else type(group).__name__
            example = f"Trivial({group.size})" if isinstance(group, Fixed) else f"{name}(3)"
            raise GroupError(
                f"a chain on {label!r} needs groups with a size",
                got=_checks.shown(group),
                expected="bound groups, such as O(3)",
                step=f"write ek.{example}" if isinstance(group, Group | Fixed | type) else "write ek.O(3)",
            )
    found = tuple(group for group in given if isinstance(group, Group))
    if len({group.n for group in found}) > 1:
        raise GroupError(
            f"the groups on {label!r} act on axes of different sizes",
            got=", ".join(f"{group} of size {group.n}" for group in found),
            expected="groups of one size",
            step="add what is missing, as in ek.O(2) + ek.O(1) for a subgroup of ek.O(3)",
        )
    return found


def steps_of(lists: Mapping[str, Sequence[Group]]) -> list[dict[str, Group]]:
    """Return for every position of the chains the group of each label, or raise `OptionError`."""
    example = "write x=[ek.O(3), ek.O(2) + ek.O(1)]"
    _checks.some("chains of groups", lists, got="no label with a list of groups", step=example)
    lengths = {len(groups) for groups in lists.values()}
    for length in lengths:
        _checks.count("the number of groups in a chain", length, least=2, step=example)
    if len(lengths) > 1:
        raise OptionError(
            "the chains have different lengths",
            got=", ".join(f"{len(groups)} groups on {label!r}" for label, groups in lists.items()),
            expected="equally many groups on each label",
            step="repeat a group where another label has more groups",
        )
    return [dict(zip(lists, step, strict=True)) for step in zip(*lists.values(), strict=True)]


def chain_of(signatures: Sequence[Signature], labels: tuple[str, ...]) -> Chain:
    """Return the chain with these signatures, which differ in the groups of some labels, after all checks."""
    free = [label for label, size in signatures[0].sizes.items() if size is None]
    if free:
        raise GroupError(
            "a chain needs the size of every label",
            got=f"{free[0]}={dict(signatures[0].bindings)[free[0]]}",
            expected="bound groups",
            step=f"bind {free[0]}=ek.{dict(signatures[0].bindings)[free[0]]}(5)",
        )
    for one, other in itertools.pairwise(signatures):
        for label in labels:
            larger, smaller = (dict(signature.bindings)[label] for signature in (one, other))
            assert isinstance(larger, Group)
            assert isinstance(smaller, Group)
            refuse_outside(label, larger, smaller)
    found = Chain(tuple(map(HomSpace, signatures)), labels)
    found.broken()
    return found


@functools.lru_cache(maxsize=64)
def _broken(chain: Chain, bias: bool) -> Mapping[str, Summands]:
    spaces = [pair_spaces(space.signature, bias=bias) for space in chain.spaces]
    return MappingProxyType({name: _summands(tuple(one[name] for one in spaces)) for name in spaces[0]})


@functools.lru_cache(maxsize=256)
def _summands(spaces: tuple[HomSpace, ...]) -> Summands:
    found = []
    last = maps(spaces[-1])
    for before, after in itertools.pairwise(spaces):
        own = last if after == spaces[-1] else maps(after)
        basis = _orthonormal(_kernel(before, own) @ own)
        assert len(basis) == after.dim - before.dim, "the summands of a chain have the counted dimensions"
        found.append(_coordinates(last, basis))
    return tuple(found)


def _dual(space: HomSpace) -> np.ndarray:
    r"""Return the maps in the other direction as rows, so that their products with maps are \(\mathrm{tr}(S M)\)."""
    matrices = np.swapaxes(HomSpace(space.signature.flip()).matrices(), 1, 2)
    return matrices.reshape(len(matrices), math.prod(matrices.shape[1:]))


def _pairing(space: HomSpace, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the dual maps, and the matrix \(\mathrm{tr}(S_j T_i)\), which is invertible if R exists."""
    dual = _dual(space)
    pairing = dual @ own.T
    if pairing.dtype.kind == "i":
        import flint

        rank = flint.fmpz_mat(pairing.tolist()).rank() if pairing.size else 0
    else:
        rank = int(np.linalg.matrix_rank(pairing, rtol=1e-9)) if pairing.size else 0
    if not rank == len(own) == len(dual):
        group = ", ".join(f"{label}={what}" for label, what in space.signature.bindings)
        raise GroupError(
            "a group above the last one has no Reynolds operator",
            got=f"{group}: the pairing tr(S T) of its maps {space.signature} has rank {rank}",
            expected="compact or reductive groups, whose equivariant maps have an invariant complement",
            step="end the chain with this group, or leave it out",
        )
    return dual, pairing


def _kernel(before: HomSpace, own: np.ndarray) -> np.ndarray:
    """Return a basis of the combinations of maps that the Reynolds operator of the group before sends to zero."""
    dual, _ = _pairing(before, maps(before))
    constraints = dual @ own.T
    if not len(constraints):
        return np.eye(len(own))
    exact = constraints.dtype.kind == "i"
    if exact and float(np.max(np.abs(constraints), initial=0)) ** 2 * len(constraints) >= 2**62:
        constraints = constraints.astype(object)
    square = constraints.conj().T @ constraints
    return common_null_space(f"the chain after {before}", [square], len(own), exact, 1e-9)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """Orthonormalize rows in their order, with positive leading coefficients, which makes the result unique."""
    wide = rows.astype(np.result_type(np.float64, rows))
    if not len(wide):
        return wide
    q, r = np.linalg.qr(wide.T)
    diagonal = np.diagonal(r)
    return np.asarray((q * (diagonal / np.abs(diagonal))).T)


def _coordinates(last: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the coordinates of maps in a basis of maps."""
    if last.shape[0] == last.shape[1] and np.array_equal(last, np.eye(len(last))):
        return rows
    return np.asarray(np.linalg.lstsq(last.T.astype(rows.dtype), rows.T, rcond=None)[0].T)


def _reynolds(space: HomSpace, matrix: np.ndarray) -> np.ndarray:
    """Return the equivariant part of a matrix, for a group with a Reynolds operator."""
    own = maps(space)
    dual, pairing = _pairing(space, own)
    weights = np.linalg.solve(pairing.astype(np.result_type(np.float64, pairing)), dual @ matrix.ravel())
    return np.asarray((weights @ own).reshape(matrix.shape))
