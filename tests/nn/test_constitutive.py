"""Constitutive laws: the symmetry of the material and no other, all maps of a degree, and the law of Hooke."""

import functools
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_close, assert_error, partly_slow
from in_numpy import in_numpy

import equikit as ek
from equikit import SO, Bistochastic, H, Lorentz, O
from equikit.nn import ConstitutiveLaw

Z = ((0.0, 0.0, 1.0),)
XYZ = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def about_z(rng):
    c, s = np.cos(angle := rng.uniform(0, 2 * np.pi)), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, rng.choice([-1, 1])]])


def signs(rng):
    return np.diag(rng.choice([-1.0, 1.0], 3))


def of(group):
    return lambda rng: group.matrix(group.random_element(rng)).astype(float)


MATERIALS = {
    "isotropic": (O(3), (), of(O(3)), None),
    "isotropic, rotations": (SO(3), (), of(SO(3)), None),
    "in the plane": (O(2), (), of(O(2)), None),
    "transversely isotropic": (O(3), Z, about_z, of(H(3))),
    "orthotropic": (O(3), XYZ, signs, about_z),
    "cubic": (H(3), (), of(H(3)), about_z),
    "trigonal about (1, 1, 1)": (ek.D(3), (), of(ek.D(3)), about_z),
    "transversely isotropic about (1, 1, 1)": (Bistochastic(3), (), of(Bistochastic(3)), about_z),
}


def make(name, hyperelastic=False, seed=0, dtype=jnp.float64, **options):
    group, axes, _, _ = MATERIALS[name]
    options = {"hidden": (8,)} | options
    return ConstitutiveLaw(
        group, axes=axes, hyperelastic=hyperelastic, rngs=nnx.Rngs(seed), param_dtype=dtype, **options
    )


def disturbed(law):
    """The law with all biases moved from zero, where they begin."""
    for layer in law.network:
        for param in layer.bias.values():
            param[...] = param[...] + 0.5
    return law


def strains(n, count=6, seed=0, size=1.0):
    x = np.random.default_rng(seed).normal(size=(count, n, n)) * size
    return (x + x.swapaxes(1, 2)) / 2


SYMMETRIES = [*((name, False) for name in MATERIALS), ("isotropic", True), ("orthotropic", True), ("cubic", True)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "hyperelastic"), partly_slow(SYMMETRIES, lambda place: SYMMETRIES[place] != ("orthotropic", True))
)
def test_it_has_the_symmetry_of_the_material_and_no_other(name, hyperelastic):
    law, (_, _, own, other) = disturbed(make(name, hyperelastic)), MATERIALS[name]
    strain, rng = strains(law.group.n), np.random.default_rng(1)
    elements = [own(rng) for _ in range(4)] + ([] if other is None else [other(np.random.default_rng(5))])
    stress, *moved = in_numpy(law, np.stack([strain, *(g @ strain @ g.T for g in elements)]))
    np.testing.assert_allclose(stress, stress.swapaxes(1, 2), atol=1e-12 * np.abs(stress).max())
    for g, found in zip(elements[:4], moved, strict=False):
        assert_close(found, g @ stress @ g.T, 1e-12)
    for g, found in zip(elements[4:], moved[4:], strict=True):
        assert np.max(np.abs(found - g @ stress @ g.T)) > 1e-3 * np.abs(stress).max()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "hyperelastic"), [("isotropic", True), ("orthotropic", False), ("cubic", False)])
def test_no_strain_no_stress_and_only_the_symmetric_part_counts(name, hyperelastic):
    law, kept = (disturbed(make(name, hyperelastic, stress_free=free)) for free in (True, False))
    n = law.group.n
    strain = np.concatenate([strains(n), np.zeros((1, n, n))])
    skew = np.random.default_rng(3).normal(size=(n, n))
    free, same = in_numpy(law, np.stack([strain, strain + skew - skew.T]))
    other = in_numpy(kept, strain)
    assert_close(same[:-1], free[:-1], 1e-10)
    assert np.max(np.abs(free[-1])) < 1e-14
    assert np.max(np.abs(other[-1])) > 1e-4


LISTS = {
    # Boehler: I, E, E²; for an axis M also M, ME + EM, and here ME² + E²M and EME.
    "isotropic": (3, 3),
    "transversely isotropic": (3 + 4, 3 + 2),
    "orthotropic": (3 + 3 * 4, 3 + 3 * 2),
}


@pytest.mark.parametrize("name", LISTS)
def test_the_maps_are_those_of_the_literature(name):
    law = make(name, dtype=jnp.float32)
    maps, invariants = (sum(len(part[1]) for part in parts) for parts in (law._maps, law._invariants))
    assert (maps, invariants) == LISTS[name]


