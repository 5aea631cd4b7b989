"""A linear layer whose maps are split along a chain of groups, with a gate and a penalty for every broken part."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from equikit import _checks, _keywords
from equikit._errors import OptionError
from equikit.nn import Features, Layer, Linear as Equivariant, checked_dtypes
from equikit.nn.initializers import filled, unit_normal
from equikit.plans import Arrays, Channels, Masks, Plan, Widths, applied, plan, weight_shapes
from equikit.relax._chain import Chain
from equikit.relax._spaces import squared_norm
from equikit.signatures import Signature


class Gate(nnx.Param[jax.Array]):
    """A factor of the maps that one step of a chain breaks; `wrt=nnx.Param` trains it with the weights."""


class Kept(Equivariant):
    """The layer of the largest group, which may have no map to some outputs."""

    needs_input = False


class Linear(Layer):
    r"""A linear layer that is equivariant up to gated parts: \(y = L_1 x + \sum_i g_i L_{i+1} x\).

    \(L_1\) is the `ek.nn.Linear` of the largest group of a chain. \(L_{i+1}\) has the maps that step i of the chain
    breaks. With all gates at zero the layer equals \(L_1\); with nonzero gates it has all maps of the smallest group.

    Args:
        chain: from `ek.relax.chain`.
        channels, out_channels: as for `ek.nn.Linear`; or in place of both an `ek.nn.Linear` of the largest group, which
            becomes the kept part, with its own options.
        rngs: random keys for the parameters.
        gates: the first value of the gates: one number, or one for each step.
        broken_init: initializer with variance one of the weights of the broken parts; its values are scaled so that
            the broken parts together, with gates of one, preserve the variance of independent entries.
        **options: options of `ek.nn.Linear`, unless a layer is given.

    Attributes:
        kept: the `ek.nn.Linear` of the largest group.
        broken: for each step a dictionary from `"in -> out"` to a parameter `[maps, features in, features out]`, and
            from `"-> out"` to `[maps, features out]`, in the orthonormal basis of `chain.broken()`.
        gates: a parameter, float32 `[steps]`.

    Raises:
        OptionError: if `chain` is not a chain, the gates do not fit its steps, or options are given with a layer.
        ShapeError, DTypeError, SignatureError: as `ek.nn.Linear`.

    A gate and its weights multiply each other, so a gate that reaches zero under a penalty on both may stay there.
    Broken biases start at zero.

    Cost: the layers of the largest and of the smallest group, and a product with the bases of the broken parts.

    Example:
        >>> from equikit import O, Trivial
        >>> from equikit.relax import chain
        >>> layer = Linear(chain("x -> x", x=[O(3), O(2) + O(1), Trivial(3)]), 2, 4, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((5, 3, 2))).shape, layer.penalty().shape
        ((5, 3, 4), (2,))

    Source:
        Finzi et al., Residual pathway priors, arXiv:2112.01388, section 3, for two groups.
    """

    def __init__(
        self,
        chain: Chain,
        channels: Channels | Features | Equivariant,
        out_channels: Channels | None = None,
        *,
        rngs: nnx.Rngs,
        gates: float | Sequence[float] = 0.0,
        broken_init: nnx.Initializer = unit_normal,
        **options: Any,
    ) -> None:
        _checks.instance("chain", chain, Chain, 'ek.relax.chain("x -> x", x=[ek.O(3), ek.Trivial(3)])')
        _keywords.refuse_misspelled(_keywords.call_of(type(self), Equivariant), options, ())
        self.chain = chain
        if isinstance(channels, Equivariant):
            wide, narrow = channels.channels
            step = f"make it by ek.nn.Linear(chain.spaces[0], {wide}, {narrow}, rngs=rngs)"
            _checks.same("the space of the layer", channels.space, chain.spaces[0], step=step)
            given_with = {**({} if out_channels is None else {"out_channels": out_channels}), **options}
            _refuse_options(given_with, wide, narrow)
            self.kept = channels
        else:
            self.kept = Kept(chain.spaces[0], channels, out_channels, rngs=rngs, **options)
        stored = checked_dtypes(None, options.get("param_dtype"), complex_group=self.signature.is_complex)[1]
        given = [*self.kept.kernel.values(), *self.kept.bias.values()]
        self._add_broken(rngs, gates, broken_init, given[0][...].dtype if given else stored)

    def _add_broken(self, rngs: nnx.Rngs, gates: float | Sequence[float], init: nnx.Initializer, dtype: Any) -> None:
        """Make the parameters of the broken parts."""
        steps = self.chain.steps
        given = (gates,) * steps if isinstance(gates, int | float) else gates
        values = _checks.numbers("gates", given, example=(0.0,) * steps)
        _checks.count("the number of gates", len(values), least=steps, most=steps, step=f"write gates={(0.0,) * steps}")
        _checks.rngs(rngs)
        bases, scales = self.chain.broken(bias=self.kept.use_bias), self._scales()
        parts = []
        for step in range(steps):
            shapes = {n: (len(bases[n][step]), *shape[1:]) for n, shape in self._shapes.items() if len(bases[n][step])}
            values_of = {n: init(rngs.params(), shape, dtype) * scales[n].astype(dtype) for n, shape in shapes.items()}
            parts.append(nnx.Dict({name: nnx.Param(value) for name, value in values_of.items()}))
        self.broken = nnx.List(parts)
        self.gates = Gate(jnp.asarray(np.array(values, np.float32)) if steps else filled(0.0, (0,), jnp.float32))

    def _scales(self) -> dict[str, np.ndarray]:
        """Return the standard deviation of the weights of every pair of terms: an orthonormal map has norm one."""
        sizes, bases = self.signature.sizes, self.chain.broken()
        counts: dict[str, int] = {}
        fans: dict[str, int] = {}
        for name, shape in self._shapes.items():
            target = name.rpartition("-> ")[2]
            counts[target] = counts.get(target, 0) + sum(map(len, bases[name])) * (len(shape) == 3)
            fans[name] = shape[1] if len(shape) == 3 else 1
        rows = {
            term.name or "()": int(np.prod([sizes[term.labels[i]] for i in self.signature.acted(term)]))
            for term in self.signature.outputs
        }
        scales = {}
        for name, shape in self._shapes.items():
            target = name.rpartition("-> ")[2]
            variance = rows[target] / max(counts[target] * fans[name], 1)
            scales[name] = np.sqrt(variance) if len(shape) == 3 else np.zeros(())
        return scales

    @property
    def signature(self) -> Signature:
        """The terms, with the largest group of every label."""
        return self.kept.signature

    @property
    def channels(self) -> Widths:
        """The channels of the terms."""
        return self.kept.channels

    @property
    def dtype(self) -> Any:
        """The dtype of the computation, `None` for the promoted dtype."""
        return self.kept.dtype

    @property
    def sides(self) -> tuple[Features, Features]:
        """The features of the inputs and of the outputs."""
        return self.kept.sides

    @property
    def _plan(self) -> Plan:
        """The plan of the smallest group, which runs the broken parts."""
        return _plan(self.chain.spaces[-1].signature, self.channels, self.kept.use_bias)

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights of the smallest group."""
        return weight_shapes(self._plan)

    def _call_arguments(self) -> list[str]:
        return self.kept._call_arguments()

    def _call_bindings(self) -> Iterable[str]:
        yield str(self.chain).partition('", ')[2][:-1]

    def _map_count(self) -> int:
        return self.chain.spaces[-1].dim

    def weights(self) -> dict[str, jax.Array]:
        """Return the gated weights of the broken parts, as weights of the smallest group's plan by name."""
        bases, found = self.chain.broken(bias=self.kept.use_bias), {}
        for name, shape in self._shapes.items():
            total: Any = None
            for step, part in enumerate(self.broken):
                if name in part:
                    weight = part[name][...]
                    gate = self.gates[...][step].astype(weight.dtype)
                    wide = gate * jnp.tensordot(jnp.asarray(bases[name][step], weight.dtype), weight, ((0,), (0,)))
                    total = wide if total is None else total + wide
            found[name] = jnp.zeros(shape, self.gates[...].dtype) if total is None else total
        return found

    def penalty(self) -> jax.Array:
        r"""Return half the squared norm of the map that each step of the chain adds, \(\frac12 g_i^2 \|L_{i+1}\|_F^2\).

        Returns:
            float32 `[steps]`. For orthogonal groups the sum from step i on is half the squared distance of the layer's
            matrix from the maps of group i.
        """
        squares = [squared_norm(nnx.state(part, nnx.Param)) for part in self.broken]
        gates = self.gates[...]
        gates = gates.astype(jnp.promote_types(gates.dtype, jnp.float32))  # squares of float16 overflow
        return 0.5 * gates**2 * jnp.stack(squares)

    def __call__(self, x: Arrays, *, mask: Masks | None = None, **options: Any) -> Arrays:
        """Apply the layer.

        Args:
            x: `[*batch, *axes, channels]`, or a dictionary of such arrays if the layer has several inputs.
            mask: as for `ek.nn.Linear`.
            **options: as for `ek.nn.Linear`.

        Returns:
            As `ek.nn.Linear`.
        """
        kept, run = self.kept(x, mask=mask, **options), self.kept.options
        inputs, weights = x, self.weights()
        if self.dtype is not None:
            inputs, weights = jax.tree.map(lambda array: jnp.asarray(array, self.dtype), (x, weights))
        added: Any = applied(self._plan, inputs, weights, run, mask=mask, **options)
        found: Any = jax.tree.map(jnp.add, kept, added)
        result: Arrays = found
        return result


