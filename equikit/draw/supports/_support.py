"""A support as a picture: its graph, the matrix of its pairs, and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.draw._palette import HUES, NEGATIVE, POSITIVE, QUIET
from equikit.draw._picture import Pen, Picture, beside, checked_scale
from equikit.draw.supports._graph import circles, graph_picture, scaled
from equikit.draw.supports._rows import matrix_of_rows, rows_picture
from equikit.draw.writers import svg, tikz

if TYPE_CHECKING:
    from equikit.supports import Support

MOST_ENTRIES, MOST_NODES, MOST_CELLS = 400, 100, 24
"""The most entries and nodes of a picture, and the most nodes for which it has a matrix."""
TRIPLES = [tone for tones in zip(*HUES[1:5], strict=True) for tone in tones]
"""Colors of sets of three nodes; blue is for pairs."""

Values = Any | Mapping[int, Any] | None
"""A number for each entry, of several orders a dictionary from order to numbers."""


def support_picture(support: Support, values: Values = None, positions: Any = None) -> Picture:
    """Return the model of the picture of a support; see `support_svg`."""
    support = checked_support(support)
    graph_of = np.asarray(support.levels[1].drop[0])
    graph_of = graph_of[graph_of < support.levels[0].count]
    numbers, tuples = _numbers(support, values), _tuples(support)
    step = "draw a smaller graph, or a part of this one"
    count = sum(map(len, tuples.values()))
    _checks.refuse_if_more("the support is too large for a picture", count, MOST_ENTRIES, "entries", step)
    _checks.refuse_if_more("the support is too large for a picture", len(graph_of), MOST_NODES, "nodes", step)
    shares = {order: _shares(numbers.get(order)) for order in tuples}
    pairs, longer = tuples.get(2, []), {order: own for order, own in tuples.items() if order > 2}
    colors = {order: _colors(own) for order, own in longer.items()} | {2: [POSITIVE] * len(pairs)}
    triples = longer.get(3, [])
    points = circles(graph_of.tolist()) if positions is None else scaled(_places(positions, len(graph_of)))
    pens = _pens(len(pairs), shares.get(2), bool(triples)), colors.get(3, [])
    panels = [graph_picture(points, pairs, triples, pens)]
    if 2 in tuples and len(graph_of) <= MOST_CELLS:
        panels.append(matrix_of_rows(pairs, graph_of.tolist(), shares[2]))
    for order, own in tuples.items():
        texts = [f"{value:.3g}" for value in numbers[order].tolist()] if order in numbers else []
        panels.append(rows_picture([support.label] * order, own, colors[order], shares[order], texts))
    whole = beside(*panels, gap=20.0)
    return Picture(whole.width, whole.height, repr(support), whole.shapes)


def support_svg(support: Support, values: Values = None, *, positions: Any = None, scale: float = 1.0) -> str:
    """Draw a support as a standalone SVG picture: its graph, the matrix of its pairs, and the rows of its features.

    A pair of nodes (i, j) is an arrow from i to j, a filled entry of the matrix in row i and column j, and a row of
    features, whose number is in the entry. Three nodes in a row of order three are joined by a triangle if each of
    them is between the others in some row, and by a curve along them otherwise; rows with the same nodes have one
    color. Longer entries are rows alone. The nodes of each graph are on a circle. Padding is not drawn. With values,
    arrows and entries have a color for the sign, and are wider or darker for a larger value, and each row has a bar.

    Args:
        support: the support.
        values: a real number for each entry, `[E]`, such as weights of attention; for a support with several orders a
            dictionary from order to numbers.
        positions: a position for each node, `[n, 2]`, with the second coordinate pointing up.
        scale: the size of the picture; at 1 neighboring nodes on a circle are 66 pixels apart.

    Returns:
        The text of an `<svg>` element, whose title describes the support.

    Raises:
        TooLargeError: for more than 400 entries, or more than 100 nodes.
        ShapeError, DTypeError: if values or positions do not fit.
        OptionError: if it is not a support, or traced, or spread over devices, or `scale` is not from 0 to 100.

    Cost: a path for each entry.

    Example:
        >>> import equikit as ek
        >>> edges = ek.Support("p p", [0, 1, 1, 2], [1, 0, 2, 2], n=3)
        >>> support_svg(edges).count('class="pair"')
        4
    """
    scale = checked_scale(scale)
    return svg(support_picture(support, values, positions), scale)


def support_tikz(support: Support, values: Values = None, *, positions: Any = None, scale: float = 1.0) -> str:
    r"""Draw a support in TikZ; the picture is the same as from `support_svg`.

    Args:
        support: the support.
        values: as for `support_svg`.
        positions: as for `support_svg`.
        scale: the size of the picture with its text; at 1 neighboring nodes on a circle are 49.5 bp apart.

    Returns:
        The text of a `tikzpicture` environment; a document needs `\usepackage{tikz}` in its preamble.

    Raises:
        TooLargeError: for more than 400 entries, or more than 100 nodes, or if `scale` makes a side longer than
            16,000 bp, which TeX cannot draw.
        ShapeError, DTypeError, OptionError: as for `support_svg`.

    Cost: a path for each entry.

    Example:
        >>> import equikit as ek
        >>> support_tikz(ek.Support("p p", [0, 1], [1, 0], n=2)).count("controls")
        2
    """
    scale = checked_scale(scale)
    return tikz(support_picture(support, values, positions), scale)


def checked_support(support: Any) -> Support:
    """Return a support whose entries can be read, or raise `OptionError`."""
    from equikit.supports import Support  # which needs JAX

    found: Support = _checks.instance("support", support, Support, 'ek.Support("p p", [0, 1], [1, 0], n=2)')
    _checks.untraced("the support", found.levels[1].drop[0], step="draw it outside jit")
    found.indices(found.orders[0])  # which a support that is spread over devices refuses
    return found


def _tuples(support: Support) -> dict[int, list[tuple[int, ...]]]:
    """Return the nodes of each entry that is not padding, for each order."""
    every = {order: np.stack([np.asarray(each) for each in support.indices(order)], 1) for order in support.orders}
    return {order: [tuple(own) for own in nodes[nodes[:, 0] < support.n].tolist()] for order, nodes in every.items()}


def _numbers(support: Support, values: Values) -> dict[int, np.ndarray[Any, Any]]:
    """Return the values of entries that are not padding, for each order."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        if len(support.orders) > 1:
            raise OptionError(
                "the support has entries of several orders",
                got="one array of values",
                expected="a dictionary from order to values",
                step=f"write values={{{support.orders[0]}: values}}",
            )
        values = {support.orders[0]: values}
    found = {}
    for order, own in values.items():
        _checks.untraced("values=", own, step="draw it outside jit")
        there = np.asarray(support.present(order))
        numbers = _real_array("values", own, ("entries",), (len(there),), "give one number for each entry")
        found[order] = numbers[there]
    return found


