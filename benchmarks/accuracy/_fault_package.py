"""The fault in issue 14 of symm-learning: hidden features of eMLP that pointwise nonlinearities do not commute with.

The package needs escnn, which needs lie_learn. The release of lie_learn on PyPI lacks a Cython file, so it has to be
built from its repository.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

import equikit as ek
from benchmarks.accuracy._fault_models import Suspect

SOURCE = "https://github.com/Danfoa/symmetric_learning/issues/14"


def models(seed: int = 0) -> dict[str, Suspect]:
    """Return eMLP for the symmetries of a pentagon with irreducible hidden features, and with regular ones.

    Raises:
        ImportError: if the package is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escnn warns that py3nj is missing, which it does not need here
        from escnn.group import DihedralGroup
        from symm_learning.models.emlp import eMLP

        pentagon = DihedralGroup(5)
        irrep = pentagon.irrep(1, 1)
        torch.manual_seed(seed)
        networks = [eMLP(irrep, irrep, [20, 20], hidden_rep=hidden).eval() for hidden in (irrep, None)]
    group = ek.MatrixGroup([np.round(irrep(g), 12) for g in pentagon.generators], name="D5")
    x = torch.tensor(np.random.default_rng(seed).normal(size=(64, 2, 1)), dtype=torch.float32)

    def on_columns(model: Any) -> Any:
        return lambda x: model(x[..., 0])[..., None]

    wrong, right = (Suspect(on_columns(model), "x -> x", x, {"x": group}) for model in networks)
    return {
        "eMLP, irreducible features": Suspect(wrong.model, wrong.signature, x, wrong.groups, fault="net.1"),
        "eMLP, regular features": right,
    }
