"""Make any network on parameters equivariant to scales and signs, by the canonical form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks
from equikit._errors import FrameError, OptionError
from equikit.weightspace.scaling._canonical import canonical_form, rescaled_by
from equikit.weightspace.scaling._slots import chosen_of, schedule
from equikit.weightspace.specifications._leaves import batch_of, named_leaves
from equikit.weightspace.specifications._scaling import Scaling
from equikit.weightspace.specifications._specification import Specification, checked_specification

OnTie = Literal["refuse", "keep"]
"""Refuse networks if rounding decides the sign of a neuron, or keep the sign that it has."""
ROUNDINGS = 4
"""The largest relative margin of a tie, in units of the rounding error."""


class CanonicalScaling(nnx.Module):
    r"""A network on the canonical form of parameters: equivariant or invariant under scales and signs, too.

    Let \(s(w)\) be the numbers of `canonical_form`. For a network f, the result is
    \(s(w) \cdot f(s(w)^{-1} \cdot w)\) if f returns parameters, and \(f(s(w)^{-1} \cdot w)\) else. Permutations act as
    before. Every map that is equivariant to scales and signs has this form, so nothing is lost.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        network: a `Functional`, `MessagePassing` or `RelationalTransformer` with one input channel, or another callable
            with the attribute `out`, which is None for networks that return parameters. If it standardizes its inputs,
            pass it statistics of canonical parameters: `canonical_form(spec, zoo).params`.
        scalings: some of `spec.scalings`; by default all.
        on_tie: `"refuse"` raises an error if rounding decides the sign of a neuron; a compiled program cannot raise,
            and returns NaN for such networks. `"keep"` makes an arbitrary choice, which `canonical_form` reports by its
            margin.

    Raises:
        OptionError: if the specification has no scalings, or not these, or the network has several input channels.

    Cost: the network, and two to three sums over all parameters.

    Example:
        >>> from equikit.weightspace import Functional, trace
        >>> params = {"a": jax.random.normal(jax.random.key(0), (3, 8)), "b": jnp.ones((8, 2))}
        >>> spec = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], params, jnp.ones((5, 3)))
        >>> network = CanonicalScaling(spec, Functional(spec, [1, 8, 4], out="", rngs=nnx.Rngs(0)))
        >>> moved = spec.rescale(spec.scalings[0], np.arange(1.0, 9), params)
        >>> bool(jnp.allclose(network(moved), network(params), atol=1e-5))
        True

    Source:
        see `canonical_form`.
    """

    def __init__(
        self,
        spec: Specification,
        network: Callable[..., Any],
        *,
        scalings: Sequence[Scaling] | None = None,
        on_tie: OnTie = "refuse",
    ) -> None:
        checked_specification(spec)
        _checks.function("network", network, example="Functional(spec, [1, 16, 1], rngs=nnx.Rngs(0))")
        self.chosen = chosen_of(scalings)
        schedule(spec, self.chosen)
        if not hasattr(network, "out"):
            raise OptionError(
                "the network does not say what it returns",
                got=type(network).__name__,
                expected="a network with the attribute out: None if it returns parameters, or labels",
                step="pass a Functional, a MessagePassing or a RelationalTransformer",
            )
        first, *_ = getattr(network, "channels", (1,))
        if first != 1:
            raise OptionError(
                "several input channels have no common canonical form: gradients, for example, scale inversely",
                got=f"{first} input channels",
                expected="one, the parameters",
                step="write channels=[1, 16, 1]",
            )
        self.spec, self.network = spec, network
        self.on_tie = _checks.choice("on_tie", on_tie, ("refuse", "keep"))

    def __call__(self, params: Any, *, mask: Any = None, **options: Any) -> Any:
        """Apply the network.

        Args:
            params: a tree of arrays `[*batch, *shape]`, with the widths that the network takes.
            mask: for a label, which neurons each network has, as for `canonical_form`; for networks that take it.
            **options: other arguments of the network, such as `key=`.

        Returns:
            The result of the network; parameters are scaled back.

        Raises:
            FrameError: if rounding decides the sign of a neuron, with `on_tie="refuse"`, outside of `jit`.
            ShapeError, DTypeError, OptionError: if the parameters do not match the specification.
        """
        if mask is not None and "mask" not in inspect.signature(self.network).parameters:
            raise OptionError(
                "the network takes no mask",
                got=f"mask=, for {type(self.network).__name__}",
                expected="a network whose call has mask=",
                step="pass a Functional, or networks of one width without mask=",
            )
        form = canonical_form(self.spec, params, self.chosen, mask=mask)
        result = self.network(form.params, **options, **({} if mask is None else {"mask": mask}))
        tied: Any = form.margin <= ROUNDINGS * np.finfo(form.margin.dtype).eps
        compiled = self.on_tie == "refuse" and isinstance(tied, jax.core.Tracer)

        def finished(result: Any) -> Any:
            if self.network.out is None:
                result = self._back(form.numbers, result, form.params)
            return jax.tree.map(lambda leaf: _refused(leaf, tied), result) if compiled else result

        several = self.network.out is None and getattr(self.network, "members", 1) > 1
        result = jax.vmap(finished)(result) if several else finished(result)
        if self.on_tie == "keep" or compiled:
            return result
        if np.any(tied):
            refused = np.flatnonzero(np.asarray(tied))
            raise FrameError(
                "rounding decides the sign of a neuron",
                got=f"network {refused[0]} of {tied.size}, and {len(refused) - 1} others",
                expected="neurons whose weights are not balanced between two signs",
                step='leave these networks out, or write on_tie="keep"',
                refused=refused.tolist(),
            )
        return result

    def _back(self, numbers: Any, result: Any, like: Any) -> Any:
        """Scale a tree like the parameters, with or without a last axis of channels, by the numbers."""
        given, spec = named_leaves(result), self.spec.resized(like, [*self.spec.sizes])
        batch = batch_of(spec.leaves, named_leaves(like))
        leaf = spec.leaves[0]
        single = given[leaf.name].ndim == len(batch) + len(leaf.axes)
        arrays = {name: array[..., None] if single else array for name, array in given.items()}
        found = rescaled_by(spec, self.chosen, list(numbers.values()), arrays)
        back = [found[name][..., 0] if single else found[name] for name in given]
        return jax.tree.unflatten(jax.tree.structure(result), back)


def _refused(leaf: jax.Array, tied: jax.Array) -> jax.Array:
    return jnp.where(tied.reshape(*tied.shape, *[1] * (leaf.ndim - tied.ndim)), jnp.nan, leaf)
