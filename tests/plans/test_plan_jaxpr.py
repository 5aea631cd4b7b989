"""What a plan becomes in JAX, counted: no scatter or gather, no large array, one matrix product a core."""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from helpers import as_floats, bindings, equations, labels_of, largest, primitives, random_inputs, random_weights

import equikit as ek
from equikit.plans import apply, plan

apply = functools.partial(apply, method="factored")  # at small sizes "auto" takes another

CASES = ["p -> p", "p p -> p p", "p p p -> p p", "p p -> p p p", "p p p -> p p p", "q p q -> p q", "p p p -> ()",
         "() -> p p p", "p p + p + () -> p p + p + ()", "p p f -> g p p"]  # fmt: skip
FORBIDDEN = {
    "gather",
    "scatter",
    "scatter-add",
    "scatter_add",
    "dynamic_slice",
    "dynamic_update_slice",
    "sort",
    "while",
}
SIZE, BATCH = 7, 2
SIZES = {"p": SIZE, "q": SIZE - 1, "f": 2, "g": 3}


def prepare(signature, masked=False, bias=True):
    space = ek.hom(signature, groups=bindings(signature))
    count = [len(side) for side in (space.signature.inputs, space.signature.outputs)]
    program = plan(space, ((2,) * count[0], (3,) * count[1]), bias=bias, normalize="mean")
    sizes = {label: SIZES[label] for label in labels_of(signature)}
    x, w = as_floats(random_inputs(program, sizes, (BATCH,))), as_floats(random_weights(program))
    acted = {label: size for label, size in sizes.items() if label in program.signature.groups}
    mask = {label: jnp.ones((BATCH, size), bool) for label, size in acted.items()} if masked else {}

    def forward(x, w):
        return apply(program, x, w, mask=mask, sizes=acted)

    def loss(x, w):
        return sum(jnp.sum(y**2) for y in forward(x, w).values())

    return program, x, w, forward, jax.value_and_grad(loss, argnums=(0, 1))


def limit(program, weights) -> int:
    """Entries of the largest array that a plan may form: an input or output tensor, with all wirings side by side.

    A diagonal pads its input by one row, which adds at most a factor of 1 + 1/n².
    """
    terms = [*zip((*program.signature.inputs, *program.signature.outputs), sum(program.features, ()), strict=True)]
    groups = program.signature.groups
    tensor = BATCH * max(SIZE ** sum(label in groups for label in term.labels) * width for term, width in terms)
    copies = max(max(len(p.wires_in), len(p.wires_out)) for p in program.products)
    matrix = sum(array.size for array in weights.values())
    return max(int(copies * tensor * (1 + SIZE**-2)), matrix, tensor + BATCH * SIZE * 8)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("signature", CASES)
def test_no_scatter_no_gather_and_no_array_above_the_largest_tensor(signature, masked):
    program, x, w, forward, both = prepare(signature, masked)
    for function in (forward, both):
        jaxpr = jax.make_jaxpr(function)(x, w)
        assert not FORBIDDEN & primitives(jaxpr).keys()
        assert largest(jaxpr) <= limit(program, w)


def test_the_limit_is_far_below_the_dense_matrix():
    for signature in ("p p -> p p", "p p p -> p p p"):
        program, _, w, _, _ = prepare(signature)
        order = sum(len(term.labels) for term in (*program.signature.inputs, *program.signature.outputs))
        assert 10 * limit(program, w) < SIZE**order * BATCH * 6


@pytest.mark.parametrize("signature", CASES)
def test_one_matrix_product_a_core_and_three_with_gradients(signature):
    """Where several input terms enter a product, the gradient of the weights is one product for each of them."""
    program, x, w, forward, both = prepare(signature)
    entering = [sum(map(bool, product.inputs)) for product in program.products]  # a bias alone needs no product
    assert primitives(jax.make_jaxpr(forward)(x, w))["dot_general"] == sum(map(bool, entering))
    assert primitives(jax.make_jaxpr(both)(x, w))["dot_general"] == sum(2 + count for count in entering if count)


