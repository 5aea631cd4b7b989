"""Transfer a training run: permute the path of one network so that another network can follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit._progress import progress
from equikit.weightspace.alignment._losses import Loss, checked_losses
from equikit.weightspace.alignment._matching import match
from equikit.weightspace.merging._interpolation import interpolate
from equikit.weightspace.merging._merge import mean
from equikit.weightspace.specifications._leaves import named_leaves, refuse_not_real
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import checked_tensors, labels_of
from equikit.weightspace.specifications._terms import Element

STEP = "step of the path"
"""The label of the axis along which gradients of all steps lie, which is not permuted."""


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer.

    Attributes:
        element: the permutation of the source's weights.
        similarities: after each step, that of the target's gradients and the permuted ones of the source.
    """

    element: Element
    similarities: tuple[float, ...]


def transfer(
    spec: Specification,
    trajectory: Any,
    target: Any,
    *,
    loss: Loss,
    batches: Sequence[Any],
    fast: bool = True,
    points: int = 10,
    seed: int = 0,
    with_info: bool = False,
) -> Any:
    r"""Move a network along the training path of another one, without training it.

    With a path \(a_0, \dots, a_T\) of the source, the target, which starts at \(b_0\), comes to
    \(b_T = b_0 + g (a_T - a_0)\). The permutation g is the one under which the gradients along both paths agree best,
    \(\min_g \sum_{t < s} |\nabla L(b_t) - g \nabla L(a_t)|^2\), found for \(s = 1, 2, \dots, T\) in turn, where
    \(b_t = b_0 + g (a_t - a_0)\) has the permutation of step s - 1. The search is that of `align`, from the last
    permutation on. How far it helps depends on the width of the networks and on the path: on the 8 × 8 digits, with
    perceptrons 64-128-128-10, the straight line brings the loss below 0.6 of what it was, the path itself less far, and
    updates that are not permuted raise it (tests/weightspace/test_transfer.py).

    Args:
        spec: the symmetry of both, from `trace`.
        trajectory: parameters of the source, from its start to its end: a list of trees, or one tree of arrays with a
            leading axis, as `jax.lax.scan` stacks them.
        target: parameters to start from, a tree.
        loss: `loss(params, batch)`, a number, whose mean over the batches has the gradients; it is compiled.
        batches: a list of arguments for it, the same for both networks.
        fast: take the straight line from the start to the end in place of the path, and keep the target's gradients of
            earlier steps though the permutation has changed. False is the path itself.
        points: for `fast`, the number T of steps into which the line is cut.
        seed: of the order of labels.
        with_info: return `(moved, info)`.

    Returns:
        The target at the end of the path: a tree like it.

    Raises:
        OptionError, ShapeError, DTypeError: if parameters are not those of the specification, have weights that are no
            numbers, or there is no path, loss or batch.

    Cost: T gradients of the source, and of the target \(O(T^2)\), or T if `fast`; T searches among the gradients of all
    steps, which are kept.

    Example:
        >>> from equikit.weightspace import trace, transfer
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> def loss(params, x):
        ...     return jnp.mean((apply(params, x) - x[:, :2]) ** 2)
        >>> one, two, data = jax.random.split(jax.random.key(0), 3)
        >>> start = {"first": jax.random.normal(one, (3, 8)), "second": jax.random.normal(two, (8, 2))}
        >>> x = jax.random.normal(data, (20, 3))
        >>> path = [start]
        >>> for _ in range(5):
        ...     path.append(jax.tree.map(lambda p, g: p - 0.1 * g, path[-1], jax.grad(loss)(path[-1], x)))
        >>> spec = trace(apply, start, x)
        >>> element = spec.random_element(key=jax.random.key(1))
        >>> found = transfer(spec, path, spec.act(element, start), loss=loss, batches=[x])
        >>> bool(jnp.allclose(found["first"], spec.act(element, path[-1])["first"], atol=1e-5))
        True

    Source:
        Chijiwa, Transferring learning trajectories of neural networks, arXiv:2305.14122: gradient matching
        along the trajectory (GMT), and its fast version (FGMT).
    """
    checked_specification(spec)
    _checks.flag("with_info", with_info)
    _checks.count("seed", seed)
    mean_loss, given = checked_losses(loss, batches, "transfer(spec, path, target, loss=loss, batches=[batch])")
    path = _checked_path(trajectory, spec)
    for tree in (*path, target):
        refuse_not_real("transfer", tree)
    checked_tensors(spec.leaves, target, "the parameters of the target")
    if _checks.flag("fast", fast):
        count = _checks.count("points", points, least=1, most=1_000_000, example=10)
        places = [number / count for number in range(count + 1)]
        path = [interpolate(path[0], path[-1], place) for place in places]
    gradient = jax.jit(jax.grad(mean_loss))

    def slopes(params: Any) -> dict[str, jax.Array]:
        return checked_tensors(spec.leaves, mean([gradient(params, batch) for batch in given]), "the gradients")

    def moved(number: int, element: Element) -> Any:
        change = jax.tree.map(lambda late, early: late - early, path[number], path[0])
        return jax.tree.map(lambda start, update: start + update, target, spec.act(element, change))

    if not spec.groups:
        return (moved(-1, {}), Transfer({}, ())) if with_info else moved(-1, {})
    element, similarities = _matched(spec, [slopes(tree) for tree in path[:-1]], slopes, moved, fast, seed)
    return (moved(-1, element), Transfer(element, similarities)) if with_info else moved(-1, element)


