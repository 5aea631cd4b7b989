"""Files that checkpoints are read from and written to, and checkpoints that are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
from checkpoint_states import drawn, of_linear
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file, save_file

from equikit import DTypeError, MissingPackageError, OptionError, ShapeError
from equikit.weightspace import NameMap, load, name_map

SMALL = {"dense": {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)}}
SMALL_STATE = drawn(of_linear("fc", 3, 2))


def of_shards(path: Path) -> Path:
    for name, array in SMALL_STATE.items():
        save_file({name: array}, path / f"{name}.safetensors")
    where = {name: f"{name}.safetensors" for name in SMALL_STATE}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return path / "model.safetensors.index.json"


def of_one_file(path: Path) -> Path:
    save_file(SMALL_STATE, path / "model.safetensors")
    return path / "model.safetensors"


def of_numpy(path: Path) -> Path:
    np.savez(path / "model.npz", **SMALL_STATE)
    return path / "model.npz"


def of_orbax(path: Path) -> Path:
    with orbax.checkpoint.StandardCheckpointer() as writer:
        writer.save(path / "step", {"params": SMALL_STATE})
    return path / "step"


@pytest.mark.parametrize("make", [of_one_file, of_shards, lambda path: of_shards(path).parent, of_numpy, of_orbax])
def test_files(make: Callable[[Path], Path], tmp_path: Path) -> None:
    found = load(str(make(tmp_path)), SMALL)
    assert_array_equal(found["dense"]["kernel"], SMALL_STATE["fc.weight"].T)
    assert_array_equal(found["dense"]["bias"], SMALL_STATE["fc.bias"])


def test_an_orbax_checkpoint_of_the_model_itself(tmp_path: Path) -> None:
    """Kernels of Flax have inputs first already, also square ones."""
    params = {"dense": {"kernel": drawn({"k": (3, 3)})["k"], "bias": np.zeros(3, np.float32)}}
    with orbax.checkpoint.StandardCheckpointer() as writer:
        writer.save(tmp_path / "step", params)
    assert_array_equal(load(tmp_path / "step", params)["dense"]["kernel"], params["dense"]["kernel"])


def test_what_training_scripts_wrap_around() -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": array for name, array in SMALL_STATE.items()}}
    assert_array_equal(load(wrapped, SMALL)["dense"]["bias"], SMALL_STATE["fc.bias"])


class Tensor:
    """What a tensor of PyTorch offers."""

    def __init__(self, array: np.ndarray, dtype: str) -> None:
        self.array, self.dtype, self.shape = array, dtype, array.shape

    detach = cpu = float = lambda self: self

    def numpy(self) -> np.ndarray:
        return self.array


def test_tensors_of_pytorch() -> None:
    state = {name: Tensor(array, "torch.bfloat16") for name, array in SMALL_STATE.items()}
    found = load(state, SMALL)["dense"]["bias"]
    assert_array_equal(found, SMALL_STATE["fc.bias"].astype(jnp.bfloat16).astype(np.float32))


def test_a_map_serves_every_checkpoint_of_the_architecture() -> None:
    names = name_map(SMALL_STATE, SMALL)
    assert isinstance(names, NameMap)
    other = drawn(of_linear("fc", 3, 2), seed=1)
    assert_array_equal(load(other, SMALL, names=names)["dense"]["kernel"], other["fc.weight"].T)
    abstract = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, SMALL))
    assert load(other, abstract, names=names)["dense"]["kernel"].dtype == jnp.float32
    with pytest.raises(OptionError, match="computed by a function"):
        name_map(SMALL_STATE, SMALL, names={"dense/bias": lambda arrays: arrays["fc.bias"]}).store(SMALL)


def test_a_map_is_for_one_architecture() -> None:
    names = name_map(SMALL_STATE, SMALL)
    turned = {**SMALL_STATE, "fc.weight": SMALL_STATE["fc.weight"].T}
    with pytest.raises(ShapeError, match="the array 'fc"):
        load(turned, SMALL, names=names)
    other = {"linear": SMALL["dense"]}
    for call in (lambda: load(SMALL_STATE, other, names=names), lambda: names.store(other)):
        with pytest.raises(OptionError, match="the parameters"):
            call()
    with pytest.raises(ShapeError, match="'dense/kernel'"):
        names.store({"dense": {"kernel": np.ones((2, 3)), "bias": np.ones(2)}})


def test_stored_arrays_go_through_a_file(tmp_path: Path) -> None:
    names = name_map(SMALL_STATE, SMALL)
    save_file(names.store(load(SMALL_STATE, SMALL)), tmp_path / "model.safetensors")
    found = load_file(tmp_path / "model.safetensors")
    for name, array in SMALL_STATE.items():
        assert_array_equal(found[name], array)


def test_parts_and_shared_arrays_are_written_back_whole() -> None:
    fused = drawn({"attn.in_proj_weight": (6, 2)})
    params = {"attn": {part: {"kernel": np.ones((2, 2))} for part in ("query", "key", "value")}}
    names = name_map(fused, params)
    assert_array_equal(names.store(load(fused, params))["attn.in_proj_weight"], fused["attn.in_proj_weight"])
    del params["attn"]["value"]
    some = name_map(fused, params, strict=False)
    with pytest.raises(OptionError, match="known in part"):
        some.store(params)
    table = drawn({"embed.weight": (5, 2)})
    tied = {"embed": {"embedding": np.ones((5, 2))}, "head": {"kernel": np.ones((2, 5))}}
    names = name_map(table, tied, names={"embed": "embed", "head": "embed"})
    found = load(table, tied, names=names)
    assert_array_equal(names.store(found)["embed.weight"], table["embed.weight"])
    with pytest.raises(OptionError, match="share the array"):
        names.store({"embed": found["embed"], "head": {"kernel": 2 * found["head"]["kernel"]}})


def test_folders_with_several_checkpoints(tmp_path: Path) -> None:
    for name in ("epoch_1", "epoch_2"):
        save_file(SMALL_STATE, tmp_path / f"{name}.safetensors")
    assert "has several checkpoints" in refused(OptionError, tmp_path)
    assert "two arrays of the checkpoint" in refused(OptionError, {"a.b": np.ones(2), "a": {"b": np.ones(2)}})


def refused(error: type[Exception], checkpoint: Any, like: Any = SMALL, **options: Any) -> str:
    with pytest.raises(error) as caught:
        load(checkpoint, like, **options)
    return str(caught.value)


def test_checkpoints_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    assert "'broken.safetensors' cannot be read" in refused(OptionError, broken)
    assert "'none.npz' cannot be read" in refused(OptionError, tmp_path / "none.npz")
    (tmp_path / "empty").mkdir()
    assert "'empty' cannot be read" in refused(OptionError, tmp_path / "empty")
    assert "neither a path nor a dictionary" in refused(OptionError, 3)
    assert "no arrays in the checkpoint" in refused(OptionError, {})


def test_pytorch_is_needed_for_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "model.pt").write_bytes(b"")
    assert "pip install torch" in refused(MissingPackageError, tmp_path / "model.pt")


def test_what_does_not_fit() -> None:
    assert "2 of 2 parameters have no array" in refused(OptionError, drawn({"fc.weight": (9, 9)}))
    more = SMALL_STATE | {"extra.weight": np.ones(7)}
    text = refused(OptionError, more)
    assert "1 of 3 arrays of the checkpoint belong to no parameter" in text
    assert "extra.weight [7]" in text
    assert_array_equal(load(more, SMALL, strict=False, names={"dense": "fc"})["dense"]["bias"], SMALL_STATE["fc.bias"])
    assert "does not fit 'dense/bias'" in refused(ShapeError, SMALL_STATE, names={"dense/bias": "fc.weight"})
    assert "dense/bias" in refused(OptionError, SMALL_STATE, names={"dense/bais": "fc.bias"})
    assert "fc.bias" in refused(OptionError, SMALL_STATE, names={"dense/bias": "fc.bais"})
    assert "names" in refused(OptionError, SMALL_STATE, names=["dense/bias"])
    assert "has no array of 'dense'" in refused(OptionError, SMALL_STATE, names={"dense": "nothing"})
    with_function = {"dense/bias": lambda arrays: arrays["fc.bias"]}
    assert "1 of 3 arrays" in refused(OptionError, more, names=with_function)
    also = {"dense/bias": lambda arrays: arrays["fc.bias"] + 0 * arrays["extra.weight"].sum()}
    assert_array_equal(load(more, SMALL, names=also)["dense"]["bias"], SMALL_STATE["fc.bias"])
    wrong = {"dense/bias": lambda arrays: np.ones(5)}
    assert "from the checkpoint" in refused(
        ShapeError, SMALL_STATE, names=wrong | {"dense/kernel": "fc.weight"}, strict=False
    )
    complex_ones = {name: array + 1j for name, array in SMALL_STATE.items()}
    assert "cannot hold" in refused(DTypeError, complex_ones)
    large = {name: array.astype(np.float64) * 1e300 for name, array in SMALL_STATE.items()}
    assert "cannot hold" in refused(DTypeError, large)
    half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), SMALL)
    assert load(SMALL_STATE, half)["dense"]["kernel"].dtype == jnp.bfloat16
