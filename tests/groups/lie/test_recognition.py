"""Random conjugates of all families are recognized, with noise too; the name is checked by its definition."""

import functools

import numpy as np
import pytest
from scipy.linalg import expm

import equikit as ek
from equikit.groups.lie import generate, invariant_forms, killing_form, recognize, structure_constants
from equikit.groups.lie._algebra import distance, orthonormal

ROTATION, BOOST = np.array([[0.0, -1], [1, 0]]), np.array([[0.0, 1], [1, 0]])


def algebra_of(group):
    return np.array(group.lie_algebra(), float)


def unitary(m, special=False):
    """As real matrices, written down independently of the package."""
    found = [
        np.kron(np.eye(2), e - e.T) + np.kron(ROTATION, s)
        for e, s in ((e, 0 * e) for e in _elementary(m) if e[0, 0] != 1)
    ]
    found += [np.kron(ROTATION, e + e.T) for e in _elementary(m)]
    trace = np.kron(ROTATION, np.eye(m))
    return orthonormal(np.array([a - special * np.tensordot(a, trace, 2) / (2 * m) * trace for a in found]))


def _elementary(m):
    for i in range(m):
        for j in range(i + 1):
            matrix = np.zeros((m, m))
            matrix[i, j] = 1
            yield matrix


def linear(n, special=False):
    every = np.eye(n * n).reshape(-1, n, n)
    return orthonormal(every - special * np.trace(every, axis1=1, axis2=2)[:, None, None] / n * np.eye(n))


def of_complex(algebra):
    return np.concatenate([np.kron(np.eye(2), algebra), np.kron(ROTATION, algebra)])


def direct_sum(*algebras):
    n, start, found = sum(a.shape[-1] for a in algebras), 0, []
    for algebra in algebras:
        for matrix in algebra:
            wide = np.zeros((n, n))
            wide[start : start + len(matrix), start : start + len(matrix)] = matrix
            found.append(wide)
        start += algebra.shape[-1]
    return np.array(found).reshape(-1, n, n)


def so(p, q=0):
    return algebra_of(ek.O(p, q))


def trivial(n):
    return np.zeros((0, n, n))


FAMILIES = {
    **{f"SO({n})": so(n) for n in (2, 3, 4, 5)},
    **{f"SO+({p}, {q})": so(p, q) for p, q in ((1, 1), (1, 2), (1, 3), (2, 2), (1, 4), (2, 3))},
    **{f"SL({n})": linear(n, special=True) for n in (2, 3, 4, 5)},
    **{f"GL+({n})": linear(n) for n in (2, 3, 4, 5)},
    "Sp(4)": algebra_of(ek.Sp(4)),
    "U(2)": unitary(2),
    "SU(2)": unitary(2, special=True),
    "SU(3)": unitary(3, special=True),
    "SL(2, C)": of_complex(linear(2, special=True)),
    "GL(2, C)": of_complex(linear(2)),
    "SO(3, C)": of_complex(so(3)),
    "R+ x SO(2)": np.stack([ROTATION, np.eye(2)]),
    "R+ x SO(3)": np.concatenate([so(3), np.eye(3)[None]]),
    "R+ x SO+(1, 3)": np.concatenate([so(1, 3), np.eye(4)[None]]),
    "SO(3) x SO(2)": direct_sum(so(3), so(2)),
    "SO(3) x SO+(1, 1)": direct_sum(so(3), so(1, 1)),
    "SO(3) x Trivial(1)": direct_sum(so(3), trivial(1)),
    "SO(2) x SO(2)": direct_sum(so(2), so(2)),
    "SL(2) x SL(2)": direct_sum(linear(2, special=True), linear(2, special=True)),
    "SO(3) on 2 copies": np.kron(np.eye(2), so(3)),
    "SO(2) on 2 copies": np.kron(np.eye(2), so(2)),
    "SO(2) (rotations with speeds 2, 1)": np.kron(np.diag([2, 1]), ROTATION)[None],
    "R+ (scaling)": np.eye(3)[None],
    "R+ (scaling with weights 2, 1, -1)": np.diag([2.0, 1, -1])[None],
    "R (shear)": np.array([[[0.0, 1], [0, 0]]]),
    "Trivial(3)": trivial(3),
}


