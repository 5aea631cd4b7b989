"""Base class of networks on parameter graphs: an encoder, a stack of layers, and an output head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from equikit import _checks
from equikit._errors import OptionError, ShapeError
from equikit.nn import Activation, checked_dtypes, silu
from equikit.weightspace.asymmetric import Ensemble
from equikit.weightspace.graphs._graph import ParameterGraph, checked_graph
from equikit.weightspace.graphs._joining import JoinedGraphs
from equikit.weightspace.graphs._probes import Probes
from equikit.weightspace.graphs._traits import EDGES, NODES
from equikit.weightspace.graphs._values import Features
from equikit.weightspace.graphs.layers._any import AnyArchitecture, AnyEncoder, AnyParameterHead
from equikit.weightspace.graphs.layers._dense import Options, State
from equikit.weightspace.graphs.layers._encoder import Encoder, InvariantHead, NodeHead, ParameterHead
from equikit.weightspace.graphs.layers._topology import of_one, of_several


class Metanetwork(nnx.Module):
    """A network on parameter graphs; subclasses define the layers.

    `nnx.tabulate` wraps all methods of modules. It reads one argument, or named ones, and results are trees of arrays.
    """

    on_arcs = False
    """Whether layers act on edges in both directions and self-loops."""

    def __init__(
        self,
        graph: ParameterGraph | AnyArchitecture,
        channels: Sequence[int],
        out: str | None = None,
        *,
        use_global: bool = True,
        activation: Activation = silu,
        probes: Probes | None = None,
        members: int = 1,
        remat: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        _check(graph, out, probes)
        widths = _checks.widths("channels", channels, fewest=3, example="[1, 16, 16, 1]")
        _checks.function("activation", activation, example="jnp.tanh")
        computed, stored = checked_dtypes(dtype, param_dtype)
        options = Options(_checks.rngs(rngs), activation, computed, stored, _checks.flag("use_global", use_global))
        self.graph, self.channels, self.out, self.remat = graph, widths, out, _checks.flag("remat", remat)
        self.members = _checked_members(members, out)
        hidden = widths[1:-1]
        self.encoder: Encoder | AnyEncoder
        if isinstance(graph, AnyArchitecture):
            self.encoder, pools = AnyEncoder(widths[0], hidden[0], options), (len(NODES), len(EDGES))
        else:
            self.encoder = Encoder(graph, widths[0], hidden[0], probes, options)
            pools = len(graph.node_layers), len(graph.edge_kinds)
        self.prepare(hidden[0], options)
        self.layers = nnx.List([self.make_layer(width, options) for width in hidden])
        # Layers of equal width are connected by the identity.
        self.resized = nnx.List([Resize(*pair, options) for pair in itertools.pairwise(hidden)])
        self.node_norm, self.edge_norm = options.norm(hidden[-1]), options.norm(hidden[-1])
        self.whole_norm = options.norm(hidden[-1]) if use_global else None

        def made(rngs: nnx.Rngs) -> InvariantHead | NodeHead | ParameterHead | AnyParameterHead:
            own = options._replace(rngs=rngs)
            if out == "":
                return InvariantHead(*pools, hidden[-1], widths[-1], own)
            if isinstance(graph, AnyArchitecture):
                return AnyParameterHead(hidden[-1], widths[-1], own)
            if out is None:
                return ParameterHead(graph, hidden[-1], widths[-1], own)
            return NodeHead(graph, out, hidden[-1], widths[-1], own)

        self.head = made(rngs) if self.members == 1 else Ensemble(made, self.members, rngs=rngs)

    def prepare(self, width: int, options: Options) -> None:
        """Create additional submodules of a subclass."""

    def make_layer(self, width: int, options: Options) -> Any:
        """Return a layer."""
        raise NotImplementedError

    def begin(self, state: State) -> State:
        """Convert the state before the first layer."""
        return state

    def end(self, state: State) -> State:
        """Convert the state after the last layer."""
        return state

    def __call__(self, params: Any) -> Any:
        """Apply the network.

        Args:
            params: a tree of arrays `[*batch, *shape]`, the parameters of one network or of stacked networks; with more
                than one input channel `[*batch, *shape, channels]`. Networks on `AnyArchitecture()` take joined graphs.

        Returns:
            `[*batch, channels]` for `out=""`, `[*batch, n, channels]` for a node layer; otherwise a tree like `params`,
            with a last axis of output channels if there is more than one, and a first axis of members. On joined
            graphs, `[graphs, channels]`, or a list of trees.

        Raises:
            ShapeError, DTypeError, OptionError: if the parameters do not match the graph.
        """
        _check_input(self.graph, params, self.channels[0])
        topology = of_several(params) if isinstance(self.graph, AnyArchitecture) else of_one(self.graph)
        used = topology.arcs() if self.on_arcs else topology
        state = self.begin(self.encoder(params))

        def apply(layer: Any, state: State) -> State:
            found: State = layer(state=state, topology=used)
            return found

        run = nnx.remat(apply) if self.remat else apply
        for number, layer in enumerate(self.layers):
            state = run(layer, state if number == 0 else self.resized[number - 1](state))
        nodes, edges, whole = self.end(state)
        if whole is not None and self.whole_norm is not None:
            whole = self.whole_norm(whole)
        state = State(self.node_norm(nodes), self.edge_norm(edges), whole)
        several = isinstance(self.head, Ensemble) and self.out is None
        head = self.head.each if isinstance(self.head, Ensemble) and several else self.head
        result = head(state=state, topology=topology)
        if not isinstance(result, Features):
            return result
        if isinstance(self.graph, AnyArchitecture):
            return jax.vmap(params.parameters)(result) if several else params.parameters(result)
        return self.graph.parameters(result, params)


class Resize(nnx.Module):
    """A linear map between two widths; the identity if they agree."""

    def __init__(self, before: int, after: int, options: Options) -> None:
        same = before == after
        self.nodes = None if same else options.linear(before, after)
        self.edges = None if same else options.linear(before, after)
        self.whole = None if same or not options.use_global else options.linear(before, after)

    def __call__(self, state: State) -> State:
        """Apply the map."""
        if self.nodes is None or self.edges is None:
            return state
        whole = state.whole if state.whole is None or self.whole is None else self.whole(state.whole)
        return State(self.nodes(state.nodes), self.edges(state.edges), whole)


def _checked_members(members: Any, out: str | None) -> int:
    """Return the number of heads, or raise `OptionError` if their mean would be one linear map."""
    count = _checks.count("members", members, least=1, example=4)
    if count > 1 and out:
        raise OptionError(
            "members= would average linear maps of the nodes, which is one linear map",
            got=f"out={out!r}, members={count}",
            expected='members= for invariants or for parameters, out="" or without out=',
            step="write members=1",
        )
    return count


def _check(graph: Any, out: Any, probes: Any) -> None:
    if isinstance(graph, AnyArchitecture):
        _checks.choice("out", out, ("", None))
        if probes is not None:
            raise OptionError(
                "probes= does not apply to AnyArchitecture(): each architecture has inputs of its own",
                got=_checks.shown(probes, 60),
                expected="no probes",
                step="leave probes out",
            )
        return
    checked_graph(graph, "AnyArchitecture()" if graph is AnyArchitecture else "ParameterGraph(spec)")
    _checks.choice("out", out, ("", *graph.node_layers, None))
    if probes is not None:
        made = "Probes(graph, apply, x)"
        _checks.same(
            "graph of probes=",
            _checks.instance("probes", probes, Probes, made).graph,
            graph,
            step=f"write probes={made}",
        )


def _check_input(graph: ParameterGraph | AnyArchitecture, given: Any, channels: int) -> None:
    """Raise an error for parameters in place of a batch or the reverse, or a batch with other channels."""
    if isinstance(graph, AnyArchitecture):
        batch = _checks.instance("params", given, JoinedGraphs, "join_graphs([(graph, params)])")
        found = batch.nodes.values.shape[-1]
        if found != channels:
            raise ShapeError(
                "the joined graphs do not have the input channels of the network",
                got=f"channels={found}",
                expected=f"channels={channels}",
                step=f"write join_graphs(pairs, channels={channels}), with arrays [*shape, channels] if there are more",
            )
    elif isinstance(given, JoinedGraphs):
        raise OptionError(
            "a network on one graph takes parameters, not joined graphs",
            got=_checks.shown(given, 60),
            expected="parameters, or a network on AnyArchitecture()",
            step='write MessagePassing(AnyArchitecture(), [1, 16, 16, 1], out="", rngs=nnx.Rngs(0))',
        )
