"""Explanations averaged over a group, which restores their symmetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from equikit import _checks, _keywords
from equikit.auditing.explanations._explainer import Explainer, Symmetry
from equikit.signatures import parse_signature
from equikit.symmetrization import frames, symmetrize

HALF = 5e-5
"""Rounding of a mean of booleans: half of them count as the majority, and shares are multiples of 1/5040 or more."""


def averaged(
    explainer: Callable[[Any], Any],
    signature: str,
    /,
    *,
    elements: int | None = None,
    key: jax.Array | None = None,
    groups: Mapping[str, object] | None = None,
    **bindings: object,
) -> Explainer:
    r"""Average an explainer over a group, so that its explanations are equivariant: the mean of \(g\, e(g^{-1} x)\).

    Over all elements of finite groups this is exact, whatever the explainer and the model. With outputs `()` it is the
    mean of \(e(gx)\), and explanations are invariant. Booleans become the majority over the elements.

    Args:
        explainer: a function of JAX arrays, such as an `Explainer`, as for `equivariance`.
        signature: of the explainer, such as `"p -> p"`, or `"p -> ()"` for explanations that should be invariant.
        elements: the number of random elements, in place of all; equivariance is then approximate. With several labels,
            this number for each label.
        key: a JAX key for random elements. The same elements are used in every call.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Returns:
        An explainer.

    Raises:
        GroupError: if a group is infinite, and `elements=` is not given.
        TooLargeError: if a group has more than 5040 elements, and `elements=` is not given.

    Cost: one evaluation of the explainer for each element.

    Example:
        >>> import equikit as ek
        >>> import jax.numpy as jnp
        >>> first = lambda x: x * jnp.array([1.0, 0.0, 0.0])[:, None]
        >>> averaged(first, "z -> z", z=ek.Z(3))(jnp.array([[[3.0], [6.0], [9.0]]]))[0, :, 0].tolist()
        [1.0, 2.0, 3.0]

    Source:
        Crabbé and van der Schaar, arXiv:2304.06715, section 2, on the enforcement of invariance.
    """
    call = _keywords.call_of(averaged)
    kind = parse_signature(signature, groups=groups, keywords=bindings, call=call)
    _checks.function("explainer", explainer, example="lambda x: x")
    if elements is not None:
        elements = _checks.count("elements", elements, least=1, example=10)
        _checks.key(key)
    labels = sorted({label.removesuffix("*") for label in kind.groups})
    how = [frames.GroupAverage(label, samples=elements) for label in labels]
    is_bool: list[bool] = []

    def numbers(x: Any) -> Any:
        found = explainer(x)
        is_bool[:] = [leaf.dtype == bool for leaf in jax.tree.leaves(found)]
        return jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype == bool else leaf, found)

    mean = symmetrize(numbers, signature, groups=dict(kind.bindings), how=how)

    def explained(x: Any) -> Any:
        found = mean(x, key=key) if elements is not None else mean(x)
        return jax.tree.map(lambda leaf: leaf >= 0.5 - HALF if all(is_bool) else leaf, found)

    name = getattr(explainer, "name", "explainer")
    symmetry: Symmetry = "equivariance" if any(term.labels for term in kind.outputs) else "invariance"
    return Explainer(f"{name}, averaged", explained, symmetry, () if elements is None else None)
