"""How much a model keeps of each token while it answers, read from its configuration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

LARGEST: Final = 2**31 - 1
"""The largest number that is believed: a configuration is anybody's file."""

_TEXT_MODELS = ("text_config", "llm_config", "language_config")
"""Where the configuration of a model that sees or hears has that of the model that writes."""

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_QUERIES = ("num_attention_heads", "n_head", "n_heads")
_KEYS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "multi_query_group_num")
_WIDTH = ("hidden_size", "n_embd", "d_model", "dim")
_HEAD = ("head_dim", "kv_channels", "attention_head_dim")
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")


@frozen
class Attention:
    """The KV cache of a model: what its layers of attention keep of each token of a request.

    Attributes:
        layers: How many layers keep something.
        heads: How many heads of a layer do. GPUs that share a layer share these out, and have one at least.
        numbers: How many numbers a head keeps of a token, its key and its value together.
        context: How many tokens a request may have; 0 where the configuration does not say.
    """

    layers: int
    heads: int
    numbers: int
    context: int = 0


def read_attention(configuration: Mapping[str, Any]) -> Attention | None:
    """Return what a configuration tells (``config.json``, or ``params.json`` of Mistral); None if too little.

    It errs on the side of more. Layers that look back over a window only, or keep one state for a whole
    request, count as those that keep every token; heads that are not said to share keys have keys of their
    own. Latent attention (MLA) keeps one compressed entry for all heads, and every GPU has it whole. A model
    that encodes its input apart is none of these.
    """
    model = _text_model(configuration)
    layers = _first(model, _LAYERS)
    if not layers or configuration.get("is_encoder_decoder") is True:
        return None
    context = _stretched(model, _first(model, _CONTEXT))
    if rank := _number(model.get("kv_lora_rank")):
        return Attention(layers, 1, rank + _number(model.get("qk_rope_head_dim")), context)
    queries, width = _first(model, _QUERIES), _first(model, _WIDTH)
    size = max(_first(model, _HEAD) or width // max(1, queries), _number(model.get("global_head_dim")))
    if not queries or not size:
        return None
    alike = model.get("multi_query") is True and model.get("new_decoder_architecture") is not True
    heads = 1 if alike else _first(model, _KEYS) or queries
    return Attention(layers, heads, size + (_number(model.get("v_head_dim")) or size), context)


def _text_model(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _TEXT_MODELS:
        if isinstance(inner := configuration.get(name), Mapping) and _first(inner, _LAYERS):
            return inner
    return configuration


def _stretched(model: Mapping[str, Any], context: int) -> int:
    """Return the context of a model whose positions may be stretched beyond what it was trained with."""
    scaling = model.get("rope_scaling") or model.get("rope_parameters")
    if not isinstance(scaling, Mapping) or not isinstance(factor := scaling.get("factor"), int | float):
        return context
    if not 1 < factor < LARGEST or str(model.get("model_type", "")).startswith("gemma3"):
        return context  # Gemma 3 states the stretched context
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "yarn":
        trained = _number(scaling.get("original_max_position_embeddings")) or context
        return max(context, int(trained * factor))
    return int(context * factor) if kind in ("linear", "dynamic") else context


def _first(model: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((found for name in names if (found := _number(model.get(name)))), 0)


def _number(value: object) -> int:
    """Return a whole number above 0; of a list, which gives one for each layer, the largest; else 0."""
    if isinstance(value, list):
        return max(map(_number, value), default=0)
    return value if isinstance(value, int) and value is not True and 0 < value <= LARGEST else 0
