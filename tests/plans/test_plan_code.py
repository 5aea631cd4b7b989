"""The printed program of a plan, executed by NumPy, computes what the plan computes."""

import functools
import itertools
import math

import numpy as np
import pytest
from helpers import bindings, random_inputs, random_weights, sizes_of
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import PASSES, apply, apply_multilinear, multilinear_weight_shape, plan, unshared
from equikit.plans._apply import keyed
from equikit.plans.compilation._contractions import invariant_sums
from equikit.plans.execution._layout import as_whole, laid_out

CASES = [
    *(
        (text, bindings(text), sizes_of(text, 4))
        for text in ("p -> p", "p p -> p p", "p p p -> p p", "q p q -> p q", "p p + p + () -> p p + p + ()")
    ),
    *((text, bindings(text), sizes_of(text, 3)) for text in ("f p g p -> p f", "p f -> g p p")),
    ("() -> p p", {"p": ek.S(3)}, {"p": 3}),
    ("p -> p", {"p": ek.S(0)}, {"p": 0}),
    ("p p p -> p", {"p": ek.S(2)}, {"p": 2}),  # fewer points than blocks: weights have gaps
    ("a a -> a a", {"a": ek.A(3)}, {"a": 3}),
    ("x x x -> x", {"x": ek.O(2)}, {"x": 2}),
    ("m m m -> m", {"m": ek.Lorentz}, {"m": 4}),
    ("x x -> x x", {"x": ek.SO(3)}, {"x": 3}),
    ("x x -> x", {"x": ek.SO(3)}, {"x": 3}),
    ("m m -> m m", {"m": ek.SO(1, 3)}, {"m": 4}),
    ("x x -> x x", {"x": ek.Sp(4)}, {"x": 4}),
    ("x x -> x x", {"x": ek.H(3)}, {"x": 3}),
    ("u u* -> u u*", {"u": ek.GL(3)}, {"u": 3, "u*": 3}),
    ("p x -> p x x", {"p": ek.S, "x": ek.Z(3)}, {"p": 4, "x": 3}),
]


def epsilon(n, legs):
    """The Levi-Civita tensor of n legs, of which the given number are axes and the others are summed over."""
    tensor = np.zeros((n,) * n)
    for order in itertools.permutations(range(n)):
        inversions = sum(a > b for a, b in itertools.combinations(order, 2))
        tensor[order] = (-1) ** inversions
    return tensor.sum(axis=tuple(range(legs, n)))


class Epsilon:
    def __init__(self, sizes):
        self.sizes = sizes

    def __getitem__(self, key):
        label, loose = key
        return epsilon(self.sizes[label], self.sizes[label] - loose)


def namespace(signature, sizes):
    forms = {label: group.form for label, group in signature.groups.items() if group.form is not None}
    return {
        **{name: getattr(np, name) for name in ("einsum", "concatenate", "split", "ones", "zeros", "eye")},
        "fold": lambda x, count: x.reshape(*x.shape[: x.ndim - count], math.prod(x.shape[x.ndim - count :])),
        "unfold": lambda x, shape: x.reshape(*x.shape[:-1], *shape),
        "eta": {label: form.signs() for label, form in forms.items() if form.kind == "metric"},
        "omega": {label: form.matrix(sizes[label]) for label, form in forms.items() if form.kind == "symplectic"},
        "epsilon": Epsilon(sizes),
    }


def check(program, sizes):
    weights, inputs = random_weights(program), random_inputs(program, sizes, (2,))
    free = {label: n for label, n in sizes.items() if label == "q"} or None
    expected = in_numpy(functools.partial(apply, program, sizes=free, method="factored"), inputs, weights)
    layout = in_numpy(lambda weights: as_whole(laid_out(program, keyed(program, weights))), weights)
    matrices = [rows[0] if rows else None for rows, _ in layout.products]
    biases = [bias for _, bias in layout.products]
    scope = namespace(program.signature, sizes)
    exec(program.code(), scope)
    found = scope["run"](list(inputs.values()), matrices, biases, sizes)
    for one, term in zip(found, program.signature.outputs, strict=True):
        other = expected[term.name]
        np.testing.assert_allclose(np.broadcast_to(one, other.shape), other, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("text", "groups", "sizes"), CASES, ids=[f"{text}, {groups}" for text, groups, _ in CASES])
