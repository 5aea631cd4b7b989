import base64
import itertools
import math
import random
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from helpers import assert_error
from pictures import contrast, diagrams, elements

from equikit._errors import OptionError
from equikit.diagrams import Diagram
from equikit.draw import diagram_svg
from equikit.draw._palette import HUES, NEGATIVE, POSITIVE, QUIET

ALL = list(diagrams())
NAMES_OF_THE_LICENSE = {
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://creativecommons.org/ns#",
    "http://creativecommons.org/publicdomain/zero/1.0/",
}


def test_each_vertex_is_a_circle_and_each_block_of_several_a_path():
    for diagram in ALL:
        text = diagram_svg(diagram)
        assert len(elements(text, "circle", "vertex")) == diagram.order
        assert len(elements(text, "path", "block")) == sum(len(block) > 1 for block in diagram.blocks)
        assert len(elements(text, "path", "rail")) == (not diagram.top) + (not diagram.bottom)
        assert elements(text, "title")[0].text == str(diagram)


def test_each_path_starts_and_ends_at_vertices_of_its_block():
    for diagram in ALL:
        text = diagram_svg(diagram)
        circles = [(c.get("cx"), c.get("cy")) for c in elements(text, "circle")]
        blocks = [block for block in diagram.blocks if len(block) > 1]
        for block, path in zip(blocks, elements(text, "path", "block"), strict=True):
            words = path.get("d").replace("M", " M ").replace("C", " C ").split()
            points, i = set(), 0
            while i < len(words):
                step = {"M": 2, "C": 6}[words[i]]
                points.add(tuple(words[i + step - 1 : i + step + 1]))
                i += step + 1
            assert {circles[vertex] for vertex in block} <= points
            assert not {circles[vertex] for vertex in range(diagram.order) if vertex not in block} & points


def test_no_two_vertices_share_a_place_and_all_lie_in_the_picture():
    for diagram in ALL:
        text = diagram_svg(diagram)
        _, _, width, height = map(float, ET.fromstring(text).get("viewBox").split())
        places = [(float(c.get("cx")), float(c.get("cy"))) for c in elements(text, "circle")]
        assert len(set(places)) == len(places)
        assert all(6 <= x <= width - 6 and 6 <= y <= height - 6 for x, y in places)


def test_a_vertex_is_hollow_exactly_where_it_is_joined_to_nothing():
    text = diagram_svg(Diagram.parse("p p -> p: 1 1' | 2'"))
    assert [c.get("fill") == "none" for c in elements(text, "circle")] == [False, False, True]


def test_vertices_have_the_color_of_their_label():
    text = diagram_svg(Diagram.parse("q p q -> p q: 1 2' | 2 3' | 1'"))
    colors = [c.get("stroke") or c.get("fill") for c in elements(text, "circle")]
    p, q = HUES[0][0], HUES[1][0]
    assert colors == [p, q, q, p, q]
    assert [t.text for t in elements(text, "text", "label")] == ["p", "q", "q", "p", "q"]


def test_names_stand_only_where_there_are_several_labels():
    diagram = Diagram.identity("p p")
    assert not elements(diagram_svg(diagram), "text", "label")
    text = diagram_svg(diagram, labels=("a", "p"))
    assert [t.text for t in elements(text, "text", "label")] == ["p"] * 4
    assert elements(text, "circle")[0].get("fill") == HUES[1][0]


def test_crossing_blocks_of_a_label_differ_in_tone():
    def strokes(text: str) -> list[str]:
        return [path.get("stroke") for path in elements(diagram_svg(Diagram.parse(text)), "path", "block")]

    assert strokes("p p -> p p: 1 1' | 2 2'") == [HUES[0][0]] * 2
    assert strokes("p p -> p p: 1 2' | 2 1'") == [HUES[0][0], HUES[0][1]]
    assert strokes("p p p -> p p p: 1 3' | 2 2' | 3 1'") == list(HUES[0])
    assert strokes("p q -> q p: 1 2' | 2 1'") == [HUES[1][0], HUES[0][0]]


def test_the_lower_of_two_crossing_blocks_is_cut():
    upper, lower = elements(diagram_svg(Diagram.parse("p p -> p p: 1 2' | 2 1'")), "path", "block")
    assert upper.get("d").count("M") == 1
    assert lower.get("d").count("M") == 2


def test_many_labels_repeat_the_hues():
    labels = " ".join("abcdefgh")
    text = diagram_svg(Diagram.identity(labels))
    assert len(elements(text, "circle")) == 16


def test_labels_are_escaped():
    diagram = Diagram("p q", (), (0, 1))
    object.__setattr__(diagram, "top", ("<b>&\"'", "x\x00"))  # past the check that labels are words
    text = diagram_svg(diagram)
    assert [t.text for t in elements(text, "text", "label")] == ["<b>&\"'", "x\ufffd"]


