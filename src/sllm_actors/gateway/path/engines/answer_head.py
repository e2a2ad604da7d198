"""The head of an engine's answer that has come as a whole. Pure."""

from __future__ import annotations

from sllm_actors.gateway.headers import Headers, for_client, is_event_stream, without_length


class AnswerHead:
    """What comes before the body. Answers of the same head may share one; see ``RepeatedHead``.

    Args:
        status: The status.
        headers: The headers, names in lower case; ``content-length`` may be another answer's.

    Attributes:
        status: As above.
        passed: The headers that a client gets, without ``content-length``; None of a stream of events.
    """

    __slots__ = ("_headers", "passed", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self._headers = headers
        self.passed = None if is_event_stream(headers) else without_length(for_client(headers))

    def headers(self, length: int) -> Headers:
        """Return all headers of an answer whose body has ``length`` bytes."""
        return [
            (name, b"%d" % length if name == b"content-length" else value) for name, value in self._headers
        ]
