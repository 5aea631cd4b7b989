"""Merge networks: align them and average their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.alignment._align import align
from equikit.weightspace.merging._combine import (
    COMBINATIONS,
    Combination,
    checked_coefficients,
    combined,
    refuse_other_options,
)
from equikit.weightspace.specifications._leaves import by_path, refuse_not_real, refuse_unlike
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import checked_tensors


def merge(
    spec: Specification,
    trees: Sequence[Any],
    *more: Any,
    how: Combination = "mean",
    coefficients: Sequence[float] | None = None,
    base: Any = None,
    density: float = 0.2,
    rounds: int = 8,
    seed: int = 0,
    restarts: int = 0,
) -> Any:
    r"""Align each network with the mean of the others until no permutation changes, and combine all.

    The mean is \(\sum_i c_i \theta_i\). Spherical interpolation of two networks (`"slerp"`) moves each array on the
    circle through both, so that its norm changes evenly. `"ties"` starts from a base and adds changes: of each network
    the largest changes are kept, an entry gets the sign of the sum of its kept changes, and the mean of those that have
    this sign. Each network is then aligned with the base.

    Every change increases the sum of the inner products over all pairs. Running averages of batch normalization are
    averaged too, but do not match the merged network, whose activations have a smaller variance than in the original
    networks: `repair` corrects both. Integers and booleans, such as counters and masks, are copied from the first
    network. Weights are compared; to compare activations, align each network with `align(..., how="activations")`, and
    take the `mean`.

    Args:
        spec: the symmetry of all networks, from `trace`.
        trees: a list with the parameters of each network, trees of arrays.
        *more: refused: all networks belong into the list.
        how: `"mean"`, `"slerp"` or `"ties"`.
        coefficients: a number for each network; they are divided by their sum. By default all are equal.
        base: for `"ties"`, the network that all others were trained from.
        density: for `"ties"`, the share of entries of a network, from 0 to 1, whose changes are kept; equal changes are
            kept together.
        rounds: maximum number of passes over all networks; 0 combines them as they are.
        seed, restarts: as for `align`.

    Returns:
        A tree of the same structure.

    Raises:
        OptionError, ShapeError, DTypeError: if there are no networks, one does not match the specification, or options
            do not go together.

    Cost: one alignment for each network and round.

    Source:
        Ainsworth, Hayase and Srinivasa, Git Re-Basin, arXiv:2209.04836 (merging many models); for the variance of
        activations Jordan et al., REPAIR, arXiv:2211.08403; for `"ties"` Yadav et al., TIES-Merging, arXiv:2306.01708.
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
    current = checked_list(trees)
    how = _checks.choice("how", how, COMBINATIONS)
    shares = checked_coefficients(coefficients, len(current))
    _checks.number("density", density, least=0, most=1, example=0.2)
    refuse_other_options(how, len(current), base)
    for number, tree in enumerate(current):
        checked_tensors(spec.leaves, tree, f"trees[{number}]")
    if base is not None:
        checked_tensors(spec.leaves, base, "base")
        for tree in (base, *current):
            refuse_not_real('how="ties"', tree, integers=True)
        for share in shares:
            _checks.number("each of coefficients=", share, least=0, example=0.5)
        aligned = [align(spec, base, tree, restarts=restarts, seed=seed) if rounds else tree for tree in current]
        return combined(aligned, how, shares, base, density)
    generator = np.random.default_rng(_checks.count("seed", seed))
    for _ in range(rounds if len(current) > 1 else 0):
        changed = False
        for number in generator.permutation(len(current)):
            others = [tree for place, tree in enumerate(current) if place != number]
            current[number], matching = align(
                spec, _equal_mean(others), current[number], restarts=restarts, seed=seed, with_info=True
            )
            changed |= any(np.any(p != np.arange(p.shape[-1])) for p in matching.element.values())
        if not changed:
            break
    return combined(current, how, shares)


def mean(trees: Sequence[Any], coefficients: Sequence[float] | None = None) -> Any:
    """Return the mean of trees of arrays.

    Args:
        trees: a list of trees with the same structure and shapes.
        coefficients: a number for each tree; they are divided by their sum. By default all are equal.

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
    trees = checked_list(trees)
    refuse_unlike({f"trees[{number}]": tree for number, tree in enumerate(trees)})
    refuse_counters(
        trees[0], "leave counters and masks out, or write merge(spec, trees), which keeps them from the first tree"
    )
    return combined(trees, "mean", checked_coefficients(coefficients, len(trees)))


def refuse_counters(tree: Any, step: str, of: str = "") -> None:
    """Raise `DTypeError` if a parameter is integer or boolean: a mean of counters or masks has no meaning."""
    for name, leaf in by_path(tree).items():
        _checks.array(f"the parameter {name!r}{of}", jnp.asarray(leaf), kind="real or complex", step=step)


def _equal_mean(trees: Sequence[Any]) -> Any:
    return combined(trees, "mean", checked_coefficients(None, len(trees)))


def checked_list(trees: Any, what: str = "trees") -> list[Any]:
    """Return the trees of a list or tuple, or raise `OptionError`."""
    known = list(trees) if isinstance(trees, list | tuple) else []
    _checks.some(f"{what} in a list", known, got=_checks.shown(trees), step="pass [params_a, params_b]")
    return known
