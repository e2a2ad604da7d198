"""The body and the query of a request to the control API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from quart import current_app, request

from sllm_actors.gateway import errors
from sllm_actors.gateway.bodies.content_coding import coding_of, decoded
from sllm_actors.serving.deployment.json_text import read_object
from sllm_actors.serving.deployment.problem import DeploymentProblem


async def read_text() -> str:
    """Return the body of the request, decoded.

    Raises:
        ApiError: Its ``Content-Encoding`` is none that the gateway decodes, or not what the body has; or it
            is too large.
        UnicodeDecodeError: It is not in UTF-8.
    """
    data = await request.get_data()
    data = data.encode() if isinstance(data, str) else data
    named = request.headers.getlist("Content-Encoding")
    coding = coding_of(",".join(named).encode("latin-1"))
    if coding is not None:
        data = decoded(data, coding, current_app.config["MAX_CONTENT_LENGTH"])
    return data.decode("utf-8-sig")


async def read_json_text(what: str) -> str:
    """Return the text of the request's body, which must be a JSON object; who gets it reads what is in it.

    Args:
        what: What the body is, as the subject of a sentence.

    Raises:
        ApiError: It is no such object: 400 ``invalid_json``. Or as ``read_text`` does.
    """
    try:
        text = await read_text()
        if not isinstance(json.loads(text), dict):
            raise errors.bad_request(f"{what} must be a JSON object", code="invalid_json")
    except (ValueError, RecursionError):
        raise errors.bad_request(f"{what} is not JSON", code="invalid_json") from None
    return text


async def read_body(*, optional: bool = False) -> dict[str, Any]:
    """Return the body of the request, which must be a JSON object; with ``optional``, {} for none.

    Raises:
        ApiError: It is no such object: 400 ``invalid_json``. Or as ``read_text`` does.
    """
    try:
        text = await read_text()
        return read_object(text, "the body") if text or not optional else {}
    except ValueError as error:
        problem = str(error) if isinstance(error, DeploymentProblem) else "the body is not JSON"
        raise errors.bad_request(problem, code="invalid_json") from None


async def read_level() -> int:
    """Return the ``level`` of a request's body, 0, 1 or 2; without a body it is 1.

    Raises:
        ApiError: It is something else, or the body has other keys: 400.
    """
    body = await read_body(optional=True)
    for key in body.keys() - {"level"}:
        raise errors.bad_request(f"the body has no {key[:40]}: it has level", param=key[:40])
    level = body.get("level", 1)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= 2:
        raise errors.bad_request("the body must be a JSON object with a level of 0, 1 or 2", param="level")
    return level


def texts(body: Mapping[str, Any], keys: Sequence[str]) -> dict[str, str]:
    """Return the texts that a body has under these keys; "" for one that it has not.

    Raises:
        ApiError: One of them is something else, or empty: 400.
    """
    found: dict[str, str] = {}
    for key in keys:
        value = body.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise errors.bad_request(f"{key} must be a text", param=key)
        found[key] = value or ""
    return found


def flag(name: str) -> bool:
    """Return a parameter of the query that is ``true`` or ``false``; without it, false.

    Raises:
        ApiError: It is something else: 400.
    """
    text = request.args.get(name, "false")
    if text not in ("true", "false"):
        raise errors.bad_request(f"{name} must be true or false, not {text[:40]!r}", param=name)
    return text == "true"