def test_long_labels_do_not_overlap():
    text = diagram_svg(Diagram.identity(("tokens_of_the_text", "p")))
    first, second = (float(t.get("x")) for t in elements(text, "text", "label")[:2])
    assert second - first > 18 * 6


def test_scale_changes_the_size_and_nothing_else():
    diagram = Diagram.identity("p p")
    small, large = (ET.fromstring(diagram_svg(diagram, scale=scale)) for scale in (1, 2.5))
    assert math.isclose(float(large.get("width")), 2.5 * float(small.get("width")), abs_tol=0.01)
    assert small.get("viewBox") == large.get("viewBox")


@pytest.mark.parametrize("scale", [0, -1, 100.1, 1e308, math.inf, math.nan, "2", True])
def test_a_scale_that_is_no_size_is_refused(scale):
    with pytest.raises(OptionError, match="scale"):
        diagram_svg(Diagram.identity("p"), scale=scale)


def test_labels_without_those_of_the_diagram_are_refused():
    with pytest.raises(OptionError, match="label 'p' has no color"):
        diagram_svg(Diagram.identity("p"), labels="q")


def test_pictures_refer_to_nothing_outside():
    for diagram in ALL[:40]:
        text = diagram_svg(diagram)
        assert "href" not in text
        assert "url(" not in text
        places = set(re.findall(r'http[^"]*', text))
        assert places == {ET.fromstring(text).tag[1:].partition("}")[0], *NAMES_OF_THE_LICENSE}  # names, not links
        assert "nan" not in text


def test_long_rows_are_drawn():
    generator = random.Random(0)
    for _ in range(5):
        growth = [generator.randrange(5) for _ in range(16)]
        assert len(elements(diagram_svg(Diagram(("p",) * 8, ("p",) * 8, growth)), "circle")) == 16


def test_colors_are_legible_on_white_and_on_dark_pages():
    for color in [*sum(HUES, ()), QUIET, POSITIVE, NEGATIVE]:
        assert contrast(color, "#ffffff") > 3
        assert contrast(color, "#1b1b1b") > 3


def test_a_notebook_shows_the_picture():
    diagram = Diagram.parse("p p -> p p: 1 2' | 2 1'")
    picture = ET.fromstring(diagram._repr_html_())
    assert picture.tag == "img"
    assert picture.get("alt") == str(diagram)
    kind, _, data = picture.get("src").partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == diagram_svg(diagram)


def test_vertices_are_numbered_as_in_the_text():
    for diagram in ALL:
        text = diagram_svg(diagram)
        numbers = elements(text, "text", "number")
        split = len(diagram.top)
        assert [one.text for one in numbers] == [
            *(str(i + 1) for i in range(split)),
            *(f"{i + 1}'" for i in range(diagram.order - split)),
        ]
        for i, (one, circle) in enumerate(zip(numbers, elements(text, "circle"), strict=True)):
            assert one.get("x") == circle.get("cx")
            apart = float(one.get("y")) - float(circle.get("cy"))
            assert -12 < apart < -8 if i < split else 14 < apart < 18  # baselines, outside the rows
    assert not elements(diagram_svg(Diagram.identity("p p"), numbers=False), "text")
    with pytest.raises(OptionError, match="numbers"):
        diagram_svg(Diagram.identity("p"), numbers=2)


def test_texts_do_not_overlap():
    text = diagram_svg(Diagram.parse("q p q -> p q: 1 2' | 2 3' | 1'"))
    _, _, width, height = map(float, ET.fromstring(text).get("viewBox").split())
    places = [(float(one.get("x")), float(one.get("y"))) for one in elements(text, "text")]
    assert all(abs(a[0] - b[0]) > 20 or abs(a[1] - b[1]) > 11 for a, b in itertools.combinations(places, 2))
    assert all(8 < x < width - 8 and 10 < y < height - 3 for x, y in places)


def test_a_single_picture_is_large_enough():
    size = ET.fromstring(diagram_svg(Diagram.parse("p p -> p p: 1 2' | 2 1'")))
    assert (float(size.get("width")), float(size.get("height"))) == (99, 177)


def test_the_license_is_in_the_metadata():
    (license,) = ET.fromstring(diagram_svg(Diagram.identity("p"))).iter("{http://creativecommons.org/ns#}license")
    place = license.get("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource")
    assert place == "http://creativecommons.org/publicdomain/zero/1.0/"


def test_the_labels_that_share_colors_are_names():
    diagram = Diagram.identity("p")
    pictures = {diagram_svg(diagram, labels=labels) for labels in ("p q", ["q", "p"], {"p", "q"}, iter("pq"))}
    assert len(pictures) == 1
    for wrong, got in ((3, "3"), (np.array(3), "array(3)"), ([["p"]], "['p']")):
        step = 'labels=("p",)'
        assert_error(OptionError, lambda x=wrong: diagram_svg(diagram, labels=x), "labels=", got, "texts", step)
