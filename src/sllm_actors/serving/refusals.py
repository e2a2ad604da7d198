"""Refusals of the head as errors of HTTP."""

from __future__ import annotations

from sllm_actors.api_error import ApiError

from .messages import Refusal, RefusalKind

STATUS_OF = {
    RefusalKind.INVALID: 400,
    RefusalKind.UNKNOWN: 404,
    RefusalKind.CONFLICT: 409,
    RefusalKind.TOO_LARGE: 413,
    RefusalKind.UNAVAILABLE: 503,
}
"""The HTTP status of each kind of refusal."""


def as_error(refusal: Refusal) -> ApiError:
    """Return a refusal as the error that a client of HTTP gets."""
    return ApiError(
        STATUS_OF[refusal.kind],
        refusal.code,
        refusal.message,
        refusal.param,
        refusal.retry_after,
        mistakes=tuple({"param": each.param, "message": each.message} for each in refusal.mistakes),
    )
