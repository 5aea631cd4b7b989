"""A mixture of clusters of equal width, initialized at points far from each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from equikit.symmetrization.engine._element import Array


def farthest_points(
    places: Float[jax.Array, "p d"], there: Bool[jax.Array, " p"], count: int
) -> tuple[Int[jax.Array, " count"], Float[jax.Array, " count"]]:
    """Choose points, each the farthest from the points before it; the first is the farthest from the centroid.

    Args:
        places: `[p, d]`.
        there: which points are present, booleans `[p]`.
        count: the number of points to choose.

    Returns:
        The indices of the points, and their squared distances from all points before, infinite for the first. If there
        are fewer points, some are repeated, with distance zero; without points, all distances are minus infinity.
    """
    kept = jnp.where(there[:, None], places, 0)
    centroid = jnp.sum(kept, axis=0) / jnp.maximum(jnp.sum(there), 1)

    def squares(center: Array) -> Array:
        found: Array = jnp.where(there, jnp.sum((kept - center) ** 2, axis=1), -jnp.inf)
        return found

    def step(nearest: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        chosen = jnp.argmax(nearest)
        return jnp.minimum(nearest, squares(kept[chosen])), (chosen, nearest[chosen])

    first = jnp.argmax(squares(centroid))
    _, (others, apart) = jax.lax.scan(step, squares(kept[first]), None, length=count - 1)
    start = jnp.where(jnp.any(there), jnp.inf, -jnp.inf).astype(apart.dtype)
    chosen = jnp.concatenate([first[None], others])
    return chosen, jnp.concatenate([start[None], apart])


def clustered(
    places: Float[jax.Array, "p d"],
    there: Bool[jax.Array, " p"],
    *,
    parts: int,
    width: float,
    distance: float,
    steps: int,
    threshold: float,
) -> Float[jax.Array, "p parts"]:
    """Return weights of points in clusters of equal width, some possibly empty; they sum to one over the clusters.

    Args:
        places: `[p, d]`.
        there: which points are present, booleans `[p]`; absent points get weights, but do not affect the clusters.
        parts: the largest number of clusters.
        width: the standard deviation of a cluster along every axis.
        distance: clusters closer than this are merged.
        steps: the number of fits of the mixture, before merging and again after merging.
        threshold: clusters with a smaller fraction of points are dropped.
    """
    places = jnp.where(there[:, None], places, 0)  # absent points may have any value, including NaN
    chosen, apart = farthest_points(places, there, parts)
    used = apart > distance**2
    equal = used.astype(places.dtype)
    state = places[chosen], equal / jnp.maximum(jnp.sum(equal), 1), used
    count = jnp.maximum(jnp.sum(there), 1).astype(places.dtype)

    def fit(_: int, state: State) -> State:
        centers, _, used = state
        shares = jnp.where(there[:, None], _weights(places, width, state), 0)
        sums = jnp.sum(shares, axis=0)
        parts_of_all = sums / count
        used = used & (parts_of_all > 0)
        centers = jnp.where(used[:, None], shares.T @ places, centers)
        centers = centers / jnp.where(used, sums, 1)[:, None]
        return centers, jnp.where(used, parts_of_all, 0), used

    state = jax.lax.fori_loop(0, steps, fit, state)
    state = jax.lax.fori_loop(0, parts - 1, lambda _, state: _merged(state, distance), state)
    centers, shares, used = jax.lax.fori_loop(0, steps, fit, state)
    # Drop clusters last: earlier, the points of a dropped cluster would shift the other clusters.
    weights: jax.Array = _weights(places, width, (centers, shares, used & (shares >= threshold)))
    return weights


State = tuple[Array, Array, Array]
"""For each cluster the center `[parts, d]`, its share of all points, and whether it is used."""


def _weights(places: Array, width: float, state: State) -> Array:
    """Return the probability of each cluster, given the position of a point, `[p, parts]`."""
    centers, shares, used = state
    squares = jnp.sum((places[:, None, :] - centers[None, :, :]) ** 2, axis=-1)
    logits = jnp.log(jnp.where(used, shares, 1)) - squares / (2 * width**2)
    logits = jnp.where(used | ~jnp.any(used), logits, -jnp.inf)  # any finite value if there are no points
    return jax.nn.softmax(logits, axis=-1)


def _merged(state: State, distance: float) -> State:
    """Merge the two closest clusters if they are close enough."""
    centers, shares, used = state
    count = len(used)
    squares = jnp.sum((centers[:, None, :] - centers[None, :, :]) ** 2, axis=-1)
    pairs = used[:, None] & used[None, :] & ~jnp.eye(count, dtype=bool)
    squares = jnp.where(pairs, jax.lax.stop_gradient(squares), jnp.inf)
    one, two = jnp.divmod(jnp.argmin(squares), count)
    close = squares[one, two] < distance**2
    both = shares[one] + shares[two]
    middle = (shares[one] * centers[one] + shares[two] * centers[two]) / jnp.where(both > 0, both, 1)
    return (
        centers.at[one].set(jnp.where(close, middle, centers[one])),
        shares.at[one].set(jnp.where(close, both, shares[one])).at[two].set(jnp.where(close, 0, shares[two])),
        used.at[two].set(used[two] & ~close),
    )
