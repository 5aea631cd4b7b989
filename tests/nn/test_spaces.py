"""A space from `ek.hom` as the first argument of a layer, in place of a signature and groups."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import equikit as ek

S, O3 = ek.S, ek.O(3)


def rngs():
    return nnx.Rngs(0)


PAIRS = {
    "Linear": (
        lambda: ek.nn.Linear(ek.hom("p p -> p p", p=S), 2, 3, rngs=rngs()),
        lambda: ek.nn.Linear("p p -> p p", 2, 3, p=S, rngs=rngs()),
    ),
    "Linear with terms": (
        lambda: ek.nn.Linear(ek.hom("a: p p + p -> p f", p=S, f=ek.Fixed(2)), (2, 1), 3, rngs=rngs()),
        lambda: ek.nn.Linear("a: p p + p -> p f", (2, 1), 3, p=S, f=ek.Fixed(2), rngs=rngs()),
    ),
    "Linear from two sides": (
        lambda: ek.nn.Linear(ek.hom({"edges": "p p"}, {"nodes": "p"}, p=S), 2, 3, rngs=rngs()),
        lambda: ek.nn.Linear({"edges": ("p p", 2)}, {"nodes": ("p", 3)}, p=S, rngs=rngs()),
    ),
    "Invariant": (
        lambda: ek.nn.Invariant(ek.hom("p p -> ()", p=S), 2, 3, rngs=rngs()),
        lambda: ek.nn.Invariant("p p", 2, 3, p=S, rngs=rngs()),
    ),
    "Multilinear": (
        lambda: ek.nn.Multilinear(ek.hom("sym(x, x) -> x x", x=O3), 2, 3, rngs=rngs()),
        lambda: ek.nn.Multilinear("sym(x, x) -> x x", 2, 3, x=O3, rngs=rngs()),
    ),
    "Bilinear": (
        lambda: ek.nn.Bilinear(ek.hom("x + () -> x x", x=O3), 4, ((2, 3), 1), rngs=rngs()),
        lambda: ek.nn.Bilinear({"x": 2, "": 3}, 4, {"x x": 1}, x=O3, rngs=rngs()),
    ),
    "GeometricMessage": (
        lambda: ek.nn.GeometricMessage(ek.hom("p -> p + p x", p=S, x=O3), (2, (2, 1)), cutoff=2.0, rngs=rngs()),
        lambda: ek.nn.GeometricMessage({"p": 2}, {"p": 2, "p x": 1}, cutoff=2.0, p=S, x=O3, rngs=rngs()),
    ),
    "Pool": (
        lambda: ek.nn.Pool(ek.hom("p f p -> f", p=S, f=ek.Fixed(2))),
        lambda: ek.nn.Pool("p f p", p=S, f=ek.Fixed(2)),
    ),
    "Bilinear of an axial vector": (
        lambda: ek.nn.Bilinear(ek.hom("x + x~ -> det(x)", x=O3), 4, (2, 1), rngs=rngs()),
        lambda: ek.nn.Bilinear({"x": 2, "x~": 2}, 4, {"det(x)": 1}, x=O3, rngs=rngs()),
    ),
    "Pointwise of a pseudoscalar": (
        lambda: ek.nn.Pointwise(jnp.tanh, ek.hom("det(x) -> det(x)", x=O3)),
        lambda: ek.nn.Pointwise(jnp.tanh, "det(x)", x=O3),
    ),
    "Pointwise": (
        lambda: ek.nn.Pointwise(jnp.tanh, ek.hom("p p -> p p", p=S)),
        lambda: ek.nn.Pointwise(jnp.tanh, "p p", p=S),
    ),
}


@pytest.mark.parametrize(("from_space", "from_text"), PAIRS.values(), ids=PAIRS)
def test_a_space_makes_the_layer_that_its_signature_and_groups_make(from_space, from_text):
    one, other = from_space(), from_text()
    assert nnx.graphdef(one) == nnx.graphdef(other)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), nnx.state(one), nnx.state(other)))


LINEAR, MULTILINEAR = ek.hom("p -> p", p=S), ek.hom("p, p -> p", p=S)
CALLS = {
    "Linear": (ek.nn.Linear, (LINEAR, 1, 1), {"rngs": rngs()}),
    "Invariant": (ek.nn.Invariant, (ek.hom("p -> ()", p=S), 1, 1), {"rngs": rngs()}),
    "Multilinear": (ek.nn.Multilinear, (MULTILINEAR, 1, 1), {"rngs": rngs()}),
    "Bilinear": (ek.nn.Bilinear, (LINEAR, 1, (1, 1)), {"rngs": rngs()}),
    "GeometricMessage": (
        ek.nn.GeometricMessage,
        (ek.hom("p -> p x", p=S, x=O3), (1, 1)),
        {"cutoff": 1.0, "rngs": rngs()},
    ),
    "Pool": (ek.nn.Pool, (ek.hom("p -> ()", p=S),), {}),
    "Pointwise": (ek.nn.Pointwise, (jnp.tanh, LINEAR), {}),
}
every_layer = pytest.mark.parametrize(("kind", "arguments", "keywords"), CALLS.values(), ids=CALLS)


@every_layer
def test_groups_as_well_as_a_space_are_refused_and_the_next_step_works(kind, arguments, keywords):
    for extra in ({"p": S}, {"groups": {"p": S}}, {"groups": {}}):
        with pytest.raises(ek.SignatureError) as caught:
            kind(*arguments, **keywords, **extra)
        assert caught.value.problem == "a space already has its groups"
        assert caught.value.step == f"remove {next(iter(extra))}="
    kind(*arguments, **keywords)


@every_layer
def test_a_misspelled_option_of_a_layer_with_a_space_is_answered(kind, arguments, keywords):
    with pytest.raises(ek.OptionError, match="has no option 'group'"):
        kind(*arguments, **keywords, group={"p": S})


@pytest.mark.parametrize(
    ("make", "problem", "step"),
    [
        (
            lambda: ek.nn.Linear(MULTILINEAR, 1, 1, rngs=rngs()),
            "Linear does not have the maps of a multilinear space",
            "use ek.nn.Multilinear, which takes this space",
        ),
        (
            lambda: ek.nn.Multilinear(LINEAR, 1, 1, rngs=rngs()),
            "Multilinear does not have the maps of a linear space",
            "use ek.nn.Linear, which takes this space",
        ),
        (
            lambda: ek.nn.Linear(LINEAR, {"p": 1}, rngs=rngs()),
            "a space needs the channels of its inputs and outputs",
            "write for example Linear(space, 16, 32, rngs=rngs)",
        ),
        (
            lambda: ek.nn.Invariant(LINEAR, 1, 1, rngs=rngs()),
            "Invariant does not lead from the inputs of the space to its outputs",
            "use ek.nn.Linear, which takes this space",
        ),
        (
            lambda: ek.nn.Pool(LINEAR),
            "Pool does not lead from the inputs of the space to its outputs",
            "use ek.nn.Linear, which takes this space",
        ),
        (
            lambda: ek.nn.Pool(ek.hom("p + p p -> ()", p=S)),
            "Pool does not lead from the inputs of the space to its outputs",
            "use ek.nn.Linear, which takes this space",
        ),
        (
            lambda: ek.nn.Bilinear(LINEAR, 1, {"p": 1}, rngs=rngs()),
            "the channels are not a pair",
            "write outputs=(16, 32), or ((16, 8), 32) where there are several terms",
        ),
    ],
)
def test_a_space_that_does_not_fit_is_refused_with_a_next_step(make, problem, step):
    with pytest.raises(ek.EquikitError) as caught:
        make()
    assert (caught.value.problem, caught.value.step) == (problem, step)
