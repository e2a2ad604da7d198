"""Finds requests that go round in a circle. Pure.

The server of an external deployment may be this same gateway, directly or through other gateways. So each
gateway has a random id, and adds it to the header ``X-Sllm-Hops`` of each request that it sends on. It
refuses a request that has its own id there already, or the ids of ``MOST_HOPS`` gateways.
"""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.api_error import ApiError

from . import errors

HEADER = b"x-sllm-hops"

MOST_HOPS = 8
"""How many gateways may pass on one request. A short chain may be meant; a longer one is a mistake."""


def hops_in(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the ids of the gateways that have passed on the request with these headers, in their order."""
    values = [value for name, value in headers if name == HEADER]
    return [each.strip() for value in values for each in value.split(b",") if each.strip()]


def refuse_loop(headers: Iterable[tuple[bytes, bytes]], gateway: bytes) -> ApiError | None:
    """Return the error ``loop_detected`` if the request must not be passed on again, else None.

    Args:
        headers: The headers of the request.
        gateway: The id of this gateway.
    """
    hops = hops_in(headers)
    return errors.loop_detected() if gateway in hops or len(hops) >= MOST_HOPS else None


def passed_on(headers: Iterable[tuple[bytes, bytes]], gateway: bytes) -> tuple[bytes, bytes]:
    """Return the header ``X-Sllm-Hops`` with which the gateway of the id ``gateway`` sends a request on."""
    return HEADER, b", ".join([*hops_in(headers), gateway])
