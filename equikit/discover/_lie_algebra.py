"""Discover the connected symmetry group of a function by linear algebra, and its reflections by tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from equikit import _checks
from equikit._errors import GroupError
from equikit.auditing import upper_bound
from equikit.discover._constraints import Constraints, constraints
from equikit.discover._elements import connected_errors, reflections
from equikit.discover._motions import Array, Model, Roles, read_data
from equikit.discover._spectrum import CLOSE, NullSpace, no_gap, null_spaces
from equikit.groups import MatrixGroup
from equikit.groups.lie import Recognized, moved, recognize

MOST_TOLERANCE = 0.09
"""The largest tolerance of recognition."""


@dataclass(frozen=True, slots=True, eq=False)
class LieAlgebra:
    """A Lie algebra that a function is invariant or equivariant under.

    Attributes:
        dimension: of the algebra.
        basis: matrices that act on the moved axis, in coordinates of the data.
        outputs: the matrices of the same elements on each label that only outputs have.
        recognized: its name and standard basis.
        spectrum: singular values of the constraints, relative to the largest one.
        gap: the ratio of the two singular values next to the gap.
        other_gaps: the dimension and the gap of null spaces at other gaps that are large enough: of smaller groups with
            smaller defects, or of larger groups.
        noise: the estimated error of the null space, as the sine of an angle.
        defects: the mean defect of each generator on held-out samples: 0 for a symmetry, at most 1.
        certificate: an upper bound on each defect that holds for all of them together with the given confidence.
        confidence: of the certificate.
        elements: the mean error of random finite elements of the connected group on held-out samples, and its bound:
            relative to the distance of the outputs of two samples, and at most 1 for each sample.
        reflections: each tested reflection with its mean error and its bound.
        held_out: the number of held-out samples.
        exact_derivatives: whether derivatives are by JAX; otherwise by finite differences in float64.
    """

    dimension: int
    basis: Float[np.ndarray, "d n n"]
    outputs: dict[str, Float[np.ndarray, "d m m"]]
    recognized: Recognized
    spectrum: Float[np.ndarray, " unknowns"]
    gap: float
    other_gaps: tuple[tuple[int, float], ...]
    noise: float
    defects: Float[np.ndarray, " d"]
    certificate: Float[np.ndarray, " d"]
    confidence: float
    elements: tuple[float, float]
    reflections: dict[str, tuple[float, float]]
    held_out: int
    exact_derivatives: bool

    @property
    def group(self) -> MatrixGroup:
        """The group on the moved axis, in coordinates of the data."""
        return self.recognized.group

    def __group__(self) -> MatrixGroup:
        """Return the group that a label is bound to."""
        return self.group

    def __str__(self) -> str:
        tail = ", ".join(f"{value:.2g}" for value in self.spectrum[max(0, len(self.spectrum) - self.dimension - 3) :])
        lines = [
            f"{self.recognized} of dimension {self.dimension}" if self.recognized.known else str(self.recognized),
            f"  singular values  ... {tail} (gap {self.gap:.1f})",
            f"  defects          at most {self.certificate.max():.2g} with {self.confidence:.0%} confidence "
            f"(mean {self.defects.max():.2g}, {self.held_out} held-out samples)",
        ]
        for dimension, gap in self.other_gaps:
            size = "smaller" if dimension < self.dimension else "larger"
            lines.insert(2, f"  {size} group{'':<{9 - len(size)}}  dimension {dimension} at gap {gap:.1f}")
        for name, (mean, bound) in ({"finite elements": self.elements} | self.reflections).items():
            lines.append(f"  {name:<16} at most {bound:.2g} (mean {mean:.2g})")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"LieAlgebra({self.recognized.name!r}, gap {self.gap:.1f}, defect at most {self.certificate.max():.2g})"


def lie_algebra(
    function: Callable[..., Any],
    data: Any,
    signature: str | None = None,
    *,
    unknown: str | None = None,
    traceless: bool = False,
    least_gap: float = 5.0,
    most_defect: float = 0.1,
    confidence: float = 0.95,
    test_reflections: bool = True,
    seed: int = 0,
) -> LieAlgebra:
    r"""Discover the Lie algebra of matrices under which a function is invariant or equivariant.

    An invariant function has \(\nabla f(x) \cdot L x = 0\), an equivariant one \(J_f(x) L x = M f(x)\), for all x.
    These constraints are linear in L and M; three quarters of the samples set them, and their null space is the
    algebra. The data are turned so that vectors have unit second moment, and directions in which the function changes
    little are stretched, so that singular values do not depend on linear coordinates. The algebra is recognized, and
    random elements exp(L) are tested on the held-out samples. For SO(n) and SO+(p, q) reflections are tested, unless
    outputs move by an unknown representation.

    Args:
        function: maps arrays `[samples, *axes, channels]` to arrays, sample by sample: of JAX, or of NumPy, whose
            derivatives are finite differences in float64. It takes a dictionary if the data are one, and returns one if
            there are several output terms.
        data: an array, or a dictionary of arrays by the names of input terms.
        signature: such as `"p x -> "` for an invariant function, `"x -> x x"` if the output moves with the same group,
            or `"x -> y"` if the group acts on y by an unknown representation. By default the last axis of the data
            moves, and the outputs are invariant.
        unknown: the label of input axes whose group is sought; by default the label of the last axis.
        traceless: whether to exclude scalings, under which every homogeneous function is equivariant.
        least_gap: the smallest gap: a ratio of neighboring singular values.
        most_defect: the largest relative singular value of a symmetry, the largest mean defect of a generator, and the
            largest mean error of finite elements beyond π times the defect.
        confidence: of the certificate.
        test_reflections: whether to test reflections after SO(n) or SO+(p, q) has been recognized.
        seed: of the random choice of held-out samples.

    Raises:
        GroupError: if no singular values are small with a gap above them, if there are two such groups with gaps of
            nearly one size, or if held-out samples contradict the result.
        OptionError: if data lie in a subspace or are too few, or the function is constant or not differentiable, or has
            state.
        ShapeError, DTypeError: if an array does not fit the signature, or is not real.

    Cost: a derivative of the function for each of the n^2 matrices, and singular values of samples times outputs rows.

    Example:
        >>> import jax
        >>> import equikit as ek
        >>> x = jax.random.normal(jax.random.key(0), (400, 4, 2))  # two four-vectors a sample
        >>> metric = np.diag([1.0, -1, -1, -1])
        >>> found = lie_algebra(lambda x: jax.numpy.einsum("sic,ij,sjd->scd", x, metric, x), x)
        >>> found.recognized.name, found.dimension, found.group.exact
        ('O(1, 3)', 6, True)
        >>> ek.hom("x x -> ", x=found.group).dim
        1

    Source:
        Otto, Zolman, Kutz and Brunton, A unified framework to enforce, discover, and promote symmetry in machine
        learning, arXiv:2311.00212, on symmetries as null spaces; Hu, Li and Lin, Explicit discovery of nonlinear
        symmetries from dynamic data, arXiv:2510.01855, on constraints from the Jacobian of a fitted network.
    """
    _checks.number("least_gap", least_gap, above=1, example=5.0)
    _checks.number("most_defect", most_defect, above=0, below=1, example=0.1)
    _checks.number("confidence", confidence, above=0, below=1, example=0.95)
    _checks.flag("test_reflections", test_reflections)
    _checks.count("seed", seed)
    model, given = prepared(function, data, signature, unknown=unknown, traceless=traceless)
    found, held = found_in(given, model, least_gap=least_gap, most_defect=most_defect, confidence=confidence, seed=seed)
    if not test_reflections or model.roles.others:
        return found
    recognized, tested = reflections(model, found.recognized, np.flatnonzero(held), found.elements[0], confidence)
    return replace(found, recognized=recognized, reflections=tested)


def prepared(
    function: Callable[..., Any],
    data: Any,
    signature: str | None = None,
    *,
    unknown: str | None = None,
    traceless: bool = False,
) -> tuple[Model, Constraints]:
    """Return the function with its data, and the linear constraints; `lie_algebra` describes the arguments."""
    _checks.flag("traceless", traceless)
    roles = Roles.read(signature, unknown, getattr(data, "ndim", 3) - 2)
    model = Model(function, read_data(data, roles), roles, by_name=isinstance(data, Mapping))
    return model, constraints(model, traceless)


def found_in(
    given: Constraints, model: Model, *, least_gap: float, most_defect: float, confidence: float, seed: int
) -> tuple[LieAlgebra, Array]:
    """Return the algebra that constraints determine, and which samples were held out."""
    samples = len(given.rows)
    held = np.zeros(samples, bool)
    held[np.random.default_rng(seed).permutation(samples)[: samples // 4]] = True
    spaces = null_spaces(given.rows[~held], given.allowed, model.precision, least_gap, most_defect)
    label, last = next(iter(given.sizes)), None
    for space in spaces:
        recognized = _recognized(given, space, label)
        if recognized is not None:
            break
        last = space
    else:
        assert last is not None
        raise _open(last)
    for other in spaces:  # with smaller gaps
        rival = _recognized(given, other, label) if len(other.vectors) in space.close else None
        if rival is not None:
            raise _undecided((space, recognized), (other, rival))
    vectors = _clean(given, space, recognized, label)
    defects = _defects(given.rows[held], vectors)
    share = 1 - (1 - confidence) / len(vectors)
    certificate = np.array([upper_bound(each, share) for each in defects])
    if float(np.mean(defects, axis=1).max()) > most_defect:
        raise no_gap(space.spectrum, least_gap, most_defect)
    matrices = given.matrices(vectors)
    basis = matrices.pop(label)
    errors = connected_errors(model, recognized, basis, matrices, np.flatnonzero(held))
    elements = float(np.mean(errors)), upper_bound(errors, confidence)
    # A rotation adds up the defect of its generator along an angle of at most π.
    limit = most_defect + math.pi * float(np.mean(defects, axis=1).max())
    if elements[0] > limit:
        raise _jumps(recognized, elements[0], limit)
    found = LieAlgebra(
        len(basis),
        basis,
        matrices,
        recognized,
        space.spectrum,
        space.gap,
        space.others,
        space.noise,
        np.mean(defects, axis=1),
        certificate,
        confidence,
        elements,
        {},
        int(np.sum(held)),
        model.exact,
    )
    return found, held


def _jumps(recognized: Recognized, error: float, most: float) -> GroupError:
    return GroupError(
        "the derivative of the function has a symmetry that finite elements of the group do not have",
        got=f"error {error:.2g} of random elements of {recognized.name} on held-out samples",
        expected=f"at most {most:g}, as for a function without jumps and without detached parts",
        step="remove jumps and jax.lax.stop_gradient from the function, or accept a larger error with most_defect=",
    )


def _undecided(*found: tuple[NullSpace, Recognized]) -> GroupError:
    """Return the error for two gaps of nearly the same size, which other samples would order otherwise."""
    smaller = min((space for space, _ in found), key=lambda space: len(space.vectors))
    dimension = len(smaller.vectors)
    below, above = (max(float(smaller.spectrum[-place]), 1e-12) for place in (dimension, dimension + 1))
    named = [f"{known.name} of dimension {len(space.vectors)} at gap {space.gap:.1f}" for space, known in found]
    return GroupError(
        "two Lie algebras stand out equally: the singular values have two gaps",
        got=" and ".join(named),
        expected=f"one gap that is larger than the others by a factor of {CLOSE}, in both halves of the samples",
        step=f"look for the smaller group, with the smaller errors: write most_defect={(below * above) ** 0.5:.2g}",
    )


def _open(space: NullSpace) -> GroupError:
    return GroupError(
        "the directions below the gap are not closed under commutators, so they are not a Lie algebra",
        got=f"{len(space.vectors)} directions with a gap of {space.gap:.1f}",
        expected="commutators inside the span, up to the noise of the null space",
        step="fit the function more accurately, or pass more samples",
    )


def _recognized(given: Constraints, space: NullSpace, label: str) -> Recognized | None:
    """Recognize the part of a null space on the moved axis, or return `None` if it is not a Lie algebra.

    The tolerance grows from the measured noise of the null space to its upper limit until the algebra has a name.
    """
    frame = given.frames[label]
    size = given.sizes[label] ** 2
    inside = given.slopes[label] @ space.vectors[:, :size].reshape(-1, *frame.shape)
    most = min(MOST_TOLERANCE, max(space.worst, 10 * space.noise))
    tolerance, found = max(space.noise, 1e-10), None
    while tolerance <= MOST_TOLERANCE:
        try:
            tried = recognize(inside, tolerance)
        except GroupError:
            tried = None
        if tried is not None and tried.dimension == len(inside):
            found = tried if found is None or tried.known else found
            if found.known:
                return moved(found, frame, min(most, 3 * tolerance))
        if tolerance >= most:
            break
        tolerance = min(2 * tolerance, most)
    return None if found is None else moved(found, frame, most)


def _clean(given: Constraints, space: NullSpace, recognized: Recognized, label: str) -> Array:
    """Return unknown vectors of the recognized algebra, orthonormal on the moved axis; other labels follow linearly."""
    frame = given.frames[label]
    algebra = np.array([[[float(x) for x in row] for row in matrix] for matrix in recognized.matrices])
    inside = (np.linalg.inv(frame @ given.slopes[label]) @ algebra @ frame).reshape(len(algebra), -1)
    inside = np.linalg.qr(inside.T)[0].T
    raw = space.vectors[:, : inside.shape[1]]
    found = (inside @ np.linalg.pinv(raw)) @ space.vectors
    found[:, : inside.shape[1]] = inside
    return found


def _defects(rows: Array, vectors: Array) -> Array:
    """Return the defect of each vector on each sample, `[vectors, samples]`, in [0, 1]."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    size = np.linalg.norm(rows, axis=(1, 2))
    defects: Array = np.linalg.norm(rows @ unit.T, axis=1).T / np.maximum(size, 1e-300)
    return np.minimum(defects, 1.0)
