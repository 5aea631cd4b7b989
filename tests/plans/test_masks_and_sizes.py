"""Masks given alone or by label, and what to do where an axis does not have the size that its label is bound to."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import message_of

import equikit as ek
from equikit.plans import apply, apply_multilinear

RNGS = nnx.Rngs(0)
KEEP = jnp.array([True, True, False, True])
ONES = jnp.ones((4, 1))
RAMP = jnp.arange(4.0)[:, None]
POINTS = ek.nn.GeometricMessage({"p": 1}, {"p": 1}, cutoff=2.0, powers=0, hidden=(), p=ek.S, x=ek.O(3), rngs=RNGS)
PRODUCT = ek.hom("p, p -> p", p=ek.S)
AVERAGE = ek.symmetrize(lambda x, mask: x, "p -> p", p=ek.S, how=ek.frames.Sort())
CLOUD = ek.nn.Linear("p x -> p x", 1, 1, p=ek.S, x=ek.O(3), rngs=RNGS)
CASES = {
    "apply": lambda mask: apply(ek.hom("p -> p", p=ek.S).plan(), ONES, {"p -> p": jnp.ones((2, 1, 1))}, mask=mask),
    "apply_multilinear": lambda mask: apply_multilinear(
        PRODUCT, (ONES, ONES), jnp.ones((PRODUCT.dim, 1, 1, 1)), mask=mask
    ),
    "Linear": lambda mask: ek.nn.Linear("p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))(ONES, mask=mask),
    "Invariant": lambda mask: ek.nn.Invariant("p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))(RAMP, mask=mask),
    "Bilinear": lambda mask: ek.nn.Bilinear({"p": 1}, 1, {"": 1}, p=ek.S, rngs=nnx.Rngs(0))({"p": RAMP}, mask=mask),
    "Multilinear": lambda mask: ek.nn.Multilinear("p, p -> p", 1, 1, p=ek.S, rngs=nnx.Rngs(0))(ONES, ONES, mask=mask),
    "Network": lambda mask: ek.nn.Network([{"p": 1}, {"p": 1}, {"": 1}], p=ek.S, rngs=nnx.Rngs(0))(
        {"p": RAMP}, mask=mask
    ),
    "Pool": lambda mask: ek.nn.Pool("p", p=ek.S)(RAMP, mask=mask),
    "DeepSets": lambda mask: ek.nn.DeepSets(1, [2], 1, out="p", rngs=nnx.Rngs(0))(ONES, mask=mask),
    "GraphNetwork": lambda mask: ek.nn.GraphNetwork(1, [2], 1, rngs=nnx.Rngs(0))(jnp.ones((4, 4, 1)), mask=mask),
    "GeometricMessage": lambda mask: POINTS({"p": ONES}, jnp.arange(12.0).reshape(4, 3) / 9, mask=mask),
    "Attention": lambda mask: ek.nn.Attention({"p": 1}, heads=1, p=ek.S, rngs=nnx.Rngs(0))({"p": RAMP}, mask=mask),
    "symmetrize": lambda mask: AVERAGE(RAMP, mask=mask),
    "with-an-axis-that-is-not-permuted": lambda mask: CLOUD(jnp.ones((4, 3, 1)), mask=mask),
}


@pytest.mark.parametrize("call", CASES.values(), ids=CASES)
def test_a_mask_may_come_alone_where_one_label_can_have_one(call):
    alone, by_label = (leaves(call(mask)) for mask in (KEEP, {"p": KEEP}))
    assert all(np.array_equal(one, other) for one, other in zip(alone, by_label, strict=True))
    numpy = leaves(call(np.asarray(KEEP)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, numpy, strict=True))
    whole = leaves(call({"p": jnp.ones(4, bool)}))
    assert not all(np.array_equal(one, other) for one, other in zip(alone, whole, strict=True))


def leaves(result):
    return [*result.values()] if isinstance(result, dict) else [result]


def test_a_mask_alone_is_refused_where_it_could_be_for_two_labels():
    layer = ek.nn.Linear("a b -> a b", 1, 1, a=ek.S, b=ek.S, rngs=RNGS)
    parts = message_of(ek.OptionError, lambda: layer(jnp.ones((4, 4, 1)), mask=KEEP))
    assert parts["problem"] == "mask= does not say which label it is for"
    assert parts["next step"] == 'write mask={"a": mask}'
    assert layer(jnp.ones((4, 4, 1)), mask={"a": KEEP}).shape == (4, 4, 1)


def test_a_mask_is_refused_where_no_label_can_have_one():
    layer = ek.nn.Linear("x -> x", 1, 1, x=ek.O(4), rngs=RNGS)
    parts = message_of(ek.OptionError, lambda: layer(ONES, mask=KEEP))
    assert parts["next step"] == "leave mask= out"
    assert layer(ONES).shape == (4, 1)


ANY_SIZE = [ek.S(4), ek.O(4), ek.Sp(4), ek.H(4), ek.Bistochastic(4), ek.U(4), ek.GL(4)]
ONE_SIZE = [ek.SO(4), ek.A(4), ek.Z(4), ek.D(4), ek.Lorentz, ek.MatrixGroup(np.eye(4, dtype=int)[None]), ek.Fixed(4)]


@pytest.mark.parametrize("group", [*ANY_SIZE, *ONE_SIZE], ids=str)
def test_a_bound_layer_says_whether_it_could_serve_every_size(group):
    complex_group = isinstance(group, ek.groups.Group) and group.is_complex
    x = jnp.ones((6, 1), jnp.complex64 if complex_group else jnp.float32)
    layer = ek.nn.Linear("x -> x", 1, 1, x=group, rngs=RNGS)
    parts = message_of(ek.ShapeError, lambda: layer(x))
    assert parts["next step"].endswith("give every 'x' size 4")
    if group in ONE_SIZE:
        assert "bind" not in parts["next step"]
    else:
        name = type(group).__name__
        assert parts["next step"].startswith(f"bind x=ek.{name} for any size")
        assert ek.nn.Linear("x -> x", 1, 1, x=getattr(ek, name), rngs=RNGS)(x).shape == (6, 1)


def test_a_label_that_is_no_keyword_is_bound_by_groups():
    layer = ek.nn.Linear("in -> in", 1, 1, groups={"in": ek.S(3)}, rngs=RNGS)
    assert message_of(ek.ShapeError, lambda: layer(ONES))["next step"].startswith('bind groups={"in": ek.S} for any')


def test_space_has_one_size_in_messages_between_points():
    parts = message_of(ek.ShapeError, lambda: POINTS({"p": ONES}, jnp.ones((4, 2))))
    assert parts["next step"] == "give every 'x' size 3"


def test_a_size_that_a_group_does_not_have_is_named_with_its_axis():
    layer = ek.nn.Linear("z -> z", 1, 1, z=ek.Sp, rngs=RNGS)
    parts = message_of(ek.GroupError, lambda: layer(jnp.ones((5, 1))))
    assert parts["got"] == "size 5 on axis 'z'"
    assert parts["next step"] == "give every 'z' a size that Sp has"
