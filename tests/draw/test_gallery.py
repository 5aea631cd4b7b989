import xml.etree.ElementTree as ET

import pytest
from pictures import SVG

import equikit as ek
from equikit._errors import OptionError
from equikit.diagrams import hom
from equikit.draw import space_html, space_text, space_tikz
from equikit.draw.spaces._html import drawing_sizes
from equikit.draw.spaces._listing import shares
from equikit.groups import Fixed, S, Z

SPACES = [
    hom("p p -> p p", p=S),
    hom("p p x + p -> p + ()", p=S, x=Fixed(3)),
    hom("p q p -> p q", p=S(7), q=S),
    hom("() -> ()"),
    hom("x -> x", x=Fixed(4)),
    hom("p -> p", p=S(0)),
    hom("x p -> p", p=S, x=Fixed(0)),
    hom({}, "p", p=S),
    hom({"a<b>&": "p p", "nodes": "p"}, "p", p=S),
]


def figures(text: str) -> list[ET.Element]:
    return list(ET.fromstring(text).iter("figure"))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_each_diagram_has_a_figure(space):
    text = space_html(space, most=1000)
    assert len(figures(text)) == sum(len(pair.diagrams) for pair in space.pairs)
    assert len(list(ET.fromstring(text).iter("section"))) == len(space.pairs)
    assert f"dimension {space.dim}" in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert ET.fromstring(text).get("data-license") == "CC0-1.0"
    assert "left out" not in text


def test_the_gallery_of_fifteen():
    text = space_html(hom("p p -> p p", p=S))
    pictures = figures(text)
    assert len(pictures) == 15
    assert all(len(list(figure.iter(SVG + "svg"))) == 2 for figure in pictures)
    assert "dimension 15 where n ≥ 4" in text
    assert "matrices drawn at p = 4" in text
    captions = ["".join(figure.find("figcaption").itertext()) for figure in pictures]
    assert captions[3] == "1 1' 2' | 2no. 3, wires: 1"


def test_what_is_left_out_is_said():
    space = hom("p p p -> p p p", p=S)
    text = space_html(space)
    assert len(figures(text)) == 60
    assert "and 143 more" in text
    assert "143 left out" in text
    assert space_text(space).endswith("\n  and 143 more")
    assert not figures(space_html(space, most=0))


def test_places_are_shared_out_over_the_pairs():
    assert shares([1, 15, 203], 20) == [1, 9, 10]
    assert shares([203, 1], 4) == [3, 1]
    assert shares([5, 5], 100) == [5, 5]
    assert shares([], 7) == []
    assert len(figures(space_html(hom("p p + p p p -> p p + p", p=S), most=24))) == 24


def test_multiplicity_of_plain_axes_is_stated():
    text = space_html(SPACES[1])
    assert "each stands for 3 maps" in text
    assert "p p x -&gt; p" in text
    assert "p p x -> p: 5 diagrams, 3 maps each" in space_text(SPACES[1]).split("\n")


def test_names_are_escaped():
    text = space_html(SPACES[-1])
    assert "a&lt;b&gt;&amp;" in text
    ET.fromstring(text)


def test_matrices_are_drawn_at_a_small_size():
    assert drawing_sizes(hom("p p -> p p", p=S)) == {"p": 4}
    assert drawing_sizes(hom("p -> p", p=S)) == {"p": 3}
    assert drawing_sizes(hom("p p p -> p p p", p=S)) == {"p": 3}
    assert drawing_sizes(hom("p p -> p p", p=S(2))) == {"p": 2}
    assert drawing_sizes(hom("p p -> p p", p=S(5))) == {"p": 5}
    assert drawing_sizes(hom("p p -> p p", p=S(6))) == {"p": 4}
    assert drawing_sizes(hom("p q -> p", p=S(2), q=S)) == {"p": 2, "q": 3}
    assert drawing_sizes(hom("p p p p p p -> p", p=S)) is None
    assert "p = 4, not at 50" in space_html(hom("p p -> p p", p=S(50)))
    assert "matrices left out: they are too large" in space_html(hom("p p p p p p -> ()", p=S), most=2)


