"""Next steps of `ek.weightspace.load` that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import numpy as np

from equikit import weightspace

SQUARE = {"a": np.ones((3, 3)), "of a": np.ones(3)}
CHECKPOINT = {"fc.weight": np.ones((3, 3)), "fc.bias": np.ones(3)}
TWO = {f"{name}/bias": np.ones(3) for name in ("one", "two")}
GIVEN = {"one": "first", "two": "last"}
X = np.ones((2, 3))
TWICE = {**SQUARE, "b": np.ones((3, 3))}
OF_TWO = {f"{name}.bias": np.ones(3) for name in ("first", "last")}


def of_square(params: Any, x: Any) -> Any:
    return x @ params["a"] + params["of a"]


def of_deep(params: Any, x: Any) -> Any:
    return (x @ params["a"] + params["of a"]) ** 2 @ params["b"]


SPEC, DEEP = weightspace.trace(of_square, SQUARE, X), weightspace.trace(of_deep, TWICE, X)


def loaded(checkpoint: Any = OF_TWO, params: Any = TWO, **options: Any) -> Any:
    return weightspace.load(checkpoint, params, **options)


def with_options(checkpoint: Any, params: Any) -> Any:
    """Evaluate the keywords of a step, and load with them."""

    def run(code: str) -> None:
        assert loaded(checkpoint, params, **eval(f"dict({code})"))

    return run


def with_the_model(code: str) -> None:
    names = {"weightspace": weightspace, "load": weightspace.load, "checkpoint": CHECKPOINT, "params": SQUARE}
    assert eval(code, names | {"apply": of_square, "x": X})


CALL: dict[str, tuple[Any, str, Any]] = {
    "parameter-with-two-arrays": (
        loaded,
        'names={"one": "first"}',
        with_options(OF_TWO, TWO),
    ),
    "arrays-that-are-left": (
        lambda: loaded({**OF_TWO, "rest.weight": np.ones(7)}, names=GIVEN),
        "strict=False",
        lambda code: loaded({**OF_TWO, "rest.weight": np.ones(7)}, names=GIVEN, **eval(f"dict({code})")),
    ),
    "inputs-or-outputs": (
        lambda: loaded(CHECKPOINT, SQUARE),
        "load(checkpoint, params, apply=apply, x=x)",
        with_the_model,
    ),
    "networks-of-a-slerp": (
        lambda: merged(how="slerp", count=3),
        'how="mean"',
        lambda code: merged(count=3, **eval(f"dict({code})")),
    ),
    "ties-without-a-base": (
        lambda: merged(how="ties"),
        "base=params",
        lambda code: merged(how="ties", **eval(f"dict({code})", {"params": SQUARE})),
    ),
    "coefficients-of-networks": (
        lambda: merged(coefficients=[1.0]),
        "coefficients=[0.5, 0.5]",
        lambda code: merged(**eval(f"dict({code})")),
    ),
    "coefficients-that-are-no-list": (
        lambda: merged(coefficients=0.5),
        "coefficients=(0.5, 0.5)",
        lambda code: merged(**eval(f"dict({code})")),
    ),
    "network-without-statistics": (
        lambda: weightspace.repair(SPEC, of_square, SQUARE, [X]),
        "repair(spec, apply, params, batches, networks=[one, two])",
        lambda code: eval(
            code,
            {"repair": weightspace.repair, "spec": DEEP, "apply": of_deep, "params": TWICE, "batches": [X]}
            | {"one": TWICE, "two": TWICE},
        ),
    ),
}


def merged(count: int = 2, **options: Any) -> Any:
    return weightspace.merge(SPEC, [SQUARE] * count, **options)
