"""Pictures of parameter graphs: an element for each node and edge, all inside the picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error

import equikit as ek
from equikit.draw import parameter_graph_svg
from equikit.draw._palette import NEGATIVE, POSITIVE, QUIET
from equikit.weightspace import graph

NAME = "{http://www.w3.org/2000/svg}"


def recurrent(p, x):
    h = jnp.tanh(x @ p["in"])
    for _ in range(2):
        h = jnp.tanh(h @ p["hidden"] + h @ p["other"] + p["bias"])
    return h @ p["out"]


SHAPES = {"in": (3, 4), "hidden": (4, 4), "other": (4, 4), "bias": (4,), "out": (4, 2)}
PARAMS = {name: jnp.asarray(np.random.default_rng(0).normal(size=shape)) for name, shape in SHAPES.items()}
X = jnp.ones((5, 3))


@pytest.mark.parametrize("kind", ["neurons", "parameters"])
def test_all_nodes_and_edges_are_drawn_inside(kind: str) -> None:
    made = graph(recurrent, PARAMS, X, kind)
    root = ElementTree.fromstring(parameter_graph_svg(made, scale=2))
    assert len(root.findall(f"{NAME}path[@class='edge']")) == made.num_edges
    assert len(root.findall(f"{NAME}circle")) == int(np.sum(made.node_kind == 0))
    assert len(root.findall(f"{NAME}path[@class='node']")) == int(np.sum(made.node_kind == 1))
    assert [text.text for text in root.findall(f"{NAME}text")] == [*made.node_layers]
    _, _, width, height = map(float, root.get("viewBox").split())
    assert float(root.get("width")) == pytest.approx(2 * width)
    for path in root.findall(f"{NAME}path[@class='edge']"):
        points = np.array(re.findall(r"-?[\d.]+", path.get("d")), float).reshape(4, 2)
        times = np.linspace(0, 1, 33)[:, None]
        curve = sum(count * (1 - times) ** (3 - i) * times**i * points[i] for i, count in enumerate((1, 3, 3, 1)))
        assert np.all(curve >= 0)
        assert np.all(curve <= [width, height])
    paths = [path.get("d") for path in root.findall(f"{NAME}path[@class='edge']")]
    assert len(set(paths)) == len(paths)  # parallel edges are apart


def test_values_are_colors_and_widths() -> None:
    made = graph(recurrent, PARAMS, X)
    root = ElementTree.fromstring(parameter_graph_svg(made, PARAMS))
    values = made.features(PARAMS).edges[:, 0]
    paths = root.findall(f"{NAME}path[@class='edge']")
    assert [path.get("stroke") for path in paths] == [POSITIVE if value >= 0 else NEGATIVE for value in values]
    rows = made.edge_kind == made.edge_kinds.index("out")
    widths = np.array([float(path.get("stroke-width")) for path in paths])[rows]
    assert np.argmax(widths) == np.argmax(np.abs(values[rows]))


def test_permuted_neurons_have_a_color_that_no_weight_has() -> None:
    made = graph(recurrent, PARAMS, X)
    root = ElementTree.fromstring(parameter_graph_svg(made, PARAMS))
    fills = dict.fromkeys(made.node_layers, "")
    for circle, place in zip(root.findall(f"{NAME}circle"), made.node_layer[made.node_kind == 0], strict=True):
        fills[made.node_layers[place]] += circle.get("fill") + " "
    assert set(fills) == {"in", "h0", "out"}
    assert {*fills["in"].split(), *fills["out"].split()} == {QUIET}
    (hidden,) = set(fills["h0"].split())
    assert hidden not in {QUIET, POSITIVE, NEGATIVE}


def test_the_order_of_columns_is_that_of_the_program() -> None:
    made = graph(recurrent, PARAMS, X)
    root = ElementTree.fromstring(parameter_graph_svg(made))
    places = {text.text: float(text.get("x")) for text in root.findall(f"{NAME}text")}
    assert places["in"] < places["h0"] < places["out"]


def test_what_cannot_be_drawn_is_refused() -> None:
    wide = {"a": jnp.ones((3, 1500)), "b": jnp.ones((1500, 2))}
    made = graph(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], wide, X)
    error = (ek.TooLargeError, "too large for a picture", "7,500 edges", "at most 4,000", "narrower")
    assert_error(error[0], lambda: parameter_graph_svg(made), *error[1:])
    made = graph(recurrent, PARAMS, X)
    stacked = {name: leaf[None] for name, leaf in PARAMS.items()}
    error = (ek.ShapeError, "edges of one network must have shape", "[1, 52, 1]", "[edges, width]", "choose one")
    assert_error(error[0], lambda: parameter_graph_svg(made, stacked), *error[1:])
    with pytest.raises(ek.OptionError, match="scale= must be a number > 0"):
        parameter_graph_svg(made, scale=0)
