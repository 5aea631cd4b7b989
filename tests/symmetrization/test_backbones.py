"""Any backbone: a function, modules of Flax NNX, Flax linen and Equinox, a transformer; and what JAX does to them."""

import pickle

import equinox
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek

POINTS, WIDTH = 5, 8
HOW = [ek.frames.PCA(), ek.frames.Sort()]
GROUPS = {"p": ek.S(POINTS), "x": ek.O(3)}


def flat(x):
    return x.reshape(*x.shape[:-2], -1)


def flat_and_back(x):
    return jnp.cumsum(flat(x), -1).reshape(x.shape)


class Perceptron(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3 * POINTS, WIDTH, rngs=rngs)
        self.second = nnx.Linear(WIDTH, 3 * POINTS, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(flat(x)))).reshape(x.shape)


class Attention(nnx.Module):
    """A transformer over the points: it treats all alike, and knows nothing of rotations."""

    def __init__(self, rngs):
        self.embed = nnx.Linear(3, WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, WIDTH, rngs=rngs, decode=False, deterministic=True)
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, 3, rngs=rngs)

    def __call__(self, x):
        h = self.embed(x)
        return self.out(self.norm(h + self.attention(h)))


class LinenPerceptron(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3 * POINTS)(jnp.tanh(linen.Dense(WIDTH)(flat(x)))).reshape(x.shape)


def linen_backbone():
    module = LinenPerceptron()
    params = module.init(jax.random.key(0), jnp.ones((POINTS, 3)))
    return lambda x: module.apply(params, x)


class EquinoxPerceptron(equinox.Module):
    net: equinox.nn.MLP

    def __call__(self, x):  # one sample, as Equinox has it
        return self.net(x.ravel()).reshape(x.shape)


def equinox_backbone():
    return EquinoxPerceptron(equinox.nn.MLP(3 * POINTS, 3 * POINTS, WIDTH, 1, key=jax.random.key(0)))


def function_backbone():
    weights = jax.random.normal(jax.random.key(0), (3 * POINTS, 3 * POINTS))
    return lambda x: jnp.sin(flat(x) @ weights).reshape(x.shape)


BACKBONES = {
    "function": function_backbone,
    "NNX": lambda: Perceptron(nnx.Rngs(0)),
    "linen": linen_backbone,
    "Equinox": equinox_backbone,
    "transformer": lambda: Attention(nnx.Rngs(0)),
}


def symmetrized(backbone, how=HOW, **options):
    return ek.symmetrize(backbone, "p x -> p x", groups=GROUPS, translate="x", channels=False, how=how, **options)


def motions(x, seed):
    rng = np.random.default_rng(seed)
    turn = jnp.asarray(ek.O(3).random_element(rng), x.dtype)
    order = rng.permutation(POINTS)
    return lambda y: (y @ turn.T + 2.0)[..., order, :]


@pytest.mark.parametrize("name", BACKBONES)
def test_any_backbone_becomes_equivariant(name):
    backbone = BACKBONES[name]()
    # The transformer keeps to permutations by itself.
    sym = symmetrized(backbone, how=HOW[:1] if name == "transformer" else HOW)
    run = jax.jit(jax.vmap(sym) if name == "Equinox" else sym)
    x = jax.random.normal(jax.random.key(1), (2, POINTS, 3))
    move = motions(x, 0)
    assert jnp.allclose(run(move(x)), move(run(x)), atol=2e-5)
    bare = jax.vmap(backbone) if name == "Equinox" else backbone
    assert not jnp.allclose(bare(move(x)), move(bare(x)), atol=1e-2)


@pytest.mark.parametrize("mode", ["graph", "tree"])
def test_a_symmetrized_module_is_a_module_and_trains(mode):
    sym = symmetrized(Perceptron(nnx.Rngs(0)))
    assert isinstance(sym, nnx.Module)
    options = {} if mode == "graph" else {"graph": False}
    static, params = nnx.split(sym, **options)
    assert len(jax.tree.leaves(params)) == 4
    x = jax.random.normal(jax.random.key(1), (4, POINTS, 3))

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return jnp.mean((nnx.merge(static, params)(x) - x**3) ** 2)

    before, _ = loss(params)
    for _ in range(100):
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, loss(params)[1])
    assert loss(params)[0] < 0.9 * before


