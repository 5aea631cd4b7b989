import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import equikit as ek
from equikit.cli import app, parse_channels, parse_groups, parse_sizes

COMMANDS = ("basis", "plan", "draw", "audit", "demo")
GRAPH = ("p p -> p p", "-g")


def run(*words):
    return CliRunner().invoke(app, list(words))


def said(*words):
    """What a command that must succeed prints."""
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*words):
    """The message of a command that must fail, which prints nothing else."""
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    return result.stderr


# Words on the command line.


def test_groups_are_read():
    assert parse_groups(["p=S", " q = S( 5 ) ", "f=Fixed(3)", "größe=S(0)"]) == {
        "p": ek.S(),
        "q": ek.S(5),
        "f": ek.Fixed(3),
        "größe": ek.S(0),
    }


def test_groups_have_the_sizes_that_they_have_in_python():
    assert parse_groups([f"p=S({10**40})"]) == {"p": ek.S(10**40)}
    with pytest.raises(ek.GroupError, match="below about 10"):
        parse_groups([f"p=S({10**200})"])


@pytest.mark.parametrize(
    "text",
    ["", "p", "p=", "=S", "p=s", "p=S()", "p=S(-1)", "p=S(1.5)", "p=S(5", "p=S5", "p=Fixed", "p=O(3,", "p=O()",
     "p=Lorentz(3)", "p=S(1,2)", "p=V(3)", "p=S(٣)", "p=S(5)+1", "p q=S(5)x", "1=S", "p=S=S", "p=__import__('os')",
     f"p=S({'9' * 5000})"],
)  # fmt: skip
def test_anything_else_is_no_group(text):
    with pytest.raises(ek.SignatureError, match="cannot be read") as error:
        parse_groups([text])
    assert repr(text) in str(error.value)


def test_a_label_is_bound_once():
    with pytest.raises(ek.SignatureError, match="'p' is bound twice"):
        parse_groups(["p=S", "p=S(5)"])


def test_channels_are_read():
    assert parse_channels("16,32") == (16, 32)
    assert parse_channels(" 16 + 8 , 0") == ((16, 8), 0)


@pytest.mark.parametrize("text", ["", "16", "16,", "1,2,3", "a,b", "-1,2", "1.5,2", "1+,2"])
def test_anything_else_is_no_channels(text):
    with pytest.raises(ek.OptionError, match="channels cannot be read"):
        parse_channels(text)


def test_sizes_are_read():
    two = ek.hom("a b f -> a", a=ek.S, b=ek.S, f=ek.Fixed(3))
    assert parse_sizes(None, two) is None
    assert parse_sizes("4", two) == {"a": 4, "b": 4, "f": 3}
    assert parse_sizes("a=4, b=2", two) == {"a": 4, "b": 2, "f": 3}


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "a=", "a=1,", "a=1,a=1,b=2", "=3", "a==3"])
def test_anything_else_is_no_size(text):
    with pytest.raises(ek.OptionError, match="sizes cannot be read"):
        parse_sizes(text, ek.hom("a -> b", a=ek.S, b=ek.S))


@pytest.mark.parametrize("text", ["a=3", "a=3,b=2,c=1"])
def test_sizes_fit_the_space(text):
    with pytest.raises(ek.ShapeError):
        parse_sizes(text, ek.hom("a -> b", a=ek.S, b=ek.S))


# basis


def test_basis_lists_the_diagrams():
    text = said("basis", *GRAPH, "p=S(5)")
    assert "dimension 15" in text
    assert all(str(diagram).partition(": ")[2] in text for diagram in ek.hom("p p -> p p", p=ek.S(5)).diagrams)


def test_basis_as_json_holds_the_matrices():
    value = json.loads(said("basis", *GRAPH, "p=S", "--matrices", "--n", "2", "--json"))
    space = ek.hom("p p -> p p", p=ek.S)
    assert (value["dimension"], value["groups"], value["sizes"]) == (15, {"p": "S"}, {"p": 2})
    (pair,) = value["pairs"]
    assert [diagram["text"] for diagram in pair["diagrams"]] == list(map(str, space.diagrams))
    np.testing.assert_array_equal([diagram["matrix"] for diagram in pair["diagrams"]], space.matrices(2))


def test_basis_prints_matrices():
    assert said("basis", "p -> p", "-g", "p=S(2)", "--matrices").endswith("p -> p: 1 | 1'\n  1 1\n  1 1\n")


