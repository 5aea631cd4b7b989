"""Public tests of equivariance."""

from equikit.testing._equivariance import assert_equivariant, equivariance_error

__all__ = ["assert_equivariant", "equivariance_error"]
