"""Which parameters requests that change something may have: those that the OpenAPI document lists."""

from __future__ import annotations

import re

from quart import request

from sllm_actors.api_error import ApiError

from .openapi import DOCUMENT

_READS = ("GET", "HEAD", "OPTIONS")  # these read their parameters themselves


def parameters_of(rule: str, method: str) -> tuple[str, ...]:
    """Return the parameters of an operation.

    Args:
        rule: The path as the application has it: ``/deployments/<deployment:name>/load``.
        method: In upper-case letters.
    """
    path = re.sub(r"<[^>]*>", "{id}", rule)
    operation = DOCUMENT["paths"].get(path, {}).get(method.lower(), {})
    return tuple(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")


async def refuse_unknown_parameters() -> None:
    """Refuse a request that changes something if its query has what nobody would read; a request hook.

    Raises:
        ApiError: 400 ``invalid_parameter``: a parameter is unknown, or given twice.
    """
    if request.url_rule is None or request.method in _READS:
        return
    known = parameters_of(request.url_rule.rule, request.method)
    for name, values in request.args.lists():
        shown = name[:40]
        if name not in known:
            takes = f"there are {', '.join(known)}" if known else "there is none"
            raise ApiError(400, "invalid_parameter", f"there is no parameter {shown!r} here: {takes}", shown)
        if len(values) > 1:
            raise ApiError(400, "invalid_parameter", f"{shown} is given twice: give it once", shown)
