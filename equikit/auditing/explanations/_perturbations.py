"""Attributions by perturbation: occlusion of regions, and Shapley values of regions by sampled orders."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Int

from equikit import _checks
from equikit._errors import OptionError
from equikit.auditing._reading import MOST_DRAWS
from equikit.auditing.explanations._explainer import (
    Explainer,
    Model,
    Need,
    Scalar,
    attribution,
    checked_regions,
    chosen,
    filled,
    refuse_misfit,
)
from equikit.plans import Inputs

MOST_PLAYERS = 8
"""The largest number of players whose orders are listed: 40,320 orders."""

STABLE: tuple[Need, ...] = ("model", "permutations", "baseline", "regions")


def occlusion(
    model: Model,
    target: int | ArrayLike | None = None,
    *,
    regions: Bool[np.ndarray, "regions *axes channels"] | dict[str, np.ndarray],
    baseline: float | Inputs = 0.0,
) -> Explainer:
    r"""Attribute a score by how much it falls when regions of the input are replaced by a baseline.

    The attribution of an entry is the mean of \(f_c(x) - f_c(x_{R \leftarrow b})\) over the regions R that contain it,
    zero if there are none. With regions of one entry this is feature ablation. Attributions are equivariant if the
    model and the baseline are invariant, and the group permutes entries and, as a set, the regions.

    Args:
        model, target: as for `gradient`; the model need not be differentiable.
        regions: booleans `[regions, *axes, channels or 1]`, such as `windows`, or a dictionary of them.
        baseline: a number, or the baseline of one sample, `[*axes, channels]`.

    Returns:
        An explainer, from `[samples, *axes, channels]` to attributions of the same shape.

    Raises:
        OptionError: if the regions are not booleans. The explainer also raises `ShapeError` if they do not fit.

    Cost: one evaluation for each sample and region, at once.

    Example:
        >>> from equikit.auditing.explanations import windows
        >>> e = occlusion(lambda x: jnp.sum(x), regions=windows((3,), 2))
        >>> e(jnp.array([[[1.0], [2.0], [3.0]]])).tolist()
        [[[3.0], [4.0], [5.0]]]

    Source:
        Zeiler and Fergus, Visualizing and understanding convolutional networks, arXiv:1311.2901, section 4.2.
    """
    regions = checked_regions(regions)

    def one(f: Scalar, x: Any) -> Any:
        refuse_misfit(regions, x)
        start = filled(baseline, x)
        falls = f(x) - jax.vmap(lambda region: f(chosen(region, start, x)))(regions)

        def shared(region: Any, leaf: Any) -> Any:
            total = jnp.einsum("r,r...->...", falls, jnp.asarray(region, leaf.dtype))
            return jnp.broadcast_to(total / np.maximum(region.sum(0), 1), leaf.shape).astype(leaf.dtype)

        return jax.tree.map(shared, regions, x)

    return attribution("occlusion", model, target, one, STABLE, baseline=baseline, regions=regions)


def shapley(
    model: Model,
    target: int | ArrayLike | None = None,
    *,
    regions: Bool[np.ndarray, "regions *axes channels"] | dict[str, np.ndarray],
    orders: int | Int[np.ndarray, "orders regions"] = 25,
    baseline: float | Inputs = 0.0,
    seed: int = 0,
) -> Explainer:
    r"""Attribute a score by Shapley values of disjoint regions, estimated from sampled orders.

    Regions join a baseline one after another. The value of a region is the mean over orders of the change of the score
    when it joins, and the values of a sample add up to \(f_c(x) - f_c(b)\). Every entry gets the value of its region.
    Attributions are equivariant if, as for `occlusion`, regions are stable, and the set of orders is too: all orders
    are, sampled ones are usually not.

    Args:
        model, target, baseline: as for `occlusion`.
        regions: as for `occlusion`; they must divide the input without overlap.
        orders: the number of random orders, or the orders themselves, `[orders, regions]`, such as `all_orders(5)`.
        seed: of the random orders.

    Returns:
        An explainer, from `[samples, *axes, channels]` to attributions of the same shape.

    Raises:
        OptionError: if regions overlap or leave entries out, or orders are not permutations of the regions.

    Cost: one evaluation for each sample, order and region, at once.

    Example:
        >>> from equikit.auditing.explanations import windows
        >>> e = shapley(lambda x: jnp.prod(x), regions=windows((2,)), orders=all_orders(2))
        >>> e(jnp.array([[[2.0], [3.0]]])).tolist()                       # half of the product each
        [[[3.0], [3.0]]]

    Source:
        Štrumbelj and Kononenko, Explaining prediction models and individual predictions with feature contributions
        (2014), algorithm 1.
    """
    regions = checked_regions(regions)
    if any(np.any(leaf.sum(0) != 1) for leaf in jax.tree.leaves(regions)):
        raise OptionError(
            "regions= must divide the input",
            got="regions that overlap, or entries without a region",
            expected="every entry in one region",
            step="use windows of one entry, or blocks without overlap",
        )
    players = len(jax.tree.leaves(regions)[0])
    ranks = np.argsort(_listed(orders, players, seed), axis=1)

    def one(f: Scalar, x: Any) -> Any:
        refuse_misfit(regions, x)
        start = filled(baseline, x)

        def score(joined: Any) -> Any:  # of the first regions of an order
            inside = jax.tree.map(lambda region: jnp.einsum("r,r...->...", joined, region) > 0, regions)
            return f(chosen(inside, x, start))

        def of_order(rank: Any) -> Any:
            scores = jax.vmap(score)((rank < jnp.arange(players + 1)[:, None]).astype(jnp.float32))
            return scores[rank + 1] - scores[rank]

        values = jnp.mean(jax.lax.map(of_order, jnp.asarray(ranks)), axis=0)
        return jax.tree.map(
            lambda region, leaf: jnp.broadcast_to(
                jnp.einsum("r,r...->...", values, jnp.asarray(region, leaf.dtype)), leaf.shape
            ).astype(leaf.dtype),
            regions,
            x,
        )

    parts = {"baseline": baseline, "regions": regions, "orders": ranks.argsort(axis=1)}
    return attribution("shapley", model, target, one, (*STABLE, "orders"), **parts)


def all_orders(players: int) -> np.ndarray:
    """Return all orders of at most eight regions, for exact Shapley values.

    Args:
        players: the number of regions.

    Returns:
        int64 `[players!, players]`.

    Raises:
        OptionError: if there are more than eight regions, or none.

    Cost: players! times players integers.

    Example:
        >>> all_orders(2).tolist()
        [[0, 1], [1, 0]]
    """
    step = "sample orders: pass their number"
    players = _checks.count("the number of regions", players, least=1, most=MOST_PLAYERS, step=step)
    return np.array([*itertools.permutations(range(players))])


def _listed(orders: Any, players: int, seed: int) -> np.ndarray:
    if isinstance(orders, np.ndarray):
        if orders.shape[1:] != (players,) or not orders.size or np.any(np.sort(orders, axis=1) != np.arange(players)):
            raise OptionError(
                "orders= must be permutations of the regions",
                got=f"shape {[*orders.shape]} for {players} regions",
                expected=f"integers [orders, {players}], each from 0 to {players - 1} once in each row",
                step="pass the number of random orders",
            )
        return orders
    count = _checks.count("orders", orders, least=1, most=MOST_DRAWS, example=25)
    order = np.tile(np.arange(players), (count, 1))
    return np.random.default_rng(_checks.count("seed", seed)).permuted(order, axis=1)
