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
