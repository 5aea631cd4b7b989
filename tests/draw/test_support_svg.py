"""Pictures of supports: an element for each entry, all inside the picture, and maps that are zero marked."""

import re
import xml.etree.ElementTree as ElementTree

import jax
import networkx as nx
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from pictures import SVG, contrast, elements

import equikit as ek
from equikit.draw import space_html, space_text, space_tikz, support_svg, support_tikz
from equikit.draw._palette import NEGATIVE, POSITIVE
from equikit.draw.supports._support import TRIPLES

LOOPS = ek.Support("p p", [0, 1, 1, 2, 2], [1, 0, 2, 0, 2], n=4)
GRAPH = ek.Support.from_networkx(nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)]))
SUPPORTS = {
    "loops": LOOPS,
    "triangles": GRAPH | GRAPH.triangles(),
    "paths": GRAPH.paths(),
    "cliques": LOOPS | LOOPS.cliques(),
    "graphs": ek.Support.join([GRAPH, LOOPS]),
    "padded": ek.Support.join([GRAPH, LOOPS]).pad(nodes=11, entries=16, graphs=3),
    "many": ek.Support.from_networkx(nx.complete_graph(10)),
    "fours": ek.Support("p p p p", [0], [1], [2], [1], n=3),
    "no entries": ek.Support("p p", [], [], n=3),
    "no nodes": ek.Support("p p", [], [], n=0),
}


def tuples_of(support: ek.Support, order: int) -> list[tuple[int, ...]]:
    nodes = np.stack([np.asarray(each) for each in support.indices(order)], 1)
    return [tuple(own) for own in nodes.tolist() if max(own) < support.n]


def points_of(text: str) -> np.ndarray:
    return np.array(re.findall(r"-?\d+(?:\.\d+)?", text), float).reshape(-1, 2)


@pytest.mark.parametrize("name", SUPPORTS)
def test_every_entry_is_drawn_inside(name):
    support = SUPPORTS[name]
    text = support_svg(support, scale=2)
    root = ElementTree.fromstring(text)
    assert root.find(f"{SVG}title").text == repr(support)
    pairs = tuples_of(support, 2) if 2 in support.orders else []
    assert len(elements(text, "path", "pair")) == len(elements(text, "path", "head")) == len(pairs)
    assert len(elements(text, "circle", "node")) == int(np.sum(support.present()))
    listed = [int(one.text) for one in elements(text, "text", "entry")]
    assert listed == [node for order in support.orders for own in tuples_of(support, order) for node in own]
    _, _, width, height = map(float, root.get("viewBox").split())
    assert float(root.get("width")) == pytest.approx(2 * width)
    at = [(float(one.get("x")), float(one.get("y"))) for one in root.iter(f"{SVG}text")]
    at += [(float(one.get("cx")), float(one.get("cy"))) for one in root.iter(f"{SVG}circle")]
    curves = [points_of(one.get("d")) for one in elements(text, "path", "pair")]
    times = np.linspace(0, 1, 17)[:, None]
    every = [sum(c * (1 - times) ** (3 - i) * times**i * own[i] for i, c in enumerate((1, 3, 3, 1))) for own in curves]
    every = np.concatenate([*every, np.reshape(at, (-1, 2))])
    assert np.all(every >= 0)
    assert np.all(every <= [width, height])
    assert len({one.get("d") for one in elements(text, "path", "pair")}) == len(pairs)  # both directions are apart


def test_an_arrow_leads_from_the_first_node_to_the_second():
    text = support_svg(LOOPS)
    nodes = np.array([[float(one.get("cx")), float(one.get("cy"))] for one in elements(text, "circle", "node")])
    for (a, b), path in zip(tuples_of(LOOPS, 2), elements(text, "path", "pair"), strict=True):
        ends = points_of(path.get("d"))[[0, 3]]
        assert [int(np.argmin(np.sum((nodes - end) ** 2, 1))) for end in ends] == [a, b]


