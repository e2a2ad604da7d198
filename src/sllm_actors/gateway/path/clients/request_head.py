"""What comes before the body of a client's request: method, target and headers."""

from __future__ import annotations

import itertools
import secrets

from sllm_actors.gateway.bodies.dialects import Dialect, dialect_of
from sllm_actors.gateway.headers import Headers, request_id_of

# An id is unique among all gateways, and costs no random number of its own.
_PROCESS = secrets.token_hex(7)
_numbers = itertools.count(1)


def new_request_id() -> str:
    """Return the id of a request whose client gave none."""
    return f"{_PROCESS}{next(_numbers):010x}"


class RequestHead:
    """The head of one request.

    Attributes:
        method: As ``POST``.
        path: The path as it came, escapes included, without the query.
        query: What follows the question mark.
        headers: Names (in lower case) and values, in the order in which they came.
        named: The last value of each header.
        id: The id of the request: the client's own if it gave one, else one that no other has.
    """

    __slots__ = ("headers", "id", "method", "named", "path", "query")

    def __init__(self, method: str, path: bytes, query: bytes, headers: Headers) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.named = dict(headers)
        asked = request_id_of(headers) if b"x-request-id" in self.named else None
        self.id = asked or new_request_id()

    @property
    def length(self) -> int:
        """How many bytes of a body are announced; 0 if none are, or in no number that can be meant."""
        text = self.named.get(b"content-length")
        return int(text) if text is not None and text.isdigit() and len(text) < 19 else 0

    @property
    def dialect(self) -> Dialect:
        """The dialect of the API that the request speaks."""
        return dialect_of(self.path.decode("latin-1"))
