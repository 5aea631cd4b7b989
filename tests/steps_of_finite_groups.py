"""Next steps of subgroup lattices, finite groups and LieGAN that are code, as `CALL` in `test_steps_as_code.py`."""

import copy
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import equikit as ek
from equikit.groups import subgroup
from equikit.groups.families._permutations import checked_permutation

KEY, X = jax.random.key(0), np.random.default_rng(0).normal(size=(64, 2, 1))
DISCRETE = ek.discover.FoundGenerators(np.pi / 2 * np.array([[[0.0, -1], [1, 0]]]), True, np.zeros((1, 3)))


def nearly(x: Any) -> Any:
    return x[..., 0] @ np.array([1, 1.1, 1.2, 1])


def trained(x: Any = X, y: Any = None, **options: Any) -> Any:
    return ek.discover.LieGAN(**{"hidden": (4,)} | options).fit(x, y, epochs=1, key=KEY)


def again(code: str) -> None:
    """Train with the keywords of a step."""
    assert trained(**eval(f"dict({code})", {"np": np, "jnp": jnp}))


class Turns(ek.MatrixGroup):
    """A group of matrices that stores its argument without a field."""

    def __init__(self, count: int) -> None:
        super().__init__([[[0, -1], [1, 0]]])
        self.count = count


class Resized(ek.MatrixGroup):
    """A group of matrices that assigns its size."""

    def __init__(self, n: int) -> None:
        self.n = n


class Unfinished(ek.MatrixGroup):
    """A group of matrices whose constructor is empty."""

    def __init__(self) -> None:
        pass


class Shifts(ek.groups.PermutationGroup):
    """A group of permutations with a generator that is not one."""

    def generators(self, n: int | None = None) -> list[Any]:
        return [[1, 2, 3, 4]]


def with_constructor(lines: str, above: str = "", field: str = "") -> Any:
    """Return the class of matrices with this constructor."""
    scope: dict[str, Any] = {"ek": ek, "dataclass": dataclass}
    body = f"    {field}\n    def __init__(self, count=4):\n        {lines}"
    exec(f"{above}\nclass Turns(ek.MatrixGroup):\n{body}", scope)
    return scope["Turns"]


def stored(written: str) -> None:
    """Follow the step that makes an argument a field."""
    base = "super().__init__([[[0, -1], [1, 0]]]); "
    above = "@dataclass(frozen=True, init=False, repr=False)"
    group = with_constructor(base + written, above, "count: object = None")(3)
    assert (copy.deepcopy(group).count, group.name, len(group.elements())) == (3, None, 4)


CALL: dict[str, tuple[Any, str, Any]] = {
    "an-attribute-that-is-not-a-field": (
        lambda: Turns(3),
        'object.__setattr__(self, "count", count)',
        stored,
    ),
    "a-size-that-is-assigned": (
        lambda: Resized(3),
        'object.__setattr__(self, "n", n)',
        lambda code: with_constructor(f"n = 2; {code}")(),
    ),
    "a-constructor-without-that-of-its-base": (
        lambda: str(Unfinished()),
        "super().__init__(...)",
        lambda code: with_constructor(code.replace("...", "[[[0, -1], [1, 0]]]"))().elements(),
    ),
    "generators-that-are-not-permutations": (
        lambda: Shifts(4).elements(),
        "np.roll(np.arange(4), 1)",
        lambda code: checked_permutation(eval(code, {"np": np}), 4),
    ),
    "subgroups-of-a-free-group": (
        lambda: ek.discover.subgroups(ek.S()),
        "S(4)",
        lambda code: ek.discover.subgroups(eval(code, {"S": ek.S})),
    ),
    "positions-that-are-none": (
        lambda: subgroup(ek.S(3), [0.5]),
        "group.elements()",
        {"group": ek.S(3)},
    ),
    "a-function-without-samples": (
        lambda **options: ek.discover.permutations(lambda x: x.sum((1, 2)), **options),
        "data=x",
        lambda code: ek.discover.permutations(
            lambda x: x.sum((1, 2)), **eval(f"dict({code})", {"x": np.random.default_rng(0).normal(size=(100, 3, 1))})
        ),
    ),
    "products-beyond-the-tolerance": (
        lambda **options: ek.discover.permutations(
            nearly, np.random.default_rng(0).normal(size=(600, 4, 1)), **options
        ),
        "tolerance=0.23",
        None,
    ),
    "a-function-of-one-sample": (
        lambda: ek.discover.permutations(np.sum, np.random.default_rng(0).normal(size=(100, 3, 1))),
        "jax.vmap(f)",
        {"jax": jax, "f": np.sum},
    ),
    "one-learning-rate": (lambda: trained(rates=(1e-3,)), "rates=(1e-3, 2e-4)", again),
    "learning-rates-that-are-no-list": (lambda: trained(rates=1e-3), "rates=(0.001, 0.0002)", again),
    "a-mask-of-nothing": (lambda: trained(mask=np.zeros((2, 2))), "mask=np.ones((2, 2), bool)", again),
    "fewer-samples-than-a-batch": (
        lambda: trained(X[:16]),
        "batch=16",
        lambda code: again(code) or trained(X[:16], batch=16),
    ),
    "outputs-of-another-size": (lambda: trained(y=X[:, :1], outputs="vector"), 'outputs="invariant"', again),
    "data-without-channels": (
        lambda: trained(X[..., 0]),
        "x[..., None]",
        lambda code: trained(eval(code, {"x": X[..., 0]})),
    ),
    "results-without-channels": (
        lambda: trained(y=X[..., 0], outputs="vector"),
        "y[..., None]",
        lambda code: trained(y=eval(code, {"y": X[..., 0]}), outputs="vector"),
    ),
    "outputs-without-a-matrix": (
        lambda: trained(y=X, outputs=lambda g: g[0]),
        "outputs=lambda g: jnp.kron(g, g)",
        lambda code: trained(y=np.ones((64, 4, 1)), **eval(f"dict({code})", {"jnp": jnp})),
    ),
    "a-game-that-diverges": (
        lambda: trained(most=1e30),
        "rates=(1e-4, 2e-4)",
        again,
    ),
    "a-discrete-group-without-an-algebra": (lambda: DISCRETE.recognized, "found.group.elements()", {"found": DISCRETE}),
    "samples-without-channels": (
        lambda: ek.discover.permutations(np.ones((4000, 3))),
        "x[..., None]",
        {"x": np.ones((4000, 3))},
    ),
    "samples-of-one-axis": (
        lambda: ek.discover.permutations(np.ones(4000)),
        "np.random.default_rng(0).normal(size=(1000, 5, 1))",
        {"np": np},
    ),
}
