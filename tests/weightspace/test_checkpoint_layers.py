"""Arrays of checkpoints are matched with the layers of a model, and their axes arranged as in its parameters."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_states import State, convolved, drawn, linear, of_linear
from flax import nnx
from helpers import assert_error
from numpy.testing import assert_allclose, assert_array_equal

from equikit import OptionError
from equikit.weightspace import load, name_map


def applied(model: nnx.Module, params: Any, x: np.ndarray) -> np.ndarray:
    graph, _, rest = nnx.split(model, nnx.Not(nnx.RngState), ...)
    return np.asarray(nnx.merge(graph, params, rest)(jnp.asarray(x)))


def params_of(model: nnx.Module) -> Any:
    return nnx.state(model, nnx.Not(nnx.RngState))


def normalized(state: State, name: str, x: np.ndarray) -> np.ndarray:
    centered = x - x.mean(-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


PERCEPTRON = of_linear("0", 5, 8) | of_linear("2", 8, 8) | of_linear("4", 8, 3)


def perceptron(state: State, x: np.ndarray) -> np.ndarray:
    return linear(state, "4", np.maximum(linear(state, "2", np.maximum(linear(state, "0", x), 0)), 0))


def plain(params: Any, x: Any) -> Any:
    hidden = jax.nn.relu(jax.nn.relu(x @ params["a"] + params["of a"]) @ params["b"] + params["of b"])
    return hidden @ params["c"] + params["of c"]


PLAIN = {"a": (5, 8), "of a": (8,), "b": (8, 8), "of b": (8,), "c": (8, 3), "of c": (3,)}
X = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)


def test_names_of_the_same_layers() -> None:
    rngs, state = nnx.Rngs(0), drawn(PERCEPTRON)
    layers = [nnx.Linear(5, 8, rngs=rngs), jax.nn.relu, nnx.Linear(8, 8, rngs=rngs), jax.nn.relu]
    model = nnx.Sequential(*layers, nnx.Linear(8, 3, rngs=rngs))
    found = load(state, params_of(model))
    assert_allclose(applied(model, found, X), perceptron(state, X), atol=1e-5)
    assert str(name_map(state, params_of(model))).splitlines()[1] == "layers/0/kernel  0.weight.transpose(1, 0)"


def test_numbers_that_count_other_layers_are_not_names() -> None:
    """Layers 0, 1, 2 are not layers 0, 2, 4: the shapes would fit for 0 and 2."""
    state = drawn(of_linear("0", 8, 8) | of_linear("2", 8, 8) | of_linear("4", 8, 8))
    params = {f"Dense_{i}": {"kernel": np.ones((8, 8)), "bias": np.ones(8)} for i in range(3)}
    with pytest.raises(OptionError, match="6 of 6 parameters"):
        load(state, params)
    found = load(state, params, names={f"Dense_{i}": str(2 * i) for i in range(3)})
    for i in range(3):
        assert_array_equal(found[f"Dense_{i}"]["kernel"], state[f"{2 * i}.weight"].T)
        assert_array_equal(found[f"Dense_{i}"]["bias"], state[f"{2 * i}.bias"])


def test_names_that_are_alike_by_accident() -> None:
    """Two of three modules have equal names, but so that the third would get a wrong array."""
    params = {name: {"w": np.ones((4, 4)), "b": np.ones(4)} for name in ("linear", "linear_1", "linear_2")}
    names = ("linear_1", "linear_2", "linear_out")
    state = drawn({name: shape for one in names for name, shape in of_linear(one, 4, 4).items()})
    with pytest.raises(OptionError, match="2 of 6 parameters"):
        load(state, params)
    backbone = drawn(of_linear("linear_1", 4, 4) | of_linear("linear_2", 4, 4) | of_linear("head", 4, 2))
    params["linear"] = {"w": np.ones((4, 2)), "b": np.ones(2)}
    assert_array_equal(load(backbone, params)["linear"]["w"], backbone["head.weight"].T)


def test_choices_by_shape_need_all_arrays() -> None:
    """Without `strict`, what is left is not what is missing."""
    params = {"wq": {"kernel": np.ones((4, 4))}}
    with pytest.raises(OptionError, match="1 of 1 parameters"):
        load(drawn({"wk.weight": (4, 4), "wv.weight": (4, 6)}), params, strict=False)


def test_the_model_tells_inputs_from_outputs() -> None:
    state, params = drawn(PERCEPTRON), drawn(PLAIN)
    with pytest.raises(OptionError, match="do not tell the inputs of 'b' from its outputs"):
        load(state, params, names={"of a": "0.bias"})
    found = load(state, params, names={"of a": "0.bias"}, apply=plain, x=X)
    assert_allclose(np.asarray(plain(found, X)), perceptron(state, X), atol=1e-5)

    def turned(params: Any, x: Any) -> Any:
        hidden = jax.nn.relu(params["b"] @ jax.nn.relu(x @ params["a"] + params["of a"]).T + params["of b"][:, None])
        return hidden.T @ params["c"] + params["of c"]

    found = load(state, params, names={"of a": "0.bias"}, apply=turned, x=X)
    assert_array_equal(found["b"], state["2.weight"])
    assert_allclose(np.asarray(turned(found, X)), perceptron(state, X), atol=1e-5)


CONVOLUTIONS = {
    **{"features.0.weight": (4, 3, 3, 3), "features.0.bias": (4,)},
    **dict.fromkeys((f"features.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")), (4,)),
    **{"features.1.num_batches_tracked": (), "features.3.weight": (6, 4, 3, 3), "features.3.bias": (6,)},
    **of_linear("classifier", 6, 2),
}


class Convolutions(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, epsilon=1e-5, rngs=rngs)
        self.second = nnx.Conv(4, 6, (3, 3), padding="VALID", rngs=rngs)
        self.head = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.second(jax.nn.relu(self.norm(self.first(x)))).mean((1, 2)))


def test_convolutions_and_statistics() -> None:
    state = drawn(CONVOLUTIONS)
    state["features.1.running_var"] = np.abs(state["features.1.running_var"]) + 0.5
    x = np.random.default_rng(2).normal(size=(2, 7, 7, 3)).astype(np.float32)
    model = Convolutions(nnx.Rngs(0))
    mean, var, weight, bias = (
        state[f"features.1.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    hidden = (convolved(state, "features.0", x.transpose(0, 3, 1, 2)) - mean) / np.sqrt(var + 1e-5) * weight + bias
    hidden = convolved(state, "features.3", np.maximum(hidden, 0)).mean((2, 3))
    found = load(state, params_of(model))
    assert_allclose(applied(model, found, x), linear(state, "classifier", hidden), atol=1e-4)


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attn = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.norm1, self.norm2 = (nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs) for _ in range(2))
        self.up, self.down = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + self.down(jax.nn.relu(self.up(self.norm2(x))))


class Transformer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(11, 8, rngs=rngs)
        self.layers = nnx.List([Block(rngs) for _ in range(2)])
        self.head = nnx.Linear(8, 11, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


TRANSFORMER = {
    "model.embed.weight": (11, 8),
    **{
        name: shape
        for i in range(2)
        for name, shape in {
            f"model.layers.{i}.self_attn.in_proj_weight": (24, 8),
            f"model.layers.{i}.self_attn.in_proj_bias": (24,),
            **of_linear(f"model.layers.{i}.self_attn.out_proj", 8, 8),
            **of_linear(f"model.layers.{i}.linear1", 8, 16),
            **of_linear(f"model.layers.{i}.linear2", 16, 8),
            **{f"model.layers.{i}.norm{j}.{kind}": (8,) for j in (1, 2) for kind in ("weight", "bias")},
        }.items()
    },
    "model.head.weight": (11, 8),
}


def attended(state: State, name: str, x: np.ndarray, heads: int = 2) -> np.ndarray:
    projected = x @ state[f"{name}.in_proj_weight"].T + state[f"{name}.in_proj_bias"]
    n, width = x.shape
    q, k, v = (one.reshape(n, heads, -1).transpose(1, 0, 2) for one in np.split(projected, 3, -1))
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(width // heads)
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return linear(state, f"{name}.out_proj", (shares @ v).transpose(1, 0, 2).reshape(n, width))


def transformed(state: State, words: np.ndarray) -> np.ndarray:
    x = state["model.embed.weight"][words]
    for i in range(2):
        at = f"model.layers.{i}"
        x = x + attended(state, f"{at}.self_attn", normalized(state, f"{at}.norm1", x))
        hidden = np.maximum(linear(state, f"{at}.linear1", normalized(state, f"{at}.norm2", x)), 0)
        x = x + linear(state, f"{at}.linear2", hidden)
    return x @ state["model.head.weight"].T


def test_fused_projections_of_attention() -> None:
    state, model, words = drawn(TRANSFORMER), Transformer(nnx.Rngs(0)), np.array([3, 1, 10, 0])
    found = load(state, params_of(model))
    assert_allclose(applied(model, found, words[None])[0], transformed(state, words), atol=1e-4)
    back = name_map(state, params_of(model)).store(found)
    assert back.keys() == state.keys()
    for name, array in state.items():
        assert_array_equal(back[name], array)


def test_inputs_first_as_in_gpt2() -> None:
    """Biases show that the matrices of this checkpoint have their outputs last; a square one is like the others."""
    params = {"up": {"kernel": np.ones((4, 16)), "bias": np.ones(16)}}
    state = drawn({"c_fc.weight": (4, 16), "c_fc.bias": (16,)})
    assert_array_equal(load(state, params)["up"]["kernel"], state["c_fc.weight"])
    params |= {"square": {"kernel": np.ones((4, 4)), "bias": np.ones(4)}}
    state |= drawn({"c_proj.weight": (4, 4), "c_proj.bias": (4,)})
    assert_array_equal(load(state, params)["square"]["kernel"], state["c_proj.weight"])
    # Where biases show both orders, a square matrix stays open.
    params |= {"down": {"kernel": np.ones((4, 2)), "bias": np.ones(2)}}
    state |= drawn(of_linear("fc", 4, 2))
    with pytest.raises(OptionError, match="do not tell the inputs of 'square/kernel'"):
        load(state, params)
    found = load(state, params, names={"square/kernel": lambda arrays: arrays["c_proj.weight"]})
    assert_array_equal(found["square"]["kernel"], state["c_proj.weight"])
    fused = drawn({"attn.c_attn.weight": (6, 18), "attn.c_attn.bias": (18,)})
    params = {"attn": {part: {"kernel": np.ones((6, 6)), "bias": np.ones(6)} for part in ("query", "key", "value")}}
    found = load(fused, params)
    assert_array_equal(found["attn"]["key"]["kernel"], fused["attn.c_attn.weight"][:, 6:12])


def test_equinox_has_outputs_first_too() -> None:
    model = eqx.nn.MLP(5, 3, 8, 2, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_array)
    state = drawn(of_linear("layers.0", 5, 8) | of_linear("layers.1", 8, 8) | of_linear("layers.2", 8, 3))
    found = load(state, params)
    hidden = np.maximum(linear(state, "layers.0", X), 0)
    want = linear(state, "layers.2", np.maximum(linear(state, "layers.1", hidden), 0))
    assert_allclose(np.asarray(jax.vmap(eqx.combine(found, static))(X)), want, atol=1e-5)


def test_names_of_haiku() -> None:
    state = drawn(of_linear("linear_0", 5, 5))
    params = {"net/linear_0": {"w": np.ones((5, 5)), "b": np.ones(5)}}
    assert_array_equal(load(state, params)["net/linear_0"]["w"], state["linear_0.weight"].T)


def test_a_fused_projection_that_the_model_keeps() -> None:
    state = drawn({"attn.in_proj_weight": (6, 2), "attn.in_proj_bias": (6,)})
    params = {"attn": {"in_proj": {"kernel": np.ones((2, 6)), "bias": np.ones(6)}}}
    assert_array_equal(load(state, params)["attn"]["in_proj"]["kernel"], state["attn.in_proj_weight"].T)


def test_checkpoints_of_the_model_itself_are_not_turned() -> None:
    square = drawn({"a": (4, 4), "b": (4, 4)})
    assert_array_equal(load(square, square)["b"], square["b"])
    flax = {"params": {"norm": {"scale": square["a"][0]}}, "batch_stats": {"norm": {"mean": square["b"][0]}}}
    assert_array_equal(load(flax, flax)["batch_stats"]["norm"]["mean"], square["b"][0])
    parts = {"model": {"w": square["a"]}, "head": {"w": square["b"]}}
    assert_array_equal(load(parts, parts)["head"]["w"], square["b"])
    # The same name and shape as in a module that multiplies from the right; it may also be of PyTorch.
    of_torch = {"fc": {"weight": square["a"]}}

    def right(params: Any, x: Any) -> Any:
        return x @ params["fc"]["weight"]

    with pytest.raises(OptionError, match="do not tell the inputs"):
        load(of_torch, of_torch, apply=right, x=np.ones((1, 4), np.float32))


def test_kernels_of_flax_in_equinox() -> None:
    state = drawn({"fc.kernel": (4, 4)})
    params = {"fc": {"weight": np.ones((4, 4))}}
    assert_array_equal(load(state, params)["fc"]["weight"], state["fc.kernel"].T)
    assert_array_equal(load({"fc": {"kernel": state["fc.kernel"]}}, params)["fc"]["weight"], state["fc.kernel"].T)


def test_recurrent_weights_of_pytorch_have_outputs_first() -> None:
    state, params = drawn({"weight_hh": (4, 4)}), {"weight_hh": np.ones((4, 4), np.float32)}

    def run(params: Any, x: Any) -> Any:
        return x @ params["weight_hh"]

    texts = "do not tell the inputs", "weight_hh or weight_hh.transpose(1, 0)", "one arrangement", "in names, give"
    assert_error(OptionError, lambda: load(state, params, apply=run, x=np.ones((1, 4), np.float32)), *texts)


def test_products_of_parameters_do_not_tell_inputs() -> None:
    state = drawn({"a.weight": (4, 4), "b.weight": (4, 4)})
    params = {name: {"kernel": np.ones((4, 4), np.float32)} for name in "ab"}

    def run(params: Any, x: Any) -> Any:
        return x @ (params["a"]["kernel"] @ params["b"]["kernel"])

    found = load(state, params, apply=run, x=np.ones((1, 4), np.float32))
    assert_array_equal(found["a"]["kernel"], state["a.weight"].T)


def test_transposed_convolutions_are_left_to_the_user() -> None:
    state = drawn({"up.weight": (4, 4, 3, 3)})
    for name in ("ConvTranspose_0", "up"):
        params = {name: {"kernel": np.ones((3, 3, 4, 4), np.float32)}}

        def run(params: Any, x: Any, name: str = name) -> Any:
            return jax.lax.conv_transpose(x, params[name]["kernel"], (2, 2), "SAME")

        with pytest.raises(OptionError, match="1 of 1 parameters"):
            load(state, params, apply=run, x=np.ones((1, 5, 5, 4), np.float32))


def test_models_with_loops() -> None:
    state = drawn({"layers.weight": (4, 4)})
    params = {"layers": {"kernel": np.ones((4, 4), np.float32)}}

    def run(params: Any, x: Any) -> Any:
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ params["layers"]["kernel"]), None), x, length=3)[0]

    found = load(state, params, apply=run, x=np.ones((1, 4), np.float32))
    assert_array_equal(found["layers"]["kernel"], state["layers.weight"].T)


def test_batch_norms_of_linen() -> None:
    kinds = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    state = drawn({f"bn{i}.{kind}": (3,) for i in (1, 2) for kind in kinds.values()})
    params = {
        "params": {f"bn{i}": {"scale": np.ones(3), "bias": np.ones(3)} for i in (1, 2)},
        "batch_stats": {f"bn{i}": {"mean": np.ones(3), "var": np.ones(3)} for i in (1, 2)},
    }
    found = load(state, params)
    assert_array_equal(found["batch_stats"]["bn2"]["var"], state["bn2.running_var"])
    assert_array_equal(found["params"]["bn1"]["scale"], state["bn1.weight"])


def test_two_parameters_of_one_word() -> None:
    own = {"l": {"gamma": np.ones(3), "scale": np.ones(4)}}
    assert load(own, own)["l"]["scale"].shape == (4,)


def test_heads_of_one_entry_make_no_difference() -> None:
    state = drawn(of_linear("out", 4, 4))
    params = {"out": {"kernel": np.ones((1, 4, 4)), "bias": np.ones(4)}}
    assert_array_equal(load(state, params)["out"]["kernel"][0], state["out.weight"].T)


@pytest.mark.slow
def test_against_pytorch() -> None:
    """The definitions above are those of PyTorch."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    state = {f"a.{name}": tensor.detach().numpy() for name, tensor in layer.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    assert_allclose(layer(*[torch.tensor(x[None])] * 3)[0].detach().numpy()[0], attended(state, "a", x), atol=1e-5)
