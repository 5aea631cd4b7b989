"""Misspelled options are answered with the nearest one by every public class and function of these modules."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import equikit as ek
from equikit import auditing, spherical, supports, symmetrization, testing, weightspace
from equikit._keywords import call_of
from equikit.nn import Linear
from equikit.weightspace import asymmetric, graphs, optimizers, teleportation

DOORS = (
    symmetrization,
    symmetrization.frames,
    symmetrization.canonicalization,
    weightspace,
    asymmetric,
    graphs,
    optimizers,
    teleportation,
    spherical,
    supports,
    testing,
    auditing,
)
PUBLIC = {
    f"{door.__name__.removeprefix('equikit.')}.{name}": value
    for door in DOORS
    for name in door.__all__
    if callable(value := getattr(door, name))
}
OTHERS = {weightspace.FixedEntries, symmetrization.Method, symmetrization.Piecewise, symmetrization.Symmetrized}
"""A class of Flax that takes any metadata, and classes whose instances users do not make."""

SPEC = weightspace.trace(lambda p, x: x @ p["a"], {"a": jnp.ones((3, 2))}, jnp.ones((5, 3)))
RNGS = {"rngs": nnx.Rngs(0)}
WRAPPED = (jnp.tanh, "x -> x"), {"x": ek.O(3), "how": ek.frames.QR()}
TESTED = WRAPPED[0], {"x": ek.O(3), "channels": 1, "key": None}
AUDITED = WRAPPED[0], {"x": ek.O(3), "data": np.ones((2, 3, 1))}
PASSING_ON = {
    symmetrization.symmetrize: (*WRAPPED, ()),
    symmetrization.piecewise: (*WRAPPED, (symmetrization.symmetrize,)),
    symmetrization.Canonicalize: ((None, ek.SO), {}, ()),
    symmetrization.MatrixNetwork: (({"x": 1}, "x"), {"x": ek.O(3)} | RNGS, (ek.nn.Network, Linear)),
    symmetrization.canonicalization.VectorNeurons: (({"x": 1}, 3), {"x": ek.O(3)} | RNGS, (Linear,)),
    testing.equivariance_error: (*TESTED, ()),
    auditing.audit: (*AUDITED, ()),
    auditing.locate: (*AUDITED, ()),
    auditing.padding_error: (AUDITED[0], AUDITED[1] | {"along": "x"}, ()),
    auditing.translation_error: (AUDITED[0], AUDITED[1] | {"along": "x"}, ()),
    auditing.Monitor: (("x -> x",), AUDITED[1], ()),
    testing.assert_equivariant: (*TESTED, ()),
    **dict.fromkeys(
        [weightspace.Functional, weightspace.UNF, weightspace.NFN, weightspace.DWSNet],
        ((SPEC, [1, 1]), RNGS, (Linear,)),
    ),
    weightspace.LearnedOptimizer: ((SPEC,), RNGS, (weightspace.UNF, Linear)),
}
"""Arguments of those that pass keywords on, as labels or to other layers, and what they pass them to."""


def misspelled():
    for name, public in PUBLIC.items():
        *_, inner = PASSING_ON.get(public, ((), {}, ()))
        for option in sorted(call_of(public, *inner).arguments - {"self", "cls", "_cls", "groups"}):
            if public not in OTHERS and not (public in PASSING_ON and option not in call_of(public, *inner).options):
                yield pytest.param(public, option, id=f"{name}-{option}")


@pytest.mark.parametrize(("public", "option"), [*misspelled()])
def test_a_misspelled_option_is_answered_with_the_nearest_one(public, option):
    arguments, keywords, _ = PASSING_ON.get(public, ((), {}, ()))
    wrong = option + option[-1]
    with pytest.raises(ek.OptionError) as caught:
        public(*arguments, **keywords, **{wrong: None})
    assert caught.value.problem == f"{public.__name__} has no option {wrong!r}"
    assert caught.value.step == f"write {option}="


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_public_function_can_be_pickled(door):
    for name in door.__all__:
        if callable(value := getattr(door, name)):
            assert pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize(
    ("make", "keyword"),
    [
        (lambda **options: ek.nn.LayerNorm({"p": 2}, p=ek.S, **options), "binding"),
        (lambda **options: ek.nn.Network([{"p": 2}, {"p": 2}], p=ek.S, **RNGS, **options), "signatur"),
        (lambda **options: ek.nn.Invariant("p", 2, 3, p=ek.S, **RNGS, **options), "signatur"),
    ],
    ids=["inherited", "inner", "outer"],
)
def test_an_argument_that_the_layer_gives_itself_is_not_suggested(make, keyword):
    with pytest.raises(ek.SignatureError) as caught:
        make(**{keyword: 3})
    assert caught.value.problem == f"no axis has the label {keyword!r}"
