"""What comes before the body of a client's request: method, target and headers."""

from __future__ import annotations

import itertools
import secrets

from sllm_actors.gateway.bodies.dialects import Dialect, dialect_of
from sllm_actors.gateway.bodies.form import is_form
from sllm_actors.gateway.headers import Headers, for_engine, request_id_of
from sllm_actors.gateway.routing.flow import ANONYMOUS
from sllm_actors.gateway.surface import destination_of

from .http1 import header_lines

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
        length: How many bytes of a body are announced; 0 if none are, or in no number that can be meant.
        destination: What it asks of engines; None if it is not for them.
        admitted: The edition of the guard in which a request with this head was let in; 0: in none.
        flow: Whose request it is, once it was let in.
    """

    __slots__ = (
        "_lines",
        "admitted",
        "destination",
        "flow",
        "headers",
        "id",
        "length",
        "method",
        "named",
        "path",
        "query",
    )

    def __init__(self, method: str, path: bytes, query: bytes, headers: Headers) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.named = dict(headers)
        asked = request_id_of(headers) if b"x-request-id" in self.named else None
        self.id = asked or new_request_id()
        text = self.named.get(b"content-length")
        self.length = int(text) if text is not None and text.isdigit() and len(text) < 19 else 0
        self.destination = destination_of(method, path, query)
        self.admitted = 0
        self.flow = ANONYMOUS
        self._lines: bytes | None = None

    def again(self, length: int) -> RequestHead:
        """Return the head of a request that repeats this one; see ``RepeatedHead``.

        Args:
            length: The bytes of its body.
        """
        head = object.__new__(RequestHead)
        head.method, head.path, head.query = self.method, self.path, self.query
        head.headers, head.named, head.length = self.headers, self.named, length
        if length != self.length:
            new = b"%d" % length
            head.named = {**self.named, b"content-length": new}
            head.headers = [
                (name, new if name == b"content-length" else value) for name, value in self.headers
            ]
        head.id = self.id if b"x-request-id" in self.named else new_request_id()
        head.destination, head._lines = self.destination, self._lines
        head.admitted, head.flow = self.admitted, self.flow
        return head

    def lines_for_engine(self) -> bytes:
        """Return the lines of the headers that an engine gets; see ``for_engine``."""
        if self._lines is None:
            self._lines = header_lines(for_engine(self.headers))
        return self._lines

    @property
    def is_form(self) -> bool:
        """Whether the body is a form that can be read as it comes."""
        return is_form(self.named.get(b"content-type")) and b"content-encoding" not in self.named

    @property
    def dialect(self) -> Dialect:
        """The dialect of the API that the request speaks."""
        return dialect_of(self.path.decode("latin-1"))
