"""A plan computes what its diagrams say: against the reference evaluator, NumPy, and the dense matrices."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    SIGNATURES,
    assert_close,
    bindings,
    compiled,
    numpy_apply,
    partly_slow,
    random_inputs,
    random_masks,
    random_weights,
    sizes_of,
)
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import apply, plan, weight_shapes

apply = functools.partial(apply, method="factored")  # at small sizes "auto" takes another

BATCHES = [(), (2,), (2, 3)]


NUMPY_CASES = [
    *((s, n, False) for s in SIGNATURES for n in range(6) if n < 4 or s != "p p p -> p p p"),
    *((s, n, True) for s in SIGNATURES for n in ((0, 2) if s == "p p p -> p p p" else (0, 1, 4))),
]


def setting(number: int) -> tuple[str, bool, bool, tuple[int, ...]]:
    """Normalization, mask, bias and batch axes, so that in a run of cases every pair of choices meets."""
    return ("mean", "sum")[number % 2], number // 2 % 2 == 0, number // 3 % 2 == 0, BATCHES[number % 3]


def channels_of(space: ek.HomSpace) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(
        tuple(start + i for i in range(len(terms)))
        for start, terms in ((2, space.signature.inputs), (3, space.signature.outputs))
    )


def prepare(signature, n, free, normalize, masked, bias, batch):
    sizes = sizes_of(signature, n)
    space = ek.hom(signature, groups=bindings(signature, None if free else sizes))
    program = plan(space, channels_of(space), normalize=normalize, bias=bias)
    inputs = random_inputs(program, sizes, batch)
    masks = random_masks(program, sizes, batch) if masked else {}
    return program, sizes, inputs, random_weights(program), masks


def run(program, inputs, weights, masks, sizes, method="factored"):
    return in_numpy(functools.partial(apply, program, mask=masks, sizes=sizes, method=method), inputs, weights)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("signature", "n", "free"),
    partly_slow(NUMPY_CASES, lambda place: NUMPY_CASES[place][2] or NUMPY_CASES[place][1] not in (1, 5)),
)
def test_a_plan_is_the_sum_of_its_diagrams_in_numpy(signature, n, free):
    number = 7 * SIGNATURES.index(signature) + 2 * n + free
    program, sizes, inputs, weights, masks = prepare(signature, n, free, *setting(number))
    groups = program.signature.groups
    given = {label: sizes[label] for label in groups}
    actual = run(program, inputs, weights, masks, given)
    assert_close(actual, numpy_apply(program, inputs, weights, sizes, masks), 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "signature", partly_slow([(s,) for s in SIGNATURES], lambda place: place % 2 and place != 5, SIGNATURES)
)
def test_a_plan_agrees_with_the_reference_evaluator(signature):
    place = SIGNATURES.index(signature)
    for free, number in ((place % 2 == 0, 3 * place), (place % 2 == 1, 3 * place + 1)):
        program, sizes, inputs, weights, masks = prepare(signature, 3, free, *setting(number))
        given = {label: sizes[label] for label in program.signature.groups}
        actual = run(program, inputs, weights, masks, given)
        assert_close(actual, run(program, inputs, weights, masks, given, method="naive"), 1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("normalize", ["sum", "mean"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", BATCHES)
def test_all_options_together_on_one_signature(normalize, masked, bias, batch):
    program, sizes, inputs, weights, masks = prepare("p p + p -> p p", 3, True, normalize, masked, bias, batch)
    actual = run(program, inputs, weights, masks, {})
    assert_close(actual, numpy_apply(program, inputs, weights, sizes, masks), 1e-12)
    assert actual["p p"].shape == (*batch, 3, 3, 3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize(
    "signature", ["p -> p", "p p -> p", "() -> p p", "q p q -> p q", "p f -> g p p", "p p + p -> p"]
)
def test_a_plan_is_its_dense_matrices(signature, n):
    """`space.matrices()` lists one matrix a diagram, plain input entry and plain output entry, as the weights do."""
    sizes = sizes_of(signature, n)
    space = ek.hom(signature, groups=bindings(signature, sizes))
    program = plan(space)
    weights = random_weights(program)
    inputs = random_inputs(program, sizes, (2,))
    order = [
        weights[f"{source.name or '()'} -> {target.name}"].ravel()
        for target in space.signature.outputs
        for source in space.signature.inputs
        if f"{source.name or '()'} -> {target.name}" in weights
    ]
    dense = np.tensordot(np.concatenate(order), space.matrices(), 1)
    flat = np.concatenate([inputs[term.name].reshape(2, -1) for term in space.signature.inputs], axis=1)
    expected = flat @ dense.T
    actual = compiled(functools.partial(apply, program), inputs, weights)
    (target,) = space.signature.outputs
    assert_close(actual[target.name].reshape(2, -1), expected, 1e-12)


def test_the_matrix_of_a_plan_has_full_rank_at_every_bound_size():
    """The maps that a bound plan applies are a basis: one weight at a time gives independent maps, none forgotten."""
    for n in range(1, 4):
        space = ek.hom("p p -> p p", p=ek.S(n))
        program = plan(space)
        (count, _, _) = weight_shapes(program)["p p -> p p"]
        assert count == space.dim
        inputs = np.eye(n * n, dtype=np.float32).reshape(n * n, n, n, 1)
        each = jnp.eye(count)[:, :, None, None]
        maps = jax.vmap(lambda w, x=inputs, plan=program: apply(plan, x, {"p p -> p p": w}))(each)
        assert np.linalg.matrix_rank(np.asarray(maps).reshape(count, -1)) == count


def test_axes_of_one_label_may_stand_anywhere_between_others(x64):
    """Labels interleaved in both rows, against a hand-written einsum of one diagram at a time."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 3, 2))  # q p q c
    space = ek.hom("q p q -> p q", p=ek.S, q=ek.S)
    program = plan(space, (2, 2))
    by_hand = {
        "q p q -> p q: 1 2' | 2 1' 3'": np.einsum("qpqc->pqc", x),
        "q p q -> p q: 1 2' | 2 1' | 3'": np.einsum("qprc->pqc", x),
        "q p q -> p q: 1 2' | 2 3' | 1'": np.einsum("rpqc->pqc", x),
        "q p q -> p q: 1 | 2 1' 3' | 2'": np.broadcast_to(np.einsum("qrqc->qc", x), (4, 3, 2)),
    }
    names = [str(diagram) for diagram in space.diagrams]
    assert len(names) == 2 * 5  # p alone or joined, and the partitions of three q
    for text, expected in by_hand.items():
        weights = np.zeros((10, 2, 2))
        weights[names.index(text)] = np.eye(2)
        assert_close(apply(program, x, {"q p q -> p q": weights}), expected, 1e-13)


