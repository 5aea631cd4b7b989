"""Standardize parameters to mean zero and variance one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit.numerics import power_of_two
from equikit.weightspace.specifications._leaves import batch_of, in_channels, one_channel, with_channels
from equikit.weightspace.specifications._masks import checked_masks, labels_in, present
from equikit.weightspace.specifications._specification import Specification, checked_specification


class Standardize(nnx.Module):
    r"""Standardize each array of the parameters, \((w - \mu)/\sigma\), to mean 0 and variance 1.

    Each array and channel has one mean and one standard deviation over all networks and entries, so standardization
    commutes with all permutations of entries.

    Args:
        spec: the symmetry of the parameters.
        batch: parameters of many networks, stacked: arrays `[*batch, *shape]`, or `[*batch, *shape, channels]`.
        channels: number of channels.
        mask: for networks of different widths the masks that `pad` returns: absent neurons do not count. A functional
            takes the result: `statistics=Standardize(spec, params, mask=masks)`.

    Attributes:
        shift, scale: the mean and the inverse standard deviation of each array, `[channels]`, by name; not trained.

    Raises:
        ShapeError, DTypeError, OptionError: if the parameters do not match the specification.
        OptionError: if there are no networks, or a standard deviation is not finite.

    Example:
        >>> from equikit.weightspace import trace
        >>> spec = trace(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], {"a": jnp.ones((3, 8)), "b": jnp.ones((8, 2))},
        ...              jnp.ones((5, 3)))
        >>> one, two = jax.random.split(jax.random.key(0))
        >>> zoo = {"a": 1 + jax.random.normal(one, (9, 3, 8)), "b": 3 * jax.random.normal(two, (9, 8, 2))}
        >>> standardized = Standardize(spec, zoo)(zoo)
        >>> bool(jnp.allclose(jnp.mean(standardized["a"]), 0, atol=1e-6))
        True
        >>> bool(jnp.allclose(jnp.std(standardized["b"]), 1))
        True
    """

    def __init__(self, spec: Specification, batch: Any, *, channels: int = 1, mask: Any = None) -> None:
        checked_specification(spec)
        self.spec, self.channels = spec, _checks.count("channels", channels)
        shift, scale = {}, {}
        whole, arrays, there = _arrays_that_count(spec, batch, channels, mask)
        empty = {leaf.name for leaf in whole.leaves if 0 in leaf.shape}
        for name, array in arrays.items():
            wide = array.astype(jnp.promote_types(array.dtype, jnp.float32)).reshape(-1, channels)
            if name in empty:  # for example, a layer without neurons: there are no entries to standardize
                wide = jnp.zeros((1, channels), wide.dtype)
            own = None if name in empty or there is None else there[name].reshape(-1, channels)
            # Squares of large and small numbers are no floats, so powers of two are divided out.
            size = power_of_two(jnp.max(jnp.abs(wide), axis=0, where=own, initial=0))
            deviation = size * jnp.std(wide / size, axis=0, where=own) if wide.size else jnp.full(channels, jnp.nan)
            step = "pass one network or more, without those whose training diverged"
            _checks.finite(f"standard deviations of {name!r}", deviation, step=step)
            # A constant array, such as a bias that is zero in all networks, is shifted to zero and not scaled.
            shift[name] = nnx.Variable(size * jnp.mean(wide / size, axis=0, where=own))
            scale[name] = nnx.Variable(jnp.where(deviation > 0, 1 / jnp.where(deviation > 0, deviation, 1), 1))
        self.shift, self.scale = nnx.Dict(shift), nnx.Dict(scale)

    def arrays(self, arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Standardize arrays `[..., channels]`, by name."""
        return {
            name: ((array - self.shift[name][...]) * self.scale[name][...]).astype(array.dtype)
            for name, array in arrays.items()
        }

    def __call__(self, params: Any) -> Any:
        """Standardize a tree like the parameters, or a batch of such trees."""
        spec = self.spec.resized(one_channel(in_channels(params, self.channels)))
        found = self.arrays(with_channels(spec.leaves, params, self.channels))
        leaves = [array[..., 0] if self.channels == 1 else array for array in found.values()]
        return jax.tree.unflatten(jax.tree.structure(params), leaves)


def _arrays_that_count(
    spec: Specification, batch: Any, channels: int, mask: Any
) -> tuple[Specification, dict[str, jax.Array], dict[str, jax.Array] | None]:
    """Return the specification of padded parameters, their arrays by name, and which entries count; None if all do."""
    whole = spec.resized(one_channel(in_channels(batch, channels)), labels_in(mask, spec.sizes))
    arrays = with_channels(whole.leaves, batch, channels)
    sizes = batch_of(whole.leaves, one_channel(arrays))
    masks = checked_masks(mask, whole.sizes, whole.groups, sizes)
    if not masks:
        return whole, arrays, None
    ones = {name: jnp.ones(array.shape, bool) for name, array in arrays.items()}
    return whole, arrays, present(whole.leaves, ones, masks, len(sizes))
