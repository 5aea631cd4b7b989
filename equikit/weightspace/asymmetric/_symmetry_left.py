"""Proof that fixed entries break the symmetry of a network."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

from equikit.groups import S
from equikit.weightspace._leaves import named_leaves
from equikit.weightspace._specification import Specification
from equikit.weightspace._terms import Expression, Product, Sum, Symbol
from equikit.weightspace._trace import trace
from equikit.weightspace.asymmetric._fixed import FixedEntries

Colours = dict[str, np.ndarray]
"""For each label a number for each index: indices that some permutation may exchange have one number."""


def symmetry_left(model: nnx.Module, x: Any) -> dict[str, tuple[tuple[int, ...], ...]]:
    """What the fixed entries of a network leave of its symmetry.

    The network is traced with fixed entries as if they were parameters. An element of the group that is found is a
    symmetry of what is trained if it keeps all fixed entries. Which do is bounded by colour refinement: indices get
    other colours if the fixed entries of one are not, with multiplicities, those of the other, next to indices of the
    same colours. An element that keeps the fixed entries keeps the colours. Where every index has a colour of its own
    the identity is all that is left, and the symmetry is **proved** to be broken.

    Args:
        model: with `FixedEntries` somewhere in it.
        x: an input, or several in a tuple; they may be `jax.ShapeDtypeStruct`s.

    Returns:
        For each label the classes of indices, of two or more, that the fixed entries do not tell apart. If there are
        none, no permutation in the traced group is left. If there are, some may be, or may not.

    Raises:
        DTypeError, OptionError: if the model cannot be traced.

    Cost: a trace, and for each round sorting the fixed entries.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import AsymmetricMLP
        >>> options = {"key": jax.random.key(0), "rngs": nnx.Rngs(1)}
        >>> symmetry_left(AsymmetricMLP([3, 4, 2], how="gates", **options), jnp.ones(3))
        {}
        >>> symmetry_left(AsymmetricMLP([3, 4, 2], fixed=0, **options), jnp.ones(3))
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
    colours = refined(spec, {name: np.asarray(array) for name, array in entries.items()})
    left = {}
    for label in spec.groups:
        classes = [tuple(map(int, np.flatnonzero(colours[label] == one))) for one in np.unique(colours[label])]
        if any(len(one) > 1 for one in classes):
            left[label] = tuple(one for one in classes if len(one) > 1)
    return left


def refined(spec: Specification, arrays: dict[str, np.ndarray]) -> Colours:
    """The coarsest colouring of indices that the arrays do not refine further."""
    colours = {
        label: np.zeros(spec.sizes[label], np.intp) if isinstance(what, S) else np.arange(spec.sizes[label])
        for label, what in spec.bindings
    }
    leaves = [leaf for leaf in spec.leaves if leaf.name in arrays]
    values = {name: np.unique(array, return_inverse=True)[1].reshape(array.shape) for name, array in arrays.items()}
    while True:
        before = sum(int(its.max(initial=0)) for its in colours.values())
        for leaf in leaves:
            for place, axis in enumerate(leaf.axes):
                if isinstance(axis, Symbol) and axis.label in spec.groups:
                    codes = values[leaf.name]
                    for other, its in enumerate(leaf.axes):
                        if other != place:
                            shape = [-1 if at == other else 1 for at in range(len(leaf.axes))]
                            codes = _both(codes, _colours_of(its, colours).reshape(shape))
                    rows = np.sort(np.moveaxis(codes, place, 0).reshape(axis.size, -1), axis=1)
                    rows = np.concatenate([colours[axis.label][:, None], rows], axis=1)
                    colours[axis.label] = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        if sum(int(its.max(initial=0)) for its in colours.values()) == before:
            return colours


def _both(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """A number for each pair of numbers."""
    found: np.ndarray = one * (int(two.max(initial=0)) + 1) + two
    return np.unique(found, return_inverse=True)[1].reshape(found.shape)


def _colours_of(axis: Expression, colours: Colours) -> np.ndarray:
    """A colour for each index of an axis, from those of what it is made of."""
    if isinstance(axis, Product):
        found = np.zeros(1, np.intp)
        for factor in axis.factors:
            found = _both(found[:, None], _colours_of(factor, colours)[None]).ravel()
        return found
    if isinstance(axis, Sum):
        pieces, start = [], 0
        for part in axis.parts:
            pieces.append(start + _colours_of(part, colours))
            start = int(pieces[-1].max(initial=start - 1)) + 1
        return np.concatenate(pieces)
    return colours[axis.label]