def test_many_pairs_of_terms_take_few_distinct_cuts():
    """XLA on the CPU compiles a kernel for each distinct one: as many as there are terms, and not pairs of them."""
    terms = dict.fromkeys(["p p", *(f"q{i}" for i in range(12))], 2)
    layer = ek.nn.Linear(terms, terms, p=ek.S, **{f"q{i}": ek.S for i in range(12)}, use_bias=False, rngs=nnx.Rngs(0))
    x = {name: jnp.ones((BATCH, *(SIZE,) * len(name.split()), 2)) for name in terms}
    weights = {name: param[...] for name, param in layer.kernel.items()}

    def loss(weights):
        return sum(jnp.sum(y**2) for y in apply(layer.plan, x, weights).values())

    cuts = [e for e in equations(jax.make_jaxpr(jax.grad(loss))(weights)) if e.primitive.name in ("slice", "split")]
    distinct = {(str(e.params), *(str(v.aval) for v in e.invars)) for e in cuts}
    assert len(weights) == 169
    assert len(distinct) < 30


def interior(equation) -> bool:
    return equation.primitive.name == "pad" and any(gap for _, _, gap in equation.params["padding_config"])


@pytest.mark.parametrize("signature", CASES)
def test_each_step_of_the_plan_is_one_operation(signature):
    program, x, w, forward, _ = prepare(signature)
    found = list(equations(jax.make_jaxpr(forward)(x, w)))
    count = Counter(equation.primitive.name for equation in found)
    down = Counter(step.operation for step in program.reductions)
    up = Counter(step.operation for step in program.expansions)
    assert count["reduce_sum"] == down["sum"]
    strided = [e for e in found if e.primitive.name == "slice" and max(e.params["strides"] or (1,)) > 1]
    assert len(strided) == down["diagonal"]
    assert count["select_n"] + sum(map(interior, found)) == up["diagonal"]
    assert count["broadcast_in_dim"] >= up["sum"]


@pytest.mark.parametrize("signature", CASES)
def test_each_half_diagram_is_computed_once_from_a_larger_one(signature):
    program, *_ = prepare(signature)
    for steps, ready in ((program.reductions, "large"), (program.expansions[::-1], "large")):
        made = [(step.term, step.small) for step in steps]
        assert len(set(made)) == len(made)
        for place, step in enumerate(steps):
            assert len(step.small.core) == len(step.large.core) - 1
            root = step.large.size == len(step.large.labels) and not step.large.closed
            assert root or (step.term, getattr(step, ready)) in made[:place]


def test_equations_grow_with_reductions_and_not_with_diagrams():
    """203 diagrams from three axes to three take about 200 equations; each alone would take several."""
    counts = {}
    for signature in ("p -> p", "p p -> p p", "p p p -> p p p"):
        program, x, w, forward, both = prepare(signature)
        steps = len(program.reductions) + len(program.expansions) + 3 * len(program.products)
        counts[signature] = sum(primitives(jax.make_jaxpr(forward)(x, w)).values())
        assert counts[signature] <= 8 * steps
        assert sum(primitives(jax.make_jaxpr(both)(x, w)).values()) <= 16 * steps
    assert counts["p p p -> p p p"] < 1.5 * 203


def test_wirings_are_shared_between_the_two_sides():
    """Three wires have six wirings: two copies of the input times three of the output."""
    (product, *_) = plan(ek.hom("p p p -> p p p", p=ek.S)).products
    assert sorted((len(product.wires_in), len(product.wires_out))) == [2, 3]
    pairs = {tuple(b[j] for j in a) for b in product.wires_out for a in product.wires_in}
    assert len(pairs) == 6


def test_the_reference_evaluator_has_no_such_bounds():
    """The counters see what they should: the reference forms dense diagrams and one product for each."""
    space = ek.hom("p p -> p p", p=ek.S)
    program = plan(space)
    x, w = as_floats(random_inputs(program, {"p": 7}, (2,))), as_floats(random_weights(program))
    jaxpr = jax.make_jaxpr(lambda x, w: apply(program, x, w, method="naive"))(x, w)
    assert primitives(jaxpr)["dot_general"] == 2 * 15
    assert primitives(jax.make_jaxpr(lambda x: x[jnp.array([1, 0])])(jnp.ones(2)))["gather"] == 1
