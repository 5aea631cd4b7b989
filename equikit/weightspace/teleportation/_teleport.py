"""Teleportation: an optimizer that sometimes moves along the level set of the loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from equikit import _checks
from equikit.weightspace.optimizers._training import refuse_no_optimizer
from equikit.weightspace.specifications._leaves import refuse_not_real
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.teleportation._objective import OBJECTIVES, Loss, Objective
from equikit.weightspace.teleportation._orbit import continuous_actions, moved, origin


class TeleportState(NamedTuple):
    """The state of `teleport`.

    Attributes:
        step: how many updates there were, `[]`.
        inner: the state of the optimizer that it wraps.
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

    The group is what the trace found to be exact: positive scales, and general linear groups of axes along which all is
    linear. The loss stays as it is to rounding, its gradient does not. The parameters are moved by steepest ascent:
    each step takes the gradient d of the objective in the Lie algebra, and moves them by the element with coordinates
    \(\eta\, d / \|d\|\), where \(\eta\) is `step_size`: \(e^t\) for scales, \((1 - T/2)^{-1} (1 + T/2)\) for matrices.
    A step that does not raise the objective is not taken; the next is half as long. Then comes an update of the
    optimizer with the gradient at the new place. Permutations and signs are orthogonal maps of the parameters: they
    change neither the norm of the gradient nor the curvature, and are not used.

    Orbits of scales and linear groups are unbounded, and so is the gradient on them. One call moves no farther than
    `steps * step_size` in the Lie algebra: scales change by less than \(e^{s\eta}\), and condition numbers of
    matrices by less than \(((2 + \eta) / (2 - \eta))^{2 s}\) in s steps, which is 7.4 with the defaults. What the
    optimizer remembers, as momenta, is not moved. Where the gradient is larger the curvature is too, as a rule: plain
    descent with a learning rate that is just small enough may diverge after some calls. So move once, or a few times,
    and early. Sharpness is no property of the function: it can be made small on the orbit alone.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        optimizer: any optimizer of optax.
        every: move before the updates number 0, `every`, 2 `every` and so on.
        at: or before these.
        objective: "gradient_norm" makes the norm of the gradient large, "sharpness" the largest eigenvalue of the
            Hessian small; or a function of the loss, which takes parameters, and of parameters, made large.
        steps: of the ascent.
        step_size: the length of each at first, more than 0 and at most 1.

    Returns:
        An `optax.GradientTransformationExtraArgs`. Its `update(gradients, state, params, value_fn=loss, **batch)` needs
        the loss, as line searches of optax do: a function of the parameters, and of those further arguments that it
        names. It can be compiled.

    Raises:
        OptionError: if nothing moves the parameters continuously, or an argument is not one of those allowed.

    Cost: an ascent takes `steps + 1` gradients of the objective, each some three gradients of the loss; of the
        sharpness some forty. Each linear group needs two solutions of a system of the size of its label besides.

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
    # A step of length 1 changes scales by a factor of e.
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
        if "grad" in more:  # of line searches, which have to start at the new place; the value there is the old one
            more = more | {"grad": gradient}
        found, inner = wrapped.update(gradient, state.inner, place, value_fn=value_fn, **more)
        # The difference first: it is exactly zero where nothing was moved.
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
            return self.objective(loss, moved(self.spec, tangent, params)).astype(dtype)

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

        # The first step is none: it looks at where the parameters are, so that the objective is compiled once.
        start = params, jnp.asarray(-jnp.inf, dtype), zero, jnp.asarray(self.length, dtype)
        return jax.lax.fori_loop(0, self.steps + 1, step, start)[0]


def _checked_objective(objective: str | Objective) -> Objective:
    if callable(objective):
        return objective
    return OBJECTIVES[_checks.choice("objective", objective, [*OBJECTIVES])]


def _checked_schedule(every: int | None, at: Sequence[int]) -> Callable[[jax.Array], jax.Array]:
    chosen = _checks.widths("at", at, least=0, example="[0]")
    if every is not None:
        _checks.count("every", every, least=1, example=100)
    _checks.at_most_one(every=every, at=chosen or None)
    _checks.given("teleport", "write every=100, or at=[0]", every=every or chosen or None)
    if every is not None:
        return lambda count: count % every == 0
    return lambda count: jnp.any(count == jnp.asarray(chosen))


def _checked_loss(params: Any, value_fn: Any, more: dict[str, Any]) -> Loss:
    """The loss as a function of parameters only, with the further arguments that it names."""
    step = "write tx.update(gradients, state, params, value_fn=loss)"
    _checks.given("teleport", step, params=params, value_fn=value_fn if callable(value_fn) else None)
    named = inspect.signature(value_fn).parameters.values()
    takes_all = any(one.kind is one.VAR_KEYWORD for one in named)
    its = more if takes_all else {one.name: more[one.name] for one in named if one.name in more}
    return lambda params: value_fn(params, **its)
