"""Weights go through a safetensors file and come back, under names that other tools accept."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import equikit as ek
from equikit.train._safetensors import DTYPES


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
    with pytest.raises(ek.OptionError, match="arrays of the file do not have the names of the model") as error:
        ek.train.load(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), file)
    unexpected = "20 names that the model does not have, the first is 'graphs.bilinear.0.left.bias.to_p_p'"
    assert error.value.got == unexpected
    assert error.value.expected == "2 names that the file does not have, the first is 'bias'"
    with pytest.raises(ek.ShapeError, match=r"array 'graphs\.bilinear\.0\.mix\.bias\.to_p' of the file") as shapes:
        ek.train.load(Model(0, width=5), file)
    assert (shapes.value.got, shapes.value.expected) == ("[1, 3]", "[1, 5]")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    linear = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    for path in (broken, tmp_path / "missing", tmp_path, 3, "~nosuchuser/file", "null\0", "/dev/null"):
        with pytest.raises(ek.OptionError, match="path= cannot be read") as error:
            ek.train.load(linear, path)  # type: ignore[arg-type]
        assert error.value.step == 'write path="model.safetensors"'
    for path in (tmp_path / "no folder" / "file", tmp_path, None, "~nosuchuser/file", "null\0", "/dev/full"):
        with pytest.raises(ek.OptionError, match="path= cannot be written"):
            ek.train.save(linear, path)  # type: ignore[arg-type]
    with pytest.raises(ek.OptionError, match="model= must be a Module"):
        ek.train.save({"kernel": jnp.ones(2)}, broken)  # type: ignore[arg-type]


def holder(**values: Any) -> nnx.Dict:
    """A module with these attributes."""
    return nnx.Dict(values)


def loaded(model: nnx.Module, values: dict[str, Any], folder: Path) -> Any:
    save_file({name: np.asarray(value) for name, value in values.items()}, folder / "values")
    return ek.train.load(model, folder / "values")


def test_names_that_coincide_are_refused(tmp_path: Path) -> None:
    twins = holder(parts=holder(**{"0": nnx.Param(jnp.ones(1))}), **{"parts.0": nnx.Param(jnp.ones(1))})
    ek.train.save(twins, tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors").keys() == {"parts.0", "parts%2E0"}
    signatures = holder(**{"-> p p": nnx.Param(jnp.ones(1)), "->p p": nnx.Param(jnp.ones(1))})
    with pytest.raises(ek.OptionError, match=r"two variables of the model have the name 'to_p_p' in a file"):
        ek.train.save(signatures, tmp_path / "model.safetensors")


def test_other_names_are_other_names_in_a_file(tmp_path: Path) -> None:
    names = ["k", "_k", "k_", "a b", "a_b", "a%20b", "d", "dé", "de\u0301", "d日", "value", "", "\ud800", "p, p -> p"]
    model = holder(**{name: nnx.Param(jnp.full(2, float(i))) for i, name in enumerate(names)})
    ek.train.save(model, tmp_path / "model.safetensors")
    found = {name: int(array[0]) for name, array in load_file(tmp_path / "model.safetensors").items()}
    assert [found[name] for name in ("k", "_k", "k_", "a%20b", "a_b", "a%2520b", "d", "dé", "de%CC%81", "d日")] == [
        *range(10)
    ]
    assert len(found) == len(names)
    assert found["p%2C_p_to_p"] == len(names) - 1
    again = ek.train.load(model, tmp_path / "model.safetensors")
    jax.tree.map(np.testing.assert_array_equal, nnx.state(again), nnx.state(model))
    with pytest.raises(ek.OptionError, match="names of the model"):
        ek.train.load(holder(é=nnx.Param(jnp.ones(1))), saved(holder(ü=nnx.Param(jnp.ones(1))), tmp_path))


def saved(model: nnx.Module, folder: Path) -> Path:
    ek.train.save(model, folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize(
    ("model", "other"),
    [
        (("p p -> p", {"p": ek.S}), ("p p -> p", {"p": ek.S, "normalize": "sum"})),
        (("x -> x", {"x": ek.O(4)}), ("x -> x", {"x": ek.Sp(4)})),
        (("x -> x", {"x": ek.O(4)}), ("x -> x", {"x": ek.SO(4)})),
        (("x -> x", {"x": ek.O}), ("x -> x", {"x": ek.SO(4)})),
    ],
)
def test_weights_of_another_meaning_are_refused(model: Any, other: Any, tmp_path: Path) -> None:
    one, two = (
        ek.nn.Linear(signature, 2, 2, **options, rngs=nnx.Rngs(0), use_bias=False)
        for signature, options in (model, other)
    )
    assert ek.train.load(one, saved(one, tmp_path)) is not one
    with pytest.raises(ek.SignatureError, match="the saved layer has another"):
        ek.train.load(two, saved(one, tmp_path))
    ek.train.save(holder(layer=one, dropout=nnx.Dropout(0.1, rngs=nnx.Rngs(0))), tmp_path / "with dropout")
    assert ek.train.load(holder(layer=one), tmp_path / "with dropout")


def test_the_description_of_a_file(tmp_path: Path) -> None:
    layer, plain = ek.nn.Linear("p -> p", 2, 2, p=ek.S, rngs=nnx.Rngs(0)), nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    for model, wanted in (
        (layer, {"format": "flax", "equikit": json.dumps(ek.nn.describe(layer))}),
        (plain, {"format": "flax"}),
    ):
        with safe_open(saved(model, tmp_path), framework="numpy") as file:
            assert file.metadata() == wanted
    arrays = load_file(saved(layer, tmp_path))
    save_file(arrays, tmp_path / "bare")
    assert ek.train.load(layer, tmp_path / "bare")
    for text in ("no JSON", "3", "[]", "{}"):
        save_file(arrays, tmp_path / "broken", metadata={"equikit": text})
        with pytest.raises(ek.OptionError, match="the description does not come from"):
            ek.train.load(layer, tmp_path / "broken")


def test_the_given_model_and_its_arrays_stay(tmp_path: Path) -> None:
    arrays = [np.zeros(2), np.zeros(2), np.zeros(2, ">f4"), np.zeros((2, 2), order="F")]
    plain, swapped, transposed = (nnx.Variable(array) for array in arrays[1:])
    model = holder(
        attribute=nnx.data(arrays[0]), plain=plain, swapped=swapped, transposed=transposed, jax=nnx.data(jnp.zeros(2))
    )
    file = saved(jax.tree.map(lambda leaf: leaf + np.arange(2).astype(leaf.dtype), model), tmp_path)
    found = ek.train.load(model, file)
    assert not any(array.any() for array in arrays)
    assert not np.any(model["jax"])
    for name in ("attribute", "plain", "swapped", "jax"):
        assert np.asarray(found[name]).tolist() == [0, 1]
        assert found[name].dtype == model[name].dtype
    assert found["transposed"][...].tolist() == [[0, 1], [0, 1]]
    assert isinstance(found["attribute"], np.ndarray)


def test_tied_variables_stay_tied(tmp_path: Path) -> None:
    shared = nnx.Param(jnp.zeros(2))
    found = loaded(holder(a=shared, b=shared), {"a": jnp.ones(2, jnp.float32)}, tmp_path)
    assert found.a is found.b
    assert found.b[...].tolist() == [1, 1]


def test_numbers_and_trees_are_saved(tmp_path: Path) -> None:
    def make(x: float) -> nnx.Module:
        inner = nnx.Variable({"q": jnp.full(2, x), "rest": [np.full(1, x), None]})
        numbers = {"half": nnx.Param(x), "count": nnx.Variable(int(x)), "flag": nnx.Variable(x > 2)}
        return holder(scalar=nnx.Param(jnp.array(x)), **numbers, tree=inner, none=nnx.Variable(None))

    found = ek.train.load(make(1.1), saved(make(2.1), tmp_path))
    assert load_file(tmp_path / "saved")["scalar"].shape == found.scalar.shape == ()
    assert load_file(tmp_path / "saved").keys() == {"scalar", "half", "count", "flag", "tree.q", "tree.rest.0"}
    assert (found.half.get_value(), found.count.get_value(), found.flag.get_value()) == (2.1, 2, True)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(found), nnx.state(make(2.1)))


def test_keys_and_intermediate_values_are_left_out(tmp_path: Path) -> None:
    class Sowing(nnx.Module):
        def __init__(self, seed: int) -> None:
            self.kernel = nnx.Param(jnp.full(2, float(seed)))
            self.key, self.plain = nnx.Variable(jax.random.key(seed)), nnx.data(jax.random.key(seed))
            self.kept = nnx.Intermediate((jnp.full(2, float(seed)),))

    found = ek.train.load(Sowing(1), saved(Sowing(2), tmp_path))
    assert load_file(tmp_path / "saved").keys() == {"kernel"}
    assert found.kernel[0] == 2
    assert found.key[...] == found.plain == jax.random.key(1)
    assert found.kept.get_value()[0].tolist() == [1, 1]


def test_a_file_is_written_as_any_other(tmp_path: Path) -> None:
    model, file, link = nnx.Linear(2, 3, rngs=nnx.Rngs(0)), tmp_path / "file", tmp_path / "link"
    file.touch(mode=0o640)
    file.chmod(0o640)
    link.symlink_to(file)
    ek.train.save(model, link)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert ek.train.load(model, file)
    old = os.umask(0o027)
    try:
        ek.train.save(model, tmp_path / "new")
    finally:
        os.umask(old)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    ek.train.save(model, "/dev/null")
    assert Path("/dev/null").is_char_device()


UNSUPPORTED = [
    *(jnp.ones(2, dtype) for dtype in ("float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "int4")),
    *(np.ones(2, dtype) for dtype in (complex, object, "U3", "datetime64[s]", np.longdouble)),
    *("text", object(), 2**70),
]


@pytest.mark.parametrize("value", UNSUPPORTED, ids=lambda value: str(getattr(value, "dtype", type(value).__name__)))
def test_dtypes_that_files_do_not_have(value: Any, tmp_path: Path) -> None:
    model = holder(a=nnx.Variable(value))
    with pytest.raises(ek.DTypeError, match="variable 'a' of the model has a dtype that"):
        ek.train.save(model, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    with pytest.raises(ek.DTypeError, match="the variable for array 'a' of the file has a dtype that"):
        loaded(model, {"a": np.ones(2, np.float32)}, tmp_path)


def test_a_file_of_an_unsupported_dtype(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, jnp.float8_e4m3fn)}, tmp_path / "file")
    with pytest.raises(ek.DTypeError, match="array 'a' of the file has a dtype") as error:
        ek.train.load(holder(a=nnx.Param(jnp.ones(2))), tmp_path / "file")
    assert error.value.got == "F8_E4M3"


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_supported_dtypes_come_back(dtype: str, tmp_path: Path) -> None:
    value = np.array([0, 1, 1], dtype)
    found = ek.train.load(holder(a=nnx.Param(np.zeros(3, dtype))), saved(holder(a=nnx.Param(value)), tmp_path)).a
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[...], value)


@pytest.mark.parametrize(
    ("found", "old", "text"),
    [
        (np.complex64(1), np.float32(0), "another kind"),
        (np.float32(1), np.int32(0), "another kind"),
        (np.int32(1), np.float32(0), "another kind"),
        (np.int32(1), np.bool_(0), "another kind"),
        (np.float32(1), np.complex64(0), "another kind"),
        (np.int64(2**40), jnp.int32(0), "values that the model's dtype does not have"),
        (np.int32(-1), np.uint8(0), "values that the model's dtype does not have"),
        (np.uint64(2**63), np.int64(0), "values that the model's dtype does not have"),
        (np.float32(7e4), jnp.float16(0), "values that the model's dtype does not have"),
        (np.float64(1e39), jnp.float32(0), "values that the model's dtype does not have"),
        (np.float64(1e39), jnp.bfloat16(0), "values that the model's dtype does not have"),
    ],
)
def test_values_that_would_change_are_refused(found: Any, old: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ek.DTypeError, match=text):
        loaded(holder(a=nnx.Param(old)), {"a": found}, tmp_path)


def test_values_that_fit_are_loaded(tmp_path: Path) -> None:
    precise = loaded(holder(a=nnx.Variable(np.zeros(2))), {"a": np.array([0.1, 1e300])}, tmp_path)
    assert precise.a[...].tolist() == [0.1, 1e300]
    for dtype in (jnp.float16, jnp.bfloat16):
        rounded = loaded(holder(a=nnx.Param(jnp.zeros(3, dtype))), {"a": np.float32([0.1, np.inf, np.nan])}, tmp_path).a
        np.testing.assert_array_equal(rounded[...].astype(float), np.array([0.1, np.inf, np.nan], dtype).astype(float))
    assert loaded(holder(a=nnx.Param(jnp.int32(0))), {"a": np.int64(7)}, tmp_path).a == 7


def test_a_dtype_that_jax_would_change_is_refused(tmp_path: Path) -> None:
    model = holder(a=nnx.Param(jax.ShapeDtypeStruct((), np.float64)))
    with pytest.raises(ek.DTypeError, match="cannot be float64 while jax_enable_x64 is off"):
        loaded(model, {"a": np.float64(1)}, tmp_path)


def test_models_without_values(tmp_path: Path) -> None:
    def make() -> nnx.Module:
        return ek.nn.Linear("p -> p", 2, 3, p=ek.S, rngs=nnx.Rngs(0))

    with pytest.raises(ek.OptionError, match=r"variable 'bias\.to_p' of the model has no values"):
        ek.train.save(nnx.eval_shape(make), tmp_path / "file")
    found = ek.train.load(nnx.eval_shape(make), saved(make(), tmp_path))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(found), nnx.state(make()))
    random = nnx.eval_shape(lambda: Model(0))
    with pytest.raises(ek.OptionError, match="states of random number generators have no values"):
        ek.train.load(random, saved(Model(0), tmp_path))
    deleted = holder(a=nnx.Param(jnp.ones(2)))
    deleted.a[...].delete()
    with pytest.raises(ek.OptionError, match="variable 'a' of the model has no values here"):
        ek.train.save(deleted, tmp_path / "file")


def test_traced_models(tmp_path: Path) -> None:
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ek.OptionError, match="variable 'bias' of the model must not be traced"):
        nnx.jit(lambda model: ek.train.save(model, tmp_path / "file"))(model)
    file = saved(model, tmp_path)
    other = nnx.Linear(2, 3, rngs=nnx.Rngs(1))
    found = nnx.jit(lambda other: ek.train.load(other, file)(jnp.ones(2)))(other)
    np.testing.assert_allclose(found, model(jnp.ones(2)), rtol=1e-6)


@pytest.mark.parametrize("kind", list(jax.sharding.AxisType))
def test_shardings_are_kept(kind: jax.sharding.AxisType, tmp_path: Path) -> None:
    mesh = jax.make_mesh((1,), ("d",), axis_types=(kind,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    model = holder(a=nnx.Param(jax.device_put(np.arange(2.0), sharding)), b=nnx.Param(jnp.ones(2)))
    found = ek.train.load(model, saved(model, tmp_path))
    assert found.a[...].sharding == sharding
    assert not found.b[...].committed
    assert found.a[...].tolist() == [0, 1]


def test_a_sharded_model_without_values(tmp_path: Path) -> None:
    def make() -> nnx.Module:
        return nnx.Linear(2, 2, kernel_metadata={"out_sharding": (None, "d")}, rngs=nnx.Rngs(0))

    with jax.set_mesh(jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))):
        model, abstract = make(), nnx.eval_shape(make)
        found = ek.train.load(abstract, saved(model, tmp_path))
        assert found.kernel[...].sharding == model.kernel[...].sharding
    with pytest.raises(ek.OptionError, match="sharded over a mesh without devices"):
        ek.train.load(abstract, tmp_path / "saved")
