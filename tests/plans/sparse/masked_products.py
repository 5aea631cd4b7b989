"""What a multilinear map computes on a support: dense maps of masked arrays, and means diagram by diagram in NumPy."""

import functools
import itertools

import numpy as np
from by_entries import mask_of_axes, rows_of

import equikit as ek
from equikit.plans import multilinear_weight_shape

SIZES = {"x": 2}


@functools.cache
def space_of(text: str):
    groups = {"p": ek.S} | ({"x": ek.O(2)} if "x" in text.replace("(", " ").replace(",", " ").split() else {})
    return ek.hom(text, groups=groups)


def prepared(text: str, n: int, mode: str = "full", seed: int = 0):
    """Return a space, dense inputs and weights."""
    space, rng = space_of(text), np.random.default_rng(seed)
    terms = space.signature.inputs
    channels = [1 + i % 2 for i in range(len(terms))] if mode == "full" else [2] * len(terms)
    sizes = {"p": n, **SIZES}
    inputs = [rng.normal(size=(*(sizes[own] for own in t.labels), c)) for t, c in zip(terms, channels, strict=True)]
    return space, inputs, rng.normal(size=multilinear_weight_shape(space, channels, 2, mode=mode))


def masked(x, labels, masks):
    return np.where(mask_of_axes(labels, masks, "p")[..., None], x, 0.0)


def all_masks(mask):
    """Return which tuples of each length are present: nodes, pairs, and triples that are linked in pairs."""
    linked = mask | mask.T
    triples = linked[:, :, None] & linked[:, None, :] & linked[None, :, :]
    return {0: np.array(True), 1: np.ones(len(mask), bool), 2: mask, 3: triples}


def stored(x, labels, masks):
    return rows_of(x, labels, masks)


def by_tuples(space, inputs, weights, masks, n, normalize="mean"):
    """Apply all maps of a space without symmetric parts to arrays, tuple by tuple; means of what is present."""
    out = space.signature.outputs[0].labels
    size = {"p": n, **SIZES}
    result = np.zeros((*(size[own] for own in out), weights.shape[-1]))
    there = [masked(np.ones_like(x[..., :1]), t.labels, masks) for x, t in zip(inputs, space.inputs, strict=True)]
    inputs = [masked(x, t.labels, masks) for x, t in zip(inputs, space.inputs, strict=True)]
    for total, w in zip(space.basis, weights, strict=True):
        ((diagram, factor),) = total.terms
        letters = [""] * len(diagram.labels)
        for letter, block in zip("abcdefghij", diagram.blocks, strict=False):
            for vertex in block:
                letters[vertex] = letter
        rows = ["".join(letters[a:b]) for a, b in itertools.pairwise(space.starts)]
        (top, *below), names = rows, dict(zip(letters, diagram.labels, strict=True))
        kept = "".join(sorted({*top} & {*"".join(below)}))
        wide = "XYZ"[: len(below)]
        formula = ",".join(own + c for own, c in zip(below, wide, strict=True))
        value = factor * np.einsum(f"{formula},{wide}o->{kept}o", *inputs, w)
        if normalize == "mean":
            nodes = "".join(letter for letter in kept if names[letter] == "p")
            ones = [x[..., 0] for x in there]
            # Axes of other labels are counted once, and divided by their sizes.
            alone = [
                x[tuple(slice(None) if names[a] == "p" else 0 for a in own)] for x, own in zip(ones, below, strict=True)
            ]
            own = ["".join(a for a in row if names[a] == "p") for row in below]
            count = np.einsum(f"{','.join(own)}->{nodes}", *alone)
            count = count.reshape([count.shape[nodes.index(a)] if a in nodes else 1 for a in kept])
            value = value / np.maximum(count, 1)[..., None]
            for letter in {*"".join(below)} - {*kept}:
                value = value if names[letter] == "p" else value / size[names[letter]]
        for index in itertools.product(*(range(size[names[a]]) for a in sorted({*top}))):
            at = dict(zip(sorted({*top}), index, strict=True))
            result[tuple(at[a] for a in top)] += value[tuple(at[a] for a in kept)]
    return masked(result, out, masks)
