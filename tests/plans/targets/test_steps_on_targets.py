"""On GPUs and TPUs the steps of the platform move no more bytes than the steps of a CPU."""

import json
import os
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import pytest

MODULES = {"h100": ("jax-cuda12-pjrt", "jax_plugins.xla_cuda12"), "v5e": ("libtpu", "libtpu")}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", MODULES)
def test_no_layer_moves_more_bytes(target):
    package, module = MODULES[target]
    try:
        found = metadata.version(package) and util.find_spec(module)
    except (metadata.PackageNotFoundError, ModuleNotFoundError):
        found = None
    if found is None:
        pytest.skip(f"{package} is not installed: pip install 'equikit[targets]'")
    script = Path(__file__).with_name("steps_on_targets.py")
    left_out = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, script, target], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    costs = json.loads(done.stdout)[target]
    assert {name: both for name, both in costs.items() if both[0] > both[1]} == {}
    assert costs["S 2 → 2, forward"][0] < (0.95 if target == "h100" else 0.6) * costs["S 2 → 2, forward"][1]
