"""Soft permutations: sorting with a derivative, doubly stochastic matrices, and how undecided they are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from equikit._errors import OptionError, ShapeError, explain
from equikit.groups._group import checked_size
from equikit.symmetrization._element import Array, permutation_matrix
from equikit.symmetrization._frame import Info

ASSIGNMENT = "assignment"
"""Under which name `info.more` has the soft permutation, `[places, entries]`."""


def sinkhorn(log_scores: Float[jax.Array, "*batch n n"], rounds: int = 20) -> Float[jax.Array, "*batch n n"]:
    r"""Make positive matrices doubly stochastic: divide rows by their sums, then columns, and so on.

    The limit is \(D_1 e^{L} D_2\) with diagonal matrices, the doubly stochastic matrix closest to \(e^{L}\) in relative
    entropy. After the last round the columns sum to one to rounding; the error of the row sums falls by a factor of
    \(\sigma_2^2\) with every round, \(\sigma_2 < 1\) the second singular value of the limit. It is near one, and many
    rounds are needed, where the limit falls into blocks nearly: where scores differ by much more than one.

    Args:
        log_scores: L, in floating point; sums are taken of exponentials that cannot overflow.
        rounds: how many times rows and columns are divided.

    Returns:
        The matrices, not their logarithms.

    Raises:
        ShapeError: if the last two axes are not square.
        OptionError: if `rounds` is not a whole number.

    Cost: 2 n² exponentials a round.

    Example:
        >>> matrix = sinkhorn(jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]]), rounds=20)
        >>> bool(jnp.allclose(matrix.sum(0), 1) and jnp.allclose(matrix.sum(1), 1, atol=1e-4))
        True

    Source:
        Sinkhorn and Knopp, Pacific J. Math. 21 (1967); Mena et al., Learning latent permutations with Gumbel-Sinkhorn
        networks, arXiv:1802.08665, section 2.2; the rate in Knight, SIAM J. Matrix Anal. Appl. 30 (2008).
    """
    if log_scores.ndim < 2 or log_scores.shape[-1] != log_scores.shape[-2]:
        raise ShapeError(
            explain(
                "the scores of an assignment are not square",
                got=f"shape {list(log_scores.shape)}",
                expected="[*batch, n, n], places by entries",
                step="give every entry a score for every place",
            )
        )
    checked_size("rounds", rounds)

    def once(_: int, logs: jax.Array) -> jax.Array:
        return _divided(_divided(logs, -1), -2)

    if not log_scores.size:
        return log_scores
    result: jax.Array = jnp.exp(jax.lax.fori_loop(0, rounds, once, log_scores))
    return result


def _divided(logs: jax.Array, axis: int) -> jax.Array:
    return logs - jax.nn.logsumexp(logs, axis=axis, keepdims=True)


def soft_sort(scores: Float[jax.Array, "*batch n"], temperature: float) -> Float[jax.Array, "*batch n n"]:
    r"""The logarithms of a soft permutation that sorts scores: \(-|s_{(i)} - s_j| / \tau\), rows normalised.

    Row i says which entry j comes i-th, ascending. As the temperature goes to zero, the rows become those of the
    permutation, where no scores are equal.

    Args:
        scores: s.
        temperature: τ.

    Cost: n² exponentials.

    Example:
        >>> matrix = jnp.exp(soft_sort(jnp.array([3.0, 1.0, 2.0]), 0.1))
        >>> matrix.argmax(-1).tolist()
        [1, 2, 0]

    Source:
        Prillo and Eisenschlos, SoftSort, arXiv:2006.16038, equation 4, whose order is descending.
    """
    ordered = jnp.sort(scores, axis=-1)
    return jax.nn.log_softmax(-jnp.abs(ordered[..., :, None] - scores[..., None, :]) / temperature, axis=-1)


def soft_permutation(scores: Array, there: Array | None, temperature: float, rounds: int) -> Array:
    """The doubly stochastic matrices `[*batch, n, n]` that sort scores softly; absent entries come last, in order."""
    if not scores.size:
        return jnp.zeros((*scores.shape, scores.shape[-1]), scores.dtype)
    if there is not None:
        # So far behind that nothing of the softmax is left; each by itself, so that rows and columns sum to one.
        last = jax.lax.stop_gradient(jnp.max(jnp.where(there, scores, -jnp.inf), axis=-1, keepdims=True))
        steps = 1000 * temperature * (1 + jnp.cumsum(~there, axis=-1))
        scores = jnp.where(there, scores, jnp.where(jnp.isfinite(last), last, 0) + steps)
    return sinkhorn(soft_sort(scores, temperature), rounds)


def straight_through(order: Array, soft: Array) -> Array:
    """The matrices `[*batch, n, n]` of orders, the elements that sort, with the derivative of soft permutations."""
    hard = permutation_matrix(order, soft.dtype)
    soft = jnp.swapaxes(soft, -1, -2)
    # In brackets, what is added is zero exactly.
    return hard + (soft - jax.lax.stop_gradient(soft))


def assignment_entropy(info: Info | Array) -> Any:
    r"""How undecided soft permutations are: the mean entropy of rows and columns, zero for permutations.

    \(-\frac{1}{n} \sum_{ij} P_{ij} \log P_{ij}\) for a doubly stochastic P, at most \(\log n\), and its mean over
    all samples. Added to a loss, with a factor such as 0.1, it keeps the soft permutation, by which derivatives go,
    near the one that is used.

    Args:
        info: what `sym(x, with_info=True)` returns, or matrices `[*batch, n, n]`.

    Raises:
        OptionError: if the info has no soft permutation.

    Example:
        >>> bool(jnp.allclose(assignment_entropy(jnp.full((4, 4), 0.25)), jnp.log(4.0)))
        True

    Source:
        Kim et al., Learning probabilistic symmetrization for architecture agnostic equivariance,
        arXiv:2306.02866.
    """
    matrix = info.more.get(ASSIGNMENT) if isinstance(info, Info) else info
    if matrix is None:
        assert isinstance(info, Info)
        raise OptionError(
            explain(
                "there is no soft permutation whose entropy could be taken",
                got=f"info.more of {sorted(info.more)}",
                expected=f"info.more[{ASSIGNMENT!r}]",
                step="use PermutationCanonicalization or Probabilistic in training; in evaluation there is none",
            )
        )
    some = matrix > 0
    entropy = -jnp.sum(jnp.where(some, matrix * jnp.log(jnp.where(some, matrix, 1)), 0), axis=(-2, -1))
    return jnp.mean(entropy) / max(matrix.shape[-1], 1)
