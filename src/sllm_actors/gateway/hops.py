"""Finds requests that come back: a deployment's server may be this gateway, directly or over others. Pure.

Each gateway adds an id of its own to the header ``X-Sllm-Hops`` of what it sends on, and takes no request in
which its id is there already, or that too many gateways have passed on.
"""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.api_error import ApiError

from . import errors

HEADER = b"x-sllm-hops"

MOST_HOPS = 8
"""So many gateways may pass on one request: a chain of them may be meant, a long one is not."""


def hops_in(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the ids of the gateways that have passed a request on."""
    values = [value for name, value in headers if name == HEADER]
    return [each.strip() for value in values for each in value.split(b",") if each.strip()]


def refuse_loop(headers: Iterable[tuple[bytes, bytes]], gateway: bytes) -> ApiError | None:
    """Return why a request is not taken again, or None."""
    hops = hops_in(headers)
    return errors.loop_detected() if gateway in hops or len(hops) >= MOST_HOPS else None


def passed_on(headers: Iterable[tuple[bytes, bytes]], gateway: bytes) -> tuple[bytes, bytes]:
    """Return the header of the request as this gateway passes it on."""
    return HEADER, b", ".join([*hops_in(headers), gateway])