def test_a_symmetrized_equinox_module_is_a_pytree_and_trains():
    sym = symmetrized(equinox_backbone())
    x = jax.random.normal(jax.random.key(1), (4, POINTS, 3))
    params, static = equinox.partition(sym, equinox.is_inexact_array)
    assert len(jax.tree.leaves(params)) == 4

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return jnp.mean((jax.vmap(equinox.combine(params, static))(x) - x**3) ** 2)

    before, _ = loss(params)
    for _ in range(100):
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, loss(params)[1])
    assert loss(params)[0] < 0.9 * before


def test_a_function_of_parameters_is_differentiated_through():
    module = LinenPerceptron()
    x = jax.random.normal(jax.random.key(1), (POINTS, 3))
    params = module.init(jax.random.key(0), x)

    def loss(params):
        return jnp.sum(symmetrized(lambda x: module.apply(params, x))(x) ** 2)

    slopes = jax.jit(jax.grad(loss))(params)
    assert all(bool(jnp.any(slope != 0)) for slope in jax.tree.leaves(slopes))


def test_all_ways_to_evaluate_agree(x64):
    x = jax.random.normal(jax.random.key(1), (POINTS, 3))
    ways = {f"chunk_size={size}": {"chunk_size": size} for size in (1, 3, 100)}
    ways |= {"chosen": {}, "remat": {"chunk_size": 3, "remat": True}}
    backbone, found = function_backbone(), {}
    for name, options in ways.items():
        sym = symmetrized(backbone, how=ek.frames.PCA(), **options)
        found[name] = jax.jit(jax.value_and_grad(lambda x, sym=sym: jnp.sum(jnp.cos(sym(x)))))(x)
        assert jnp.allclose(jnp.sum(jnp.cos(sym(x))), found[name][0], rtol=1e-12), name  # nothing compiled
    for name, (value, slope) in found.items():
        assert jnp.allclose(value, found["chosen"][0], rtol=1e-12), name
        assert jnp.allclose(slope, found["chosen"][1], atol=1e-10), name


def loops(function, platform, x):
    """Whether a program that is lowered for a platform has a loop, whatever the platform that lowers it."""
    return "stablehlo.while" in jax.export.export(jax.jit(function), platforms=[platform])(x).mlir_module()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("convolutions", [False, True])
def test_convolutions_are_not_put_into_a_loop_on_cpus(convolutions, platform):
    def backbone(x):
        if convolutions:
            return jnp.convolve(x, jnp.arange(3.0), mode="same")
        return jnp.cos(x)

    sym = ek.symmetrize(backbone, "t -> t", t=ek.Z(6), channels=False, how=ek.frames.GroupAverage(), chunk_size=2)
    x = jnp.arange(6.0)
    assert loops(sym, platform, x) != (convolutions and platform == "cpu")
    assert loops(jax.grad(lambda x: jnp.sum(sym(x) ** 2)), platform, x) != (convolutions and platform == "cpu")
    assert jnp.allclose(jax.jit(sym)(x), sym(x), rtol=1e-6)


def test_the_number_of_elements_at_once_follows_the_platform_of_the_program():
    x = jnp.sin(jnp.arange(4.0 * 2**18)).reshape(4, 2**18)  # 4 MiB, the budget of a CPU
    sym, whole = (
        ek.symmetrize(jnp.cos, "t -> t", t=ek.Z(4), how=ek.frames.GroupAverage(), chunk_size=size) for size in (None, 4)
    )
    assert [loops(sym, platform, x) for platform in ("cpu", "cuda", "tpu")] == [True, False, False]
    np.testing.assert_allclose(jax.jit(sym)(x), sym(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sym(x), whole(x), rtol=1e-6, atol=1e-6)


def test_transformations_commute(x64):
    sym = symmetrized(function_backbone(), how=ek.frames.PCA())
    x = jax.random.normal(jax.random.key(1), (3, POINTS, 3))
    whole = jax.jit(sym)(x)
    for moved in (jax.vmap(sym), lambda x: jax.lax.map(sym, x), jax.checkpoint(sym)):
        assert jnp.allclose(jax.jit(moved)(x), whole, atol=1e-12)
    tangent = jnp.ones_like(x)
    forward = jax.jit(lambda x: jax.jvp(sym, (x,), (tangent,))[1])(x)
    (backward,) = jax.jit(lambda x: jax.vjp(sym, x)[1](whole))(x)
    assert jnp.allclose(jnp.vdot(forward, whole), jnp.vdot(tangent, backward), atol=1e-9)


def test_a_symmetrized_function_is_exported_for_any_batch():
    pytest.importorskip("flatbuffers")
    sym = symmetrized(lambda x: jnp.sin(x) + x**2, how=ek.frames.PCA())
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, POINTS, 3), jnp.float32)
    exported = jax.export.deserialize(jax.export.export(jax.jit(sym))(shape).serialize())
    x = jax.random.normal(jax.random.key(0), (7, POINTS, 3))
    assert jnp.allclose(exported.call(x), sym(x), atol=1e-6)