def _matched(
    spec: Specification,
    source: list[dict[str, jax.Array]],
    slopes: Callable[[Any], dict[str, jax.Array]],
    moved: Callable[[int, Element], Any],
    fast: bool,
    seed: int,
) -> tuple[Element, tuple[float, ...]]:
    labels = {name: (STEP, *axes) for name, axes in labels_of(spec.leaves).items()}
    permuted = [label for label in spec.groups if any(label in axes for axes in labels.values())]
    generator = np.random.default_rng(seed)
    # Steps to come are zeros, which change no inner product: all searches have arrays of one shape.
    two, one = (
        {name: jnp.zeros((len(source), *array.shape), array.dtype) for name, array in source[0].items()}
        for _ in range(2)
    )
    element: Element = {label: np.arange(spec.sizes[label]) for label in permuted}
    similarities: list[float] = []
    changed = False
    with progress("transfer", len(source)) as advance:
        for last in range(len(source)):
            # Where the permutation is that of the step before, so are the gradients of earlier steps.
            for number in range(0 if changed and not fast else last, last + 1):
                here = slopes(moved(number, element))
                one = {name: array.at[number].set(here[name]) for name, array in one.items()}
            two = {name: array.at[last].set(source[last][name]) for name, array in two.items()}
            found = match(labels, permuted, one, two, generator, 0, element if last else None, spec.nested)
            changed = any(np.any(found.element[label] != element[label]) for label in permuted)
            element = found.element
            similarities.append(found.similarity)
            advance(f"similarity of gradients {found.similarity:.3f}")
    return element, tuple(similarities)


def _checked_path(trajectory: Any, spec: Specification) -> list[Any]:
    """The trees of a path, after checking each against the specification."""
    names = {leaf.name for leaf in spec.leaves}
    if isinstance(trajectory, list | tuple) and (not trajectory or named_leaves(trajectory).keys() != names):
        path = list(trajectory)
    else:
        lengths = {(*np.shape(leaf), 0)[0] for leaf in named_leaves(trajectory).values()}
        if len(lengths) != 1:
            raise OptionError(
                "the trajectory has no one number of steps",
                got=f"leading axes of {sorted(lengths)}",
                expected="arrays with one leading axis, of one size; or a list of trees",
                step="stack trees by jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)",
            )
        path = [jax.tree.map(lambda leaf, t=t: leaf[t], trajectory) for t in range(lengths.pop())]
    _checks.count("the number of networks in the trajectory", len(path), least=2, step="pass [start, end]")
    for number, tree in enumerate(path):
        checked_tensors(spec.leaves, tree, f"the parameters at step {number}")
    return path