def hidden(algebra, random, noise=0.0, most=8.0):
    """A random basis of a conjugate by a random matrix of moderate condition, and that matrix."""
    n = algebra.shape[-1]
    change = random.normal(size=(n, n))
    while np.linalg.cond(change) > most:
        change = random.normal(size=(n, n))
    moved = change @ algebra @ np.linalg.inv(change)
    if len(moved) > 1:
        moved = np.tensordot(random.normal(size=(len(moved),) * 2), moved, 1)
    moved = orthonormal(moved)
    return moved + noise * random.normal(size=moved.shape) / n, change


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("noise", [0, 1e-4])
def test_conjugates_are_recognized(name, noise):
    random = np.random.default_rng(len(name))
    for _ in range(1 if noise else 2):
        algebra, _ = hidden(FAMILIES[name], random, noise)
        found = recognize(algebra, max(1e-6, 2 * noise))
        assert found.name == name
        assert found.known
        moved = found.change_of_basis @ found.standard @ np.linalg.inv(found.change_of_basis)
        assert distance(moved, algebra) < 1e-7 + 20 * noise
        assert np.array_equal(found.standard, np.round(found.standard))
        assert found.dimension == len(algebra)


@pytest.mark.parametrize("name", ["SO(3)", "SO+(1, 3)", "Sp(4)", "U(2)", "SO(3) x SO(2)", "SO(3) on 2 copies"])
def test_names_of_other_bases_of_the_same_space_agree(name):
    random = np.random.default_rng(1)
    kinds = {repr(recognize(hidden(FAMILIES[name], random)[0]).kind) for _ in range(3)}
    assert len(kinds) == 1


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_metric_is_invariant_under_group_elements(p):
    random = np.random.default_rng(p)
    algebra, change = hidden(so(p, 4 - p), random)
    metric = recognize(algebra).metric
    element = expm(np.tensordot(random.normal(size=6) / 3, algebra, 1))
    assert np.allclose(element.T @ metric @ element, metric, atol=1e-7 * abs(metric).max())
    inverse = np.linalg.inv(change)
    known = inverse.T @ np.diag(np.repeat([1.0, -1.0], [p, 4 - p])) @ inverse
    assert (
        min(np.linalg.norm(known / np.linalg.norm(known) - s * metric / np.linalg.norm(metric)) for s in (1, -1)) < 1e-6
    )


def test_rational_conjugates_are_exact():
    change = np.array([[2, 1, 0], [0, 1, 1], [1, 0, 3.0]])
    found = recognize(change @ so(3) @ np.linalg.inv(change))
    assert found.exact
    assert found.group.exact
    (metric,) = found.group.invariants((True, True))  # on dual vectors: the metric itself
    expected = np.linalg.inv(change @ change.T)
    assert np.allclose(metric / metric[0, 0], expected / expected[0, 0])


def test_noise_is_rounded_away_only_where_entries_are_rational():
    random = np.random.default_rng(0)
    near = so(1, 3) + 1e-3 * random.normal(size=(6, 4, 4))
    found = recognize(near, 4e-3)
    assert found.exact
    assert found.residual < 4e-3
    assert all(np.array_equal(a, -a.T * np.outer([1, -1, -1, -1], [1, -1, -1, -1])) for a in np.array(found.matrices))
    assert not recognize(hidden(so(1, 3), random, 1e-4)[0], 4e-4).exact


@pytest.mark.parametrize(
    ("kept", "name", "other"),
    [
        (("positive", "negative", "both"), "O(1, 3)", ek.O(1, 3)),
        (("both",), "SO(1, 3)", ek.SO(1, 3)),
        ((), "SO+(1, 3)", None),
    ],
)
def test_reflections_make_the_full_group(kept, name, other):
    found = recognize(so(1, 3)).with_reflections([kept])
    assert found.name == name
    if other is not None:
        for signature in ("x x -> ", "x x x x -> "):
            assert ek.hom(signature, x=found.group).dim == ek.hom(signature, x=other).dim
    # The Levi-Civita tensor is invariant unless a single reflection is there.
    assert ek.hom("x x x x -> ", x=found.group).dim == (3 if "positive" in kept else 4)


def test_layers_commute_with_the_recognized_group():
    random = np.random.default_rng(2)
    algebra, change = hidden(so(1, 3), random)
    group = recognize(algebra).group
    space = ek.hom("x -> x x x", x=group)
    assert space.dim == ek.hom("x -> x x x", x=ek.SO(1, 3)).dim == 4
    boost = change @ ek.SO(1, 3).random_element(random) @ np.linalg.inv(change)
    for matrix in np.array(space.matrices()).reshape(4, 64, 4):
        three = functools.reduce(np.kron, [boost] * 3)
        assert np.allclose(three @ matrix, matrix @ boost, atol=1e-6 * np.linalg.norm(three))


def test_complex_matrices_are_recognized():
    random = np.random.default_rng(0)
    change = random.normal(size=(2, 2)) + 1j * random.normal(size=(2, 2))
    found = recognize(change @ np.array(ek.U(2).lie_algebra()) @ np.linalg.inv(change))
    assert found.name == "U(2)"
    assert found.group.is_complex
    assert found.group.n == 2
    assert ek.hom("u u* -> ()", u=found.group).dim == 1
    assert ek.hom("u u -> ()", u=found.group).dim == 0


