"""Hasse diagrams of subgroups: a circle for each subgroup, a line for each cover, all inside and apart."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from helpers import assert_error
from pictures import contrast, elements

import equikit as ek
from equikit.discover import subgroups
from equikit.draw import lattice_svg
from equikit.groups import A


@pytest.mark.parametrize("group", [ek.D(0), ek.D(6), ek.D(12), ek.S(4), A(5)], ids=str)
def test_every_subgroup_and_cover_is_drawn(group):
    lattice = subgroups(group)
    text = lattice_svg(lattice, scale=2)
    circles, lines = elements(text, "circle", "subgroup"), elements(text, "path", "cover")
    assert (len(circles), len(lines)) == (len(lattice), len(lattice.covers))
    root = ElementTree.fromstring(text)
    _, _, width, height = map(float, root.get("viewBox").split())
    assert float(root.get("width")) == pytest.approx(2 * width, abs=0.02)
    places = [(float(circle.get("cx")), float(circle.get("cy"))) for circle in circles]
    assert all(0 < x < width and 0 < y < height for x, y in places)
    assert all(abs(a[0] - b[0]) > 10 or a[1] != b[1] for a, b in itertools.combinations(places, 2))
    for line, (low, high) in zip(lines, lattice.covers, strict=True):
        numbers = [float(word) for word in re.findall(r"-?[\d.]+", line.get("d"))]
        assert (numbers[0], numbers[-2]) == (places[low][0], places[high][0])
        assert numbers[1] > numbers[-1]  # upwards
    assert [circle.get("fill") != "none" for circle in circles] == [one.is_normal for one in lattice]
    assert all(contrast(circle.get("stroke"), "#ffffff") > 3 for circle in circles)


def test_names_and_orders_are_written():
    text = lattice_svg(subgroups(ek.D(4)))
    words = [one.text for one in elements(text, "text")]
    assert words == ["Z(1)", "Z(2)", *["D(1)"] * 4, "Z(4)", "D(2)", "D(2)", "D(4)", "8", "4", "2", "1"]


def test_what_cannot_be_drawn_is_refused():
    error = (ek.TooLargeError, "too large for a picture", "418 subgroups", "at most 400", "smaller group")
    assert_error(error[0], lambda: lattice_svg(subgroups(ek.D(144))), *error[1:])
    assert_error(ek.OptionError, lambda: lattice_svg(3), "must be a SubgroupLattice", "3", "SubgroupLattice", "ek.D(6)")
    with pytest.raises(ek.OptionError, match="scale= must be a number > 0"):
        lattice_svg(subgroups(ek.D(4)), scale=0)


def test_lines_pass_around_other_subgroups():
    lattice = subgroups(ek.D(6))
    text = lattice_svg(lattice)
    places = [(float(one.get("cx")), float(one.get("cy"))) for one in elements(text, "circle", "subgroup")]
    for line, cover in zip(elements(text, "path", "cover"), lattice.covers, strict=True):
        points = np.array(re.findall(r"-?[\d.]+", line.get("d")), float).reshape(4, 2)
        times = np.linspace(0, 1, 65)[:, None]
        curve = sum(count * (1 - times) ** (3 - i) * times**i * points[i] for i, count in enumerate((1, 3, 3, 1)))
        others = [place for i, place in enumerate(places) if i not in cover]
        assert np.linalg.norm(curve[:, None] - np.array(others), axis=-1).min() > 5


def test_marked_subgroups_have_a_ring():
    lattice = subgroups(ek.D(6))
    marked = [one for one in lattice if one.name == "D(3)"]
    text = lattice_svg(lattice, marked=marked)
    places = [(one.get("cx"), one.get("cy")) for one in elements(text, "circle", "subgroup")]
    rings = [(one.get("cx"), one.get("cy")) for one in elements(text, "circle", "mark")]
    assert rings == [place for place, one in zip(places, lattice, strict=True) if one in marked]
    assert text.partition("<title>")[2].startswith("D(6): 16 subgroups, 2 marked<")


def test_marks_are_none_one_or_several_subgroups():
    lattice = subgroups(ek.D(3))
    assert lattice_svg(lattice, marked=None) == lattice_svg(lattice) == lattice_svg(lattice, marked=[])
    for wrong in (3, "D(3)", [None], [["D(3)"]], np.array(3)):
        with pytest.raises(ek.OptionError, match="a marked subgroup is not in the lattice"):
            lattice_svg(lattice, marked=wrong)
