"""Plans of every family, and of mixtures: against dense tensors, and against the definition of equivariance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, equations, every, partly_slow, random_weights
from in_numpy import in_numpy

import equikit as ek
from equikit import SO, A, Bistochastic, H, Lorentz, O, S, Sp
from equikit.plans import apply, plan

apply = functools.partial(apply, method="factored")  # at small sizes "auto" takes another

CASES = [
    ("x x -> x x", {"x": O(3)}),
    ("x x x -> x x x", {"x": O(2)}),
    ("x x x -> x x x", {"x": O(4)}),
    ("x x -> x x", {"x": Sp(2)}),
    ("x x x -> x x x", {"x": Sp(4)}),
    ("x x x x -> x x", {"x": Sp(6)}),
    ("x x x -> x x x", {"x": H(3)}),
    ("x x x -> x", {"x": H(2)}),
    ("x x -> x x", {"x": Bistochastic(3)}),
    ("x x x -> x x", {"x": Bistochastic(2)}),
    ("m m m m -> m m", {"m": O(2, 1)}),
    ("m m -> m m", {"m": Lorentz}),
    ("x x -> x", {"x": SO(3)}),
    ("x -> x x", {"x": SO(3)}),
    ("x x x -> x x", {"x": SO(3)}),
    ("x x -> x x x", {"x": SO(3)}),
    ("x x x -> x x x", {"x": SO(4)}),
    ("x x -> x x", {"x": SO(2)}),
    ("x -> x", {"x": SO(1)}),
    ("x -> x x x", {"x": SO(1, 3)}),
    ("x x -> x x", {"x": SO(1, 3)}),
    ("x x x x -> ()", {"x": SO(1, 3)}),
    ("x x x -> x", {"x": SO(2, 2)}),
    ("x x -> x x", {"x": A(3)}),
    ("x x -> x x x", {"x": A(4)}),
    ("x x x -> x x", {"x": A(3)}),
    ("x -> x", {"x": A(2)}),
    ("p x -> p x", {"p": S(4), "x": O(3)}),
    ("p x p x -> x p x + p", {"p": S(3), "x": Sp(2)}),
    ("p x y x -> y x + y x p x", {"p": S(3), "x": Lorentz, "y": O(2)}),
    ("y p x y p x -> x p y", {"x": SO(3), "y": A(3), "p": S(3)}),
    ("a: p x + b: f x x -> x f + ()", {"p": S(3), "x": SO(3), "f": ek.Fixed(2)}),
    ("x x + x~ + det(x) -> x~ + x + det(x)", {"x": O(3)}),
    ("m m m + det(m) -> m~ + m~ m f", {"m": Lorentz, "f": ek.Fixed(2)}),
    ("p x x -> x~ x x p", {"p": S(3), "x": O(3)}),
    ("x x~ -> x x", {"x": O(2)}),  # whose diagrams are dependent
]
cases = pytest.mark.parametrize(("text", "groups"), CASES, ids=[f"{t}, {g}" for t, g in CASES])


def inputs_of(program, sizes, batch=(2,)):
    rng = np.random.default_rng(1)
    terms = zip(program.signature.inputs, program.channels[0], strict=True)
    return {term.name: rng.normal(size=(*batch, *(sizes[x] for x in term.labels), c)) for term, c in terms}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("case", "normalize"),
    partly_slow(
        every(CASES, ["sum", "mean"]),
        lambda place: place % 4 in (0, 3),  # one and the other by turns
        [f"{text}, {groups}, {normalize}" for (text, groups), normalize in every(CASES, ["sum", "mean"])],
    ),
)
def test_a_plan_is_its_reference(case, normalize):
    text, groups = case
    space = ek.hom(text, groups=groups)
    program = plan(space, (2, 3), normalize=normalize, bias=True)
    x, w = inputs_of(program, space.sizes()), random_weights(program)
    run = functools.partial(apply, program)
    fast, dense, slow = (in_numpy(functools.partial(run, method=how), x, w) for how in ("factored", "dense", "naive"))
    for name in slow:
        assert_close(fast[name], slow[name], 1e-12)
        assert_close(dense[name], slow[name], 1e-12)


@pytest.mark.usefixtures("x64")
@cases
def test_a_plan_commutes(text, groups):
    space = ek.hom(text, groups=groups)
    program = plan(space, (2, 3), bias=True)
    w = random_weights(program)
    run = functools.partial(in_numpy, lambda x: apply(program, x, w))
    key = jax.random.key(1)
    ek.testing.assert_equivariant(run, text, groups=groups, channels=2, key=key, dtype=jnp.float64)


EVEN = [(group, "x x -> x x") for group in (O(3), Sp(2), Lorentz, H(3))]
ODD = every([SO(3), A(3), O(3), Sp(2), Lorentz, H(3)], ["x x x -> x x", "x x -> x x x"])  # maps of the first two only


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("group", "text"), partly_slow([*EVEN, *ODD], lambda place: [*EVEN, *ODD][place] != (A(3), "x x -> x x x"))
)
def test_gradients_are_those_of_the_reference(group, text):
    program = plan(ek.hom(text, x=group), (2, 2), normalize="mean")
    x, w = inputs_of(program, {"x": group.n})[text.split(" -> ")[0]], random_weights(program)

    def slope(method):
        return jax.grad(lambda x, w: jnp.sum(jnp.sin(apply(program, x, w, method=method))), argnums=(0, 1))

    fast, slow = (in_numpy(slope(method), x, w) for method in ("factored", "naive"))
    for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(slow), strict=True):
        assert_close(a, b, 1e-11)


def test_a_plan_is_its_dense_matrices():
    space = ek.hom("x x -> x", x=SO(3))
    w = np.array([[[2.0]]], np.float32)
    x, y = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    result = apply(space.plan(), np.outer(x, y)[..., None], {"x x -> x": w})
    np.testing.assert_allclose(result[:, 0], 2 * np.cross(x, y), rtol=1e-5)


@cases
def test_tables_print(text, groups):
    program = ek.hom(text, groups=groups).plan((2, 3), bias=True)
    flops, moved = program.cost(batch=2)
    assert flops >= 0
    assert moved >= 0
    assert "total" in str(program)


def test_no_scatter_and_no_gather():
    found = set()
    for text, groups in CASES:
        space = ek.hom(text, groups=groups)
        program = plan(space, (2, 3), bias=True)
        x, w = inputs_of(program, space.sizes()), random_weights(program)
        jaxpr = jax.make_jaxpr(lambda x, w, program=program: apply(program, x, w))(*jax.tree.map(np.float32, (x, w)))
        found |= {str(equation.primitive) for equation in jaxpr.jaxpr.eqns}
    assert not {name for name in found if "gather" in name or "scatter" in name or "dynamic" in name}


@pytest.mark.parametrize("group", [O(3), SO(3), Sp(2), Bistochastic(3), A(3)], ids=str)
def test_masks_are_refused_where_they_do_not_commute(group):
    program = ek.hom("x x -> x x", x=group).plan()
    x = inputs_of(program, {"x": group.n}, ())["x x"].astype(np.float32)
    with pytest.raises(ek.OptionError, match="cannot be masked"):
        apply(program, x, random_weights(program), mask={"x": np.ones(group.n, bool)})


def test_the_size_of_a_free_group_is_checked():
    program = ek.hom("x x -> x x", x=Sp).plan()
    with pytest.raises(ek.GroupError, match="even"):
        apply(program, np.ones((3, 3, 1), np.float32), jax.tree.map(np.float32, random_weights(program)))


def test_a_levi_civita_tensor_too_large_is_refused_before_it_is_made():
    program = ek.hom("x " * 5 + "-> " + "x " * 5, x=SO(10)).plan()
    shapes = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in ek.plans.weight_shapes(program).items()}
    with pytest.raises(ek.TooLargeError, match="Levi-Civita"):
        jax.eval_shape(lambda x, w: apply(program, x, w), jax.ShapeDtypeStruct((10,) * 5 + (1,), jnp.float32), shapes)


def test_precision_reaches_every_product():
    program = ek.hom("x x x -> x x", x=SO(3)).plan()
    x, w = inputs_of(program, {"x": 3}, ())["x x x"], random_weights(program)
    jaxpr = jax.make_jaxpr(lambda x, w: apply(program, x, w, precision="highest"))(*jax.tree.map(np.float32, (x, w)))
    products = [e for e in equations(jaxpr.jaxpr) if e.primitive.name == "dot_general"]
    assert len(products) > 2
    assert all("HIGHEST" in str(e.params["precision"]) for e in products)
