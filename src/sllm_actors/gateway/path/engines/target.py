"""What every request to one engine has beside what its client has sent. Pure."""

from __future__ import annotations

from attrs import frozen


@frozen
class Target:
    """What a request to one engine has beside what its client has sent.

    Attributes:
        host: The value of the header ``Host``.
        prefix: The path of an external server's address, which goes before the path of a request.
        headers: Sent with the request, in place of the client's of the same names; they may be secret.
    """

    host: bytes = b"engine"
    prefix: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
