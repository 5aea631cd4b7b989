"""An audit blames the code between two modules, not the module after it."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit.auditing import locate

TOKENS, WIDTH = 3, 4
DATA = np.random.default_rng(0).normal(size=(48, TOKENS, 1)).astype(np.float32)
TABLE = np.random.default_rng(1).normal(size=(TOKENS, WIDTH)).astype(np.float32)


class Positions(nnx.Module):
    """Adds a vector for each position."""

    def __call__(self, x):
        return x + TABLE


class Block(nnx.Module):
    def __init__(self, fault, rngs):
        self.fault = fault
        self.norm = Positions() if fault == "in a module" else nnx.LayerNorm(WIDTH, rngs=rngs)
        self.mix = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        y = self.norm(x)
        y = y + TABLE if self.fault == "in a block" else y
        return x + jnp.tanh(self.mix(y))


class Model(nnx.Module):
    """A stack of blocks on tokens; a permutation of the tokens must not change the result."""

    def __init__(self, fault, rngs):
        self.fault = fault
        self.embed = nnx.Linear(1, WIDTH, rngs=rngs)
        self.embed.bias[...] = 1 + jnp.arange(WIDTH)
        self.blocks = nnx.List([Block(fault * (place == 1), rngs) for place in range(2)])
        self.head = nnx.Linear(WIDTH, 2, rngs=rngs)

    def __call__(self, x):
        x = x + TABLE[:, :1] if self.fault == "first" else x
        x = self.embed(x)
        x = x + TABLE if self.fault == "after the embedding" else x
        x = self.blocks[0](x)
        x = x + TABLE if self.fault == "between blocks" else x
        x = self.head(self.blocks[1](x))
        return (jnp.tanh(x + TABLE[:, :2]) if self.fault == "last" else x).mean(-2)


@pytest.mark.parametrize(
    ("fault", "blamed", "where"),
    [
        pytest.param("first", "output", "before embed (Linear), in the code of Model, at add", marks=pytest.mark.slow),
        (
            "after the embedding",
            "output",
            "between embed (Linear) and blocks.0.norm (LayerNorm), in the code of Model, at add",
        ),
        pytest.param(
            "between blocks",
            "output",
            "between blocks.0 (Block) and blocks.1.norm (LayerNorm), in the code of Model, at add",
            marks=pytest.mark.slow,
        ),
        (
            "in a block",
            "blocks.1",
            "between blocks.1.norm (LayerNorm) and blocks.1.mix (Linear), in the code of Block, at add",
        ),
        pytest.param("in a module", "blocks.1.norm", None, marks=pytest.mark.slow),
        ("last", "output", "after head (Linear), in the code of Model, at add"),
    ],
)
def test_faults_in_every_position(fault, blamed, where):
    found = locate(Model(fault, nnx.Rngs(0)), "p -> ()", p=ek.S, data=DATA)
    assert (found.first_broken, found.label) == (blamed, "p")
    if where is None:
        assert (found.where, found.step) == (None, None)
        assert found.place.startswith("add (test_faults_between_modules.py:")
    else:
        assert found.where.startswith(f"{where} (test_faults_between_modules.py:")
        assert found.step.startswith("correct this operation in the code of ")


def test_a_model_without_a_fault():
    assert locate(Model("", nnx.Rngs(0)), "p -> ()", p=ek.S, data=DATA).first_broken is None


class OfEquinox(eqx.Module):
    embed: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.embed = eqx.nn.Linear(1, WIDTH, key=one)
        self.norm, self.head = eqx.nn.LayerNorm(WIDTH), eqx.nn.Linear(WIDTH, 2, key=two)

    def __call__(self, x):
        return self.head(jnp.tanh(jax.vmap(self.norm)(jax.vmap(self.embed)(x) + TABLE)).mean(0))


def test_a_model_of_equinox(key):
    found = locate(jax.vmap(OfEquinox(key)), "p -> ()", p=ek.S, data=DATA)
    assert found.first_broken == "output"
    assert found.where.startswith("between embed (Linear) and norm (LayerNorm), in the code of ")
    assert re.search(r"at add \(test_faults_between_modules.py:\d+\)", found.where)


class Attention(nnx.Module):
    """A block of a transformer, of Flax."""

    def __init__(self, width, rngs):
        self.n1, self.n2 = (nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=width, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(width, 2 * width, rngs=rngs), nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.n1(x))
        return x + self.down(jax.nn.gelu(self.up(self.n2(x))))


class Transformer(nnx.Module):
    """A transformer with a vector for each position, of Flax."""

    def __init__(self, width, rngs):
        self.emb, self.head = nnx.Linear(3, width, rngs=rngs), nnx.Linear(width, 2, rngs=rngs)
        self.pos = nnx.Param(jax.random.normal(rngs.params(), (4, width)))
        self.blocks = nnx.List([Attention(width, rngs)])

    def __call__(self, x):
        x = self.emb(x) + self.pos[...]
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(-2))


class AttentionOfEquinox(eqx.Module):
    n1: eqx.nn.LayerNorm
    n2: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, width, key):
        a, b, c = jax.random.split(key, 3)
        self.n1, self.n2 = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)
        self.attention = eqx.nn.MultiheadAttention(2, width, key=a)
        self.up, self.down = eqx.nn.Linear(width, 2 * width, key=b), eqx.nn.Linear(2 * width, width, key=c)

    def __call__(self, x):
        y = jax.vmap(self.n1)(x)
        x = x + self.attention(y, y, y)
        return x + jax.vmap(self.down)(jax.nn.gelu(jax.vmap(self.up)(jax.vmap(self.n2)(x))))


class TransformerOfEquinox(eqx.Module):
    emb: eqx.nn.Linear
    pos: jax.Array
    blocks: list
    head: eqx.nn.Linear

    def __init__(self, width, key):
        a, b, c, d = jax.random.split(key, 4)
        self.emb, self.head = eqx.nn.Linear(3, width, key=a), eqx.nn.Linear(width, 2, key=b)
        self.pos, self.blocks = jax.random.normal(c, (4, width)), [AttentionOfEquinox(width, d)]

    def __call__(self, x):
        x = jax.vmap(self.emb)(x) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(0))


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["flax", "equinox"])
def test_the_positions_of_a_transformer(framework, key):
    data = np.random.default_rng(0).normal(size=(96, 4, 3)).astype(np.float32)
    model = Transformer(8, nnx.Rngs(0)) if framework == "flax" else jax.vmap(TransformerOfEquinox(8, key))
    found = locate(model, "p -> ()", p=ek.S, data=data)
    assert found.first_broken == "output"
    assert found.where.startswith("between emb (Linear) and blocks.0.n1 (LayerNorm), in the code of ")
    assert "at add (test_faults_between_modules.py:" in found.where


@pytest.mark.parametrize("bias", [False, True])
def test_a_constant_is_added_to_what_a_matrix_moves(bias):
    """Components of vectors are mixed with a matrix, which is an action; a constant that it moves makes it none."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.mix = nnx.Linear(3, 6, use_bias=bias, rngs=rngs)
            self.act = nnx.Linear(6, 6, use_bias=False, rngs=rngs)
            if bias:
                self.mix.bias[...] = 1

        def __call__(self, x):
            return jnp.tanh(self.act(self.mix(x))).sum(-1)

    data = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    found = locate(Net(nnx.Rngs(0)), "x -> ()", x=ek.SO(3), data=data, channels=False)
    assert found.first_broken == ("mix" if bias else "output")
    assert found.rows[0].actions["x"] == ("no action" if bias else "a matrix on axis 1")
    if not bias:
        hint = (
            "the outputs of mix (Linear) change by a matrix on axis 1 under x, and any matrix counts as an action; "
            'if x should not act on them, write at={"mix": "()"}'
        )
        assert found.hint == hint
        assert str(found).endswith(f"hint: {hint}")
        declared = locate(Net(nnx.Rngs(0)), "x -> ()", x=ek.SO(3), data=data, channels=False, at={"mix": "()"})
        assert declared.first_broken == "mix"


