"""Results of requests, for tests of what they add up to."""

from __future__ import annotations

from typing import Any

from sllm_actors.loadgen.figures.result import RequestResult


def result(**changed: Any) -> RequestResult:
    """Return the result of a streamed request that was due at 1 s and answered half a second later."""
    given: dict[str, Any] = {
        "model": "m",
        "due": 1.0,
        "begun": 1.0,
        "sent": 1.0,
        "first": 1.1,
        "last": 1.5,
        "ended": 1.5,
        "gaps": [0.1, 0.1, 0.2],
        "input_tokens": 20,
        "output_tokens": 5,
        "status": 200,
    }
    return RequestResult(**given | changed)


def failed(error: str = "HTTP 503", **changed: Any) -> RequestResult:
    """Return the result of a request that got no token."""
    given: dict[str, Any] = {
        "first": None,
        "gaps": [],
        "output_tokens": 0,
        "input_tokens": 0,
        "error": error,
        "status": 503,
    }
    return result(**given | changed)
