"""Next steps of audits that are code, as `CALL` in `test_steps_as_code.py`."""

import os
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import equikit as ek

DATA = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)


def audited(**options: Any) -> Any:
    return ek.audit(np.sin, "p -> p", **{"p": ek.S(9), "batch": (1,)} | options)


def saved(code: str) -> None:
    """Save to the file of a step, in a folder for the test."""
    before = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            eval(code, {"report": audited(channels=1)})
            assert pathlib.Path("report.html").exists()
        finally:
            os.chdir(before)


def of_one_sample(x: Any) -> Any:
    return jnp.sum(x.reshape(4, 3) ** 2, axis=1)


def of_points(function: Any = of_one_sample) -> Any:
    return ek.audit(function, "p x -> p", p=ek.S, x=ek.O(3), data=DATA, channels=False, draws=40)


def total(x: Any, mask: Any) -> Any:
    return jnp.einsum("bpqc,bp->bc", x, mask["p"] * 1.0)


def masked(mask: Any) -> Any:
    return ek.audit(total, "p q -> ()", p=ek.S, q=ek.S, data=DATA[..., None], mask=mask, draws=40)


CALL: dict[str, tuple[Any, str, Any]] = {
    "too-few-draws": (
        lambda **options: audited(channels=1, **{"draws": 2} | options),
        "draws=36",
        None,
    ),
    "no-channels": (audited, "channels=1", None),
    "data-without-samples": (
        lambda **options: audited(**options or {"data": np.ones((0, 9, 1))}),
        "channels=1",
        None,
    ),
    "an-audit-of-a-function-of-one-sample": (
        of_points,
        "jax.vmap(function)",
        lambda code: of_points(eval(code, {"jax": jax, "function": of_one_sample})),
    ),
    "an-audit-of-free-groups-without-channels": (
        lambda **options: ek.audit(
            lambda x: jnp.stack([jnp.sum(x**2, (1, 2))] * 2, -1),
            "p x -> c",
            **{"p": ek.S, "x": ek.O, "c": ek.Fixed(2), "data": DATA, "draws": 40} | options,
        ),
        "channels=False",
        None,
    ),
    "an-audit-with-a-mask-without-its-label": (
        lambda mask=DATA[..., 0] > 0: masked(mask),
        'mask={"p": ...}',
        lambda code: masked(eval(code.removeprefix("mask=").replace("...", "present"), {"present": DATA[..., 0] > -9})),
    ),
    "an-audit-with-a-mask-of-numbers": (
        lambda: masked({"p": np.ones((6, 4))}),
        "mask.astype(bool)",
        lambda code: masked({"p": eval(code, {"mask": np.ones((6, 4))})}),
    ),
    "a-report-in-a-text-file": (
        lambda: audited(channels=1).save("report.txt"),
        'report.save("report.html")',
        saved,
    ),
}
