"""Linear algebra in twice the precision of a dtype, and eigenvectors of small matrices."""

from equikit.numerics._axes import Axes, principal_axes, turning_rates
from equikit.numerics._double_word import (
    Double,
    double,
    matmul,
    matmul_error,
    minus,
    plus,
    power_of_two,
    rounding_error,
    scaled,
    square,
    times,
    total,
    transposed,
    two_sum,
    with_derivative,
)
from equikit.numerics._eigh import eigh
from equikit.numerics._rounding import rounding

__all__ = [
    "Axes",
    "Double",
    "double",
    "eigh",
    "matmul",
    "matmul_error",
    "minus",
    "plus",
    "power_of_two",
    "principal_axes",
    "rounding",
    "rounding_error",
    "scaled",
    "square",
    "times",
    "total",
    "transposed",
    "turning_rates",
    "two_sum",
    "with_derivative",
]
