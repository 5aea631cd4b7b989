"""The arrays of a call with an axis for each axis of their terms, and which entries are present.

On a support, the axes of its label are stored as one axis of rows. For layers that act on each term separately, the
first of them gets the rows, and the others have size one; so such a layer needs no other code for supports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from equikit._array_checks import Shapes, checked_arrays, checked_values
from equikit._masks import present
from equikit.nn._features import given_terms
from equikit.plans import Feature, from_graphs, max_by_graph, sum_by_graph, support_shapes
from equikit.signatures import Signature, Term
from equikit.supports import Support


@dataclass(frozen=True, eq=False)
class Rows:
    """How the arrays of a call are stored.

    Attributes:
        signature: the signature, whose inputs are the terms.
        masks: for each label, which entries are present.
        shapes: the batch axes, and the size of each label.
        support: the support of the call, or `None`.
    """

    signature: Signature
    masks: Mapping[str, jax.Array]
    shapes: Shapes
    support: Support | None

    def places(self, term: Term) -> list[int]:
        """Return the positions of the axes that are stored as rows."""
        label = None if self.support is None else self.support.label
        return [i for i, own in enumerate(term.labels) if own == label]

    def apart(self, term: Term, array: Feature) -> Feature:
        """Return an array with an axis for each axis of its term."""
        places = self.places(term)
        if not places:
            return array
        start = array.ndim - 1 - (len(term.labels) - len(places) + 1)
        first = jnp.moveaxis(array, start, start + places[0])
        return jnp.expand_dims(first, [start + i for i in places[1:]])

    def together(self, term: Term, array: Feature) -> Feature:
        """Invert `apart`."""
        places = self.places(term)
        if not places:
            return array
        start = array.ndim - 1 - len(term.labels)
        return jnp.moveaxis(array.squeeze([start + i for i in places[1:]]), start + places[0], start)

    def has_graphs(self, term: Term) -> bool:
        """Whether the rows of a term are of several graphs."""
        return self.support is not None and self.support.graphs is not None and bool(self.places(term))

    def for_graphs(self, term: Term, array: Feature, made: Callable[[Feature], Feature]) -> Feature:
        """Return factors of an array that are made from ones for each graph, `[*batch, graphs, *axes, channels]`.

        Args:
            term: a term whose rows are of several graphs.
            array: its array, with an axis for each axis of the term.
            made: a function of ones, whose axes on which groups act have size one.
        """
        support, places, batch = self.support, self.places(term), len(self.shapes.batch)
        assert support is not None
        assert support.graphs is not None
        plain = [size if i in self.plain(term) else 1 for i, size in enumerate(array.shape[batch:-1])]
        factor = made(jnp.ones((*array.shape[:batch], support.graphs, *plain, array.shape[-1]), array.dtype))
        rows = jnp.moveaxis(from_graphs(jnp.moveaxis(factor, batch, 0), support, len(places)), 0, batch)
        return jnp.moveaxis(rows.squeeze(batch + 1 + places[0]), batch, batch + places[0])

    def total(self, term: Term, array: Feature, how: Literal["sum", "max"] = "sum") -> Feature:
        """Reduce an array over all axes but the channels, for each sample, and for each graph if there are several.

        Args:
            term: the term.
            array: its array, with an axis for each axis of the term; zero where it is absent.
            how: the sum, or the maximum, which is minus infinity for graphs without rows.

        Returns:
            `[*batch, channels]`, or `[*batch, graphs, channels]` if the support has graph numbers.
        """
        support, places, batch = self.support, self.places(term), len(self.shapes.batch)
        graphs = support is not None and support.graphs is not None
        kept = batch + places[0] if places and graphs else batch if graphs else None
        axes = tuple(axis for axis in range(batch, array.ndim - 1) if axis != kept)
        y = jnp.sum(array, axes) if how == "sum" else jnp.max(array, axes, initial=-jnp.inf)
        if places and graphs:
            assert support is not None
            by_graph = sum_by_graph if how == "sum" else max_by_graph
            y = jnp.moveaxis(by_graph(jnp.moveaxis(y, batch, 0), support, len(places)), 0, batch)
        return y.astype(array.dtype)

    def repeated(self, term: Term, y: Feature) -> Feature:
        """Return numbers `[*batch, (graphs,) channels]`, as `total` returns, in a form that broadcasts to an array."""
        support, places, batch = self.support, self.places(term), len(self.shapes.batch)
        if places and support is not None and support.graphs is not None:
            y = jnp.moveaxis(from_graphs(jnp.moveaxis(y, batch, 0), support, len(places)), 0, batch)
        shape = [1] * len(term.labels)
        if y.ndim == batch + 1:
            return y.reshape(*y.shape[:batch], *shape, y.shape[-1])
        if places:
            shape[places[0]] = y.shape[batch]
            return y.reshape(*y.shape[:batch], *shape, y.shape[-1])
        return y.reshape(*y.shape[: batch + 1], *shape, y.shape[-1])

    def plain(self, term: Term) -> list[int]:
        """Return the positions of the axes on which nothing acts."""
        return [i for i, label in enumerate(term.labels) if label not in self.signature.groups]

    def keep(self, term: Term, ndim: int) -> jax.Array | None:
        """Return which entries of an array are present, broadcasting to it; `None` if all are.

        Args:
            term: the term.
            ndim: the number of axes of the array, with an axis for each axis of the term.
        """
        places, batch = self.places(term), len(self.shapes.batch)
        axis = batch + places[0] if places else batch
        graphs = ndim - 1 - len(term.labels) - batch  # an axis of graphs, or none
        found = None
        if any(label in self.masks for label in term.labels):
            found = present(term.labels, self.masks, ndim - graphs, batch)
            found = jnp.expand_dims(found, batch) if graphs else found
        if self.support is not None and self.support.padded and (places or graphs):
            rows = self.support.present(len(places))
            rows = rows.reshape([-1 if i == axis else 1 for i in range(ndim)])
            found = rows if found is None else found & rows
        return found

    def present(self, term: Term, array: Feature) -> Feature:
        """Return an array, with an axis for each axis of its term, whose absent entries are zero."""
        keep = self.keep(term, array.ndim)
        return array if keep is None else jnp.where(keep, array, jnp.zeros((), array.dtype))


def read_rows(
    signature: Signature,
    channels: Sequence[int] | None,
    arrays: Sequence[object],
    masks: Mapping[str, Any],
    support: Support | None,
) -> tuple[list[jax.Array], Rows]:
    """Check arrays as `checked_arrays` does; return them with an axis for each axis of their terms.

    Raises:
        ShapeError, DTypeError: if an array does not fit.
        OptionError: if the support is not for the signature.
    """
    if support is None:
        checked, shapes = checked_arrays(signature, channels, arrays, masks=masks)
        return checked, Rows(signature, masks, shapes, None)
    checked = checked_values(signature, arrays)
    widths = [array.shape[-1] if array.ndim else 1 for array in checked] if channels is None else channels
    rows = Rows(signature, masks, support_shapes(signature, widths, checked, masks, {}, support), support)
    return [rows.apart(term, array) for term, array in zip(signature.inputs, checked, strict=True)], rows


def read_terms(
    signature: Signature, channels: Sequence[int], x: object, masks: Mapping[str, Any], support: Support | None
) -> tuple[dict[str, jax.Array], Rows]:
    """Check a dictionary of arrays as `read_rows` does; return them in the order of the terms."""
    given = given_terms([term.name for term in signature.inputs], x)
    arrays, rows = read_rows(signature, channels, [*given.values()], masks, support)
    return dict(zip(given, arrays, strict=True)), rows


def present_rows(term: Term, array: Feature, masks: Mapping[str, Any], support: Support | None) -> Feature:
    """Return a checked array with its absent entries set to zero, whatever they hold."""
    places = 0 if support is None else term.labels.count(support.label)
    stored = 1 if places or (support is not None and support.graphs is not None) else 0
    batch = array.shape[: array.ndim - 1 - len(term.labels) + places - stored]
    rows = Rows(Signature((term,), (), ()), masks, Shapes(batch, {}), support)
    return rows.together(term, rows.present(term, rows.apart(term, array)))
