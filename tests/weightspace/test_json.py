"""Specifications and elements are written as JSON and read back."""

import json
from typing import Any

import jax
import numpy as np
import pytest
from architectures import MODELS
from numpy.testing import assert_array_equal

from equikit import OptionError
from equikit.weightspace import from_json, to_json, trace

FEW = ("perceptron", "attention", "fused_attention", "scanned_layers", "siren", "dense_concatenation", "gated_units")
"""Together they have products, sums, indexed axes, nested labels, scalings and linear actions."""


@pytest.mark.parametrize("name", FEW)
def test_specifications_come_back(name: str) -> None:
    spec = trace(*MODELS[name]())
    again = from_json(to_json(spec))
    assert again == spec
    element = spec.random_element(key=jax.random.key(1))
    read = from_json(to_json(element))
    assert read.keys() == element.keys()
    for label, places in element.items():
        assert_array_equal(read[label], places)


def test_few_models_have_every_kind_of_value() -> None:
    text = "".join(to_json(trace(*MODELS[name]())) for name in FEW)
    kinds = {"Leaf", "Symbol", "Product", "Sum", "Indexed", "Scaling", "LinearAction", "Fraction", "S", "Fixed"}
    assert {kind for kind in kinds if f'"is": "{kind}"' not in text} == set()


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "[]",
        "{}",
        json.dumps({"format": 2, "specification": {}}),
        json.dumps({"format": 1, "specification": {"is": "Leaf", "name": "a", "axes": []}}),
        json.dumps({"format": 1, "specification": {"is": "Nobody"}}),
        json.dumps({"format": 1, "element": {"h0": ["a"]}}),
        json.dumps({"format": 2, "element": {"h0": [0, 1]}}),
        json.dumps({"format": 1, "element": {"h0": [0.5, 1]}}),
        json.dumps({"format": 1, "element": {"h0": [1, 1]}}),
        "[" * 100_000,
    ],
)
def test_texts_that_are_something_else(text: str) -> None:
    with pytest.raises(OptionError, match="neither a specification nor an element"):
        from_json(text)


FIELDS = json.loads(to_json(trace(*MODELS["perceptron"]())))["specification"]
CHANGES: list[dict[str, Any]] = [{name: value} for name in FIELDS if name != "is" for value in ([["x"]], None, 3)]


@pytest.mark.parametrize("changed", [*CHANGES, {"leaves": [FIELDS["leaves"][0] | {"name": 3}]}])
def test_fields_of_another_type(changed: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="neither a specification nor an element"):
        from_json(json.dumps({"format": 1, "specification": FIELDS | changed}))


@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_are_left_out(name: str) -> None:
    rest = {other: value for other, value in FIELDS.items() if other != name}
    with pytest.raises(OptionError, match="neither a specification nor an element"):
        from_json(json.dumps({"format": 1, "specification": rest}))


@pytest.mark.parametrize("value", [3, {"h0": np.array([0.5, 1.0])}])
def test_values_that_are_something_else(value: Any) -> None:
    with pytest.raises(OptionError):
        to_json(value)
