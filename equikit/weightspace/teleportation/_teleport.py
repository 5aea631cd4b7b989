"""Teleportation: an optimizer that occasionally moves along the level set of the loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from equikit import _checks
from equikit._errors import OptionError
from equikit.weightspace.alignment._losses import checked_loss
from equikit.weightspace.optimizers._training import refuse_no_optimizer
from equikit.weightspace.specifications._leaves import refuse_not_real
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.teleportation._objective import OBJECTIVES, Loss, Objective
from equikit.weightspace.teleportation._orbit import continuous_actions, moved, origin


class TeleportState(NamedTuple):
    """The state of `teleport`.

    Attributes:
        step: number of updates so far, `[]`.
        inner: the state of the wrapped optimizer.
    """

    step: jax.Array
    inner: Any


def teleport(
    spec: Specification,
    optimizer: optax.GradientTransformation,
    *,
    every: int | None = None,
    at: Sequence[int] = (),
    objective: str | Objective = "gradient_norm",
    steps: int = 10,
    step_size: float = 0.1,
) -> optax.GradientTransformationExtraArgs:
    r"""Return an optimizer that moves the parameters along their orbit before some updates, to learn faster.

    The group consists of the exact continuous symmetries in the trace: positive scales and general linear groups. They
    preserve the loss up to rounding, but change its gradient. The parameters move by steepest ascent of an objective.
    Each step computes the gradient d of the objective in the Lie algebra, and applies the group element with
    coordinates \(\eta\, d / \|d\|\), where \(\eta\) is `step_size`: \(e^t\) for scales and
    \((1 - T/2)^{-1} (1 + T/2)\) for matrices. A step that does not increase the objective is rejected, and the next
    step is half as long. The wrapped optimizer then updates the parameters with the gradient at the new point.
    Permutations and signs are orthogonal: they preserve the gradient norm and the curvature, and are not used.

    Orbits of scales and linear groups are unbounded, and the gradient is unbounded on them. One ascent moves by at most
    `steps * step_size` in the Lie algebra: in s steps, scales change by a factor less than \(e^{s\eta}\), and condition
    numbers of matrices by less than \(((2 + \eta) / (2 - \eta))^{2 s}\), which is 7.4 with the defaults. The state of
    the optimizer, such as momenta, is not transformed. A larger gradient usually comes with a larger curvature, so
    gradient descent near its largest stable learning rate may diverge after teleportation: teleport rarely and early.
    Sharpness is not a property of the function, because it can be decreased along the orbit.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        optimizer: an optax optimizer.
        every: teleport before updates 0, `every`, 2 `every` and so on.
        at: teleport before the updates with these numbers; alternative to `every`.
        objective: "gradient_norm" maximizes the norm of the gradient, "sharpness" minimizes the largest eigenvalue of
            the Hessian; a function `objective(loss, params)` is maximized.
        steps: number of ascent steps.
        step_size: initial length of each step, more than 0 and at most 1.

    Returns:
        An `optax.GradientTransformationExtraArgs`. Its `update(gradients, state, params, value_fn=loss, **batch)` needs
        the loss, like line searches of optax: a function of the parameters and of the further arguments that its
        signature names. It works under `jit`.

    Raises:
        OptionError: if the specification has no continuous symmetries, or an argument is invalid; in `update`, if the
            loss needs other arguments, or the loss or the objective is not a real scalar.

    Cost: an ascent computes `steps + 1` gradients of the objective; each costs about 3 gradients of the loss, or about
        40 for the sharpness. Each linear group also solves two linear systems of the size of its label.

    Example:
        >>> from equikit.weightspace import trace
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["first"]) @ params["second"]
        >>> first, second = jax.random.normal(jax.random.key(0), (2, 8, 8))
        >>> params, x = {"first": first, "second": second}, jnp.ones((4, 8))
        >>> tx = teleport(trace(apply, params, x), optax.sgd(1e-4), every=10)
        >>> def loss(params):
        ...     return jnp.mean(apply(params, x) ** 2)
        >>> state = tx.init(params)
        >>> updates, state = tx.update(jax.grad(loss)(params), state, params, value_fn=loss)
        >>> params = optax.apply_updates(params, updates)

    Source:
        Zhao, Dehmamy, Walters and Yu, Symmetry teleportation for accelerated optimization, arXiv:2205.10637; Zhao,
        Gower, Walters and Yu, Improving convergence and generalization using parameter symmetries, arXiv:2305.13404.
    """
    checked_specification(spec)
    refuse_no_optimizer(optimizer)
    continuous_actions(spec)
    # A step of length 1 changes a scale by at most a factor of e.
    length = _checks.number("step_size", step_size, above=0, most=1, example=0.1, traced=False)
    ascend = _Ascent(spec, _checked_objective(objective), _checks.count("steps", steps), length)
    when = _checked_schedule(every, at)
    wrapped = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> TeleportState:
        refuse_not_real("teleport", params)
        return TeleportState(jnp.zeros((), jnp.int32), wrapped.init(params))

    def update(
        updates: Any, state: TeleportState, params: Any = None, *, value_fn: Any = None, **more: Any
    ) -> tuple[Any, TeleportState]:
        loss = _checked_loss(params, value_fn, more)

        def there() -> tuple[Any, Any]:
            place = ascend(loss, params)
            return place, jax.tree.map(lambda new, old: new.astype(old.dtype), jax.grad(loss)(place), updates)

        place, gradient = jax.lax.cond(when(state.step), there, lambda: (params, updates))
        if "grad" in more:  # line searches start at the new point, which has the same loss and another gradient
            more = more | {"grad": gradient}
        found, inner = wrapped.update(gradient, state.inner, place, value_fn=value_fn, **more)
        # Compute the difference first: it is exactly zero for parameters that did not move.
        found = jax.tree.map(lambda new, old, step: (new - old) + step, place, params, found)
        return found, TeleportState(state.step + 1, inner)

    return optax.GradientTransformationExtraArgs(init, update)


class _Ascent(NamedTuple):
    """Steepest ascent of an objective on the orbit."""

    spec: Specification
    objective: Objective
    steps: int
    length: float

    def __call__(self, loss: Loss, params: Any) -> Any:
        params = jax.tree.map(jnp.asarray, params)
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        zero = origin(self.spec, dtype)

        def objective(tangent: Any, params: Any) -> jax.Array:
            value, step = self.objective(loss, moved(self.spec, tangent, params)), "return a sum or a mean"
            return jnp.asarray(checked_loss(value, "objective(loss, params)", what="the objective", step=step), dtype)

        def step(_: int, state: Any) -> Any:
            params, value, direction, length = state
            size = jnp.sqrt(sum(jnp.sum(t**2) for t in direction))
            scale = jnp.where(size > 0, length / jnp.where(size > 0, size, 1), 0)
            new = moved(self.spec, [scale * t for t in direction], params)
            its_value, its_direction = jax.value_and_grad(objective)(zero, new)
            finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(t)) for t in its_direction]))
            better = (its_value > value) & jnp.isfinite(its_value) & finite
            taken = jax.tree.map(
                lambda new, old: jnp.where(better, new, old),
                (new, its_value, its_direction, length),
                (params, value, direction, length / 2),
            )
            return taken

        # The first step has direction zero: it evaluates the start, so that the objective is compiled only once.
        start = params, jnp.asarray(-jnp.inf, dtype), zero, jnp.asarray(self.length, dtype)
        return jax.lax.fori_loop(0, self.steps + 1, step, start)[0]


def _checked_objective(objective: str | Objective) -> Objective:
    if callable(objective):
        return _checks.function("objective", objective, arguments=2, example='"gradient_norm"')
    return OBJECTIVES[_checks.choice("objective", objective, [*OBJECTIVES])]


def _checked_schedule(every: int | None, at: Sequence[int]) -> Callable[[jax.Array], jax.Array]:
    chosen = _checks.widths("at", at, least=0, example="[0]", what="numbers of updates")
    if every is not None:
        _checks.count("every", every, least=1, example=100)
    _checks.at_most_one(every=every, at=chosen or None)
    _checks.given("teleport", "write every=100, or at=[0]", every=every or chosen or None)
    if every is not None:
        return lambda count: count % every == 0
    return lambda count: jnp.any(count == jnp.asarray(chosen))


def _checked_loss(params: Any, value_fn: Any, more: dict[str, Any]) -> Loss:
    """Return the loss as a function of the parameters only, with the further arguments in its signature bound."""
    step = "write tx.update(gradients, state, params, value_fn=loss)"
    _checks.given("teleport", step, params=params, value_fn=value_fn if callable(value_fn) else None)
    named = inspect.signature(value_fn).parameters.values()
    takes_all = any(one.kind is one.VAR_KEYWORD for one in named)
    its = more if takes_all else {one.name: more[one.name] for one in named if one.name in more}
    if not _checks.takes(value_fn, 1, *its):
        raise OptionError(
            "value_fn= cannot be called with the arguments of update",
            got=", ".join(("params", *(f"{name}=" for name in its))),
            expected=f"all arguments of value_fn{inspect.signature(value_fn)}",
            step="pass the others to update by name, as in batch=batch",
        )
    return lambda params: checked_loss(value_fn(params, **its), "value_fn(params)")
