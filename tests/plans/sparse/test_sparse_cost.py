"""What a plan on a support becomes in JAX, counted: bytes that grow as the rows, and few gathers and sums."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import equations, largest, message_of, primitives, random_weights

import equikit as ek
from equikit.plans import apply, apply_multilinear, multilinear_weight_shape, plan, plan_cost
from equikit.plans.compilation._row_contraction import Factor
from equikit.plans.costs._products import Priced, Tally, count_contraction
from equikit.plans.costs._sparse import rows_of

WIDTH = 3


def edges(n: int, entries: int, seed: int = 0) -> ek.Support:
    chosen = np.random.default_rng(seed).permutation(n * n)[:entries]
    return ek.Support("p p", chosen // n, chosen % n, n=n)


def programs(signature: str, normalize: str, support: ek.Support):
    """The jaxprs of a call and of its gradient."""
    program = plan(ek.hom(signature, p=ek.S), (WIDTH, WIDTH), normalize=normalize, bias=True)
    weights = {name: jnp.asarray(w, jnp.float32) for name, w in random_weights(program).items()}
    length = {0: (), 1: (support.n,), 2: (support.entries[2],)}
    x = {t.name: jnp.ones((*length[t.labels.count("p")], WIDTH)) for t in program.signature.inputs}

    def forward(x, weights, support):
        return apply(program, x, weights, support=support)

    def loss(x, weights, support):
        return sum(jnp.sum(y**2) for y in forward(x, weights, support).values())

    return [jax.make_jaxpr(f)(x, weights, support) for f in (forward, jax.value_and_grad(loss, (0, 1)))]


def bytes_of(jaxpr) -> int:
    return sum(v.aval.size * v.aval.dtype.itemsize for equation in equations(jaxpr) for v in equation.outvars)


def test_bytes_are_linear_in_nodes_and_entries():
    sizes = [(20 * scale, 70 * scale) for scale in (1, 2, 4)]
    found = [[bytes_of(p) for p in programs("p p + p -> p p + p", "mean", edges(*size))] for size in sizes]
    for one, two, four in zip(*found, strict=True):
        assert four - two == 2 * (two - one)


def test_no_array_is_larger_than_two_ways_to_read_the_entries():
    for program in programs("p p + p -> p p + p", "mean", edges(20, 70)):
        assert largest(program) <= 70 * 2 * WIDTH


def test_gathers_and_sums_are_shared_by_all_maps():
    forward, gradient = programs("p p -> p p", "sum", edges(20, 70))
    # One gather for each way to read rows: the diagonal, the turned entries, two repetitions, the embedding.
    # On platforms other than CPUs, of which this counts, two sums need entries and their rows in order.
    assert primitives(forward)["gather"] == 5 + 2 * 2
    assert primitives(forward)["scatter-add"] == 2
    assert primitives(forward)["dot_general"] == 3
    more, _ = programs("p p + p + () -> p p", "sum", edges(20, 70))
    assert primitives(more)["gather"] == 5 + 2 * 2
    # Backwards two repetitions become sums; the diagonal, its embedding and two orders write to different rows. Turned
    # entries are read, not added.
    assert (primitives(gradient) - primitives(forward))["scatter-add"] == 2 + 4


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_memory_by_the_account_of_xla(normalize):
    """At most four times input and output, and six times with a gradient."""
    n, entries, width = 2_000, 20_000, 16
    support = edges(n, entries)
    program = plan(ek.hom("p p -> p p", p=ek.S), (width, width), normalize=normalize, bias=True)
    weights = {name: jnp.asarray(w, jnp.float32) for name, w in random_weights(program).items()}
    x = jnp.ones((entries, width))

    def forward(x, weights, support):
        return apply(program, x, weights, support=support)

    def backward(x, weights, support, y):
        return jax.vjp(lambda x, w: forward(x, w, support), x, weights)[1](y)

    tensors, optimized = 2 * x.nbytes, {"xla_backend_optimization_level": 3}
    for function, more, bound in ((forward, (), 4), (backward, (x,), 6)):
        compiled = jax.jit(function).lower(x, weights, support, *more).compile(optimized)
        assert compiled.memory_analysis().temp_size_in_bytes + tensors <= bound * tensors


def test_the_cost_of_a_plan_counts_rows_and_their_indices():
    program = plan(ek.hom("p p -> p p", p=ek.S), (3, 3))
    flops, moved = program.cost(support=edges(20, 70))
    (less_flops, less), (more_flops, more) = (program.cost(support=edges(20, count)) for count in (60, 80))
    assert (flops - less_flops, moved - less) == (more_flops - flops, more - moved)
    by_name = {(line.operation, line.result): line for line in plan_cost(program, n=20, rows=rows_of(edges(20, 70)))}
    total = by_name["sum", "ij->i"]
    assert (total.shape, total.flops, total.bytes) == ((1, 20, 3), 70 * 3, 4 * (70 * 3 + 20 * 3) + 4 * 70)
    grown = by_name["broadcast", "ij->ij"]
    assert (grown.shape, grown.bytes) == ((1, 70, 3), 4 * (2 * 70 * 3 + 20 * 3) + 4 * 70)


GRAPH = edges(9, 30)
JOINED = ek.Support.join([GRAPH, edges(5, 9)])


@pytest.mark.parametrize(
    ("signature", "support"),
    [
        ("p p, p -> p", GRAPH),
        ("p p, p -> p", JOINED),
        ("p p x, p x -> p x", GRAPH),
        ("p p, p p -> p p", GRAPH | GRAPH.cliques()),
        ("p, p, p p -> p", GRAPH),
    ],
    ids=["nodes", "graphs", "vectors", "triples", "three"],
)
def test_operations_of_contractions_are_those_of_the_program(signature, support, monkeypatch):
    """The FLOPs of products without sums over nodes are exactly those of all `dot_general` in the jaxpr."""
    space = ek.hom(signature, p=ek.S, **({"x": ek.SO(3)} if "x" in signature else {}))
    program = space.plan((4, 8))
    length = {0: () if support.graphs is None else (support.graphs,), 1: (support.n,), 2: (support.entries[2],)}
    terms = [term.labels for term in program.signature.inputs]
    x = [jnp.ones((*length[labels.count("p")], *(3,) * labels.count("x"), 4)) for labels in terms]
    weights = jnp.ones(multilinear_weight_shape(space, 4, 8))
    made = jax.make_jaxpr(lambda *x: apply_multilinear(space, x, weights, support=support))(*x)
    products = [one for one in equations(made) if one.primitive.name == "dot_general"]
    operations = 0
    for one in products:
        ((inner, _), _), shape = one.params["dimension_numbers"], one.invars[0].aval.shape
        operations += 2 * one.outvars[0].aval.size * math.prod(shape[axis] for axis in inner)

    def without_cost(self, factor, letter):
        return Factor(tuple(other for other in factor.rows if other != letter), factor.letters, None)

    monkeypatch.setattr(Priced, "summed", without_cost)
    tally, sizes = Tally(rows_of(support), 1, 4), {"p": support.n, "x": 3}
    for contraction in program.products:
        count_contraction(program, contraction, sizes, tally)
    assert tally.flops == operations


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_the_cost_of_products_grows_as_the_rows(normalize):
    program = ek.hom("p p, p -> p", p=ek.S).plan((3, 5), normalize=normalize)
    costs = [program.cost(support=edges(20, count), batch=2) for count in (60, 70, 80)]
    (less, some, more) = np.array(costs)
    assert np.all(more - some == some - less)
    assert np.all(some > less)


def test_messages_along_edges_are_counted():
    """The sum of products of an edge with its second node, over the edges of the first node."""
    program = ek.hom("p p, p -> p", p=ek.S).plan((3, 5))
    (line,) = (
        line
        for line in plan_cost(program, n=20, rows=rows_of(edges(20, 70)))
        if (line.source, line.result) == ("ij, j", "i, 1 output")
    )
    assert line.shape == (1, 20, 5)
    outer, mixed, summed, added = 2 * 70 * 3 * 3, 2 * 70 * 3 * 3 * 5, 70 * 5, 20 * 5
    assert line.flops == outer + mixed + summed + added


def test_the_table_of_products_compares_a_support_with_dense_arrays():
    program = ek.hom("p p, p -> p", p=ek.S).plan((4, 8), normalize="mean")
    support = edges(200, 900)
    *_, total, dense, equal = program.table(support=support).splitlines()
    assert total.split()[-2:] == [f"{number:,}" for number in program.cost(support=support)]
    assert dense.split()[-2:] == [f"{number:,}" for number in program.cost(n=200)]
    assert 900 < int(equal.split()[2].replace(",", "")) < 200**2
    dear = ek.hom("p p, p -> p", p=ek.S).plan((4, 8), normalize="mean").table(support=edges(3, 2)).splitlines()
    assert dear[-1].split()[1:4] == ["for", "no", "support"]


def test_costs_refuse_products_that_a_support_does_not_have():
    program = ek.hom("p p, p p -> p p", p=ek.S).plan((1, 1))
    for price in (program.cost, program.table):
        parts = message_of(ek.OptionError, lambda price=price: price(support=GRAPH))
        assert "runs over triples of nodes" in parts["problem"]
        assert parts["next step"] == "write support=edges | edges.cliques()"


def test_the_table_compares_a_support_with_dense_arrays():
    program = plan(ek.hom("p p x -> p p", p=ek.S, x=ek.Fixed(2)), (3, 3), normalize="mean")
    support = ek.Support.join([edges(20, 70), edges(5, 10)])
    table = program.table(support=support, batch=2)
    title, *_, total, dense, equal = table.splitlines()
    assert title.endswith(f"on {support!r}")
    assert total.split()[-1] == f"{program.cost(support=support, batch=2)[1]:,}"
    assert "2 graphs, p=20" in dense
    assert [f"{number:,}" for number in program.cost(n=20, batch=4)] == dense.split()[-2:]
    entries = int(equal.split()[2].replace(",", ""))
    assert 300 < entries < 2 * 20**2
    triples = edges(20, 70) | ek.Support("p p p", [0], [1], [2], n=20)
    assert program.table(support=triples).splitlines()[-1].startswith("dense   p=20")


@pytest.mark.parametrize(
    ("support", "problem"),
    [
        ([0, 1], "support= must be a Support"),
        (ek.Support("q q", [0], [1], n=2), "the support is for 'q', which is not a label of the signature"),
        (ek.Support("p p p", [0], [1], [1], n=2), "the support has no entries for the term 'p p'"),
    ],
)
def test_costs_refuse_supports_that_do_not_fit(support, problem):
    program = plan(ek.hom("p p -> p", p=ek.S), (1, 1))
    for price in (program.cost, program.table):
        assert message_of(ek.OptionError, lambda price=price: price(support=support))["problem"] == problem


def test_costs_are_counted_outside_jit():
    program = plan(ek.hom("p p -> p", p=ek.S), (1, 1))
    call = jax.jit(lambda support: program.cost(support=support)[0])
    assert message_of(ek.OptionError, lambda: call(edges(4, 6)))["next step"] == "ask for costs outside jit"
