"""The gateway's own errors: the one place that makes them."""

from __future__ import annotations

from sllm_actors.api_error import ApiError


def bad_request(message: str, *, param: str | None = None, code: str = "invalid_request") -> ApiError:
    """The request cannot be understood."""
    return ApiError(400, code, message, param)


def body_too_large(limit: int) -> ApiError:
    """The body is over its bound."""
    return ApiError(413, "body_too_large", f"the request's body may have at most {limit} bytes")


def body_too_slow() -> ApiError:
    """The body did not come in time."""
    return ApiError(408, "body_timeout", "the request's body did not arrive in time: send it again")


def invalid_key() -> ApiError:
    """No key, or a wrong one."""
    return ApiError(
        401, "invalid_api_key", "this gateway wants a valid key: send the header Authorization: Bearer KEY"
    )


def foreign_host(what: str) -> ApiError:
    """A web page of elsewhere, or a name that only leads here by a trick."""
    return ApiError(
        403,
        "forbidden_host",
        f"this gateway serves programs of its own machine only, and the {what} header names another one",
    )


def model_not_found(model: str) -> ApiError:
    """Nothing by that name is deployed."""
    shown = model if len(model) <= 200 else model[:200] + "…"
    return ApiError(
        404,
        "model_not_found",
        f"the model {shown!r} does not exist: GET /v1/models lists those that do",
        "model",
    )


def not_found(what: str, code: str = "not_found") -> ApiError:
    """There is no such thing."""
    return ApiError(404, code, what)


def hold_queue_full(deployment: str, limit: int) -> ApiError:
    """Too many wait already."""
    return ApiError(
        429,
        "hold_queue_full",
        f"{limit} requests wait for {deployment} already: try again later",
        retry_after=5,
    )


def held_too_long(deployment: str) -> ApiError:
    """No replica became ready in time."""
    return ApiError(
        504, "cold_start_timeout", f"{deployment} was not ready in time: try again later", retry_after=10
    )


def replicas_failed(deployment: str, reason: str, retry_in: float | None) -> ApiError:
    """Every replica has failed."""
    why = f": {reason}" if reason else ""
    retry_after = 30.0 if retry_in is None else min(max(retry_in, 1.0), 60.0)
    return ApiError(
        503, "replicas_failed", f"every replica of {deployment} has failed{why}", None, retry_after
    )


def no_place(deployment: str, reason: str) -> ApiError:
    """No worker has had room for a replica for too long."""
    return ApiError(503, "no_place", f"{deployment} does not run: {reason}", None, retry_after=30)


def engine_broke(deployment: str, reason: str) -> ApiError:
    """The engine, or the way to it, broke."""
    return ApiError(502, "engine_broke", f"the engine of {deployment} broke: {reason}", retry_after=1)


def not_streamed() -> ApiError:
    """The client has the head of a stream already, and the engine sends one document."""
    return ApiError(
        502,
        "engine_did_not_stream",
        'the engine does not stream this kind of answer: send the request without "stream"',
    )


def server_unreachable(deployment: str, reason: str) -> ApiError:
    """A server that somebody else runs cannot be reached."""
    return ApiError(503, "server_unreachable", f"{deployment} cannot serve now: {reason}", retry_after=5)


def loop_detected() -> ApiError:
    """A request came back to the gateway that sent it on."""
    return ApiError(
        508,
        "loop_detected",
        "the request came back to a gateway that it has passed before: an endpoint of an external deployment"
        " leads back to this gateway",
    )


def engine_silent(deployment: str, silence: float) -> ApiError:
    """The engine does not go on."""
    return ApiError(504, "engine_silent", f"the engine of {deployment} was silent for {silence:g} s")


def overloaded() -> ApiError:
    """The gateway has too much to do."""
    return ApiError(503, "overloaded", "this gateway has too many requests: try again", retry_after=1)


def gateway_stopping() -> ApiError:
    """The gateway was told to end, and gives up what has not ended within its grace."""
    return ApiError(
        503,
        "gateway_stopping",
        "this gateway is being stopped and cannot finish the answer: send the request again",
        retry_after=1,
    )


def too_many_connections(limit: int) -> ApiError:
    """The gateway takes no more connections."""
    return ApiError(
        503,
        "too_many_connections",
        f"this gateway has {limit} connections, and takes no more: try again",
        retry_after=1,
    )


def out_of_descriptors(reason: str) -> ApiError:
    """A process of ours has as many descriptors open as its system allows; no engine is to blame."""
    return ApiError(
        503,
        "out_of_descriptors",
        f"the request cannot be served now, for {reason}: try again",
        retry_after=1,
    )


def no_room(deployment: str, reason: str) -> ApiError:
    """No node has room for one more connection between this gateway and the engine; it is not to blame."""
    return ApiError(
        503, "overloaded", f"no connection to {deployment} is free ({reason}): try again", retry_after=1
    )


def head_away(why: str) -> ApiError:
    """A control request cannot be decided; inference goes on."""
    return ApiError(
        503,
        "head_unavailable",
        f"the head cannot be reached ({why}): models go on serving, but cannot be changed or described now",
        retry_after=1,
    )


def worker_away(why: str) -> ApiError:
    """The worker that would know cannot be asked."""
    return ApiError(503, "worker_unavailable", f"the worker cannot be reached ({why})", retry_after=1)


def router_away() -> ApiError:
    """The actor that keeps the holds is being restarted."""
    return ApiError(
        503, "router_restarting", "the gateway's router is being restarted: try again", retry_after=1
    )


def internal() -> ApiError:
    """A mistake of the gateway; what happened is in its log."""
    return ApiError(500, "internal_error", "the gateway made a mistake: its log says which")
