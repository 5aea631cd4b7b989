"""Index sets of axes (free, rigid, products or sums), and their unification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["free", "rigid", "product", "sum"]
"""The permutations that act on an index set: all, none, permutations of its factors, or permutations of its parts."""


@dataclass(eq=False)
class Axis:
    """The index set of an axis, shared by all axes that are permuted together.

    Axes are compared by identity. They form a union-find structure that grows while a program is read.

    Attributes:
        size: number of indices.
        kind: see `Kind`.
        inner: the factors, where the first varies slowest, or the parts in order.
        reason: why the axis is rigid.
        parent: the axis with which this axis is unified, or None for a root.
    """

    size: int
    kind: Kind = "free"
    inner: tuple[Axis, ...] = ()
    reason: str = ""
    parent: Axis | None = None

    @property
    def root(self) -> Axis:
        """The axis that represents all unified axes."""
        axis = self
        while axis.parent is not None:
            axis = axis.parent
        if self is not axis:
            self.parent = axis
        return axis

    def split(self, kind: Literal["product", "sum"], inner: Sequence[Axis]) -> None:
        """Split a free axis into factors or parts; if the axis is rigid, make `inner` rigid."""
        if self.kind == "rigid":
            for one in inner:
                make_rigid(one, self.reason)
        else:
            assert self.kind == "free", "what has a structure keeps it"
            self.kind, self.inner = kind, tuple(inner)


def factors(axis: Axis) -> list[Axis]:
    """Return the factors of an axis that have more than one index."""
    axis = axis.root
    if axis.kind == "product":
        return [factor for one in axis.inner for factor in factors(one)]
    return [axis] if axis.size != 1 else []


def parts(axis: Axis) -> list[Axis]:
    """Return the nonempty parts of an axis."""
    axis = axis.root
    if axis.kind == "sum":
        return [part for one in axis.inner for part in parts(one)]
    return [axis] if axis.size else []


def atoms(axis: Axis) -> list[Axis]:
    """Return the free index sets in an axis that have more than one index, in order."""
    axis = axis.root
    if axis.kind in ("product", "sum"):
        return [atom for one in axis.inner for atom in atoms(one)]
    return [axis] if axis.size > 1 and axis.kind == "free" else []


def product(axes: Sequence[Axis], reason: str) -> Axis:
    """Return the axis whose indices are tuples of indices; `reason` is recorded if it has only one index."""
    inner = [factor for axis in axes for factor in factors(axis)]
    if len(inner) == 1:
        return inner[0]
    size = math.prod(axis.size for axis in axes)
    return Axis(size, "product", tuple(inner)) if inner else Axis(size, "rigid", reason=reason)


def direct_sum(axes: Sequence[Axis]) -> Axis:
    """Return the concatenation of axes."""
    inner = [part for axis in axes for part in parts(axis)]
    if len(inner) == 1:
        return inner[0]
    return Axis(sum(axis.size for axis in axes), "sum", tuple(inner))


def make_rigid(axis: Axis, reason: str) -> None:
    """Make an axis and all axes in it rigid."""
    axis = axis.root
    inner, axis.inner = axis.inner, ()
    if axis.kind != "rigid":
        axis.kind, axis.reason = "rigid", reason
    for one in inner:
        make_rigid(one, reason)


def unify(one: Axis, two: Axis, reason: str) -> None:
    """Unify two axes so that one permutation acts on both, or make both rigid with `reason`."""
    one, two = one.root, two.root
    if one is two or one.size <= 1:
        return
    assert one.size == two.size, "axes of one program that meet have one size"
    if one.kind == "free" or two.kind == "rigid":
        one, two = two, one  # `two` is linked to `one`
    if one.kind == "rigid":
        make_rigid(two, one.reason)
    elif two.kind != "free" and not _alike(one, two, reason):
        make_rigid(one, reason)
        make_rigid(two, reason)
    two.parent = one


def _alike(one: Axis, two: Axis, reason: str) -> bool:
    """Refine two products, or two sums, to pieces of equal sizes, and unify the pieces; return False if impossible."""
    if one.kind != two.kind:
        return False
    as_product = one.kind == "product"
    pieces = factors if as_product else parts
    left, right = pieces(one), pieces(two)
    while left and right:
        small, large = (left, right) if left[0].size <= right[0].size else (right, left)
        if small[0].size < large[0].size:
            piece, rest = _cut(large[0], small[0].size, as_product, reason)
            if rest is None:
                return False
            large[:1] = [piece, rest]
        unify(left.pop(0), right.pop(0), reason)
        # Unification may split a piece, and also the remaining pieces that are unified with it.
        left, right = [p for a in left for p in pieces(a)], [p for a in right for p in pieces(a)]
    return True


def _cut(axis: Axis, size: int, as_product: bool, reason: str) -> tuple[Axis, Axis | None]:
    """Split off a first piece of the given size; the rest is `None` if the axis cannot be split there."""
    if as_product:
        if axis.size % size or axis.kind == "sum":
            return axis, None
        cut = Axis(size), Axis(axis.size // size)
    else:
        if axis.kind == "product":
            make_rigid(axis, reason)
        cut = Axis(size), Axis(axis.size - size)
    axis.split("product" if as_product else "sum", cut)
    return cut
