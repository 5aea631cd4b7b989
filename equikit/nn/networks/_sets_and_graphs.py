"""Networks for sets and graphs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import jax
from flax import nnx
from jaxtyping import Inexact

from equikit import _checks, _keywords
from equikit._array_checks import masks_of
from equikit._errors import OptionError, ShapeError
from equikit.groups import S
from equikit.nn._functions import Activation, relu
from equikit.nn._layer import Layer
from equikit.nn._linear import Linear
from equikit.nn._pooling import Invariant
from equikit.plans import Chained, Feature, Masks, activation_name
from equikit.supports import Support


class _Tower(Layer):
    """Equivariant layers on one signature with a pointwise nonlinearity after each, then a head."""

    shows_parts = True

    def __init__(
        self,
        inputs: Mapping[str, tuple[str, int]],
        labels: str,
        hidden: Sequence[int],
        out_channels: int,
        out: str,
        activation: Activation,
        rngs: nnx.Rngs,
        options: Mapping[str, Any],
    ) -> None:
        widths = _checks.widths("hidden", hidden, example="[64, 64]")
        if not widths:
            raise OptionError(
                "the network has no hidden layer",
                got="hidden=[]",
                expected="a list with the channels of one hidden layer or more",
                step="write hidden=[64, 64], or use ek.nn.Linear alone",
            )
        self.activation: Activation = _checks.function("activation", activation, example="jax.nn.gelu")
        if taken := sorted({"p", "groups"} & options.keys()):
            raise OptionError(
                f"{taken[0]!r} is settled by the network",
                got=f"{taken[0]}={options[taken[0]]!r}",
                expected="options of Linear other than the groups: they are p=S, for every n",
                step=f"leave {taken[0]} out, or build the network from ek.nn.Linear",
            )
        _keywords.refuse_unknown(type(self).__name__, options, _keywords.call_of(type(self), Linear).options)
        first = Linear(inputs, {labels: widths[0]}, p=S, rngs=rngs, **options)
        rest = [Linear({labels: a}, {labels: b}, p=S, rngs=rngs, **options) for a, b in itertools.pairwise(widths)]
        self.layers: nnx.List[Linear] = nnx.List([first, *rest])
        self.out = out
        self.labels = labels
        self.pool = Invariant(labels, widths[-1], widths[-1], p=S, rngs=rngs, **options) if out == "" else None
        last, groups = (out, {}) if out == "" else (labels, {"p": S})
        if out == "":  # scalars have no free label
            options = {name: value for name, value in options.items() if name != "init_size"}
        self.head = Linear({last: widths[-1]}, {out: out_channels}, groups=groups, rngs=rngs, **options)

    def _call_arguments(self) -> list[str]:
        first, hidden = self.layers[0].channels[0][0], [layer.channels[1][0] for layer in self.layers]
        return [str(first), str(hidden), str(self.head.channels[1][0])]

    def plans_and_weights(self) -> Chained:
        """Return the plans, weights and activations, for `equikit.plans.to_numpy` and `to_torch`."""
        name = activation_name(self.activation)
        hidden = [*self.layers, *([] if self.pool is None else [self.pool])]
        pairs = [*((layer, name) for layer in hidden), (self.head, None)]
        stages = tuple((replace(layer.plans_and_weights(), single=True), after) for layer, after in pairs)
        signature = self.layers[0].signature
        return Chained(signature, tuple(term.name for term in signature.inputs), stages)

    def _run(self, x: Mapping[str, jax.Array], mask: Masks | None, support: Support | None) -> jax.Array:
        y = x
        options: dict[str, Any] = {"mask": masks_of(self.layers[0].signature, mask), "support": support}
        for layer in self.layers:
            y = {self.labels: self.activation(layer(y, **options)[self.labels])}
        if self.pool is not None:
            y, options = {"": self.activation(self.pool(y, **options))}, {}
        result: jax.Array = self.head(y, **options)[self.out]
        return result


class DeepSets(_Tower):
    r"""Deep Sets: layers \(x_i \mapsto \sigma(A x_i + B\, \mathrm{mean}_j x_j + b)\), then a head.

    Args:
        in_channels: channels of each point.
        hidden: channels of the hidden layers.
        out_channels: channels of the result.
        out: `""` for one output vector per set, `"p"` for one per point.
        activation: an elementwise function.
        rngs: random keys for the parameters.
        **options: passed to every equivariant `Linear` layer.

    Raises:
        OptionError: if there is no hidden layer, or `out` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> net = DeepSets(3, [32, 32], 1, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((8, 10, 3))).shape
        (8, 1)

    Source:
        Zaheer et al., Deep Sets, arXiv:1703.06114.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: Sequence[int],
        out_channels: int,
        *,
        out: Literal["", "p"] = "",
        activation: Activation = relu,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        _checks.choice("out", out, ("", "p"))
        super().__init__({"p": ("p", in_channels)}, "p", hidden, out_channels, out, activation, rngs, options)

    def __call__(
        self,
        x: Inexact[jax.Array, "*batch n channels"],
        *,
        mask: Masks | None = None,
        support: Support | None = None,
    ) -> Feature:
        """Apply the network to sets.

        Args:
            x: `[*batch, n, channels]`.
            mask: `[*batch, n]` booleans: which points are present.
            support: a support with graph numbers, for many sets of any sizes in one array `[n, channels]`.

        Raises:
            ShapeError, DTypeError: if an array does not fit.
        """
        return self._run({"p": x}, mask, support)