def test_a_symmetrized_module_is_pickled():
    sym = symmetrized(Perceptron(nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), (POINTS, 3))
    assert jnp.array_equal(pickle.loads(pickle.dumps(sym))(x), sym(x))
    plain = symmetrized(flat_and_back, how=ek.frames.PCA())
    assert jnp.array_equal(pickle.loads(pickle.dumps(plain))(x), plain(x))
    plain.backbone = jnp.cos
    assert jax.tree.unflatten(jax.tree.structure(plain), []).backbone is jnp.cos


def test_several_terms_and_further_arguments():
    def backbone(x, edges, *, scale):
        velocities, charges = x["v"], x["q"]
        drift = jnp.einsum("pq,qx->px", edges, x["r"]) - x["r"] * jnp.sum(edges, -1)[:, None]
        return {
            "out": x["r"] + scale * charges[:, None] * drift + velocities**3,
            "energy": jnp.sum(x["r"] ** 3) * scale,
        }

    sym = ek.symmetrize(
        backbone,
        {"r": "p x", "v": "p x", "q": "p"},
        {"out": "p x", "energy": ""},
        groups=GROUPS,
        translate={"r": "x", "out": "x"},
        channels=False,
        how=ek.frames.PCA(terms=("r",)),
    )
    rng = np.random.default_rng(0)
    turn = jnp.asarray(ek.O(3).random_element(rng), jnp.float32)
    r, v = jnp.asarray(rng.normal(size=(2, POINTS, 3)), jnp.float32)
    q, edges = jnp.asarray(rng.normal(size=POINTS), jnp.float32), jnp.asarray(rng.random((POINTS, POINTS)), jnp.float32)
    y = sym({"r": r, "v": v, "q": q}, edges, scale=0.5)
    z = sym({"r": r @ turn.T + 1, "v": v @ turn.T, "q": q}, edges, scale=0.5)
    assert jnp.allclose(z["out"], y["out"] @ turn.T + 1, atol=1e-4)
    assert jnp.allclose(z["energy"], y["energy"], atol=1e-4)


def test_dropout_gets_a_key_for_every_element():
    class Dropping(nnx.Module):
        def __init__(self):
            self.drop = nnx.Dropout(0.5)

        def __call__(self, x, rngs=None):
            return self.drop(x, rngs=rngs)

    sym = symmetrized(Dropping(), how=ek.frames.PCA(), key_argument="rngs")
    x = jax.random.normal(jax.random.key(1), (POINTS, 3))
    one, two = sym(x, key=jax.random.key(0)), sym(x, key=jax.random.key(1))
    assert not jnp.allclose(one, two)
    assert jnp.array_equal(one, sym(x, key=jax.random.key(0)))
    for mode in (True, False):
        sym.backbone.drop.deterministic = mode
        assert jnp.allclose(sym(x, key=jax.random.key(0)), x, atol=1e-5) == mode


def test_a_second_call_without_jit_does_not_trace_the_backbone_again():
    calls = []

    def backbone(x):
        calls.append(x.shape)
        return jnp.sin(x)

    sym = symmetrized(backbone, how=ek.frames.PCA())
    x = jax.random.normal(jax.random.key(0), (POINTS, 3))
    counts = []
    for given in (x, x, x[None], x[None]):
        calls.clear()
        sym(given)
        counts.append(len(calls))
    assert counts == [2, 1, 2, 1]  # traced for each shape, for the number of elements at once; and run


@pytest.mark.parametrize("how", [HOW, ek.frames.Stochastic(ek.frames.PCA())])
def test_the_frame_of_several_methods_is_one_program(how):
    sym = symmetrized(jnp.sin, how=how)
    x = jax.random.normal(jax.random.key(0), (POINTS, 3))
    program = jax.make_jaxpr(lambda x: sym.frame(x).weights)(x).jaxpr
    assert [equation.params.get("name") for equation in program.eqns] == ["_frame_at_once"]
