"""What looks like a secret is masked wherever it is shown, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.observe.redaction import MASK, masked, masked_text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"hf_token": "abc", "dtype": "half"}, {"hf_token": MASK, "dtype": "half"}),
        ({"extra": {"a": [{"password": "x"}]}}, {"extra": {"a": [{"password": MASK}]}}),
        ({"api_keys": ["a", "b"]}, {"api_keys": [MASK, MASK]}),
        (
            {"max_num_batched_tokens": 8192, "tokens": "8192"},
            {"max_num_batched_tokens": 8192, "tokens": "8192"},
        ),
        (
            {"api_key_env": "MY_KEY", "api_key_file": "/run/x"},
            {"api_key_env": "MY_KEY", "api_key_file": "/run/x"},
        ),
        (["--hf-token", "abc", "--seed", "1"], ["--hf-token", MASK, "--seed", "1"]),
        (
            ["--hf-token=abc", "--max-num-batched-tokens", "8"],
            [f"--hf-token={MASK}", "--max-num-batched-tokens", "8"],
        ),
        (["X_TOKEN=abc", "plain", "secret"], [f"X_TOKEN={MASK}", "plain", "secret"]),
        ("--api-key abc --seed 1", f"--api-key {MASK} --seed 1"),
        (["http://me:pw@host/v1"], ["http://***@host/v1"]),
        (
            {"headers": {"Authorization": "Bearer x", "X-Team": "a"}},
            {"headers": {"Authorization": MASK, "X-Team": "a"}},
        ),
        (5, 5),
        (None, None),
        ({"password": ""}, {"password": ""}),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_nothing_else(value: Any, shown: Any) -> None:
    assert masked(value) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("args: {'hf_token': 'abc', 'max_tokens': 8}", f"args: {{'hf_token': '{MASK}', 'max_tokens': 8}}"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ('"api_key":"sk-1"}', f'"api_key":"{MASK}"}}'),
        ("the token is good; Token indices are long", "the token is good; Token indices are long"),
        ("GET https://a:b@c/d 200", "GET https://***@c/d 200"),
    ],
)
def test_lines_of_logs_lose_their_secrets_only(line: str, shown: str) -> None:
    assert masked_text(line) == shown


@pytest.mark.parametrize("piece", ["a", "a-", "--token ", "token: '", "http://", "a:", "//@"])
def test_no_text_is_slow_to_mask(piece: str) -> None:
    text = piece * 200_000
    assert len(masked_text(text)) > 0  # a regular expression that goes back and forth would take hours


@given(st.text(max_size=200))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = masked_text(text)
    assert masked_text(once) == once