def test_basis_of_millions_of_diagrams_is_quick():
    text = said("basis", "p p p p p p -> p p p p p p", "-g", "p=S", "--limit", "2")
    assert "dimension 4,213,597" in text
    assert "and 4,213,595 more" in text


def test_basis_of_several_terms_and_plain_axes():
    value = json.loads(said("basis", "e: p p + v: p f -> p", "-g", "p=S", "-g", "f=Fixed(3)", "--json"))
    assert [(pair["input"], pair["count"], pair["maps per diagram"]) for pair in value["pairs"]] == [
        ("e: p p", 5, 1),
        ("v: p f", 2, 3),
    ]
    assert value["dimension"] == 5 + 2 * 3


# plan


def test_plan_is_the_table():
    options = ["--channels", "16,32", "--batch", "32", "--n", "8", "--normalize", "mean", "--bias"]
    made = ek.plans.plan(ek.hom("p p -> p p", p=ek.S), (16, 32), normalize="mean", bias=True)
    assert said("plan", *GRAPH, "p=S", *options) == made.table(batch=32, n=8) + "\n"


def test_plan_as_json_has_numbers_or_formulas():
    numbers = json.loads(said("plan", "p -> p", "-g", "p=S", "--n", "3", "--json"))
    formulas = json.loads(said("plan", "p -> p", "-g", "p=S", "--json"))
    assert numbers["flops"] == sum(step["flops"] for step in numbers["steps"])
    assert eval(formulas["flops"], {"n": 3}) == numbers["flops"]


def test_plan_shows_the_program():
    code = ek.hom("p p -> p p", p=ek.S).plan((16, 32)).code()
    assert said("plan", *GRAPH, "p=S", "--channels", "16,32", "--code") == f"{code}\n"
    assert json.loads(said("plan", *GRAPH, "p=S", "--channels", "16,32", "--code", "--json"))["code"] == code


def test_plan_shows_what_each_pass_saves():
    options = ["--channels", "16,32", "--batch", "32", "--bias", "--passes"]
    lines = said("plan", *GRAPH, "p=S", *options, "--n", "8").splitlines()
    found = ek.plans.stages(ek.hom("p p -> p p", p=ek.S), (16, 32), bias=True)
    assert lines[0] == 'plan of "p p -> p p" with p=S: channels 16 -> 32, batch 32, sum, bias'
    rows = [line.split() for line in lines[4:]]
    assert [row[0] for row in rows] == list(found)
    for (_, steps, flops, moved), program in zip(rows, found.values(), strict=True):
        assert int(steps.replace(",", "")) == program.steps
        assert (int(flops.replace(",", "")), int(moved.replace(",", ""))) == program.cost(batch=32, n=8)
    value = json.loads(said("plan", *GRAPH, "p=S", *options, "--json"))
    assert [row["after pass"] for row in value["passes"]] == list(found)
    assert eval(value["passes"][0]["bytes"], {"n": 8}) == found["unshared"].cost(batch=32, n=8)[1]
    assert value["batch"] == 32


# draw


def test_draw_in_the_terminal():
    text = said("draw", "p p -> p", "-g", "p=S(3)")
    for diagram in ek.hom("p p -> p", p=ek.S(3)).diagrams:
        assert f"{diagram}\n\n{ek.draw.diagram_text(diagram)}\n" in text


def test_draw_numbers_diagrams_over_all_pairs():
    space = ek.hom("p p + p -> p", p=ek.S)
    assert said("draw", "p p + p -> p", "-g", "p=S", "-i", "6").startswith(f"6  {space.diagrams[6]}")
    value = json.loads(said("draw", "p p + p -> p", "-g", "p=S", "--json", "--limit", "6"))
    assert [drawing["text"] for drawing in value["diagrams"]] == list(map(str, space.diagrams[:6]))


def test_draw_says_what_it_leaves_out():
    assert said("draw", *GRAPH, "p=S", "--limit", "2").endswith("and 13 more\n")
    assert "no diagrams" in said("draw", "p -> q", "-g", "p=S(0)", "-g", "q=S")


