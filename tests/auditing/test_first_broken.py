"""An audit names the module that breaks the symmetry."""

from typing import ClassVar
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek


class Block(nnx.Module):
    def __init__(self, normalized, rngs):
        self.linear = ek.nn.Linear("p x -> p x", 2, 2, p=ek.S, x=ek.O(3), rngs=rngs)
        self.norm = nnx.LayerNorm(2, rngs=rngs) if normalized else None

    def __call__(self, x):
        y = self.linear(x)
        return y if self.norm is None else self.norm(y)


class Net(nnx.Module):
    broken: ClassVar = (False, True, False)

    def __init__(self, rngs):
        self.blocks = nnx.List([Block(each, rngs) for each in self.broken])

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


DATA = np.random.default_rng(0).normal(size=(6, 4, 3, 2)).astype(np.float32)
GROUPS = {"p": ek.S, "x": ek.SO(3)}


@pytest.fixture(scope="module")
def report():
    """A normalization over channels that treats the components of vectors as numbers."""
    return ek.audit(Net(nnx.Rngs(0)), "p x -> p x", **GROUPS, data=DATA, draws=40)


def test_the_first_broken_module_is_named(report):
    assert report.first_broken == "blocks.1.norm"
    assert str(report.kept["p"]) == "S(4)"
    assert "first broken       blocks.1.norm, at " in str(report)
    assert report.as_dict()["place"] == report.modules.place
    page = ElementTree.fromstring(report._repr_html_())
    assert "blocks.1.norm" in page.find("pre").text


def test_declared_activations_are_checked_also_where_nothing_is_broken():
    net = Net(nnx.Rngs(0))
    net.blocks[1].norm = None
    found = ek.audit(net, "p x -> p x", **GROUPS, data=DATA, draws=40, at={"blocks.0": "p x"})
    assert found.passed
    assert found.first_broken is None
    assert next(row for row in found.modules.rows if row.name == "blocks.0").declared
    with pytest.raises(ek.OptionError, match="has no module 'block'"):
        ek.audit(net, "p x -> p x", **GROUPS, data=DATA, draws=40, at={"block": "p x"})


def test_a_function_without_modules_has_an_equation():
    found = ek.audit(lambda x: jnp.tanh(x), "x -> x", x=ek.SO(2), channels=1, draws=40)
    assert found.first_broken.startswith("tanh (test_first_broken.py:")
    assert f"first broken       {found.first_broken}" in str(found)
    assert ek.audit(lambda x: np.tanh(x), "x -> x", x=ek.SO(2), channels=1, draws=40).first_broken is None


@pytest.mark.parametrize(
    ("function", "name", "action"),
    [
        (lambda x: jnp.cumsum(x, -2), "cumsum of cumsum", "a matrix on axis 1"),
        (lambda x: x[..., ::-1, :], "rev", "permutes axis 1"),
        (lambda x: 2 * jnp.cumsum(jnp.sin(x), -2), "cumsum of cumsum", "a matrix on axis 1"),
    ],
)
def test_an_operation_that_replaces_the_group_by_a_matrix_is_named(function, name, action):
    found = ek.audit(function, "p -> p", p=ek.S(4), channels=2)
    assert found.first_broken.startswith(f"{name} (test_first_broken.py:")
    assert found.modules.hint.startswith(f"p acts on the outputs of {found.first_broken} in another way")
    assert f": {action}; if this is intended" in found.modules.hint
    few = ek.auditing.locate(function, "p -> p", p=ek.S(4), data=np.random.default_rng(0).normal(size=(2, 4, 1)))
    assert few.first_broken == found.first_broken


def test_a_fault_that_no_action_fits_comes_first():
    found = ek.audit(lambda x: jnp.cumsum(jnp.cumsum(x, -2) ** 3, -2), "p -> p", p=ek.S(4), channels=2)
    assert found.first_broken.startswith("integer_pow (")
    assert found.modules.hint is None


def test_axes_in_a_wrong_order_are_described():
    found = ek.audit(lambda x: jnp.swapaxes(x, 1, 2), "p q -> p q", p=ek.S(4), q=ek.S(4), channels=1)
    assert (found.passed, found.first_broken) == (False, None)
    assert "p acts on the outputs in another way than the signature says: p on axis 2; correct" in found.modules.hint
    assert found.modules.hint in str(found)


class Between(nnx.Module):
    """Uses the components of vectors as numbers between two layers; `output` is also the name of a layer."""

    def __init__(self, rngs):
        linear = {"p": ek.S, "x": ek.O(3), "rngs": rngs}
        self.first, self.output = (ek.nn.Linear("p x -> p x", 2, 2, **linear) for _ in range(2))

    def __call__(self, x):
        return self.output(jnp.tanh(self.first(x)))


def located(model, **options):
    return ek.auditing.locate(model, "p x -> p x", p=ek.S, x=ek.O(3), data=DATA, **options)


def test_a_fault_in_the_code_of_the_root_module():
    found = ek.audit(Between(nnx.Rngs(0)), "p x -> p x", p=ek.S, x=ek.O(3), data=DATA, draws=40)
    assert found.first_broken == "output"
    assert found.modules.where.startswith(
        "between first (Linear) and output (Linear), in the code of Between, at tanh (test_first_broken.py:"
    )
    assert f"first broken       output: {found.modules.where}" in str(found)
    assert "next step          correct this operation in the code of Between" in str(found)
    page = "".join(ElementTree.fromstring(found._repr_html_()).itertext())
    assert "between first (Linear) and output (Linear), in the code of Between" in page
    assert str(found.modules).endswith("\nnext step: correct this operation in the code of Between")


def test_a_fault_in_a_function_that_calls_a_module():
    net = Between(nnx.Rngs(0))
    found = located(lambda x: net(x) if jnp.all(jnp.isfinite(x)) else x)  # not traceable, so that there are no lines
    assert found.where == ("between first (Linear) and output (Linear), in the code of the function or of Between")
    assert found.step == "move this code into a module of its own, and audit again"
    alone = located(lambda x: np.tanh(np.asarray(x)))
    assert (alone.first_broken, alone.where) == ("output", "in the code of the function")
    assert "write it with jax.numpy" in alone.step


def test_a_module_of_the_name_output_is_a_module():
    class Net(Between):
        def __call__(self, x):
            return self.output(self.first(x))

    net = Net(nnx.Rngs(0))
    net.output = nnx.LayerNorm(2, rngs=nnx.Rngs(0))
    found = located(net)
    assert (found.first_broken, found.where, found.step) == ("output", None, None)
    assert [row.inputs["x"] for row in found.rows] == ["kept"] * 3
    assert [row.declared for row in located(net, at={"output": "p x"}).rows] == [False, True, False]


def test_a_module_whose_output_changes_by_another_matrix():
    class Turned(nnx.Module):
        def __init__(self, rngs):
            self.mix = nnx.Linear(3, 3, use_bias=False, rngs=rngs)

        def __call__(self, x):
            return self.mix(x)

    def report(**options):
        model, data = Turned(nnx.Rngs(0)), np.random.default_rng(0).normal(size=(40, 4, 3)).astype(np.float32)
        return ek.auditing.locate(model, "p x -> p x", channels=False, p=ek.S, x=ek.SO(3), data=data, **options)

    found = report()
    assert found.first_broken == "output"
    assert found.where == "the output of mix (Linear), which changes by a matrix on axis 2, not as the signature says"
    assert found.step == 'if mix should return "p x", write at={"mix": "p x"}; or correct the signature'
    assert report(at={"mix": "p x"}).first_broken == "mix"
