"""Calls of modules are recorded by name and order, through the transformations of JAX, and leave no trace."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from equikit.auditing import adapted
from equikit.auditing.modules.recording._recorder import recorder

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def recorded(function, x=X, **options):
    return recorder(adapted(function, {"x": x}, as_dict=False))({"x": x}, **options)


def names(recording):
    return [call.name for call in recording.calls]


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear, self.norm = nnx.Linear(3, 3, rngs=rngs), nnx.LayerNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.linear(x))


class Net(nnx.Module):
    def __init__(self, rngs, statistics=False):
        self.blocks = nnx.List([Block(rngs), Block(rngs)])
        self.spare = nnx.Linear(3, 1, rngs=rngs)
        self.statistics = nnx.BatchNorm(3, rngs=rngs) if statistics else None

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        x = self.blocks[0].linear(x)
        return x if self.statistics is None else self.statistics(x)


PATHS = ["blocks.0.linear", "blocks.0.norm", "blocks.0", "blocks.1.linear", "blocks.1.norm", "blocks.1"]


def test_modules_of_flax_have_paths_and_numbers():
    net = Net(nnx.Rngs(0))
    found = recorded(net)
    assert names(found) == [*PATHS, "blocks.0.linear#2", "output"]
    assert found.never == ("spare",)
    np.testing.assert_allclose(found.calls[0].outputs[0], net.blocks[0].linear(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.calls[1].inputs[0], found.calls[0].outputs[0])
    assert type(net.blocks[0].linear) is nnx.Linear  # its own class again


def test_a_module_that_changes_its_state_is_restored():
    net = Net(nnx.Rngs(0), statistics=True)
    for function in (net, lambda x: net(x)):  # traced as a copy, and called without a trace
        run = recorder(adapted(function, {"x": X}, as_dict=False))
        before = np.array(net.statistics.mean[...])
        found = run({"x": X})
        assert names(found)[-2:] == ["statistics", "output"]
        np.testing.assert_array_equal(net.statistics.mean[...], before)


@pytest.mark.parametrize(
    "transformed",
    [
        lambda net: jax.jit(lambda x: net(x)),
        lambda net: jax.vmap(lambda x: net(x[None])[0]),
        lambda net: jax.grad(lambda x: jnp.sum(net(x))),
        lambda net: jax.checkpoint(lambda x: net(x)),
    ],
    ids=["jit", "vmap", "grad", "checkpoint"],
)
def test_activations_inside_transformations_are_recorded(transformed):
    net = Net(nnx.Rngs(0))
    found = recorded(transformed(net))
    assert names(found)[:6] == PATHS
    np.testing.assert_allclose(np.squeeze(found.calls[0].outputs[0]), net.blocks[0].linear(X), rtol=1e-5, atol=1e-6)


def test_a_scan_has_a_call_for_each_step():
    linear = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    found = recorded(lambda x: jax.lax.scan(lambda x, _: (linear(x) + 1, x), x, None, length=3))
    # The only module of a function is the whole function, so it has no name of its own.
    assert names(found) == ["output"]
    pair = nnx.List([linear])
    found = recorded(lambda x: jax.lax.scan(lambda x, _: (Chain(pair)(x), x), x, None, length=3))
    assert names(found) == ["output"]
    chain = Chain(pair)
    found = recorded(lambda x: jax.lax.scan(lambda x, _: (chain(x), x), x, None, length=3))
    assert names(found) == ["parts.0", "parts.0#2", "parts.0#3", "output"]
    np.testing.assert_allclose(found.calls[2].inputs[0], chain(chain(X)), rtol=1e-5, atol=1e-5)


class Chain(nnx.Module):
    def __init__(self, parts):
        self.parts = parts

    def __call__(self, x):
        for part in self.parts:
            x = part(x)
        return x


def test_modules_of_equinox_are_recorded_under_vmap():
    net = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    found = recorded(jax.vmap(net))
    assert names(found) == ["layers.0", "layers.1", "output"]
    assert found.calls[0].outputs[0].shape == (4, 4)
    assert type(net.layers[0]) is eqx.nn.Linear


def test_equations_know_their_module_and_line():
    net = Net(nnx.Rngs(0))
    found = recorded(lambda x: jnp.sin(net(x)), equations=True)
    first, last = found.equations[0], found.equations[-1]
    assert first.inside == ("blocks.0", "blocks.0.linear")
    assert (last.inside, last.kind) == ((), "sin")
    assert last.name.startswith("sin (test_recording.py:")


def test_values_that_are_not_arrays_are_left_out():
    class Odd(nnx.Module):
        def __call__(self, x):
            return {"name": "text", "more": None}

    class Holder(nnx.Module):
        def __init__(self):
            self.odd = Odd()

        def __call__(self, x):
            self.odd(x)
            return x

    found = recorded(Holder())
    assert found.never == ()  # it was called: what went in was seen
    assert found.calls[0].outputs == ()


def test_numpy_has_no_modules():
    assert names(recorded(lambda x: np.sort(np.array(x), 0))) == ["output"]


def test_modules_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    relu = torch.nn.ReLU(inplace=True)
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), relu, torch.nn.BatchNorm1d(3), relu)
    net.spare = torch.nn.Identity()
    mean = net[2].running_mean.clone()

    class Kept(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net[:4](x)

    x = torch.tensor(X)
    found = recorded(Kept(), x)
    assert [name for name in names(found) if "." in name] == ["net.0", "net.1", "net.2", "net.1#2"]
    assert found.never == ("net", "net.spare")
    first, second = found.calls[0].outputs[0], found.calls[1]
    np.testing.assert_array_equal(second.inputs[0], first)  # before the change in place
    np.testing.assert_array_equal(second.outputs[0], np.maximum(first, 0))
    assert torch.equal(net[2].running_mean, mean)
    assert not net[0]._forward_hooks
