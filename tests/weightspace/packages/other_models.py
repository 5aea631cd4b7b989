"""Networks of graphs of jraphx, flows of flowjax, a neural ODE of diffrax and an actor with a critic of nnx-ppo."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from package_models import Model, model, normal, of_equinox, of_nnx


def graph(nodes: int, edges: int) -> tuple[jax.Array, jax.Array]:
    """Features of nodes `[nodes, 3]`, and the ends of edges `[2, edges]`."""
    ends = np.random.default_rng(nodes).integers(0, nodes, (2, edges))
    return normal(nodes, 3), jnp.asarray(ends)


@model
def gcn() -> Model:
    models = pytest.importorskip("jraphx.nn.models")
    module = models.GCN(3, 6, 3, 2, rngs=nnx.Rngs(0))
    return of_nnx(module, lambda module, *x: module(*x), graph(5, 7), graph(9, 20))


@model
def gat() -> Model:
    models = pytest.importorskip("jraphx.nn.models")
    module = models.GAT(3, 8, 2, 2, heads=2, rngs=nnx.Rngs(0))
    return of_nnx(module, lambda module, *x: module(*x), graph(5, 7), graph(9, 20))


def of_flowjax(name: str, dim: int, **options: int) -> Model:
    flows = pytest.importorskip("flowjax.flows")
    base = pytest.importorskip("flowjax.distributions").StandardNormal((dim,))
    module = getattr(flows, name)(jax.random.key(0), base_dist=base, flow_layers=3, **options)
    return of_equinox(module, lambda module, x: module.log_prob(x), (normal(4, dim),))


@model
def coupling_flow() -> Model:
    return of_flowjax("coupling_flow", 4, nn_width=6, nn_depth=2)


@model
def masked_autoregressive_flow() -> Model:
    return of_flowjax("masked_autoregressive_flow", 3, nn_width=8, nn_depth=1)


@model
def neural_ode() -> Model:
    diffrax = pytest.importorskip("diffrax")
    import equinox as eqx

    field = eqx.nn.MLP(3, 3, 8, 2, activation=jnp.tanh, key=jax.random.key(0))

    def call(module, start):
        term = diffrax.ODETerm(lambda time, y, _: jax.vmap(module)(y))
        return diffrax.diffeqsolve(term, diffrax.Tsit5(), 0.0, 1.0, 0.25, start).ys

    return of_equinox(field, call, (normal(4, 3),))


@model
def actor_critic() -> Model:
    factories = pytest.importorskip("nnx_ppo.networks.factories")
    options = {"activation": "tanh", "normalize_obs": False}
    module = factories.make_mlp_actor_critic(3, 2, [8, 7], [6], nnx.Rngs(0), **options)
    module.eval()

    def call(module, observations):
        output = module(module.initialize_state(len(observations)), observations).output
        return output.actions, output.loglikelihoods, output.value_estimates

    return of_nnx(module, call, (normal(4, 3),))
