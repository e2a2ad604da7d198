"""A client in the middle of a streamed answer."""

from __future__ import annotations

import threading

import httpx2
from tests.e2e.cluster import PATIENCE, eventually

from .machines import MODEL


class OpenStream:
    """Asks for a long answer, and has its first words when it is made.

    Attributes:
        text: What has come so far.
        problem: How the connection broke; "" if it did not.
    """

    def __init__(self, client: httpx2.Client, *, max_tokens: int = 1500) -> None:
        self._client = client
        self._request = {
            "model": MODEL,
            "stream": True,
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": "Tell me a long story."}],
        }
        self.text = ""
        self.problem = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        eventually(lambda: "data: " in self.text, what="the stream has begun")

    def _read(self) -> None:
        try:
            with self._client.stream("POST", "/v1/chat/completions", json=self._request) as answer:
                for data in answer.iter_text():
                    self.text += data
        except httpx2.HTTPError as error:
            self.problem = repr(error)

    def last(self) -> str:
        """Return the last event, once the stream has ended; the connection must not have broken."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.problem == ""
        *_, last, nothing = self.text.split("\n\n")
        assert nothing == ""
        return last.removeprefix("data: ")
