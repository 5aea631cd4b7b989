"""Interpolate linearly between two networks, and compute the loss barrier along the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit.weightspace.alignment._losses import checked_loss
from equikit.weightspace.merging._figures import line_figure
from equikit.weightspace.specifications._leaves import refuse_unlike


@dataclass(frozen=True)
class Line:
    """Losses along a straight line between two networks.

    Attributes:
        places: the points t on the line, from 0 (the first network) to 1 (the second network).
        losses: the loss of the interpolated network at each point.
    """

    places: np.ndarray
    losses: np.ndarray

    @property
    def above(self) -> np.ndarray:
        """The losses minus the linear interpolation of the losses at both ends."""
        straight = (1 - self.places) * self.losses[0] + self.places * self.losses[-1]
        above: np.ndarray = self.losses - straight
        return above

    @property
    def barrier(self) -> float:
        """The loss barrier: the maximum of `above`, at least 0 because `above` is 0 at the ends."""
        return float(np.max(self.above))

    def __repr__(self) -> str:
        """Return the number of points and the barrier; `places` and `losses` are long."""
        return f"Line({len(self.places)} points, barrier {self.barrier:.3g})"

    def plot(self, name: str = "", axes: Any = None) -> Any:
        """Plot the losses and return the Matplotlib figure; `plot_lines` plots several lines."""
        return plot_lines({name: self}, axes)


def interpolate(params_a: Any, params_b: Any, place: Any) -> Any:
    """Return the interpolated network `(1 - t) a + t b`.

    Running averages of batch normalization are interpolated too, but do not match the statistics of the interpolated
    network: recompute them by running it over data in training mode.

    Args:
        params_a: the network at t = 0, a tree of arrays.
        params_b: the network at t = 1, a tree of the same structure and shapes.
        place: t, a number.

    Returns:
        A tree of the same structure and dtypes; half precision is interpolated in float32 and rounded once. Integers
        and booleans, such as counters and masks, are copied from the nearer network (from the second at t = 0.5).

    Raises:
        OptionError, ShapeError: if the trees do not match (the error names the leaf), or `place` is not a number.

    Cost: one pass over the parameters.

    Example:
        >>> float(interpolate({"w": jnp.zeros(3)}, {"w": jnp.ones(3)}, 0.25)["w"][0])
        0.25
    """
    refuse_unlike({"params_a": params_a, "params_b": params_b})
    step = "write jax.vmap(lambda t: interpolate(params_a, params_b, t))(places)"
    place = _checks.number("place", _checks.shaped("place", place, (), step=step), example=0.5)

    def between(a: Any, b: Any) -> Any:
        dtype = jnp.result_type(a, b)
        if not jnp.issubdtype(dtype, jnp.inexact):
            return jnp.where(place < 0.5, a, b)
        wide = jnp.promote_types(dtype, jnp.float32)
        a, b, t = (jnp.asarray(one).astype(wide) for one in (a, b, place))
        return ((1 - t) * a + t * b).astype(dtype)

    return jax.tree.map(between, params_a, params_b)


def barrier(loss: Callable[[Any], jax.Array], params_a: Any, params_b: Any, *, points: int = 25) -> Line:
    r"""Compute losses between two networks; the barrier is \(\max_t\, L((1-t) a + t b) - (1-t) L(a) - t L(b)\).

    Args:
        loss: a function of the parameters only that JAX can trace; it is compiled once.
        params_a: the network at t = 0, a tree of arrays. Interpolated running averages are not recomputed, see
            `interpolate`.
        params_b: the network at t = 1, a tree of the same structure and shapes.
        points: number of points on the line, including both ends.

    Returns:
        The line, with `barrier`, `places` and `losses`.

    Raises:
        OptionError, ShapeError: if there are fewer than two points, the trees do not match, or a loss is not a finite
            number.

    Cost: one loss evaluation for each point.

    Example:
        >>> line = barrier(lambda x: (x**2 - 1) ** 2, jnp.array(-1.0), jnp.array(1.0), points=3)
        >>> line.losses.tolist(), line.barrier
        ([0.0, 1.0, 0.0], 1.0)

    Source:
        Frankle et al., Linear mode connectivity and the lottery ticket hypothesis, arXiv:1912.05671, section 2.
    """
    places = np.linspace(0, 1, _checks.count("points", points, least=2, most=1_000_000, example=25))
    _checks.function("loss", loss, example="lambda params: ...")

    @jax.jit
    def run(place: jax.Array, a: Any, b: Any) -> Any:
        return checked_loss(loss(interpolate(a, b, place)), "loss(params)", differentiated=False)

    losses = [float(run(jnp.float32(place), params_a, params_b)) for place in places]
    step = "see whether the training of a network diverged, or the loss overflows in its precision"
    _checks.finite("losses on the line", np.array(losses), step=step)
    return Line(places, np.array(losses))


def plot_lines(lines: Mapping[str, Line], axes: Any = None) -> Any:
    """Plot the losses along several lines, such as before and after matching, with their barriers.

    Args:
        lines: the lines, by name.
        axes: Matplotlib axes to plot on; by default the axes of a new figure.

    Returns:
        The Matplotlib figure.

    Raises:
        OptionError: if there are no lines.
        MissingPackageError: if Matplotlib is not installed.

    Cost: one plot.

    Example:
        >>> line = barrier(lambda x: (x**2 - 1) ** 2, jnp.array(-1.0), jnp.array(1.0), points=9)
        >>> plot_lines({"as they are": line}).axes[0].get_ylabel()
        'loss'

    Source:
        Ainsworth, Hayase and Srinivasa, Git Re-Basin, arXiv:2209.04836, figure 2.
    """
    return line_figure(lines, axes)