def test_draw_to_files(tmp_path):
    page, picture, only = (tmp_path / name for name in ("all.html", "one.svg", "only.SVG"))
    said("draw", *GRAPH, "p=S(3)", "-o", str(page))
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert page.read_text(encoding="utf-8").count("<figure") == 14  # of 15 partitions one has four blocks
    value = json.loads(said("draw", *GRAPH, "p=S(3)", "-i", "2", "-o", str(picture), "--json"))
    assert value["output"] == str(picture)
    assert picture.read_text(encoding="utf-8") == value["diagrams"][0]["svg"]
    said("draw", "p -> ()", "-g", "p=S", "-o", str(only), "--limit", "0")
    assert only.read_text(encoding="utf-8").startswith("<svg")
    missing = tmp_path / "new"
    assert f"no folder {missing}" in refused("draw", *GRAPH, "p=S(3)", "-o", str(missing / "all.html"))
    assert not missing.exists()


def test_draw_in_every_format(tmp_path):
    diagram = ek.hom("p p -> p p", p=ek.S(3)).diagrams[2]
    one = (*GRAPH, "p=S(3)", "-i", "2")
    assert said("draw", *one, "--format", "svg") == ek.draw.diagram_svg(diagram) + "\n"
    assert said("draw", *one, "-f", "svg", "--scale", "3") == ek.draw.diagram_svg(diagram, scale=3) + "\n"
    assert said("draw", *one, "-f", "tikz", "--scale", "0.5") == ek.draw.diagram_tikz(diagram, scale=0.5) + "\n"
    assert said("draw", *one, "-f", "text") == said("draw", *one)
    some = [ek.hom("p p -> p p", p=ek.S(3)).diagrams[i] for i in (0, 6, 2)]
    assert said("draw", *GRAPH, "p=S(3)", "-f", "tikz", "-i", "0,6, 2") == (
        "\n".join(map(ek.draw.diagram_tikz, some)) + "\n"
    )
    assert [line for line in said("draw", *GRAPH, "p=S(3)", "-i", "6,0").split("\n") if line[:2] in ("6 ", "0 ")] == [
        f"6  {some[1]}",
        f"0  {some[0]}",
    ]
    every = said("draw", *GRAPH, "p=S(3)", "-f", "tikz", "--limit", "4")
    assert every == ek.draw.space_tikz(ek.hom("p p -> p p", p=ek.S(3)), 4) + "\n"
    assert said("draw", *GRAPH, "p=S(3)", "-f", "html").startswith("<!DOCTYPE html>")
    paths = {kind: tmp_path / f"one.{kind}" for kind in ("tex", "txt", "other")}
    for kind, options in (("tex", []), ("txt", []), ("other", ["-f", "tikz"])):
        value = json.loads(said("draw", *one, "-o", str(paths[kind]), "--json", *options))["diagrams"][0]
        expected = value["tikz"] if kind != "txt" else f"2  {diagram}\n\n{value['drawing']}\n"
        assert paths[kind].read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-f", "svg", "-o", "x.html", "-i", "0"], "leave --format out"),
        (["-f", "html", "-i", "0"], "leave --index out"),
        (["-f", "svg"], "add --index 0"),
        (["-f", "svg", "-i", "0,1"], "write --index 0, or --format tikz"),
        (["-i", "0;1"], "write for example --index 0,1,6"),
        (["-i", "0,15"], "there is no such diagram"),
        (["--scale", "2"], "the format text has no scale"),
        (["-o", "x.html", "--scale", "2"], "the format html has no scale"),
        (["-f", "tikz", "--scale", "0"], "write --scale 2"),
        (["-f", "tikz", "--scale", "nan"], "write --scale 2"),
        (["-f", "tikz", "--scale", "101"], "write --scale 2"),
        (["-f", "latex"], "unknown value for --format="),
    ],
)
def test_draw_refuses_formats_that_do_not_fit(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused("draw", *GRAPH, "p=S", *options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [["-o", "x.svg"], ["-o", "x.html", "-i", "0"], ["-o", "x.png", "-i", "0"], ["-o", "x"], ["-i", "15"], ["-i=-1"]],
)
def test_draw_refuses_what_it_cannot_do(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("draw", *GRAPH, "p=S", *options)
    assert list(tmp_path.iterdir()) == []


# plan --target


def compiled(*words):
    """The costs that `plan --target cpu` reports."""
    value = json.loads(said("plan", *words, "--target", "cpu", "--json"))
    return value, value["targets"][0]


def test_plan_is_compiled_for_a_target():
    words = "plan", "p -> p", "-g", "p=S(4)", "--target", "cpu"
    lines = said(*words).splitlines()
    assert lines[0] == "compiled, not run: float32, numbers of one device"
    assert lines[4].split()[0] == "cpu"
    assert said(*words, "--gradient").splitlines()[4].startswith("cpu, gradient")


def test_compiled_programs_as_json():
    words = *GRAPH, "p=S", "-c", "2,3", "--n", "4", "--batch", "5", "--bias"
    value, cost = compiled(*words)
    arrays, weights = 5 * 16, 15 * 2 * 3 + 2 * 3
    assert (value["signature"], value["batch"], value["sizes"]) == ("p p -> p p", 5, {"p": 4})
    assert cost["io_bytes"] == 4 * (arrays * (2 + 3) + weights)
    _, cost = compiled(*words, "--gradient")
    assert cost["io_bytes"] == 4 * (2 * arrays * 2 + 2 * weights + 1)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["x, x -> x", "-g", "x=SO(3)", "-c", "2,5"], 3 * (2 + 2 + 5) + 2 * 2 * 5),
        (["p + q f -> q", "-g", "p=S", "-g", "q=S", "-g", "f=Fixed(3)", "-c", "2+1,5", "--n", "p=4,q=6"],
         4 * 2 + 6 * 3 + 6 * 5 + 2 * 5 + 2 * 3 * 5),
        (["() -> p", "-g", "p=S", "--n", "7"], 1 + 7 + 1),
        (["u u* -> u", "-g", "u=GL", "--n", "2"], 4 + 2),
        (["u u* -> u u*", "-g", "u=U(2)"], 2 * (4 + 4 + 2)),
        (["u, u* -> ()", "-g", "u=U", "--n", "3"], 2 * (3 + 3 + 1 + 1)),
    ],
    ids=["multilinear", "two-terms-and-a-plain-axis", "a-label-of-the-output", "duals", "complex", "complex-pairs"],
)  # fmt: skip
def test_all_plans_can_be_compiled(words, numbers):
    assert compiled(*words)[1]["io_bytes"] == 4 * numbers


