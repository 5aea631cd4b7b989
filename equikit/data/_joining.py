"""Examples of different sizes in one array, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from equikit import _checks
from equikit._errors import OptionError, ShapeError
from equikit._neighbors import Neighbors, sufficient
from equikit.data._padding import Example, arrays_of, labels_of, sizes_of

Sizes = int | Sequence[int] | None
"""A number of rows after padding, or several, from which the smallest sufficient one is chosen."""


class Joined(NamedTuple):
    """Examples in one array, one after another, followed by padding.

    Attributes:
        features: by name, `[nodes, *axes, channels]`, or `[graphs, *axes, channels]` for features without nodes.
        graph_of: int32 `[nodes]`, the number of the example of each node; the number of graphs for padded nodes.
        mask: booleans `[nodes]`, which nodes are present.
        edges: the neighbor lists as one, or `None`.
    """

    features: dict[str, np.ndarray]
    graph_of: np.ndarray
    mask: np.ndarray
    edges: Neighbors | None


def join(
    examples: Sequence[Example],
    *,
    neighbors: Sequence[Neighbors] | None = None,
    label: str = "p",
    terms: Mapping[str, str] | None = None,
    nodes: Sizes = None,
    edges: Sizes = None,
    graphs: Sizes = None,
) -> Joined:
    """Concatenate examples of different sizes, for layers that take edges.

    Unlike `pad`, which gives every example the size of the largest one, all examples share one padding. Give several
    sizes for `nodes` and `edges`, such as powers of two, so that few programs are compiled.

    Args:
        examples: features by name: `[n, *axes, channels]` with the label of the nodes first, or `[*axes, channels]`
            without it.
        neighbors: the neighbor list of each example.
        label: the label of the nodes.
        terms: the labels of features whose name is not the term itself, as for `pad`.
        nodes, edges, graphs: the number of rows after padding, or several, from which the smallest sufficient one is
            chosen; by default there is no padding. If nodes are padded, `ek.nn.GeometricMessage` needs the mask.

    Returns:
        The features, the number of the example of each node, the mask, and the edges. For the sum over each example,
        use `jax.ops.segment_sum(values, graph_of, graphs)`, which drops padded nodes.

    Raises:
        OptionError: if examples are not a list or there is none, features are missing or differ, a feature has pairs of
            nodes, `terms` has another name, a number is too small, or lists are missing or do not belong to the
            examples.
        ShapeError: if examples differ in channels or in the size of another axis.
        DTypeError: if a feature does not hold numbers or is a masked array.

    Cost: one copy.

    Example:
        >>> pair, triple = ({"p": np.ones((n, 4)), "p x": np.ones((n, 3, 1)), "": np.ones(1)} for n in (2, 3))
        >>> lists = [Neighbors.of([0, 1], [1, 0], n=n) for n in (2, 3)]
        >>> joined = join([pair, triple], neighbors=lists, nodes=(4, 8), edges=8, graphs=2)
        >>> {name: x.shape for name, x in joined.features.items()}
        {'p': (8, 4), 'p x': (8, 3, 1), '': (2, 1)}
        >>> joined.graph_of.tolist()
        [0, 0, 1, 1, 1, 2, 2, 2]
        >>> joined.edges.receivers.tolist()
        [0, 1, 2, 3, 8, 8, 8, 8]
    """
    label = _checks.text("label", label, example="p")
    if edges is not None:
        _checks.given("edges=", "give neighbors= the neighbor list of each example", neighbors=neighbors)
    labels = labels_of(examples, terms)
    examples = arrays_of(examples)
    for name, axes in labels.items():
        if label in axes[1:]:
            raise OptionError(
                f"feature {name!r} does not have its nodes first and once",
                got=" ".join(axes),
                expected=f"{label!r} first, or not at all",
                step="give features of pairs for each edge, or use ek.data.pad",
            )
    if not any(label in axes for axes in labels.values()):
        raise OptionError(
            "no feature has nodes",
            got=", ".join(" ".join(axes) or "()" for axes in labels.values()),
            expected=f"a feature with the label {label!r}",
            step="give label= the label of the nodes",
        )
    sizes = [sizes_of(example, labels)[label] for example in examples]
    _refuse_different(examples, labels, label)
    total, count = sufficient("nodes", nodes, sum(sizes)), sufficient("graphs", graphs, len(examples))
    features = {}
    for name, axes in labels.items():
        own = [example[name] for example in examples]
        rows = np.concatenate(own) if label in axes else np.stack(own)
        more = (total if label in axes else count) - len(rows)
        features[name] = np.pad(rows, [(0, more), *[(0, 0)] * (rows.ndim - 1)])
    graph_of = np.full(total, count, np.int32)
    graph_of[: sum(sizes)] = np.repeat(np.arange(len(sizes)), sizes)
    joined = None if neighbors is None else _joined(neighbors, sizes, total, edges)
    return Joined(features, graph_of, np.arange(total) < sum(sizes), joined)


def _refuse_different(examples: Sequence[Example], labels: Mapping[str, Sequence[str]], label: str) -> None:
    """Raise `ShapeError` if examples differ in the size of an axis other than that of the nodes."""
    for name, axes in labels.items():
        shapes = [example[name].shape[1 if label in axes else 0 :] for example in examples]
        for number, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ShapeError(
                    f"feature {name!r} of examples[{number}] has another shape than in examples[0]",
                    got=f"{[*shape]} after the nodes" if label in axes else [*shape],
                    expected=[*shapes[0]],
                    step="give every example the same axes and channels",
                )


def _joined(lists: Any, sizes: Sequence[int], n: int, edges: Sizes) -> Neighbors:
    """Return neighbor lists as one list of n points."""
    lists = lists if isinstance(lists, list | tuple) else [lists]
    for number, each in enumerate(lists):
        _checks.instance(f"neighbors[{number}]", each, Neighbors, "ek.data.neighbors(positions, cutoff)")
    if [each.n for each in lists] != [*sizes]:
        raise OptionError(
            "neighbors= does not belong to the examples",
            got=f"lists of {', '.join(str(each.n) for each in lists)} points",
            expected=f"lists of {', '.join(map(str, sizes))} points",
            step="give the neighbor list of each example, in order",
        )
    starts, there = np.cumsum([0, *sizes]), [np.asarray(each.receivers) < each.n for each in lists]
    senders, receivers = (
        np.concatenate([start + np.asarray(x)[here] for x, start, here in zip(given, starts, there, strict=False)])
        for given in ([each.senders for each in lists], [each.receivers for each in lists])
    )
    known = [each for each in lists if each.shifts is not None]
    if len(known) not in (0, len(lists)):
        raise OptionError(
            "only some neighbor lists have shifts",
            got=f"{len(known)} of {len(lists)} lists with a cell",
            expected="a cell for all examples, or for none",
            step="give the other lists a cell with periodic=False",
        )
    shifts, images = (
        np.concatenate([np.asarray(x)[here] for x, here in zip(given, there, strict=True)]) if all_given else None
        for given, all_given in (
            ([each.shifts for each in lists], bool(known)),
            ([each.images for each in lists], all(each.images is not None for each in lists)),
        )
    )
    return Neighbors.of(senders, receivers, n=n, shifts=shifts, images=images, edges=edges)
