"""Dense matrices of diagrams: the reference for every fast path."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit import _checks
from equikit._errors import DiagramError, GroupError, OptionError, ShapeError, TooLargeError
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.counting._rules import axes_of
from equikit.groups import Form, Group
from equikit.signatures import Signature, base, normalized

if TYPE_CHECKING:
    import sympy

LARGEST_ARRAY = 2**32
"""The most bytes of a dense array."""

MOST_MATRICES = 50_000
"""The most matrices of a basis that are computed."""

MOST_ENTRIES = 2**27
"""The most entries of all matrices of a basis together: writing 1 GiB takes seconds."""

LARGEST_MATRIX = 2**59
"""The most entries of a matrix for which NumPy can make an array of matrices, even an empty one."""

MOST_AXES = 64
"""The most axes a NumPy array can have."""


UNFORMED = "use a smaller size, or a plan or a layer, which never form it"

BASES = "diagram", "orbit"


def refuse_if_large(what: str, entries: int, itemsize: int = 8, step: str = UNFORMED) -> None:
    """Raise `TooLargeError` before an array larger than `LARGEST_ARRAY` is allocated."""
    if entries * itemsize > LARGEST_ARRAY:
        raise TooLargeError(
            f"{what} would not fit in memory",
            got=f"{_checks.count_text(entries)} entries, {_checks.count_text(entries * itemsize)} bytes",
            expected=f"at most {LARGEST_ARRAY:,} bytes",
            step=step,
        )


def refuse_if_dense(matrices: int, size: int) -> None:
    """Raise `TooLargeError` if a basis has too many dense matrices, or too many entries in total."""
    entries = matrices * size
    what = "the basis as dense matrices would not fit in memory"
    _checks.refuse_if_more(what, entries, MOST_ENTRIES, "entries", UNFORMED)
    _checks.refuse_if_more(what, size, LARGEST_MATRIX, "entries in a matrix", UNFORMED)
    _checks.refuse_if_more(what, matrices if entries else 0, MOST_MATRICES, "matrices", UNFORMED)


def given_sizes(labels: Iterable[str], n: int | Mapping[str, int], step: str | None = None) -> dict[Any, int]:
    """Return the given sizes by label; a number applies to all labels. `step` is the advice for an invalid size."""

    def size(name: str, value: object) -> int:
        return _checks.count(name, value, example=4, step=step, error=GroupError)

    if not isinstance(n, Mapping):
        return dict.fromkeys(labels, size("n", n))
    return {normalized(label): size(f"the size of {label!r}", value) for label, value in n.items()}


def size_symbols(labels: Iterable[str]) -> dict[str, sympy.Symbol]:
    """Return a SymPy symbol for the size of each label: `n` for a single label, `n_p` and so on for several."""
    import sympy

    labels = sorted(set(labels))
    single = len({*map(base, labels)}) == 1  # a label and its dual have one size
    return {
        label: sympy.Symbol("n" if single else f"n_{base(label)}", integer=True, nonnegative=True) for label in labels
    }


def label_sizes(labels: tuple[str, ...], n: int | Mapping[str, int]) -> dict[str, int]:
    """Return the size of every label, from one number for all of them or a number for each."""
    wanted = sorted(set(labels))
    given = given_sizes(wanted, n)
    for label in [*given]:  # a label and its dual have one size
        known = given.setdefault(base(label), given[label]) if isinstance(label, str) else given[label]
        if known != given[label]:
            raise ShapeError(
                f"a label and its dual have one size, {base(label)!r} and {label!r} were given two",
                got=f"{_checks.count_text(known)} and {_checks.count_text(given[label])}",
                expected="one size for both",
                step=f"give the size of {base(label)!r} alone",
            )
    given |= {label: given[base(label)] for label in wanted if base(label) in given}
    missing = [base(label) for label in wanted if label not in given]
    if missing:
        raise ShapeError(
            f"no size is given for label {missing[0]!r}",
            got=given,
            expected="a size for every label",
            step=f"pass n={ {**given, **dict.fromkeys(missing, 4)} }",
        )
    return {label: given[label] for label in wanted}


def block_places(signature: Signature, sizes: Mapping[str, int]) -> tuple[tuple[int, int], list[tuple[slice, slice]]]:
    """Return the shape of the dense matrices of a signature, and the rows and columns of each pair of terms.

    Pairs are in the order of `HomSpace.pairs`: all inputs to the first output, and so on.
    """
    rows, columns = (
        [*itertools.accumulate((math.prod(sizes[label] for label in term.labels) for term in side), initial=0)]
        for side in (signature.outputs, signature.inputs)
    )
    pairs = itertools.product(itertools.pairwise(rows), itertools.pairwise(columns))
    return (rows[-1], columns[-1]), [(slice(*row), slice(*column)) for row, column in pairs]


def refuse_if_formless(forms: Iterable[tuple[str, Form]], size: Mapping[str, int]) -> None:
    """Raise `ShapeError` if the size of an axis does not fit its form."""
    for label, form in forms:
        if label in size and not form.fits(size[label]):
            raise ShapeError(
                f"axes {label!r} of this size do not have the form of {form}",
                got=f"size {size[label]}",
                expected="an even size" if form.kind == "symplectic" else f"{form.positive + form.negative}",
                step="correct n",
            )


def diagram_tensor(diagram: Diagram, n: int | Mapping[str, int], *, basis: str = "diagram") -> np.ndarray:
    """Return the map as an integer tensor with one axis for each vertex; arguments as in `Diagram.matrix`."""
    size = tensor_sizes(diagram, n)
    shape = tuple(size[label] for label in diagram.labels)
    refuse_if_large("the dense form of the diagram", math.prod(shape))
    index, values = nonzero_entries(diagram, size, basis=basis)
    result = np.zeros(shape, values.dtype)
    if result.size:
        result[index] = values
    return result


def tensor_sizes(diagram: Diagram, n: int | Mapping[str, int]) -> dict[str, int]:
    """Return the size of every label of a diagram; raise an error if the diagram has no tensor at these sizes."""
    size = label_sizes((*diagram.labels, *(label for label, _, _ in diagram.elements)), n)
    refuse_if_formless(diagram.forms, size)
    what = "the diagram has more vertices than an array can have axes"
    _checks.refuse_if_more(what, diagram.order, MOST_AXES, "vertices", "use a plan or a layer")
    return size


def nonzero_entries(
    diagram: Diagram, size: Mapping[str, int], *, basis: str = "diagram"
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return the nonzero entries of a diagram's tensor: indices (an open grid, one axis per block) and values."""
    orbit = _checks.choice("basis", basis, BASES) == "orbit"
    if orbit:
        refuse_elements("the orbit map", diagram)
    if orbit and diagram.forms:
        raise OptionError(
            "a diagram whose label has a form has no orbit map",
            got=repr(diagram),
            expected="groups that permute a basis",
            step='write basis="diagram"',
        )
    labels = diagram.block_labels
    grid = np.indices([size[label] for label in labels], sparse=True) if labels else ()
    keep = np.ones((1,) * len(labels), bool)
    if orbit:
        for i in range(len(labels)):
            for j in range(i):
                if labels[i] == labels[j]:
                    keep = keep & (grid[i] != grid[j])
    values: np.ndarray = keep.astype(np.int64)
    index = [grid[block] for block in diagram.growth]
    formed, split = dict(diagram.forms), len(diagram.top)
    for block, vertices in enumerate(diagram.blocks):
        form = formed.get(labels[block])
        if form is None or len(vertices) < 2 or (vertices[0] < split) != (vertices[-1] < split):
            continue
        # The nonzero entries of the form: one in each row.
        matrix = form.matrix(size[labels[block]])
        index[vertices[1]] = np.argmax(matrix != 0, axis=1)[grid[block]]
        values = values * matrix.sum(axis=1)[grid[block]]
    for label, legs, _ in diagram.heads:
        refuse_if_other(label, size[label], legs)
        shared, above, below = leg_order(diagram, label)
        values = values * permutation_sign([grid[block] for block in (*shared, *above, *below)], legs)
        if label in formed:
            signs = formed[label].signs()
            for block in below:
                values = values * signs[grid[block]]
    refuse_if_overflowing(diagram)
    for label, group, number in diagram.elements:
        held = [block for block, other in zip(diagram.growth, diagram.labels, strict=True) if base(other) == label]
        tensor = _element(diagram, label, group, number, size[label])
        values = values * tensor[tuple(grid[block] for block in held)]
    return tuple(index), values


