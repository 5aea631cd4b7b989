"""The entry to plans in PyTorch, which imports PyTorch only in a call."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from equikit import _checks
from equikit._errors import OptionError
from equikit.plans.readers._parts import Chained, Paired, Planned, parts_of

if TYPE_CHECKING:
    import torch


def to_torch(what: Any, weights: Mapping[str, Any] | Any | None = None) -> torch.nn.Module:
    r"""Return a plan or a layer as a `torch.nn.Module` with the same weights.

    The module runs the steps of the plan: \(y_s = \sum_t \sum_d D_d x_t W_{t s d}\). The steps are recorded once as a
    graph of PyTorch, so that `torch.compile` and `torch.export` see a list of operations.

    Args:
        what: a plan (`space.plan(...)`); or, with its weights, a layer `Linear`, `Invariant`, `Multilinear` or
            `Bilinear`, or a network `DeepSets` or `GraphNetwork` with an activation of `jax.nn`.
        weights: for a plan, its weights by name with the shapes of `weight_shapes(plan)`; for a multilinear plan a
            single array.

    Returns:
        A module with the arguments of the layer, such as `module(x, mask=..., sizes=...)`. The parameters of a plan are
            `module.weights[name]` with the names of `weight_shapes(plan)`, and `module.weights["kernel"]` for
            multilinear maps; other modules have modules for their plans. Inputs have the dtype of the parameters,
            except under `torch.autocast`. In half precision each step is rounded.

    Raises:
        MissingPackageError: if PyTorch is not installed.
        OptionError: for other layers and networks.
        ShapeError, DTypeError: if the weights do not fit.

    Cost: as in `apply`. The steps are recorded once, here.

    Example:
        >>> import importlib.util
        >>> import numpy as np
        >>> from equikit import S, hom
        >>> program, weights = hom("p -> p", p=S).plan(), {"p -> p": np.array([[[1.0]], [[10.0]]])}
        >>> if importlib.util.find_spec("torch"):
        ...     import torch
        ...     result = to_torch(program, weights)(torch.tensor([[1.0], [2.0]], dtype=torch.float64))
        ...     assert result.tolist() == [[31.0], [32.0]]
    """
    part = parts_of(what, weights)
    if isinstance(part, Planned) and part.weights is None:
        raise OptionError(
            "a module needs weights",
            got="a plan without weights",
            expected="the weights of the plan, by name",
            step="pass weights by name, with the shapes of weight_shapes(plan)",
        )
    _checks.package("torch", "torch")
    modules = importlib.import_module("equikit.plans.readers._torch")
    kinds = {Planned: modules.TorchPlan, Paired: modules.TorchBilinear, Chained: modules.TorchNetwork}
    module: torch.nn.Module = kinds[type(part)](part)
    return module
