import itertools

import numpy as np
from pictures import diagrams

from equikit.diagrams import Diagram
from equikit.draw._curves import PITCH, block_curves, crossings, kept, link, weave

HEIGHT = 70.0


def points(diagram: Diagram) -> list[complex]:
    rows = (diagram.top, 0.0), (diagram.bottom, HEIGHT)
    return [complex(PITCH * (i - (len(row) - 1) / 2), y) for row, y in rows for i in range(len(row))]


def curves(diagram: Diagram):
    return block_curves(diagram, points(diagram), HEIGHT)


def is_planar(diagram: Diagram) -> bool:
    """Whether no two blocks cross, with the vertices on a circle."""
    split = len(diagram.top)
    circle = diagram.growth[:split] + diagram.growth[split:][::-1]
    return not any(a == c and b == d and a != b for a, b, c, d in itertools.combinations(circle, 4))


CASES = list(diagrams("p p -> p p", "p p p -> p p p", "p p p p p -> p", "p -> p p p p", "p p p p p p -> ()"))


def test_the_curves_of_a_block_join_its_vertices_and_no_others():
    for diagram in CASES:
        places = points(diagram)
        for block, own in zip(diagram.blocks, curves(diagram), strict=True):
            assert len(own) == len(block) - 1  # a tree
            joined = {block[0]}
            for _ in block:
                for curve in own:
                    ends = {places.index(curve.start), places.index(curve.end)}
                    if ends & joined:
                        joined |= ends
            assert joined == set(block)


def test_planar_diagrams_are_drawn_without_crossings_and_others_with():
    for diagram in CASES:
        met = any(
            crossings(p, q) for one, other in itertools.combinations(curves(diagram), 2) for p in one for q in other
        )
        assert met == (not is_planar(diagram)), diagram


def test_no_curve_comes_near_a_vertex_of_another_block():
    grid = np.linspace(0, 1, 200)
    for diagram in CASES:
        places = points(diagram)
        for block, own in zip(diagram.blocks, curves(diagram), strict=True):
            others = [places[vertex] for vertex in range(diagram.order) if vertex not in block]
            for curve in own:
                for place in others:
                    assert abs(curve.at(grid) - place).min() > 10, diagram


def test_two_links_cross_once_or_not_at_all():
    ends = [(complex(PITCH * a), complex(PITCH * b, HEIGHT)) for a in range(6) for b in range(6)]
    for (a, b), (c, d) in itertools.combinations(ends, 2):
        if a != c and b != d:
            crossed = (a.real - c.real) * (b.real - d.real) < 0
            assert len(crossings(link(a, b), link(c, d))) == crossed


def test_three_links_do_not_meet_in_a_point():
    one, two, three = (block[0] for block in curves(Diagram.parse("p p p -> p p p: 1 3' | 2 2' | 3 1'")))
    meet = [one.at(np.array([crossings(one, other)[0][0]]))[0] for other in (two, three)]
    assert abs(meet[0] - meet[1]) > 5


def test_a_part_of_a_curve_lies_on_it():
    curve = link(0j, complex(50, HEIGHT))
    part = curve.part(0.2, 0.7)
    grid = np.linspace(0, 1, 9)
    np.testing.assert_allclose(part.at(grid), curve.at(0.2 + 0.5 * grid), atol=1e-12)


def test_cuts_are_merged_clipped_and_specks_dropped():
    curve = link(0j, complex(0, HEIGHT))
    assert kept(curve, []) == [curve]
    assert len(kept(curve, [(0.4, 0.5)])) == 2
    assert len(kept(curve, [(0.4, 0.5), (0.45, 0.6)])) == 2
    assert len(kept(curve, [(0.3, 0.5), (0.505, 0.6)])) == 2
    assert len(kept(curve, [(-0.1, 0.2), (0.9, 1.1)])) == 1


def test_only_the_later_block_is_cut():
    own = curves(Diagram.parse("p p -> p p: 1 2' | 2 1'"))
    woven = weave(own)
    assert woven.curves[0] == tuple(own[0])
    assert len(woven.curves[1]) == 2
    assert woven.met == (frozenset(), frozenset({0}))
