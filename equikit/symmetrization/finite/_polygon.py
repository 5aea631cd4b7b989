"""The groups that rotate square images, and their action on the axes of a signature."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import GroupError, ShapeError, SignatureError
from equikit.groups import SO, D, Fixed, O, Z
from equikit.signatures import Term
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Element


def turned_labels(action: Action, group: Z, axes: tuple[str, str], vectors: str | None = None) -> frozenset[str]:
    """Return the labels on which rotations of images act.

    Raises:
        SignatureError: if an axis is not `Fixed`, a term has only one of the axes, or no input is an image.
        ShapeError: if the images are not square, for a group that needs squares.
        GroupError: if the components of vectors are not bound to a group that contains their rotations.
    """
    bound = dict(action.signature.bindings)
    if unknown := [label for label in axes if label not in bound]:
        rows, columns = _likely_axes(action) or axes
        raise SignatureError(
            f"no axis has the label {unknown[0]!r}",
            got=f"axes={axes} for {str(action.signature)!r}",
            expected="the labels of the rows and of the columns",
            step=f'write axes=("{rows}", "{columns}")'
            if (rows, columns) != axes
            else f'write the rows and the columns of images into the signature, as in "{rows} {columns} -> "',
        )
    for label in axes:
        _checks.instance(label, bound.get(label), Fixed, "ek.Fixed(28)", error=SignatureError)
    for term in (*action.signature.inputs, *action.signature.outputs):
        counts = [term.labels.count(label) for label in axes]
        if counts not in ([0, 0], [1, 1]):
            raise SignatureError(
                f"the term {' '.join(term.labels)!r} is not an image",
                got=f"{axes[0]!r} {counts[0]} times, {axes[1]!r} {counts[1]} times",
                expected="each of the two axes exactly once, or neither",
                step="correct the signature: an image has rows and columns",
            )
    what = f"the labels {axes[0]!r} and {axes[1]!r}"
    action.refuse_without(images(action, axes), what, 'write "i j -> "', SignatureError)
    height, width = (bound[label].size for label in axes)  # type: ignore[union-attr]  # Fixed, as was checked
    if height != width and (group.n or 1) > 2:
        raise ShapeError(
            f"{group} turns images that are not square out of their frame",
            got=f"{axes[0]}={height}, {axes[1]}={width}",
            expected="as many rows as columns, or a group of half turns and reflections: Z(2), D(1), D(2)",
            step="pad the images to squares with jnp.pad, or write group=ek.D(2)",
        )
    kind = bound.get(vectors or "")
    fits = isinstance(kind, O) and kind.form is None and kind.n in (None, 2)
    if vectors is not None and (not fits or (isinstance(kind, SO) and isinstance(group, D))):
        raise GroupError(
            f"{group} does not turn vectors along {vectors!r}",
            got=f"{vectors}={bound.get(vectors, 'nothing')}",
            expected="O(2)" if isinstance(group, D) else "O(2) or SO(2)",
            step=f"bind {vectors}=ek.O(2), or leave vectors= out",
        )
    return frozenset(axes if vectors is None else (*axes, vectors))


def _likely_axes(action: Action) -> tuple[str, str] | None:
    """Return the first two `Fixed` labels of an input term that has two different ones."""
    bound = dict(action.signature.bindings)
    fixed = [[label for label in dict.fromkeys(t.labels) if isinstance(bound.get(label), Fixed)] for t in action.inputs]
    return next(((labels[0], labels[1]) for labels in fixed if len(labels) > 1), None)


def images(action: Action, axes: tuple[str, str]) -> list[Term]:
    """Return the input terms that are images."""
    return [term for term in action.inputs if set(axes) <= set(term.labels)]


def turns(group: Z, axes: tuple[str, str], vectors: str | None, dtype: object) -> Element:
    """Return all elements of the group, `[elements, ...]`: integers on pixels if exact, otherwise `dtype`."""
    listed = group.plane_matrices()
    real = jnp.asarray(listed.astype(dtype))  # type: ignore[call-overload]
    on_pixels = jnp.asarray(listed, jnp.int32) if np.issubdtype(listed.dtype, np.integer) else real
    return Element({} if vectors is None else {vectors: real}, grid={axes: on_pixels})
