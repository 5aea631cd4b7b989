"""The pytest plugin of equikit: a fixture that asserts that a function is equivariant.

It is a module outside of the package: pytest imports neither equikit nor JAX before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def assert_equivariant() -> Callable[..., None]:
    """Return `equikit.testing.assert_equivariant` with a fixed random key, which `key=` replaces."""
    import jax

    from equikit import testing

    def check(function: Callable[..., object], *sides: object, **options: object) -> None:
        testing.assert_equivariant(function, *sides, **{"key": jax.random.key(0)} | options)  # type: ignore[arg-type]

    return check
