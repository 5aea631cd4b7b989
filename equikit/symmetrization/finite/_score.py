"""Scores of copies of an input: an encoder's energy, or the similarity of its vector to a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._masks import masked
from equikit.nn.initializers import unit_normal
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array
from equikit.symmetrization.engine.backbones._modules import held_network, mask_keyword


class Score(nnx.Module):
    r"""The score of inputs, large for canonical ones: minus an energy, or \(\cos(v, r)\) of a vector v.

    Args:
        encoder: a function from the backbone's inputs to energies `[inputs]`, or to vectors `[inputs, features]`.
        features: the size of the vectors; `None` for energies.
        rngs: random keys for the reference vector r, with `features`.

    Attributes:
        reference: the learned vector r, `[features]`.
    """

    def __init__(self, encoder: Any, features: int | None, rngs: nnx.Rngs | None) -> None:
        self.encoder = held_network(encoder, step="pass what you would call with an array")
        self.features = None if features is None else _checks.count("features", features, example=16)
        if self.features is None:
            _checks.together(features=features, rngs=rngs)
        self.reference = None if self.features is None else nnx.Param(_reference(self.features, rngs))

    def __call__(
        self, action: Action, x: Mapping[str, Array], masks: Mapping[str, Array], lead: tuple[int, ...]
    ) -> tuple[Array, Array | None]:
        """Return scores and vectors, `[*lead]` and `[*lead, features]`, of inputs `[*lead, *axes, channels]`."""
        count, width = math.prod(lead), self.features or 0
        flat = {name: array.reshape(count, *array.shape[len(lead) :]) for name, array in x.items()}
        seen = {label: mask.reshape(count, mask.shape[-1]) for label, mask in masks.items()}
        keywords = mask_keyword("the encoder", self.encoder, seen)
        found = self.encoder(flat if len(action.inputs) > 1 else next(iter(flat.values())), **keywords)
        if self.reference is None:
            step = "return one number for each input, or pass features= for vectors"
            return -_checks.array("the energy of the encoder", found, (count,), step=step).reshape(lead), None
        step = f"return a vector of {width} numbers for each input, or correct features="
        vectors = _checks.array("what the encoder returns", found, (count, width), step=step).reshape(*lead, width)
        return jnp.sum(unit(vectors) * unit(self.reference[...]), axis=-1), vectors


def _reference(features: int, rngs: nnx.Rngs | None) -> Array:
    return unit_normal(_checks.rngs(rngs).params(), (features,), jnp.result_type(float))


def unit(vectors: Array) -> Array:
    """Normalize vectors, in float32 or wider; zero vectors stay zero, with derivative zero."""
    vectors = vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))
    squared = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
    safe = squared > 0
    return jnp.where(safe, vectors / jnp.sqrt(jnp.where(safe, squared, 1)), 0)


def without_absent(action: Action, x: Mapping[str, Array], masks: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs with zeros in absent entries."""
    return {
        term.name: masked(x[term.name], term.labels, masks, len(action.batch(term, x[term.name])))
        for term in action.inputs
    }
