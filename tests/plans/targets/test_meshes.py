"""Functions with a mesh, modules inside of inputs, and loops, on eight virtual devices: numbers, or errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ABSTRACT = 'jax.sharding.AbstractMesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))'
"""The script compiles with this mesh, too."""


@pytest.fixture(scope="module")
def found():
    script = Path(__file__).with_name("programs_on_devices.py")
    options = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    environment = os.environ | options | {"PYTHONPATH": str(script.parents[3])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["automatic mesh", "explicit mesh", "explicit mesh, 8", "no mesh"])
def test_a_function_with_shard_map_needs_the_mesh_of_the_target(found, name):
    assert found[name].startswith("the program has a mesh of other devices than it is compiled for | got: ")
    assert found[name].endswith(f" | next step: write devices=8, and in the call of jax.shard_map mesh={ABSTRACT}")


def test_the_mesh_of_the_target(found):
    assert found["abstract mesh"] == [4 * (3 * 4 + 3 + 4), ["all-reduce"]]  # weights, a row, and the sum


def test_arrays_on_a_mesh_are_inputs(found):
    assert found["closed over"].endswith("next step: pass the arrays that the function closes over as inputs")
    assert found["inputs on a mesh"] == [4 * (24 + 12 + 32), []]


def test_a_mesh_that_is_set(found):
    assert found["a mesh that is set"].endswith(
        "expected:  no mesh that jax.set_mesh has set | next step: call compiled_cost outside of jax.set_mesh"
    )


def test_chunks_of_a_batch_that_is_spread(found):
    """The loop over chunks gathers the samples of other devices; without chunks it has no collective."""
    step = "unroll the loop: write unroll=True where it is made, or chunk_size=None in a layer of equikit"
    assert found["chunks"].endswith(f"next step: {step}")
    assert found["no chunks"][1] == []


def test_a_loop_that_is_unrolled(found):
    assert "has collectives, which run an unknown number of times" in found["loop"]
    assert {*found["unrolled"][1]} == {"all-reduce"}


def test_modules_inside_of_an_input_are_on_each_device(found):
    assert found["modules inside"] == [4 * (64 * 3 + 3 + 16 * (64 + 3)), []]
