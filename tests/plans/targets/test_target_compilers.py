"""Programs of known cost, compiled for devices that are not there."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs_for_targets.py"
SIDE, SMALL, WEIGHTS = 8192, 1024, 4 * (15 * 8 * 8 + 2 * 8)
NEEDED = {"cpu": None, "h100": "jax-cuda12-pjrt"}

pytestmark = pytest.mark.slow


def has(package):
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module", params=["cpu", "h100", "v4", "v5e", "v5p", "v6e", "tpu7x"])
def measured(request):
    """All programs on one target, compiled in a process of its own with 8 CPU devices."""
    target = request.param
    package = NEEDED.get(target, "libtpu")
    if package is not None and not has(package):
        pytest.skip(f"{package} is not installed: pip install 'equikit[targets]'")
    left_out = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    words = [sys.executable, PROGRAMS, target]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)[target] | {"target": target}


def test_a_pass_over_an_array(measured):
    for name, size in (("copy", 4), ("bfloat16", 2)):
        cost = measured[name]
        assert (cost["kernels"], cost["bytes"], cost["ratio"]) == (1, 2 * size * SIDE**2, 1.0)
        assert (cost["temporaries"], cost["on_chip_bytes"]) == (0, 0)
    assert measured["copy"]["flops"] == SIDE**2  # a CPU may convert bfloat16 in addition


def test_a_product_of_matrices(measured):
    cost = measured["product"]
    assert (cost["kernels"], cost["flops"], cost["bytes"]) == (1, 2 * SIDE**3, 3 * 4 * SIDE**2)


def test_a_product_that_fits_on_chip_reads_its_operands_once(measured):
    """XLA then copies an operand to on-chip memory first, and counts that too."""
    cost = measured["small product"]
    assert cost["bytes"] - cost["on_chip_bytes"] == pytest.approx(3 * 4 * SMALL**2, rel=0.01)
    assert (cost["on_chip_bytes"] > 0) is (measured["target"] not in ("cpu", "h100"))


def test_what_a_sum_over_devices_sends(measured):
    cost = measured["sum"]
    assert cost["collectives"] == [{"kind": "all-reduce", "bytes": 4000, "group": list(range(8))}]
    assert cost["sent_bytes"] == 2 * 7 / 8 * 4000
    assert cost["io_bytes"] == 4 * (512 * 1000 // 8 + 1000)
    assert cost["bytes"] == pytest.approx(4 * (512 * 1000 // 8 + 3 * 1000), rel=0.05)  # and tiles of a TPU


def test_the_gradient_of_weights_is_exchanged_once(measured):
    kinds = {each["kind"] for each in measured["gradient"]["collectives"]}
    assert kinds == {"all-reduce"}
    assert sum(each["bytes"] for each in measured["gradient"]["collectives"]) == WEIGHTS + 4  # and the loss


def test_an_artifact_made_on_this_host_moves_as_few_bytes(measured):
    own, saved = measured["layer"], measured["exported"]
    assert saved["bytes"] <= own["bytes"]
    assert saved["kernels"] <= own["kernels"]
    assert saved["temporaries"] <= own["temporaries"]


def test_bounds_by_the_datasheet_are_finite(measured):
    bounds = [measured["layer"][name] for name in ("bandwidth_seconds", "arithmetic_seconds")]
    assert all(value is None for value in bounds) if measured["target"] == "cpu" else all(0 < x < 1 for x in bounds)


def test_a_call_of_a_library_counts_its_operands_and_results(measured):
    cost = measured["convolution"]
    least = 4 * (2 * 4 * 8 * 32 * 32 + 8 * 8 * 3 * 3)
    assert cost["bytes"] >= least
    assert any("conv" in name for name in cost["uncounted"]) is (measured["target"] == "h100")


def test_jax_states_the_same_figures():
    """The figures of TensorCores in JAX are rounded, and of the v5p one more cautious about memory."""
    from jax.experimental.pallas import tpu

    if not hasattr(tpu, "get_tpu_info_for_chip"):
        pytest.skip("this version of JAX has no figures of TPUs")
    from equikit.plans import TARGETS

    for name in ("v4", "v5e", "v5p", "v6e", "tpu7x"):
        kind = tpu.ChipVersion[{"tpu7x": "TPU_7X"}.get(name, f"TPU_{name.upper()}")]
        info = tpu.get_tpu_info_for_chip(kind, 1)
        cores = 1 if name in ("v5e", "v6e", "tpu7x") else 2  # of one device
        assert TARGETS[name].rates["bfloat16"] == pytest.approx(cores * info.bf16_ops_per_second, rel=0.01)
        assert TARGETS[name].bandwidth == pytest.approx(cores * info.mem_bw_bytes_per_second, rel=0.15)