def _refuse_options(given: Mapping[str, object], wide: object, narrow: object) -> None:
    """Raise `OptionError` if options would have no effect because the layer is made already."""
    if given:
        plain = {name: repr(v) if isinstance(v, bool | int | str) else name for name, v in given.items()}
        written = ", ".join(f"{name}={v}" for name, v in plain.items() if name != "out_channels")
        made = f"ek.nn.Linear(chain.spaces[0], {wide}, {narrow}, {written + ', ' if written else ''}rngs=rngs)"
        raise OptionError(
            "a layer has its options already",
            got=f"a layer and {', '.join(f'{name}=' for name in given)}",
            expected="a layer alone, or channels with options",
            step=f"pass {made}",
        )


@functools.lru_cache(maxsize=128)
def _plan(signature: Signature, channels: Widths, bias: bool) -> Plan:
    return plan(signature, channels, normalize="sum", bias=bias)


def penalty(model: nnx.Module) -> jax.Array:
    """Return the sum of the penalties of all `ek.relax.Linear` layers of a model, one number for each step.

    Args:
        model: a Flax module; its layers have chains of one length.

    Returns:
        float32 `[steps]`; a weighted sum of them is added to a loss.

    Raises:
        OptionError: if the model has no such layer, or their chains differ in length.

    Example:
        >>> from equikit import O, Trivial
        >>> from equikit.relax import chain
        >>> layer = Linear(chain("x -> x", x=[O(3), Trivial(3)]), 1, 1, rngs=nnx.Rngs(0))
        >>> penalty(layer).tolist()
        [0.0]
    """
    layers = [module for _, module in nnx.iter_modules(model) if isinstance(module, Linear)]
    step = "make layers with ek.relax.Linear, or a network of them with ek.relax.soften"
    _checks.some("relaxed layers", layers, got=type(model).__name__, step=step)
    steps = [layer.chain.steps for layer in layers]
    _checks.same(
        "the number of steps of the layers' chains", steps, [steps[0]] * len(steps), step="use chains of one length"
    )
    total: jax.Array = functools.reduce(jnp.add, (layer.penalty() for layer in layers))
    return total
