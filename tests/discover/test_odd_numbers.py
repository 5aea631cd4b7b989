"""Numbers of odd kinds: bfloat16 is read, complex numbers and texts are refused, and nothing is compared in silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import equikit as ek
from equikit.discover import LieGAN, permutations, subgroups, surrogate

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(100, 3, 1))
MASKED = np.ma.masked_array(X, mask=X > 1)
DATA = np.random.default_rng(0).normal(size=(4000, 3, 1))


def trained(x=X, y=None, **options):
    return LieGAN(hidden=(4,), **options).fit(x, y, epochs=1, key=KEY)


def test_bfloat16_is_read():
    rough = jnp.asarray(X, jnp.bfloat16)
    assert permutations(lambda x: np.asarray(x).sum((1, 2)) ** 3, rough, samples=1000).name == "S(3)"
    assert trained(rough).basis.shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("kind", "call", "text"),
    [
        (ek.DTypeError, lambda: permutations(lambda x: x.sum((1, 2)) * 1j, X), "outputs of the function must be real"),
        (ek.DTypeError, lambda: permutations((DATA, DATA[:, 0] * 1j)), "the outputs must be real numbers"),
        (ek.DTypeError, lambda: permutations((DATA, np.full(4000, "a"))), "the outputs must be real numbers"),
        (ek.ShapeError, lambda: permutations((DATA, 5.0)), "the outputs must have shape"),
        (ek.OptionError, lambda: permutations(DATA[..., :0]), "there are no channels of the points"),
        (ek.DTypeError, lambda: trained(y=X[:, 0, 0] * 1j), "the outputs must be real numbers"),
        (ek.DTypeError, lambda: trained(y=np.full(100, "a")), "the outputs must be real numbers"),
        (ek.OptionError, lambda: trained(y=X, outputs=lambda g: 1 / 0), "the function raises an exception"),
        (ek.OptionError, lambda: surrogate(X[:0], X[:0], key=KEY), "there are no numbers in the data"),
        (ek.OptionError, lambda: surrogate(X[:3], X[:3], key=KEY), "the number of samples"),
        (ek.DTypeError, lambda: permutations(MASKED), "the samples must not be a masked array"),
        (ek.DTypeError, lambda: permutations((X, MASKED)), "the outputs must not be a masked array"),
        (ek.DTypeError, lambda: permutations((X, MASKED), equivariant=True), "the outputs must not be a masked array"),
        (ek.DTypeError, lambda: permutations(np.sum, MASKED), "data must not be a masked array"),
        (ek.DTypeError, lambda: surrogate(MASKED, X, key=KEY), "data must not be a masked array"),
        (ek.DTypeError, lambda: surrogate(X, MASKED, key=KEY), "targets must not be a masked array"),
        (ek.DTypeError, lambda: trained(MASKED), "x must not be a masked array"),
        (ek.DTypeError, lambda: trained(y=MASKED), "the outputs must not be a masked array"),
        (ek.TooLargeError, lambda: subgroups(ek.S(7)), "too many elements for a table"),
    ],
)
def test_what_cannot_be_compared_is_refused(kind, call, text):
    with pytest.raises(kind, match=text):
        call()


@pytest.mark.parametrize("check", [ek.auditing.curl_error, ek.auditing.derivative_errors])
@pytest.mark.parametrize("x", [np.zeros((0, 3)), None, np.array([np.nan])])
def test_checks_of_derivatives_need_finite_entries(check, x):
    with pytest.raises(ek.OptionError, match=r"not finite|no entries"):
        check(jnp.tanh, x)
