"""The groups that turn square images: which they are, and how their elements act on what a signature names."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from equikit._errors import GroupError, ShapeError, SignatureError
from equikit.diagrams import Term
from equikit.groups import SO, D, Fixed, O, Z
from equikit.symmetrization._action import Action
from equikit.symmetrization._element import Element
from equikit.symmetrization._image import polygon_group


def checked_polygon(group: object) -> Z:
    """Return a group that turns images, or raise `GroupError`."""
    if not isinstance(group, Z) or not group.n:
        raise GroupError(
            "this group does not turn images",
            got=repr(group),
            expected="Z(n) for n rotations, D(n) for n rotations and n reflections, n at least 1",
            step="write group=ek.D(4)",
        )
    return group


def matrices(group: Z) -> np.ndarray:
    """All elements as matrices on the plane of the rows and columns, `[elements, 2, 2]`, the identity first."""
    found: np.ndarray = polygon_group(group.n or 1, isinstance(group, D))
    return found


def quotients(group: Z) -> np.ndarray:
    r"""For elements g and h, the place of \(g^{-1} h\) in the list of the elements, `[elements, elements]`."""
    n = group.n or 1
    turn = np.arange(n)
    if not isinstance(group, D):
        return np.asarray((turn[None, :] - turn[:, None]) % n)
    # r^a s^b is at place a + n b, and s r = r^-1 s.
    a, b = np.tile(turn, 2), np.repeat([0, 1], n)
    turned = np.where(b[:, None], a[:, None] - a[None, :], a[None, :] - a[:, None]) % n
    return np.asarray(turned + n * (b[:, None] ^ b[None, :]))


def turned_labels(action: Action, group: Z, axes: tuple[str, str], vectors: str | None) -> frozenset[str]:
    """The labels on which turning images acts.

    Raises:
        SignatureError: if a term has one of the axes without the other, or an image has an axis that is no axis.
        ShapeError: if the images are not square, and would have to be.
        GroupError: if the components of vectors are not bound to a group that holds what turns them.
    """
    bound = dict(action.signature.bindings)
    for label in axes:
        if not isinstance(bound.get(label), Fixed):
            raise SignatureError(
                f"the axes of the images are {axes}, and {label!r} is none of their pixels",
                got=f"{action.signature}, {label}={bound.get(label, 'nothing')}",
                expected="both labels in the signature, bound to Fixed(size)",
                step=f"bind {label}=ek.Fixed(28), or name other axes=",
            )
    for term in (*action.signature.inputs, *action.signature.outputs):
        counts = [term.labels.count(label) for label in axes]
        if counts not in ([0, 0], [1, 1]):
            raise SignatureError(
                f"the term {' '.join(term.labels)!r} is no image",
                got=f"{axes[0]!r} {counts[0]} times, {axes[1]!r} {counts[1]} times",
                expected="each of the two axes once, or neither",
                step="correct the signature: what is turned has rows and columns",
            )
    if not images(action, axes):
        raise SignatureError(
            "no input is an image",
            got=str(action.signature),
            expected=f"an input term with the labels {axes[0]!r} and {axes[1]!r}",
            step='write "i j -> "',
        )
    height, width = (bound[label].size for label in axes)  # type: ignore[union-attr]  # Fixed, as was checked
    if height != width and (group.n or 1) > 2:
        raise ShapeError(
            f"{group} turns images that are not square out of their frame",
            got=f"{axes[0]}={height}, {axes[1]}={width}",
            expected="as many rows as columns, or a group of half turns and reflections: Z(2), D(1), D(2)",
            step="pad the images to squares with jnp.pad, or write group=ek.D(2)",
        )
    if vectors is None:
        return frozenset(axes)
    kind = bound.get(vectors)
    fits = isinstance(kind, O) and kind.form is None and kind.n in (None, 2)
    if not fits or (isinstance(kind, SO) and isinstance(group, D)):
        raise GroupError(
            f"{group} does not turn vectors along {vectors!r}",
            got=f"{vectors}={bound.get(vectors, 'nothing')}",
            expected="O(2)" if isinstance(group, D) else "O(2) or SO(2)",
            step=f"bind {vectors}=ek.O(2), or leave vectors= out",
        )
    return frozenset((*axes, vectors))


def images(action: Action, axes: tuple[str, str]) -> list[Term]:
    """The input terms that are images."""
    return [term for term in action.inputs if set(axes) <= set(term.labels)]


def turns(group: Z, axes: tuple[str, str], vectors: str | None, dtype: object) -> Element:
    """All elements of the group, `[elements, ...]`: integers on pixels where turning is exact, `dtype` elsewhere."""
    listed = matrices(group)
    on_pixels = jnp.asarray(listed if np.issubdtype(listed.dtype, np.integer) else listed.astype(dtype))  # type: ignore[call-overload]
    linear = {} if vectors is None else {vectors: jnp.asarray(listed.astype(dtype))}  # type: ignore[call-overload]
    return Element(linear, grid={axes: on_pixels})
