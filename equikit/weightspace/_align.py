"""Aligning networks: permutations that bring one as close as possible to another, and means of aligned ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from equikit._errors import OptionError, explain
from equikit.groups._group import checked_size
from equikit.weightspace._activations import activations
from equikit.weightspace._leaves import checked_leaves
from equikit.weightspace._matching import Matching, inner, match
from equikit.weightspace._specification import Specification
from equikit.weightspace._tensors import split, tensors_of

How = Literal["weights", "activations"]
"""What has to agree: the weights, or what is computed from data."""


def align(
    params_a: Any,
    params_b: Any,
    spec: Specification,
    how: How = "weights",
    *,
    apply: Callable[..., Any] | None = None,
    x: Any = None,
    restarts: int = 2,
    seed: int = 0,
    with_info: bool = False,
) -> Any:
    r"""Move the second network by the permutation that brings it closest to the first; it computes what it did.

    - `"weights"`: \(\max_g \langle a, g b \rangle\), by linear assignments for one label after another, as Git Re-Basin
      does. A maximum of this kind is hard to find, and what comes out is one that no single label improves.
    - `"activations"`: the same for what both networks compute from the same data, all arrays of the program that have
      an axis with a label, in place of weights; indices of the two are compared by their correlation over the data.
      Labels that no such array has, as where nothing but weights meets along them, stay as they are.

    Args:
        params_a, params_b: trees of arrays.
        spec: the symmetry of both, from `trace`.
        how: see above.
        apply, x: the model and data, for activations.
        restarts: how many further starts the search for weights has: the first pairs neurons by their sorted weights,
            which finds a permutation exactly where there is one, others are random. The best result counts.
        seed: of the order of labels and of random starts.
        with_info: return `(moved, matching)`.

    Returns:
        The second network, moved: a tree like it.

    Raises:
        OptionError, ShapeError, DTypeError: if parameters are not those of the specification, or there are no data.

    Cost: for every label and pass a product of matrices, \(O(n \cdot \text{weights})\), and an assignment,
    \(O(n^3)\), on the host.

    Example:
        >>> from equikit.weightspace import align, trace
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> one, two = jax.random.split(jax.random.key(0))
        >>> params = {"first": jax.random.normal(one, (3, 8)), "second": jax.random.normal(two, (8, 2))}
        >>> spec = trace(apply, params, jnp.ones((5, 3)))
        >>> other = spec.act(spec.random_element(jax.random.key(1)), params)
        >>> found = align(params, other, spec)
        >>> bool(jnp.all(found["first"] == params["first"]))
        True

    Source:
        Ainsworth, Hayase and Srinivasa, Git Re-Basin, arXiv:2209.04836, section 3.
    """
    if how not in ("weights", "activations"):
        raise OptionError(
            explain("no such how", got=repr(how), expected="'weights', 'activations'", step="write how='weights'")
        )
    one, two = (_tensors(spec, params, name) for params, name in ((params_a, "params_a"), (params_b, "params_b")))
    labels = {tensor.name: tensor.labels for leaf in spec.leaves for tensor in tensors_of(leaf)}
    permuted = [label for label in spec.groups if any(label in axes for axes in labels.values())]
    if not permuted:
        matching = Matching({}, _similarity(one, two), 0, ())
    elif how == "weights":
        tries = checked_size("restarts", restarts)
        matching = match(labels, permuted, one, two, np.random.default_rng(seed), tries)
    else:
        if apply is None or x is None:
            raise OptionError(
                explain(
                    "there is nothing to compute activations of",
                    got=f"apply={apply!r}, x of type {type(x).__name__}",
                    expected="the model and data",
                    step='write align(a, b, spec, how="activations", apply=apply, x=x)',
                )
            )
        seen = activations(spec, apply, params_a, params_b, x if isinstance(x, tuple) else (x,))
        permuted = [label for label in permuted if any(label in axes for axes in seen.labels.values())]
        tries = checked_size("restarts", restarts)
        matching = match(seen.labels, permuted, seen.one, seen.two, np.random.default_rng(seed), tries)
    result = spec.act(matching.element, params_b)
    return (result, matching) if with_info else result


def merge(trees: Sequence[Any], spec: Specification, *, rounds: int = 8, seed: int = 0, restarts: int = 2) -> Any:
    """The mean of several networks, each of them aligned with the mean of the others until nothing changes.

    Args:
        trees: parameters, trees of arrays.
        spec: the symmetry of all of them.
        rounds: the most passes over all networks.
        seed, restarts: as for `align`.

    Returns:
        A tree like each of them.

    Raises:
        OptionError: if there are no networks.

    Cost: an alignment for every network and round.

    Source:
        Ainsworth, Hayase and Srinivasa, Git Re-Basin, arXiv:2209.04836, appendix A.10 (merging many models).
    """
    current = list(trees)
    if not current:
        raise OptionError(
            explain(
                "there is nothing to merge", got="no trees", expected="one or more", step="pass [params_a, params_b]"
            )
        )
    generator = np.random.default_rng(seed)
    for _ in range(rounds if len(current) > 1 else 0):
        changed = False
        for number in generator.permutation(len(current)):
            others = [tree for place, tree in enumerate(current) if place != number]
            current[number], matching = align(
                mean(others), current[number], spec, restarts=restarts, seed=seed, with_info=True
            )
            changed |= any(np.any(p != np.arange(len(p))) for p in matching.element.values())
        if not changed:
            break
    return mean(current)


def mean(trees: Sequence[Any]) -> Any:
    """The mean of trees of arrays."""
    return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]) / len(leaves), *trees)


def _tensors(spec: Specification, params: Any, name: str) -> dict[str, jax.Array]:
    """Tensors with one label an axis, without channels."""
    given = checked_leaves(spec.leaves, params, name)
    arrays = {leaf: jnp.asarray(array)[..., None] for leaf, array in given.items()}
    return {tensor: array[..., 0] for tensor, array in split(spec.leaves, arrays).items()}


def _similarity(one: dict[str, jax.Array], two: dict[str, jax.Array]) -> float:
    norm = float(inner(one, one)) * float(inner(two, two))
    return float(inner(one, two)) / norm**0.5 if norm else 1.0
