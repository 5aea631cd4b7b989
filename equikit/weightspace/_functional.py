"""Functions of the weights of other networks that commute with their symmetry."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from equikit._errors import OptionError, ShapeError, explain
from equikit.groups import Fixed, S
from equikit.groups._group import checked_size
from equikit.nn import Linear
from equikit.weightspace._leaves import checked_leaves
from equikit.weightspace._specification import Specification
from equikit.weightspace._tensors import join, split, tensors_of

FixedAxes = Literal["dense", "positions"]
"""What is done with axes that nothing permutes."""
RESULT = "result"
CODES = "positions of "


class Functional(nnx.Module):
    r"""A network on the parameters of other networks, equivariant or invariant to what permutes these.

    Parameters are split into tensors with one label an axis. A layer maps all of them to all: it is a `Linear` layer of
    the specification, so that its diagrams span every linear map that commutes with the group, and its plan shares what
    the maps have in common. Between layers there is a nonlinearity on every entry.

    Axes that nothing permutes, inputs, outputs and positions in space, are plain: with `"dense"` every index has
    weights of its own, as in NFN-HNP and DWSNets, and their number grows with the product of two such axes. With
    `"positions"` they are treated as if they were permuted, and a learned code of every position is one more input that
    breaks this symmetry, as in NFN-NP and UNF; the number of weights does not grow with their sizes.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers for each weight: of the input, of the hidden layers, of the output. One for the weights alone;
            more where every weight comes with a gradient, or a momentum.
        out: labels of the output, as `""` for invariants or `"h0"` for a feature of every neuron of a layer; by default
            a tree like the parameters.
        fixed: see above.
        codes: channels of the codes of positions.
        activation: after every hidden layer.
        residual: add the input of a hidden layer to its output, where channels agree.
        rngs: random keys for the parameters.
        **options: options of `Linear`, such as `normalize="sum"`, `dtype=` or `remat=True`.

    Raises:
        OptionError: if there are less than two numbers of channels, or an option is unknown.

    Cost: a reduction of every tensor for each set of its labels, and a product of matrices for each of these.

    Example:
        >>> from equikit.weightspace import Functional, trace
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["first"]) @ params["second"]
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(apply, params, jnp.ones((5, 3)))
        >>> functional = Functional(spec, [1, 16, 4], out="", rngs=nnx.Rngs(0))
        >>> functional(params).shape
        (4,)
        >>> moved = spec.act(spec.random_element(jax.random.key(0)), params)
        >>> bool(jnp.allclose(functional(moved), functional(params), atol=1e-5))
        True

    Source:
        Zhou, Finn and Harrison, Universal neural functionals, arXiv:2402.05232; Navon et al., Equivariant architectures
        for learning in deep weight spaces, arXiv:2301.12780; Zhou et al., Permutation equivariant neural functionals,
        arXiv:2302.14040.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int],
        out: str | None = None,
        *,
        fixed: FixedAxes = "dense",
        codes: int = 8,
        activation: Callable[[Any], Any] = jax.nn.relu,
        residual: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        widths = tuple(checked_size("channels", width) for width in channels)
        if len(widths) < 2 or 0 in widths:
            raise OptionError(
                explain(
                    "the channels are not those of an input and an output",
                    got=f"channels={list(channels)}",
                    expected="two numbers or more, all above zero",
                    step="write channels=[1, 16, 1]",
                )
            )
        if fixed not in ("dense", "positions"):
            raise OptionError(
                explain("no such fixed", got=repr(fixed), expected="'dense', 'positions'", step="write fixed='dense'")
            )
        self.spec, self.channels, self.out, self.fixed = spec, widths, out, fixed
        self.activation, self.residual = activation, bool(residual)
        tensors = [tensor for leaf in spec.leaves for tensor in tensors_of(leaf)]
        coded = [
            label for label, what in spec.bindings if fixed == "positions" and isinstance(what, Fixed) and what.size > 1
        ]
        groups = {label: S(spec.sizes[label]) if label in coded else what for label, what in spec.bindings}
        self.codes = nnx.Dict(
            {label: nnx.Param(jax.random.normal(rngs.params(), (spec.sizes[label], codes))) for label in coded}
        )

        def features(width: int) -> dict[str, tuple[str, int]]:
            return {tensor.name: (" ".join(tensor.labels), width) for tensor in tensors}

        sides: list[dict[str, tuple[str, int]]] = [features(width) for width in widths]
        if out is not None:
            sides[-1] = {RESULT: (out, widths[-1])}
        layers = []
        for number, (before, after) in enumerate(itertools.pairwise(sides)):
            more = {CODES + label: (label, codes) for label in coded} if number == 0 else {}
            used = {label for text, _ in [*before.values(), *after.values(), *more.values()] for label in text.split()}
            bound = {label: what for label, what in groups.items() if label in used}
            layers.append(Linear(before | more, after, groups=bound, rngs=rngs, **options))
        self.layers = nnx.List(layers)

    def __call__(self, params: Any) -> Any:
        """Apply the functional.

        Args:
            params: a tree of arrays `[*batch, *shape]`, the parameters of a network or of many, stacked; with more than
                one input channel `[*batch, *shape, channels]`.

        Returns:
            `[*batch, *axes, channels]` with the axes of `out`; or a tree like `params`, with the channels of the output
            as a last axis where there are more than one.

        Raises:
            ShapeError, DTypeError, OptionError: if the parameters are not those of the specification.
        """
        channels = self.channels[0]
        given = params if channels == 1 else jax.tree.map(lambda leaf: leaf[..., 0], params)
        named = checked_leaves(self.spec.leaves, given)
        leaves = jax.tree.leaves(params)
        arrays = {name: leaf[..., None] if channels == 1 else leaf for name, leaf in zip(named, leaves, strict=True)}
        batch = self._batch(arrays)
        x: dict[str, jax.Array] = split(self.spec.leaves, arrays)
        for label, code in self.codes.items():
            x[CODES + label] = jnp.broadcast_to(code[...], (*batch, *code[...].shape))
        for number, layer in enumerate(self.layers):
            y = layer(x)
            if number + 1 < len(self.layers):
                y = {name: self.activation(array) for name, array in y.items()}
                if self.residual and self.channels[number] == self.channels[number + 1]:
                    y = {name: array + x[name] for name, array in y.items()}
            x = y
        if self.out is not None:
            return x[RESULT]
        found = join(self.spec.leaves, x)
        results = [found[name] for name in named]
        if self.channels[-1] == 1:
            results = [array[..., 0] for array in results]
        return jax.tree.unflatten(jax.tree.structure(params), results)

    def _batch(self, arrays: dict[str, jax.Array]) -> tuple[int, ...]:
        found = {}
        for leaf in self.spec.leaves:
            array = arrays[leaf.name]
            found[leaf.name] = array.shape[: array.ndim - len(leaf.axes) - 1]
            widths = array.shape[-1], self.channels[0]
            first = next(iter(found))
            if widths[0] != widths[1] or found[leaf.name] != found[first]:
                raise ShapeError(
                    explain(
                        f"the parameter {leaf.name!r} does not fit the others",
                        got=f"shape {list(array.shape)}, batch axes {list(found[leaf.name])}",
                        expected=f"batch axes {list(found[first])}, as {first!r} has, and {widths[1]} channels",
                        step="stack the parameters of all networks: jax.tree.map(lambda *a: jnp.stack(a), *trees)",
                    )
                )
        return found[first]
