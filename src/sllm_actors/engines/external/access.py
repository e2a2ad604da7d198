"""How one external server is reached. Pure."""

from __future__ import annotations

from attrs import field, frozen

CONNECT_TIMEOUT = 10.0
"""Seconds within which a server must be reached, unless a deployment says otherwise."""


@frozen
class ServerAccess:
    """How one server is reached, but for its address. The key is only named; ``headers`` may hold secrets.

    Attributes:
        model: The server's name for the model; "" where it is not known yet.
        key_env: The environment variable that holds the server's key; "" for none.
        key_file: The absolute path of the file that holds the server's key; "" for none.
        headers: Headers of each request, by name; they replace a client's headers of the same name.
        ca_file: The absolute path of certificate authorities (PEM) that are trusted in place of the
            machine's; "" for the machine's.
        connect_timeout: Seconds within which the server must be reached.
    """

    model: str = ""
    key_env: str = ""
    key_file: str = ""
    headers: dict[str, str] = field(factory=dict, repr=False)
    ca_file: str = ""
    connect_timeout: float = CONNECT_TIMEOUT
