"""Fused kernels compile for an H100 without having one, and need little memory."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None,
    reason="needs jax-cuda12-plugin and jax-cuda12-pjrt of the version of jax",
)
def test_kernels_compile_for_an_h100():
    program = Path(__file__).with_name("compiled_for_h100.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {count for name, (_, count) in found.items() if "forward" in name} == {2}
    assert {count for name, (_, count) in found.items() if "gradient" in name} <= {4, 5}
    for name in ("pairs", "half", "points", "vectors"):
        assert found[f"{name}, forward"][0] < 0.05
