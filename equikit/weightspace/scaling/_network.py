"""A network on parameters whose hidden features scale like the weights and neurons that they belong to."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from equikit import _checks
from equikit.nn import Activation, checked_dtypes, silu
from equikit.weightspace.graphs.layers._dense import Joined, Options
from equikit.weightspace.scaling._canonical import norm
from equikit.weightspace.scaling._layer import Scaled, ScaleLayer, mean_of_rows
from equikit.weightspace.scaling._objects import neurons_of, objects_of
from equikit.weightspace.scaling._slots import chosen_of, schedule
from equikit.weightspace.specifications._leaves import batch_of, one_channel, with_channels
from equikit.weightspace.specifications._scaling import Scaling
from equikit.weightspace.specifications._specification import Specification, checked_specification
from equikit.weightspace.specifications._tensors import join, split


class ScaleEquivariant(nnx.Module):
    r"""A network on parameters with layers that are equivariant to scales and signs of neurons, and to permutations.

    Every weight has features \(x_w\) that scale like the weight. Every neuron has features \(f_v\) that scale like what
    enters it, \(f_v^{-1}\) that scale inversely, and \(n_v\) that are invariant, and so has the whole network. For a
    weight w from neuron u to neuron v, a layer computes with elementwise products

    \(h_w = \phi(x_w \odot f_u \odot f_v^{-1},\; \iota(x_w),\; n_u,\; n_v,\; g)\), which is invariant,
    \(x_w \leftarrow x_w \odot (1 + a(h_w)) + f_u^{-1} \odot f_v \odot b(h_w)\),
    \(f_v \leftarrow f_v \odot (1 + a(n_v)) + \sum_u x_w \odot f_u \odot c(h_w)\), and backwards for \(f_u^{-1}\),

    where \(\iota(x)\) is \(x / \|x\|\) for positive scales, and products of two linear maps of x for signs. Other
    powers, and tensors with any number of axes, are treated alike. Axes that are not permuted, such as inputs, outputs
    and windows of convolutions, are channels.

    Unlike `CanonicalScaling`, it is continuous in the parameters with signs, too, and needs no choice of a sign.
    Outputs are finite in float32 for weights of magnitudes up to about 1e37.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers of channels for each weight: input, hidden layers, output. Several input channels must scale
            alike. Hidden layers have one width. In each of them information passes from one layer of neurons to the
            next, so use two or more.
        out: `""` for invariants, or a label, such as `"h0"`, for invariant features of each of its neurons; by default
            the output is a tree like the parameters, and scales like them.
        scalings: some of `spec.scalings`; by default all.
        activation: the nonlinearity of the perceptrons.
        statistics: parameters of many networks, stacked. Each array is divided by its root mean square over them.
        dtype: dtype of the computation; by default promoted from inputs and parameters.
        param_dtype: dtype of the parameters of this network.
        rngs: random keys for the parameters.

    Raises:
        OptionError: if the specification has no scalings, or not these; if there are fewer than three numbers of
            channels, hidden widths differ, or the output is unknown.

    Cost: each layer multiplies a few matrices for every weight, \(O(\text{weights} \cdot c^2)\).

    Example:
        >>> from equikit.weightspace import trace
        >>> params = {"a": jnp.ones((3, 8)), "b": jnp.ones((8, 2))}
        >>> spec = trace(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], params, jnp.ones((5, 3)))
        >>> network = ScaleEquivariant(spec, [1, 8, 8, 4], out="", rngs=nnx.Rngs(0))
        >>> moved = spec.rescale(spec.scalings[0], jnp.arange(1.0, 9), params)
        >>> bool(jnp.allclose(network(moved), network(params), atol=1e-5))
        True

    Source:
        Kalogeropoulos, Bouritsas and Panagakis, Scale equivariant graph metanetworks, arXiv:2406.10685. Inverse
        features of neurons, in place of inverted weights, and layers for any traced model are ours.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int],
        out: str | None = None,
        *,
        scalings: Sequence[Scaling] | None = None,
        activation: Activation = silu,
        statistics: Any = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        checked_specification(spec)
        plan = schedule(spec, chosen_of(scalings))
        widths = _checks.widths("channels", channels, fewest=3, example="[1, 16, 16, 1]")
        step = "write channels=[1, 16, 16, 1]"
        _checks.same("the list of hidden widths", widths[1:-1], widths[1:2] * (len(widths) - 2), step=step)
        _checks.function("activation", activation, example="jnp.tanh")
        computed, stored = checked_dtypes(dtype, param_dtype)
        options = Options(_checks.rngs(rngs), activation, computed, stored, True)
        self.objects = objects_of(spec, plan)
        neurons, width = neurons_of(self.objects), widths[1]
        self.kinds = tuple((label, kind.name) for label, kinds in neurons.items() for kind in kinds)
        _checks.choice("out", out, ("", *neurons, None))
        self.spec, self.channels, self.out, self.labels = spec, widths, out, tuple(neurons)
        self.scales = None if statistics is None else nnx.Dict(_scales(spec, statistics, widths[0]))
        self.encoders = nnx.List(
            [options.linear(one.width * widths[0], width, use_bias=not one.moves) for one in self.objects]
        )
        self.codes = options.codes(len(neurons) + 1, width)
        self.layers = nnx.List([ScaleLayer(self.objects, neurons, width, options) for _ in widths[1:-1]])
        self.norms = nnx.List([options.norm(width) for _ in (*neurons, "whole")])
        self.hidden = Joined(dict.fromkeys((*neurons, "whole"), width), width, options) if out == "" else None
        self.heads = nnx.List(
            [options.linear(width, widths[-1])]
            if out is not None
            else [options.linear(width, one.width * widths[-1], use_bias=not one.moves) for one in self.objects]
        )

    def __call__(self, params: Any) -> Any:
        """Apply the network.

        Args:
            params: a tree of arrays `[*batch, *shape]`; with more than one input channel `[*batch, *shape, channels]`.

        Returns:
            `[*batch, channels]` for `out=""`, `[*batch, n, channels]` for a label; otherwise a tree like `params`, with
            a last axis of output channels if there is more than one.

        Raises:
            ShapeError, DTypeError, OptionError: if the parameters do not match the specification.
        """
        arrays = with_channels(self.spec.leaves, params, self.channels[0])
        batch = batch_of(self.spec.leaves, {name: array[..., 0] for name, array in arrays.items()})
        state = self._encoded(arrays, batch)
        for layer in self.layers:
            state = layer(state)
        if self.out is None:
            return self._parameters(state, params)
        (head,) = self.heads
        assert head is not None
        if self.hidden is None:
            label = self.labels.index(self.out)
            found: jax.Array = head(self.norms[label](state.neurons[self.out]))
            return found
        features = [*(mean_of_rows(state.neurons[label], len(batch)) for label in self.labels), state.whole]
        parts = [
            self.hidden.part(name, normed(x))
            for name, normed, x in zip((*self.labels, "whole"), self.norms, features, strict=True)
        ]
        result: jax.Array = head(self.hidden(functools.reduce(operator.add, parts)))
        return result

    def _encoded(self, arrays: dict[str, jax.Array], batch: tuple[int, ...]) -> Scaled:
        """Return features of tensors from their values, and of neurons from codes of their labels; others are zero."""
        if self.scales is not None:
            arrays = {name: (a * self.scales[name][...]).astype(a.dtype) for name, a in arrays.items()}
        tensors = split(self.spec.leaves, arrays)
        objects = {}
        for one, encoder in zip(self.objects, self.encoders, strict=True):
            flat = one.flat(tensors[one.name])
            empty = jnp.zeros((*flat.shape[:-1], self.channels[1]), flat.dtype)
            objects[one.name] = empty if encoder is None else encoder(flat)
        dtype = jnp.result_type(*objects.values())
        sizes = {end.label: [one.sizes[axis] for axis in end.axes] for one in self.objects for end in one.ends}
        assert self.codes is not None
        codes = self.codes[...].astype(dtype)
        neurons = {
            label: jnp.broadcast_to(code, (*batch, *sizes[label], code.shape[-1]))
            for label, code in zip(self.labels, codes[:-1], strict=True)
        }
        kinds = {kind: jnp.zeros_like(neurons[label]) for label, kind in self.kinds}
        return Scaled(objects, kinds, neurons, jnp.broadcast_to(codes[-1], (*batch, codes.shape[-1])))

    def _parameters(self, state: Scaled, like: Any) -> Any:
        """Return a tree like the parameters."""
        tensors = {}
        for one, head in zip(self.objects, self.heads, strict=True):
            x = state.objects[one.name]
            tensors[one.name] = one.back(x[..., :0] if head is None else head(x))
        found = join(self.spec.leaves, tensors)
        results = [found[leaf.name] for leaf in self.spec.leaves]
        if self.channels[-1] == 1:
            results = [array[..., 0] for array in results]
        return jax.tree.unflatten(jax.tree.structure(like), results)


def _scales(spec: Specification, batch: Any, channels: int) -> dict[str, nnx.Variable[jax.Array]]:
    """Return the inverse root mean square of each array, which is one for arrays of zeros."""
    found, arrays = {}, with_channels(spec.leaves, batch, channels)
    count = math.prod(batch_of(spec.leaves, one_channel(arrays)))
    _checks.some("networks in statistics=", range(count), got=0, step="pass the parameters of one network or more")
    for name, array in arrays.items():
        wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
        size = norm(wide, tuple(range(wide.ndim))) / max(wide.size, 1) ** 0.5
        _checks.finite(f"root mean squares of {name!r}", size, step="leave out networks whose training diverged")
        found[name] = nnx.Variable(1 / jnp.where(size == 0, 1, size))
    return found
