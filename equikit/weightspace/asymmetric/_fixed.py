"""Fix weight entries at random numbers that are not trained, in a layer or in a tree of parameters."""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit.nn.initializers import filled, in_numpy, in_python, placed, uniform_and_normal
from equikit.weightspace.specifications._leaves import is_real, named_leaves, refuse_not_real, refuse_unlike


class FixedEntries(nnx.Variable[Any]):
    """An array that is part of the architecture and not trained: it is saved, but is not an `nnx.Param`.

    All such arrays, including masks, are floating-point, so that a whole module can be differentiated without a filter;
    their derivatives are zero.
    """


class FixedWeights(NamedTuple):
    """The mask and the values of fixed weight entries: two arrays or two trees of arrays.

    Attributes:
        mask: True at fixed entries.
        values: the values of fixed entries; zero at all other entries.
    """

    mask: Any
    values: Any


def draw_fixed(shape: tuple[int, int], count: int, scale: float, key: jax.Array) -> FixedWeights:
    """Fix `count` entries of every column of a kernel `[inputs, outputs]`, at `scale` times standard normal numbers.

    All samples are float32, so that a key gives the same entries for every default precision. The results are NumPy
    arrays unless an argument is traced.
    """
    step = "fix fewer, or give a number for each layer, as fixed=[0, 16, 16]"
    count = _checks.count("fixed", count, most=shape[0], step=step)
    scale = in_python(_checks.number("scale", scale))
    drawn = in_numpy(uniform_and_normal(_checks.key(key), shape))
    numbers = scale * drawn[..., 1]
    xp: Any = np if isinstance(numbers, np.ndarray) else jnp
    ranks = xp.argsort(xp.argsort(drawn[..., 0], axis=0, stable=True), axis=0, stable=True)
    return FixedWeights(ranks < count, xp.where(ranks < count, numbers, xp.zeros((), numbers.dtype)))


def fixed_weights(params: Any, count: int, *, key: jax.Array, scale: float = 1.0) -> FixedWeights:
    """Choose entries to fix in a tree of parameters: `count` for every output of every kernel.

    A key gives the same entries in every process: the keys of leaves depend on their names by a checksum, because
    Python's hash differs between processes.

    Args:
        params: a tree of arrays. Floating-point arrays with at least two axes are kernels, whose last axis indexes the
            outputs; no other arrays have fixed entries.
        count: number of fixed entries of each output, at most the number of its entries in any kernel.
        key: JAX key for positions and values.
        scale: the standard deviation of the values.

    Returns:
        Masks and values, trees like `params`; for leaves that are not kernels, the mask is a single `False`.

    Raises:
        OptionError: if `count` is larger than the number of entries, `scale` is not finite, or `key` is not a JAX key.
        DTypeError: if a parameter is complex.

    Example:
        >>> params = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}
        >>> fixed = fixed_weights(params, 2, key=jax.random.key(0))
        >>> fixed.mask["kernel"].sum(axis=0).tolist()
        [2, 2, 2, 2]
        >>> impose(params, fixed)["bias"].tolist()
        [1.0, 1.0, 1.0, 1.0]

    Source:
        Lim et al., The empirical impact of neural parameter symmetries, or lack thereof, arXiv:2405.20231.
    """
    _checks.key(key)
    _checks.number("scale", scale)
    refuse_not_real("fixed_weights", params, integers=True)
    leaves, found = named_leaves(params), []
    rows = {name: math.prod(leaf.shape[:-1]) for name, leaf in leaves.items() if leaf.ndim > 1 and is_real(leaf)}
    most = min(rows.values(), default=None)
    count = _checks.count("count", count, most=most, example=most)
    for name, leaf in leaves.items():
        its_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        if name not in rows:
            found.append(FixedWeights(filled(False, (), bool), filled(0, (), leaf.dtype)))
        else:
            drawn = draw_fixed((rows[name], leaf.shape[-1]), count, scale, its_key)
            arrays = drawn.mask.reshape(leaf.shape), drawn.values.reshape(leaf.shape).astype(leaf.dtype)
            found.append(FixedWeights(*(placed(array, its_key) for array in arrays)))
    tree = jax.tree.structure(params)
    masks, values = zip(*found, strict=True)
    return FixedWeights(jax.tree.unflatten(tree, masks), jax.tree.unflatten(tree, values))


def impose(params: Any, fixed: FixedWeights) -> Any:
    """Set the fixed entries of parameters: if the loss calls this function, the gradient of fixed entries is zero.

    Args:
        params: a tree of arrays.
        fixed: masks and values from `fixed_weights`, trees of the same structure; a scalar applies to a whole array.

    Returns:
        A tree of the same structure and dtypes.

    Raises:
        OptionError, ShapeError: if the trees do not match; the error names the leaf.

    Cost: one pass over the parameters.

    Example:
        >>> import jax
        >>> params = {"kernel": jnp.ones((3, 4))}
        >>> fixed = fixed_weights(params, 3, key=jax.random.key(0))
        >>> gradient = jax.grad(lambda params: impose(params, fixed)["kernel"].sum())(params)
        >>> bool(jnp.all(gradient["kernel"] == 0))
        True
    """
    _checks.instance("fixed", fixed, FixedWeights, "fixed_weights(params, count, key=key)")
    refuse_unlike({"params": params, "fixed.mask": fixed.mask, "fixed.values": fixed.values}, single=True)

    def imposed(array: Any, mask: Any, value: Any) -> Any:
        return jnp.where(mask, jnp.asarray(value).astype(jnp.result_type(array)), array)

    return jax.tree.map(imposed, params, fixed.mask, fixed.values)
