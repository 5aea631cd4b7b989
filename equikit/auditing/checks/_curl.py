"""Whether a force is the gradient of an energy: the antisymmetric part of its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from equikit import _checks
from equikit._errors import EquikitError, OptionError, ShapeError
from equikit.auditing._action import wide
from equikit.auditing._callables import Adapted, host, raised
from equikit.auditing._reading import MOST_DRAWS, seeds_of
from equikit.auditing._rounding import epsilon
from equikit.auditing.checks._asked import read_function
from equikit.auditing.checks._estimate import MARGIN, Estimate
from equikit.auditing.modules._derivatives import extrapolated
from equikit.auditing.modules.recording._recorder import recorder

WAYS = ("both", "automatic", "differences")


def curl_error(
    force: Callable[..., Any], x: Any, *, pairs: int = 8, how: str = "both", key: jax.Array | None = None
) -> Estimate:
    r"""Measure whether a force is the gradient of an energy, by the antisymmetric part of its Jacobian J.

    A force is the gradient of an energy on a domain without holes if and only if J is symmetric. For random pairs of
    directions the error is the root mean square of \(\langle u, J v \rangle - \langle v, J u \rangle\) over twice that
    of \(\langle u, J v \rangle\), an estimate of \(\lVert J - J^T \rVert_F / 2 \lVert J \rVert_F\). It is 0 for a
    gradient, 1 for a rotation field, and about 0.7 for a random matrix.

    Automatic differentiation is accurate to rounding, but it does not see what is hidden from it: where a frame is
    detached, it holds the frame fixed, and the Jacobian that it returns is symmetric although the true one is not.
    Central differences see the true Jacobian, to a few digits.

    Args:
        force: a function of JAX, NumPy or PyTorch from an array to an array of the same shape; it may have batch axes.
        x: the input.
        pairs: the number of pairs of directions.
        how: `"automatic"` for reverse-mode differentiation, `"differences"` for central differences, or `"both"`:
            automatic differentiation where central differences agree with it, otherwise central differences. Functions
            of NumPy have only differences, in double precision.
        key: a JAX random key; by default always the same.

    Returns:
        The error and the part that rounding explains. The error is 0 if the force is constant.

    Raises:
        OptionError: if the input has no entries, or the function raises an exception or returns NaN.
        ShapeError: if the force does not have the shape of its input.

    Cost: a gradient for each direction, and four calls for each direction that is differenced.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(5, 3))
        >>> spring, whirl = curl_error(lambda x: -x, x), curl_error(lambda x: np.cross(x, [0.0, 0.0, 1.0]), x)
        >>> spring.passed, whirl.passed, f"{whirl.error:.2f}"
        (True, False, '1.00')
    """
    pairs = _checks.count("pairs", pairs, least=1, most=MOST_DRAWS, example=8)
    _checks.choice("how", how, WAYS)
    seeds = seeds_of(key)
    function = read_function(force, {"x": x}, as_dict=False)
    at = wide(function.rounded(host(x)))
    _checks.some("entries of x", range(at.size), got=f"shape {list(at.shape)}", step="give an input with entries")
    _checks.finite("the entries of x", at, step="give numbers")
    value = _called(function, at)
    if value.shape != at.shape:
        raise ShapeError(
            "the force does not have the shape of its input",
            got=f"shape {list(value.shape)}",
            expected=f"shape {list(at.shape)}",
            step="give a function that returns one force for each entry of x",
        )
    _checks.finite("the forces", value, step="look at the function on this input")
    scale = float(np.std(at)) or 1.0
    directions = [(scale * seeds.normal(size=at.shape), scale * seeds.normal(size=at.shape)) for _ in range(pairs)]
    exact = None if how == "differences" or function.framework == "numpy" else _by_gradients(function, at, directions)
    if how == "automatic" and exact is None:
        raise OptionError(
            "the force cannot be differentiated",
            got=f"a function of {function.framework} that automatic differentiation cannot read",
            expected="a function that jax.grad accepts, or one of PyTorch",
            step='write how="differences"',
        )
    if how == "automatic" and exact is not None:
        return exact
    near = _by_differences(function, at, value, directions)
    return near if exact is None or abs(near.error - exact.error) > MARGIN * near.rounding else exact


def _called(function: Adapted, at: np.ndarray) -> np.ndarray:
    try:
        return wide(function({"x": at}))
    except EquikitError:
        raise
    except Exception as error:  # whatever the function raises
        raise raised(error) from error


def _estimate(products: np.ndarray, rounding: float) -> Estimate:
    """Return the error from the products <u, J v> and <v, J u>, `[pairs, 2]`."""
    one, two = products.T
    whole, part = float(np.linalg.norm(one) + np.linalg.norm(two)), float(rounding * np.sqrt(len(products)))
    return Estimate(0.0, 0.0) if whole <= part else Estimate(float(np.linalg.norm(one - two)) / whole, part / whole)


def _by_gradients(function: Adapted, at: np.ndarray, directions: list[Any]) -> Estimate | None:
    pull = recorder(function, rules=True).pullback({"x": at})
    if pull is None:
        return None
    last = len(recorder(function)({"x": at}).calls) - 1
    products, size = [], 0.0
    for u, v in directions:
        pulled = [pull(("calls", last, "outputs", 0), a)["x"] for a in (u, v)]
        products.append([np.sum(pulled[0] * v), np.sum(pulled[1] * u)])
        size = max(size, *(float(np.sum(np.abs(a * b))) for a, b in zip(pulled, (v, u), strict=True)))
    return _estimate(np.array(products), epsilon(function.dtype) * size)


def _by_differences(function: Adapted, at: np.ndarray, value: np.ndarray, directions: list[Any]) -> Estimate:
    """Extrapolate from two step lengths."""
    eps = epsilon(function.dtype)
    rows, size = [], 0.0
    for step in (eps ** (1 / 3), eps ** (1 / 3) / 2):
        row = []
        for u, v in directions:
            # J v by central differences along the numbers that the function gets after rounding.
            sides = [[wide(function.rounded(at + sign * step * a)) for sign in (1, -1)] for a in (v, u)]
            slopes = [(_called(function, plus) - _called(function, minus)) / (2 * step) for plus, minus in sides]
            row.append([np.sum(u * slopes[0]), np.sum(v * slopes[1])])
            size = max(size, *(float(np.linalg.norm(a * value)) for a in (u, v)))
        rows.append(np.array(row))
    best = extrapolated(*rows)
    noise = float(np.sqrt(np.mean((best - rows[1]) ** 2))) + 2 * eps ** (2 / 3) * size
    return _estimate(best, noise)
