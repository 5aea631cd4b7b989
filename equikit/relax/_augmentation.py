"""Augmentation by a constraint: the loss under the worst transformations stays below a bound, by primal-dual steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from equikit import _checks
from equikit._errors import OptionError, ShapeError


class Multiplier(nnx.Variable[jax.Array]):
    """The dual variable of a constraint, updated in every training step."""


class Augmentation(nnx.Module):
    r"""A model whose loss on transformed examples is constrained to be at most ε.

    The problem is \(\min_f \ell(f)\) subject to \(E_\mu[\ell(f; g x)] \le \epsilon\). For each example, μ draws
    transformations g with a density proportional to the loss, a smoothed worst case. It is sampled by independent
    Metropolis-Hastings: proposals are uniform transformations, accepted with probability \(\min(1, \ell_{new} /
    \ell_{old})\). A training step descends on the Lagrangian \(\ell + \gamma\,\ell_\mu\), and ascends on the
    multiplier: \(\gamma \leftarrow \max(0, \gamma + \eta (\ell_\mu - \epsilon))\). The multiplier measures how much the
    task resists the invariance: it stays near zero if the constraint is easy to satisfy, and grows without bound if the
    task is not invariant.

    Args:
        model: a Flax module.
        transform: takes the inputs of a batch and a keyword `key`, and returns inputs of the same shapes in which every
            example is moved by its own random transformation.
        loss: takes the model and a batch, `(inputs, ...)`, and returns the losses of the examples, `[rows]`, zero or
            more.
        epsilon: the bound on the mean loss of moved examples.
        steps: the number of proposals for each example in a step.
        rate: η.

    Attributes:
        model: the model.
        multiplier: γ, a variable; it is no parameter, so an optimizer does not change it.

    Raises:
        OptionError: if an option has no meaning, or a batch is empty or not a tuple.
        ShapeError, DTypeError: if the transformation changes a shape or dtype, or the loss is not one real number for
            each example.

    Cost: `steps + 1` evaluations of the loss for the proposals without gradients, and a gradient of two losses.

    Example:
        >>> import equikit as ek
        >>> def flip(x, *, key):
        ...     return x * jax.random.rademacher(key, (len(x), 1), x.dtype)
        >>> def squares(model, batch):
        ...     return jnp.mean((model(batch[0]) - batch[1]) ** 2, axis=-1)
        >>> net = Augmentation(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), flip, loss=squares, epsilon=0.1, rate=0.1)
        >>> x = jax.random.normal(jax.random.key(0), (64, 2))
        >>> fitted = ek.train.fit(net, Augmentation.objective, (x, x[:, :1]), epochs=5, batch=16, key=jax.random.key(1))
        >>> bool(fitted.model.multiplier[...] > 0)  # an odd target is not invariant under flips
        True

    Source:
        Hounie, Chamon and Ribeiro, Automatic data augmentation via invariance-constrained learning, arXiv:2209.15031,
        section 3 and algorithm 1.
    """

    def __init__(
        self,
        model: nnx.Module,
        transform: Callable[..., Any],
        *,
        loss: Callable[..., Any],
        epsilon: float,
        steps: int = 2,
        rate: float = 1e-4,
    ) -> None:
        self.model = _checks.instance("model", model, nnx.Module, "nnx.Linear(2, 1, rngs=nnx.Rngs(0))")
        self.transform = _checks.function("transform", transform, example="lambda x, *, key: x", keywords=("key",))
        self.loss = _checks.function(
            "loss", loss, arguments=2, example="lambda model, batch: model(batch[0])[:, 0] ** 2"
        )
        self.epsilon = _checks.number("epsilon", epsilon, least=0, traced=False, example=0.6)
        self.steps = _checks.count("steps", steps, least=1, example=2)
        self.rate = _checks.number("rate", rate, above=0, traced=False, example=1e-4)
        self.multiplier = Multiplier(jnp.zeros(()))
        self.deterministic = False

    def __call__(self, *x: Any, **options: Any) -> Any:
        """Apply the model."""
        model: Any = self.model
        return model(*x, **options)

    def losses(self, batch: Any) -> Float[jax.Array, " rows"]:
        """Return the loss of each example, after a check of its shape and dtype."""
        rows = _rows(batch)
        found = _checks.shaped(
            "the result of loss=", self.loss(self.model, batch), [rows], step="return jnp.mean(errors, axis=-1)"
        )
        checked: jax.Array = _checks.array("the result of loss=", found, step="return real floating-point losses")
        return checked

    def worst(self, batch: Any, *, key: jax.Array) -> Any:
        """Return a batch whose inputs are moved by transformations drawn in proportion to the loss.

        Args:
            batch: `(inputs, ...)`, a tuple.
            key: a JAX key.
        """
        _rows(batch)
        inputs, *others = batch
        first, *keys = jax.random.split(_checks.key(key), 2 * self.steps + 1)
        moved = self._moved(inputs, first)
        before = self.losses((moved, *others))
        for propose, accept in zip(keys[::2], keys[1::2], strict=True):
            candidate = self._moved(inputs, propose)
            after = self.losses((candidate, *others))
            taken = jax.random.uniform(accept, after.shape, after.dtype) * before < after
            moved = jax.tree.map(lambda new, old: _where(taken, new, old), candidate, moved)  # noqa: B023
            before = jnp.where(taken, after, before)
        return jax.lax.stop_gradient((moved, *others))

    def _moved(self, inputs: Any, key: jax.Array) -> Any:
        found = self.transform(inputs, key=key)
        shapes = [jax.tree.map(lambda x: (jnp.shape(x), str(jnp.result_type(x))), tree) for tree in (inputs, found)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                "transform= changes the shape or the dtype of its inputs",
                got=_checks.shown(shapes[1]),
                expected=_checks.shown(shapes[0]),
                step="return one moved example for every example, in the dtype of the inputs",
            )
        return found

    def objective(self, batch: Any, *, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the Lagrangian and the loss of the unmoved batch; in training also update the multiplier.

        `ek.train.fit(model, ek.relax.Augmentation.objective, ...)` trains with it, and compares losses of unmoved
        batches on validation data.
        """
        clean = jnp.mean(self.losses(batch))
        if self.deterministic:
            return clean, clean
        moved = jnp.mean(self.losses(self.worst(batch, key=key)))
        multiplier = self.multiplier[...]
        gap = jax.lax.stop_gradient(moved) - self.epsilon
        self.multiplier[...] = jnp.maximum(0.0, multiplier + self.rate * gap.astype(multiplier.dtype))
        return clean + multiplier.astype(moved.dtype) * moved, clean


def _rows(batch: Any) -> int:
    """Return the number of examples in a batch, or raise `OptionError`."""
    shapes = [np.shape(x) for x in jax.tree.leaves(batch[0])] if isinstance(batch, list | tuple) and batch else []
    if not shapes or not all(shape and shape[0] for shape in shapes):
        raise OptionError(
            "a batch must be a tuple whose first entry has the inputs of one example or more",
            got=_checks.shown(jax.tree.map(np.shape, batch)),
            expected="(inputs, ...), arrays with a row for each example",
            step="pass (x, y), with rows in x",
        )
    rows: int = shapes[0][0]
    return rows


def _where(taken: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(taken.reshape(-1, *[1] * (new.ndim - 1)), new, old)
