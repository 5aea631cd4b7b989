"""Merge networks: align them and average their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.alignment._align import align
from equikit.weightspace.specifications._leaves import by_path, is_inexact, refuse_unlike
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import checked_tensors


def merge(
    spec: Specification, trees: Sequence[Any], *more: Any, rounds: int = 8, seed: int = 0, restarts: int = 0
) -> Any:
    """Align each network with the mean of the others until no permutation changes, and return the mean of all.

    Every change increases the sum of the inner products over all pairs. Running averages of batch normalization are
    averaged too, but do not match the merged network, whose activations have a smaller variance than in the original
    networks: run the merged model over data in training mode before use. Integers and booleans, such as counters and
    masks, are copied from the first network. Weights are compared; to compare activations, align each network with
    `align(..., how="activations")`, and take the `mean`.

    Args:
        spec: the symmetry of all networks, from `trace`.
        trees: a list with the parameters of each network, trees of arrays.
        *more: refused: all networks belong into the list.
        rounds: maximum number of passes over all networks.
        seed, restarts: as for `align`.

    Returns:
        A tree of the same structure.

    Raises:
        OptionError, ShapeError, DTypeError: if there are no networks, or one does not match the specification.

    Cost: one alignment for each network and round.

    Source:
        Ainsworth, Hayase and Srinivasa, Git Re-Basin, arXiv:2209.04836 (merging many models); for the variance of
        activations Jordan et al., REPAIR, arXiv:2211.08403.
    """
    checked_specification(spec)
    if more:
        raise OptionError(
            "the networks are not in one list",
            got=f"{1 + len(more)} networks, one by one",
            expected="a list of networks",
            step="write merge(spec, [params_a, params_b])",
        )
    _checks.count("rounds", rounds, example=8)
    current = _checked_list(trees)
    for number, tree in enumerate(current):
        checked_tensors(spec.leaves, tree, f"trees[{number}]")
    generator = np.random.default_rng(_checks.count("seed", seed))
    for _ in range(rounds if len(current) > 1 else 0):
        changed = False
        for number in generator.permutation(len(current)):
            others = [tree for place, tree in enumerate(current) if place != number]
            current[number], matching = align(
                spec, _mean_of_weights(others), current[number], restarts=restarts, seed=seed, with_info=True
            )
            changed |= any(np.any(p != np.arange(p.shape[-1])) for p in matching.element.values())
        if not changed:
            break
    return _mean_of_weights(current)


def mean(trees: Sequence[Any]) -> Any:
    """Return the mean of trees of arrays.

    Args:
        trees: a list of trees with the same structure and shapes.

    Returns:
        A tree of the same structure and dtypes; half precision is summed in float32 and rounded once.

    Raises:
        OptionError, ShapeError: if the list is empty, or the trees do not match; the error names the leaf.
        DTypeError: if a leaf is integer or boolean; the error names the leaf.

    Cost: one pass over all trees.

    Example:
        >>> import jax.numpy as jnp
        >>> mean([{"w": jnp.zeros(2)}, {"w": jnp.ones(2)}])["w"].tolist()
        [0.5, 0.5]
    """
    trees = _checked_list(trees)
    refuse_unlike({f"trees[{number}]": tree for number, tree in enumerate(trees)})
    for name, leaf in by_path(trees[0]).items():
        step = "leave counters and masks out, or write merge(spec, trees), which keeps them from the first tree"
        _checks.array(f"the parameter {name!r}", jnp.asarray(leaf), kind="real or complex", step=step)
    return _mean_of_weights(trees)


def _mean_of_weights(trees: Sequence[Any]) -> Any:
    """Return the mean; integers and booleans are copied from the first tree."""
    return jax.tree.map(lambda *leaves: _mean(leaves) if is_inexact(leaves[0]) else leaves[0], *trees)


def _mean(leaves: Sequence[Any]) -> jax.Array:
    dtype = jnp.result_type(*leaves)
    # In half precision the sum can overflow although the mean does not.
    wide = jnp.promote_types(dtype, jnp.float32)
    total = sum(jnp.asarray(leaf, wide) for leaf in leaves)
    return jnp.asarray(total / len(leaves), dtype)


def _checked_list(trees: Any) -> list[Any]:
    known = list(trees) if isinstance(trees, list | tuple) else []
    _checks.some("trees in a list", known, got=_checks.shown(trees), step="pass [params_a, params_b]")
    return known
