"""Prove that fixed entries break the permutation symmetry that a trace finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit.groups import S
from equikit.weightspace.asymmetric._fixed import FixedEntries
from equikit.weightspace.functionals._fixed import ends
from equikit.weightspace.specifications._leaves import named_leaves
from equikit.weightspace.specifications._specification import Specification
from equikit.weightspace.specifications._tensors import split as cut, tensors_of
from equikit.weightspace.tracing._trace import trace

Colors = dict[str, np.ndarray]
"""For each label the color of each index, `[n]`, or `[outer, n]` for a nested label. Indices that a group element may
exchange have the same color."""
Index = int | tuple[int, int]
"""An index of a label; for a nested label, a pair (index of the outer label, index)."""


Classes = tuple[tuple[Index, ...], ...]
"""Sets of two or more indices of one label with the same color."""


@dataclass(frozen=True, eq=False, repr=False)
class SymmetryLeft(Mapping[str, Classes]):
    """An upper bound on the subgroup of the traced group that preserves the fixed entries of a network.

    It is a mapping from labels to classes of indices that may be exchanged; it is empty if the subgroup is trivial. The
    model may have permutations outside the traced group if `spec.unread` or `fixed` is not empty. Scales, signs and
    linear groups are not covered.

    Attributes:
        classes: pairs of a label and its classes of indices that the fixed entries do not distinguish.
        spec: the specification of the traced group, with the fixed entries among the parameters.
    """

    classes: tuple[tuple[str, Classes], ...]
    spec: Specification

    @property
    def fixed(self) -> tuple[tuple[str, str], ...]:
        """The labels that the trace fixed, except labels of inputs and outputs, each with the reason."""
        known, sizes = ends(self.spec), self.spec.sizes
        return tuple((label, why) for label, why in self.spec.reasons if label not in known and sizes[label] > 1)

    def __getitem__(self, label: str) -> Classes:
        return dict(self.classes)[label]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.classes))

    def __len__(self) -> int:
        return len(self.classes)

    def __repr__(self) -> str:
        if not self.spec.groups:
            proved = "The trace found no permutations of this model."
        else:
            left = ", ".join(f"{label} {', '.join(map(str, classes))}" for label, classes in self.classes)
            proved = f"Of the traced group {self.spec.bound(self.spec.groups)} the fixed entries leave " + (
                f"at most exchanges of equal indices: {left}." if left else "only the identity."
            )
        unread = ", ".join(self.spec.unread)
        fixed = ", ".join(f"{label!r} ({why})" for label, why in self.fixed)
        if not unread and not fixed:
            return f"{proved} The trace read every operation, and fixed only axes of inputs and outputs."
        missed = [f"has no rule for {unread}"] * bool(unread) + [f"fixed the axes {fixed}"] * bool(fixed)
        return f"{proved} Permutations outside this group may be left: the trace {' and '.join(missed)}."


def symmetry_left(model: nnx.Module, x: Any) -> SymmetryLeft:
    """Bound the subgroup of a network's traced group that preserves its fixed entries.

    The network is traced with its fixed entries as parameters. An element of the traced group is a symmetry of the
    trained parameters if it preserves all fixed entries. Color refinement bounds the subgroup of these elements: two
    indices get different colors unless their fixed entries, together with the colors of the other indices, are equal as
    multisets. An index of a nested label has a color for every index of the outer label. Elements that preserve the
    fixed entries preserve the colors. If all indices of every label have different colors, it is **proved** that only
    the identity preserves the fixed entries.

    The proof covers the traced group only. If the trace has no rule for an operation, or fixes an axis other than
    inputs and outputs, the traced group may be a proper subgroup of the symmetry of the model; the result names these
    operations and axes. Scales, signs and linear groups are not covered.

    Args:
        model: a module that contains `FixedEntries`.
        x: an input, or several in a tuple; they may be `jax.ShapeDtypeStruct`s.

    Returns:
        For each label the classes of two or more indices that the fixed entries do not distinguish, with the traced
        group. If there are no classes, only the identity preserves the fixed entries; if there are classes, other
        elements may preserve them. An index of a nested label is a pair that starts with the index of the outer label;
        its classes lie within one outer index, because exchanges across outer indices also permute the outer label.

    Warns:
        TraceWarning: if operations of the network have no rule.

    Raises:
        DTypeError, OptionError: if the model cannot be traced.

    Cost: one trace, and a sort of the fixed entries in each round of color refinement.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import AsymmetricMLP
        >>> options = {"key": jax.random.key(0), "rngs": nnx.Rngs(1)}
        >>> symmetry_left(AsymmetricMLP([3, 4, 2], how="gates", **options), jnp.ones(3))
        Of the traced group h0=S(4) the fixed entries leave only the identity. The trace read every operation, and fixed
        only axes of inputs and outputs.
        >>> dict(symmetry_left(AsymmetricMLP([3, 4, 2], fixed=0, **options), jnp.ones(3)))
        {'h0': ((0, 1, 2, 3),)}

    Source:
        ours; the networks are from Lim et al., arXiv:2405.20231, who prove asymmetry with probability one.
    """
    split: Any = nnx.split(model, nnx.Param, FixedEntries, ...)
    graph, params, fixed, rest = split

    def apply(given: Any, *inputs: Any) -> Any:
        return nnx.merge(graph, given["params"], given["fixed"], rest)(*inputs)

    spec = trace(apply, {"fixed": fixed, "params": params}, x)
    entries = named_leaves({"fixed": fixed}) if jax.tree.leaves(fixed) else {}
    colors = refined(spec, {name: np.asarray(array) for name, array in entries.items()})
    left: list[tuple[str, Classes]] = []
    within = dict(spec.nested)
    for label in spec.groups:
        if label in within:
            pairs = [(outer, one) for outer, row in enumerate(colors[label]) for one in _classes(row)]
            found: Classes = tuple(tuple((outer, i) for i in one) for outer, one in pairs)
        else:
            found = tuple(_classes(colors[label]))
        if found:
            left.append((label, found))
    return SymmetryLeft(tuple(left), spec)


def _classes(colors: np.ndarray) -> list[tuple[int, ...]]:
    """Return the indices of each color that occurs more than once."""
    classes = [tuple(map(int, np.flatnonzero(colors == one))) for one in np.unique(colors)]
    return [one for one in classes if len(one) > 1]


def refined(spec: Specification, arrays: dict[str, np.ndarray]) -> Colors:
    """Return the coarsest stable coloring of indices under color refinement by the arrays."""
    within, sizes = dict(spec.nested), spec.sizes
    colors: Colors = {}
    for label, what in spec.bindings:
        shape = (sizes[within[label]], sizes[label]) if label in within else (sizes[label],)
        colors[label] = np.zeros(shape, np.intp) if isinstance(what, S) else np.arange(sizes[label])
    leaves = tuple(leaf for leaf in spec.leaves if leaf.name in arrays)
    codes = {leaf.name: jnp.asarray(_numbered(arrays[leaf.name])[..., None].astype(np.int32)) for leaf in leaves}
    values = {name: np.asarray(array)[..., 0] for name, array in cut(leaves, codes).items()}
    tensors = [tensor for leaf in leaves for tensor in tensors_of(leaf) if values[tensor.name].size]

    def axes_of(labels: tuple[str, ...], place: int) -> tuple[int, ...]:
        """Return the axes that together index the label of an axis, the outer label first."""
        label = labels[place]
        return (labels.index(within[label]), place) if label in within else (place,)

    while True:
        before = sum(int(its.max(initial=0)) for its in colors.values())
        for tensor in tensors:
            labels = tensor.labels
            for place, label in enumerate(labels):
                if label not in spec.groups:
                    continue
                own = axes_of(labels, place)
                colored = values[tensor.name]
                for other, its_label in enumerate(labels):
                    if other not in own or its_label != label:
                        colored = _both(colored, _spread(colors[its_label], axes_of(labels, other), colored.ndim))
                rows = np.moveaxis(colored, own, range(len(own))).reshape(colors[label].size, -1)
                rows = np.concatenate([colors[label].reshape(-1, 1), np.sort(rows, axis=1)], axis=1)
                found = np.unique(rows, axis=0, return_inverse=True)[1]
                colors[label] = found.reshape(colors[label].shape)
        if sum(int(its.max(initial=0)) for its in colors.values()) == before:
            return colors


def _numbered(array: np.ndarray) -> np.ndarray:
    """Number entries so that equal entries have equal numbers."""
    return np.unique(array, return_inverse=True)[1].reshape(array.shape)


def _both(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Number the pairs of entries so that equal pairs have equal numbers."""
    found: np.ndarray = one.astype(np.intp) * (int(two.max(initial=0)) + 1) + two
    return _numbered(found)


def _spread(colors: np.ndarray, axes: tuple[int, ...], count: int) -> np.ndarray:
    """Reshape colors along `axes` so that they broadcast against an array with `count` axes."""
    order = np.argsort(axes)
    others = tuple(axis for axis in range(count) if axis not in axes)
    found: np.ndarray = np.expand_dims(colors.transpose(order), others)
    return found
