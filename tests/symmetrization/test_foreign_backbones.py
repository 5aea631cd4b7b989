"""Backbones of Equinox, Flax Linen, Haiku and PyTorch: what works, and the errors that say what to pass."""

import functools
from typing import NamedTuple

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from helpers import assert_error

import equikit as ek
from equikit.symmetrization import canonicalization
from equikit.symmetrization.engine.backbones._foreign import impure

POINTS = 5
OPTIONS = {"p": ek.S(POINTS), "x": ek.O(3), "channels": False}
PCA = {**OPTIONS, "how": ek.frames.PCA()}
CENTER = {**OPTIONS, "how": [], "translate": "x"}
KEY = jax.random.key(0)
BATCH = np.random.default_rng(1).normal(size=(4, POINTS, 3)).astype(np.float32)


class PerSample(equinox.Module):
    """One sample, as modules of Equinox have it."""

    net: equinox.nn.MLP

    def __call__(self, x, mask=None, key=None):
        x = x if mask is None else jnp.where(mask["p"][:, None], x, 0)
        noise = 0 if key is None else jax.random.normal(key, x.shape)
        return self.net(x.ravel()).reshape(x.shape) + noise


def per_sample():
    return PerSample(equinox.nn.MLP(3 * POINTS, 3 * POINTS, 4, 1, key=KEY))


def test_a_backbone_for_one_sample_is_mapped_over_the_batch():
    backbone = per_sample()
    one = ek.symmetrize(backbone, "p x -> p x", **CENTER)
    batched = ek.symmetrize(backbone, "p x -> p x", batched=False, **CENTER)
    run = jax.jit(batched)
    y = run(BATCH)
    np.testing.assert_allclose(y, [one(x) for x in BATCH], atol=1e-5)
    np.testing.assert_allclose(run(BATCH[None])[0], y, atol=1e-5)
    np.testing.assert_allclose(run(BATCH[0]), y[0], atol=1e-5)
    np.testing.assert_allclose(batched(BATCH), y, atol=1e-5)
    assert run(BATCH[:0]).shape == (0, POINTS, 3)
    assert len(jax.tree.leaves(equinox.filter(batched, equinox.is_inexact_array))) == 4
    framed = ek.symmetrize(backbone, "p x -> p x", batched=False, **PCA)
    mapped = ek.symmetrize(jax.vmap(backbone), "p x -> p x", **PCA)
    np.testing.assert_allclose(framed(BATCH), mapped(BATCH), atol=1e-5)


def test_a_backbone_for_one_sample_gets_its_mask_and_a_key_of_its_own():
    same = np.broadcast_to(BATCH[:1], BATCH.shape)
    sym = ek.symmetrize(per_sample(), "p x -> p x", batched=False, key_argument="key", **CENTER)
    y = sym(same, key=KEY)
    assert not np.allclose(y[0], y[1])
    masked = ek.symmetrize(per_sample(), "p x -> p x", batched=False, **CENTER)
    mask = np.ones((4, POINTS), bool)
    mask[2, 3:] = False
    plain = ek.symmetrize(jax.vmap(per_sample()), "p x -> p x", **CENTER)
    np.testing.assert_allclose(masked(BATCH, mask=mask), plain(BATCH, mask=mask), atol=1e-6)


def test_parts_of_a_backbone_for_one_sample_get_their_weights():
    def told(x, weights):
        return jnp.cumsum(x, 0) * weights[:, None]

    def told_all(x, weights):
        return jnp.cumsum(x, -2) * weights[..., None]

    parts = np.tile(np.eye(2, dtype=np.float32)[[0, 0, 1, 1, 1]], (4, 1, 1))
    make = functools.partial(ek.symmetrization.piecewise, tell=["weights"], **{**CENTER, "x": ek.SO(3)})
    y = make(told, "p x -> p x", batched=False)(BATCH, parts=parts)
    np.testing.assert_allclose(y, make(told_all, "p x -> p x")(BATCH, parts=parts), atol=1e-6)


def shared(x):
    return equinox.nn.Linear(3, 3, key=KEY)(x)


FEWER_AXES = {
    "one sample": (per_sample(), "batched=False"),
    "convolution": (lambda x: equinox.nn.Conv1d(POINTS, POINTS, 3, padding=1, key=KEY)(x), "batched=False"),
    "normalization": (equinox.nn.LayerNorm((POINTS, 3)), "batched=False"),
    "one point": (shared, "pass jax.vmap(jax.vmap(backbone))"),
    "wrong shape": (lambda x: x[:, ::-1] if x.ndim == 2 else jnp.sum(x, 0), "batched=False"),
}


