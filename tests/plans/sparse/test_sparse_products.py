"""Products on supports: against dense maps of masked arrays, and means tuple by tuple in NumPy."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from by_entries import atlas, padded_to
from helpers import assert_close, assert_error, equations, largest
from in_numpy import assert_derivatives, in_numpy
from masked_products import all_masks, by_tuples, masked, prepared, space_of, stored

import equikit as ek
from equikit.diagrams import parity
from equikit.plans import apply_multilinear, multilinear_weight_shape
from equikit.plans.compilation._loop_orders import looped_order
from equikit.plans.sparse._loops import looped_einsum
from equikit.plans.sparse._schedule import schedule
from equikit.plans.sparse._symmetrized import symmetrized_rows

pytestmark = pytest.mark.usefixtures("x64")

PAIRS = [
    "p p, p -> p",
    "p p, p -> p p",
    "p, p -> p p",
    "p, p, p -> p",
    "p p, p, p -> ()",
    "(), p p -> p p",
    "p p x, p x -> p",
    "p x, x p p -> x p",
]
TRIPLES = [
    "p p, p p -> p p",
    pytest.param("p p, p p, p p -> ()", marks=pytest.mark.slow),
    pytest.param("p p, p p, p -> p", marks=pytest.mark.slow),
]
SYMMETRIC = ["sym(p p), p -> sym(p p)", "alt(p p), p -> p", "sym(p, p) -> p p", "p p, p -> alt(p p)"]


def mask_of(number: int, kind: str = "directed") -> np.ndarray:
    """Return the adjacency matrix of a graph of the atlas: symmetric, or with loops and only one direction of edges."""
    rng, mask = np.random.default_rng(number), nx.to_numpy_array(atlas()[number]) > 0
    if kind == "directed":
        mask = (mask & (rng.random(mask.shape) < 0.7)) | np.diag(rng.random(len(mask)) < 0.5)
    return mask


def support_of(mask: np.ndarray, triples: bool = False) -> ek.Support:
    edges = ek.Support("p p", *np.nonzero(mask), n=len(mask))
    return edges | edges.cliques() if triples else edges


def dense(space, inputs, weights, **options):
    return in_numpy(lambda x, w: apply_multilinear(space, x, w, **options), inputs, weights)


def sparse(space, inputs, weights, support, **options):
    return in_numpy(lambda x, w, s: apply_multilinear(space, x, w, support=s, **options), inputs, weights, support)


def assert_like_dense(text: str, mask: np.ndarray, *, triples: bool = False, tolerance: float = 1e-12, **options):
    space, inputs, weights = prepared(text, len(mask), options.get("mode", "full"))
    masks, terms, out = all_masks(mask), space.signature.inputs, space.output
    inputs = [masked(x, term.labels, masks) for x, term in zip(inputs, terms, strict=True)]
    rows = [stored(x, term.labels, masks) for x, term in zip(inputs, terms, strict=True)]
    found = sparse(space, rows, weights, support_of(mask, triples), **options)
    wanted = stored(dense(space, inputs, weights, **options), out.labels, masks)
    assert_close(found, wanted, tolerance)


@functools.cache
def traced(space, mode):
    """One program for dense arrays, and one for supports, since all are padded to the same numbers."""
    return jax.jit(lambda x, w, s=None: apply_multilinear(space, x, w, support=s, mode=mode))


def assert_like_dense_if_padded(text: str, mask: np.ndarray, *, triples: bool, mode: str, nodes: int = 5) -> None:
    space, inputs, weights = prepared(text, len(mask), mode)
    masks, terms, out = all_masks(mask), space.signature.inputs, space.output
    inputs = [masked(x, term.labels, masks) for x, term in zip(inputs, terms, strict=True)]
    entries = {2: nodes**2} | ({3: nodes**3} if triples else {})
    support = support_of(mask, triples).pad(nodes=nodes, entries=entries, **({"tuples": nodes**2} if triples else {}))
    length = {1: nodes, **entries}

    def padded(x, labels, fill):
        rows, order = stored(x, labels, masks), labels.count("p")
        return padded_to(rows, length[order], fill) if order else rows

    rows = [padded(x, term.labels, np.nan) for x, term in zip(inputs, terms, strict=True)]
    absent = nodes - len(mask)  # a node without entries changes no sum
    filled = [
        np.pad(x, [(0, absent if label == "p" else 0) for label in (*term.labels, "channels")])
        for x, term in zip(inputs, terms, strict=True)
    ]
    there = tuple(slice(len(mask)) if label == "p" else slice(None) for label in out.labels)
    wanted = padded(np.asarray(traced(space, mode)(filled, weights))[there], out.labels, 0.0)
    assert_close(traced(space, mode)(rows, weights, support), wanted, 1e-12)


@pytest.mark.parametrize("text", PAIRS)
def test_products_along_edges(text):
    assert_like_dense(text, mask_of(40))


@pytest.mark.parametrize("text", ["p p, p -> p p", "p p, p, p -> ()"])
def test_products_of_single_channels(text):
    assert_like_dense(text, mask_of(40), mode="channelwise")


@pytest.mark.parametrize("text", TRIPLES)
def test_products_over_triangles(text):
    assert_like_dense(text, mask_of(49), triples=True, mode="channelwise")


@pytest.mark.parametrize("text", SYMMETRIC)
def test_symmetric_and_antisymmetric_tensors_on_undirected_graphs(text):
    assert_like_dense(text, mask_of(46, "undirected"))


@pytest.mark.parametrize("text", ["sym(p p), p -> p", "alt(p p p), p -> p", "sym(x x) p p, alt(p p) -> ()"])
def test_symmetric_parts_are_taken_within_the_support(text):
    operand, rng = ek.hom(text, p=ek.S, **({"x": ek.O(2)} if "x" in text else {})).operands[0], np.random.default_rng(0)
    axes = [i for i, label in enumerate(operand.labels) if label == "p"]
    mask = rng.random((3,) * len(axes)) < 0.6
    support = ek.Support.from_mask(mask, term=" ".join(["p"] * len(axes)))
    x = rng.normal(size=[*(3 if label == "p" else 2 for label in operand.labels), 1])
    x = masked(x, operand.labels, {len(axes): mask})
    (exchange,) = operand.exchanges
    wanted, members = np.zeros_like(x), list(exchange.members)
    for order in itertools.permutations(range(len(members))):
        places = [*range(x.ndim)]
        for place, i in zip(members, order, strict=True):
            places[place] = members[i]
        wanted += (exchange.sign if parity(order) < 0 else 1) * x.transpose(places) / math.factorial(len(members))
    rows = {len(axes): mask}
    found = in_numpy(lambda x: symmetrized_rows(x, operand, support), stored(x, operand.labels, rows))
    assert_close(found, stored(wanted, operand.labels, rows), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["directed", "undirected"])
@pytest.mark.parametrize(
    ("text", "triples"),
    [*((text, False) for text in [*PAIRS, "p p, p p -> p"]), ("p p, p p -> p p", True), ("p p, p p, p p -> ()", True)],
)
def test_every_graph_of_up_to_five_nodes(text, triples, kind):
    mode = "channelwise" if triples else "full"
    for number in (2, 3):  # as they are
        assert_like_dense(text, mask_of(number, kind), triples=triples, mode=mode)
    for number in range(1, 53):  # and padded, so that all take one program
        assert_like_dense_if_padded(text, mask_of(number, kind), triples=triples, mode=mode)


@pytest.mark.parametrize("text", ["p p, p -> p", "p p, p -> p p", "p, p, p -> p", "p p x, p x -> p"])
def test_means_divide_by_the_products_that_are_present(text):
    space, inputs, weights = prepared(text, 5)
    masks = all_masks(mask_of(40))
    rows = [stored(x, term.labels, masks) for x, term in zip(inputs, space.inputs, strict=True)]
    found = sparse(space, rows, weights, support_of(masks[2]), normalize="mean")
    assert_close(found, stored(by_tuples(space, inputs, weights, masks, 5), space.output.labels, masks), 1e-12)


@pytest.mark.slow
def test_means_over_triangles():
    space, inputs, weights = prepared("p p, p p -> p p", 4)
    masks = all_masks(mask_of(17))
    rows = [stored(x, term.labels, masks) for x, term in zip(inputs, space.inputs, strict=True)]
    found = sparse(space, rows, weights, support_of(masks[2], triples=True), normalize="mean")
    assert_close(found, stored(by_tuples(space, inputs, weights, masks, 4), space.output.labels, masks), 1e-12)


@pytest.mark.parametrize("text", ["p p, p -> p p", "p, p, p -> p", "p p x, p x -> p"])
def test_a_full_support_has_the_means_of_dense_arrays(text):
    assert_like_dense(text, np.ones((3, 3), bool), normalize="mean")


def test_nodes_can_be_renumbered():
    space, (edges, nodes), weights = prepared("p p, p -> p p", 5)
    mask, g = mask_of(40), np.random.default_rng(1).permutation(5)
    senders, receivers = np.nonzero(mask)
    x = edges[mask]
    first = sparse(space, [x, nodes], weights, ek.Support("p p", senders, receivers, n=5))
    moved = ek.Support("p p", g[senders], g[receivers], n=5)
    assert_close(sparse(space, [x, nodes[np.argsort(g)]], weights, moved), first, 1e-12)


@pytest.mark.parametrize(
    ("text", "normalize"), [("p p, p -> p", "mean"), ("(), p p, p -> ()", "mean"), ("p, p, p -> p", "sum")]
)
def test_several_graphs_are_computed_as_one_at_a_time(text, normalize):
    space, rng = space_of(text), np.random.default_rng(0)
    masks = [mask_of(number) for number in (6, 0, 1, 40)]
    parts = [support_of(mask) for mask in masks]
    terms = space.signature.inputs
    size = {2: lambda part: part.entries[2], 1: lambda part: part.n, 0: lambda part: 1}
    rows = [[rng.normal(size=(size[len(t.labels)](part), 2)) for t in terms] for part in parts]
    weights = rng.normal(size=multilinear_weight_shape(space, 2, 2))
    scalar = [not t.labels for t in (*terms, space.output)]
    alone = [
        sparse(space, [x[0] if s else x for x, s in zip(row, scalar, strict=False)], weights, part, normalize=normalize)
        for row, part in zip(rows, parts, strict=True)
    ]
    together = [np.concatenate(each) for each in zip(*rows, strict=True)]
    found = sparse(space, together, weights, ek.Support.join(parts), normalize=normalize)
    assert_close(found, np.stack(alone) if scalar[-1] else np.concatenate(alone), 1e-12)


@pytest.mark.parametrize(("text", "normalize"), [("p, p -> p p", "sum"), ("p p, p -> p", "mean")])
def test_nan_in_padding_reaches_neither_values_nor_gradients(text, normalize):
    space, inputs, weights = prepared(text, 5)
    mask = mask_of(40)
    x, support = [a[mask] if a.ndim == 3 else a for a in inputs], support_of(mask)
    lengths = [30 if a.ndim == 3 else 11 for a in inputs]
    long = [padded_to(a, length) for a, length in zip(x, lengths, strict=True)]
    padded = support.pad(nodes=11, entries=30)

    def loss(x, weights, support):
        y = apply_multilinear(space, x, weights, support=support, normalize=normalize)
        return (y**2).sum(), y

    def both(x, support):
        return in_numpy(jax.value_and_grad(loss, (0, 1), has_aux=True), x, weights, support)

    (value, y), (dx, dw) = both(x, support)
    (padded_value, padded_y), (padded_dx, padded_dw) = both(long, padded)
    assert_close(padded_value, value, 1e-12)
    assert_close(padded_y, padded_to(y, 30 if text.endswith("p p") else 11, 0.0), 1e-12)
    for one, other, count in zip(padded_dx, dx, lengths, strict=True):
        assert_close(one, padded_to(other, count, 0.0), 1e-12)
    assert_close(padded_dw, dw, 1e-12)


@pytest.mark.parametrize(("text", "normalize"), [("p, p -> p p", "sum"), ("sym(p p), p -> p", "mean")])
def test_derivatives_in_both_modes(text, normalize, monkeypatch):
    space, (first, last), weights = prepared(text, 5)
    support = support_of(mask_of(40))
    x = [first if first.ndim == 2 else first[mask_of(40)], last]

    def loss(x, weights):
        return jnp.sum(jnp.sin(apply_multilinear(space, x, weights, support=support, normalize=normalize)))

    assert_derivatives(loss, x, weights)
    on_cpu = in_numpy(jax.grad(loss), x, weights)
    monkeypatch.setattr("in_numpy.PLATFORM", "cuda")
    for one, other in zip(in_numpy(jax.grad(loss), x, weights), on_cpu, strict=True):
        assert_close(one, other, 1e-12)


def test_batch_axes_share_the_support():
    space, _, weights = prepared("p p x, p x -> p", 5)
    mask, rng = mask_of(40), np.random.default_rng(0)
    x = [rng.normal(size=(2, 3, mask.sum(), 2, 1)), rng.normal(size=(2, 3, 5, 2, 2))]
    found = sparse(space, x, weights, support_of(mask))
    for index in np.ndindex(2, 3):
        assert_close(found[index], sparse(space, [a[index] for a in x], weights, support_of(mask)), 1e-12)


def test_masks_of_other_labels():
    space = ek.hom("p p x, p x -> p", p=ek.S, x=ek.S)
    rng, mask, there = np.random.default_rng(0), mask_of(40), np.array([True, False, True])
    x = [rng.normal(size=(mask.sum(), 3, 1)), rng.normal(size=(5, 3, 1))]
    weights = rng.normal(size=multilinear_weight_shape(space, 1, 1))
    found = sparse(space, x, weights, support_of(mask), normalize="mean", mask={"x": there})
    less = sparse(space, [a[:, there] for a in x], weights, support_of(mask), normalize="mean")
    assert_close(found, less, 1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_lower_precision(dtype):
    space, (edges, nodes), weights = prepared("p p, p -> p", 5)
    mask = mask_of(40)
    exact = sparse(space, [edges[mask], nodes], weights, support_of(mask))
    x, w = jax.tree.map(lambda a: jnp.asarray(a, dtype), ([edges[mask], nodes], weights))
    found = sparse(space, x, w, support_of(mask))
    assert found.dtype == dtype
    assert_close(np.asarray(found, np.float64), exact, 4 * float(jnp.finfo(dtype).eps))


def test_arrays_and_gathers_of_products():
    """No array has more than the channels of the output for each row, and gathers are shared by the 52 maps."""
    space, n, entries, width = space_of("p p, p -> p p"), 1000, 5000, 16
    rng = np.random.default_rng(0)
    chosen = rng.permutation(n * n)[:entries]
    support = ek.Support("p p", chosen // n, chosen % n, n=n)
    x = [jnp.ones((entries, width)), jnp.ones((n, width))]
    weights = jnp.ones(multilinear_weight_shape(space, width, width))

    def loss(x, w, support):
        return jnp.sum(apply_multilinear(space, x, w, support=support) ** 2)

    made = [jax.make_jaxpr(function)(x, weights, support) for function in (loss, jax.grad(loss, (0, 1)))]
    assert max(map(largest, made)) <= 3 * entries * width  # up to three maps share a contraction
    gathers = [each.outvars[0].aval for each in equations(made[0]) if each.primitive.name == "gather"]
    assert sum(found.ndim == 2 for found in gathers) <= 19


def test_loops_over_channels_change_nothing():
    rng, row, one, two, out = np.random.default_rng(0), 0, 1, 2, 3
    names, sizes = ((row, one), (row, two), (one, two, out)), (30_000, 3, 4, 2)
    plan = looped_order(names, (row, out), sizes, row)
    assert plan.letters == (one,)
    assert not looped_order(names, (row, out), (100, 3, 4, 2), row).letters  # too small to need a loop
    arrays = [rng.normal(size=[5 if letter == row else sizes[letter] for letter in own]) for own in names]

    def looped(*arrays):
        return looped_einsum([*zip(arrays, names, strict=True)], (row, out), plan, sizes, None)

    assert_close(in_numpy(looped, *arrays), np.einsum("ra,rb,abo->ro", *arrays), 1e-12)
    assert_derivatives(lambda *arrays: jnp.sum(looped(*arrays) ** 3), *arrays)


def test_the_order_of_sums():
    path = (0, 1), (1, 2)
    assert [len(one.rows) for one in schedule((*path, (2,)), (0,), path).sums] == [2, 2]
    assert schedule(path, (0, 2), path) is None  # nothing links the ends
    assert schedule(path, (0, 2), (*path, (0, 2))).needs_triples
    assert not schedule(((0, 1, 2), (1, 2)), (0,), ()).needs_triples
    square = (0, 1), (1, 2), (2, 3), (0, 3)
    assert schedule(square, (), square) is None


def test_what_a_support_lacks_is_said():
    space, inputs, weights = prepared("p p, p p -> p p", 4)
    mask = mask_of(17)
    assert_error(
        ek.OptionError,
        lambda: apply_multilinear(space, [x[mask] for x in inputs], weights, support=support_of(mask)),
        "a product in 'p p, p p -> p p' runs over triples of nodes that are linked in pairs",
        "a support without all of them; basis element",
        "a support with all triples of nodes that are linked in pairs",
        "write support=edges | edges.cliques()",
    )


def test_products_that_nothing_holds_together_are_refused():
    """Such as the sum over k of x(i, j, k) y(k, l) in row i and column l, where x has any triples."""
    space, (triples, pairs), weights = prepared("p p p, p p -> p p", 3, "channelwise")
    support = support_of(mask_of(7), triples=True)
    rows = [triples[support.indices(3)], pairs[support.indices(2)]]
    assert_error(
        ek.OptionError,
        lambda: apply_multilinear(space, rows, weights, mode="channelwise", support=support),
        "a product in 'p p p, p p -> p p' runs over nodes that no entry and no triangle holds together",
        "basis element",
        "products over the nodes of one entry, or over three nodes that pairs link",
        "multiply fewer inputs at a time, by layers in a row, or use dense arrays",
    )


def test_options_that_a_support_does_not_have():
    space, (edges, nodes), weights = prepared("p p, p -> p", 5)
    mask = mask_of(40)
    x = [edges[mask], nodes]
    with pytest.raises(ek.OptionError, match='write method="factored" with a support'):
        apply_multilinear(space, x, weights, support=support_of(mask), method="naive")
    with pytest.raises(ek.ShapeError, match="but the support has"):
        apply_multilinear(space, [edges, nodes], weights, support=support_of(mask))
