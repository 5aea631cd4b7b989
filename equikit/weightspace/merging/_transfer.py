"""Transfer a training run: apply the permuted updates of one network to another network."""

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
"""The label of the axis that stacks the gradients of all steps; it is not permuted."""


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer.

    Attributes:
        element: the permutation of the source's weights.
        similarities: for each step, the cosine similarity of the target's and the permuted source's gradients.
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
    r"""Apply the permuted training path of a source network to a target network, without training the target.

    For a source path \(a_0, \dots, a_T\), the target moves from \(b_0\) to \(b_T = b_0 + g (a_T - a_0)\). The
    permutation g minimizes the difference of the gradients along both paths,
    \(\sum_{t < s} |\nabla L(b_t) - g \nabla L(a_t)|^2\), for \(s = 1, 2, \dots, T\) in turn, where
    \(b_t = b_0 + g (a_t - a_0)\) uses the permutation of step s - 1. Each step runs the search of `align`, starting
    from the previous permutation. The benefit depends on the width of the networks and on the path: on the 8 × 8 digits
    with perceptrons 64-128-128-10, the straight line reduces the loss below 0.6 of its initial value and the path
    itself reduces it less; updates without permutation increase the loss (tests/weightspace/test_transfer.py).

    Args:
        spec: the symmetry of both networks, from `trace`.
        trajectory: parameters of the source from start to end: a list of trees, or one tree of arrays with a leading
            axis, as `jax.lax.scan` stacks them.
        target: initial parameters of the target, a tree.
        loss: a scalar function `loss(params, batch)`, whose gradients are averaged over the batches; it is compiled.
        batches: a list of batches for the loss, the same for both networks.
        fast: if True, replace the path by the straight line from its start to its end, and do not recompute the
            target's gradients of earlier steps when the permutation changes.
        points: for `fast`, the number T of steps on the line.
        seed: seed for the order of labels.
        with_info: return `(moved, info)`.

    Returns:
        The target at the end of the path, a tree of the same structure.

    Raises:
        OptionError, ShapeError, DTypeError: if parameters do not match the specification, weights are not finite, or
            the path, the loss or the batches are missing.

    Cost: T gradients of the source, and \(O(T^2)\) of the target, or T if `fast`; T searches over the gradients of all
    steps, which stay in memory.

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
        Chijiwa, Transferring learning trajectories of neural networks, arXiv:2305.14122: gradient matching along
        the trajectory (GMT) and its fast version (FGMT).
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
    # Rows of future steps are zero and do not change inner products, so that all searches use arrays of one shape.
    two, one = (
        {name: jnp.zeros((len(source), *array.shape), array.dtype) for name, array in source[0].items()}
        for _ in range(2)
    )
    element: Element = {label: np.arange(spec.sizes[label]) for label in permuted}
    similarities: list[float] = []
    changed = False
    with progress("transfer", len(source)) as advance:
        for last in range(len(source)):
            # If the permutation did not change, the gradients of earlier steps are still valid.
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
    """Return the trees of a path, after checking each tree against the specification."""
    names = {leaf.name for leaf in spec.leaves}
    if isinstance(trajectory, list | tuple) and (not trajectory or named_leaves(trajectory).keys() != names):
        path = list(trajectory)
    else:
        lengths = {(*np.shape(leaf), 0)[0] for leaf in named_leaves(trajectory).values()}
        if len(lengths) != 1:
            raise OptionError(
                "the arrays of the trajectory have different numbers of steps",
                got=f"leading axes of {sorted(lengths)}",
                expected="arrays with one leading axis, of one size; or a list of trees",
                step="stack trees by jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)",
            )
        path = [jax.tree.map(lambda leaf, t=t: leaf[t], trajectory) for t in range(lengths.pop())]
    _checks.count("the number of networks in the trajectory", len(path), least=2, step="pass [start, end]")
    for number, tree in enumerate(path):
        checked_tensors(spec.leaves, tree, f"the parameters at step {number}")
    return path