@pytest.mark.parametrize("name", FEWER_AXES)
def test_a_backbone_for_arrays_with_fewer_axes_is_refused_with_the_way_to_map_it(name):
    backbone, step = FEWER_AXES[name]
    sym = ek.symmetrize(backbone, "p x -> p x", **PCA)
    for run in (sym, jax.jit(sym)):
        assert_error(
            ek.OptionError, functools.partial(run, BATCH), "with fewer axes", "shape [4, 5, 3]", "batched=False", step
        )
    mapped = ek.symmetrize(jax.vmap(jax.vmap(shared)), "p x -> p x", **PCA)
    assert mapped(BATCH).shape == BATCH.shape


def test_the_error_has_no_channels_where_arrays_have_none():
    sym = ek.symmetrize(per_sample(), "p x -> p x", **PCA | {"channels": False})
    with pytest.raises(ek.OptionError, match="with fewer axes") as caught:
        sym(BATCH)
    assert "arrays [*batch, *axes], or" in caught.value.expected


def test_errors_of_a_backbone_that_no_mapping_helps_stay_its_own():
    def wrong(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ek.symmetrize(wrong, "p x -> p x", **PCA)(BATCH)


class Outer(linen.Module):
    """A Linen module with a symmetrized submodule."""

    how: str = "PCA"
    backbone: str = "Dense"

    @linen.compact
    def __call__(self, x):
        net = linen.Dense(3) if self.backbone == "Dense" else linen.BatchNorm(use_running_average=False)
        function = (lambda x: linen.Dense(3)(x)) if self.backbone == "function" else net
        return ek.symmetrize(function, "p x -> p x", **(PCA if self.how == "PCA" else CENTER))(x)


@pytest.mark.parametrize("how", ["PCA", "Center"])
def test_a_submodule_of_linen_is_symmetrized_inside_a_linen_module(how):
    outer = Outer(how)
    variables = jax.jit(outer.init)(KEY, BATCH)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"Dense_0": {"kernel": (3, 3), "bias": (3,)}}}
    inner = {"params": variables["params"]["Dense_0"]}
    pure = ek.symmetrize(
        functools.partial(linen.Dense(3).apply, inner), "p x -> p x", **(PCA if how == "PCA" else CENTER)
    )
    np.testing.assert_allclose(outer.apply(variables, BATCH), pure(BATCH), atol=1e-6)
    slopes = jax.grad(lambda variables: jnp.sum(outer.apply(variables, BATCH) ** 2))(variables)
    assert all(np.any(slope) for slope in jax.tree.leaves(slopes))


@pytest.mark.parametrize("how", ["PCA", "Center"])
def test_a_submodule_of_linen_that_changes_its_state_is_refused(how):
    outer = Outer(how, "BatchNorm")
    variables = outer.init(KEY, BATCH)
    call = functools.partial(outer.apply, variables, BATCH, mutable=["batch_stats"])
    assert_error(ek.OptionError, call, "changes its own state", "BatchNorm", "pure", "use_running_average=True")


def test_a_function_that_makes_modules_of_linen_is_refused_with_what_to_pass():
    variables = Outer().init(KEY, BATCH)
    call = functools.partial(Outer(backbone="function").apply, variables, BATCH)
    assert_error(ek.OptionError, call, "makes parameters", "Dense_1", "pure function", "functools.partial(net.apply")


def test_values_that_a_backbone_keeps_are_refused():
    kept = []

    def backbone(x):
        kept.append(jnp.sin(x))
        return kept[0] + x

    sym = ek.symmetrize(backbone, "p x -> p x", **PCA)
    assert_error(ek.OptionError, lambda: sym(BATCH), "keeps values", "unexpected tracer", "pure", "keep nothing")


def by_branch(x):
    return x if x.sum() > 0 else -x


@pytest.mark.parametrize("backbone", [lambda x: np.sin(np.asarray(x)), by_branch])
def test_a_backbone_that_needs_values_is_refused(backbone):
    sym = ek.symmetrize(backbone, "p x -> p x", **PCA)
    assert_error(ek.OptionError, lambda: sym(BATCH), "needs the values", "raced array", "JAX can trace", "jax.numpy")


def haiku_backbones(hk):
    """Backbones inside of `hk.transform`, which are not pure functions."""
    return {
        "function": lambda x: hk.Linear(3)(x),
        "random": lambda x: hk.dropout(hk.next_rng_key(), 0.5, x),
        "state": hk.BatchNorm(True, True, 0.9),
    }


