"""Every argument of every public class and function, and of every layer's call, is used or refused by our errors."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from helpers import STRANGE

import equikit as ek
from equikit import O, S, Z, nn

RNGS = object()
NORMAL, ZEROS = jax.nn.initializers.normal(1.0), jax.nn.initializers.zeros
STORED = {"dtype": None, "param_dtype": None, "precision": None, "kernel_init": NORMAL}
BASIS = {"basis": "bessel", "basis_size": 3, "hidden": (4,), "rngs": RNGS, "param_dtype": jnp.float32}
GATES = {"activation": jnp.tanh, "gate": jnp.tanh}
X, P = {"groups": {"x": O(3)}}, {"groups": {"p": S}}
HIDDEN = [{"x": 2}, {"": 2}, {"": 1}]

MADE: dict[Any, dict[str, Any]] = {
    nn.Linear: {
        **{"signature": "p p -> p", "channels": 2, "out_channels": 3, "rngs": RNGS, "use_bias": True, **P, **STORED},
        **{"normalize": "mean", "init_size": 1, "method": "auto", "remat": False, "chunk_size": None},
        "bias_init": ZEROS,
    },
    nn.Bilinear: {"inputs": {"x": 2}, "channels": 4, "outputs": {"": 1}, "rngs": RNGS, "use_bias": True, **X},
    nn.Multilinear: {
        **{"signature": "x, x x -> x", "channels": (4, 2), "out_channels": 8, "mode": "full", "rngs": RNGS, **X},
        **{"normalize": "mean", "init_size": 1, **STORED},
    },
    nn.Invariant: {"features": "p", "channels": 2, "out_channels": 3, "rngs": RNGS, **P},
    nn.Pool: {"features": "p", "how": "sum", **P},
    nn.Pointwise: {"function": jnp.tanh, "features": "p", **P},
    nn.Gated: {"features": {"x": 2}, **GATES, **X},
    nn.NormGated: {"features": {"x": 2}, "rngs": None, **GATES, **X},
    nn.RMSNorm: {"features": {"x": 2}, "epsilon": 1e-6, "param_dtype": jnp.float32, "rngs": None, **X},
    nn.LayerNorm: {"features": {"x": 2, "": 3}, "epsilon": 1e-6, "param_dtype": jnp.float32, "rngs": None, **X},
    nn.BatchNorm: {
        **{"features": {"x": 2, "": 3}, "momentum": 0.9, "epsilon": 1e-5, "use_running_average": False, **X},
        **{"param_dtype": None, "rngs": None},
    },
    nn.Dropout: {"features": {"x": 2}, "rate": 0.1, "drop": "values", "deterministic": False, "rngs": RNGS, **X},
    nn.Residual: {"layers": [nn.RMSNorm({"x": 2}, x=O(3))]},
    nn.Stack: {"make": lambda rngs: nn.RMSNorm({"x": 2}, x=O(3)), "depth": 2, "remat": False, "rngs": RNGS},
    nn.Radial: {"cutoff": 2.0, "channels": 2, **BASIS},
    nn.GeometricMessage: {
        **{"inputs": {"p": 2}, "outputs": {"p": 2}, "cutoff": 2.0, "powers": 1, "radial": 2, "neighbors": 1.0},
        **{"kernel_init": NORMAL, "groups": {"p": S, "x": O(3)}, **BASIS},
    },
    nn.ConstitutiveLaw: {
        **{"group": O(3), "axes": (), "degree": 1, "invariants": 1, "hidden": (4,), "hyperelastic": False},
        **{"stress_free": True, "scale": 1.0, "rngs": RNGS, "param_dtype": jnp.float32},
    },
    nn.Network: {
        **{"features": HIDDEN, "out_channels": None, "nonlinearity": "gated", "products": 2, "rngs": RNGS},
        **{"normalize_features": False, "residual": False, **GATES, **X},
    },
    nn.MLP: {"features": HIDDEN, "products": 2, "rngs": RNGS, **GATES, **X},
    nn.Attention: {
        **{"inputs": {"p": 2}, "outputs": {"p": 3}, "heads": 2, "context": {"t": 2}, "qkv_features": {"": 2}},
        **{"pairs": {"p t": 1}, "points": 1, "products": 1, "dropout_rate": 0.1, "deterministic": False},
        **{"block_size": 2, "rngs": RNGS, "groups": {"p": S, "t": S, "x": O(3)}},
    },
    nn.VectorNeurons: {
        **{"features": {"x": 2}, "vectors": 3, "channels": 2, "layers": 1, "rngs": RNGS, **X},
    },
    nn.GroupConvolution: {
        **{"channels": 1, "group": Z(2), "hidden": (2,), "kernel_size": 3, "vectors": False, "rngs": RNGS},
        **{"activation": jnp.tanh, "param_dtype": jnp.float32, "precision": None},
    },
    nn.MatrixNetwork: {"inputs": {"x": 2}, "label": "x", "hidden": [{"x": 2}], "scale": 1.0, "rngs": RNGS, **X},
    nn.MatrixMLP: {
        **{"entries": 6, "size": 3, "axes": 2, "hidden": (2,), "activation": jnp.tanh, "rngs": RNGS},
    },
    nn.DeepSets: {
        **{"in_channels": 2, "hidden": [3], "out_channels": 1, "out": "", "activation": jnp.tanh, "rngs": RNGS},
    },
    nn.GraphNetwork: {
        **{"edge_channels": 2, "hidden": [3], "out_channels": 1, "node_channels": 0, "out": "", "rngs": RNGS},
        "activation": jnp.tanh,
    },
}


def made(kind: Any, **changed: Any) -> Any:
    return kind(**{name: nnx.Rngs(0) if what is RNGS else what for name, what in (MADE[kind] | changed).items()})


def at_rest(kind: Any) -> Any:
    """A layer that does not change its variables, which a trace must not do."""
    layer = made(kind)
    layer.eval()
    return layer


def ones(*shape: int) -> jax.Array:
    return jnp.ones(shape)


LAYER, LAW = made(nn.Linear), made(nn.ConstitutiveLaw, hyperelastic=True, degree=None)
GATED, MULTILINEAR = made(nn.Gated), made(nn.Multilinear)
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Linear": (LAYER, {"x": ones(4, 4, 2), "mask": None, "sizes": None, "out_sharding": None}),
    "Bilinear": (made(nn.Bilinear), {"x": {"x": ones(3, 2)}, "mask": None}),
    "Multilinear": (
        lambda one, other, **options: MULTILINEAR(one, other, **options),
        {"one": ones(3, 4), "other": ones(3, 3, 2), "mask": None, "sizes": None},
    ),
    "Invariant": (made(nn.Invariant), {"x": ones(4, 2), "mask": None}),
    "Pool": (made(nn.Pool), {"x": ones(4, 2), "mask": None}),
    "Pointwise": (made(nn.Pointwise), {"x": ones(4, 2)}),
    "Gated": (GATED, {"x": {"x": ones(3, 2), "gate of x": ones(2)}}),
    "NormGated": (made(nn.NormGated), {"x": {"x": ones(3, 2)}}),
    "RMSNorm": (made(nn.RMSNorm), {"x": {"x": ones(3, 2)}}),
    "LayerNorm": (made(nn.LayerNorm), {"x": {"x": ones(3, 2), "": ones(3)}, "mask": None}),
    "BatchNorm": (at_rest(nn.BatchNorm), {"x": {"x": ones(5, 3, 2), "": ones(5, 3)}, "mask": None}),
    "Dropout": (at_rest(nn.Dropout), {"x": {"x": ones(3, 2)}, "mask": None}),
    "Residual": (made(nn.Residual), {"x": {"x": ones(3, 2)}, "mask": None}),
    "Stack": (made(nn.Stack), {"x": {"x": ones(3, 2)}, "mask": None}),
    "Radial": (made(nn.Radial), {"distance": ones(4)}),
    "GeometricMessage": (
        made(nn.GeometricMessage),
        {"features": {"p": ones(4, 2)}, "positions": ones(4, 3), "mask": None, "edges": None},
    ),
    "ConstitutiveLaw": (LAW, {"strain": ones(3, 3)}),
    "energy": (LAW.energy, {"strain": ones(3, 3)}),
    "invariants_of": (LAW.invariants_of, {"strain": ones(3, 3)}),
    "Network": (made(nn.Network), {"x": {"x": ones(3, 2)}, "mask": None}),
    "Attention": (
        at_rest(nn.Attention),
        {
            **{"x": {"p": ones(4, 2)}, "context": {"t": ones(5, 2)}, "pairs": {"p t": ones(4, 5, 1)}},
            **{"positions": ones(4, 3), "context_positions": ones(5, 3), "mask": None, "pair_mask": None},
            **{"deterministic": True, "support": None},
        },
    ),
    "VectorNeurons": (made(nn.VectorNeurons), {"x": {"x": ones(3, 2)}, "mask": None}),
    "GroupConvolution": (made(nn.GroupConvolution), {"images": ones(5, 5, 1)}),
    "MatrixNetwork": (made(nn.MatrixNetwork), {"x": {"x": ones(3, 2)}, "mask": None}),
    "MatrixMLP": (made(nn.MatrixMLP), {"x": ones(3, 2), "mask": None}),
    "DeepSets": (made(nn.DeepSets), {"x": ones(4, 2), "mask": None}),
    "GraphNetwork": (
        made(nn.GraphNetwork, node_channels=2),
        {"edges": ones(4, 4, 2), "nodes": ones(4, 2), "mask": None},
    ),
}
FUNCTIONS = {"describe": (nn.describe, {"model": LAYER})} | {
    "check_saved": (nn.check_saved, {"model": LAYER, "description": nn.describe(LAYER)})
}


def replaced(name: str, valid: Any) -> Iterator[Any]:
    """Every value in place of an argument, and of each entry of a list or dictionary."""
    for value in STRANGE:
        yield value
        if isinstance(valid, dict):
            yield from (valid | {key: value} for key in (*valid, "other"))
        if isinstance(valid, list | tuple):
            yield from ([value, *valid[1:]], (*valid, value))
        if name in ("mask", "sizes", "out_sharding"):
            yield {"p": value}


def refused(call: Any, valid: dict[str, Any]) -> int:
    """The number of values that are refused by our errors; any other error ends the test."""
    call(**valid)
    count = 0
    for name, usual in valid.items():
        for value in replaced(name, usual):
            try:
                call(**valid | {name: value})
            except ek.EquikitError:
                count += 1
            except Exception as error:
                raise AssertionError(f"{name}={value!r} is not refused") from error
    return count


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_constructors_use_or_refuse_any_argument(kind):
    assert refused(lambda **options: made(kind, **options), MADE[kind]) > 10


@pytest.mark.parametrize("name", CALLS)
def test_calls_use_or_refuse_any_argument(name):
    layer, valid = CALLS[name]
    # Traced, since compiling what is accepted would take most of the time.
    assert refused(lambda **arguments: jax.eval_shape(lambda: layer(**arguments)), valid) > 5


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_use_or_refuse_any_argument(name):
    assert refused(*FUNCTIONS[name]) > 10


def test_every_public_name_is_covered():
    assert {kind.__name__ for kind in MADE} | {*FUNCTIONS, "FORMAT"} == {*nn.__all__}


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: made(nn.GeometricMessage, groups=True), "groups= is not a dictionary"),
        (lambda: made(nn.GraphNetwork, node_channels=jnp.ones(3)), "node_channels= must be a whole number"),
        (lambda: made(nn.Linear, dtype=nnx.Rngs(0)), "dtype= must be a floating-point dtype"),
        (lambda: made(nn.ConstitutiveLaw, hidden=jax.random.key(0)), "hidden= must be a list of widths"),
        (lambda: made(nn.Radial, cutoff=jax.random.key(0)), "cutoff= must be a number > 0"),
        (lambda: made(nn.GeometricMessage, powers=10**30), "powers= is too high for maps"),
        (lambda: made(nn.Invariant, features=None), "the input features are not a dictionary"),
        (lambda: made(nn.NormGated, rngs=3), "rngs= must be nnx.Rngs"),
        (lambda: made(nn.RMSNorm, rngs=3), "rngs= must be nnx.Rngs"),
        (lambda: made(nn.Linear, channels=b"x"), "the number of input channels must be a whole number"),
        (lambda: made(nn.Linear, kernel_init=lambda key: key), "kernel_init= must be callable with 3 arguments"),
        (lambda: made(nn.Linear, kernel_init=lambda *_: jnp.ones(2)), "kernel_init= returns values that do not fit"),
        (lambda: made(nn.Gated, gate=lambda: 1.0), "gate= must be callable with 1 argument"),
        (lambda: made(nn.Multilinear, init_size=-1), "init_size= must be a whole number"),
    ],
)
def test_the_problem_is_named(make, problem):
    with pytest.raises(ek.EquikitError) as error:
        make()
    assert error.value.problem.startswith(problem)