def test_other_algebras_get_a_description():
    triangular = recognize([[[1, 0], [0, -1]], [[0, 1], [0, 0]]])
    assert not triangular.known
    assert triangular.kind == "solvable"
    assert triangular.radical == 2
    assert triangular.name == "solvable Lie algebra of dimension 2 on R^2"
    assert triangular.group.name is None
    pairs = np.array([np.kron(a, np.eye(3)) + np.kron(np.eye(3), a) for a in so(3)])
    assert recognize(pairs).name == "so(3) on R^9"
    affine = direct_sum(so(2), trivial(1))
    affine = np.concatenate([affine, np.eye(9).reshape(9, 3, 3)[[2, 5]]])  # translations in homogeneous coordinates
    assert recognize(affine).kind == "solvable"
    assert (
        recognize(np.concatenate([direct_sum(so(3), trivial(1)), np.eye(16).reshape(16, 4, 4)[[3, 7, 11]]])).kind
        == "mixed"
    )


def test_incommensurate_rotations_are_told():
    found = recognize(np.kron(np.diag([1, 2**0.5]), ROTATION)[None])
    assert found.name == "R (rotations with incommensurate speeds 1, 0.707)"


@pytest.mark.parametrize(("group", "signature"), [(ek.SO(3), (0, 3)), (ek.SO(1, 3), (3, 3)), (ek.Sp(4), (6, 4))])
def test_killing_forms_have_the_known_signatures(group, signature):
    constants = structure_constants(algebra_of(group))
    values = np.linalg.eigvalsh(killing_form(constants))
    assert (np.sum(values > 1e-9), np.sum(values < -1e-9)) == signature
    assert recognize(algebra_of(group)).killing == (*signature, 0)


def test_invariant_forms():
    assert len(invariant_forms(so(3), "antisymmetric")) == 0
    (form,) = invariant_forms(algebra_of(ek.Sp(4)), "antisymmetric")
    assert np.allclose(form / form[0, 2], ek.Sp(4).form.matrix(4))
    assert len(invariant_forms(direct_sum(so(2), so(2)))) == 2
    assert len(invariant_forms(trivial(3))) == 6


def test_brackets_generate_an_algebra():
    two = so(3)[:2]
    assert len(generate(two)) == 3
    assert len(generate(trivial(2))) == 0
    assert recognize(generate(two)).name == "SO(3)"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: recognize([[1, 2]]), "not an array of square matrices"),
        (lambda: recognize([[[np.nan]]]), "not an array of square matrices"),
        (lambda: recognize("so(3)"), "not an array of square matrices"),
        (lambda: recognize(np.ones((1, 25, 25))), "too large to be recognized"),
        (lambda: recognize(so(3)[:2]), "do not span a Lie algebra"),
        (lambda: recognize(so(3), tolerance=-1), "tolerance= must be"),
        (lambda: recognize(so(3), tolerance=0.5), "tolerance= must be"),
        (lambda: invariant_forms(so(3), "hermitian"), "unknown value for kind="),
        (lambda: invariant_forms(1j * so(3)), "complex matrices are not supported"),
        (lambda: recognize(algebra_of(ek.Sp(4))).reflection(0, "both"), "only blocks with a metric"),
        (lambda: recognize(so(3)).reflection(0, "all"), "unknown value for which="),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ek.EquikitError, match=text) as caught:
        call()
    assert caught.value.step


def test_hidden_rotations_are_not_rounded_by_chance():
    random, exact = np.random.default_rng(0), 0
    for _ in range(100):
        exact += recognize(hidden(so(2), random, 1e-3)[0], 4e-3).exact
    assert exact <= 1


@pytest.mark.parametrize(
    ("algebra", "group"),
    [
        (so(3), ek.SO(3)),
        (algebra_of(ek.Sp(4)), ek.Sp(4)),
        (linear(2, special=True), ek.Sp(2)),
        (so(1, 3), None),
        (direct_sum(so(3), trivial(1)), None),
        (np.kron(np.eye(2), so(3)), None),
    ],
)
def test_families_of_equikit_act_in_standard_coordinates(algebra, group):
    moved, _ = hidden(algebra, np.random.default_rng(3))
    found = recognize(moved)
    assert found.standard_group == group
    if group is not None:
        assert distance(algebra_of(group), found.standard) < 1e-12
        assert ek.hom("x x -> x", x=found.group).dim == ek.hom("x x -> x", x=group).dim
    if found.name == "SO+(1, 3)":
        assert found.with_reflections([("positive", "negative", "both")]).standard_group == ek.O(1, 3)
        assert found.with_reflections([("both",)]).standard_group == ek.SO(1, 3)
