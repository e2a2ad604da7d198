"""Finds the error that an engine tells inside a stream, under the status 200. Pure.

vLLM does so when its core dies: an event with an error, then ``data: [DONE]`` as if all were well.
"""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec
from attrs import frozen

from .json_mistakes import MISTAKES

_DATA = re.compile(rb"(?:\A|[\r\n])data:[ \t]*(\{[^\r\n]*)")


@frozen
class StreamError:
    """An error that an engine told.

    Attributes:
        status: The HTTP status that it would have had, if it names one: vLLM and llama.cpp do, in ``code``.
        message: What the engine says of it, or ``""``.
    """

    status: int | None
    message: str


def error_in(events: bytes) -> StreamError | None:
    """Return the first error in ``events``, which are whole events of a stream in any dialect, or None."""
    if b'"error"' not in events:
        return None
    for match in _DATA.finditer(events):
        if b'"error"' in match[1]:
            with suppress(*MISTAKES):
                event = msgspec.json.decode(match[1])
                found = _error_of(event)
                if found is not None:
                    return found
    return None


def _error_of(event: dict[str, object]) -> StreamError | None:
    error = event.get("error")
    if not error and event.get("type") == "error":
        error = event  # of the Responses API: its fields stand at the top
    response = event.get("response")
    if not error and event.get("type") == "response.failed" and isinstance(response, dict):
        error = response.get("error")
    if not error:
        return None
    if not isinstance(error, dict):
        return StreamError(None, error if isinstance(error, str) else "")
    code, message = error.get("code"), error.get("message")
    status = code if isinstance(code, int) and 400 <= code <= 599 else None
    return StreamError(status, message if isinstance(message, str) else "")