def _element(diagram: Diagram, label: str, group: Group, number: int, size: int) -> np.ndarray:
    """Return an invariant tensor of a group without diagrams, or raise `DiagramError` if it does not exist."""
    tensors = group.invariants(axes_of(label, diagram.top, diagram.bottom))
    if number >= len(tensors) or size != group.n:
        raise DiagramError(
            f"{group} has no such invariant tensor on the axes {label!r}",
            got=f"number {number + 1}, size {size}",
            expected=f"up to {len(tensors)}, size {group.n}",
            step="take a diagram from space.diagrams",
        )
    tensor: np.ndarray = tensors[number]
    return tensor


def refuse_if_overflowing(diagram: Diagram) -> None:
    """Raise `TooLargeError` if products of entries of several invariant tensors could overflow 64 bits."""
    most = 1
    for label, group, number in diagram.elements:
        tensors = group.invariants(axes_of(label, diagram.top, diagram.bottom))
        if tensors.dtype.kind == "i" and number < len(tensors):
            most *= int(abs(tensors[number]).max(initial=1))
    if most >= 2**63:
        raise TooLargeError(
            "entries of the matrix would not fit in 64 bits",
            got=f"products up to {most:,}",
            expected="below 2^63",
            step="write MatrixGroup(..., exact=False), or look at each label alone",
        )


