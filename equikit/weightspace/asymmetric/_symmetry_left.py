"""Prove that fixed entries break the permutations of a network that a trace finds."""

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
"""For each label a number for each index, `[n]`, or if it is nested, for each index of the outer label, `[outer, n]`:
indices that some element may exchange have the same number."""
Index = int | tuple[int, int]
"""An index of a label; for a nested label, after the index of the outer label."""


Classes = tuple[tuple[Index, ...], ...]
"""Sets of two or more indices of one label with the same color."""


@dataclass(frozen=True, eq=False, repr=False)
class SymmetryLeft(Mapping[str, Classes]):
    """The permutations in a network's traced group that its fixed entries may leave: an upper bound.

    It is a mapping of labels to classes of indices, and empty if the identity is all that is left of the traced group.
    The model may have permutations outside this group if `spec.unread` or `fixed` is not empty; scales, signs and
    linear groups are not covered.

    Attributes:
        classes: pairs of a label and its classes of indices that the fixed entries do not tell apart.
        spec: the traced group that the proof is about, with the fixed entries among the parameters.
    """

    classes: tuple[tuple[str, Classes], ...]
    spec: Specification

    @property
    def fixed(self) -> tuple[tuple[str, str], ...]:
        """The labels that the trace fixed, other than those of inputs and outputs, each with the reason."""
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
            return f"{proved} The trace read every operation, and fixed no axes but those of inputs and outputs."
        missed = [f"has no rule for {unread}"] * bool(unread) + [f"fixed the axes {fixed}"] * bool(fixed)
        return f"{proved} Permutations outside this group may be left: the trace {' and '.join(missed)}."


def symmetry_left(model: nnx.Module, x: Any) -> SymmetryLeft:
    """Find the permutations in a network's traced group that its fixed entries leave.

    The network is traced with fixed entries as if they were parameters. An element of the group that is found is a
    symmetry of what is trained if it keeps all fixed entries. Which do is bounded by color refinement: indices get
    other colors if the fixed entries of one are not, with multiplicities, those of the other, next to indices of the
    same colors. A label that is nested in another one is permuted by itself for every index of that, and so it has
    colors for every index of that. An element that keeps the fixed entries keeps the colors. Where every index has a
    color of its own, it is **proved** that the identity is all that is left of the traced group.

    The proof is about this group alone. A trace finds a subgroup of the symmetries of a model where it has no rule for
    an operation or fixes an axis that is not one of inputs or outputs; the result names these, and permutations along
    them are not excluded. It says nothing about scales, signs and linear groups.

    Args:
        model: with `FixedEntries` somewhere in it.
        x: an input, or several in a tuple; they may be `jax.ShapeDtypeStruct`s.

    Returns:
        For each label the classes of indices, of two or more, that the fixed entries do not tell apart, with the traced
        group. If there are none, no element of this group is left but the identity. If there are, some may be, or may
        not. An index of a label that is nested in another one is a pair, the first of which is the index of the outer
        label; classes are those within one index of that, as others are exchanged with the outer label alone.

    Warns:
        TraceWarning: if operations of the network have no rule.

    Raises:
        DTypeError, OptionError: if the model cannot be traced.

    Cost: a trace, and for each round sorting the fixed entries.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import AsymmetricMLP
        >>> options = {"key": jax.random.key(0), "rngs": nnx.Rngs(1)}
        >>> symmetry_left(AsymmetricMLP([3, 4, 2], how="gates", **options), jnp.ones(3))
        Of the traced group h0=S(4) the fixed entries leave only the identity. The trace read every operation, and fixed
        no axes but those of inputs and outputs.
        >>> dict(symmetry_left(AsymmetricMLP([3, 4, 2], fixed=0, **options), jnp.ones(3)))
        {'h0': ((0, 1, 2, 3),)}

    Source:
        ours; the networks are those of Lim et al., arXiv:2405.20231, who prove it with probability one.
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
    """The positions of each color that occurs more than once."""
    classes = [tuple(map(int, np.flatnonzero(colors == one))) for one in np.unique(colors)]
    return [one for one in classes if len(one) > 1]


def refined(spec: Specification, arrays: dict[str, np.ndarray]) -> Colors:
    """Return the coarsest coloring of indices that the arrays do not refine further."""
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
    """A number for each pair of numbers."""
    found: np.ndarray = one.astype(np.intp) * (int(two.max(initial=0)) + 1) + two
    return _numbered(found)


def _spread(colors: np.ndarray, axes: tuple[int, ...], count: int) -> np.ndarray:
    """Return colors along some of `count` axes, in a shape that broadcasts along the others."""
    order = np.argsort(axes)
    others = tuple(axis for axis in range(count) if axis not in axes)
    found: np.ndarray = np.expand_dims(colors.transpose(order), others)
    return found
