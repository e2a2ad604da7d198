"""The bytes of requests."""

from __future__ import annotations

import json
from typing import Any

from sllm_actors.loadgen.client.encoding import Encoding, Endpoint
from sllm_actors.loadgen.work.request import ChatMessage, LoadRequest

REQUEST = LoadRequest(0.0, "模", (ChatMessage("system", "Be brief."), ChatMessage("user", "Hi")), 8)


def sent(
    *, key: str = "", base: str = "", endpoint: Endpoint = "chat", streamed: bool = True, **extra: Any
) -> tuple[list[str], Any]:
    encoding = Encoding("h:1", base, key, endpoint, streamed, extra)
    head, _, body = encoding.encode(REQUEST).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert f"Content-Length: {len(body)}" in lines
    return lines, json.loads(body)


def test_a_streamed_chat_asks_for_the_usage() -> None:
    lines, body = sent()
    assert lines[:2] == ["POST /v1/chat/completions HTTP/1.1", "Host: h:1"]
    assert body == {
        "model": "模",
        "max_tokens": 8,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_completion_has_a_prompt() -> None:
    lines, body = sent(endpoint="completions", streamed=False, base="/openai")
    assert lines[0] == "POST /openai/v1/completions HTTP/1.1"
    assert body == {"model": "模", "max_tokens": 8, "prompt": "Be brief.\nHi", "stream": False}


def test_the_key_is_sent_and_never_shown() -> None:
    lines, _ = sent(key="s3cret")
    assert "Authorization: Bearer s3cret" in lines
    assert "s3cret" not in repr(Encoding("h", "", "s3cret", "chat", True, {}))
    assert not any("Authorization" in each for each in sent()[0])


def test_further_members_go_into_the_body_and_win() -> None:
    _, body = sent(temperature=0, max_tokens=3)
    assert (body["temperature"], body["max_tokens"]) == (0, 3)
