"""A client in the middle of a streamed answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import httpx2

from .cluster import PATIENCE, eventually


class OpenStream:
    """Asks for an answer that takes minutes unless it has few tokens, and has its beginning when it is made.

    Args:
        url: The gateway.
        model: The model.
        max_tokens: The length of the answer.
        headers: Further headers of the request.
        more: Further fields of the request.

    Attributes:
        text: What has come so far.
        problem: How the connection broke; "" if it did not.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        max_tokens: int = 10_000,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self._request = {
            "model": model,
            "stream": True,
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": "on and on"}],
            **more,
        }
        self._headers = dict(headers or {})
        self._url = f"{url}/v1/chat/completions"
        self.text = ""
        self.problem = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        eventually(lambda: "data: " in self.text, what="the stream has begun")

    def _read(self) -> None:
        client = httpx2.Client(headers=self._headers, timeout=60.0, trust_env=False)
        try:
            with client, client.stream("POST", self._url, json=self._request) as answer:
                for data in answer.iter_text():
                    self.text += data
        except httpx2.HTTPError as error:
            self.problem = repr(error)

    def wait(self) -> None:
        """Wait for the end of the stream, or of its connection."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def error(self) -> Any:
        """Return the error that it ended with; the connection must not have broken."""
        self.wait()
        assert self.problem == ""
        *_, last, nothing = self.text.split("\n\n")
        assert nothing == ""
        return json.loads(last.removeprefix("data: "))["error"]
