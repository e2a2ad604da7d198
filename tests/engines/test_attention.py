"""What configurations of real models tell of their KV cache, and what is believed of others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.attention import LARGEST, Attention, read_attention

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
}
OPT: dict[str, Any] = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32}
GEMMA: dict[str, Any] = {
    "model_type": "gemma3_text",
    "hidden_size": 2560,
    "num_hidden_layers": 34,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 1024,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    "max_position_embeddings": 131072,
}
DEEPSEEK: dict[str, Any] = {
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "max_position_embeddings": 163840,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
}


@pytest.mark.parametrize(
    ("configuration", "attention"),
    [
        (LLAMA, Attention(32, 8, 256, 131072)),
        (OPT | {"max_position_embeddings": 2048}, Attention(24, 32, 128, 2048)),
        (GEMMA, Attention(34, 4, 512, 131072)),
        ({"model_type": "gemma3", "text_config": GEMMA}, Attention(34, 4, 512, 131072)),
        (DEEPSEEK, Attention(61, 1, 576, 163840)),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024}, Attention(12, 12, 128, 1024)),
        ({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128}, LLAMA | {}),
        (OPT | {"multi_query": True}, Attention(24, 1, 128)),
        (OPT | {"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 8}, (8, 128)),
        (OPT | {"num_key_value_heads": [4, 8, None, 2]}, (8, 128)),
        (OPT | {"head_dim": 64, "v_head_dim": 128}, (32, 192)),
        (OPT | {"head_dim": 64, "global_head_dim": 512}, (32, 1024)),
    ],
)
def test_it_is_read_of_each_kind_of_attention(configuration: dict[str, Any], attention: object) -> None:
    found = read_attention(configuration)
    assert found is not None
    if isinstance(attention, dict):
        attention = Attention(32, 8, 256)
    assert attention in (found, (found.heads, found.numbers))


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"type": "yarn", "factor": 4.0}, 163840),
        ({"type": "dynamic", "factor": 2.0}, 81920),
        ({"type": "longrope", "factor": 2.0}, 40960),
        ({"factor": float("inf"), "type": "linear"}, 40960),
        ({"type": "linear", "factor": 0.5}, 40960),
        ({"type": "linear", "factor": "2"}, 40960),
        ("linear", 40960),
        (None, 40960),
    ],
)
def test_a_context_may_be_stretched(scaling: object, context: int) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        found = read_attention(OPT | {"max_position_embeddings": 40960, key: scaling})
        assert found is not None
        assert found.context == context


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"num_hidden_layers": 24},
        {"num_hidden_layers": 24, "num_attention_heads": 32},
        {"num_hidden_layers": True, "num_attention_heads": 32, "hidden_size": 2048},
        OPT | {"num_hidden_layers": -1},
        OPT | {"num_hidden_layers": LARGEST + 1},
        OPT | {"num_attention_heads": "32"},
        OPT | {"is_encoder_decoder": True},
        {"text_config": {}, "llm_config": 5},
    ],
)
def test_nothing_is_made_of_one_that_says_too_little(configuration: dict[str, Any]) -> None:
    assert read_attention(configuration) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
keys = st.sampled_from([*LLAMA, *DEEPSEEK, *GEMMA, "text_config", "v_head_dim", "multi_query", "kv_channels"])


@given(st.dictionaries(keys, anything, max_size=12))
def test_whatever_a_file_has_in_it_numbers_come_out_or_nothing(configuration: dict[str, Any]) -> None:
    found = read_attention(LLAMA | configuration)
    if found is not None:
        assert found.layers > 0
        assert found.heads > 0
        assert found.numbers > 0
        assert found.context >= 0