def test_the_matrix_has_the_numbers_of_the_rows():
    text = support_svg(LOOPS)
    boxes = [points_of(one.get("d").partition("h")[0])[0] for one in elements(text, "path", "entry")]
    corner, cell = np.min(boxes, axis=0), 17.0
    found = np.round((np.array(boxes) - corner) / cell).astype(int)[:, ::-1]
    assert [*map(tuple, found.tolist())] == tuples_of(LOOPS, 2)
    assert [one.text for one in elements(text, "text", "row")] == list("01234")
    assert not elements(support_svg(ek.Support("p p", [0], [1], n=25)), "path", "entry")


def test_values_are_colors_widths_and_bars():
    values = np.array([0.5, -1.0, 0.0, 0.25, 2.0])
    text = support_svg(LOOPS, values)
    paths = elements(text, "path", "pair")
    assert [one.get("stroke") for one in paths] == [POSITIVE if value >= 0 else NEGATIVE for value in values]
    widths = [float(one.get("stroke-width")) for one in paths]
    assert np.argsort(widths).tolist() == np.argsort(np.abs(values)).tolist()
    assert [one.text for one in elements(text, "text", "value")] == ["0.5", "-1", "0", "0.25", "2"]
    bars = [float(re.search(r"h([\d.]+)", one.get("d")).group(1)) for one in elements(text, "path", "bar")]
    assert np.allclose(np.array(bars) / max(bars), [0.25, 0.5, 0.125, 1.0], atol=1e-3)  # zero has no bar
    padded = SUPPORTS["padded"]
    numbers = np.arange(16.0)
    shown = [one.text for one in elements(support_svg(padded, numbers), "text", "value")]
    assert shown == [f"{number:.3g}" for number in numbers[np.asarray(padded.present(2))]]
    both = SUPPORTS["triangles"]
    text = support_svg(both, {3: np.arange(6)})
    assert [one.text for one in elements(text, "text", "value")] == [str(number) for number in range(6)]


def test_the_weights_of_the_gallery_are_those_of_the_layer():
    """From queries and keys as on the page; the layer is the sum of values with these weights."""
    attend = ek.nn.Attention({"p": 2}, heads=1, p=ek.S, rngs=nnx.Rngs(0))
    x = {"p": np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)}
    query, key, value = (np.asarray(part(x)[""]) for part in (attend.query, attend.key, attend.value))
    i, j = map(np.asarray, GRAPH.indices())
    weights = np.exp((query[i] * key[j]).sum(1) / np.sqrt(2))
    weights = weights / np.bincount(i, weights)[i]
    found = np.zeros((4, 2), np.float32)
    np.add.at(found, i, (weights[:, None] * value[j]).astype(np.float32))
    (name,) = (term.name for term in attend.out.signature.inputs)
    wanted = attend(x, support=GRAPH)["p"]
    np.testing.assert_allclose(attend.out({name: found})["p"], wanted, atol=1e-6)


def test_rows_with_the_same_three_nodes_have_the_color_of_their_line():
    text = support_svg(GRAPH.paths())
    colors = [one.get("fill") for one in elements(text, "text", "entry")][::3]
    by_nodes = {}
    for own, color in zip(tuples_of(GRAPH.paths(), 3), colors, strict=True):
        by_nodes.setdefault(frozenset(own), set()).add(color)
    assert [len(one) for one in by_nodes.values()] == [1, 1, 1]
    lines = [one.get("stroke") for one in elements(text, "path", "triple")]
    assert sorted(lines) == sorted(color for one in by_nodes.values() for color in one)  # a triangle and two wedges
    assert all(contrast(color, page) >= 3 for color in TRIPLES for page in ("#ffffff", "#1e1e1e"))


