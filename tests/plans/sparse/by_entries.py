"""What a plan computes on a support, diagram by diagram on dense arrays, in NumPy."""

import functools

import networkx as nx
import numpy as np

from equikit.diagrams import Diagrams
from equikit.plans import Plan


@functools.cache
def atlas():
    """The 1,253 graphs of up to seven nodes, read once: `nx.graph_atlas` reads the file for each graph."""
    return nx.graph_atlas_g()


@functools.cache
def listed(diagrams):
    return tuple(diagrams)


def by_entries(plan: Plan, inputs, weights, sizes, present, label="p"):
    """Apply a plan to dense arrays of one graph, whose entries are present where a mask says so.

    Args:
        plan: the plan; without plain axes.
        inputs, weights: by name.
        sizes: the size of every label.
        present: for each number of axes of the label above one, booleans `[n, ..., n]`.
        label: the label.
    """
    signature = plan.signature
    present = {0: np.array(True), 1: np.ones(sizes[label], bool), **present}
    results = {}
    for s, target in enumerate(signature.outputs):
        out = np.zeros((*(sizes[own] for own in target.labels), plan.channels[1][s]))
        pairs = [(term.labels, inputs[term.name], f"{term.name or '()'} -> ") for term in signature.inputs]
        if plan.bias:
            pairs.append(((), np.ones(1), "-> "))
        for below, x, prefix in pairs:
            w = weights.get(prefix + (target.name or "()"))
            if w is not None:
                w = w[:, None, :] if prefix == "-> " else w
                diagrams = listed(Diagrams(target.labels, below, signature.between(target)))
                for diagram, matrix in zip(diagrams, w, strict=True):
                    out += _map(plan, diagram, target.labels, below, x, present, sizes, label) @ matrix
        results[target.name] = _masked(out, target.labels, present, label)
    return results


def _masked(x, labels, present, label):
    return np.where(mask_of_axes(labels, present, label)[..., None], x, 0.0)


def mask_of_axes(labels, present, label):
    order = labels.count(label)
    shape, axes = [1] * len(labels), [i for i, own in enumerate(labels) if own == label]
    for i, size in zip(axes, present[order].shape, strict=True):
        shape[i] = size
    return present[order].reshape(shape)  # axes of one label keep their order


def _map(plan, diagram, above, below, x, present, sizes, label):
    """Apply one diagram: sum, divide by the number of entries, and repeat."""
    letters = [""] * (len(above) + len(below))
    for letter, block in zip("abcdefghijklm", diagram.blocks, strict=False):
        for vertex in block:
            letters[vertex] = letter
    top, bottom = letters[: len(above)], letters[len(above) :]
    kept = sorted({*bottom} & {*top})
    total = np.einsum(f"{''.join(bottom)}Z->{''.join(kept)}Z", _masked(x, below, present, label))
    if plan.normalize == "mean":
        own = [letter for letter, name in zip(bottom, below, strict=True) if name == label]
        there = [letter for letter in kept if letter in own]
        count = np.einsum(f"{''.join(own)}->{''.join(there)}", present[len(own)].astype(float))
        count = count.reshape([*(count.shape[there.index(x)] if x in there else 1 for x in kept), 1])
        total = total / np.maximum(count, 1)
        others = {x: name for x, name in zip(bottom, below, strict=True) if name != label and x not in kept}
        for name in others.values():
            total = total / sizes[name]
    out = np.zeros((*(sizes[name] for name in above), total.shape[-1]))
    free = sorted({*top})
    size = {letter: sizes[name] for letter, name in zip(top, above, strict=True)}
    at = dict(zip(free, np.indices([size[letter] for letter in free]), strict=True))
    out[tuple(at[letter] for letter in top)] += total[tuple(at[letter] for letter in kept)]
    return out


def rows_of(x, labels, masks, label="p", order=None):
    """The rows of a dense array on a support: entries of its mask in row-major order, or in another order."""
    axes = [i for i, own in enumerate(labels) if own == label]
    x = np.moveaxis(x, axes, range(len(axes)))
    if len(axes) < 2:
        return x
    places = np.stack(np.nonzero(masks[len(axes)]))
    order = np.arange(places.shape[1]) if order is None else order
    return x[tuple(places[:, order])]


def padded_to(x, rows, fill=np.nan):
    """Add rows."""
    return np.concatenate([x, np.full((rows - len(x), *x.shape[1:]), fill)])


def dense_inputs(plan: Plan, sizes, seed=0):
    rng = np.random.default_rng(seed)
    return {
        term.name: rng.normal(size=(*(sizes[own] for own in term.labels), channels))
        for term, channels in zip(plan.signature.inputs, plan.channels[0], strict=True)
    }
