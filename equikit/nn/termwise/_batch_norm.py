"""Batch normalization that commutes with permutations and with groups of orthogonal matrices."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from equikit import _checks
from equikit._errors import DTypeError
from equikit.nn._dtypes import checked_dtypes, is_complex
from equikit.nn._features import Features, mixed
from equikit.nn.initializers import filled
from equikit.nn.termwise._norms import widened
from equikit.nn.termwise._rows import Rows
from equikit.nn.termwise._termwise import Termwise, refuse_without_norm
from equikit.plans import Arrays, Feature, Masks
from equikit.signatures import Term
from equikit.supports import Support


class BatchNorm(Termwise):
    r"""Batch normalization: statistics of every channel over the batch and all axes, with running averages.

    A term whose axes are only permuted, or plain, becomes \(g \odot (x - m) / \sqrt{v + \epsilon} + b\) with the mean
    and variance of each channel. Any other term is divided by its root mean square, which orthogonal matrices preserve,
    and scaled. Absent entries are not counted, so padding does not change the statistics. A batch without present
    entries does not change the running averages. Features above 1e19 become zero, because their squares overflow.

    If `use_running_average` is false, the layer uses batch statistics and updates the running averages; it commutes
    even with different group elements on each sample. `model.train()` and `model.eval()` set the option.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        momentum: the weight of the old running averages in an update.
        epsilon: added to the variance, or to the mean square.
        use_running_average: whether to normalize by the running averages, as in evaluation.
        param_dtype: dtype of parameters and averages; by default float32, or complex64 if a group is complex.
        rngs: unused, because parameters start at one or zero; accepted for uniformity.
        groups: a dictionary from label to group; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        scale: maps the name of a term to a parameter `[channels]`.
        bias, mean: the same for the terms whose mean is subtracted; `mean` holds running averages, `nnx.BatchStat`.
        var: maps the name of a term to the running average `[channels]` of the variance, or of the mean square.

    Raises:
        OptionError: if a group does not preserve the sum of squares, such as boosts and symplectic matrices.

    Example:
        >>> from equikit import S
        >>> norm = BatchNorm({"p": 1}, p=S)
        >>> x, mask = jnp.array([[[1.0], [3.0], [9.0]]]), jnp.array([[True, True, False]])
        >>> norm(x, mask=mask).round(3).tolist()
        [[[-1.0], [1.0], [0.0]]]
        >>> norm.eval()
        >>> round(float(norm.mean["p"][0]), 3)
        0.02

    Source:
        Ioffe and Szegedy, Batch normalization, arXiv:1502.03167.
    """

    def __init__(
        self,
        features: Features,
        *,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        use_running_average: bool = False,
        param_dtype: DTypeLike | None = None,
        rngs: nnx.Rngs | None = None,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        super().__init__(features, rngs, groups, bindings)
        refuse_without_norm(self.signature)
        self.momentum: float = _checks.number("momentum", momentum, least=0, most=1, example=0.99, traced=False)
        self.epsilon: float = _checks.number("epsilon", epsilon, above=0, example=1e-5, traced=False)
        self.use_running_average = _checks.flag("use_running_average", use_running_average)
        _, stored = checked_dtypes(None, param_dtype, complex_group=self.signature.is_complex)
        every = dict(zip(self.signature.inputs, self.widths, strict=True))
        centered = {term: width for term, width in every.items() if not mixed(self.signature, term)}
        self.scale = nnx.Dict({term.name: nnx.Param(filled(1, (n,), stored)) for term, n in every.items()})
        self.bias = nnx.Dict({term.name: nnx.Param(filled(0, (n,), stored)) for term, n in centered.items()})
        wide = jnp.promote_types(stored, jnp.float32)  # in half precision an update would be rounded away
        real = np.zeros((), wide).real.dtype
        self.mean = nnx.Dict({term.name: nnx.BatchStat(filled(0, (n,), wide)) for term, n in centered.items()})
        self.var = nnx.Dict({term.name: nnx.BatchStat(filled(1, (n,), real)) for term, n in every.items()})

    def __call__(
        self,
        x: Arrays,
        *,
        mask: Masks | None = None,
        use_running_average: bool | None = None,
        support: Support | None = None,
    ) -> Arrays:
        """Normalize an array `[*batch, *axes, channels]` or a dictionary of arrays, and update the running averages.

        Args:
            x: a dictionary with an array for each term, or a single array if there is one term.
            mask: for a label, booleans `[*batch, n]`: which entries are present; absent entries are zero in the result.
            use_running_average: overrides the option of the layer.
            support: which entries of the axes of one label are present, as for `Linear`.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
        """
        if use_running_average is None:
            use_running_average = self.use_running_average
        running = _checks.flag("use_running_average", use_running_average)

        def normalized(term: Term, array: Feature, rows: Rows) -> Feature:
            self._refuse_complex(term, array)
            wide = widened(array)
            mean, var = self._averages(term) if running else self._statistics(term, wide, rows.keep(term, wide.ndim))
            scale, bias = (part[term.name][...] if term.name in part else 0 for part in (self.scale, self.bias))
            return ((wide - mean) * lax.rsqrt(var + self.epsilon) * scale + bias).astype(array.dtype)

        return self._each(x, mask, support, normalized)

    def _refuse_complex(self, term: Term, array: Feature) -> None:
        """Raise `DTypeError` if running averages would drop the imaginary part of a mean."""
        if term.name in self.mean and is_complex(array.dtype) and not is_complex(self.mean[term.name].dtype):
            raise DTypeError(
                f"input {term.name!r} is complex, and the running average of its mean is real",
                got=f"dtype {array.dtype}",
                expected="real numbers, or a layer with complex averages",
                step="write param_dtype=jnp.complex64",
            )

    def _averages(self, term: Term) -> tuple[jax.Array, jax.Array]:
        """Return the running averages of the mean, which is zero if not subtracted, and of the variance."""
        var: jax.Array = self.var[term.name][...]
        return self.mean[term.name][...] if term.name in self.mean else jnp.zeros((), var.dtype), var

    def _statistics(self, term: Term, array: Feature, keep: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Return the mean and variance of each channel over present entries, and update the running averages."""
        axes = tuple(range(array.ndim - 1))
        keep = jnp.broadcast_to(True if keep is None else keep, (*array.shape[:-1], 1))
        count = jnp.sum(keep, dtype=array.real.dtype)
        share = 1 / jnp.maximum(count, 1)
        mean = jnp.sum(array, axis=axes) * share if term.name in self.mean else jnp.zeros((), array.dtype)
        var = jnp.sum(jnp.abs(jnp.where(keep, array - mean, 0)) ** 2, axis=axes) * share
        for running, value in ((self.mean, mean), (self.var, var)):
            if term.name in running:
                old = running[term.name][...]
                new = self.momentum * old + (1 - self.momentum) * lax.stop_gradient(value).astype(old.dtype)
                running[term.name][...] = jnp.where(count > 0, new, old)
        return mean, var