CLASSICAL = {
    "isotropic": lambda e: [np.trace(e), np.trace(e @ e), np.trace(e @ e @ e)],
    "transversely isotropic": lambda e: [
        np.trace(e), e[2, 2], np.trace(e @ e), (e @ e)[2, 2], np.trace(e @ e @ e)
    ],
}  # fmt: skip


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CLASSICAL)
def test_the_invariants_are_the_classical_ones(name):
    """Each is a multiple of one of them."""
    strain = strains(3, 8)
    law = make(name, scale=0.5)
    found = in_numpy(law.invariants_of, strain)
    wanted = np.array([CLASSICAL[name](e) for e in strain])
    for column in found.T:
        ratios = wanted / column[:, None]
        assert any(np.allclose(ratios[:, i], ratios[0, i]) for i in range(wanted.shape[1]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "group", "most"),
    [("isotropic", O(3), 3), ("in the plane", O(2), 3), ("cubic", H(3), 3)],
)
def test_products_of_invariants_and_maps_are_all_polynomial_maps(name, group, most):
    """Their rank at random strains is the dimension of the space of symmetric multilinear maps of the degree."""
    law = make(name, degree=most, invariants=most)
    strain = strains(group.n, 60)

    def values(parts):
        """The degree and the values of each map."""
        columns = in_numpy(functools.partial(law._evaluate, parts), strain)
        degrees = [part[2] for part in parts for _ in part[1]]
        return [(degree, columns[..., i]) for i, degree in enumerate(degrees)]

    maps, numbers = values(law._maps), values(law._invariants)
    for degree in range(most + 1):
        products = []
        for own, tensors in maps:
            for count in range(degree - own + 1):
                for choice in itertools.combinations_with_replacement(numbers, count):
                    if own + sum(d for d, _ in choice) == degree:
                        factor = np.prod([v for _, v in choice], axis=0) if choice else 1.0
                        products.append((tensors * np.reshape(factor, (-1, 1, 1))).ravel())
        matrix = np.array(products)
        rank = np.linalg.matrix_rank(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), tol=1e-8)
        strain_text = ", ".join(["sym(x x)"] * degree)
        text = {0: "()", 1: "sym(x x)"}.get(degree, f"sym({strain_text})")
        assert rank == ek.hom(f"{text} -> sym(x x)", x=group).dim


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["transversely isotropic", "cubic"])
def test_a_hyperelastic_law_is_the_gradient_of_its_energy(name):
    law = disturbed(make(name, hyperelastic=True))
    strain, step = strains(3, 1)[0], strains(3, 3, seed=1)
    stress, tangent = in_numpy(lambda e: (law(e), jax.jacfwd(law)(e)), strain)
    h = 1e-5
    after, before = in_numpy(law.energy, np.stack([strain + h * step, strain - h * step]))
    slope = (after - before) / (2 * h)
    assert slope.shape == (3,)
    assert_close(np.sum(stress * step, (1, 2)), slope, 1e-8)
    # The work along a closed path is zero: the derivative is symmetric.
    assert_close(tangent, tangent.transpose(2, 3, 0, 1), 1e-12)


@pytest.mark.usefixtures("x64")
def test_a_law_that_is_not_hyperelastic_need_not_be_conservative():
    law = make("transversely isotropic")
    tangent = in_numpy(jax.jacfwd(law), strains(3, 1)[0])
    assert np.max(np.abs(tangent - tangent.transpose(2, 3, 0, 1))) > 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("hyperelastic", [False, True])
def test_the_parameters_of_lame_are_found_from_data(hyperelastic):
    """Stress 2μE + λ tr(E) 1 of strains of a percent; what is read off are the stresses of a shear and a stretch."""
    lame, shear, size = 1.5, 0.8, 0.01
    strain = jnp.asarray(strains(3, 64, size=size))
    stress = 2 * shear * strain + lame * jnp.trace(strain, axis1=1, axis2=2)[:, None, None] * jnp.eye(3)
    options = {"invariants": 2} if hyperelastic else {"degree": 1, "invariants": 1}
    law = make("isotropic", hyperelastic, scale=size, hidden=(), **options)
    static, params = nnx.split(law)
    optimizer = optax.lbfgs(memory_size=2)

    def loss(params):
        return jnp.mean((nnx.merge(static, params)(strain) - stress) ** 2) / size**2

    @jax.jit
    def step(params, memory):
        value, slope = optax.value_and_grad_from_state(loss)(params, state=memory)
        updates, memory = optimizer.update(slope, memory, params, value=value, grad=slope, value_fn=loss)
        return optax.apply_updates(params, updates), memory

    memory = optimizer.init(params)
    for _ in range(8):
        params, memory = step(params, memory)
    law = nnx.merge(static, params)
    probes = np.zeros((2, 3, 3))
    probes[0, 0, 1] = probes[0, 1, 0] = probes[1, 0, 0] = size
    found = np.asarray(jax.jit(lambda e: law(e))(probes)) / size
    assert found[0, 0, 1] == pytest.approx(2 * shear, abs=1e-3)
    assert found[1, 1, 1] == pytest.approx(lame, abs=1e-3)
    assert found[1, 0, 0] == pytest.approx(lame + 2 * shear, abs=1e-3)


