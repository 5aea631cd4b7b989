"""Every table of a support against its definition, by brute force in Python."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import equikit as ek
from equikit.supports import Level


def closure(support):
    """The tuples of each length: entries, and what is left of longer ones without a position."""
    found = {m: {*map(tuple, entries(support, m))} for m in support.orders}
    for m in range(max(found), 2, -1):
        shorter = {t[:a] + t[a + 1 :] for t in found[m] for a in range(m)}
        found[m - 1] = found.get(m - 1, set()) | shorter
    return found


def entries(support, order):
    """The entries that are present, as a list of tuples, read from the index arrays."""
    every = np.stack([np.asarray(index) for index in support.indices(order)], axis=1)
    return [tuple(t) for t in every.tolist() if t[0] < support.n]


def tuples_of(levels):
    """The tuple of each row, `None` for padded ones, from the tables of removed positions alone."""
    zero, one, *longer = levels
    found = [[i if graph < zero.count else None for i, graph in enumerate(np.asarray(one.drop[0]).tolist())]]
    found[0] = [None if i is None else (i,) for i in found[0]]
    for level in longer:
        below, drop = found[-1], [np.asarray(each).tolist() for each in level.drop]
        rows = [None] * level.count
        for r in range(level.count):
            parts = [below[each[r]] if each[r] < len(below) else None for each in drop]
            if None in parts:
                assert parts == [None] * level.length
                continue
            rows[r] = (*parts[-1], parts[0][-1])
            assert parts == [rows[r][:a] + rows[r][a + 1 :] for a in range(level.length)]
        found.append(rows)
    return found


def lists(tree):
    return jax.tree.map(lambda table: np.asarray(table).tolist(), tree)


def check(support, graph_of=None):
    """Compare all tables of a support with their definitions."""
    levels = support.levels
    assert [level.length for level in levels] == [*range(1 + max(support.orders))]
    assert all(table.dtype == np.int32 for table in jax.tree.leaves(levels))
    assert levels[0].count == (1 if support.graphs is None else support.graphs)
    assert levels[1].count == support.n
    tuples = tuples_of(levels)
    real = [t[0] for t in tuples[0] if t is not None]
    assert real == [*range(len(real))]
    numbers = [0] * len(real) if graph_of is None else list(graph_of)
    assert lists(levels[1].drop[0]) == numbers + [levels[0].count] * (support.n - len(real))
    wanted = closure(support)
    for level, rows, below in zip(levels[2:], tuples[1:], tuples, strict=False):
        m, place = level.length, {t: r for r, t in enumerate(rows) if t is not None}
        assert len(place) == sum(t is not None for t in rows)
        assert place.keys() == wanted[m]
        for a, b in itertools.combinations(range(m), 2):
            repeated = [None if t is None else (*t[:b], t[a], *t[b:]) for t in below]
            assert lists(level.repeat[a, b]) == [place.get(t, level.count) for t in repeated]
            lower = {t: r for r, t in enumerate(below)}
            merged = [t[:b] + t[b + 1 :] if t is not None and t[a] == t[b] else 0 for t in rows]
            assert lists(level.merge[a, b]) == [lower.get(t, len(below)) for t in merged]
        permutations = [*itertools.permutations(range(m))][1:]
        for s, turned in zip(permutations, level.turned, strict=True):
            moved = [None if t is None else tuple(t[i] for i in s) for t in rows]
            assert lists(turned) == [place.get(t, level.count) for t in moved]
        if m in support.orders:
            check_data(support, level, rows)
        else:
            assert level.own is level.rows is None
            assert [t for t in rows if t] == sorted(place)
    check_orders(levels)


def check_data(support, level, rows):
    given = [tuple(t) for t in np.stack([np.asarray(i) for i in support.indices(level.length)], axis=1).tolist()]
    if level.own is None:
        assert level.rows is None
        assert [t if t else (support.n,) * level.length for t in rows] == given
        return
    own, here = lists(level.own), lists(level.rows)
    present = [e for e, t in enumerate(given) if t[0] < support.n]
    assert [rows[here[e]] for e in present] == [given[e] for e in present]
    assert {here[e] for e in range(len(given)) if e not in present} <= {level.count}
    assert own == [here.index(r) if r in here else len(given) for r in range(level.count)]


def check_orders(levels):
    for level in levels[1:]:
        for drop, order in zip(lists(level.drop), level.order, strict=True):
            sorted_ = drop if order is None else [drop[r] for r in lists(order)]
            assert sorted_ == sorted(drop)
            if order is not None:
                assert lists(order) == sorted(range(level.count), key=drop.__getitem__)


def random_support(rng, order, n, count, *, loops=True, graphs=None):
    """A support with its graph numbers, nodes of a graph anywhere."""
    graph_of = None if graphs is None else rng.integers(graphs, size=n)
    every = np.array([*itertools.product(range(n), repeat=order)]).reshape(-1, order)
    allowed = [t for t in every if (loops or len({*t}) == order) and (graph_of is None or len({*graph_of[t]}) == 1)]
    chosen = rng.permutation(len(allowed))[:count]
    indices = np.array(allowed).reshape(-1, order)[chosen].T
    return ek.Support(" ".join("p" * order), *indices, n=n, graph_of=graph_of, graphs=graphs), graph_of


@pytest.mark.parametrize("graphs", [None, 3])
@pytest.mark.parametrize("loops", [True, False], ids=["loops", "no loops"])
@pytest.mark.parametrize(("order", "n", "count"), [(2, 6, 14), (3, 5, 20), (4, 3, 9), (2, 1, 1), (3, 4, 0)])
def test_tables_are_what_their_definitions_say(order, n, count, loops, graphs):
    rng = np.random.default_rng([order, n, loops])
    support, graph_of = random_support(rng, order, n, count, loops=loops, graphs=graphs)
    check(support, graph_of)
    padded = support.pad(nodes=n + 2, entries=support.entries[order] + 3, graphs=None if graphs is None else 5)
    assert padded.entries == {order: support.entries[order] + 3}
    check(padded, graph_of)


@pytest.mark.parametrize("graphs", [None, 2])
def test_entries_of_two_orders_have_common_tables(graphs):
    rng = np.random.default_rng(5)
    pairs, graph_of = random_support(rng, 2, 5, 9, graphs=graphs)
    every = [t for t in itertools.product(range(5), repeat=3) if graphs is None or len({*graph_of[[*t]]}) == 1]
    chosen = np.array(every)[rng.permutation(len(every))[:7]].T
    triples = ek.Support("p p p", *chosen, n=5, graph_of=graph_of, graphs=graphs)
    for joined in (pairs | triples, triples | pairs):
        assert joined.orders == (2, 3)
        assert joined.levels[2].own is not None
        check(joined, graph_of)
        padded = joined.pad(nodes=7, entries={2: 12, 3: 11})
        assert joined.levels[2].count <= padded.levels[2].count == (16 if graphs else 32)  # a power of two
        check(padded, graph_of)
        exact = joined.pad(entries={2: 12}, tuples={2: joined.levels[2].count + 3})
        assert exact.levels[2].count == joined.levels[2].count + 3
        check(exact, graph_of)


def test_pairs_that_hold_those_of_the_triples_stay_as_they_are():
    edges = ek.Support("p p", [2, 0, 1, 1, 0, 2], [1, 1, 0, 2, 2, 0], n=4)
    joined = edges | edges.triangles()
    assert joined.levels[2].own is None
    check(joined)
    check(joined.pad(nodes=6, entries={2: 8, 3: 8}))


def test_orders_are_left_out_where_rows_ascend():
    edges = ek.Support("p p", [0, 0, 1, 2], [1, 2, 0, 1], n=3)
    assert [order is None for order in edges.levels[2].order] == [False, True]
    triples = ek.Support("p p p", [0, 2], [1, 0], [2, 1], n=3)
    assert [order is None for order in triples.levels[2].order] == [False, True]
    # Programs for padded supports depend on sizes alone.
    shuffled = ek.Support("p p", [1, 0, 2, 0], [0, 1, 1, 2], n=3)
    one, two = (jax.tree.structure(each.pad(entries=8)) for each in (edges, shuffled))
    assert one == two


def test_a_permutation_of_the_nodes_maps_the_tables():
    rng = np.random.default_rng(0)
    support, _ = random_support(rng, 2, 6, 15)
    senders, receivers = (np.asarray(index) for index in support.indices())
    g = rng.permutation(6)
    before, after = support.levels[2], ek.Support("p p", g[senders], g[receivers], n=6).levels[2]
    renamed = np.append(g, 6)  # what is absent stays absent
    for old, new in zip(before.drop, after.drop, strict=True):
        np.testing.assert_array_equal(new, g[np.asarray(old)])
    np.testing.assert_array_equal(after.merge[0, 1], renamed[np.asarray(before.merge[0, 1])])
    np.testing.assert_array_equal(np.asarray(after.repeat[0, 1])[g], before.repeat[0, 1])
    np.testing.assert_array_equal(after.turned[0], before.turned[0])


def test_a_permutation_of_the_entries_maps_the_tables():
    rng = np.random.default_rng(1)
    support, _ = random_support(rng, 3, 4, 12)
    g = rng.permutation(12)
    indices = np.stack([np.asarray(index) for index in support.indices()])
    before, after = support.levels, ek.Support("p p p", *indices[:, g], n=4).levels
    assert lists(before[2]).drop == lists(after[2]).drop
    inverse = np.append(np.argsort(g), 12)
    for old, new in zip(before[3].turned, after[3].turned, strict=True):
        np.testing.assert_array_equal(new, inverse[np.asarray(old)][g])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 3)))))
def test_repeated_entries_are_kept_once_and_found(drawn):
    n, triples = drawn
    indices = np.array(triples, int).reshape(-1, 3).T
    support = ek.Support("p p p", *indices, n=n, coalesce=True)
    assert entries(support, 3) == [*dict.fromkeys(triples)]
    assert support.find(*indices).tolist() == [entries(support, 3).index(t) for t in triples]
    check(support)


def test_keys_do_not_overflow():
    n = 2**31 - 1
    one = np.array([0, n - 1, n - 2, n - 1])
    graph = ek.Support("p p", one, one[::-1], n=n)
    assert graph.find([n - 1, 5], [n - 2, 6]).tolist() == [1, 4]
    triples = ek.Support("p p p", one, one, one[::-1], n=n)
    assert triples.find([n - 2, 3], [n - 2, 3], [n - 1, 3]).tolist() == [2, 4]


def test_a_level_is_a_tree_of_arrays_with_a_short_text():
    level = ek.Support("p p", [0], [1], n=2).levels[2]
    assert isinstance(level, Level)
    assert repr(level) == "Level(2, 1 rows)"
