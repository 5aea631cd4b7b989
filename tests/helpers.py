"""What the tests of plans and layers share: signatures to try, random arrays, a NumPy evaluator, a jaxpr walker."""

import contextlib
import inspect
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from in_numpy import equations, in_numpy

import equikit as ek
from equikit.diagrams import Diagrams
from equikit.plans import Plan, weight_shapes

PLAIN = {"f": 2, "g": 3}
"""The labels that are plain axes in `SIGNATURES`, with their sizes; all others carry the symmetric group."""

SIGNATURES = [
    "p -> p",
    "p p -> p p",
    "p -> p p",
    "p p -> ()",
    "() -> p p",
    "p p p -> p p",
    "p p p -> p p p",
    "q p q -> p q",
    "p q -> q q p",
    "p p + p + () -> p p + p + ()",
    "p f -> g p p",
    "f p g p -> p f",
    "p -> q p",
    "a: p p + b: p p -> c: p",
]


HEXAGON = ek.MatrixGroup([[[0, -1], [1, 1]]], name="hexagon")
TURN = ek.MatrixGroup([[[0.6, -0.8], [0.8, 0.6]]], name="turn")
STRETCH = ek.MatrixGroup([[[Fraction(1, 2), 0], [0, 1]], [[0, 1], [1, 0]]], name="stretch")
SU2 = ek.MatrixGroup(lie_algebra=[[[1j, 0], [0, -1j]], [[0, 1], [-1, 0]], [[0, 1j], [1j, 0]]], name="SU(2)")

DUALS = [
    ("u, u* -> ()", {"u": ek.U(3)}),
    ("v, v*, v -> v", {"v": ek.GL(2)}),
    ("sym(v, v), v* -> v", {"v": ek.GL(2)}),
    ("alt(v v*, v v*) -> v v*", {"v": ek.GL(2)}),
    ("sym(u u) u*, u -> alt(u u)", {"u": ek.U(2)}),
    ("sym(v*, v*) -> sym(v* v*)", {"v": ek.GL(2)}),
    ("sym(v v* v*, v v* v*) -> v* v*", {"v": ek.GL(1)}),
    ("p v, sym(v* v*) -> p v*", {"v": ek.GL(2), "p": ek.S(3)}),
]
"""Multilinear maps with dual vectors."""

WHOLE = [
    ("z, z -> z", {"z": ek.Z(4)}),
    ("z f, z -> g z", {"z": ek.Z(3), "f": ek.Fixed(2), "g": ek.Fixed(3)}),
    ("alt(z z), z -> z", {"z": ek.D(4)}),
    ("sym(sym(z z), sym(z z)) -> ()", {"z": ek.D(3)}),
    ("alt(z, z, z) -> z", {"z": ek.Z(3)}),
    ("sym(x x), x -> x", {"x": HEXAGON}),
    ("sym(x, x, x) -> x", {"x": HEXAGON}),
    ("alt(x x), x -> x", {"x": TURN}),
    ("sym(g g*, g g*) -> g g*", {"g": STRETCH}),
    ("sym(g g), g* -> g", {"g": SU2}),
    ("a z, z -> b", {"z": ek.D(3), "a": ek.Z(2), "b": ek.Z(2)}),
    ("p p z, p z -> p", {"p": ek.S(2), "z": ek.D(3)}),
    ("p z, sym(z z) p -> p", {"p": ek.S(2), "z": ek.Z(3)}),
    ("sym(p z, p z) -> p", {"p": ek.S(2), "z": ek.D(3)}),
    ("alt(x z, x z) -> z", {"x": ek.SO(2), "z": ek.Z(3)}),
    ("sym(x z, x z) -> x x", {"x": ek.O(1), "z": ek.Z(2)}),
    ("sym(x z, x z) -> x x z z", {"x": ek.O(2), "z": TURN}),
]
"""Multilinear maps of groups without diagrams, alone and mixed; some diagrams of O(1) and O(2) are dependent."""


def labels_of(signature: str) -> list[str]:
    """The labels of a signature, in order of appearance; names of terms aside."""
    words = signature.replace("->", " ").replace("+", " ").replace("()", " ").split()
    return list(dict.fromkeys(word for word in words if not word.endswith(":")))


def sizes_of(signature: str, n: int) -> dict[str, int]:
    """Sizes to try: n for the first acted label, one less or more for the others, so that mixed-up labels are seen."""
    acted = [label for label in labels_of(signature) if label not in PLAIN]
    sizes = {label: abs(n - i) if i else n for i, label in enumerate(sorted(acted))}
    return sizes | {label: PLAIN[label] for label in labels_of(signature) if label in PLAIN}


