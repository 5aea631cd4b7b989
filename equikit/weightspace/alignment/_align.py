"""Align networks: permute one network to bring it as close as possible to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np

from equikit import _checks
from equikit.weightspace.alignment._activations import activations, streamed
from equikit.weightspace.alignment._losses import Loss, checked_losses, refuse_empty
from equikit.weightspace.alignment._matching import match
from equikit.weightspace.alignment._search import Matching
from equikit.weightspace.alignment._straight_through import straight_through
from equikit.weightspace.optimizers._training import refuse_no_optimizer
from equikit.weightspace.specifications._leaves import refuse_not_real
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import checked_tensors, labels_of

Tree = TypeVar("Tree")
"""A tree of arrays."""

How = Literal["weights", "activations", "straight_through"]
"""The criterion: compare weights, compare activations on data, or minimize the loss at the midpoint."""


@overload
def align(
    spec: Specification,
    params_a: Any,
    params_b: Tree,
    how: How = "weights",
    *,
    apply: Callable[..., Any] | None = None,
    x: Any = None,
    loss: Loss | None = None,
    batches: Iterable[Any] | None = None,
    steps: int = 200,
    optimizer: Any = None,
    restarts: int = 0,
    seed: int = 0,
    with_info: Literal[False] = False,
) -> Tree: ...


@overload
def align(
    spec: Specification,
    params_a: Any,
    params_b: Tree,
    how: How = "weights",
    *,
    apply: Callable[..., Any] | None = None,
    x: Any = None,
    loss: Loss | None = None,
    batches: Iterable[Any] | None = None,
    steps: int = 200,
    optimizer: Any = None,
    restarts: int = 0,
    seed: int = 0,
    with_info: Literal[True],
) -> tuple[Tree, Matching]: ...


def align(
    spec: Specification,
    params_a: Any,
    params_b: Any,
    how: How = "weights",
    *,
    apply: Callable[..., Any] | None = None,
    x: Any = None,
    loss: Loss | None = None,
    batches: Iterable[Any] | None = None,
    steps: int = 200,
    optimizer: Any = None,
    restarts: int = 0,
    seed: int = 0,
    with_info: bool = False,
) -> Any:
    r"""Permute the second network to bring it closest to the first; its function does not change.

    - `"weights"`: maximize \(\mathrm{Re} \langle a, g b \rangle\) over g by coordinate ascent, with a linear assignment
      for one label at a time, as Git Re-Basin does. The result is a local maximum that no change of a single label
      improves; it is never worse than \(\mathrm{Re} \langle a, b \rangle\).
    - `"activations"`: the same search with activations in place of weights: all arrays of the program that depend on
      the data and have a labeled axis. Indices are compared by correlation over the data, or by its real part if it
      is complex. Labels without such an array are not permuted: labels inside a while loop, between two weights that
      are multiplied with each other, or of experts that are looked up. If no array has a label, this is an error.
    - `"straight_through"`: minimize \(L((a + g b) / 2)\) over g by training. Trained parameters start at the first
      network, g permutes the second network closest to them, and the gradient passes through this projection as
      through the identity. The result is the best of all visited permutations, which include that for `"weights"`.

    Args:
        spec: the symmetry of both networks, from `trace`.
        params_a: the network that stays as it is, a tree of arrays.
        params_b: the network that is permuted, a tree of the same structure. Integer and boolean arrays are permuted,
            but not compared.
        how: see above.
        apply: the model, a function of the parameters and x; for activations.
        x: the inputs at which activations are compared.
        loss: for the straight-through estimator, a scalar function `loss(params, batch)`; it is compiled.
        batches: for the straight-through estimator, a list of batches for the loss. Each training step uses the next
            batch; permutations are compared by the mean loss over all batches. For activations, in place of `x`, an
            iterable of inputs; only \((2n)^2\) sums are stored for an array with n label indices, not the activations.
        steps: number of training steps of the straight-through estimator.
        optimizer: an optax optimizer for the straight-through estimator; default `optax.sgd(0.01, momentum=0.9)`.
        restarts: number of starts of the weight search after the first. The first start matches labels one after
            another, which recovers the permutation exactly if the second network is a permuted copy of the first. The
            second start is the identity, and further starts are random. The best result is returned.
        seed: seed for the order of labels and for random starts.
        with_info: return `(moved, matching)`.

    Returns:
        The permuted second network, a tree of the same structure.

    Raises:
        OptionError, ShapeError, DTypeError: if parameters do not match the specification, are traced, or contain NaN
            or infinite weights; or if there are no data.

    Cost: for each label and pass a matrix product, \(O(n \cdot \text{weights})\), and an assignment, \(O(n^3)\), on the
    host. The straight-through estimator repeats this in every step, with one gradient, and evaluates the loss of every
    batch when the permutation has changed.

    Example:
        >>> from equikit.weightspace import align, trace
        >>> import jax, jax.numpy as jnp
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> one, two = jax.random.split(jax.random.key(0))
        >>> params = {"first": jax.random.normal(one, (3, 8)), "second": jax.random.normal(two, (8, 2))}
        >>> spec = trace(apply, params, jnp.ones((5, 3)))
        >>> other = spec.act(spec.random_element(key=jax.random.key(1)), params)
        >>> found = align(spec, params, other)
        >>> bool(jnp.all(found["first"] == params["first"]))
        True

    Source:
        Ainsworth, Hayase and Srinivasa, Git Re-Basin, arXiv:2209.04836, section 3.
    """
    checked_specification(spec)
    _checks.choice("how", how, get_args(How))
    with_info = _checks.flag("with_info", with_info)
    tries = _checks.count("restarts", restarts, most=1_000_000, example=10)
    generator = np.random.default_rng(_checks.count("seed", seed))
    one, two = (
        checked_tensors(spec.leaves, params, name) for params, name in ((params_a, "params_a"), (params_b, "params_b"))
    )
    labels = labels_of(spec.leaves)
    if how == "activations":
        _checks.at_most_one(x=x, batches=batches)
        step = 'write align(spec, a, b, how="activations", apply=apply, x=x)'
        _checks.given("how='activations'", step, apply=apply, x=batches if x is None else x)
        assert apply is not None, "it was checked"
        data = [x] if batches is None else _checks.instance("batches", batches, Iterable, "[x]")  # type: ignore[type-abstract]
        given = (one if isinstance(one, tuple) else (one,) for one in data)
        if batches is None:
            refuse_empty("x", x)
            seen = activations(spec, apply, params_a, params_b, *given)
        else:
            seen = streamed(spec, apply, params_a, params_b, given)
        labels, one, two = seen.labels, seen.one, seen.two
        if spec.groups:
            got = "no array that depends on the data outside of while loops, or of experts that are looked up"
            _checks.some("activations with a permuted axis", labels, got=got, step='write how="weights"')
    trained: list[Any] = []
    if how == "straight_through":
        call = 'align(spec, a, b, how="straight_through", loss=loss, batches=[batch])'
        loss, trained = checked_losses(loss, batches, call)
        refuse_not_real("the straight-through estimator", params_a)
        refuse_not_real("the straight-through estimator", params_b)
        if optimizer is not None:
            refuse_no_optimizer(optimizer)
    matching = match(labels, [*spec.groups], one, two, generator, tries, nested=spec.nested)
    if loss is not None and how == "straight_through":
        count = _checks.count("steps", steps, example=200)
        matching = straight_through(spec, params_a, params_b, matching, loss, trained, count, optimizer, generator)
    result = spec.act(matching.element, params_b)
    return (result, matching) if with_info else result