def test_nothing_is_lost_when_no_map_joins_two_terms():
    """S(0) has no map onto an axis; the output is the empty array, and the other terms are served."""
    space = ek.hom("() + a: q -> q + b: q q", q=ek.S(0))
    program = plan(space, ((1, 2), (3, 4)), bias=True)
    assert weight_shapes(program) == {}
    y = apply(program, {"": jnp.ones((5, 1)), "a": jnp.ones((5, 0, 2))}, {})
    assert {name: array.shape for name, array in y.items()} == {"q": (5, 0, 3), "b": (5, 0, 0, 4)}


def test_one_plan_object_for_the_same_arguments():
    space = ek.hom("p p -> p p", p=ek.S)
    first = plan(space, (2, 3), normalize="mean", bias=True)
    assert plan(space.signature, ((2,), (3,)), normalize="mean", bias=True) is first
    assert space.plan((2, 3), normalize="mean", bias=True) is first
    assert plan(space, (2, 4), normalize="mean", bias=True) is not first
    assert hash(first) == hash(plan(ek.hom("p p -> p p", p=ek.S), (2, 3), normalize="mean", bias=True))


def test_inputs_as_array_or_dictionary_decide_the_form_of_the_result():
    program = plan(ek.hom("p -> p", p=ek.S))
    weights = {"p -> p": jnp.ones((2, 1, 1))}
    x = jnp.ones((4, 1))
    assert apply(program, x, weights).shape == (4, 1)
    assert apply(program, {"p": x}, weights)["p"].shape == (4, 1)
    several = plan(ek.hom("p -> p + ()", p=ek.S))
    y = apply(several, x, {"p -> p": jnp.ones((2, 1, 1)), "p -> ()": jnp.ones((1, 1, 1))})
    assert y.keys() == {"p", ""}
    assert y[""].tolist() == [4.0]


def test_weights_are_one_array_for_each_pair_of_terms():
    space = ek.hom("p p + p -> p + ()", p=ek.S)
    program = plan(space, ((2, 3), (4, 5)), bias=True)
    assert weight_shapes(program) == {
        "p p -> p": (5, 2, 4),
        "p -> p": (2, 3, 4),
        "-> p": (1, 4),
        "p p -> ()": (2, 2, 5),
        "p -> ()": (1, 3, 5),
        "-> ()": (1, 5),
    }
    plain = plan(ek.hom("p f -> g p", p=ek.S, f=ek.Fixed(2), g=ek.Fixed(3)), (5, 7))
    assert weight_shapes(plain) == {"p f -> g p": (2, 2 * 5, 3 * 7)}
    assert math.prod((2, 2, 3)) == ek.hom("p f -> g p", p=ek.S, f=ek.Fixed(2), g=ek.Fixed(3)).dim
