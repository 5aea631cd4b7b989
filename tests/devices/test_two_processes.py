"""Two processes under `jax.distributed` train a graph network on the demonstration's graphs as one process does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from two_processes import losses

SCRIPT = Path(__file__).parent / "two_processes.py"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.compiled
@pytest.mark.usefixtures("x64")
def test_two_processes_have_the_losses_of_one() -> None:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(SCRIPT.parents[2]), "XLA_FLAGS": ""}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # much is compiled, little is run
    port = str(free_port())

    def start(number: int) -> subprocess.Popen[str]:
        words = [sys.executable, str(SCRIPT), str(number), "2", port]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    processes = [start(0), start(1)]
    try:
        alone = losses(None)  # by this process, while the others start
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    first, second = (json.loads(output.splitlines()[-1]) for output, _ in outputs)
    assert first["devices"] == second["devices"] == [2, 1]
    assert first["losses"] == second["losses"]
    np.testing.assert_allclose(first["losses"], alone, rtol=3e-7)  # reported in float32
    assert alone[1][0] < alone[0][0]  # and it learns
