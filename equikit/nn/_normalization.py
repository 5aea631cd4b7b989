"""Normalization that commutes with permutations and with groups of orthogonal matrices."""

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
from equikit._masks import present
from equikit.nn._features import Features, mixed, not_permuted
from equikit.nn._linear import checked_dtypes, is_complex
from equikit.nn._termwise import Arrays, Termwise, refuse_without_norm
from equikit.nn.initializers import filled
from equikit.plans import Feature, Masks
from equikit.signatures import Term


def widened(array: Feature) -> Feature:
    """An array in float32 at least: in half precision squares overflow where the features do not."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


class RMSNorm(Termwise):
    r"""Divide features by their root mean square, which orthogonal matrices preserve, and scale channels.

    \(y = g \odot x / \sqrt{\mathrm{mean}(x^2) + \epsilon}\). The mean runs over the channels of a term and its axes,
    except those that are only permuted: every node of a graph is normalized by itself.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        epsilon: added to the mean square.
        param_dtype: dtype of the scales.
        rngs: not used, as the scales begin at one; taken so that all layers are made alike.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        scale: name of a term to a parameter `[channels]`.

    Raises:
        OptionError: if a group does not preserve the sum of squares, such as boosts and symplectic matrices.

    Example:
        >>> from equikit import O
        >>> norm = RMSNorm({"x": 1}, x=O(2))
        >>> bool(jnp.allclose(norm({"x": jnp.array([[3.0], [4.0]])})["x"][:, 0], jnp.array([3.0, 4.0]) / 12.5**0.5))
        True

    Source:
        Zhang and Sennrich, Root mean square layer normalization, arXiv:1910.07467.
    """

    def __init__(
        self,
        features: Features,
        *,
        epsilon: float = 1e-6,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        super().__init__(features, rngs, groups, bindings)
        refuse_without_norm(self.signature)
        self.epsilon: float = _checks.number("epsilon", epsilon, above=0, example=1e-6, traced=False)
        stored = _checks.dtype("param_dtype", param_dtype)
        self.scale = self._filled(1, stored)

    def _filled(self, value: float, dtype: jnp.dtype, *, centered: bool = False) -> nnx.Dict[nnx.Param[jax.Array]]:
        """A parameter of every term, or of those whose mean is subtracted."""
        terms = zip(self.signature.inputs, self.widths, strict=True)
        own = {term.name: width for term, width in terms if not (centered and mixed(self.signature, term))}
        return nnx.Dict({name: nnx.Param(filled(value, (width,), dtype)) for name, width in own.items()})

    def __call__(self, x: Arrays, *, mask: Masks | None = None) -> Arrays:
        """Normalize an array `[*batch, *axes, channels]` or a dictionary of arrays; entries that are zero stay so.

        Args:
            x: a dictionary with an array for each term, or the array alone where there is one term.
            mask: for a label, booleans `[*batch, n]`: which entries are present; absent entries are zero in the result.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
        """
        return self._each(x, mask, self._normalized)

    def _normalized(self, term: Term, array: Feature, masks: Mapping[str, jax.Array]) -> Feature:
        wide = widened(array)
        square = jnp.mean(jnp.abs(wide) ** 2, axis=(*not_permuted(self.signature, term), -1), keepdims=True)
        scale = self.scale[term.name][...].astype(array.dtype)
        return (wide / jnp.sqrt(square + self.epsilon)).astype(array.dtype) * scale


class LayerNorm(RMSNorm):
    r"""Layer normalization of invariants and permuted features, and division of vectors by their root mean square.

    A term whose axes are only permuted, or plain, becomes \(g \odot (x - m) / \sqrt{\mathrm{mean}((x - m)^2) +
    \epsilon} + b\), m being the mean over its channels and plain axes: every node of a graph is normalized by itself.
    Any other term is normalized by `RMSNorm`: vectors plus a constant would not be equivariant.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        epsilon: added to the variance, or to the mean square.
        param_dtype: dtype of the parameters.
        rngs: not used, as scales begin at one and biases at zero; taken so that all layers are made alike.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        scale: name of a term to a parameter `[channels]`.
        bias: the same for the terms whose mean is subtracted.

    Raises:
        OptionError: if a group does not preserve the sum of squares, such as boosts and symplectic matrices.

    Example:
        >>> from equikit import O, S
        >>> norm = LayerNorm({"p": 2, "p x": 1}, p=S, x=O(2))
        >>> y = norm({"p": jnp.array([[1.0, 3.0]]), "p x": jnp.array([[[3.0], [4.0]]])})
        >>> y["p"].round(3).tolist()
        [[-1.0, 1.0]]

    Source:
        Ba et al., Layer normalization, arXiv:1607.06450.
    """

    def __init__(
        self,
        features: Features,
        *,
        epsilon: float = 1e-6,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
        groups: Mapping[str, object] | None = None,
        **bindings: object,
    ) -> None:
        super().__init__(features, epsilon=epsilon, param_dtype=param_dtype, rngs=rngs, groups=groups, **bindings)
        self.bias = self._filled(0, _checks.dtype("param_dtype", param_dtype), centered=True)

    def _normalized(self, term: Term, array: Feature, masks: Mapping[str, jax.Array]) -> Feature:
        if term.name not in self.bias:
            return super()._normalized(term, array, masks)
        wide = widened(array)
        wide = wide - jnp.mean(wide, axis=(*not_permuted(self.signature, term), -1), keepdims=True)
        scaled = super()._normalized(term, wide, masks).astype(array.dtype)
        return scaled + self.bias[term.name][...].astype(array.dtype)


class BatchNorm(Termwise):
    r"""Batch normalization: statistics of every channel over the batch and all axes, with running averages.

    A term whose axes are only permuted, or plain, becomes \(g \odot (x - m) / \sqrt{v + \epsilon} + b\) with the mean
    and variance of each channel. Any other term is divided by the root of its mean square, which orthogonal matrices
    preserve, and scaled. Absent entries are not counted: padding changes no statistics. A batch without a present entry
    leaves the running averages as they are.

    While `use_running_average` is false the statistics are those of the batch, and the running averages are updated:
    the layer then commutes with other elements of the group on each sample. `model.train()` and `model.eval()` set it.

    Args:
        features: the input and output features, in a dictionary as for `Linear`.
        momentum: the share of the running averages that an update keeps.
        epsilon: added to the variance, or to the mean square.
        use_running_average: whether to normalize by the running averages, as after training.
        param_dtype: dtype of parameters and averages; by default float32, or complex64 if a group is complex.
        rngs: not used, as scales begin at one and biases at zero; taken so that all layers are made alike.
        groups: the group of each label, as a dictionary; labels may also be given as keywords.
        **bindings: labels with their groups.

    Attributes:
        scale: name of a term to a parameter `[channels]`.
        bias, mean: the same for the terms whose mean is subtracted; `mean` holds running averages, `nnx.BatchStat`.
        var: name of a term to the running average `[channels]` of the variance, or of the mean square.

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

    def __call__(self, x: Arrays, *, mask: Masks | None = None, use_running_average: bool | None = None) -> Arrays:
        """Normalize an array `[*batch, *axes, channels]` or a dictionary of arrays, and update the running averages.

        Args:
            x: a dictionary with an array for each term, or the array alone where there is one term.
            mask: for a label, booleans `[*batch, n]`: which entries are present; absent entries are zero in the result.
            use_running_average: in place of the layer's own.

        Raises:
            ShapeError, DTypeError: if an array does not fit; nothing is broadcast or cast silently.
        """
        if use_running_average is None:
            use_running_average = self.use_running_average
        running = _checks.flag("use_running_average", use_running_average)

        def normalized(term: Term, array: Feature, masks: Mapping[str, jax.Array]) -> Feature:
            self._refuse_complex(term, array)
            wide = widened(array)
            mean, var = self._averages(term) if running else self._statistics(term, wide, masks)
            scale, bias = (part[term.name][...] if term.name in part else 0 for part in (self.scale, self.bias))
            return ((wide - mean) * lax.rsqrt(var + self.epsilon) * scale + bias).astype(array.dtype)

        return self._each(x, mask, normalized)

    def _refuse_complex(self, term: Term, array: Feature) -> None:
        """Raise `DTypeError` where running averages would drop the imaginary part of a mean."""
        if term.name in self.mean and is_complex(array.dtype) and not is_complex(self.mean[term.name].dtype):
            raise DTypeError(
                f"input {term.name!r} is complex, and the running average of its mean is real",
                got=f"dtype {array.dtype}",
                expected="real numbers, or a layer with complex averages",
                step="write param_dtype=jnp.complex64",
            )

    def _averages(self, term: Term) -> tuple[jax.Array, jax.Array]:
        """The running averages of the mean, zero where none is subtracted, and of the variance."""
        var: jax.Array = self.var[term.name][...]
        return self.mean[term.name][...] if term.name in self.mean else jnp.zeros((), var.dtype), var

    def _statistics(self, term: Term, array: Feature, masks: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """The mean and variance of each channel over present entries, which also go into the running averages."""
        batch, axes = array.ndim - 1 - len(term.labels), tuple(range(array.ndim - 1))
        keep = jnp.broadcast_to(present(term.labels, masks, array.ndim, batch), (*array.shape[:-1], 1))
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
