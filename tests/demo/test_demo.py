import io
import json
import sys
import warnings

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

import equikit as ek
from equikit import demo
from equikit.nn import GraphNetwork

EPOCHS = 3


@pytest.fixture(scope="module")
def graphs():
    return demo.atlas()


@pytest.fixture(scope="module")
def data(graphs):
    return demo.split(graphs, 0)


def small_network(seed=0):
    return GraphNetwork(1, [8], 2, rngs=nnx.Rngs(seed), normalize="sum", init_size=7)


@pytest.fixture(scope="module")
def trained(data):
    return demo.train(small_network(), data, epochs=EPOCHS, rate=3e-3, seed=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The whole demonstration, with too few epochs to learn much: report, folder, what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "new"
    printed = io.StringIO()
    report = demo.demo(seed=1, epochs=EPOCHS, output=folder, console=Console(file=printed, width=100))
    return report, folder, printed.getvalue()


# The data.


def test_atlas_has_all_small_graphs(graphs):
    assert len(graphs) == 1253
    # The numbers of graphs on 0 to 7 unlabeled nodes, OEIS A000088.
    assert np.bincount(graphs.mask.sum(1)).tolist() == [1, 1, 2, 4, 11, 34, 156, 1044]
    adjacency = graphs.adjacency
    np.testing.assert_array_equal(adjacency, adjacency.swapaxes(1, 2))
    assert set(np.unique(adjacency)) == {0, 1}
    assert not np.einsum("gii->gi", adjacency).any()
    assert not adjacency[~graphs.mask].any()


def test_targets_agree_with_an_independent_count(graphs):
    adjacency = graphs.adjacency.astype(np.float64)
    cubes = np.einsum("gij,gjk,gki->g", adjacency, adjacency, adjacency)
    np.testing.assert_array_equal(graphs.targets[:, 0], cubes / 6)
    np.testing.assert_allclose(graphs.targets[:, 1], np.linalg.norm(adjacency, 2, axis=(1, 2)), atol=1e-6)


def test_targets_of_known_graphs():
    known = demo.to_graphs([nx.empty_graph(0), nx.complete_graph(5), nx.star_graph(4), nx.cycle_graph(6)], 7)
    np.testing.assert_allclose(known.targets, [[0, 0], [10, 4], [0, 2], [0, 2]], atol=1e-6)


def test_split_deals_out_every_graph_once(graphs, data):
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [896, 157, 200]
    codes = [graph.tobytes() for part in parts for graph in part.adjacency]
    assert sorted(codes) == sorted(graph.tobytes() for graph in graphs.adjacency)
    again, other = demo.split(graphs, 0), demo.split(graphs, 1)
    np.testing.assert_array_equal(again.test.adjacency, data.test.adjacency)
    assert not np.array_equal(other.test.adjacency, data.test.adjacency)


@pytest.mark.parametrize("padding", [False, True])
def test_relabeled_graphs_are_isomorphic(graphs, padding):
    moved = graphs.relabeled(np.random.default_rng(0), padding=padding)
    assert not np.array_equal(moved.adjacency, graphs.adjacency)
    assert np.array_equal(moved.mask, graphs.mask) != padding
    for place in range(0, len(graphs), 50):
        keep = moved.mask[place]
        before, after = (nx.from_numpy_array(each.adjacency[place]) for each in (graphs, moved))
        assert nx.is_isomorphic(before, after)
        assert not moved.adjacency[place][~keep].any()


def test_twins_are_those_of_color_refinement(graphs):
    def named(place):
        n = graphs.mask[place].sum()
        graph = nx.from_numpy_array(graphs.adjacency[place][:n, :n])
        return nx.weisfeiler_lehman_graph_hash(graph, iterations=7), n

    classes = demo.twins(graphs)
    assert sum(map(len, classes)) == 52
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the hashes differ between versions of NetworkX, but are compared here only
        for places in classes:
            assert len(set(map(named, places))) == 1
    for places in classes:
        np.testing.assert_allclose(np.ptp(graphs.targets[places, 1]), 0, atol=1e-6)  # it knows the spectral radius
    assert any(np.ptp(graphs.targets[places, 0]) > 0 for places in classes)  # but not the triangles


# Training, and tests of one training for all: compiled, since NumPy takes longer for so many steps.


@pytest.mark.compiled
@pytest.mark.parametrize("make", [small_network, lambda: demo.FlatMLP(7, [32], 2, rngs=nnx.Rngs(0))])
def test_loss_falls(make, data):
    losses = demo.train(make(), data, epochs=10, rate=3e-3, seed=0).losses
    assert losses.shape == (10, 2)
    assert np.all(losses[-1] < 0.85 * losses[0])


@pytest.mark.compiled
def test_training_is_deterministic_and_leaves_the_model_alone(data, trained):
    model = small_network()
    before = nnx.state(model)
    again = demo.train(model, data, epochs=EPOCHS, rate=3e-3, seed=0)
    np.testing.assert_array_equal(again.losses, trained.losses)
    np.testing.assert_array_equal(again.predict(data.test), trained.predict(data.test))
    for old, new in zip(nnx.to_flat_state(before), nnx.to_flat_state(nnx.state(small_network())), strict=True):
        np.testing.assert_array_equal(old[1][...], new[1][...])


@pytest.mark.compiled
def test_best_parameters_by_validation_are_kept(data, trained):
    assert trained.best == np.argmin(trained.losses[:, 1])
    scaled = (data.validation.targets - trained.mean) / trained.std
    predicted = (trained.predict(data.validation) - trained.mean) / trained.std
    np.testing.assert_allclose(np.abs(predicted - scaled).mean(), trained.losses[trained.best, 1], rtol=1e-4)


@pytest.mark.compiled
def test_the_test_graphs_are_not_looked_at(graphs, data, trained):
    other = demo.Split(data.train, data.validation, graphs.take(np.arange(3)))
    np.testing.assert_array_equal(
        demo.train(small_network(), other, epochs=EPOCHS, rate=3e-3, seed=0).losses, trained.losses
    )


@pytest.mark.parametrize("options", [{"epochs": 0}, {"epochs": 1, "batch": 0}, {"epochs": 1, "batch": 897}])
def test_nothing_to_train_is_an_error(options, data):
    with pytest.raises(ek.OptionError, match=f"{[*options][-1]}= must be a whole number"):
        demo.train(small_network(), data, rate=1e-3, seed=0, **options)


# What the models can and cannot do.


@pytest.mark.compiled
def test_network_does_not_see_relabeling(data, trained):
    assert demo.invariance_error(trained, data.test, 0) < 1e-5
    plain, moved = (
        demo.score(trained.predict(data.test), data.test.targets),
        demo.relabeled_score(trained, data.test, 0),
    )
    np.testing.assert_allclose(plain.mae, moved.mae, rtol=1e-4)
    np.testing.assert_allclose(plain.rmse, moved.rmse, rtol=1e-4)


@pytest.mark.compiled
def test_layers_on_pairs_cannot_tell_twins_apart_and_triples_can(graphs, data, trained):
    predicted = trained.predict(graphs)
    for places in demo.twins(graphs):
        np.testing.assert_allclose(np.ptp(predicted[places], axis=0), 0, atol=1e-4)
    network = demo.TripleNetwork(8, 8, 2, rngs=nnx.Rngs(0), init_size=7)
    ring, pair = demo.twin_predictions(demo.Trained(network, np.zeros(2), np.ones(2), np.zeros((1, 2)), 0))
    assert abs(ring - pair) > 1e-4  # two orders above rounding, before any training


@pytest.mark.parametrize("contestant", demo.CONTESTANTS, ids=lambda contestant: contestant.name)
def test_absent_nodes_do_not_count(contestant):
    small = demo.to_graphs([nx.cycle_graph(4), nx.empty_graph(0)], 7)
    model = contestant.make(nnx.Rngs(0))
    run = jax.jit(lambda edges, mask: model(edges, mask=mask))
    y = run(jnp.asarray(small.adjacency[..., None]), jnp.asarray(small.mask))
    assert np.isfinite(y).all()
    if "graph network" in contestant.name:
        tight = demo.to_graphs([nx.cycle_graph(4)], 4)
        alone = run(jnp.asarray(tight.adjacency[..., None]), None)
        np.testing.assert_allclose(alone[0], y[0], rtol=1e-5, atol=1e-5)


# The whole demonstration.


@pytest.mark.compiled
def test_report_and_files(run):
    report, folder, _ = run
    assert [outcome.name for outcome in report.outcomes] == [contestant.name for contestant in demo.CONTESTANTS]
    value = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    assert value["models"].keys() == {outcome.name for outcome in report.outcomes}
    assert value["models"]["MLP"]["test"]["triangles"]["mae"] == report.outcomes[2].score.mae[0]
    assert len(value["diagrams"]) == 15
    assert value["files"] == [str(folder / "demo.json"), str(folder / "demo.png")]
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    for outcome in report.outcomes[:2]:
        assert outcome.invariance < 1e-5
        np.testing.assert_allclose(outcome.score.mae, outcome.relabeled.mae, rtol=1e-3)
    assert report.outcomes[0].parameters <= report.outcomes[2].parameters


@pytest.mark.compiled
def test_report_is_printed_without_progress(run):
    report, folder, printed = run
    assert "1,253 graphs" in printed
    assert f"{report.outcomes[0].score.mae[0]:.3f}" in printed
    assert "The 15 diagrams" in printed
    assert str(folder / "demo.png") in printed
    assert "\r" not in printed
    assert "compiling" not in printed


def test_without_matplotlib_the_rest_works(tmp_path, monkeypatch):
    def quick(seed):
        return demo.FlatMLP(7, [8], 2, rngs=nnx.Rngs(0))

    monkeypatch.setitem(sys.modules, "matplotlib", None)  # makes the import fail
    monkeypatch.setattr("equikit.demo._run.CONTESTANTS", (demo.Contestant("quick", quick, 1e-3),))
    printed = io.StringIO()
    report = demo.demo(epochs=1, output=tmp_path, console=Console(file=printed, width=100))
    assert "pip install matplotlib" in printed.getvalue()
    assert report.files == (str(tmp_path / "demo.json"),)
    assert [file.name for file in tmp_path.iterdir()] == ["demo.json"]


def test_bad_arguments(tmp_path):
    for wrong in ({"seed": -1}, {"seed": 2**63}, {"seed": "a"}, {"epochs": 0}, {"epochs": 1.5}):
        with pytest.raises(ek.OptionError, match=f"{next(iter(wrong))}= must be a whole number"):
            demo.demo(output=tmp_path, **wrong)
    (tmp_path / "file").write_text("")
    with pytest.raises(ek.OptionError, match="results cannot be written"):
        demo.demo(output=tmp_path / "file")
    (tmp_path / "demo.json").mkdir()
    with pytest.raises(ek.OptionError, match="cannot be written"):
        demo.demo(output=tmp_path)
