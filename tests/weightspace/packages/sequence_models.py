"""Recurrent models of the packages mamba2-jax, jaxrwkv and dm-haiku, and mixtures of experts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from package_models import Model, drawn, model, normal, of_linen, of_nnx, tokens


@model
def mamba2() -> Model:
    package = pytest.importorskip("mamba2_jax")
    sizes = {"vocab_size": 13, "hidden_size": 6, "state_size": 5, "head_dim": 4, "chunk_size": 4}
    given = package.Mamba2Config(**sizes, num_hidden_layers=2, tie_word_embeddings=False)
    module = package.Mamba2ForCausalLM(given, rngs=nnx.Rngs(0))
    return of_nnx(module, lambda module, x: module(x)["logits"], (tokens(4),), (tokens(10),))


@model
def rwkv4() -> Model:
    # The package declares torch, which it needs for stored weights alone: pip install --no-deps jaxrwkv.
    network = pytest.importorskip("jaxrwkv.rwkv4").ScanRWKV
    params, given = network.randomize_weights(jax.random.key(0), 2, 6, 13, None, jnp.float64)

    def apply(p, sequence):
        state, starts = network.default_state(p, given), jnp.zeros(len(sequence), bool)
        x = network.embed(p, given, sequence)
        x, _ = network.forward_seq(p, given, x, state, len(sequence), starts)
        return network.outhead(p, given, x)

    return Model(apply, drawn(params), (tokens(5)[0],), (tokens(12)[0],))


def of_haiku(name: str) -> Model:
    hk = pytest.importorskip("haiku")

    def forward(x):
        core = getattr(hk, name)(5)
        return hk.Linear(2)(hk.dynamic_unroll(core, x, core.initial_state(x.shape[1]))[0])

    network = hk.without_apply_rng(hk.transform(forward))
    x = normal(6, 2, 3)
    return Model(network.apply, drawn(network.init(jax.random.key(0), x)), (x,), (normal(11, 2, 3),))


@model
def lstm() -> Model:
    return of_haiku("LSTM")


@model
def gru() -> Model:
    return of_haiku("GRU")


@model
def mixture_language_model() -> Model:
    package = pytest.importorskip("nano_moe")
    sizes = {"vocab_size": 13, "n_layers": 2, "n_heads": 2, "d_model": 6, "d_ff": 10, "n_experts": 3, "block_size": 12}
    module = package.NanoMoE(package.NanoMoEConfig(**sizes))
    return of_linen(module, (tokens(5),), (tokens(12),))


@model
def mixture_layer() -> Model:
    mistral = pytest.importorskip("nanodl.__src.models.mistral")
    module = mistral.SparseMixtureOfExperts(num_hiddens=6, num_outputs=5, num_experts=4)
    return of_linen(module, (normal(2, 5, 3),), (normal(2, 12, 3),))


@model
def stacked_experts() -> Model:
    """No package has experts in one array and installs with the others; this is written by hand, after Mixtral."""

    def apply(p, x):
        h = x @ p["in"]
        values, chosen = jax.lax.top_k(h @ p["router"], 2)
        hidden = jnp.einsum("td,tkdf->tkf", h, p["up"][chosen])
        gates = jnp.einsum("td,tkdf->tkf", h, p["gate"][chosen])
        each = jnp.einsum("tkf,tkfd->tkd", jax.nn.silu(gates) * hidden, p["down"][chosen])
        return (h + jnp.einsum("tk,tkd->td", jax.nn.softmax(values), each)) @ p["out"]

    shapes = {"in": (3, 6), "router": (6, 4), "up": (4, 6, 8), "gate": (4, 6, 8), "down": (4, 8, 6), "out": (6, 2)}
    params = {name: normal(*shape, seed=seed) / 2 for seed, (name, shape) in enumerate(shapes.items())}
    return Model(apply, params, (normal(5, 3),), (normal(12, 3),))
