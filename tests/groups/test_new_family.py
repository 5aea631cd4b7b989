"""A family of groups is one file: the one in CONTRIBUTING.md, which no file of equikit names, works everywhere."""

import importlib
import itertools
import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import assert_error
from typer.testing import CliRunner

import equikit as ek
from equikit.cli import app, parse_groups
from equikit.symmetrization.finite._haar import draw_element

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SIZES = [(2, 2), (2, 3), (3, 2), (1, 3), (3, 1), (2, 0), (0, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the module of CONTRIBUTING.md, on the path."""
    (text,) = re.findall(r"```python\n(# my_groups\.py\n.*?)```", CONTRIBUTING, re.DOTALL)
    folder = tmp_path_factory.mktemp("family")
    (folder / "my_groups.py").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("my_groups", None)


@pytest.fixture
def wreath(folder):
    return importlib.import_module("my_groups").Wreath


def all_elements(points, boxes):
    """Every element, from its definition: a permutation of the boxes, and one of the points of every box."""
    inside = [np.array(p, np.int64) for p in itertools.permutations(range(points))]
    return [
        np.array([place[i] * points + within[i] for i in range(boxes)]).reshape(points * boxes)
        for place in itertools.permutations(range(boxes))
        for within in itertools.product(inside, repeat=boxes)
    ]


def mixing(x):
    """A backbone of one axis that treats no two entries alike."""
    steps = jnp.arange(1, x.shape[-2] + 1, dtype=x.dtype)[:, None]
    return jnp.cumsum(x * steps, axis=-2) * (1 + x)


@pytest.mark.parametrize(("points", "boxes"), SIZES)
def test_elements_are_those_of_the_definition(wreath, points, boxes):
    group, wanted = wreath(points, boxes), {tuple(g.tolist()) for g in all_elements(points, boxes)}
    assert {tuple(g) for g in group.elements().tolist()} == wanted
    assert len(group.elements()) == len(wanted)
    if points and boxes:
        assert group.order() == len(wanted)
        assert tuple(group.random_element(np.random.default_rng(0)).tolist()) in wanted


def test_it_is_a_value(wreath):
    assert (str(wreath(2, 3)), repr(wreath(2, 3))) == ("Wreath(2, 3)", "Wreath(2, 3)")
    assert wreath(2, 3) == wreath(2, 3) != wreath(3, 2)
    assert sorted([wreath(3, 2), wreath(2, 3), wreath(2, 1)]) == [wreath(2, 1), wreath(2, 3), wreath(3, 2)]
    assert (wreath(2, 3).keeps_norm, wreath(2, 3).is_finite, wreath(2, 3).free) == (True, True, None)
    assert_error(ek.GroupError, lambda: wreath(-1, 2), "Wreath needs", "-1", "zero or more", "Wreath(4)")


@pytest.mark.parametrize("by_jax", [False, True], ids=["NumPy", "JAX"])
def test_draws_are_uniform(wreath, by_jax):
    group, count, generator = wreath(2, 3), 4000, np.random.default_rng(0)
    if by_jax:
        keys = jax.random.split(jax.random.key(0), count)
        draws = np.asarray(jax.vmap(lambda key: draw_element(group, key, group.n, jnp.float32))(keys))
    else:
        draws = np.stack([group.random_element(generator) for _ in range(count)])
    kinds, counts = np.unique(draws, axis=0, return_counts=True)
    assert {tuple(kind) for kind in kinds.tolist()} == {tuple(g.tolist()) for g in all_elements(2, 3)}
    squares = np.sum((counts - count / 48) ** 2) / (count / 48)
    assert squares < 48 + 4.5 * math.sqrt(2 * 48)


@pytest.mark.parametrize("signature", ["p -> p", "p p -> p", "p p -> p p", "() -> p p p", "p + p p -> p"])
@pytest.mark.parametrize(("points", "boxes"), SIZES)
def test_the_dimension_is_that_of_burnside(wreath, signature, points, boxes):
    """The dimension of the maps between two terms is the mean over the group of the fixed points to a power."""
    space = ek.hom(signature, p=wreath(points, boxes))
    fixed = [int(np.sum(g == np.arange(len(g)))) for g in all_elements(points, boxes)]
    orders = [len(i.labels) + len(o.labels) for i in space.signature.inputs for o in space.signature.outputs]
    assert space.dim * len(fixed) == sum(points**order for order in orders for points in fixed)


def test_groups_with_too_many_elements_to_list_have_maps_too(wreath):
    group = wreath(3, 6)
    assert group.order() == 6**6 * 720
    assert ek.hom("p -> p", p=group).dim == 3  # one place, two of one box, two of two boxes
    assert sorted(group.random_element(np.random.default_rng(0)).tolist()) == list(range(18))


def test_a_layer_is_equivariant(x64, wreath):
    group = wreath(2, 3)
    layer = ek.nn.Linear("p p -> p", 2, 3, p=group, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    ek.testing.assert_equivariant(layer, "p p -> p", p=group, channels=2, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (6, 6, 2))
    for g in (group.random_element(np.random.default_rng(seed)) for seed in range(3)):
        moved = group.act(g, group.act(g, x, 0), 1)
        np.testing.assert_allclose(layer(moved), group.act(g, layer(x), 0), atol=1e-12)
    outside = np.array([2, 1, 0, 3, 4, 5])  # exchanges points of two boxes
    moved = group.act(outside, group.act(outside, x, 0), 1)
    assert np.max(np.abs(layer(moved) - group.act(outside, layer(x), 0))) > 0.01


@pytest.mark.parametrize("samples", [None, 5])
def test_the_average_is_that_over_all_elements(x64, wreath, samples):
    group = wreath(2, 2)
    sym = ek.symmetrize(mixing, "p -> p", p=group, how=ek.frames.GroupAverage(samples=samples))
    x = jax.random.normal(jax.random.key(1), (4, 2))
    if samples is None:
        matrices = [group.matrix(g) for g in all_elements(2, 2)]
        wanted = sum(matrix @ mixing(matrix.T @ x) for matrix in matrices) / len(matrices)
        np.testing.assert_allclose(jax.jit(sym)(x), wanted, atol=1e-12)
    else:
        drawn = sym.frame(x, key=jax.random.key(0)).elements.linear["p"]
        assert {tuple(g) for g in drawn.tolist()} <= {tuple(g.tolist()) for g in all_elements(2, 2)}


def test_permuted_entries_take_any_function_and_pool(wreath):
    group, x = wreath(2, 2), jnp.arange(4.0)[:, None]
    assert ek.nn.Pointwise(jnp.abs, "p", p=group)(-x).tolist() == x.tolist()
    assert ek.nn.Pool("p", how="max", p=group)(x).tolist() == [3]


def test_it_is_drawn(wreath):
    space = ek.hom("p p -> p", p=wreath(2, 3))
    assert ek.draw.space_html(space).count("<figure") == space.dim
    assert ek.draw.diagram_svg(space.diagrams[0]).startswith("<svg")
    assert "tensor 1" in ek.draw.diagram_text(space.diagrams[0])


# The command line.


def said(*words):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.stderr
    return result.stdout


GROUP = ("--group", "p=Wreath(2,3)", "--import", "my_groups")


def test_every_command_that_reads_groups_imports_modules(wreath):
    assert json.loads(said("basis", "p p -> p", *GROUP, "--json"))["groups"] == {"p": "Wreath(2, 3)"}
    assert json.loads(said("basis", "p p -> p", *GROUP, "--json"))["dimension"] == 11
    assert json.loads(said("plan", "p p -> p", *GROUP, "--json"))["groups"] == {"p": "Wreath(2, 3)"}
    assert "tensor 1" in said("draw", "p -> p", *GROUP)


def test_modules_are_found_in_the_working_directory(folder):
    (command,) = re.findall(r"^    equikit (.*--import.*)$", CONTRIBUTING, re.MULTILINE)
    words = [sys.executable, "-m", "equikit", *shlex.split(command)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert "dimension 11" in done.stdout


MATRICES = """
import numpy as np
import equikit as ek

C4 = ek.MatrixGroup([[[0, -1], [1, 0]]], name="C4")

class Rotations(ek.MatrixGroup):
    def __init__(self, count):
        c, s = np.cos(2 * np.pi / count), np.sin(2 * np.pi / count)
        super().__init__([[[c, -s], [s, c]]], name=f"Rotations({count})")
"""


def test_groups_of_matrices_in_a_module(folder):
    (folder / "point_groups.py").write_text(MATRICES, encoding="utf-8")
    importlib.invalidate_caches()
    found = parse_groups(["x=C4", "y=Rotations(5)", "p=Wreath(2,2)"], ["point_groups", "my_groups"])
    assert {label: str(group) for label, group in found.items()} == {
        "x": "C4",
        "y": "Rotations(5)",
        "p": "Wreath(2, 2)",
    }
    assert ek.hom("y y -> y y", groups={"y": found["y"]}).dim == 6
    with pytest.raises(ek.SignatureError, match=r"cannot be read[\s\S]*C4 without a size"):
        parse_groups(["x=C4(2)"], ["point_groups"])
    with pytest.raises(ek.SignatureError, match="add --import with the module that defines Wreath"):
        parse_groups(["p=Wreath(2,2)"])


@pytest.mark.parametrize("sizes", ["", "(2)", "(2,3,4)"])
def test_a_family_needs_its_sizes(wreath, sizes):
    with pytest.raises(ek.SignatureError, match=r"cannot be read[\s\S]*Wreath\(points, boxes\)"):
        parse_groups([f"p=Wreath{sizes}"], ["my_groups"])
    assert_error(
        ek.SignatureError,
        lambda: ek.hom("p -> p", p=wreath),
        "no free group",
        "Wreath",
        "Wreath(points, boxes)",
        "bind p",
    )


@pytest.mark.parametrize(
    ("name", "text", "problem", "got"),
    [
        ("no_such_module", None, "cannot be imported", "ModuleNotFoundError"),
        ("broken", "x = = 1", "cannot be imported", "SyntaxError"),
        ("failing", "raise RuntimeError('no luck')", "cannot be imported", "RuntimeError: no luck"),
        ("empty", "from equikit import *\nfrom equikit.groups import *\n", "defines no group", "--import empty"),
    ],
)
def test_modules_without_groups_are_refused(folder, name, text, problem, got):
    if text is not None:
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    result = CliRunner().invoke(app, ["basis", "p -> p", "--group", "p=S", "--import", name])
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert got in result.stderr
