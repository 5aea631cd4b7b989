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
    weights = np.random.default_rng(0).normal(size=(3 * POINTS, 3 * POINTS))
    return lambda x: jnp.sin(flat(x) @ jnp.asarray(weights, x.dtype)).reshape(x.shape)


BACKBONES = {
    "function": function_backbone,
    "NNX": lambda: Perceptron(nnx.Rngs(0)),
    "linen": linen_backbone,
    "Equinox": equinox_backbone,
    "transformer": lambda: Attention(nnx.Rngs(0)),
}


def symmetrized(backbone, how=HOW, **options):
    return ek.symmetrize(backbone, "p x -> p x", groups=GROUPS, translate="x", channels=False, how=how, **options)


def averaged(backbone, **options):
    """Average over cyclic permutations of the points; by the centroid, the elements depend on the input."""
    groups = {"p": ek.Z(POINTS), "x": ek.Fixed(3)}
    options = {"groups": groups, "translate": "x", "channels": False, "how": ek.frames.GroupAverage(), **options}
    return ek.symmetrize(backbone, "p x -> p x", **options)


def clouds(*batch):
    return np.random.default_rng(1).normal(size=(*batch, POINTS, 3)).astype(np.float32)


def moved(x):
    rng = np.random.default_rng(0)
    turn = ek.O(3).random_element(rng)
    return (x @ turn.T.astype(x.dtype) + 2)[..., rng.permutation(POINTS), :]


@pytest.mark.parametrize("name", BACKBONES)
def test_any_backbone_becomes_equivariant(name):
    """Without jit, so that all backbones share the program of the frame."""
    backbone, of_one = BACKBONES[name](), name == "Equinox"
    # The transformer keeps to permutations by itself.
    sym = symmetrized(backbone, how=HOW[:1] if name == "transformer" else HOW, batched=not of_one)
    x = clouds(2)
    np.testing.assert_allclose(sym(moved(x)), moved(np.asarray(sym(x))), rtol=1e-5, atol=2e-5)
    bare = jax.vmap(backbone) if of_one else backbone
    assert not np.allclose(bare(moved(x)), moved(np.asarray(bare(x))), atol=1e-2)


def assert_trains(function, params):
    x = clouds(4)

    @jax.value_and_grad
    def loss(params):
        return jnp.mean((function(params, x) - x**3) ** 2)

    @jax.jit
    def train(params):
        def step(params, _):
            value, slopes = loss(params)
            return jax.tree.map(lambda p, g: p - 0.05 * g, params, slopes), value

        return jax.lax.scan(step, params, length=101)[1]

    before, *_, after = train(params)
    assert after < 0.9 * before


@pytest.mark.parametrize("mode", ["graph", "tree"])
def test_a_symmetrized_module_is_a_module_and_trains(mode):
    sym = averaged(Perceptron(nnx.Rngs(0)))
    assert isinstance(sym, nnx.Module)
    options = {} if mode == "graph" else {"graph": False}
    static, params = nnx.split(sym, **options)
    assert len(jax.tree.leaves(params)) == 4
    assert_trains(lambda params, x: nnx.merge(static, params)(x), params)


def test_a_symmetrized_equinox_module_is_a_pytree_and_trains():
    params, static = equinox.partition(averaged(equinox_backbone()), equinox.is_inexact_array)
    assert len(jax.tree.leaves(params)) == 4
    assert_trains(lambda params, x: jax.vmap(equinox.combine(params, static))(x), params)


def test_a_function_of_parameters_is_differentiated_through():
    module = LinenPerceptron()
    x = clouds()
    params = module.init(jax.random.key(0), x)

    def loss(params):
        return jnp.sum(averaged(lambda x: module.apply(params, x))(x) ** 2)

    slopes = jax.jit(jax.grad(loss))(params)
    assert all(np.any(slope) for slope in jax.tree.leaves(slopes))


