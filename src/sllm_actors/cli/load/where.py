"""Which server gets the load, and with which key."""

from __future__ import annotations

import os

import httpx2

from sllm_actors.cli.address import gateway_url
from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.keys import find_key
from sllm_actors.cluster.loopback import is_loopback
from sllm_actors.loadgen.client.target import LoadTarget

PORTS = {"http": 80, "https": 443}


def target_of(address: str) -> tuple[str, LoadTarget]:
    """Return the URL of the server of ``--url``, and how it is reached.

    Raises:
        CommandFailure: It is not the address of an HTTP server, or has a password in it.
    """
    url = gateway_url(address, "--url")
    parsed = httpx2.URL(url)
    if parsed.userinfo:
        raise CommandFailure("--url has a name or a password in it: a key goes into SLLM_API_KEY")
    return url, LoadTarget(
        host=parsed.host,
        port=parsed.port or PORTS[parsed.scheme],
        secure=parsed.scheme == "https",
        base=parsed.path.rstrip("/"),
        key=find_key(os.environ, local=is_loopback(parsed.host)),
    )
