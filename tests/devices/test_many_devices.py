"""On eight virtual devices layers give what they give on one, and checkpoints are restored on two and on one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eight_devices import NAMES, SLOW

HERE = Path(__file__).parent


def run(script: str, devices: int, *arguments: object) -> Any:
    """The JSON that a script prints last, with a number of virtual devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(HERE.parents[1]),
    }
    words = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoint")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, float | str]:
    return run("eight_devices.py", 8, folder)


@pytest.mark.parametrize("name", NAMES)
def test_eight_devices_agree_with_one(name: str, found: dict[str, float | str]) -> None:
    error = found[name]
    assert isinstance(error, float), error
    assert error < 1e-12


@pytest.mark.slow
def test_eight_devices_agree_with_one_in_slow_checks() -> None:
    found = run("eight_devices.py", 8)
    assert list(found) == SLOW
    for name, error in found.items():
        assert isinstance(error, float), f"{name}: {error}"
        assert error < 1e-12, name


def test_every_check_ran(found: dict[str, float | str]) -> None:
    assert list(found) == NAMES


def test_a_checkpoint_of_eight_devices_is_restored_on_two_and_on_one(found: Any, folder: Path) -> None:
    assert found
    errors = run("restore.py", 2, folder)
    assert errors.keys() == {"2", "1"}
    assert max(errors.values()) < 1e-12
