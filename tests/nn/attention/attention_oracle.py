"""Attention written from its formula in NumPy, one pair of points after another, for scalars and vectors."""

import numpy as np

VECTOR = "x"


def linear(layer, x):
    """A linear layer on scalars and vectors: one weight for each pair of channels, and a bias of scalars."""
    kernel = {name: np.asarray(param[...], np.float64)[0] for name, param in layer.kernel.items()}
    bias = {name: np.asarray(param[...], np.float64)[0] for name, param in layer.bias.items()}
    kinds = {term.name: term.labels for term in layer.signature.inputs}
    found = {}
    for term in layer.signature.outputs:
        same = [name for name, labels in kinds.items() if labels == term.labels]
        parts = [x[name] @ kernel[f"{name or '()'} -> {term.name or '()'}"] for name in same]
        found[term.name] = sum(parts) + bias.get(f"-> {term.name or '()'}", 0)
    return found


def attention(layer, x, context=None, metric=None, pairs=None, positions=None, seen=None, queries=None):
    """The outputs of one sample.

    Args:
        layer: an attention layer on terms `"p"` and `"p x"`, in this order of axes.
        x, context: features of one sample.
        metric: the diagonal of the metric of vectors.
        pairs: features of pairs `[n, m, channels]`.
        positions: `[n, dimension]`.
        seen: booleans `[n, m]`: which keys a query sees.
        queries: booleans `[n]`: which queries are present.
    """
    x = {name: np.asarray(array, np.float64) for name, array in x.items()}
    context = x if context is None else {name: np.asarray(array, np.float64) for name, array in context.items()}
    q, k, v = linear(layer.query, x), linear(layer.key, context), linear(layer.value, context)
    n, m, heads = len(next(iter(x.values()))), len(next(iter(context.values()))), layer.heads
    seen = np.ones((n, m), bool) if seen is None else seen
    queries = np.ones(n, bool) if queries is None else queries
    terms = sum(array[0].size for array in k.values()) // heads
    parts = 1 + (pairs is not None) + (positions is not None)
    if positions is not None:
        ends = linear(layer.points.key, context)
        points = {"q": linear(layer.points.query, x)["query"], "k": ends["key"], "v": ends["value"]}
        points = {name: positions[..., None] + array for name, array in points.items()}
        count = points["q"].shape[-1] // heads
    messages = {f"value {name}".rstrip(): np.zeros((n, *array.shape[1:])) for name, array in v.items()}
    if positions is not None:
        messages["points"] = np.zeros(points["v"].shape)
    for i in range(n):
        for h in range(heads):
            scores = np.full(m, -np.inf)
            for j in range(m):
                if not seen[i, j]:
                    continue
                total = 0.0
                for name in k:
                    own, other = head(q[name][i], h, heads), head(k[name][j], h, heads)
                    form = 1 if name != VECTOR or metric is None else np.asarray(metric)[:, None]
                    total += np.sum(own * form * other)
                scores[j] = total / np.sqrt(terms)
                if pairs is not None:
                    (kernel,) = layer.pair.kernel.values()
                    scores[j] += pairs[i, j] @ np.asarray(kernel[...], np.float64)[0, :, h]
                if positions is not None:
                    weight = np.log1p(np.exp(float(layer.points.weight[...][h])))
                    apart = head(points["q"][i], h, heads) - head(points["k"][j], h, heads)
                    scores[j] -= weight * np.sum(apart**2) / np.sqrt(8 * positions.shape[1] * count)
            if not seen[i].any():
                continue
            scores = scores / np.sqrt(parts)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            for name, array in v.items():
                put(messages[f"value {name}".rstrip()][i], h, heads, mean(weights, array, h, heads))
            if positions is not None:
                put(messages["points"][i], h, heads, mean(weights, points["v"], h, heads) - positions[i][:, None])
    found = linear(layer.out, messages)
    if layer.products is not None:
        other = products(layer.products, messages, x, metric)
        found = {name: (array + other[name]) * np.sqrt(0.5) for name, array in found.items()}
    keep = seen.any(1) & queries
    return {name: array * keep.reshape(-1, *[1] * (array.ndim - 1)) for name, array in found.items()}


def products(layer, messages, x, metric=None):
    """Channelwise products of scalars and vectors, mixed by a linear layer; a sum over axes is a mean."""
    left, right = linear(layer.left, messages), linear(layer.right, x)
    found = {}
    for map_, (one, other, result) in zip(layer.maps, layer.names, strict=True):
        first, second, weight = left[one], right[other], np.asarray(map_.kernel[...], np.float64)[0]
        if one == other == VECTOR:
            form = 1 if metric is None else np.asarray(metric)[:, None]
            value = np.mean(first * form * second, axis=1)
        elif VECTOR in (one, other):
            value = first * second[:, None] if one == VECTOR else first[:, None] * second
        else:
            value = first * second
        found.setdefault(result, []).append(value * weight)
    return linear(layer.mix, {name: np.concatenate(parts, -1) for name, parts in found.items()})


def head(array, h, heads):
    """The channels of one head."""
    width = array.shape[-1] // heads
    return array[..., h * width : (h + 1) * width]


def put(array, h, heads, value):
    width = array.shape[-1] // heads
    array[..., h * width : (h + 1) * width] = value


def mean(weights, array, h, heads):
    return np.einsum("j,j...->...", weights, head(array, h, heads))