def test_the_printed_program_computes_what_the_plan_computes(text, groups, sizes):
    signature = ek.hom(text, **groups).signature
    widths = tuple(range(2, 2 + len(signature.inputs))), tuple(range(3, 3 + len(signature.outputs)))
    check(
        plan(signature, widths, normalize="mean" if "p" in groups and 0 not in sizes.values() else "sum", bias=True),
        sizes,
    )


@pytest.mark.usefixtures("x64")
def test_the_program_of_every_pass_computes_the_same():
    stage = unshared(ek.hom("p p -> p p", p=ek.S), (2, 3))
    check(stage, {"p": 4})
    for make in PASSES:
        stage = make(stage)
        check(stage, {"p": 4})


MULTILINEAR = [
    ("x, x -> x", {"x": ek.SO(3)}, {"x": 3}),
    ("sym(x x), x -> x", {"x": ek.O(3)}, {"x": 3}),
    ("alt(x x), x -> x", {"x": ek.O(1, 2)}, {"x": 3}),
    ("x, x -> alt(x x)", {"x": ek.Sp(4)}, {"x": 4}),
    ("p p, p x -> x p", {"p": ek.S, "x": ek.O(2)}, {"p": 3, "x": 2}),
    ("a f, a -> a a", {"a": ek.A(3), "f": ek.Fixed(2)}, {"a": 3, "f": 2}),
    ("v, v* -> v v*", {"v": ek.GL(2)}, {"v": 2, "v*": 2}),
    ("z, p z -> z", {"z": ek.Z(3), "p": ek.S}, {"z": 3, "p": 2}),
]


MODES = [
    (*case, mode)
    for case in MULTILINEAR
    for mode in ("full", "channelwise")
    if mode == "full" or "f" not in case[2]  # plain axes have no channelwise maps
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("text", "groups", "sizes", "mode"), MODES, ids=[f"{text}, {mode}" for text, *_, mode in MODES]
)
def test_the_printed_program_of_multilinear_maps_computes_them(text, groups, sizes, mode):
    space, rng = ek.hom(text, **groups), np.random.default_rng(0)
    channels, out = ((2, 2), 2) if mode == "channelwise" else ((2, 3), 4)
    normalize = "mean" if "p" in groups else "sum"
    inputs = [
        rng.normal(size=(2, *(sizes[label] for label in term.labels), width))
        for term, width in zip(space.inputs, channels, strict=True)
    ]
    weights = rng.normal(size=multilinear_weight_shape(space, channels, out, mode=mode))
    run = functools.partial(apply_multilinear, space, mode=mode, normalize=normalize)
    expected = in_numpy(run, inputs, weights)
    program = space.plan((channels, out), normalize=normalize, mode=mode)
    tensors = []
    for contraction in program.products:
        sums = invariant_sums(program, contraction)[1] if contraction.held else None
        axes = [sizes[contraction.labels[letter]] for letter in contraction.held]
        tensors.append(None if sums is None else sums.reshape(len(sums), *axes))
    scope = namespace(space.signature, sizes)
    exec(program.code(), scope)
    (found,) = scope["run"](inputs, weights, tensors, sizes)
    np.testing.assert_allclose(np.broadcast_to(found, expected.shape), expected, rtol=1e-10, atol=1e-10)


def test_a_statement_for_every_step():
    program = ek.hom("p p -> p p", p=ek.S).plan()
    code = program.code()
    assert code.count("matrices[") == len(program.products)
    assert code.count(" to ") == len(program.reductions) + len(program.expansions)
