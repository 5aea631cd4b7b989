"""Every planted fault is found and located, and no correct model is blamed."""

import functools
import importlib

import jax.numpy as jnp
import pytest

from benchmarks.accuracy import audit_faults
from benchmarks.accuracy._fault_audit import asked

FLAX, TORCH = audit_faults.MODULES["Flax"], audit_faults.MODULES["PyTorch"]
QUICK = ("float16 sums", "padding that leaks", "sorted ties")
"""Faults in Flax whose programs compile in about a second."""


@functools.cache
def faults(module):
    return importlib.import_module(module).faults()


def assert_located(suspect):
    answer = asked(suspect)
    assert (answer.found, answer.where) == (True, suspect.fault)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in audit_faults.FAULTS]
)
def test_faults_in_flax(name):
    assert_located(faults(FLAX)[name])


@pytest.mark.parametrize("name", audit_faults.FAULTS)
def test_faults_in_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    torch.set_num_threads(1)
    assert_located(faults(TORCH)[name])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", audit_faults.CORRECT["PyTorch"])
def test_correct_models_of_pytorch(name, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    torch.set_num_threads(1)
    suspect = importlib.import_module(TORCH).correct(getattr(torch, dtype))[name]
    assert not asked(suspect).found


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in audit_faults.CORRECT["Flax"] if name != "PCA frame"])
def test_correct_models_of_flax(name, dtype):
    suspect = importlib.import_module(FLAX).correct(getattr(jnp, dtype))[name]
    assert not asked(suspect).found


def test_the_fault_of_symm_learning():
    """Issue 14 of symm-learning: pointwise nonlinearities on irreducible features."""
    pytest.importorskip("torch", reason="PyTorch is an extra")
    pytest.importorskip(
        "symm_learning", reason="symm-learning needs escnn and a repaired lie_learn", exc_type=ImportError
    )
    models = importlib.import_module("benchmarks.accuracy._fault_package").models()
    assert_located(models["eMLP, irreducible features"])
    assert not asked(models["eMLP, regular features"]).found
