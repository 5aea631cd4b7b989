"""Seconds to a basis of the equivariant maps: equikit against EMLP's numerical solver and dense null spaces."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

import equikit as ek
from benchmarks.core.benchmark import Benchmark, Cell, Measure, Tell
from benchmarks.core.harness import Differs, Limits, recorded
from benchmarks.core.measurement import Measurement, Skip, TooSlow, time_limit
from benchmarks.core.targets import Target
from benchmarks.speed._emlp_library import load_emlp
from equikit.diagrams import _sequence
from equikit.diagrams.bases import _basis
from equikit.diagrams.counting import _count
from equikit.groups.families import _matrix, _permutations
from equikit.plans import _apply, plan, weight_shapes
from equikit.plans.compilation import _lower

RIVALS: dict[str, str] = {
    "equikit": "diagrams and a plan: all that a layer needs",
    "equikit, dense": "the basis as dense integer matrices, which a layer never forms",
    "EMLP": "EMLP's numerical solver: a dense orthonormal basis",
    "NumPy": "null space of the constraints of generators and Lie algebra, by singular values",
    "SymPy": "the same null space, exactly",
}
TARGETS = (
    Target("EMLP", {"group": "S", "k": 2, "l": 2, "n": 8}, "basis", 1e4),
    Target("EMLP", {"group": "O", "k": 1, "l": 1, "n": 16}, "basis", 1e4),
    Target("EMLP", {"group": "O", "k": 3, "l": 3, "n": 6}, "basis", 1e4),
)


CUBE = ek.MatrixGroup([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]], name="cube")
"""The rotations of a cube, given by two of them."""


@dataclass(frozen=True)
class Case:
    """The maps of a group from k axes to l axes of size n."""

    group: str
    k: int
    l: int
    n: int

    @property
    def bound(self) -> Any:
        if self.group == "cube":
            return CUBE
        return ek.Lorentz if self.group == "O(1,3)" else getattr(ek, self.group)(self.n)

    @property
    def entries(self) -> int:
        return self.n ** (self.k + self.l)

    def space(self) -> ek.HomSpace:
        return ek.hom(f"{' '.join('x' * self.k)} -> {' '.join('x' * self.l)}", x=self.bound)


FULL = (
    *(Case("S", 1, 1, n) for n in (4, 8, 16)),
    *(Case("S", 2, 2, n) for n in (2, 4, 8)),
    *(Case("O", 1, 1, n) for n in (4, 8, 16)),
    *(Case("O", 2, 2, n) for n in (2, 4, 8)),
    *(Case("O", 3, 3, n) for n in (2, 3, 4, 6)),
    *(Case("SO", 2, 1, n) for n in (2, 3, 4)),
    *(Case("SO", 2, 2, n) for n in (2, 3, 4)),
    *(Case("Sp", 2, 2, n) for n in (2, 4, 6)),
    Case("Sp", 3, 3, 2),
    Case("O(1,3)", 2, 2, 4),
    *(Case("A", 2, 2, n) for n in (3, 4)),
    *(Case("H", 2, 2, n) for n in (3, 4)),
    *(Case("Bistochastic", 2, 2, n) for n in (3, 4)),
    *(Case("U", 2, 2, n) for n in (2, 3)),
    *(Case("GL", 2, 2, n) for n in (2, 3)),
    *(Case("Z", 2, 2, n) for n in (3, 6)),
    *(Case("D", 2, 2, n) for n in (3, 6)),
    Case("cube", 2, 2, 3),
    Case("cube", 3, 3, 3),
)
QUICK = (Case("S", 1, 1, 4), Case("O", 2, 2, 2), Case("SO", 2, 1, 3))
CACHES = (
    *(_basis.chosen, _count.stirling_row, _count.even_stirling_row, _lower.planned, _sequence._grouped),
    *(_apply.weight_places,),
    *(_permutations._invariants, _permutations._fixed_points, _matrix._invariants, _matrix._traces),
)


def limits(quick: bool) -> Limits:
    """Seconds for one construction, and how often it is repeated."""
    return Limits(seconds=0.2, least=2, most=20, prepare=10.0) if quick else Limits(seconds=1.0, most=50, prepare=75.0)


def equikit_plan(case: Case) -> int:
    """Compute the shapes of the weights from the signature, without caches."""
    for cache in CACHES:
        cache.cache_clear()
    return sum(shape[0] for shape in weight_shapes(plan(case.space())).values())


def equikit_dense(case: Case) -> int:
    """Compute the dense matrices, with new diagrams."""
    for cache in CACHES:
        cache.cache_clear()
    return len(case.space().matrices())


def emlp(case: Case) -> int:
    """Compute EMLP's basis, after emptying its cache."""
    library = load_emlp()
    if library is None:
        raise Skip("emlp is not installed")
    groups = library.groups
    known = {"Sp": lambda n: groups.Sp(n // 2)} | {
        name: getattr(groups, name) for name in ("S", "O", "SO", "U", "GL", "Z")
    }
    if case.group not in known and case.group != "O(1,3)":
        raise Skip("EMLP has no such group")
    group = groups.O13() if case.group == "O(1,3)" else known[case.group](case.n)
    np.random.seed(0)  # EMLP's solver starts from NumPy's global random state
    library.reps.Rep.solcache.clear()
    try:
        basis = (library.reps.T(case.k)(group) >> library.reps.T(case.l)(group)).equivariant_basis()
        return int(jax.block_until_ready(basis).shape[-1])
    except (Skip, MemoryError):
        raise
    except Exception as error:  # EMLP raises plain exceptions where a problem is too large for it
        raise Skip(f"EMLP: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error


def constraints(case: Case) -> np.ndarray:
    """Return a matrix whose null space is the space of invariant tensors, one index per axis, output axes first."""
    group, n, order = case.bound, case.n, case.k + case.l
    if case.entries**2 * 8 * 4 > 6 * 2**30:
        raise Skip("the constraints would not fit in memory")
    # An input axis transforms by the dual.
    one = [np.eye(n**i) for i in range(order + 1)]
    rows = []
    for element in group.generators():
        matrix = group.matrix(element)
        dual = np.round(np.linalg.inv(matrix)).T
        rows.append(functools.reduce(np.kron, [matrix] * case.l + [dual] * case.k, np.eye(1)) - one[order])
    for element in group.lie_algebra() if hasattr(group, "lie_algebra") else ():
        parts = [element] * case.l + [-element.T] * case.k
        rows.append(sum(np.kron(np.kron(one[i], part), one[order - 1 - i]) for i, part in enumerate(parts)))
    return np.concatenate(rows) if rows else np.zeros((1, case.entries))


def numpy_null_space(case: Case) -> int:
    """Compute the rank of the Gram matrix of the constraints, which is smaller than the constraints."""
    matrix = constraints(case)
    values, _ = np.linalg.eigh(matrix.conj().T @ matrix)
    return int(np.sum(values < 1e-8 * max(values.max(initial=0.0), 1.0)))


def sympy_null_space(case: Case) -> int:
    """Compute the null space exactly, in rational numbers."""
    import sympy

    if case.entries > 300:
        raise Skip("more than 300 unknowns")
    matrix = constraints(case)
    parts = [matrix.real, matrix.imag]  # whole numbers
    real, imaginary = (sympy.Matrix(part.astype(int)) for part in parts)
    return len((real + sympy.I * imaginary if np.iscomplexobj(matrix) else real).nullspace())


MAKERS: dict[str, Callable[[Case], int]] = {
    "equikit": equikit_plan,
    "equikit, dense": equikit_dense,
    "EMLP": emlp,
    "NumPy": numpy_null_space,
    "SymPy": sympy_null_space,
}


def cells(quick: bool) -> list[Cell]:
    """In the order in which they are run."""
    return [Cell(asdict(case), "basis", tuple(MAKERS), case) for case in (QUICK if quick else FULL)]


def family(case: Mapping[str, Any], rival: str) -> tuple[Any, ...]:
    """A rival that took too long in a case is not tried in the next one of its family."""
    return rival, case["group"], case["k"], case["l"]


def construct(case: Case, limit: Limits, tell: Tell, given_up: set[tuple[Any, ...]]) -> list[Measurement]:
    """Construct the basis with each rival; the dimensions have to agree."""
    measurements: list[Measurement] = []
    for rival, maker in MAKERS.items():
        m = Measurement(asdict(case), "basis", rival)
        measurements.append(m)
        tell(rival)
        with recorded(m):
            repeat(m, functools.partial(maker, case), case.space().dim, limit, given_up)
        m.summarize()
    return measurements


def repeat(
    m: Measurement, construct: Callable[[], int], dimension: int, limit: Limits, given_up: set[tuple[Any, ...]]
) -> None:
    """Construct the basis of one rival, repeatedly while there is time.

    Raises:
        Skip: if it takes too long, or did so in a smaller case.
        Differs: if its dimension is another one.
    """
    if family(m.case, m.rival) in given_up:
        raise Skip("it took too long in a smaller case")
    gc.collect()
    while not m.times or (sum(m.times) < limit.seconds and len(m.times) < limit.most):
        try:
            with time_limit(limit.prepare, "it"):
                start = time.perf_counter()
                found = construct()
                m.times.append(time.perf_counter() - start)
        except TooSlow as reason:
            m.longer_than, m.given_up = reason.seconds, str(reason)
            given_up.add(family(m.case, m.rival))
            raise
        if found != dimension:
            raise Differs(f"it finds {found} maps, not {dimension}")


def start(quick: bool, seed: int, tell: Tell, earlier: Iterable[Mapping[str, Any]] = ()) -> Measure:
    """Prepare a run; only EMLP uses random numbers, so the seed is not used."""
    load_emlp()
    equikit_plan(QUICK[0])  # imports
    given_up = {family(record["case"], record["rival"]) for record in earlier if "given_up" in record}
    return lambda cell: construct(cell.given, limits(quick), tell, given_up)


BENCHMARK = Benchmark(
    title="Bases of equivariant maps",
    summary="seconds to a basis of the k -> l maps of every family against EMLP and null spaces",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    panel=("group", "k", "l"),
    family=True,
)