class GraphNetwork(_Tower):
    """A 2-IGN: layers with all 15 maps between edge features, then an invariant, per-node or per-edge head.

    Args:
        edge_channels: channels of each pair of nodes; 1 for an adjacency matrix.
        hidden: channels of the hidden layers, which are edge features.
        out_channels: channels of the result.
        node_channels: channels of each node; 0 by default.
        out: `""` for one output vector per graph, `"p"` for one per node, `"p p"` for one per pair of nodes.
        activation: an elementwise function.
        rngs: random keys for the parameters.
        **options: passed to every equivariant `Linear` layer.

    Raises:
        OptionError: if there is no hidden layer, or `out` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> net = GraphNetwork(1, [16, 16], 1, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((8, 7, 7, 1)), mask=jnp.ones((8, 7), bool)).shape
        (8, 1)

    Source:
        Maron et al., Invariant and Equivariant Graph Networks, arXiv:1812.09902.
    """

    def __init__(
        self,
        edge_channels: int,
        hidden: Sequence[int],
        out_channels: int,
        *,
        node_channels: int = 0,
        out: Literal["", "p", "p p"] = "",
        activation: Activation = relu,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        _checks.choice("out", out, ("", "p", "p p"))
        inputs = {"edges": ("p p", edge_channels)}
        self.node_channels = _checks.count("node_channels", node_channels)
        if self.node_channels:
            inputs["nodes"] = ("p", node_channels)
        super().__init__(inputs, "p p", hidden, out_channels, out, activation, rngs, options)

    def __call__(
        self,
        edges: Inexact[jax.Array, "*batch n n edge_channels"] | Mapping[str, jax.Array],
        nodes: Inexact[jax.Array, "*batch n node_channels"] | None = None,
        *,
        mask: Masks | None = None,
        support: Support | None = None,
    ) -> Feature:
        """Apply the network to graphs.

        Args:
            edges: `[*batch, n, n, edge channels]`; or the features of `equikit.data`, `{"p p": edges, "p": nodes}`.
            nodes: `[*batch, n, node channels]`, if the network has node channels.
            mask: `[*batch, n]` booleans: which nodes are present; also as `{"p": mask}`.
            support: which edges are present, as for `Linear`; then edges are `[E, edge channels]`, and with graph
                numbers the result has a row for each graph.

        Raises:
            ShapeError, DTypeError: if nodes are missing, or an array does not fit.
        """
        if isinstance(edges, Mapping) and nodes is None:
            names = ["p p", "p"] if self.node_channels else ["p p"]
            step = 'pass {"p p": edges, "p": nodes}'
            if not self.node_channels:
                step = 'pass {"p p": edges}; for node features make the network with node_channels='
            features = _checks.same_names("the features", edges, names, step=step)
            edges, nodes = features["p p"], features.get("p")
        if (nodes is None) == bool(self.node_channels):
            raise ShapeError(
                "the network needs nodes" if nodes is None else "the network has no node channels",
                got="edges only" if nodes is None else "edges and nodes",
                expected="edges and nodes" if nodes is None else "edges only",
                step='write model(edges, nodes), or model({"p p": edges, "p": nodes})'
                if nodes is None
                else "write model(edges), or GraphNetwork(..., node_channels=...)",
            )
        x: dict[str, Any] = {"edges": edges} if nodes is None else {"edges": edges, "nodes": nodes}
        return self._run(x, mask, support)