def refuse_elements(what: str, *diagrams: Diagram) -> None:
    """Raise `OptionError` if a diagram contains an invariant tensor of a group without diagrams."""
    for diagram in diagrams:
        for label, group, _ in diagram.elements:
            raise OptionError(
                f"{what} is not defined for {group}, which has no diagrams",
                got=f"{diagram} with {label}={group}",
                expected="groups whose maps are diagrams",
                step="work with the matrices, diagram.matrix(n)",
            )


def refuse_if_other(label: str, size: int, legs: int) -> None:
    """Raise `ShapeError` unless the size of the axes equals the number of legs of their Levi-Civita tensor."""
    if size != legs:
        raise ShapeError(
            f"the Levi-Civita tensor on {label!r} has {legs} legs",
            got=f"size {size}",
            expected=f"{legs}",
            step=f"pass n={legs}",
        )


def leg_order(diagram: Diagram, label: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the legs of a label's head in order: blocks in both rows, in the top row only, in the bottom row only."""
    ((_, _, legs),) = [head for head in diagram.heads if head[0] == label]
    split = len(diagram.top)
    upper, lower = dict.fromkeys(diagram.growth[:split]), dict.fromkeys(diagram.growth[split:])
    above, below = ([b for b in row if b in legs and b not in other] for row, other in ((upper, lower), (lower, upper)))
    both = upper if len(above) > len(below) else lower
    return tuple(b for b in both if b in legs and b in upper and b in lower), tuple(above), tuple(below)


def permutation_sign(indices: Sequence[np.ndarray], n: int) -> np.ndarray:
    """Return the sign of index arrays as a permutation of 0..n-1, zero for equal indices; a missing leg is summed over.

    Example:
        >>> permutation_sign([np.array([0, 1, 0]), np.array([1, 0, 0])], 2).tolist()
        [1, -1, 0]
    """
    rest = [np.array(n * (n - 1) // 2) - sum(indices, np.array(0))] if len(indices) < n else []
    result: np.ndarray = np.array(1)
    for j, second in enumerate([*indices, *rest]):
        for first in indices[:j]:
            result = result * np.sign(second - first)
    return result


def diagram_matrix(diagram: Diagram, n: int | Mapping[str, int], *, basis: str = "diagram") -> np.ndarray:
    """Return the map as an integer matrix; see `Diagram.matrix`."""
    tensor = diagram_tensor(diagram, n, basis=basis)
    split = len(diagram.top)
    return tensor.reshape(math.prod(tensor.shape[:split]), math.prod(tensor.shape[split:]))
