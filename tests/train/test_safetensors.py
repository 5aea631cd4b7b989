"""Weights go through a safetensors file and come back, under names that other tools accept."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import equikit as ek


class Model(nnx.Module):
    """A layer of equikit, statistics, a low-precision array, and a state of random numbers."""

    def __init__(self, seed: int, width: int = 3) -> None:
        rngs = nnx.Rngs(seed)
        self.graphs = ek.nn.Network([{"p p": 2}, {"p p": 4, "p": width}, {"": 1}], p=ek.S, rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs)
        self.small = nnx.Param(jax.random.normal(rngs.params(), (2,), jnp.bfloat16))
        self.dropout = nnx.Dropout(0.1, rngs=rngs)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model, other, file = Model(0), Model(1), tmp_path / "model.safetensors"
    model.norm.mean[...] = jnp.array([1.0, 2.0])
    ek.train.save(model, file)
    before = jax.tree.map(np.asarray, nnx.state(other, nnx.Not(nnx.RngState)))
    loaded = ek.train.load(other, str(file))
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(other, nnx.Not(nnx.RngState)))  # a copy
    wanted, found = (nnx.state(one, nnx.Not(nnx.RngState)) for one in (model, loaded))
    jax.tree.map(np.testing.assert_array_equal, wanted, found)
    assert loaded.small.dtype == jnp.bfloat16
    x = {"p p": jax.random.normal(jax.random.key(0), (2, 4, 4, 2))}
    np.testing.assert_array_equal(model.graphs(x)[""], loaded.graphs(x)[""])


def test_names_have_letters_digits_and_dots(tmp_path: Path) -> None:
    ek.train.save(Model(0), tmp_path / "model.safetensors")
    names = load_file(tmp_path / "model.safetensors")
    assert {"graphs.linear.0.kernel.p_p_to_p", "graphs.head.bias.to", "norm.mean", "small"} <= names.keys()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in names)
    assert not any("rng" in name or "dropout" in name for name in names)


def test_the_dtype_of_the_model_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "linear.safetensors"
    save_file({"kernel": np.ones((2, 3), np.float16), "bias": np.zeros(3, np.float16)}, file)
    loaded = ek.train.load(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), file)
    assert loaded.kernel.dtype == jnp.float32
    np.testing.assert_array_equal(loaded.kernel[...], np.ones((2, 3)))


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    ek.train.save(Model(0), file)
    with pytest.raises(ek.OptionError, match="arrays of the file do not have the expected names") as error:
        ek.train.load(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), file)
    assert error.value.expected == "a dictionary with the names 'bias', 'kernel'"
    with pytest.raises(ek.ShapeError, match=r"array 'graphs\.bilinear\.0\.mix\.bias\.to_p' of the file") as shapes:
        ek.train.load(Model(0, width=5), file)
    assert (shapes.value.got, shapes.value.expected) == ("[1, 3]", "[1, 5]")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    linear = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    for path in (broken, tmp_path / "missing", tmp_path, 3):
        with pytest.raises(ek.OptionError, match="path= cannot be read") as error:
            ek.train.load(linear, path)  # type: ignore[arg-type]
        assert error.value.step == 'write path="model.safetensors"'
    for path in (tmp_path / "no folder" / "file", tmp_path, None):
        with pytest.raises(ek.OptionError, match="path= cannot be written"):
            ek.train.save(linear, path)  # type: ignore[arg-type]
    with pytest.raises(ek.OptionError, match="model= must be a Module"):
        ek.train.save({"kernel": jnp.ones(2)}, broken)  # type: ignore[arg-type]


def test_names_that_coincide_are_refused(tmp_path: Path) -> None:
    class Twins(nnx.Module):
        def __init__(self) -> None:
            self.parts = nnx.Dict({"a b": nnx.Param(jnp.ones(1)), "a_b": nnx.Param(jnp.ones(1))})

    with pytest.raises(ek.OptionError, match=r"two variables of the model have the name 'parts\.a_b' in a file"):
        ek.train.save(Twins(), tmp_path / "model.safetensors")
