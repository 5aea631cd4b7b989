r"""Apply one component of a factored diagram to the axes of a tensor, and count the additions.

Each step does only the arithmetic that is counted: a block of the input is one strided sum, a block of both rows moves
a diagonal, and a block of the output is written onto a diagonal. A form splits a diagonal into two parts with opposite
signs. Only the nonzero entries of a Levi-Civita tensor are visited.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from equikit.diagrams._dense import diagram_matrix
from equikit.diagrams._diagram import Diagram
from equikit.groups import Form
from equikit.signatures import base

Part = tuple[int, slice, slice]
"""A sign, and the entries of two axes that have it: their diagonal."""


def applied(component: Diagram, x: np.ndarray, offset: int, size: Mapping[str, int]) -> np.ndarray:
    """Replace the input axes of a component, starting at `offset`, by its output axes."""
    count, new = len(component.bottom), len(component.top)
    x = np.moveaxis(x, range(offset, offset + count), range(x.ndim - count, x.ndim))
    shape = tuple(size[label] for label in component.top)
    if component.heads:
        rest = x.shape[: x.ndim - count]
        result = _head(component, x.reshape((*rest, -1)), size).reshape((*rest, *shape))
    elif not new:
        result = _sum(x, count, _parts(component, size))
    else:
        result = _embedded(x, count, shape, _parts(component, size))
    moved: np.ndarray = np.moveaxis(result, range(result.ndim - new, result.ndim), range(offset, offset + new))
    return moved


def additions(component: Diagram, size: Mapping[str, Any]) -> Any:
    """Count additions for each entry of the other axes: a block of the input is a sum; a head sums over its legs."""
    if component.heads:
        rows, columns, _ = _nonzero(component, int(size[component.labels[0]]))
        return len(rows) * (columns.shape[1] - 1)
    if component.top or not component.bottom:
        return 0
    return size[component.bottom[0]] - 1


def _parts(component: Diagram, size: Mapping[str, int]) -> list[Part]:
    """Return the nonzero entries of the component's block; a form counts only in a pair within one row."""
    (label,) = {*map(base, component.labels)}
    n, forms = size[label], dict(component.forms)
    form: Form | None = forms.get(label)
    if form is None or len(component.labels) < 2 or (component.top and component.bottom):
        return [(1, slice(0, n), slice(0, n))]
    if form.kind == "metric":
        plus, minus = slice(0, form.positive), slice(form.positive, n)
        return [(1, plus, plus), (-1, minus, minus)]
    low, high = slice(0, n // 2), slice(n // 2, n)
    return [(1, low, high), (-1, high, low)]


def _diagonal(x: np.ndarray, count: int) -> np.ndarray:
    """Return the diagonal of the last axes, as a view that is writable if `x` is."""
    rest = x.ndim - count
    view: np.ndarray = np.einsum(x, [*range(rest), *[rest] * count], [*range(rest), rest])
    return view


def _sum(x: np.ndarray, count: int, parts: list[Part]) -> np.ndarray:
    """Sum the diagonal of the last axes, with the signs of its parts."""
    if len(parts) == 1:
        return np.asarray(_diagonal(x, count).sum(-1))
    plus, minus = (_diagonal(x[..., first, second], 2).sum(-1) for _, first, second in parts)
    return np.asarray(plus - minus)


def _embedded(x: np.ndarray, count: int, shape: tuple[int, ...], parts: list[Part]) -> np.ndarray:
    """Write the diagonal of the last axes onto the diagonal of new axes; without last axes, write `x`."""
    if count:
        x = _diagonal(x, count)
        if len(shape) == 1:
            return x
    result = np.zeros((*(x.shape[:-1] if count else x.shape), *shape), x.dtype)
    for sign, first, second in parts:
        part = result[..., first, second] if len(parts) == 2 else result
        _diagonal(part, len(shape))[...] = x if count else sign * x[..., None]
    return result


def _head(component: Diagram, x: np.ndarray, size: Mapping[str, int]) -> np.ndarray:
    """Multiply the last axis by the matrix of a component with a head, visiting nonzero entries only."""
    rows, columns, signs = _nonzero(component, size[component.labels[0]])
    result = np.zeros((*x.shape[:-1], math.prod(size[label] for label in component.top)), x.dtype)
    result[..., rows] = (x[..., columns] * signs).sum(-1)
    return result


@functools.lru_cache(maxsize=128)
def _nonzero(component: Diagram, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nonzero entries of the matrix of a component with a head.

    Returns:
        The nonzero rows, `[rows]`; for each its columns and their signs, `[rows, entries of a row]`. Rows have equally
        many entries, because even permutations map each row to every other.
    """
    matrix = diagram_matrix(component, n)
    rows = np.flatnonzero(matrix.any(axis=1))
    columns = np.nonzero(matrix[rows])[1].reshape(len(rows), -1)
    signs = np.take_along_axis(matrix[rows], columns, axis=1).astype(np.int8)  # int8 keeps the dtype of its operand
    for array in (rows, columns, signs):
        array.flags.writeable = False
    return rows, columns, signs
