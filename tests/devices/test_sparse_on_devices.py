"""On eight virtual devices, layers on supports give what they give on one."""

import eight_devices_sparse
import pytest
from test_many_devices import run


@pytest.fixture(scope="module")
def found():
    return run("eight_devices_sparse.py", 8)


@pytest.mark.parametrize("name", eight_devices_sparse.CHECKS)
def test_eight_devices_agree_with_one_on_supports(name, found):
    assert isinstance(found[name], float), found[name]
    assert found[name] < 1e-12


@pytest.mark.slow
def test_eight_devices_agree_with_one_in_slow_checks_on_supports():
    found = run("eight_devices_sparse.py", 8, "slow")
    assert list(found) == [*eight_devices_sparse.SLOW]
    for name, error in found.items():
        assert isinstance(error, float), f"{name}: {error}"
        assert error < 1e-12, name
