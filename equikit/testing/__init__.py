"""Public tests of equivariance."""

from equikit import _keywords
from equikit.testing._equivariance import assert_equivariant, equivariance_error

__all__ = ["assert_equivariant", "equivariance_error"]

_keywords.answer_misspelled(__name__)
