"""A user's program passes strict type checking, and no call of a layer gives it `Any`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import equikit as ek

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import jax.numpy as jnp
from flax import nnx

import equikit as ek
from equikit.typing import Activation, Feature, Features, Inputs, Masks, Method, Normalize, Space

rngs = nnx.Rngs(0)
x = jnp.ones((4, 9, 9, 16))
features: Features = {"p p": 16, "p": ("p", 8)}
normalize: Normalize = "mean"
method: Method = "factored"
activation: Activation = jnp.tanh


def net(x: Feature, mask: Masks | None = None) -> Feature:
    layer = ek.nn.Linear("p p -> p", 16, 16, normalize=normalize, method=method, p=ek.S, rngs=rngs)
    return activation(ek.nn.Dropout({"p": 16}, 0.1, p=ek.S, rngs=rngs)(layer(x, mask=mask), mask=mask))


reveal_type(net(x))  # Array
reveal_type(ek.hom("p p -> p p", p=ek.S))  # HomSpace | MultilinearSpace
reveal_type(ek.hom({"a": "p p"}, {"b": "p"}, p=ek.S))  # HomSpace
reveal_type(ek.hom("p p -> p p", p=ek.S).dim)  # int
space: Space = ek.hom("p p -> p p", p=ek.S)
assert isinstance(space, ek.HomSpace)
reveal_type(space.pairs)  # tuple[HomSpace, ...]
reveal_type(space.plan((16, 32)))  # Plan
layer = ek.nn.Linear(space, 16, 32, rngs=rngs)
reveal_type(layer)  # Linear
reveal_type(layer(x))  # Array
reveal_type(layer({"p p": x}))  # dict[str, Array]
given: Inputs = x
reveal_type(ek.nn.Invariant(ek.hom("p p -> ()", p=ek.S), 16, 10, rngs=rngs)(given))  # Array
reveal_type(ek.nn.Multilinear("x, x -> x", 4, 8, x=ek.O(3), rngs=rngs)(x, x))  # Array
reveal_type(ek.nn.Bilinear({"x": 2}, 4, {"": 1}, x=ek.O(3), rngs=rngs)({"x": x}))  # dict[str, Array]
reveal_type(ek.nn.Gated({"x": 2}, x=ek.O(3))({"x": x}))  # dict[str, Array]
reveal_type(ek.nn.NormGated({"x": 2}, x=ek.O(3))(x))  # Array
reveal_type(ek.nn.Pointwise(jnp.tanh, "p", p=ek.S)(x))  # Array
reveal_type(ek.nn.Pool("p", p=ek.S)(x))  # Array
reveal_type(ek.nn.LayerNorm({"p": 2}, p=ek.S)(x))  # Array
reveal_type(ek.nn.BatchNorm({"p": 2}, p=ek.S)({"p": x}))  # dict[str, Array]
reveal_type(ek.nn.RMSNorm({"p": 2}, p=ek.S)(x))  # Array
reveal_type(ek.nn.Residual(layer)(x))  # Array
reveal_type(ek.nn.Stack(lambda rngs: layer, 2, rngs=rngs)(x))  # Array
reveal_type(ek.nn.Radial(5.0, 4, rngs=rngs)(x))  # Array
reveal_type(ek.nn.Network([{"x": 2}, {"": 1}], x=ek.O(3), rngs=rngs)({"x": x}))  # dict[str, Array]
reveal_type(ek.nn.MLP([{"x": 2}, {"": 1}], x=ek.O(3), rngs=rngs)({"x": x}))  # dict[str, Array]
reveal_type(ek.nn.DeepSets(3, [32], 1, rngs=rngs)(x))  # Array
reveal_type(ek.nn.GraphNetwork(1, [32], 1, rngs=rngs)(x))  # Array
reveal_type(ek.nn.VectorNeurons({"x": 2}, 3, x=ek.O(3), rngs=rngs)(x))  # Array
reveal_type(ek.nn.MatrixNetwork({"x": 2}, "x", x=ek.O(3), rngs=rngs)(x))  # Array
reveal_type(ek.nn.MatrixMLP(12, 3, rngs=rngs)(x))  # Array
reveal_type(ek.nn.GroupConvolution(1, ek.Z(4), rngs=rngs)(x))  # Array
reveal_type(ek.nn.ConstitutiveLaw(rngs=rngs)(x))  # Array
message = ek.nn.GeometricMessage({"p": 2}, {"p x": 1}, cutoff=2.0, p=ek.S, x=ek.O(3), rngs=rngs)
reveal_type(message({"p": x}, x))  # dict[str, Array]
symmetrized = ek.symmetrize(net, "p x -> p x", p=ek.S, x=ek.O(3), how=ek.frames.PCA())
reveal_type(symmetrized(x))  # Array
reveal_type(symmetrized({"p x": x}, with_info=True))  # tuple[dict[str, Array], Info]
params = {"first": x, "second": x}
spec = ek.weightspace.trace(lambda params, x: x @ params["first"] @ params["second"], params, x)
reveal_type(spec)  # Specification
reveal_type(ek.weightspace.align(spec, params, params))  # dict[str, Array]
reveal_type(ek.weightspace.align(spec, params, params, with_info=True))  # tuple[dict[str, Array], Matching]
"""
WRONG = """
from flax import nnx

import equikit as ek

ek.nn.Linear("p -> p", 16, 32, normalise="mean", method="quick", p=ek.S, rngs=nnx.Rngs(0))
ek.nn.Linear(3, 16, 32, p=ek.S, rngs=nnx.Rngs(0))
ek.nn.LayerNorm("p", p=ek.S)
ek.nn.Dropout({"p": 1}, 0.5, drop="nodes", p=ek.S, rngs=nnx.Rngs(0))
"""


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """The lines that mypy prints about a program."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("typing")

    def check(program: str) -> list[str]:
        path = folder / "program.py"
        path.write_text(program)
        options = ["--strict", f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
        ran = subprocess.run(
            [sys.executable, "-m", "mypy", *options, "--no-pretty", str(path)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert ran.stderr == ""
        return ran.stdout.splitlines()

    return check


@pytest.mark.slow
def test_a_strict_program_has_no_errors_and_no_any(mypy):
    lines = mypy(PROGRAM)
    assert not [line for line in lines if ": error:" in line]
    revealed = [match for line in lines if (match := re.search(r":(\d+): note: Revealed type is \"(.*)\"", line))]
    expected = {
        number: line.partition("  # ")[2]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if line.startswith("reveal_type")
    }
    assert {int(match[1]): re.sub(r"\b(?:\w+\.)+(?=\w)", "", match[2]) for match in revealed} == expected


@pytest.mark.slow
def test_wrong_arguments_are_found(mypy):
    lines = [line for line in mypy(WRONG) if ": error:" in line]
    assert [int(line.split(":")[1]) for line in lines] == [6, 7, 8, 9]


def test_the_types_are_those_of_the_layers():
    assert ek.typing.Masks is ek.plans.Masks
    assert ek.typing.Features is ek.nn.Features
    assert all(getattr(ek.typing, name) is not None and f"`{name}`" in ek.typing.__doc__ for name in ek.typing.__all__)