def test_positions_point_up():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
    circles = elements(support_svg(LOOPS, positions=places), "circle", "node")
    nodes = [(float(one.get("cx")), -float(one.get("cy"))) for one in circles]
    found = np.array(nodes) - nodes[0]
    assert np.allclose(found / found[1, 0], places, atol=1e-2)
    support_svg(LOOPS, positions=np.zeros((4, 2)))


@pytest.mark.parametrize("name", ["loops", "cliques"])
def test_tikz_has_the_same_curves(name):
    svg, tikz = support_svg(SUPPORTS[name]), support_tikz(SUPPORTS[name])
    curves = [one.get("d") for one in elements(svg, "path") if "C" in one.get("d")]
    assert tikz.count("controls") == sum(data.count("C") for data in curves)
    assert support_tikz(LOOPS, np.ones(5)).count(r"\node") == len(elements(support_svg(LOOPS, np.ones(5)), "text"))


def test_a_notebook_shows_small_supports():
    assert "data:image/svg+xml" in LOOPS._repr_html_()
    assert r"\begin{tikzpicture}" in LOOPS._repr_latex_()
    large = ek.Support("p p", [0], [1], n=25)
    spread, _ = LOOPS.spread(2, axis="d")
    assert [one._repr_html_() for one in (large, spread)] == [None, None]
    assert [one._repr_latex_() for one in (large, spread)] == [None, None]
    assert jax.eval_shape(lambda support: (support._repr_html_() is None,) and support, LOOPS).n == 4


