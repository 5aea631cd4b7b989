"""Edges between points in space, sorted by receiver."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy.sparse import csc_array

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit._exported import exported

INDEX_STEP = "pass an integer array, as np.array([0, 1])"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["senders", "receivers", "shifts", "images"],
    meta_fields=["n"],
)
@dataclass(frozen=True, eq=False, repr=False)
class Neighbors:
    r"""Directed edges between points, sorted by receiver; made by `ek.data.neighbors`, or by `of` from other lists.

    The vector of an edge is `positions[sender] - positions[receiver] + shift`, from the receiver to the image of the
    sender. So `senders`, `receivers` and `shifts` are j, i and \(S\) times the cell in the lists of ASE and matscipy;
    MACE and NequIP define the vector with the opposite sign. Padded edges have sender and receiver n, as in jax_md.

    A `Neighbors` is a pytree whose leaves are the arrays, so it can be an argument of compiled functions. For
    derivatives with respect to the cell, compute the shifts in the function:
    `dataclasses.replace(edges, shifts=edges.images @ cell)`.

    Attributes:
        senders, receivers: int32 `[edges]`; n for padded edges.
        shifts: `[edges, d]`, in the unit and dtype of the positions, or `None` without a cell.
        images: int32 `[edges, d]`: the multiples of the rows of the cell in the shift, or `None`.
        n: the number of points.

    Example:
        >>> Neighbors.of([1, 0, 2], [0, 1, 1], n=3, edges=4).senders
        array([1, 0, 2, 3], dtype=int32)
    """

    senders: Any
    receivers: Any
    shifts: Any
    images: Any
    n: int

    def __repr__(self) -> str:
        """Return the numbers of points and edges, padding included."""
        return f"Neighbors(n={self.n}, edges={'unknown' if self.senders is None else np.size(self.senders)})"

    @classmethod
    def of(
        cls,
        senders: Any,
        receivers: Any,
        *,
        n: int,
        shifts: Any = None,
        images: Any = None,
        edges: int | Sequence[int] | None = None,
    ) -> Neighbors:
        """Return the edges of other lists, sorted by receiver and then by sender.

        Args:
            senders, receivers: integers `[edges]`, from 0 to n - 1, in any order; edges may be repeated, as images of
                one point are.
            n: the number of points.
            shifts: `[edges, d]`, or `None` if there are no periodic images.
            images: integers `[edges, d]`, or `None`.
            edges: the number of edges after padding, or several, from which the smallest sufficient one is chosen.

        Raises:
            OptionError: if an index is not the number of a point, `edges` is too small, or an array is traced.
            ShapeError, DTypeError: if an array has another shape or kind.

        Cost: O(n + edges).

        Example:
            >>> edges = Neighbors.of(senders=[2, 0], receivers=[1, 0], n=3)
            >>> edges.receivers.tolist(), edges.senders.tolist()
            ([0, 1], [0, 2])
        """
        n = _checks.count("n", n, example=10)
        senders, receivers = (
            _indices(name, given, n) for name, given in (("senders", senders), ("receivers", receivers))
        )
        _checks.shaped("receivers", receivers, senders.shape)
        if shifts is not None:
            _refuse_traced("shifts", shifts)
            _checks.array("shifts", shifts, (senders.size, "d"))
            _checks.finite("shifts", shifts, step="pass finite shifts")
        if images is not None:
            images = _integers("images", images).astype(np.int32)
            _checks.shaped("images", images, (senders.size, "d") if shifts is None else np.shape(shifts))
        order = _ascending(senders, n)
        order = order[_ascending(receivers[order], n)]
        more = sufficient("edges", edges, len(order)) - len(order)
        senders, receivers = (np.pad(x[order], (0, more), constant_values=n) for x in (senders, receivers))
        shifts, images = (
            None if x is None else np.pad(np.asarray(x)[order], ((0, more), (0, 0))) for x in (shifts, images)
        )
        return cls(senders, receivers, shifts, images, n)


def _refuse_traced(what: str, value: Any) -> None:
    _checks.untraced(what, value, step="call this function outside of jit, grad and vmap")


def _integers(name: str, given: Any) -> np.ndarray:
    _refuse_traced(name, given)
    array = _checks.numpy_array(name, given, step=INDEX_STEP)
    if not (np.issubdtype(array.dtype, np.integer) or not array.size):
        raise DTypeError(
            f"{name} must be an array of integers", got=f"dtype {array.dtype}", expected="integers", step=INDEX_STEP
        )
    return array


def _indices(name: str, given: Any, n: int) -> np.ndarray:
    """Return numbers of points `[edges]` as int32."""
    array = _integers(name, given)
    if array.ndim != 1:
        raise ShapeError(
            f"{name} must have one axis", got=f"shape {[*array.shape]}", expected="[edges]", step=INDEX_STEP
        )
    wrong = array[(array < 0) | (array >= n)]
    if wrong.size:
        raise OptionError(
            f"{name} are not numbers of points",
            got=f"{int(wrong[0])}, with n={n}",
            expected=f"integers from 0 to {n - 1}" if n else "no edges",
            step="give n= the number of points, and leave padded edges out",
        )
    return array.astype(np.int32)


def _ascending(keys: np.ndarray, n: int) -> np.ndarray:
    """Return the stable permutation that sorts integers below n.

    The conversion of a sparse matrix with one entry in each column is a counting sort, in linear time.
    """
    count = len(keys)
    matrix = csc_array((np.ones(count, np.int8), keys, np.arange(count + 1)), shape=(n, count))
    return np.asarray(matrix.tocsr().indices)


def sufficient(name: str, given: int | Sequence[int] | None, found: int) -> int:
    """Return the smallest sufficient number of one or several, or raise `OptionError`; `None` is what was found."""
    if given is None:
        return found
    numbers = given if isinstance(given, list | tuple) else (given,)
    _checks.some(f"numbers in {name}=", numbers, got=given, step=f"write {name}={found}")
    allowed = sorted(_checks.count(name, number, most=2**31 - 1, example=found) for number in numbers)
    if allowed[-1] < found:
        raise OptionError(
            f"{name}= is smaller than the number of {name}",
            got=allowed[-1],
            expected=f"at least {found}",
            step=f"write {name}={found} or more",
        )
    return next(number for number in allowed if number >= found)


exported(Neighbors, "Neighbors")
