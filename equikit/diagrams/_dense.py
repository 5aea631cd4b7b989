"""Dense matrices of diagrams: the definition that every fast path is compared with."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping

import numpy as np

from equikit._errors import OptionError, ShapeError, TooLargeError, explain
from equikit.diagrams._diagram import Diagram
from equikit.groups._group import checked_size

LARGEST_ARRAY = 2**32
"""Bytes above which a dense array is refused."""

MOST_AXES = 64
"""The most axes a NumPy array can have."""


def checked_basis(basis: str) -> str:
    """Return `basis` if it names one, or raise `OptionError`."""
    if basis not in ("diagram", "orbit"):
        raise OptionError(
            explain("no such basis", got=repr(basis), expected='"diagram" or "orbit"', step='write basis="orbit"')
        )
    return basis


def refuse_if_large(what: str, entries: int, itemsize: int = 8) -> None:
    """Raise `TooLargeError` before an array above `LARGEST_ARRAY` is made."""
    if entries * itemsize > LARGEST_ARRAY:
        raise TooLargeError(
            explain(
                f"{what} would not fit in memory",
                got=f"{entries:,} entries, {entries * itemsize:,} bytes",
                expected=f"at most {LARGEST_ARRAY:,} bytes",
                step="use a smaller size, or a plan or a layer, which never form it",
            )
        )


def by_words(given: Mapping[str, int]) -> dict[str, int]:
    """The dictionary with its labels normalised as in a signature."""
    return {unicodedata.normalize("NFKC", x) if isinstance(x, str) else x: size for x, size in given.items()}


def label_sizes(labels: tuple[str, ...], n: int | Mapping[str, int]) -> dict[str, int]:
    """The size of every label, from one number for all of them or a number for each."""
    wanted = sorted(set(labels))
    given = by_words(n) if isinstance(n, Mapping) else dict.fromkeys(wanted, n)
    missing = [label for label in wanted if label not in given]
    if missing:
        raise ShapeError(
            explain(
                f"no size is given for label {missing[0]!r}",
                got=given,
                expected="a size for every label",
                step=f"pass n={{{missing[0]!r}: 5}}",
            )
        )
    return {label: checked_size("the size of a label", given[label]) for label in wanted}


def diagram_tensor(diagram: Diagram, n: int | Mapping[str, int], *, basis: str = "diagram") -> np.ndarray:
    """The map as an integer tensor with one axis a vertex; the arguments are those of `Diagram.matrix`."""
    orbit = checked_basis(basis) == "orbit"
    size = label_sizes(diagram.labels, n)
    shape = tuple(size[label] for label in diagram.labels)
    refuse_if_large("the dense form of the diagram", math.prod(shape))
    if len(shape) > MOST_AXES:
        raise TooLargeError(
            explain(
                "the diagram has more vertices than an array can have axes",
                got=f"{len(shape)} vertices",
                expected=f"at most {MOST_AXES}",
                step="use a plan or a layer",
            )
        )
    result = np.zeros(shape, np.int64)
    labels = diagram.block_labels
    grid = np.indices([size[label] for label in labels], sparse=True) if labels else ()
    keep = np.ones((1,) * len(labels), bool)
    if orbit:
        for i in range(len(labels)):
            for j in range(i):
                if labels[i] == labels[j]:
                    keep = keep & (grid[i] != grid[j])
    result[tuple(grid[block] for block in diagram.growth)] = keep
    return result


def diagram_matrix(diagram: Diagram, n: int | Mapping[str, int], *, basis: str = "diagram") -> np.ndarray:
    """The map as an integer matrix; see `Diagram.matrix`."""
    tensor = diagram_tensor(diagram, n, basis=basis)
    split = len(diagram.top)
    return tensor.reshape(math.prod(tensor.shape[:split]), math.prod(tensor.shape[split:]))
