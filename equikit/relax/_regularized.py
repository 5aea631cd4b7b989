"""Train free weights with penalties on candidate groups, whose weights adapt to the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import ShapeError
from equikit.relax._penalty import Penalty, adapted


class Strength(nnx.Variable[jax.Array]):
    """The weights of penalties and what they are adapted by; no parameters, so an optimizer does not change them."""


class Regularized(nnx.Module):
    r"""A free model whose loss has a penalty for each candidate group, \(\ell + \sum_g \lambda_g R_g\).

    The weights adapt once: after a number of training steps \(\lambda_g \leftarrow \lambda_g / (R_g / \min_h R_h)^p\),
    with the least penalty of each group in the steps before. Groups that the data contradict then lose their weight,
    and the weights rank the candidates.

    Args:
        model: a network with free linear layers, such as `ek.relax.restrict(network, x=ek.Trivial(3))`.
        loss: takes the model and a batch, and returns a real scalar.
        weights: λ at the beginning: one number, or one for each candidate, zero or more.
        adapt_after: the number of steps after which the weights adapt; `None` keeps them.
        window: the number of steps before, in which the least penalties are taken.
        power: p.
        groups: the candidates, as for `ek.relax.Penalty`.
        **bindings: the same as a keyword, `x=[ek.O(3), ek.O(2) + ek.O(1)]`.

    Attributes:
        model: the model.
        penalty: the `Penalty`, with its `candidates`.
        weights: a variable, λ, float32 `[groups]`.
        least: a variable, the least penalty of each group, `[groups]`; infinite before the window.

    Raises:
        OptionError, GroupError, SignatureError: as `Penalty`, or if an option has no meaning.

    Cost: the loss and its gradient, and a projection for each candidate and pair of axes.

    Example:
        >>> import equikit as ek
        >>> free = ek.nn.Linear("x -> x", 1, 1, x=ek.Trivial(3), rngs=nnx.Rngs(0))
        >>> def squares(model, batch):
        ...     return jnp.mean((model(batch[0]) - batch[1]) ** 2)
        >>> candidates = [ek.O(3), ek.O(2) + ek.O(1)]
        >>> soft = Regularized(free, loss=squares, weights=0.01, adapt_after=60, window=20, x=candidates)
        >>> x = jax.random.normal(jax.random.key(0), (64, 3, 1))
        >>> y = x * jnp.array([1.0, 1.0, 2.0])[:, None]  # commutes with O(2) + O(1) only
        >>> fit = ek.train.fit(soft, Regularized.objective, (x, y), epochs=80, key=jax.random.key(1), optimizer=0.1)
        >>> weights = fit.model.weights[...]
        >>> bool(weights[0] < 0.1 * weights[1]), bool(weights[1] == 0.01)
        (True, True)

    Source:
        Kim et al., Regularizing towards soft equivariance under mixed symmetries, arXiv:2306.00356, section 4.
    """

    def __init__(
        self,
        model: nnx.Module,
        *,
        loss: Callable[..., Any],
        weights: float | Sequence[float],
        adapt_after: int | None = None,
        window: int = 100,
        power: float = 2.0,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        self.penalty = Penalty(model, groups=groups, **bindings)
        count = len(self.penalty.candidates)
        given = (weights,) * count if isinstance(weights, int | float) else weights
        values = _checks.numbers("weights", given, least=0, example=(1.0,) * count)
        step = f"write weights={(1.0,) * count}"
        _checks.count("the number of weights", len(values), least=count, most=count, step=step)
        example = "lambda model, batch: jnp.mean((model(batch[0]) - batch[1]) ** 2)"
        self.loss = _checks.function("loss", loss, arguments=2, example=example)
        self.adapt_after = (
            None if adapt_after is None else _checks.count("adapt_after", adapt_after, least=1, example=1000)
        )
        self.window = _checks.count("window", window, least=1, example=100)
        self.power = _checks.number("power", power, above=0, traced=False, example=2.0)
        self.model = model
        self.weights = Strength(jnp.asarray(values, jnp.float32))
        self.least = Strength(jnp.full(count, jnp.inf, jnp.float32))
        self.steps = Strength(jnp.zeros((), jnp.int32))
        self.deterministic = False

    def __call__(self, *x: Any, **options: Any) -> Any:
        """Apply the model."""
        model: Any = self.model
        return model(*x, **options)

    def objective(self, batch: Any) -> tuple[jax.Array, jax.Array]:
        """Return the loss with and without the penalties; in training also count the step, and adapt the weights.

        `ek.train.fit(model, ek.relax.Regularized.objective, ...)` trains with it, and compares losses without penalties
        on validation data.
        """
        loss = self.loss(self.model, batch)
        if jnp.shape(loss) != ():
            raise ShapeError(
                "loss= does not return one number",
                got=f"shape {[*jnp.shape(loss)]}",
                expected="the mean over the batch",
                step="return jnp.mean(errors)",
            )
        if self.deterministic:
            return loss, loss
        found, weights = self.penalty(self.model), self.weights[...]
        total = loss + jnp.dot(weights.astype(found.dtype), found)
        steps = self.steps[...] + 1
        self.steps[...] = steps
        if self.adapt_after is not None:
            inside = (steps > self.adapt_after - self.window) & (steps <= self.adapt_after)
            now = jax.lax.stop_gradient(found).astype(jnp.float32)
            least = jnp.where(inside, jnp.minimum(self.least[...], now), self.least[...])
            self.least[...] = least
            self.weights[...] = jnp.where(steps == self.adapt_after, adapted(jnp, weights, least, self.power), weights)
        return total, loss
