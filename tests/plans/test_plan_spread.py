"""The steps for arrays spread over devices give what the usual ones give, for every family and kind of step."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from helpers import bindings, every, partly_slow, random_inputs, random_masks, random_weights, sizes_of
from in_numpy import in_numpy

import equikit as ek
from equikit.plans import _apply, apply, plan
from equikit.plans.execution import _program

CASES: list[tuple[str, dict[str, Any], dict[str, int]]] = [
    *(
        (text, bindings(text), sizes_of(text, 3))
        for text in ("p p -> p p", "q p q -> p q", "f p g p -> p f", "p -> q p")
    ),
    ("p p + p + () -> p p + p + ()", {"p": ek.S(2)}, {"p": 2}),  # fewer points than blocks: weights have gaps
    ("x x -> x x", {"x": ek.Sp(4)}, {"x": 4}),
    ("m m m -> m", {"m": ek.Lorentz}, {"m": 4}),
    ("x x -> x x", {"x": ek.SO(3)}, {"x": 3}),
    ("p x -> p x x", {"p": ek.S, "x": ek.Z(3)}, {"p": 4, "x": 3}),
    ("u u* -> u u*", {"u": ek.GL(3)}, {"u": 3, "u*": 3}),
]


@pytest.mark.parametrize(
    ("case", "spread"),
    partly_slow(
        every(CASES, ["axes", "channels"]),
        lambda place: place % 4 in (0, 3) or place < 2,  # one and the other by turns
        [f"{text}, {groups}, {spread}" for (text, groups, _), spread in every(CASES, ["axes", "channels"])],
    ),
)
def test_same_values_and_gradients(case: Any, spread: Any, x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    text, groups, sizes = case
    space = ek.hom(text, **groups)
    inputs, outputs = len(space.signature.inputs), len(space.signature.outputs)
    the_plan = plan(space, (tuple(range(2, 2 + inputs)), tuple(range(3, 3 + outputs))), bias=True)
    weights, x = random_weights(the_plan), random_inputs(the_plan, sizes, (2,))
    masks = (
        random_masks(the_plan, sizes, (2,)) if all(group.permutes for group in space.signature.groups.values()) else {}
    )
    free = {} if "q" not in groups or text != "p -> q p" else {"q": sizes["q"]}

    def values() -> Any:
        def run(weights: Any, x: Any) -> Any:
            return apply(the_plan, x, weights, mask=masks, sizes=free, method="factored")

        def both(weights: Any, x: Any) -> Any:
            y, back = jax.vjp(run, weights, x)
            return y, back(jax.tree.map(jax.numpy.cos, y))

        return in_numpy(both, weights, x)

    expected = values()
    calls = []

    def spread_out(*arguments: Any, **options: Any) -> Any:
        calls.append(options["spread"])
        return _program.execute(*arguments, **options | {"spread": spread})

    monkeypatch.setattr(_apply, "execute", spread_out)
    found = values()
    assert calls == [None]
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
