"""TikZ pictures: the same shapes at the same positions as in SVG, text that LaTeX reads, and documents that compile."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_error
from pictures import SVG, diagrams

import equikit as ek
from equikit import draw
from equikit.discover import subgroups
from equikit.draw._palette import HUES
from equikit.draw.writers import tex_text
from equikit.weightspace import graph

NUMBER = r"-?\d+(?:\.\d+)?"
POINT = rf"\(({NUMBER}),({NUMBER})\)"
DIAGRAM = ek.Diagram.parse("q p q -> p q: 1 2' | 2 3' | 1'")
FACTORED = ek.Diagram.parse("p p p p -> p p p: 1 3' | 2 | 3 1' 4' | 2'").factor()
LATTICE = subgroups(ek.D(6))
MARKED = [one for one in LATTICE if one.name == "Z(3)"]
BARS = [("a_b & 50%", 2e-7), ("~{c}^\\", 0.5), ("zero", 0.0)]
MATRIX = np.arange(-3, 6).reshape(3, 3)
PARAMS = {"in": jnp.ones((2, 3)), "bias": jnp.ones(3), "out": -jnp.ones((3, 2))}
EDGES = ek.Support("p p", [0, 1, 1, 2, 2], [1, 0, 2, 0, 2], n=3)
BOTH = EDGES | EDGES.cliques()
NETWORK = graph(lambda p, x: jnp.tanh(x @ p["in"] + p["bias"]) @ p["out"], PARAMS, jnp.ones((5, 2)), "parameters")

PAIRS = {
    "diagram": (draw.diagram_svg(DIAGRAM), draw.diagram_tikz(DIAGRAM)),
    "scalar": (
        draw.diagram_svg(ek.Diagram.parse("p p -> (): 1' 2'")),
        draw.diagram_tikz(ek.Diagram.parse("p p -> (): 1' 2'")),
    ),
    "determinant": tuple(
        write(ek.hom("x x -> x", x=ek.SO(3)).diagrams[0]) for write in (draw.diagram_svg, draw.diagram_tikz)
    ),
    "lattice": (draw.lattice_svg(LATTICE, marked=MARKED), draw.lattice_tikz(LATTICE, marked=MARKED)),
    "matrix": (draw.matrix_svg(MATRIX, blocks=(1, 2)), draw.matrix_tikz(MATRIX, blocks=(1, 2))),
    "bars": (draw.bars_svg(BARS, limit=1e-6), draw.bars_tikz(BARS, limit=1e-6)),
    "support": (draw.support_svg(BOTH), draw.support_tikz(BOTH)),
    "numbers": (draw.support_svg(EDGES, range(-2, 3)), draw.support_tikz(EDGES, range(-2, 3))),
    "network": (draw.parameter_graph_svg(NETWORK), draw.parameter_graph_tikz(NETWORK)),
    "values": (draw.parameter_graph_svg(NETWORK, PARAMS), draw.parameter_graph_tikz(NETWORK, PARAMS)),
}


def commands(text: str, what: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith((r"\path", r"\node")) and what in line]


def pair(*words: str | None) -> tuple[float, float]:
    x, y = map(float, words)
    return x, y


@pytest.mark.parametrize("name", PAIRS)
def test_shapes_are_where_they_are_in_svg(name):
    svg, tikz = PAIRS[name]
    root = ET.fromstring(svg)
    circles = [pair(one.get("cx"), one.get("cy")) for one in root.iter(SVG + "circle")]
    assert [pair(*re.search(POINT, line).groups()) for line in commands(tikz, "circle[")] == circles
    words = [pair(one.get("x"), one.get("y")) for one in root.iter(SVG + "text")]
    assert [pair(*re.search(rf"at {POINT}", line).groups()) for line in commands(tikz, r"\node")] == words
    curves = [path.get("d") for path in root.iter(SVG + "path") if "C" in path.get("d")]
    drawn = [[*map(float, re.findall(NUMBER, line.partition("]")[2]))] for line in commands(tikz, "controls")]
    assert drawn == [[*map(float, re.findall(NUMBER, data))] for data in curves]
    lines = [path.get("d") for path in root.iter(SVG + "path") if "L" in path.get("d")]
    assert sum(line.count(" -- ") for line in commands(tikz, " -- ")) == sum(data.count("L") for data in lines)
    boxes = [path.get("d") for path in root.iter(SVG + "path") if "h" in path.get("d")]
    assert sum(one.count("rectangle") for one in commands(tikz, "rectangle")) == sum(one.count("h-") for one in boxes)


@pytest.mark.parametrize("name", PAIRS)
def test_colors_are_defined_and_groups_are_closed(name):
    _, tikz = PAIRS[name]
    defined = re.findall(r"\\definecolor\{(ek[0-9a-f]{6})\}\{HTML\}\{([0-9A-F]{6})\}", tikz)
    assert all(name == f"ek{value.lower()}" for name, value in defined)
    used = set(re.findall(r"(?:draw|fill|text)=(\w+)", tikz))
    assert used == {name for name, _ in defined}
    bare = re.sub(r"\\[\\{}]", "", tikz)
    assert bare.count("{") == bare.count("}")
    assert all(line.endswith(";") for line in commands(tikz, ""))
    title, first, *_, last = tikz.splitlines()
    assert title.startswith("% ")
    assert "CC0 1.0" in title
    assert first.startswith(r"\begin{tikzpicture}[")
    assert last == r"\end{tikzpicture}"


def test_hollow_vertices_have_an_outline_inside():
    lines = commands(PAIRS["diagram"][1], "circle[")
    hollow = [line for line in lines if "fill=" not in line]
    assert (len(lines), len(hollow)) == (5, 1)
    assert f"draw=ek{HUES[1][0][1:]}, line width=1.5bp" in hollow[0]
    assert "radius=3bp" in hollow[0]  # and half of the line: as large as the others
    assert all("radius=3.75bp" in line for line in lines if line not in hollow)


def test_all_diagrams_are_written():
    for diagram in diagrams():
        text = draw.diagram_tikz(diagram)
        assert text.count("circle[") == diagram.order
        assert text.splitlines()[0].startswith(f"% {diagram} ")


def test_scale_changes_coordinates_by_an_option_and_lines_by_their_width():
    small, large = (draw.diagram_tikz(DIAGRAM, scale=scale) for scale in (1, 2))
    assert "scale=2, transform shape" in large
    assert re.findall(POINT, small) == re.findall(POINT, large)
    widths = [[float(width) for width in re.findall(r"line width=([\d.]+)bp", text)] for text in (small, large)]
    assert widths[1] == pytest.approx([2 * width for width in widths[0]])
    for write, value in (
        (draw.diagram_tikz, DIAGRAM),
        (draw.lattice_tikz, LATTICE),
        (draw.factorization_tikz, FACTORED),
        (draw.parameter_graph_tikz, NETWORK),
        (draw.space_tikz, ek.hom("p -> p", p=ek.S)),
    ):
        with pytest.raises(ek.OptionError, match="scale= must be a number > 0"):
            write(value, scale=0)


def test_text_is_escaped():
    assert tex_text("1' | a_b & 50% #$~^\\{}<>") == (r"1$'$ $|$ a\_b \& 50\% \#\$\~{}\^{}$\backslash$$\{$$\}$$<$$>$")
    assert tex_text("a\nb\x00\u202ec") == "a b  c"


def test_a_title_stays_on_its_line():
    diagram = ek.Diagram("p q", (), (0, 1))
    object.__setattr__(diagram, "top", ("x\ny", "q"))  # past the check that labels are words
    assert draw.diagram_tikz(diagram).splitlines()[1].startswith(r"\begin{tikzpicture}")


def test_a_space_is_a_paragraph_of_pictures():
    space = ek.hom("p p -> p", p=ek.S)
    text = draw.space_tikz(space)
    assert text.count(r"\begin{tikzpicture}") == 5
    assert r"{no. 3: 1 $|$ 1$'$ 2$'$};" in text
    assert [line for line in text.splitlines() if "flushleft" in line] == [r"\begin{flushleft}", r"\end{flushleft}"]
    assert "% p p -> p: 3 more" in draw.space_tikz(space, 2).splitlines()
    large = draw.space_tikz(ek.hom("p p p p p p -> p", p=ek.S), 1)  # without its matrix
    assert "rectangle" not in "".join(commands(large, ""))
    with pytest.raises(ek.OptionError, match="most"):
        draw.space_tikz(space, -1)


def test_stages_share_their_rows():
    svg = ET.fromstring(draw.factorization_html(FACTORED)).find(SVG + "svg")
    text = draw.factorization_tikz(FACTORED)
    circles = [pair(one.get("cx"), one.get("cy")) for one in svg.iter(SVG + "circle")]
    rows = sorted({y for _, y in circles})
    assert [sum(y == row for _, y in circles) for row in rows] == [3, 3, 4, 4]
    assert text.count("circle[") == len(circles) == 14
    met = Counter()  # how many curves meet at a point
    for path in svg.iter(SVG + "path"):
        for run in path.get("d").split("M")[1:]:
            ends = [pair(*re.findall(NUMBER, step)[-2:]) for step in run.split("C")]
            met.update([*ends[:-1], *ends[1:]])
    assert all(met[one] == 1 for one in circles if one[1] in (rows[0], rows[-1]))
    # Wires go on through the rows in the middle, except where the output is copied and the input is summed.
    assert [met[one] for one in circles if one[1] == rows[1]] == [1, 2, 2]
    assert [met[one] for one in circles if one[1] == rows[2]] == [2, 2, 3, 1]
    words = [one.text for one in svg.iter(SVG + "text")]
    assert words == ["1", "2", "3", "1'", "2'", "3'", "4'", "output permutation", "planar", "input permutation"]
    left = max(x for x, _ in circles)
    assert all(float(one.get("x")) > left for one in svg.findall(f"{SVG}text[@class='note']"))


@pytest.mark.parametrize("value", [DIAGRAM, FACTORED, LATTICE, ek.hom("p p -> p", p=ek.S)], ids=repr)
def test_notebooks_get_html_and_latex(value):
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    formatter.active_types = list(formatter.format_types)
    data, _ = formatter.format(value)
    # Notebooks prefer HTML over LaTeX, and exports to LaTeX fail on SVG without Inkscape.
    assert {"text/html", "text/latex"} <= set(data)
    assert "image/svg+xml" not in data
    assert "tikzpicture" not in data["text/html"]
    assert ET.fromstring(data["text/html"]).tag in ("img", "div")
    condition, *_, last = data["text/latex"].splitlines()
    assert (condition, last) == (r"\ifdefined\tikzpicture", r"\fi")
    otherwise = data["text/latex"].partition("\\else\n")[2].splitlines()[0]
    assert otherwise.startswith(r"\texttt{")


def test_marks_must_be_in_the_lattice():
    other = subgroups(ek.D(5)).subgroups[0]
    expected = "not in the lattice", "Z(1) of order 1 in D(5)", "subgroups of D(6)", "lattice.subgroups"
    for write in (draw.lattice_svg, draw.lattice_tikz):
        assert_error(ek.OptionError, lambda write=write: write(LATTICE, marked=[other]), *expected)
    assert draw.lattice_svg(LATTICE, marked=MARKED[0]) == draw.lattice_svg(LATTICE, marked=MARKED)
    assert draw.lattice_svg(LATTICE, marked=LATTICE).count('class="mark"') == len(LATTICE)
    assert draw.lattice_svg(LATTICE) == draw.lattice_svg(LATTICE, marked=())


@pytest.mark.parametrize(
    "write",
    [draw.diagram_svg, draw.diagram_tikz, draw.diagram_text, draw.factorization_html, draw.factorization_tikz],
)
def test_what_is_no_diagram_is_refused(write):
    for wrong in ("p p -> p: 1 1' | 2'", ek.hom("p -> p", p=ek.S), None):
        with pytest.raises(ek.OptionError, match=r"(diagram|factored)= must be a (Diagram|Factorization)"):
            write(wrong)


def test_pictures_beyond_the_longest_length_of_tex_are_refused():
    wide = ek.Diagram.identity("p " * 10)
    with pytest.raises(ek.TooLargeError, match="too large for TeX") as caught:
        draw.diagram_tikz(wide, scale=100)
    scale = float(caught.value.step.removeprefix("write scale="))
    assert 50 < scale < 100
    assert draw.diagram_tikz(wide, scale=scale).count("circle[") == 20
    assert draw.diagram_tikz(DIAGRAM, scale=100)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex to compile TikZ with")
@pytest.mark.parametrize("package", [r"\usepackage{tikz}", ""], ids=["with TikZ", "without TikZ"])
def test_pictures_compile(package, tmp_path):
    if package and not subprocess.run(["kpsewhich", "tikz.sty"], capture_output=True, text=True).stdout.strip():
        pytest.skip("LaTeX has no TikZ")
    shown = [DIAGRAM, FACTORED, LATTICE, ek.hom("p q -> p + q", p=ek.S, q=ek.S), ek.hom("x x -> x", x=ek.SO(3))]
    texts = [value._repr_latex_() for value in shown]
    if package:
        texts += [tikz for _, tikz in PAIRS.values()]
        texts.append(draw.diagram_tikz(DIAGRAM, scale=2, numbers=False))
        texts.append(draw.diagram_tikz(ek.Diagram.identity("p " * 5), scale=100))
    body = "\n\n".join(texts)
    document = rf"\documentclass{{article}}{package}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "all.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "undefined" not in done.stdout
    assert (tmp_path / "all.pdf").stat().st_size > 5000
