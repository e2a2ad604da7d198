"""Anthropic's package for Python against a gateway: ``python anthropic_client.py URL MODEL``."""

# mypy: ignore-errors
from __future__ import annotations

import sys

import anthropic

QUESTION = [{"role": "user", "content": "What is gravity?"}]


def main(url: str, model: str) -> None:
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=120)
    asked = {"model": model, "messages": QUESTION, "max_tokens": 12}
    message = client.messages.create(**asked)
    assert message.type == "message"
    assert message.usage.output_tokens > 0
    assert message._request_id  # noqa: SLF001 - it is documented as public
    with client.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream)
        assert stream.get_final_message().stop_reason
    assert client.messages.count_tokens(model=model, messages=QUESTION).input_tokens > 5
    large = {"x-large": "x" * 70_000}
    refused = [
        (404, "not_found_error", lambda: client.messages.create(**asked | {"model": "nobody"})),
        (404, "not_found_error", lambda: client.messages.count_tokens(model="nobody", messages=QUESTION)),
        (400, "invalid_request_error", lambda: client.post("/v1/messages", body=[1], cast_to=object)),
        (405, "invalid_request_error", lambda: client.get("/v1/messages", cast_to=object)),
        (415, "invalid_request_error", lambda: with_headers({"Content-Encoding": "br"})),
        (403, "permission_error", lambda: with_headers({"Origin": "http://a.example"})),
        (431, "invalid_request_error", lambda: with_headers(large)),
    ]

    def with_headers(headers: dict[str, str]) -> object:
        return client.messages.create(**asked, extra_headers=headers)

    for status, kind, ask in refused:
        try:
            ask()
        except anthropic.APIStatusError as error:
            found = (error.status_code, error.type)
        else:
            found = None
        assert found == (status, kind), found
    print(f"a message, a stream, a count, and {len(refused)} errors, anthropic {anthropic.__version__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
