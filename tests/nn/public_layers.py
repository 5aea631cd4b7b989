"""One small instance of every public layer and network, with inputs."""

import jax.numpy as jnp
from flax import nnx

import equikit as ek

RNGS = nnx.Rngs(0)

LAYERS = {
    "Linear": (
        ek.nn.Linear({"p p": 2, "p": 1}, {"p": 3, "": 1}, p=ek.S, rngs=RNGS),
        [{"p p": jnp.ones((2, 4, 4, 2)), "p": jnp.ones((2, 4, 1))}],
    ),
    "Bilinear": (ek.nn.Bilinear({"x": 2}, 3, {"": 1}, x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "Multilinear": (
        ek.nn.Multilinear("x, x -> x", (2, 1), 3, x=ek.SO(3), rngs=RNGS),
        [jnp.ones((2, 3, 2)), jnp.ones((2, 3, 1))],
    ),
    "Invariant": (ek.nn.Invariant("p p", 2, 3, p=ek.S, rngs=RNGS), [jnp.ones((2, 4, 4, 2))]),
    "Pointwise": (ek.nn.Pointwise(jnp.tanh, "p", p=ek.S), [jnp.ones((2, 4, 1))]),
    "Gated": (
        ek.nn.Gated({"x": 2}, x=ek.O(3)),
        [{"x": jnp.ones((2, 3, 2)), "gate of x": jnp.ones((2, 2))}],
    ),
    "NormGated": (ek.nn.NormGated({"x": 2}, x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "Pool": (ek.nn.Pool("p", p=ek.S), [jnp.ones((2, 4, 1))]),
    "RMSNorm": (ek.nn.RMSNorm({"x": 2}, x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "LayerNorm": (
        ek.nn.LayerNorm({"p": 3, "p x": 2}, p=ek.S, x=ek.O(3), rngs=RNGS),
        [{"p": jnp.ones((2, 4, 3)), "p x": jnp.ones((2, 4, 3, 2))}],
    ),
    "BatchNorm": (
        ek.nn.BatchNorm({"p": 3, "p x": 2}, use_running_average=True, p=ek.S, x=ek.O(3), rngs=RNGS),
        [{"p": jnp.ones((2, 4, 3)), "p x": jnp.ones((2, 4, 3, 2))}],
    ),
    "Dropout": (
        ek.nn.Dropout({"p x": 2}, 0.5, deterministic=True, p=ek.S, x=ek.O(3), rngs=nnx.Rngs(0)),
        [{"p x": jnp.ones((2, 4, 3, 2))}],
    ),
    "Residual": (
        ek.nn.Residual([ek.nn.RMSNorm({"p": 2}, p=ek.S), ek.nn.Linear("p -> p", 2, 2, p=ek.S, rngs=RNGS)]),
        [{"p": jnp.ones((2, 4, 2))}],
    ),
    "Stack": (
        ek.nn.Stack(lambda rngs: ek.nn.Linear("p -> p", 2, 2, p=ek.S, rngs=rngs), 3, rngs=RNGS),
        [jnp.ones((2, 4, 2))],
    ),
    "Radial": (ek.nn.Radial(2.0, 3, hidden=(4,), rngs=RNGS), [jnp.ones(5)]),
    "Network": (
        ek.nn.Network(
            [{"x": 2}, {"": 3, "x": 2}, {"": 3, "x": 2}, {"": 1}],
            normalize_features=True,
            residual=True,
            x=ek.O(3),
            rngs=RNGS,
        ),
        [{"x": jnp.ones((2, 3, 2))}],
    ),
    "MLP": (ek.nn.MLP([{"x": 2}, {"": 3, "x": 2}, {"": 1}], x=ek.O(3), rngs=RNGS), [{"x": jnp.ones((2, 3, 2))}]),
    "DeepSets": (ek.nn.DeepSets(2, [3, 3], 1, rngs=RNGS), [jnp.ones((2, 4, 2))]),
    "GraphNetwork": (
        ek.nn.GraphNetwork(1, [3], 1, node_channels=2, rngs=RNGS),
        [jnp.ones((2, 4, 4, 1)), jnp.ones((2, 4, 2))],
    ),
    "GeometricMessage": (
        ek.nn.GeometricMessage(
            {"p": 2}, {"p": 2, "p x": 1}, cutoff=2.0, powers=1, hidden=(), p=ek.S, x=ek.O(3), rngs=RNGS
        ),
        [{"p": jnp.ones((4, 2))}, jnp.ones((4, 3))],
    ),
    "Attention": (
        ek.nn.Attention({"p": 3, "p x": 1}, heads=2, products=1, p=ek.S, x=ek.O(3), rngs=RNGS),
        [{"p": jnp.ones((4, 3)), "p x": jnp.ones((4, 3, 1))}],
    ),
    "VectorNeurons": (
        ek.nn.VectorNeurons({"p x": 1, "p": 2}, 3, channels=2, layers=1, p=ek.S, x=ek.O(3), rngs=RNGS),
        [{"p x": jnp.ones((4, 3, 1)), "p": jnp.ones((4, 2))}],
    ),
    "GroupConvolution": (ek.nn.GroupConvolution(1, ek.Z(4), hidden=(2,), rngs=RNGS), [jnp.ones((2, 8, 8, 1))]),
    "MatrixMLP": (ek.nn.MatrixMLP(12, 3, axes=3, hidden=(2,), rngs=RNGS), [jnp.ones((4, 3, 1))]),
    "MatrixNetwork": (
        ek.nn.MatrixNetwork({"p x": 1}, "x", hidden=[{"": 2, "x": 2}], p=ek.S, x=ek.O(3), rngs=RNGS),
        [jnp.ones((4, 3, 1))],
    ),
    "ConstitutiveLaw": (ek.nn.ConstitutiveLaw(degree=1, invariants=1, hidden=(), rngs=RNGS), [jnp.ones((2, 3, 3))]),
    "ConstitutiveLaw-hyperelastic": (
        ek.nn.ConstitutiveLaw(hyperelastic=True, invariants=1, hidden=(), rngs=RNGS),
        [jnp.ones((2, 3, 3))],
    ),
}
