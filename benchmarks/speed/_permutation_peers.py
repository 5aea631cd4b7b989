"""Rivals of `permutation_layers` after published libraries: the layer of IGN with stacked outputs, and EMLP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.core.measurement import Skip
from benchmarks.speed._emlp_library import load_emlp
from benchmarks.speed._permutation_rivals import Layer, Shape
from equikit.diagrams import HalfDiagram


def _axes(half: HalfDiagram, blocks: Iterable[int]) -> str:
    return "".join(chr(ord("a") + block) for block in blocks)


def _reduced(x: jax.Array, half: HalfDiagram, done: dict[HalfDiagram, jax.Array]) -> jax.Array:
    """Return the tensor of an input half, reusing known tensors: a diagonal of the input, then one sum at a time."""
    if half not in done:
        closed = half.closed
        if closed:
            kept = HalfDiagram(half.labels, half.growth, tuple(sorted((*half.propagating, closed[-1]))))
            done[half] = _reduced(x, kept, done).sum(1 + kept.propagating.index(closed[-1]))
        else:
            done[half] = jnp.einsum(f"z{_axes(half, half.growth)}x->z{_axes(half, half.propagating)}x", x)
    return done[half]


def _expanded(core: jax.Array, half: HalfDiagram, wires: tuple[int, ...], shape: Shape) -> jax.Array:
    """The full output `[batch, *axes, channels]` of one diagram."""
    # Bottom wire j meets top wire wires[j]; an axis then moves to the first vertex of its block.
    core = core.transpose(0, *(1 + int(j) for j in np.argsort(wires)), core.ndim - 1)
    axes = [1] * shape.l
    for block in half.wires:
        axes[half.blocks[block][0]] = shape.n
    y = core.reshape(shape.batch, *axes, shape.channels)
    keep: Any = True
    for vertices in half.blocks:
        for again in vertices[1:]:
            grid = [shape.n if i in (vertices[0], again) else 1 for i in range(shape.l)]
            keep = keep & jnp.eye(shape.n, dtype=bool).reshape(1, *grid, 1)
    return jnp.broadcast_to(y if keep is True else jnp.where(keep, y, 0), shape.output)


def stacked(shape: Shape, weights: jax.Array) -> Layer:
    """The stacked layer: every diagram's full output side by side, then one product that mixes all channels.

    After Maron et al., "Invariant and Equivariant Graph Networks", and Zhou et al., "Universal Neural Functionals". As
    there, diagrams share their reductions.
    """
    diagrams = [(*diagram.halves,) for diagram in shape.diagrams]

    def apply(weights: jax.Array, x: jax.Array) -> jax.Array:
        done: dict[HalfDiagram, jax.Array] = {}
        outputs = [_expanded(_reduced(x, bottom, done), top, wires, shape) for top, bottom, wires in diagrams]
        everything = jnp.concatenate(outputs, axis=-1)
        return everything @ weights.reshape(-1, shape.channels)

    return Layer(apply, weights)


def emlp(shape: Shape, weights: jax.Array) -> Layer:
    """EMLP's linear layer: a full matrix of parameters, projected onto the equivariant ones in each call.

    The parameters are the matrix of the shared weights, which the projection does not change. The formula is from
    `emlp.nn`, without the bias.

    Raises:
        Skip: where EMLP is not installed, or gives up.
    """
    library = load_emlp()
    if library is None:
        raise Skip("emlp is not installed")
    np.random.seed(0)  # EMLP's solver starts from NumPy's global random state
    group, channels = getattr(library.groups, shape.GROUP)(shape.n), shape.channels
    source, target = (channels * library.reps.T(order)(group) for order in (shape.k, shape.l))
    try:
        projector = (source >> target).equivariant_projector()
        jax.block_until_ready(list(library.reps.Rep.solcache.values()))
    except Skip:
        raise
    except Exception as error:  # EMLP raises plain exceptions where a problem is too large for it
        raise Skip(f"EMLP: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
    basis = jnp.asarray(shape.space.matrices(shape.n), jnp.float32)
    whole = jnp.einsum("dij,dab->biaj", basis, weights).reshape(target.size(), source.size())

    def apply(w: jax.Array, x: jax.Array) -> jax.Array:
        return x @ (projector @ w.reshape(-1)).reshape(w.shape).T

    def last(array: jax.Array, order: int) -> jax.Array:
        return jnp.moveaxis(array.reshape(shape.batch, channels, *(shape.n,) * order), 1, -1)

    return Layer(
        apply,
        whole,
        None,
        lambda x: jnp.moveaxis(x, -1, 1).reshape(shape.batch, -1),
        lambda x: last(x, shape.k),
        lambda y: last(y, shape.l),
    )