def test_all_ways_to_evaluate_agree(x64):
    x = clouds().astype(np.float64)
    ways = {f"chunk_size={size}": {"chunk_size": size} for size in (1, 3, 100)}
    ways |= {"chosen": {}, "remat": {"chunk_size": 3, "remat": True}}
    backbone, found = function_backbone(), {}
    for name, options in ways.items():
        sym = averaged(backbone, **options)
        found[name] = jax.jit(jax.value_and_grad(lambda x, sym=sym: jnp.sum(jnp.cos(sym(x)))))(x)
        plain = np.sum(np.cos(sym(x)))  # without jit
        np.testing.assert_allclose(plain, found[name][0], rtol=1e-12, err_msg=name)
    for name, (value, slope) in found.items():
        np.testing.assert_allclose(value, found["chosen"][0], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(slope, found["chosen"][1], atol=1e-10, err_msg=name)


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
    x = np.arange(6, dtype=np.float32)
    assert loops(sym, platform, x) != (convolutions and platform == "cpu")
    assert loops(jax.grad(lambda x: jnp.sum(sym(x) ** 2)), platform, x) != (convolutions and platform == "cpu")
    if platform == "cpu":
        np.testing.assert_allclose(jax.jit(sym)(x), sym(x), rtol=1e-6, atol=1e-8)


def test_the_number_of_elements_at_once_follows_the_platform_of_the_program():
    x = jnp.sin(jnp.arange(4.0 * 2**18)).reshape(4, 2**18)  # 4 MiB, the budget of a CPU
    sym, whole = (
        ek.symmetrize(jnp.cos, "t -> t", t=ek.Z(4), how=ek.frames.GroupAverage(), chunk_size=size) for size in (None, 4)
    )
    assert [loops(sym, platform, x) for platform in ("cpu", "cuda", "tpu")] == [True, False, False]
    np.testing.assert_allclose(jax.jit(sym)(x), sym(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sym(x), whole(x), rtol=1e-6, atol=1e-6)


def test_transformations_commute(x64):
    sym = averaged(function_backbone())
    x = clouds(3).astype(np.float64)
    tangent = np.ones_like(x)

    @jax.jit
    def run(x):
        whole, backwards = jax.vjp(sym, x)
        mapped = [jax.vmap(sym)(x), jax.lax.map(sym, x), jax.checkpoint(sym)(x)]
        return whole, mapped, jax.jvp(sym, (x,), (tangent,))[1], backwards(whole)[0]

    whole, mapped, forward, backward = run(x)
    for way in mapped:
        np.testing.assert_allclose(way, whole, atol=1e-12)
    np.testing.assert_allclose(np.vdot(forward, whole), np.vdot(tangent, backward), atol=1e-9)


def test_a_symmetrized_function_is_exported_for_any_batch():
    pytest.importorskip("flatbuffers")
    sym = symmetrized(lambda x: jnp.sin(x) + x**2)
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, POINTS, 3), jnp.float32)
    exported = jax.export.deserialize(jax.export.export(jax.jit(sym))(shape).serialize())
    x = clouds(2)
    np.testing.assert_allclose(exported.call(x), sym(x), atol=1e-6)


def test_a_symmetrized_module_is_pickled():
    sym = symmetrized(Perceptron(nnx.Rngs(0)))
    x = clouds(2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sym))(x), sym(x))
    plain = symmetrized(flat_and_back)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plain))(x), plain(x))
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
    turn = ek.O(3).random_element(rng).astype(np.float32)
    r, v = rng.normal(size=(2, POINTS, 3)).astype(np.float32)
    q, edges = rng.normal(size=POINTS).astype(np.float32), rng.random((POINTS, POINTS)).astype(np.float32)
    run = jax.jit(sym)
    y = run({"r": r, "v": v, "q": q}, edges, scale=0.5)
    z = run({"r": r @ turn.T + 1, "v": v @ turn.T, "q": q}, edges, scale=0.5)
    np.testing.assert_allclose(z["out"], y["out"] @ turn.T + 1, atol=1e-4)
    np.testing.assert_allclose(z["energy"], y["energy"], atol=1e-4)


def test_dropout_gets_a_key_for_every_element():
    class Dropping(nnx.Module):
        def __init__(self):
            self.drop = nnx.Dropout(0.5)

        def __call__(self, x, rngs=None):
            return self.drop(x, rngs=rngs)

    sym = symmetrized(Dropping(), how=ek.frames.PCA(), key_argument="rngs")
    x = clouds(2)
    one, two = (np.asarray(sym(x, key=jax.random.key(seed))) for seed in (0, 1))
    assert not np.allclose(one, two)
    np.testing.assert_array_equal(one, sym(x, key=jax.random.key(0)))
    for mode in (True, False):
        sym.backbone.drop.deterministic = mode
        assert np.allclose(sym(x, key=jax.random.key(0)), x, atol=1e-5) == mode


def test_a_second_call_without_jit_does_not_trace_the_backbone_again():
    calls = []

    def backbone(x):
        calls.append(x.shape)
        return jnp.sin(x)

    sym, x = averaged(backbone), clouds()
    counts = []
    for given in (x, x, x[None], x[None]):
        calls.clear()
        sym(given)
        counts.append(len(calls))
    assert counts == [2, 1, 2, 1]  # traced for each shape, for the number of elements at once; and run


@pytest.mark.parametrize("how", [HOW, ek.frames.Stochastic(ek.frames.PCA())])
def test_the_frame_of_several_methods_is_one_program(how):
    sym = symmetrized(jnp.sin, how=how)
    x = clouds()
    program = jax.make_jaxpr(lambda x: sym.frame(x).weights)(x).jaxpr
    assert [equation.params.get("name") for equation in program.eqns] == ["_frame_at_once"]