def test_it_is_a_module_like_the_others():
    law, other = (make("transversely isotropic", dtype=jnp.float32, seed=seed) for seed in (0, 1))
    strain = jnp.asarray(strains(3), jnp.float32)
    run = jax.jit(lambda m, e: m(e))
    y = run(law, strain)
    graph, state = nnx.split(law)
    assert graph == nnx.split(other)[0]
    assert_close(run(nnx.merge(graph, state), strain), y, 0)
    assert_close(run(pickle.loads(pickle.dumps(law)), strain), y, 0)
    assert_close(jax.jit(jax.vmap(lambda e: law(e)))(strain), y, 1e-4)
    assert not any(isinstance(value, jax.Array | np.ndarray) for value in vars(law).values())


C4 = ek.MatrixGroup([[[0, -1], [1, 0]]], name="C4")
ERRORS = {
    "metric": (
        ek.OptionError,
        lambda: ConstitutiveLaw(Lorentz, rngs=nnx.Rngs(0)),
        "not one of orthogonal matrices",
        "O(1, 3)",
        "H(n)",
        "ek.O(3)",
    ),
    "free": (
        ek.OptionError,
        lambda: ConstitutiveLaw(O(), rngs=nnx.Rngs(0)),
        "not one of orthogonal matrices",
        "O",
        "H(n)",
        "ek.O(3)",
    ),
    "axis": (
        ek.OptionError,
        lambda: ConstitutiveLaw(axes=((1, 1, 0),), rngs=nnx.Rngs(0)),
        "not a unit vector",
        "(1.0, 1.0, 0.0)",
        "3 numbers",
        "divide",
    ),
    "scale": (
        ek.OptionError,
        lambda: ConstitutiveLaw(scale=0.0, rngs=nnx.Rngs(0)),
        "scale= must be a number > 0",
        "0.0",
        "a number > 0",
        "scale=1",
    ),
    "invariants": (
        ek.TooLargeError,
        lambda: ConstitutiveLaw(C4, invariants=10**30, rngs=nnx.Rngs(0)),
        "the polynomials of C4 would take too long to find",
        f"invariants={10**30}",
        "a lower degree",
        "write invariants=",
    ),
    "degree": (
        ek.TooLargeError,
        lambda: ConstitutiveLaw(C4, degree=30, rngs=nnx.Rngs(0)),
        "the polynomials of C4 would take too long to find",
        "degree=30",
        "a lower degree",
        "write degree=",
    ),
    "rngs": (ek.OptionError, lambda: ConstitutiveLaw(rngs=None), "rngs= must be", "None", "Rngs", "Rngs(0)"),
    "shape": (
        ek.ShapeError,
        lambda: make("isotropic", dtype=jnp.float32)(np.ones((6,), np.float32)),
        "second order",
        "[6]",
        "3, 3",
        "Voigt",
    ),
    "energy": (
        ek.OptionError,
        lambda: make("isotropic", dtype=jnp.float32).energy(np.ones((3, 3), np.float32)),
        "has no energy",
        "hyperelastic=False",
        "hyperelastic",
        "hyperelastic=True",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    assert_error(*ERRORS[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"invariants": 0}, "invariants= must be a whole number ≥ 1"),
        ({"group": ek.U(3)}, "not one of orthogonal matrices"),
        ({"group": ek.GL(3)}, "not one of orthogonal matrices"),
        ({"group": ek.O(0)}, "not one of orthogonal matrices"),
        ({"group": ek.S(3)}, "not one of orthogonal matrices"),
        ({"hyperelastic": True, "degree": 2}, "no maps to choose a degree of"),
        ({"hyperelastic": "no"}, "hyperelastic= must be True or False"),
        ({"stress_free": 1}, "stress_free= must be True or False"),
        ({"axes": ((float("nan"), 0, 1),)}, "not a unit vector"),
        ({"axes": (0, 0, 1.0)}, "not a list of vectors"),
        ({"scale": float("inf")}, "scale= must be a number > 0"),
        ({"hidden": (0,)}, "each entry of hidden= must be a whole number ≥ 1"),
        ({"hidden": 4}, "hidden= must be a list of widths"),
        ({"degree": 5, "invariants": 1}, "too many diagrams to choose a basis from"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ek.EquikitError, match=message):
        ConstitutiveLaw(rngs=nnx.Rngs(0), **options)


def test_stress_has_the_wider_dtype(x64):
    for hyperelastic in (False, True):
        law = ConstitutiveLaw(hidden=(4,), hyperelastic=hyperelastic, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        assert jax.eval_shape(law, jnp.zeros((2, 3, 3), jnp.float32)).dtype == jnp.float64


QUARTER = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
TRIAD = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
POINT_GROUPS = {
    "triclinic": ek.MatrixGroup([[[-1, 0, 0], [0, -1, 0], [0, 0, -1]]]),
    "tetragonal": ek.MatrixGroup([QUARTER, [[1, 0, 0], [0, -1, 0], [0, 0, 1]]]),
    "cubic": ek.MatrixGroup([QUARTER, TRIAD]),
    "trigonal": ek.MatrixGroup([[[-0.5, -(0.75**0.5), 0], [0.75**0.5, -0.5, 0], [0, 0, 1]]]),
}


def elements(group):
    rng = np.random.default_rng(0)
    return [*group.generators(), *(group.random_element(rng) for _ in range(3))]


LAWS = [(name, hyperelastic) for name in POINT_GROUPS for hyperelastic in (False, True)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "hyperelastic"), partly_slow(LAWS, [LAWS.index(("trigonal", False)), LAWS.index(("cubic", True))])
)
def test_point_groups(name, hyperelastic):
    group = POINT_GROUPS[name]
    law = ConstitutiveLaw(group, hidden=(8,), hyperelastic=hyperelastic, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    strain = np.random.default_rng(1).normal(size=(4, 3, 3))
    strain = (strain + np.swapaxes(strain, 1, 2)) / 2
    turn = ek.SO(3).random_element(np.random.default_rng(2))
    matrices = [*elements(group), turn]
    given = [0 * strain, strain, *(g @ strain @ g.T for g in matrices)]
    zero, stress, *moved, turned = in_numpy(law, np.stack(given))
    for g, found in zip(matrices[:-1], moved, strict=True):
        assert np.allclose(found, g @ stress @ g.T, atol=1e-10)
    if len(group.given) > 1 or group.exact is False:
        assert not np.allclose(turned, turn @ stress @ turn.T, atol=1e-3)
    assert np.allclose(zero, 0, atol=1e-12)
    assert np.allclose(stress, np.swapaxes(stress, 1, 2))


def test_elastic_constants_of_crystals():
    """Maps of first degree: the independent constants without the symmetry of an energy, as Nye lists them."""
    from equikit.nn.physics._point_group import polynomials

    counted = {name: len(polynomials(group, 1, tensors=True)) for name, group in POINT_GROUPS.items()}
    # With an energy 21, 6, 3 and 7; without, the parts antisymmetric under exchange of stress and strain come in.
    assert counted == {"triclinic": 36, "tetragonal": 7, "cubic": 3, "trigonal": 12}
    quadratic = {name: len(polynomials(group, 2, tensors=False)) for name, group in POINT_GROUPS.items()}
    assert quadratic == {"triclinic": 21, "tetragonal": 6, "cubic": 3, "trigonal": 7}


def test_invariants_are_counted_by_molien():
    """The mean over the group of 1 / det(1 - t g) on symmetric tensors, as a power series."""
    from equikit.nn.physics._point_group import _on_entries, polynomials

    group = POINT_GROUPS["tetragonal"]
    known = {np.eye(3, dtype=int).tobytes(): np.eye(3, dtype=int)}
    edge = [*known.values()]
    while edge:
        edge = [g @ e for g in group.generators() for e in edge]
        edge = [e for e in edge if e.tobytes() not in known]
        known |= {e.tobytes(): e for e in edge}
    assert len(known) == 8
    for degree in range(4):
        total = 0
        for element in known.values():
            traces = [np.trace(np.linalg.matrix_power(_on_entries(element), m)) for m in range(degree + 1)]
            symmetric = [1.0]
            for d in range(1, degree + 1):  # Newton's identities, from power sums to complete symmetric functions
                symmetric.append(sum(traces[m] * symmetric[d - m] for m in range(1, d + 1)) / d)
            total += symmetric[degree]
        assert round(total / len(known), 9) == len(polynomials(group, degree, tensors=False))


def test_point_groups_that_do_not_fit():
    for group, axes in ((ek.MatrixGroup([[[2, 0], [0, 1]]]), ()), (POINT_GROUPS["cubic"], ((0, 0, 1),))):
        with pytest.raises(ek.OptionError, match=r"not one of orthogonal matrices|knows the axes"):
            ConstitutiveLaw(group, axes=axes, rngs=nnx.Rngs(0))
