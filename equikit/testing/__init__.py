"""Public tests of equivariance."""

from equikit import _checks
from equikit.testing._equivariance import assert_equivariant, equivariance_error

__all__ = ["assert_equivariant", "equivariance_error"]

_checks.answer_misspelled(__name__)
