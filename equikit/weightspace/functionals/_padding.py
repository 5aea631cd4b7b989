"""Parameters of networks of different widths, padded to common widths."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from equikit import _checks, data
from equikit._array_checks import mapping
from equikit._errors import ShapeError
from equikit.weightspace.specifications._leaves import named_leaves, one_channel
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import join, labels_of, split
from equikit.weightspace.specifications._widths import resized_leaves


def pad(
    spec: Specification,
    trees: Sequence[Any],
    *,
    sizes: Mapping[str, int] | None = None,
    also: Collection[str] = (),
    channels: int = 1,
) -> tuple[Any, dict[str, Bool[np.ndarray, "batch n"]]]:
    """Stack parameters of one architecture and different widths: pad them with zeros, and mark which neurons exist.

    Args:
        spec: the symmetry of the parameters of one of the networks, from `trace`.
        trees: the parameters of each network, arrays `[*shape]`, or `[*shape, channels]` with several channels.
        sizes: padded sizes of permuted labels; by default the largest one among the networks.
        also: labels that are not permuted, such as inputs, whose sizes differ, too: for a functional that encodes their
            positions by sinusoids.
        channels: number of channels.

    Returns:
        A tree of arrays `[networks, *padded shape]`, and for each of these labels a mask `[networks, n]`. Functionals
        take both: `functional(params, mask=masks)` equals the functional of each network alone. So do `canonical_form`,
        `CanonicalScaling`, `Standardize` and `spec.augment`.

    Raises:
        OptionError: if there are no networks, they have other parameters than `spec`, a size is too small, or `also`
            has other labels.
        ShapeError: if an array does not fit, for example because networks differ in an axis that is not permuted.

    Cost: one copy.

    Example:
        >>> from equikit.weightspace import trace
        >>> small, large = ({"a": np.ones((3, n)), "b": np.ones((n, 2))} for n in (4, 6))
        >>> spec = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], small, np.ones((5, 3)))
        >>> params, masks = pad(spec, [small, large])
        >>> params["a"].shape, masks["h0"].sum(1).tolist()
        ((2, 3, 6), [4, 6])
        >>> moved = spec.augment(params, key=jax.random.key(0), mask=masks)  # absent neurons keep their places
        >>> moved["b"][:, 4:].any(axis=(1, 2)).tolist()
        [False, True]
    """
    checked_specification(spec)
    count = _checks.count("channels", channels, least=1)
    _checks.instance("trees", trees, Sequence, "[params, other_params]")  # type: ignore[type-abstract]
    _checks.some("trees", trees, got=trees, step="pass [params, other_params]")
    found = [_tensors(spec, tree, also, count) for tree in trees]
    largest = {label: max(own[label] for _, own in found) for label in spec.sizes}
    given = mapping("sizes", sizes, next(iter([*spec.groups, *spec.sizes]), "h0"))
    for label, size in given.items():
        if label in largest and label not in (*spec.groups, *also) and size != largest[label]:
            raise _unmasked(label, [*also, label], f"sizes={{{label!r}: {size}}}", largest[label])
    whole = largest | dict(given)
    labels = labels_of(spec.leaves)
    used = {label for own in labels.values() for label in own}
    features, masks = data.pad(
        [tensors for tensors, _ in found],
        sizes={label: size for label, size in whole.items() if label in used or label not in largest},
        terms={name: " ".join(own) for name, own in labels.items()},
        masked=[label for label in spec.sizes if label in used and (label in spec.groups or label in also)],
    )
    joined: Any = join(resized_leaves(spec.leaves, whole), features)  # type: ignore[arg-type]  # NumPy arrays
    leaves = [np.asarray(array if count > 1 else array[..., 0]) for array in joined.values()]
    return jax.tree.unflatten(jax.tree.structure(trees[0]), leaves), masks


def _tensors(
    spec: Specification, tree: Any, also: Collection[str], channels: int
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return the tensors `[*axes, channels]` of one network, and the size of each label."""
    given = named_leaves(tree)
    for name, leaf in given.items():
        _checks.untraced(f"{name!r}", leaf, step="call pad outside of jit, and pass the padded parameters and masks")
    arrays = {name: np.asarray(leaf) for name, leaf in given.items()}
    if channels == 1:
        arrays = {name: array[..., None] for name, array in arrays.items()}
    for leaf in spec.leaves if channels > 1 else ():
        if leaf.name in arrays:
            step = "stack channels last: jax.tree.map(lambda *a: jnp.stack(a, -1), weights, gradients)"
            axes: list[int | str] = [*map(str, leaf.axes), channels]
            _checks.shaped(f"{leaf.name!r} ({leaf}) with {channels} channels", arrays[leaf.name], axes, step=step)
    own = _resized(spec, one_channel(arrays), also)
    for leaf in own.leaves:
        step = "pass a list with the parameters of each network"
        _checks.shaped(f"{leaf.name!r} ({leaf})", arrays[leaf.name], (*leaf.shape, channels), step=step)
    cut: Any = split(own.leaves, arrays)  # type: ignore[arg-type]
    return {name: np.asarray(array) for name, array in cut.items()}, own.sizes


def _resized(spec: Specification, arrays: Mapping[str, np.ndarray], also: Collection[str]) -> Specification:
    """Return the specification of one network; the error for a label of another size says how to get a mask for it."""
    try:
        return spec.resized(arrays, also)
    except ShapeError as error:
        try:
            sizes = spec.resized(arrays, [*spec.sizes]).sizes
        except ShapeError:
            raise error from None
        other = [label for label in sizes if label not in spec.groups and sizes[label] != spec.sizes[label]]
        first = next(label for label in other if label not in also)
        raise _unmasked(first, [*also, *other], f"size {sizes[first]}", spec.sizes[first]) from error


def _unmasked(label: str, also: Collection[str], got: str, size: int) -> ShapeError:
    return ShapeError(
        f"label {label!r} is not permuted, and has no mask",
        got=got,
        expected=f"its size, {size}, or a mask for it",
        step=f"write also={[*dict.fromkeys(also)]}, for a functional that encodes positions by sinusoids",
    )