def test_constants_beside_vectors_are_an_action():
    """Features of one axis: vectors, numbers that do not vary, and a large number that hardly varies."""

    class Features(nnx.Module):
        def __call__(self, x):
            length = jnp.sum(x * x, -1, keepdims=True)
            return jnp.concatenate([x, 2 * x, jnp.ones_like(x), 300 + 0.1 * length], -1)

    class Net(nnx.Module):
        def __init__(self):
            self.features, self.act = Features(), Positions()

        def __call__(self, x):
            return jnp.tanh(self.features(x)).sum(-1)

    data = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    found = locate(Net(), "x -> ()", x=ek.SO(3), data=data, channels=False)
    assert found.rows[0].actions["x"] == "a matrix on axis 1"
    assert found.place.startswith("tanh (")


def test_a_function_of_jax_has_the_line_of_its_call():
    data = np.random.default_rng(0).normal(size=(8, 3, 1)).astype(np.float32)
    found = locate(lambda x: jax.nn.relu(2 * x), "x -> x", x=ek.SO(3), data=data)
    assert found.first_broken.startswith("max of relu (test_faults_between_modules.py:")


def test_the_inputs_of_a_module_change_by_a_matrix():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.pool = ek.nn.Linear("p -> ()", 1, 1, p=ek.S, rngs=rngs)

        def __call__(self, x):
            return self.pool(x * TABLE[:, :1])

    found = locate(Net(nnx.Rngs(0)), "p -> ()", p=ek.S, data=DATA)
    assert found.first_broken == "pool"
    assert found.hint == (
        "the inputs of pool (Linear) change by a matrix on axis 1 under p, and any matrix counts as an action; "
        "look also at the code that makes them"
    )
    assert "_execute.py" not in found.place
