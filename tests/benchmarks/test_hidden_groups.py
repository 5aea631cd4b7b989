"""The systems with hidden groups have these groups, and the told network gets the true one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

import equikit as ek
from benchmarks.accuracy import discovery_linear
from benchmarks.core.measurement import Measurement
from benchmarks.data.hidden_groups import SYSTEMS, make_data
from equikit.groups.lie import recognize

WITH_GROUP = [name for name, system in SYSTEMS.items() if system.connected]


@pytest.mark.parametrize("name", WITH_GROUP)
def test_the_algebras_have_their_names(name):
    system = SYSTEMS[name]
    found = recognize(system.algebra)
    assert found.name == system.connected
    assert len(found.change_of_basis) == system.n


def exact(name, arrays):
    """The targets of two systems as functions of their data."""
    if name == "oscillator":
        (state,) = arrays.values()
        flow = np.kron([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]], np.eye(2)) - np.eye(4)
        return {"s": np.einsum("ij,njc->nic", flow, state), "": np.sum(state**2, axis=1) / 2}
    r, v, u = arrays["x"].transpose(2, 0, 1)
    dots = [np.sum(a * [1, -1, -1, -1] * u, axis=1, keepdims=True) for a in (v, r)]
    return {"x": (r * dots[0] - v * dots[1])[..., None]}


@pytest.mark.parametrize("name", ["oscillator", "Lorentz scatterer"])
def test_targets_move_with_the_inputs(name):
    system = SYSTEMS[name]
    inputs, targets = system.draw(np.random.default_rng(0), 20)
    assert all(np.allclose(exact(name, inputs)[term], y) for term, y in targets.items())
    element = expm(np.tensordot(np.random.default_rng(1).normal(size=len(system.algebra)), system.algebra, 1))
    moved, expected = exact(name, system.moved(inputs, element)), system.moved(targets, element)
    assert all(np.allclose(moved[term], y) for term, y in expected.items())


@pytest.mark.parametrize("name", WITH_GROUP)
def test_the_told_group_is_true_and_near_to_what_was_found(name):
    system, random = SYSTEMS[name], np.random.default_rng(0)
    change = make_data(system, 10, 2, 0).change
    true = change @ system.algebra @ np.linalg.inv(change)
    near = recognize(true + 1e-4 * random.normal(size=true.shape), 1e-3)
    told = system.told(change, near)
    flat = np.linalg.svd(true.reshape(len(true), -1), full_matrices=False)[2]
    algebra = np.array(told.lie_algebra()).reshape(len(true), -1)
    assert np.allclose(algebra @ flat.T @ flat, algebra, atol=1e-8 * abs(algebra).max())
    given = np.array(near.group.lie_algebra()).reshape(len(true), -1)
    assert np.linalg.norm(algebra - given) < 0.05 * np.linalg.norm(algebra)
    assert str(told) == system.group


def test_cells_are_those_of_the_systems():
    cells = discovery_linear.cells(False)
    assert len(cells) == len(SYSTEMS) + len(WITH_GROUP)
    assert {rival for cell in cells for rival in cell.rivals} == set(discovery_linear.RIVALS)


def test_a_group_that_is_not_found_is_a_failure_with_its_reason(monkeypatch):
    budget = replace(discovery_linear.QUICK, repeats=1)
    monkeypatch.setattr(discovery_linear, "QUICK", budget)

    def nothing(system, budget, seed):
        return discovery_linear.Found(make_data(system, 90, 10, seed), 1.0, (None, None), None)

    monkeypatch.setattr(discovery_linear, "discovered", nothing)
    measure = discovery_linear.start(True, 0, lambda text: None)
    cell = next(cell for cell in discovery_linear.cells(True) if "told" in cell.rivals)
    records = measure(cell)
    assert [type(record) for record in records] == [Measurement] * 2
    assert {record.reason for record in records} == {"no group was found"}


def test_the_angle_is_that_of_the_spans():
    system = SYSTEMS["scattering"]
    data = make_data(system, 10, 2, 0)
    exact = data.change @ system.algebra @ np.linalg.inv(data.change)
    algebra = type("Algebra", (), {"basis": exact[::-1]})()
    assert discovery_linear.angle(system, discovery_linear.Found(data, 0.0, (None, None), algebra)) < 1e-10
    assert ek.hom("x x -> ", x=system.told(data.change)).dim == 1