def _places(positions: Any, n: int) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = _real_array(
        "positions", positions, ("n", 2), (n, 2), "give two numbers for each node"
    )
    return found


def _real_array(name: str, given: Any, axes: tuple[Any, ...], shape: tuple[int, ...], step: str) -> Any:
    """Return an array of finite numbers as float64, or raise an error."""
    array = np.asarray(given)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise DTypeError(
            f"{name}= must be real numbers", got=f"dtype {array.dtype}", expected="an array of real numbers", step=step
        )
    if array.shape != shape:
        text = ", ".join(map(str, axes))
        raise ShapeError(
            f"{name}= must have shape [{text}]", got=f"shape {[*array.shape]}", expected=f"shape {[*shape]}", step=step
        )
    _checks.finite(f"{name}=", array, step="replace what is not finite")
    return array.astype(np.float64)


def _shares(numbers: np.ndarray[Any, Any] | None) -> list[float] | None:
    """Return values relative to the largest magnitude."""
    if numbers is None:
        return None
    largest = float(np.max(np.abs(numbers), initial=0))
    found: list[float] = (numbers / (largest or 1)).tolist()
    return found


def _pens(count: int, shares: Sequence[float] | None, below: bool) -> list[Pen]:
    """Return the pen of each pair, quiet where triples are drawn on top."""
    if shares is None:
        return [Pen(QUIET if below else POSITIVE, 1.0 if below else 1.4)] * count
    return [Pen(POSITIVE if share >= 0 else NEGATIVE, 0.4 + 2.6 * abs(share), opacity=0.85) for share in shares]


def _colors(entries: Sequence[tuple[int, ...]]) -> list[str]:
    """Return a color for each entry, one for all entries with the same nodes."""
    number: dict[frozenset[int], int] = {}
    return [TRIPLES[number.setdefault(frozenset(own), len(number)) % len(TRIPLES)] for own in entries]
