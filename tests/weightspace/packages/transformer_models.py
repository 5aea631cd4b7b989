"""Transformers of the package transformers, in its Flax classes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest
from package_models import Model, drawn, model, normal, tokens

SMALL = {"vocab_size": 13, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ENCODER = {"hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 10, "num_hidden_layers": 2}


def of_transformers(name: str, config: Any, output: str, *rest: Any) -> Model:
    """A model of a class with random weights, in float64 where the class lets one choose."""
    pytest.importorskip("transformers.modeling_flax_utils")  # version 5 has no Flax classes
    module = getattr(pytest.importorskip("transformers"), name)(config, seed=0, dtype=jnp.float64)
    return Model(lambda p, *x: getattr(module(*x, params=p), output), drawn(module.params), *rest)


def config(name: str, **options: Any) -> Any:
    return getattr(pytest.importorskip("transformers"), name)(**options)


@model
def gpt2() -> Model:
    options = {"n_positions": 12, "n_embd": 6, "n_head": 2, "n_layer": 2, "n_inner": 10}
    given = config("GPT2Config", **SMALL, **options)
    return of_transformers("FlaxGPT2LMHeadModel", given, "logits", (tokens(5),), (tokens(12),))


@model
def bert() -> Model:
    given = config("BertConfig", **SMALL, **ENCODER, max_position_embeddings=12, num_labels=3)
    name = "FlaxBertForSequenceClassification"
    return of_transformers(name, given, "logits", (tokens(5),), (tokens(12),))


def source_and_target(length: int) -> tuple[Any, ...]:
    """Source, mask of the source, and target."""
    return tokens(length), jnp.ones((2, length), int), tokens(length - 1)


class OlderNumpy:
    """`jax.numpy` with the names of the bounds of `clip` that JAX has removed, and the Flax class of T5 uses."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    @staticmethod
    def clip(x: Any, a_min: Any = None, a_max: Any = None) -> Any:
        return jnp.clip(x, a_min, a_max)


@model
def t5() -> Model:
    pytest.importorskip("transformers.models.t5.modeling_flax_t5").jnp = OlderNumpy()
    options = {"d_model": 6, "d_kv": 3, "d_ff": 10, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 1}
    buckets = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16}
    given = config("T5Config", vocab_size=13, **options, **buckets, decoder_start_token_id=0)
    inputs, longer = source_and_target(5), source_and_target(20)
    return of_transformers("FlaxT5ForConditionalGeneration", given, "logits", inputs, longer)


@model
def bart() -> Model:
    options = {"d_model": 6, "max_position_embeddings": 12, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 10, "decoder_ffn_dim": 10}
    given = config("BartConfig", **SMALL, **options, **heads)
    name = "FlaxBartForConditionalGeneration"
    return of_transformers(name, given, "logits", source_and_target(5), source_and_target(12))


@model
def whisper() -> Model:
    options = {"d_model": 6, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 5}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 10, "decoder_ffn_dim": 10}
    lengths = {"max_source_positions": 4, "max_target_positions": 12, "decoder_start_token_id": 1}
    given = config("WhisperConfig", **SMALL, **options, **heads, **lengths, begin_suppress_tokens=None)
    sound = normal(2, 5, 8)
    name = "FlaxWhisperForConditionalGeneration"
    return of_transformers(name, given, "logits", (sound, tokens(4)), (sound, tokens(12)))


@model
def clip() -> Model:
    text = {**SMALL, **ENCODER, "num_hidden_layers": 1, "max_position_embeddings": 12}
    vision = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_hidden_layers": 1}
    vision |= {"image_size": 4, "patch_size": 2}
    given = config("CLIPConfig", text_config=text, vision_config=vision, projection_dim=5)
    images = normal(3, 3, 4, 4)
    name = "FlaxCLIPModel"
    return of_transformers(name, given, "logits_per_text", (tokens(5), images), (tokens(12), images))


@model
def vit() -> Model:
    given = config("ViTConfig", **ENCODER, image_size=4, patch_size=2, num_labels=3)
    return of_transformers("FlaxViTForImageClassification", given, "logits", (normal(2, 3, 4, 4),))


@model
def llama() -> Model:
    options = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 10}
    given = config("LlamaConfig", **SMALL, **options, num_hidden_layers=2, max_position_embeddings=12)
    return of_transformers("FlaxLlamaForCausalLM", given, "logits", (tokens(5),), (tokens(12),))


@model
def resnet() -> Model:
    options = {"embedding_size": 6, "hidden_sizes": [6, 8], "depths": [1, 1], "layer_type": "basic", "num_labels": 3}
    inputs, longer = (normal(2, 3, 16, 16),), (normal(2, 3, 32, 32),)
    given = config("ResNetConfig", **options)
    return of_transformers("FlaxResNetForImageClassification", given, "logits", inputs, longer)