ERRORS = {
    "no support": (
        "p p",
        {},
        (
            ek.OptionError,
            "support= must be a Support",
            "'p p'",
            "a Support",
            'support=ek.Support("p p", [0, 1], [1, 0]',
        ),
    ),
    "spread": (
        LOOPS.spread(2, axis="d")[0],
        {},
        (ek.OptionError, "has the tables of each", "along 'd'", "the support before .spread", "before it is spread"),
    ),
    "nodes": (
        ek.Support("p p", [], [], n=101),
        {},
        (ek.TooLargeError, "too large for a picture", "101 nodes", "at most 100", "draw a smaller graph"),
    ),
    "entries": (
        ek.Support.from_mask(np.ones((21, 21), bool)),
        {},
        (ek.TooLargeError, "too large for a picture", "441 entries", "at most 400", "draw a smaller graph"),
    ),
    "too few values": (
        LOOPS,
        {"values": np.ones(4)},
        (ek.ShapeError, "values= must have shape [entries]", "shape [4]", "shape [5]", "one number for each entry"),
    ),
    "columns": (
        LOOPS,
        {"values": np.ones((5, 1))},
        (ek.ShapeError, "values= must have shape [entries]", "shape [5, 1]", "shape [5]", "one number for each entry"),
    ),
    "text": (
        LOOPS,
        {"values": ["a"] * 5},
        (ek.DTypeError, "values= must be real numbers", "dtype <U1", "real numbers", "one number for each entry"),
    ),
    "nan": (
        LOOPS,
        {"values": [np.nan] * 5},
        (ek.OptionError, "values= are not finite", "5 of 5", "finite numbers", "replace what is not finite"),
    ),
    "places": (
        LOOPS,
        {"positions": np.ones((4, 3))},
        (ek.ShapeError, "positions= must have shape [n, 2]", "shape [4, 3]", "shape [4, 2]", "give two numbers"),
    ),
    "orders": (
        SUPPORTS["triangles"],
        {"values": np.ones(8)},
        (ek.OptionError, "entries of several orders", "one array", "a dictionary from order", "values={2: values}"),
    ),
    "no order": (
        LOOPS,
        {"values": {3: np.ones(5)}},
        (ek.OptionError, "there are no such entries", "order=3", "the number of axes: 2", "write order=2"),
    ),
    "scale": (LOOPS, {"scale": 0}, (ek.OptionError, "scale= must be a number > 0", "0", "a number > 0", "scale=2")),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_drawn_is_refused(case):
    support, options, parts = ERRORS[case]
    for write in (support_svg, support_tikz):
        assert_error(parts[0], lambda write=write: write(support, **options), *parts[1:])


def test_traced_supports_and_values_are_refused():
    traced = "must not be traced", "a tracer", "an array with values", "draw it outside jit"
    calls = (
        lambda: jax.jit(lambda support: support_svg(support) and 1)(LOOPS),
        lambda: jax.jit(lambda values: support_svg(LOOPS, values) and 1)(np.ones(5)),
    )
    for call in calls:
        assert_error(ek.OptionError, call, *traced)


# Spaces on a support.


@pytest.mark.parametrize("name", ["loops", "triangles", "graphs", "padded", "no entries"])
@pytest.mark.parametrize("signature", ["p p -> p p", "p p + () -> p + p p", "p x p -> p x"])
def test_maps_are_marked_as_zero_where_their_matrix_is(signature, name):
    """The mark is from `active`, the matrix from the dense map between the entries."""
    support = SUPPORTS[name]
    more = {"x": ek.O(2)} if "x" in signature else {}
    text = space_html(ek.hom(signature, p=ek.S, **more), support=support)
    figures = [*ElementTree.fromstring(text).iter("figure")]
    marked = []
    for figure in figures:
        *_, matrix = figure.iter(f"{SVG}svg")
        filled = int(re.search(r"(\d+) entries not zero", matrix.find(f"{SVG}title").text).group(1))
        zero = "equikit-zero" in figure.get("class")
        assert zero == (filled == 0)
        assert zero == ("zero on the support" in "".join(figure.itertext()))
        marked.append(zero)
    assert f"{sum(marked)} of {len(marked)} maps are zero" in text


def test_eight_maps_are_zero_without_loops():
    space = ek.hom("p p -> p p", p=ek.S)
    layer = ek.nn.Linear("p p -> p p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))
    figures = ElementTree.fromstring(space_html(space, support=GRAPH)).iter("figure")
    marked = ["equikit-zero" in figure.get("class") for figure in figures]
    assert marked == (~layer.active(GRAPH)["p p -> p p"]).tolist()
    assert sum(marked) == 8
    assert space_tikz(space, support=GRAPH).count("zero on the support") == 8
    assert space_tikz(space).count("zero on the support") == 0
    first, note, *lines = space_text(space, support=GRAPH).splitlines()
    assert first == space_text(space).splitlines()[0]
    assert note == f"on {GRAPH!r}: 8 of 15 maps are zero"
    assert [line.endswith("  zero on the support") for line in lines] == marked


@pytest.mark.parametrize("signature", ["p p -> p p", "p p -> ()", "p -> p p", "() -> p"])
def test_entries_of_different_graphs_do_not_meet(signature):
    """The matrix of two graphs has the entries of the matrices of each."""
    space = ek.hom(signature, p=ek.S)

    def counts(support):
        return np.array(
            [int(found) for found in re.findall(r"(\d+) entries not zero", space_html(space, support=support))]
        )

    both = ek.Support.join([GRAPH, LOOPS])
    assert counts(both).tolist() == (counts(GRAPH) + counts(LOOPS)).tolist()
    assert counts(both.pad(nodes=9, entries=15, graphs=4)).tolist() == counts(both).tolist()


def test_matrices_between_many_entries_are_left_out():
    text = space_html(ek.hom("p p -> p p", p=ek.S), support=SUPPORTS["many"])
    assert "matrices left out: they are too large" in text
    assert "8 of 15 maps are zero" in text


def test_a_support_that_does_not_fit_a_space_is_refused():
    assert_error(
        ek.OptionError,
        lambda: space_html(ek.hom("q -> q", q=ek.S), support=LOOPS),
        "the support is for 'p', which is not a label of the signature",
        "q -> q",
        "a support for q",
        'make the support for the term "q q"',
    )