def test_a_batch_has_a_sample_for_each_device():
    """In a process of its own, because JAX reads the number of CPU devices when it is imported."""
    words = ["-m", "equikit", "plan", "p -> p", "-g", "p=S(4)", "--target", "cpu", "--devices", "8", "--json"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    value = json.loads(done.stdout)
    assert (value["batch"], value["targets"][0]["devices"]) == (8, 8)
    assert value["targets"][0]["io_bytes"] == 4 * (4 + 4 + 2)


# What all commands do.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["basis", "p p -> q", "-g", "p=S"], "label 'q' is not bound"),
        (["basis", "p % p", "-g", "p=S"], "bad character"),
        (["basis", "p -> p"], "label 'p' is not bound"),
        (["basis", "p -> p", "-g", "p=V(3)"], "cannot be read"),
        (["basis", "p -> p", "-g", "p=S", "--matrices"], "matrices need a size"),
        (["basis", "p -> p", "-g", "p=S", "--n", "2"], "leave --n out, or add --matrices"),
        (["basis", "x~ -> x", "-g", "x=S(3)"], "or write --group 'x=O(3)'"),
        (["plan", "p -> p", "-g", "p=S", "--normalize", "median"], "unknown value for --normalize="),
        (["plan", "p -> p", "-g", "p=S(3)", "--n", "4"], "does not fit"),
        (["plan", "p -> p", "-g", "p=S", "-c", "1+2,3"], "channels"),
        (["plan", "p -> p", "-g", "p=S(3)", "--target", "h200"], "write --target h100"),
        (["plan", "p -> p", "-g", "p=S(3)", "--target", ""], "unknown value for --target="),
        (["plan", "p -> p", "-g", "p=S", "--target", "cpu"], "compiled programs need a size for every label"),
        (["plan", "p -> p", "-g", "p=S(3)", "--target", "cpu", "--code"], "--code shows what is not compiled"),
        (["plan", "p -> p", "-g", "p=S", "--code", "--passes"], "--code shows nothing of --passes"),
        (["plan", "p -> p", "-g", "p=S(3)", "--gradient"], "--gradient is for programs that are compiled"),
        (["plan", "p -> p", "-g", "p=S(3)", "--target", "cpu", "--devices", "99"], "fewer than 99 CPU devices"),
        (["plan", "p -> p", "-g", "p=S(3)", "--target", "cpu", "--devices", "8", "--batch", "9"], "write --batch 16"),
        (["plan", "p -> p", "-g", f"p=S({10**30})", "--target", "cpu"], "would have too many entries"),
        (["draw", "p -> p", "-g", "p=S", "-o", "/dev/null/x.html"], "cannot be written"),
        (["draw", "p -> p", "-g", "p=S", "-o", "."], "name a file in this folder"),
        (["draw", "p -> p", "-g", "p=S", "-o", ".", "-f", "tikz"], "name a file in this folder"),
        (["draw", "p -> p", "-g", "p=S", "-o", "no_such_folder/x.html"], "make this folder first"),
        (["demo", "--output", "/dev/null/x"], "can be made"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_errors_are_messages(words, message, as_json):
    text = refused(*words, *(["--json"] if as_json else []))
    assert text.startswith("equikit: ")
    assert message in text
    assert "next step:" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("option", ["n", "batch"])
def test_a_program_that_is_printed_alone_has_no_sizes(option):
    words = "plan", "p -> p", "-g", "p=S", "--code", f"--{option}", "5"
    assert f"--code shows nothing of --{option}" in refused(*words)
    assert json.loads(said(*words, "--json"))["code"]


def test_advice_is_for_the_shell():
    assert "add --group q=S" in refused("basis", "p -> q", "-g", "p=S")
    assert "add --group dtype=S" in refused("basis", "dtype -> p", "-g", "p=S")


def test_advice_keeps_the_group():
    text = refused("basis", "m m -> ()", "-g", "m=Sp", "--matrices")
    assert "got:       m=Sp, which is free" in text
    assert "m=Sp(4)" in text


def test_many_drawings_cost_one_enumeration():
    assert "and 2,140 more" in said("draw", "p p p p -> p p p p", "-g", "p=S", "--limit", "2000")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_complete(command):
    text = said(command, "--help")
    assert f"Example: equikit {command}" in text
    assert "--json" in text


def test_version_and_list_of_commands():
    assert said("--version") == f"equikit {ek.__version__}\n"
    assert all(f"  {command}" in said("--help") for command in COMMANDS)


def test_console_entry_point():
    command = [sys.executable, "-m", "equikit", "basis", "p p -> p q", "-g", "p=S(5)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("equikit: label 'q' is not bound")


def test_basis_and_draw_do_not_import_jax():
    code = """if True:
        import sys
        from equikit.cli import app
        for command in ("basis", "draw"):
            app([command, "p p -> p", "-g", "p=S(3)", "--json"], standalone_mode=False)
        heavy = {"jax", "flax", "optax", "networkx", "sympy", "matplotlib"} & set(sys.modules)
        sys.exit(f"imported {heavy}" if heavy else 0)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_plans_of_multilinear_maps_are_those_of_python():
    words = "plan", "sym(x, x), x ->", "-g", "x=O(3)", "-c", "2,4"
    plan = ek.hom("sym(x, x), x -> ()", x=ek.O(3)).plan((2, 4))
    assert said(*words) == f"{plan}\n"
    assert said(*words, "--code") == f"{plan.code()}\n"
    found = json.loads(said("plan", "x x, x -> x", "-g", "x=O", "-c", "2+3,4", "--n", "3", "--json", "--code"))
    plan = ek.hom("x x, x -> x", x=ek.O).plan(((2, 3), 4))
    assert (found["signature"], found["mode"], found["dimension"]) == ("x x, x -> x", "full", 3)
    assert (found["flops"], found["bytes"]) == plan.cost(n=3)
    assert found["code"] == plan.code()


@pytest.mark.parametrize("option", ["--bias", "--passes"])
def test_options_of_linear_plans_are_refused_for_multilinear_maps(option):
    message = refused("plan", "x, x -> x", "-g", "x=SO(3)", option)
    assert f"plans of multilinear maps have no {option}" in message
    assert f"leave {option} out" in message


def test_counts_with_thousands_of_digits_are_printed():
    words = "p " * 1999 + "->", "-g", "p=S", "--json", "--limit", "0"
    for command in ("basis", "draw"):
        assert json.loads(said(command, *words))["dimension"] == "about 10^4347"
    assert "too many features" in refused("plan", "f " * 2000 + "-> f", "-g", "f=Fixed(784)")


@pytest.mark.parametrize("command", ["basis", "draw"])
def test_multilinear_maps_are_refused_with_the_way_to_them(command):
    message = refused(command, "x, x -> x", "-g", "x=SO(3)")
    assert "the command works on linear maps" in message
    code = {"basis": "list(space.diagrams)", "draw": "ek.draw.diagram_svg(space.diagrams[0])"}[command]
    assert message.rstrip().endswith(f"next step: make the space in Python with ek.hom, and write {code}")
    assert eval(code, {"ek": ek, "space": ek.hom("x, x -> x", x=ek.SO(3))})
