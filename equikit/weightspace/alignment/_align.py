"""Align networks: permutations that bring one network as close as possible to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np

from equikit import _checks
from equikit.weightspace.alignment._activations import activations, streamed
from equikit.weightspace.alignment._losses import Loss, checked_losses
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
"""What has to agree: the weights, the activations on data, or the losses of both and of the network between them."""


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

    - `"weights"`: \(\max_g \mathrm{Re} \langle a, g b \rangle\), by linear assignments for one label after another, as
      Git Re-Basin does. A maximum of this kind is hard to find, and what comes out is one that no single label
      improves. It is never worse than \(\mathrm{Re} \langle a, b \rangle\).
    - `"activations"`: the same for what both networks compute from the same data, all arrays of the program that have
      an axis with a label, in place of weights; indices of the two are compared by their correlation over the data.
      Labels that no such array has, as where nothing but weights meets along them, within a while loop, or for
      experts that are looked up, stay as they are; it is an error if no array has any.
    - `"straight_through"`: \(\min_g L((a + g b) / 2)\), by training. What is trained starts at the first network, the
      permutation is that which brings the second closest to it, and the gradient is taken as if the permutation did
      not depend on it. The best of all permutations that are met counts, the one for `"weights"` among them.

    Args:
        spec: the symmetry of both, from `trace`.
        params_a, params_b: trees of arrays. Integers and booleans are moved, and not compared.
        how: see above.
        apply, x: the model and data, for activations.
        loss: for the straight-through estimator, `loss(params, batch)`, a number; it is compiled.
        batches: for it, a list of arguments for the loss. Step t takes one of them in turn; permutations are
            compared by the mean over all. For activations, in place of `x`, any number of inputs of the model one
            after another: for an array with n indices of labels, \((2n)^2\) numbers are kept, and no activations.
        steps: for it, of training.
        optimizer: for it, an optax optimizer; by default `optax.sgd(0.01, momentum=0.9)`.
        restarts: how many further starts the search for weights has. The first matches labels one after another, each
            by those before it, which finds a permutation exactly where there is one. The next leaves the networks as
            they are, others are random. The best result counts.
        seed: of the order of labels and of random starts.
        with_info: return `(moved, matching)`.

    Returns:
        The second network, moved: a tree like it.

    Raises:
        OptionError, ShapeError, DTypeError: if parameters are not those of the specification, are traced, or have
            weights that are no numbers; or there are no data.

    Cost: for every label and pass a product of matrices, \(O(n \cdot \text{weights})\), and an assignment,
    \(O(n^3)\), on the host. The straight-through estimator does this in every step, with one gradient, and where the
    permutation has changed a loss for each batch.

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
        seen = (
            activations(spec, apply, params_a, params_b, *given)
            if batches is None
            else streamed(spec, apply, params_a, params_b, given)
        )
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
