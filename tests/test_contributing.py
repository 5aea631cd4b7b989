"""The worked examples of CONTRIBUTING.md run; the family of groups is in tests/groups/test_new_family.py."""

import json
import re
from pathlib import Path

import jax
import jax.extend
import jax.numpy as jnp
import pytest
from flax import nnx
from typer.testing import CliRunner

import equikit as ek
from equikit.cli import app
from equikit.nn.networks._hidden import NONLINEARITIES
from equikit.weightspace import trace
from equikit.weightspace.tracing.primitives import _table

CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOPICS = ["family of groups", "frame", "nonlinearity", "primitive to `trace`", "drawing", "command"]


def section(topic):
    """The text of one section."""
    return CONTRIBUTING.partition(f"\n## Add a {topic}\n")[2].partition("\n## ")[0]


def example(topic):
    """The names that the example of a section defines."""
    (code,) = re.findall(r"^```python\n(.*?)^```", section(topic), re.MULTILINE | re.DOTALL)
    names = {"__name__": "example"}
    exec(compile(code, f"CONTRIBUTING.md, {topic}", "exec"), names)
    return names


def test_every_kind_of_extension_has_an_example():
    assert re.findall(r"^## Add a (.*)$", CONTRIBUTING, re.MULTILINE) == TOPICS
    assert all("    " in section(topic) for topic in TOPICS)


def test_the_files_that_it_names_exist():
    examples = {"_squash.py", "_dot.py"}
    files = [path for path in re.findall(r"equikit/[\w/]+(?:\.py|/)", CONTRIBUTING) if Path(path).name not in examples]
    assert len(files) > 8
    assert all((Path(__file__).parents[1] / path).exists() for path in files)


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
    monkeypatch.setitem(NONLINEARITIES, "squash", None)  # removed when the test ends
    example("nonlinearity")
    widths = [{"": 2, "x": 3}, {"": 4, "x": 4}, {"x": 1}]
    network = ek.nn.Network(widths, nonlinearity="squash", x=ek.O(3), rngs=nnx.Rngs(0))
    assert type(network.nonlinear[0]).__name__ == "Squash"
    signature = {"": ("", 2), "x": ("x", 3)}, {"x": ("x", 1)}
    ek.testing.assert_equivariant(network, *signature, x=ek.O(3), key=jax.random.key(0))


def test_the_primitive_keeps_permutations_and_signs(monkeypatch):
    (line,) = re.findall(r'^    ("softsign": .*),$', section("primitive to `trace`"), re.MULTILINE)
    softsign = jax.extend.core.Primitive("softsign")
    softsign.def_impl(lambda x: x / (1 + abs(x)))
    softsign.def_abstract_eval(lambda x: x)

    def model(params, x):
        return softsign.bind(x @ params["in"]) @ params["out"]

    params, x = {"in": jnp.ones((3, 8)), "out": jnp.ones((8, 2))}, jnp.ones((5, 3))
    with pytest.warns(ek.TraceWarning, match="softsign"):
        assert not trace(model, params, x).groups
    ((name, rule),) = eval(f"{{{line}}}", vars(_table)).items()
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
    example("command")
    words = ["dimension", "p p -> p p", "--group", "p=S"]
    plain, value = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--json"]))
    assert (plain.exit_code, plain.stdout) == (0, "15\n")
    assert json.loads(value.stdout)["dimension"] == 15
    assert CliRunner().invoke(app, ["dimension", "p -> p"]).exit_code == 2
