import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from pictures import elements

from equikit._errors import DTypeError, OptionError, ShapeError, TooLargeError
from equikit.diagrams import hom
from equikit.draw import matrix_svg
from equikit.draw._palette import NEGATIVE, POSITIVE
from equikit.groups import S


def read_back(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Signs of the entries, from the rectangles and their colors."""
    (frame,) = elements(text, "path", "frame")
    cell = (float(frame.get("d").partition("h")[2].partition("v")[0]) - 1) / shape[1]
    result = np.zeros(shape, int)
    for path in elements(text, "path", "entries"):
        sign = {POSITIVE: 1, NEGATIVE: -1}[path.get("fill")]
        for x, y, length in re.findall(r"M(\S+) (\S+)h([\d.]+)v", path.get("d")):
            row, column = round((float(y) - 1) / cell), round((float(x) - 1) / cell)
            result[row, column : column + round(float(length) / cell)] += sign
    return result


def test_the_entries_can_be_read_back():
    generator = np.random.default_rng(0)
    for shape in [(1, 1), (3, 5), (7, 2), (16, 16), (27, 27)]:
        array = generator.integers(-2, 3, shape)
        np.testing.assert_array_equal(read_back(matrix_svg(array), shape), np.sign(array))


def test_the_matrices_of_a_space_can_be_read_back():
    for matrix in hom("p p -> p p", p=S(3)).matrices():
        np.testing.assert_array_equal(read_back(matrix_svg(matrix), (9, 9)), matrix)


def test_smaller_entries_are_paler():
    text = matrix_svg(np.array([[1, 2, 4]]))
    opacity = [path.get("fill-opacity") for path in elements(text, "path", "entries")]
    assert opacity == ["0.44", "0.62", None]


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0)])
def test_empty_matrices_are_drawn(shape):
    assert len(elements(matrix_svg(np.zeros(shape, int)), "path", "frame")) == 1


def test_the_grid_is_dropped_where_cells_are_small():
    assert elements(matrix_svg(np.eye(16, dtype=int)), "path", "grid")
    assert not elements(matrix_svg(np.eye(27, dtype=int)), "path", "grid")


@pytest.mark.parametrize(("shape", "side"), [((2, 2), 96), ((16, 16), 96), ((64, 3), 50), ((1, 300), 96)])
def test_the_picture_keeps_within_the_side(shape, side):
    root = ET.fromstring(matrix_svg(np.ones(shape, int), side=side))
    assert max(float(root.get("width")), float(root.get("height"))) <= side + 2


@pytest.mark.parametrize("shape", [(3, 9), (9, 3), (3, 27), (1, 7), (4, 4)])
def test_the_frame_is_inside_whole_pixels(shape):
    text = matrix_svg(np.ones(shape, int), side=80)
    root = ET.fromstring(text)
    size = [float(root.get(name)) for name in ("width", "height")]
    assert size == [round(each) for each in size]
    (frame,) = elements(text, "path", "frame")
    left, top, width, height = map(float, re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)", frame.get("d"))[0])
    assert left + width + 0.5 <= size[0]  # half of the line lies outside
    assert top + height + 0.5 <= size[1]


def test_borders_of_blocks():
    (borders,) = elements(matrix_svg(np.eye(9, dtype=int), blocks=(3, 9)), "path", "borders")
    assert borders.get("d").count("M") == 2


def test_the_largest_integers_are_drawn():
    array = np.array([[np.iinfo(np.int64).min, 1]])
    assert len(elements(matrix_svg(array), "path", "entries")) == 2
    assert len(elements(matrix_svg(np.array([[True, False]])), "path", "entries")) == 1


@pytest.mark.parametrize(
    ("array", "options", "error"),
    [
        (np.zeros(3, int), {}, ShapeError),
        (np.zeros((2, 2)), {}, DTypeError),
        (np.zeros((2, 2), object), {}, DTypeError),
        (np.zeros((1024, 1024), np.int8), {}, TooLargeError),
        (np.zeros((2, 2), int), {"side": 0}, OptionError),
        (np.zeros((2, 2), int), {"side": float("nan")}, OptionError),
        (np.zeros((2, 2), int), {"blocks": (0, 1)}, OptionError),
    ],
)
def test_what_cannot_be_drawn_is_refused(array, options, error):
    with pytest.raises(error, match="next step"):
        matrix_svg(array, **options)