def test_a_module_of_haiku_is_symmetrized_inside_and_outside_of_a_transform():
    hk = pytest.importorskip("haiku")
    inside = hk.transform(lambda x: ek.symmetrize(hk.Linear(3), "p x -> p x", **PCA)(x))
    params = inside.init(KEY, BATCH)
    assert jax.tree.map(jnp.shape, params) == {"linear": {"w": (3, 3), "b": (3,)}}
    net = hk.transform(lambda x: hk.Linear(3)(x))
    outside = ek.symmetrize(lambda x: net.apply(params, None, x), "p x -> p x", **PCA)
    np.testing.assert_allclose(inside.apply(params, None, BATCH), outside(BATCH), atol=1e-6)


@pytest.mark.parametrize("name", ["function", "random", "state"])
def test_a_backbone_of_haiku_that_is_not_pure_is_refused_with_what_to_pass(name):
    hk = pytest.importorskip("haiku")

    def inside(x):
        keywords = {"is_training": True} if name == "state" else {}
        return ek.symmetrize(haiku_backbones(hk)[name], "p x -> p x", **PCA)(x, **keywords)

    with pytest.raises(ek.OptionError) as caught:
        hk.transform_with_state(inside).init(KEY, BATCH)
    assert "is_training=False" in caught.value.step or "net.apply(params, None, x)" in caught.value.step


def test_a_function_of_haiku_without_a_transform_or_a_key_is_refused():
    hk = pytest.importorskip("haiku")
    bare = ek.symmetrize(lambda x: hk.Linear(3)(x), "p x -> p x", **PCA)
    assert_error(ek.OptionError, lambda: bare(BATCH), "makes parameters", "hk.transform", "pure", "net.apply(params")
    drop = hk.transform(lambda x: hk.dropout(hk.next_rng_key(), 0.5, x))
    keyless = ek.symmetrize(lambda x: drop.apply({}, None, x), "p x -> p x", **PCA)
    assert_error(ek.OptionError, lambda: keyless(BATCH), "no key", "", "a key", "key_argument=")


def test_errors_of_haiku_are_recognized_by_where_they_are_raised():
    place = {"__name__": "haiku._src.base"}
    exec("def fail():\n    raise ValueError('All parameters must be created as part of `init`.')", place)
    with pytest.raises(ValueError, match="as part of") as caught:
        place["fail"]()
    refused = impure(caught.value)
    assert refused is not None
    assert "hk.transform" in refused.step
    assert impure(ValueError("All parameters must be created as part of `init`.")) is None


class Torch:
    """What is known of a module of PyTorch: where its class is."""

    __module__ = "torch.nn.modules.module"

    def __call__(self, x):
        return x.detach()


class TorchNet(Torch):
    __module__ = "mine"


class Transformed(NamedTuple):
    """What `hk.transform` returns."""

    init: object = None
    apply: object = None


NOT_FUNCTIONS = {
    "PyTorch": (TorchNet, "a module of PyTorch", "TorchNet", "flax.nnx.Module"),
    "unbound Linen": (
        lambda: linen.Dense(3),
        "a module of Flax Linen",
        "Dense",
        "functools.partial(net.apply, variables)",
    ),
    "transformed": (Transformed, "a pair of functions", "Transformed", "net.apply(params, None, x)"),
    "class": (lambda: nnx.Linear, "a class", "Linear", "make the module first"),
}


@pytest.mark.parametrize("name", NOT_FUNCTIONS)
def test_modules_that_are_not_functions_of_an_input_are_refused_with_what_to_pass(name):
    make, problem, got, step = NOT_FUNCTIONS[name]
    calls = {
        "the backbone": lambda: ek.symmetrize(make(), "p x -> p x", **PCA),
        "the network": lambda: canonicalization.ImageCanonicalization(make(), ek.Z(4)),
    }
    for what, call in calls.items():
        assert_error(ek.OptionError, call, f"{what} is {problem}", got, "", step)


@pytest.mark.parametrize("shape", [(POINTS, 3), (4, POINTS, 3)])
def test_inputs_without_channels_are_told_the_option(shape):
    sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S(POINTS), x=ek.O(3), how=ek.frames.PCA())
    assert_error(
        ek.ShapeError, lambda: sym(jnp.ones(shape)), "no axis of channels", str(list(shape)), "", "channels=False"
    )
    assert_error(ek.ShapeError, lambda: sym(jnp.ones((7, 2, 2, 2))), "", "[7, 2, 2, 2]", "[*batch, p", "")
