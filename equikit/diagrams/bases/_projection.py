"""Project a dense matrix onto equivariant maps, by inner products with the diagrams and their Gram matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit._checks import axis_text, refuse_if_more, shown
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.diagrams._dense import block_places, nonzero_entries, tensor_sizes
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.bases._gram import gram_entries
from equikit.diagrams.counting._growth import FEWER
from equikit.signatures import Signature, Term

if TYPE_CHECKING:
    from equikit.diagrams._hom import HomSpace

MOST_READ = 60_000_000
"""The most entries of the matrix that are read, counted once for each diagram."""

DEPENDENT = 1e-11
"""The largest relative singular value of the Gram matrix of normalized diagrams that counts as zero."""


def coefficients(space: HomSpace, matrix: Any, n: int | Mapping[str, int] | None) -> np.ndarray:
    """Return the weights of the nearest equivariant map; see `HomSpace.coefficients`."""
    parts = [weights.reshape(-1) for _, _, weights in _weighted(space, matrix, n)]
    return np.concatenate([np.zeros(0, _dtype(space, matrix)), *parts])


def project(space: HomSpace, matrix: Any, n: int | Mapping[str, int] | None) -> np.ndarray:
    """Return the nearest equivariant map; see `HomSpace.project`."""
    blocks, dtype = list(_weighted(space, matrix, n)), _dtype(space, matrix)
    result = np.zeros(np.shape(matrix), dtype)
    for (pair, sizes, where), diagrams, weights in blocks:
        source, target = pair.signature.inputs[0], pair.signature.outputs[0]
        shape, axes = _layout(pair.signature, source, target, sizes)
        copies = weights.shape[1]
        tensor = np.zeros((*(shape[axis] for axis in axes[: diagrams[0].order]), copies), dtype)
        for diagram, weight in zip(diagrams, weights, strict=True):
            index, values = nonzero_entries(diagram, tensor_sizes(diagram, sizes))
            tensor[index] += values[..., None] * weight
        ordered = tensor.reshape([shape[axis] for axis in axes])
        result[where] = ordered.transpose(np.argsort(axes)).reshape(result[where].shape)
    return result


def _dtype(space: HomSpace, matrix: Any) -> np.dtype[Any]:
    """Return the dtype of the result: float64, or complex128 if the matrix or an invariant tensor is complex."""
    return np.result_type(np.float64, np.asarray(matrix).dtype, space.dtype)


def _weighted(
    space: HomSpace, matrix: Any, n: int | Mapping[str, int] | None
) -> Iterator[tuple[tuple[HomSpace, dict[str, int], tuple[slice, slice]], tuple[Diagram, ...], np.ndarray]]:
    """Yield each pair of terms with a map, its position in the matrix, its diagrams, and their weights."""
    sizes = space.sizes(n)
    array = _checked(space, matrix, sizes)
    for pair, where in zip(space.pairs, block_places(space.signature, sizes)[1], strict=True):
        if pair.dim:
            used = {label: sizes[label] for label in pair.signature.sizes}
            yield (pair, used, where), *_solved(pair, array[where], used)


def _checked(space: HomSpace, matrix: Any, sizes: Mapping[str, int]) -> np.ndarray:
    """Return the matrix as an array, or raise an error if it does not fit."""
    try:
        array = np.asarray(matrix)
    except TypeError:
        raise OptionError(
            "coefficients and project run on the host, and need a matrix of known numbers",
            got=type(matrix).__name__,
            expected="an array of NumPy, or of JAX outside jit, grad and vmap",
            step="inside them B = space.matrices(n).reshape(space.dim, -1).T.astype(matrix.dtype) does the same: "
            "weights = jnp.linalg.lstsq(B, matrix.ravel())[0]; map = (B @ weights).reshape(matrix.shape)",
        ) from None
    except ValueError:
        raise ShapeError(
            "the matrix has rows of different lengths",
            got=shown(matrix),
            expected="rows of one length",
            step="pad them",
        ) from None
    if array.dtype.kind not in "iufc":
        raise DTypeError(
            "only a matrix of numbers has a nearest equivariant map",
            got=f"dtype {array.dtype}",
            expected="integers, floats or complex numbers",
            step="pass np.asarray(matrix, np.float64)",
        )
    expected, _ = block_places(space.signature, sizes)
    if array.shape != expected:
        wanted = ", ".join(map(axis_text, expected))
        raise ShapeError(
            "the matrix does not fit the space",
            got=f"shape {list(array.shape)}",
            expected=f"[{wanted}]: rows for the outputs, columns for the inputs of {space}",
            step="reshape it, or pass the size of the free labels",
        )
    return array


def _layout(signature: Signature, source: Term, target: Term, sizes: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """Return the sizes of all axes of a pair, output first, and their order: acted on, plain input, plain output."""
    shape = [sizes[label] for label in (*target.labels, *source.labels)]
    split = len(target.labels)
    acted = [*signature.acted(target), *(split + axis for axis in signature.acted(source))]
    return shape, [*acted, *(split + axis for axis in signature.plain(source)), *signature.plain(target)]


def _solved(pair: HomSpace, block: np.ndarray, sizes: dict[str, int]) -> tuple[tuple[Diagram, ...], np.ndarray]:
    """Return the diagrams of a pair of terms and their weights, `[diagrams, multiplicity]`."""
    diagrams, (source,), (target,) = pair.diagrams, pair.signature.inputs, pair.signature.outputs
    gram = np.array(gram_entries(diagrams, sizes))
    listed = tuple(diagrams)
    read = sum(math.prod(sizes[label] for label in diagram.block_labels) for diagram in listed) * pair.multiplicity
    refuse_if_more("the projection would read too many entries", read, MOST_READ, "entries", FEWER)
    shape, axes = _layout(pair.signature, source, target, sizes)
    tensor = block.astype(np.result_type(np.float64, block)).reshape(shape).transpose(axes)
    tensor = tensor.reshape(*tensor.shape[: listed[0].order], pair.multiplicity)
    products = np.array([_inner_products(diagram, tensor, sizes) for diagram in listed])
    scale = np.sqrt(np.maximum(gram.diagonal().real.astype(np.float64), 1))
    normalized = gram / np.multiply.outer(scale, scale)
    dtype = np.complex128 if np.iscomplexobj(normalized) else np.float64
    found = np.linalg.lstsq(normalized.astype(dtype), products / scale[:, None], rcond=DEPENDENT)[0]
    return listed, found / scale[:, None]


def _inner_products(diagram: Diagram, tensor: np.ndarray, sizes: dict[str, int]) -> np.ndarray:
    """Return the inner products of a diagram with the slices of a tensor `[*axes, copies]`."""
    index, values = nonzero_entries(diagram, tensor_sizes(diagram, sizes))
    if not diagram.order:
        return np.asarray(tensor * values)
    kept = tensor[index] * values.conj()[..., None]
    return np.asarray(kept.sum(axis=tuple(range(kept.ndim - 1))))
