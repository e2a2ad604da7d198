"""How one external server is reached. Pure."""

from __future__ import annotations

from attrs import field, frozen

CONNECT_TIMEOUT = 10.0
"""Seconds in which a server must be reached, unless a deployment says otherwise."""


@frozen
class ServerAccess:
    """Everything but the address. It names secrets; it holds none but what ``headers`` was given.

    Attributes:
        model: What the server calls the model.
        key_env: The environment variable that holds its key; "" for none.
        key_file: The absolute path of the file that holds its key; "" for none.
        headers: Sent with each request, in place of a client's of the same name.
        ca_file: The certificate authorities that are trusted in place of the machine's; "" for the machine's.
        connect_timeout: Seconds in which it must be reached.
    """

    model: str = ""
    key_env: str = ""
    key_file: str = ""
    headers: dict[str, str] = field(factory=dict, repr=False)
    ca_file: str = ""
    connect_timeout: float = CONNECT_TIMEOUT