def bindings(signature: str, sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Every label with its group: bound to the sizes, or free where there are none."""
    return {
        label: ek.Fixed(PLAIN[label]) if label in PLAIN else ek.S if sizes is None else ek.S(sizes[label])
        for label in labels_of(signature)
    }


def random_weights(plan: Plan, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in weight_shapes(plan).items()}


def random_inputs(plan: Plan, sizes: Mapping[str, int], batch: tuple[int, ...] = (), seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        term.name: rng.normal(size=(*batch, *(sizes[label] for label in term.labels), channels))
        for term, channels in zip(plan.signature.inputs, plan.channels[0], strict=True)
    }


def random_masks(plan: Plan, sizes: Mapping[str, int], batch: tuple[int, ...] = (), seed: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {label: rng.random((*batch, sizes[label])) < 0.6 for label in plan.signature.groups}


def numpy_apply(
    plan: Plan,
    inputs: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    masks: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """What a plan computes, diagram by diagram and entry of the output by entry, in NumPy.

    It works on one batch entry at a time, and sums over blocks of vertices with `einsum`: a diagram is the einsum in
    which each block is one letter. Shares the order of the diagrams with the code under test, and nothing else.
    """
    signature, masks = plan.signature, masks or {}
    batch = next(
        (a.shape[: a.ndim - 1 - len(t.labels)] for t in signature.inputs for a in [inputs[t.name]]),
        (),
    )
    bound = tuple(signature.groups.items())
    results = {}
    for s, target in enumerate(signature.outputs):
        out = np.zeros((*batch, *(sizes[label] for label in target.labels), plan.channels[1][s]))
        for index in np.ndindex(*batch):
            keep = {label: mask[index].astype(float) for label, mask in masks.items()}
            keep |= {label: np.ones(sizes[label]) for label in sizes if label not in keep}
            pairs = [(term.labels, inputs[term.name][index], f"{term.name or '()'} -> ") for term in signature.inputs]
            if plan.bias:
                pairs.append(((), np.ones(1), "-> "))
            for labels, x, prefix in pairs:
                name = prefix + (target.name or "()")
                if name in weights:
                    w = weights[name][:, None, :] if prefix == "-> " else weights[name]
                    out[index] += _pair(signature, labels, target.labels, x, w, keep, plan.normalize, bound)
            for axis, label in enumerate(target.labels):
                out[index] *= keep[label].reshape([-1 if i == axis else 1 for i in range(out[index].ndim)])
        results[target.name] = out
    return results


def _pair(signature, below, above, x, weights, keep, normalize, bound):
    for axis, label in enumerate(below):
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        x = np.where(keep[label].reshape(shape) > 0, x, 0.0)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    groups = signature.groups
    plain_in = {i: next(letters) for i, label in enumerate(below) if label not in groups}
    plain_out = {i: next(letters) for i, label in enumerate(above) if label not in groups}
    c_in, c_out = next(letters), next(letters)
    rest = list(letters)
    fixed = signature.bound
    split = [fixed[below[i]].size for i in plain_in] + [x.shape[-1]] + [fixed[above[i]].size for i in plain_out]
    weights = weights.reshape(*weights.shape[:1], *split, -1)
    spec_w = "".join([*plain_in.values(), c_in, *plain_out.values(), c_out])
    tops, bottoms = (tuple(label for label in row if label in groups) for row in (above, below))
    total = 0.0
    for diagram, weight in zip(Diagrams(tops, bottoms, bound), weights, strict=True):
        letter = [""] * (len(tops) + len(bottoms))
        scale, extra, spec_extra = 1.0, [], []
        for k, block in enumerate(diagram.blocks):
            for vertex in block:
                letter[vertex] = rest[k]
            label = diagram.labels[block[0]]
            if block[0] >= len(tops) and normalize == "mean":
                scale /= max(keep[label].sum(), 1.0)
        # A letter cannot repeat in an einsum's output, so each output axis is tied to its block by an identity.
        out_letters = []
        for vertex in range(len(tops)):
            own = rest[len(diagram.blocks) + vertex]
            out_letters.append(own)
            extra.append(np.eye(len(keep[tops[vertex]])))
            spec_extra.append(own + letter[vertex])
        spec_x, bottom = "", iter(letter[len(tops) :])
        for i in range(len(below)):
            spec_x += plain_in[i] if i in plain_in else next(bottom)
        spec_out, top = "", iter(out_letters)
        for i in range(len(above)):
            spec_out += plain_out[i] if i in plain_out else next(top)
        spec = ",".join([spec_x + c_in, spec_w, *spec_extra]) + "->" + spec_out + c_out
        total = total + scale * np.einsum(spec, x, weight, *extra, optimize=True)
    return total


def compiled(function, *arguments):
    """Compile quickly rather than well, and call."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function).lower(*arguments).compile(options)(*arguments)


def assert_close(actual: Any, desired: Any, tolerance: float) -> None:
    """Assert that arrays, or dictionaries of them, agree relative to the largest entry; shapes are part of it."""
    if isinstance(desired, Mapping):
        assert actual.keys() == desired.keys()
        for name in desired:
            assert_close(actual[name], desired[name], tolerance)
        return
    assert actual.shape == desired.shape
    scale = max(float(np.max(np.abs(np.asarray(desired)), initial=0.0)), 1.0)
    np.testing.assert_allclose(np.asarray(actual), np.asarray(desired), rtol=0, atol=tolerance * scale)


def primitives(jaxpr: Any) -> Counter[str]:
    return Counter(equation.primitive.name for equation in equations(jaxpr))


def largest(jaxpr: Any) -> int:
    """The number of entries of the largest array that is computed."""
    return max(math.prod(v.aval.shape) for equation in equations(jaxpr) for v in equation.outvars)


def as_floats(tree: Any, dtype: Any = jnp.float32) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """The seconds of every XLA compilation in the block, which finds nothing compiled before it but what draws keys."""
    jax.clear_caches()
    nnx.Rngs(0).params()
    found: list[float] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def assert_compiles(module: nnx.Module, *inputs: Any, **keywords: Any) -> None:
    """Check that XLA computes what NumPy evaluates, as most tests do."""
    graph, state = nnx.split(module)

    def run(state: Any, given: Any) -> Any:
        return nnx.merge(graph, state)(*given[0], **given[1])

    given = state, (inputs, keywords)
    compiled = jax.jit(run).lower(*given).compile()(*given)
    jax.tree.map(lambda one, other: assert_close(one, other, 1e-4), in_numpy(run, *given), compiled)


def message_of(error: type[Exception], call) -> dict[str, str]:
    """The four parts of one of our error texts: problem, got, expected, step."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value).__module__.startswith("equikit")
    lines = str(caught.value).split("\n")
    parts = {"problem": lines[0]}
    for mark in ("got", "expected", "next step"):
        found = [line for line in lines if line.startswith(f"  {mark}:")]
        parts[mark] = found[0].split(":", 1)[1].strip() if found else ""
    assert parts["expected"], lines
    assert parts["next step"], lines
    return parts


def every(*choices):
    """All combinations."""
    return list(itertools.product(*choices))


def partly_slow(cases, kept, ids=None):
    """Cases as parameters, slow but for those kept: a function of the place of a case, or a collection of places."""
    keep = kept if callable(kept) else lambda place: place in kept
    return [
        pytest.param(*case, id=ids[place] if ids else None, marks=[] if keep(place) else [pytest.mark.slow])
        for place, case in enumerate(cases)
    ]


def with_groups(cases, always: int | None = None, also=()):
    """Signatures with groups as a parametrization; if `always` is given, most of those before it are slow.

    What takes seconds to compile is then run for the first case of every family that the others have not, and for the
    signatures in `also`, each time; and for all cases with the slow tests.
    """
    families = [{group if isinstance(group, type) else type(group) for group in groups.values()} for _, groups in cases]
    kept = set(range(0 if always is None else always, len(cases)))
    met = set().union(*(families[place] for place in kept))
    for place, (text, _) in enumerate(cases):
        if text in also or not families[place] <= met:
            kept.add(place)
        met |= families[place]
    ids = [f"{text}, {groups}" for text, groups in cases]
    return pytest.mark.parametrize(("text", "groups"), partly_slow(cases, kept, ids))


def assert_error(error: type[Exception], call, problem: str, got: str, expected: str, step: str) -> None:
    """Check that a call raises one of our errors, and that its four parts say what they should."""
    parts = message_of(error, call)
    for part, text in zip(("problem", "got", "expected", "next step"), (problem, got, expected, step), strict=True):
        assert text in parts[part]


STRANGE = (
    *(None, True, -1, 2.5, math.nan, 10**30, "x", b"x", [], {}, object()),
    *(jnp.ones(()), jnp.ones(3), jnp.ones((2, 3)), jax.random.key(0), nnx.Rngs(0)),
)
"""Values that few arguments accept."""


def foreign_errors(call, arguments, keywords) -> list[str]:
    """The errors that are not ours which a call raises where one of its arguments is strange."""
    module = isinstance(call, type) and issubclass(call, nnx.Module)
    signature = inspect.signature(call.__init__ if module else call)
    first = (None,) if module else ()
    named = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    found = []
    for name, value in every([name for name in named if name != "self"], STRANGE):
        bound = signature.bind(*first, *arguments, **keywords)
        bound.arguments[name] = value
        try:
            call(*bound.args[len(first) :], **bound.kwargs)
        except ek.EquikitError:
            pass
        except Exception as error:
            found.append(f"{name}={value!r}: {error!r}")
    return found


def assert_tabulates(module, *inputs, **keywords) -> None:
    """Check that `nnx.tabulate` counts all parameters of a module, and leaves it and NNX working."""

    def equal(first, second):
        pairs = jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), first, second)
        return jax.tree.all(pairs)

    parameters = sum(array.size for array in jax.tree.leaves(nnx.state(module, nnx.Param)))
    options = {"console_kwargs": {"force_terminal": False, "width": 400}}
    table = nnx.tabulate(module, *inputs, **options, **keywords)
    assert f"{type(module).__name__} Summary" in table
    assert f"Total Parameters: {parameters:,}" in table or nnx.state(module, nnx.Not(nnx.Param))
    assert [*nnx.Dict(a=1).items()] == [("a", 1)]
    run = nnx.jit(lambda module: module(*inputs, **keywords))
    assert equal(run(module), run(nnx.merge(*nnx.split(module))))
