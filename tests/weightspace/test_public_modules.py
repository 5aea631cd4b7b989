"""What every public module of weight spaces does alike: tables of `nnx.tabulate`, checks of options."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from helpers import assert_compiles, assert_tabulates, foreign_errors

from equikit import weightspace as ws

RNGS = nnx.Rngs(0)
KEY = jax.random.key(0)
PARAMS = {"a": jnp.ones((3, 4)), "bias": jnp.ones(4), "b": jnp.ones((4, 2))}
ZOO = jax.tree.map(lambda array: jnp.stack([array, 2 * array]), PARAMS)
INPUT = jnp.ones((5, 3))
ROWS = jnp.ones((5, 4))


def apply(params, x):
    return jax.nn.relu(x @ params["a"] + params["bias"]) @ params["b"]


def expert(rngs):
    return nnx.Linear(4, 2, rngs=rngs)


SPEC = ws.trace(apply, PARAMS, INPUT)
GRAPH = ws.ParameterGraph(SPEC)
TRACED = ws.graph(apply, PARAMS, INPUT)
ARCHITECTURE = {"fixed": 1, "key": KEY, "rngs": RNGS}

CALLS = {
    "Functional": (
        ws.Functional,
        (SPEC, [1, 2, 2, 3]),
        {
            "fixed": "positions",
            "normalization": "rms",
            "residual": True,
            "head": [2],
            "statistics": ZOO,
            "rngs": RNGS,
        },
    ),
    "UNF": (ws.UNF, (SPEC, [1, 2, 1]), {"rngs": RNGS}),
    "NFN": (ws.NFN, (SPEC, [1, 2, 1]), {"rngs": RNGS}),
    "DWSNet": (ws.DWSNet, (SPEC, [1, 2, 1], ""), {"rngs": RNGS}),
    "Standardize": (ws.Standardize, (SPEC, ZOO), {}),
    "MessagePassing": (
        ws.MessagePassing,
        (GRAPH, [1, 2, 3, 1]),
        {"probes": ws.Probes(GRAPH, apply, INPUT[None]), "rngs": RNGS},
    ),
    "MessagePassing-neurons": (ws.MessagePassing, (GRAPH, [1, 2, 1], "h0"), {"use_global": False, "rngs": RNGS}),
    "MessagePassing-invariant": (ws.MessagePassing, (GRAPH, [1, 2, 1], ""), {"rngs": RNGS}),
    "RelationalTransformer": (ws.RelationalTransformer, (GRAPH, [1, 4, 1]), {"heads": 2, "rngs": RNGS}),
    "CanonicalScaling": (
        ws.CanonicalScaling,
        (SPEC, ws.Functional(SPEC, [1, 2, 1], rngs=RNGS)),
        {"scalings": SPEC.scalings, "on_tie": "keep"},
    ),
    "ScaleEquivariant": (
        ws.ScaleEquivariant,
        (SPEC, [1, 2, 2, 1]),
        {"scalings": SPEC.scalings, "statistics": ZOO, "rngs": RNGS},
    ),
    "canonical_form": (ws.canonical_form, (SPEC, PARAMS), {"scalings": SPEC.scalings}),
    "MessagePassing-any": (ws.MessagePassing, (ws.AnyArchitecture(), [1, 2, 1], ""), {"remat": True, "rngs": RNGS}),
    "join_graphs": (ws.join_graphs, ([(TRACED, PARAMS)],), {"channels": 1, "nodes": 16, "edges": 32}),
    "Probes": (ws.Probes, (GRAPH, apply, INPUT[None]), {}),
    "AsymmetricLinear": (ws.AsymmetricLinear, (4, 3), ARCHITECTURE),
    "AsymmetricMLP": (ws.AsymmetricMLP, ([4, 3, 2],), ARCHITECTURE),
    "AsymmetricMLP-gates": (ws.AsymmetricMLP, ([4, 3, 2],), {"how": "gates", "key": KEY, "rngs": RNGS}),
    "FiGLU": (ws.FiGLU, (4,), {"key": KEY}),
    "Ensemble": (ws.Ensemble, (expert, 2), {"rngs": RNGS}),
    "MixtureOfExperts": (ws.MixtureOfExperts, (expert, 2, expert(RNGS)), {"rngs": RNGS}),
    "InterpolatedExperts": (ws.InterpolatedExperts, (expert, 2, expert(RNGS)), {"rngs": RNGS}),
    "LearnedOptimizer": (ws.LearnedOptimizer, (SPEC, [2]), {"rngs": RNGS}),
    "ParameterGraph": (ws.ParameterGraph, (SPEC,), {}),
    "fixed_weights": (ws.fixed_weights, (PARAMS, 1), {"key": KEY}),
    "align": (ws.align, (SPEC, PARAMS, PARAMS), {}),
    "merge": (ws.merge, (SPEC, [PARAMS, PARAMS]), {"rounds": 1}),
    "batch_action": (
        ws.batch_action,
        (PARAMS["a"], PARAMS["b"], INPUT, jnp.eye(4)),
        {"activation": jnp.tanh, "allow_inexact": True},
    ),
    "teleport": (ws.teleport, (SPEC, optax.sgd(0.1)), {"every": 1}),
}
OF_ROWS = {"AsymmetricLinear", "AsymmetricMLP", "FiGLU", "Ensemble", "MixtureOfExperts", "InterpolatedExperts"}
NOT_CALLED = {ws.LearnedOptimizer, ws.ParameterGraph}
CALLED = [name for name, (call, *_) in CALLS.items() if isinstance(call, type) and call not in NOT_CALLED]


def test_every_public_module_is_tried():
    kinds = [kind for name in ws.__all__ if isinstance(kind := getattr(ws, name), type)]
    assert {kind for kind in kinds if issubclass(kind, nnx.Module)} <= {call for call, *_ in CALLS.values()}


def module_and_input(name):
    call, arguments, keywords = CALLS[name]
    of_any = isinstance(arguments[0], ws.AnyArchitecture)
    given = ws.join_graphs([(TRACED, PARAMS)]) if of_any else PARAMS
    return call(*arguments, **keywords), ROWS if call.__name__ in OF_ROWS else given


@pytest.mark.parametrize("name", CALLED)
def test_tabulate_shows_a_module_and_leaves_nnx_working(name):
    assert_tabulates(*module_and_input(name))


@pytest.mark.parametrize("name", CALLED)
def test_xla_computes_what_numpy_evaluates(name):
    assert_compiles(*module_and_input(name))


@pytest.mark.parametrize("name", CALLS)
def test_strange_arguments_raise_errors_of_equikit_alone(name):
    assert foreign_errors(*CALLS[name]) == []
