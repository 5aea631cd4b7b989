"""The worked examples of CONTRIBUTING.md run; the family of groups is in tests/groups/test_new_family.py."""

import json
import re
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.extend
import jax.numpy as jnp
import pytest
from flax import nnx
from typer.testing import CliRunner

import equikit as ek
from equikit.cli import _commands, app
from equikit.nn.networks import _hidden
from equikit.weightspace import trace
from equikit.weightspace.tracing.primitives import _table

CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOPICS = ["family of groups", "frame", "nonlinearity", "primitive to `trace`", "drawing", "command"]


def section(topic):
    """The text of one section."""
    return CONTRIBUTING.partition(f"\n## Add a {topic}\n")[2].partition("\n## ")[0]


def block(topic):
    """The code of the example of a section."""
    (code,) = re.findall(r"^```python\n(.*?)^```", section(topic), re.MULTILINE | re.DOTALL)
    return code


def line(topic, start):
    """The line of code of a section that begins with a word."""
    (code,) = re.findall(rf"^    (\"?{start}\b.*)$", section(topic), re.MULTILINE)
    return code


def example(topic, module=None):
    """The names that the example of a section defines, at the end of a module or in a file of its own."""
    names = {"__name__": "example"} if module is None else {**vars(module)}
    exec(compile(block(topic), f"CONTRIBUTING.md, {topic}", "exec"), names)
    return names


def text(module):
    return Path(module.__file__).read_text(encoding="utf-8")


def test_every_kind_of_extension_has_an_example():
    assert re.findall(r"^## Add a (.*)$", CONTRIBUTING, re.MULTILINE) == TOPICS
    assert all("    " in section(topic) for topic in TOPICS)


def test_the_files_that_it_names_exist():
    examples = {"_squash.py", "_dot.py"}
    files = [path for path in re.findall(r"equikit/[\w/]+(?:\.py|/)", CONTRIBUTING) if Path(path).name not in examples]
    assert len(files) > 8
    assert all((Path(__file__).parents[1] / path).exists() for path in files)


def test_the_files_with_the_examples_pass_the_linter():
    pytest.importorskip("ruff")
    other, start = "from equikit.nn._nonlinear import Gated, NormGated, Pointwise\n", '    "pointwise": _pointwise,\n'
    hidden = text(_hidden).replace(other, other + line("nonlinearity", "from") + "\n")
    hidden = hidden.replace(start, start + f"    {line('nonlinearity', 'squash')}\n")
    files = {
        "equikit/nn/_squash.py": block("nonlinearity"),
        "equikit/nn/networks/_hidden.py": hidden,
        "equikit/draw/_dot.py": block("drawing"),
        "equikit/cli/_commands.py": text(_commands) + "\n\n" + block("command"),
    }
    for path, code in files.items():
        checked = [sys.executable, "-m", "ruff", "check", "--stdin-filename", path, "-"]
        result = subprocess.run(checked, input=code, capture_output=True, encoding="utf-8")
        assert result.returncode == 0, result.stdout


def test_the_frame_makes_a_function_equivariant():
    frame = example("frame")["LargestFirst"]()
    sym = ek.symmetrize(lambda x: jnp.cumsum(x**2, axis=-2), "z -> z", z=ek.Z(5), how=frame)
    ek.testing.assert_equivariant(sym, "z -> z", z=ek.Z(5), channels=2, key=jax.random.key(0))
    x = jnp.array([1.0, 3, 0, 2, 1])[:, None]
    assert sym(x)[:, 0].tolist() == [15.0, 9, 9, 13, 14]  # sums of squares from the three on
    assert sym.info(jnp.array([3.0, 3, 0, 2, 1])[:, None]).degenerate
    with pytest.raises(ek.FrameError):
        sym(jnp.ones((5, 1)))
    assert jnp.isnan(jax.jit(sym)(jnp.ones((5, 1)))).all()  # a compiled program cannot raise


def test_the_nonlinearity_is_a_choice_of_networks(monkeypatch):
    squash, names = types.ModuleType("equikit.nn._squash"), {**vars(_hidden)}
    vars(squash).update(example("nonlinearity"))
    monkeypatch.setitem(sys.modules, "equikit.nn._squash", squash)
    exec(line("nonlinearity", "from"), names)
    ((name, builder),) = eval(f"{{{line('nonlinearity', 'squash')}}}", names).items()
    monkeypatch.setitem(_hidden.NONLINEARITIES, name, builder)
    widths = [{"": 2, "x": 3}, {"": 4, "x": 4}, {"x": 1}]
    network = ek.nn.Network(widths, nonlinearity="squash", x=ek.O(3), rngs=nnx.Rngs(0))
    assert type(network.nonlinear[0]).__name__ == "Squash"
    signature = {"": ("", 2), "x": ("x", 3)}, {"x": ("x", 1)}
    ek.testing.assert_equivariant(network, *signature, x=ek.O(3), key=jax.random.key(0))


def test_the_primitive_keeps_permutations_and_signs(monkeypatch):
    softsign = jax.extend.core.Primitive("softsign")
    softsign.def_impl(lambda x: x / (1 + abs(x)))
    softsign.def_abstract_eval(lambda x: x)

    def model(params, x):
        return softsign.bind(x @ params["in"]) @ params["out"]

    params, x = {"in": jnp.ones((3, 8)), "out": jnp.ones((8, 2))}, jnp.ones((5, 3))
    with pytest.warns(ek.TraceWarning, match="softsign"):
        assert not trace(model, params, x).groups
    ((name, rule),) = eval(f"{{{line('primitive to `trace`', 'softsign')}}}", vars(_table)).items()
    monkeypatch.setitem(_table.TABLE, name, rule)
    spec = trace(model, params, x)
    assert [str(group) for group in spec.groups.values()] == ["S(8)"]
    assert len(spec.scalings) == 1  # the signs of hidden neurons


def test_the_drawing_has_a_node_for_each_axis_and_joins_blocks():
    draw = example("drawing")["diagram_dot"]
    text = draw(ek.Diagram.parse("p p -> p: 1 1' | 2'"))
    assert text.splitlines() == ["graph {", *(f'{i} [label="p"];' for i in range(3)), "0 -- 1;", "}"]
    assert all(draw(diagram).count("label") == 4 for diagram in ek.hom("p p -> p p", p=ek.S).diagrams)


def test_the_command_reads_groups_and_prints_json(monkeypatch):
    monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
    example("command", _commands)
    words = ["dimension", "p p -> p p", "--group", "p=S"]
    plain, value = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--json"]))
    assert (plain.exit_code, plain.stdout) == (0, "15\n")
    assert json.loads(value.stdout)["dimension"] == 15
    assert CliRunner().invoke(app, ["dimension", "p -> p"]).exit_code == 2
