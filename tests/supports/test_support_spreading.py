"""The parts of a spread support: every entry once, reverses together, and copies that meet their owners."""

import pickle

import jax
import numpy as np
import pytest

import equikit as ek
from equikit.supports._spreading import MOST_UNEQUAL

DEVICES = 4


def random_edges(n: int = 30, count: int = 200) -> ek.Support:
    rng = np.random.default_rng(0)
    return ek.Support("p p", *np.divmod(rng.choice(n * n, count, replace=False), n), n=n)


def tables(edges: ek.Support) -> tuple[ek.Support, np.ndarray, dict[str, np.ndarray]]:
    """The spread support, its order, and the tables of each device by name."""
    spread, order = edges.spread(DEVICES, axis="d")
    nodes, pairs = spread.levels[1:]
    exchange = pairs.exchange
    found = {
        "receiver": pairs.drop[0],
        "sender": pairs.drop[1],
        "turned": pairs.turned[0],
        "merge": pairs.merge[0, 1],
        "repeat": pairs.repeat[0, 1],
        "graph": nodes.drop[0],
        "borrowed": exchange.borrowed,
        "lent": exchange.lent,
        "order": exchange.order,
    }
    return spread, order, {name: np.asarray(table).reshape(DEVICES, -1) for name, table in found.items()}


def reach(spread: ek.Support) -> int:
    return spread.levels[2].exchange.reach


def node_of_rows(spread: ek.Support, here: dict[str, np.ndarray]) -> np.ndarray:
    """Return the node of each reached row of each device, from what owners send."""
    count = reach(spread)
    nodes = np.full((DEVICES, count + 1), -1)
    for device in range(DEVICES):
        own = np.flatnonzero(here["graph"][device] < 1)
        nodes[device, own] = device * spread.n + own
    borrowed, lent = (here[name].reshape(DEVICES, DEVICES, -1) for name in ("borrowed", "lent"))
    for a in range(DEVICES):
        for b in range(DEVICES):
            there = borrowed[a, b] < count
            assert ((lent[b, a] < spread.n) == there).all()
            assert (nodes[a, borrowed[a, b][there]] == -1).all()  # it has one owner
            nodes[a, borrowed[a, b][there]] = nodes[b, lent[b, a][there]]
    return nodes


def test_every_entry_is_on_one_device_between_its_nodes() -> None:
    edges = random_edges()
    spread, order, here = tables(edges)
    senders, receivers = (np.asarray(each) for each in edges.indices())
    present = order < edges.entries[2]
    np.testing.assert_array_equal(np.sort(order[present]), np.arange(edges.entries[2]))
    nodes = node_of_rows(spread, here)
    for name, expected in (("sender", senders), ("receiver", receivers)):
        found = np.take_along_axis(nodes, here[name], axis=1).ravel()
        np.testing.assert_array_equal(found[present], expected[order[present]])
        assert (here[name].ravel()[~present] == reach(spread)).all()


def test_reverse_entries_and_loops_are_found_on_the_device() -> None:
    edges = random_edges()
    spread, order, here = tables(edges)
    senders, receivers = (np.asarray(each) for each in edges.indices())
    rows = np.append(order.reshape(DEVICES, -1), np.full((DEVICES, 1), edges.entries[2]), axis=1)
    reverse = np.take_along_axis(rows, here["turned"], axis=1).ravel()
    present = order < edges.entries[2]
    np.testing.assert_array_equal(reverse[present], edges.find(receivers, senders)[order[present]])
    assert (np.sort(here["repeat"].ravel())[: edges.loops] < spread.entries[2]).all()
    assert (here["repeat"] < spread.entries[2]).sum() == (here["merge"] < spread.n).sum() == edges.loops


def test_parts_are_of_nearly_one_length() -> None:
    edges = random_edges(60, 1000)
    spread, _, here = tables(edges)
    assert spread.n == 15
    assert spread.entries[2] <= MOST_UNEQUAL * 1000 / DEVICES
    assert (np.diff(np.take_along_axis(here["lent"], here["order"], axis=1)) >= 0).all()
    star = ek.Support("p p", np.arange(1, 41), np.zeros(40, int), n=41)
    assert star.spread(DEVICES, axis="d")[0].entries[2] <= 11


@pytest.mark.parametrize(("n", "count"), [(0, 0), (3, 0), (2, 4), (30, 200)])
def test_any_numbers_of_rows(n: int, count: int) -> None:
    spread, order = (
        random_edges(n, count).spread(DEVICES, axis="d")
        if n
        else ek.Support("p p", [], [], n=0).spread(DEVICES, axis="d")
    )
    assert (order < count).sum() == count
    assert len(order) == DEVICES * spread.entries[2]
    assert spread.n * DEVICES >= n
    for table in jax.tree.leaves(spread):
        assert len(table) % DEVICES == 0
        assert len(table)


def test_it_is_a_pytree_that_can_be_pickled() -> None:
    spread, _ = random_edges().spread(DEVICES, axis="d")
    for other in (jax.tree.map(lambda table: table, spread), pickle.loads(pickle.dumps(spread))):
        assert repr(other) == repr(spread)
        assert jax.tree.structure(other) == jax.tree.structure(spread)
    assert repr(spread) == "Support of p p: 8 nodes and 62 entries on each device along 'd'"


TRIPLES = ek.Support("p p p", [0], [1], [2], n=3)
CASES = {
    "triples": (lambda: TRIPLES.spread(2, axis="d"), "is for supports of pairs", "shard a batch"),
    "padded": (lambda: random_edges().pad(nodes=40).spread(2, axis="d"), "without padding", "call .pad(...) after it"),
    "twice": (lambda: random_edges().spread(2, axis="d")[0].spread(2, axis="d"), "spread over devices", "before it is"),
    "no devices": (lambda: random_edges().spread(0, axis="d"), "devices=", "write devices=1"),
    "no name": (lambda: random_edges().spread(2, axis=0), "axis= must be a text", 'write axis="d"'),
    "its indices": (lambda: random_edges().spread(2, axis="d")[0].indices(), "tables of each", "before it is spread"),
    "its loops": (lambda: random_edges().spread(2, axis="d")[0].loops, "tables of each", "before it is spread"),
    "its padding": (lambda: random_edges().spread(2, axis="d")[0].present(), "tables of each", "before it is spread"),
    "padding it": (lambda: random_edges().spread(2, axis="d")[0].pad(nodes=9), "tables of each", "before it is spread"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused(name: str) -> None:
    call, problem, step = CASES[name]
    with pytest.raises(ek.OptionError) as caught:
        call()
    assert problem in str(caught.value)
    assert step in caught.value.step
