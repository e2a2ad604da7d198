"""Hypercorn's HTTP/1.1, with refusals that say why, and upgrades ignored."""

from __future__ import annotations

from typing import Any

import h11
from hypercorn.protocol.h11 import H11Protocol

from sllm_actors.api_error import ApiError

from .bounds import LARGEST_HEAD


class BoundedH11(H11Protocol):
    """The protocol of one connection.

    A request that is no HTTP/1.1, or whose head is larger than ``LARGEST_HEAD``, gets an error in JSON.
    ``Upgrade: h2c`` is ignored: HTTP/2 is chosen in the TLS handshake.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _send_error_response(self, status_code: int) -> None:
        if status_code == 431:
            sentence = f"the head of a request may have {LARGEST_HEAD} bytes"
            error = ApiError(status_code, "head_too_large", sentence)
        else:
            error = ApiError(status_code, "invalid_request", "this is no valid HTTP/1.1 request")
        headers: list[Any] = [*error.headers, (b"connection", b"close")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=error.body))
        await self._send_h11_event(h11.EndOfMessage())