def test_invariant_tensors_are_drawn_at_the_size_of_their_group():
    assert drawing_sizes(hom("p p -> p", p=Z(5))) == {"p": 5}
    too_large = hom("p p -> p", p=Z(6))
    assert drawing_sizes(too_large) is None
    assert len(figures(space_html(too_large))) == 36


def test_colors_agree_between_pairs():
    text = space_html(hom("p + q -> q", p=S, q=S), most=100)
    vertices = [
        (label.text, circle.get("stroke") or circle.get("fill"))
        for svg in ET.fromstring(text).iter(SVG + "svg")
        for circle, label in zip(svg.iter(SVG + "circle"), svg.findall(SVG + "text[@class='label']"), strict=True)
    ]
    assert len(set(vertices)) == 2


def test_more_diagrams_than_a_machine_word_counts():
    row = " ".join(["p"] * 15)
    space = hom(f"{row} -> {row}", p=S)
    assert space.dim > 2**63
    assert len(figures(space_html(space, most=3))) == 3
    assert "and " in space_text(space, most=3)


def test_listing():
    assert space_text(hom("p p -> p", p=S)).split("\n") == [
        'hom("p p -> p", p=S): dimension 5 where n ≥ 3',
        "  0  wires: 1  a <- aa  1 1' 2'",
        "  1  wires: 1  a <- ab  1 1' | 2'",
        "  2  wires: 1  a <- ba  1 2' | 1'",
        "  3  wires: 0  a <- bb  1 | 1' 2'",
        "  4  wires: 0  a <- bc  1 | 1' | 2'",
    ]
    assert space_text(hom("() -> ()")) == 'hom("() -> ()"): dimension 1\n  0  wires: 0  () <- ()  no blocks'
    assert space_text(hom("p p -> p", p=S), most=0).endswith("\n  5 diagrams, not shown")


def test_invariant_tensors_are_maps_without_wires():
    text = space_html(hom("z -> z", z=Z(5)))
    assert "5 maps" in text
    assert "diagrams" not in text
    assert "wires" not in text
    assert "# numbers the invariant tensors" in text
    assert space_text(hom("z -> z", z=Z(2))).split("\n")[1:] == ["  0  a <- b  #1 1 1'", "  1  a <- b  #2 1 1'"]
    with_points = hom("z p -> z p", z=Z(2), p=S)
    assert "wires: blocks that join the rows" in space_html(with_points)
    assert [line[5:13] for line in space_text(with_points).split("\n")[1:]] == [
        "wires: 1",
        "wires: 1",
        " " * 8,
        " " * 8,
    ]
    assert "z x -> z: 2 invariant tensors, 3 maps each" in space_text(hom("z x -> z", z=Z(2), x=Fixed(3)))


def test_legs_are_explained_where_there_are_some():
    cross = space_html(hom("x x -> x", x=ek.SO(3)))
    assert "^ marks the legs of a Levi-Civita tensor" in cross
    assert "wires" not in cross
    assert "^ marks" not in space_html(hom("x x -> x x", x=ek.O(3)))


def test_a_bound_group_has_its_exact_dimension():
    assert space_text(hom("p p -> p p", p=S(2))).startswith('hom("p p -> p p", p=S(2)): dimension 8\n')


@pytest.mark.parametrize("most", [-1, 2.5, "3", True, None])
def test_a_number_that_is_no_count_is_refused(most):
    for function in (space_html, space_text):
        with pytest.raises(OptionError, match="most"):
            function(SPACES[0], most=most)


def test_a_notebook_shows_the_gallery():
    assert SPACES[0]._repr_html_() == space_html(SPACES[0])


@pytest.mark.parametrize("write", [space_html, space_tikz, space_text])
@pytest.mark.parametrize("signature", ["x, x -> x", "sym(x x) -> sym(x x)"])
def test_spaces_of_multilinear_maps_are_refused(write, signature):
    space = ek.hom(signature, x=ek.SO(3))
    with pytest.raises(ek.OptionError, match="only spaces of linear maps are drawn") as caught:
        write(space)
    assert "[ek.draw.diagram_svg(one) for one in space.diagrams]" in caught.value.step
    with pytest.raises(ek.OptionError, match="space= must be a HomSpace"):
        write(signature)
