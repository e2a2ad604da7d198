"""The gateway's own errors, all made here. Each function returns one; its first line says when it is used."""

from __future__ import annotations

from collections.abc import Sequence

from sllm_actors.api_error import ApiError


def bad_request(message: str, *, param: str | None = None, code: str = "invalid_request") -> ApiError:
    """The request cannot be understood; ``param`` is the field that is wrong, if one is."""
    return ApiError(400, code, message, param)


def model_required() -> ApiError:
    """The request does not say which model is to serve it."""
    return bad_request(
        'the request needs a "model": a name that GET /v1/models lists', param="model", code="model_required"
    )


def bad_keep_alive() -> ApiError:
    """The request says in no way that is known how long its model is to stay loaded."""
    return bad_request(
        '"keep_alive" must be a number of seconds (0: none, -1: always) or a duration like "5m" or "1h30m"',
        param="keep_alive",
    )


def body_too_large(limit: int) -> ApiError:
    """The request's body has more than ``limit`` bytes."""
    return ApiError(413, "body_too_large", f"the request's body may have at most {limit} bytes")


def model_too_late(limit: int) -> ApiError:
    """A form has ``limit`` bytes and still does not name its model."""
    return ApiError(
        413,
        "body_too_large",
        f"a form may have at most {limit} bytes before its field model: put that before the files",
        "model",
    )


def unsupported_coding(coding: str, accepted: Sequence[str]) -> ApiError:
    """The request's ``Content-Encoding`` is none that the gateway decodes."""
    return ApiError(
        415,
        "unsupported_content_encoding",
        f"the gateway cannot decode a body with the Content-Encoding {coding[:100]!r}: send it as it is, or"
        f" with one of {', '.join(accepted)}",
        accept_encoding=tuple(accepted),
    )


def bad_form(why: str) -> ApiError:
    """The request's body is no form that can be read; ``why`` goes on the sentence."""
    return bad_request(f"the request's body is not a whole and valid form: {why}", code="invalid_form")


def not_decodable(coding: str) -> ApiError:
    """The request's body is not what its ``Content-Encoding`` says, or not all of it."""
    return bad_request(
        f"the request's body is not whole and valid {coding}, which its Content-Encoding says",
        code="invalid_content_encoding",
    )


def body_too_slow() -> ApiError:
    """The request's body did not arrive in time."""
    return ApiError(408, "body_timeout", "the request's body did not arrive in time: send it again")


def head_too_large(limit: int) -> ApiError:
    """The first line and the headers of a request have more than ``limit`` bytes."""
    return ApiError(431, "head_too_large", f"the head of a request may have at most {limit} bytes")


def invalid_key() -> ApiError:
    """The request has no key, or a wrong one."""
    return ApiError(
        401, "invalid_api_key", "this gateway wants a valid key: send the header Authorization: Bearer KEY"
    )


def admin_key_wanted(name: str) -> ApiError:
    """The key called ``name`` opens what is for users of models, and the request is for something else."""
    return ApiError(
        403,
        "admin_key_required",
        f"the key {name} is for requests to models and for listing them: this needs the admin key",
    )


def foreign_host(what: str) -> ApiError:
    """The header ``what`` (``Host`` or ``Origin``) names another machine: a web page may have sent it."""
    return ApiError(
        403,
        "forbidden_host",
        f"this gateway serves programs of its own machine only, and the {what} header names another one",
    )


def origin_not_allowed(origin: str) -> ApiError:
    """A browser asks for a web page of another origin than those that are allowed."""
    return ApiError(
        403,
        "origin_not_allowed",
        f"pages of {origin[:200]} may not use this gateway: start it with --cors-origin and that origin",
    )


def model_not_found(model: str) -> ApiError:
    """No deployment has that name or id."""
    shown = model if len(model) <= 200 else model[:200] + "…"
    return ApiError(
        404,
        "model_not_found",
        f"the model {shown!r} does not exist: GET /v1/models lists those that do",
        "model",
    )


def backend_not_found(model: str, backend: str, ids: Sequence[str]) -> ApiError:
    """The model is deployed, but not with that backend; ``ids`` are its deployments."""
    return ApiError(
        404,
        "model_not_found",
        f"the model {model[:200]!r} is not deployed with the backend {backend[:100]!r}:"
        f" there is {', '.join(sorted(ids)[:8])}",
        "backend",
    )


def models_unknown() -> ApiError:
    """The gateway has just begun, and does not know yet which models are deployed."""
    return ApiError(
        503,
        "head_unavailable",
        "this gateway has not heard from the head yet which models are deployed: try again",
        retry_after=1,
    )


def ambiguous_model(model: str, ids: Sequence[str]) -> ApiError:
    """Several deployments have that model; ``ids`` are theirs."""
    choices = ", ".join(sorted(ids)[:8])
    return ApiError(
        409,
        "model_ambiguous",
        f"{model[:200]} is deployed more than once: give backend too, or as model one of {choices}",
        "backend",
    )


def not_found(what: str, code: str = "not_found") -> ApiError:
    """Something that the path names does not exist; ``what`` is the whole sentence that says so."""
    return ApiError(404, code, what)


def unknown_id(made: str) -> ApiError:
    """The path has an id of something that an engine holds, and nobody knows which engine."""
    return not_found(
        f"nobody here knows which model {made[:200]!r} belongs to: add ?model=NAME to the address",
        "unknown_id",
    )


def holder_gone(made: str, deployment: str) -> ApiError:
    """The replica that held what the id in the path names has left the routes, and took it along."""
    return not_found(
        f"{made[:200]!r} is gone: the engine of {deployment} that held it has ended, so make it anew",
        "unknown_id",
    )


def hold_queue_full(deployment: str, limit: int, expected: float | None = None) -> ApiError:
    """``limit`` requests wait for the deployment in this gateway already; ``expected``: for how long."""
    return ApiError(
        429,
        "hold_queue_full",
        f"{limit} requests wait for {deployment} already: try again later",
        retry_after=_retry_after(expected, 5.0),
    )


def held_too_long(deployment: str, expected: float | None = None) -> ApiError:
    """No replica was ready before the request's ``hold_timeout`` was over; one may be in ``expected`` s."""
    return ApiError(
        503,
        "cold_start_timeout",
        f"{deployment} was not ready in time: try again later",
        retry_after=_retry_after(expected, 10.0),
    )


def queued_too_long(deployment: str, expected: float | None = None) -> ApiError:
    """All replicas were full until the request's time to wait was over."""
    return ApiError(
        429,
        "queue_timeout",
        f"every replica of {deployment} had as many requests as it takes: try again later",
        retry_after=_retry_after(expected, 5.0),
    )


def _retry_after(expected: float | None, unknown: float) -> float:
    """Return what is expected, within what clients obey; ``unknown`` where nothing was measured."""
    return unknown if expected is None else min(max(expected, 1.0), 60.0)


def replicas_failed(deployment: str, reason: str, retry_in: float | None) -> ApiError:
    """Every replica has failed; ``retry_in`` is the time until one is started again, in seconds, if known."""
    why = f": {reason}" if reason else ""
    retry_after = 30.0 if retry_in is None else min(max(retry_in, 1.0), 60.0)
    return ApiError(
        503, "replicas_failed", f"every replica of {deployment} has failed{why}", None, retry_after
    )


def no_place(deployment: str, reason: str) -> ApiError:
    """No worker had room for a replica within the deployment's ``startup_timeout``."""
    return ApiError(503, "no_place", f"{deployment} does not run: {reason}", None, retry_after=30)


def engine_broke(deployment: str, reason: str) -> ApiError:
    """The engine, or the connection to it, broke."""
    return ApiError(502, "engine_broke", f"the engine of {deployment} broke: {reason}", retry_after=1)


def upload_broken_off(deployment: str) -> ApiError:
    """The engine, or the connection to it, broke after it had got more of an upload than is kept."""
    why = "it had got a part of this upload already, which the gateway does not keep: send the request again"
    return engine_broke(deployment, why)


def request_breaks_engines(deployment: str) -> ApiError:
    """Two engines ended by themselves while they worked on the request, or on one of the same content."""
    return ApiError(
        502,
        "request_breaks_engines",
        f"two engines of {deployment} ended while they worked on this request, so it is not tried again:"
        " `sllm logs` shows why they ended",
        should_retry=False,
    )


def not_streamed() -> ApiError:
    """The client has been sent the head of a stream already, and then the engine sends one document."""
    return ApiError(
        502,
        "engine_did_not_stream",
        'the engine does not stream this kind of answer: send the request without "stream"',
    )


def server_unreachable(deployment: str, reason: str) -> ApiError:
    """The server of an external deployment cannot be reached."""
    return ApiError(503, "server_unreachable", f"{deployment} cannot serve now: {reason}", retry_after=5)


def loop_detected() -> ApiError:
    """The request came back to a gateway that had sent it on."""
    return ApiError(
        508,
        "loop_detected",
        "the request came back to a gateway that it has passed before: an endpoint of an external deployment"
        " leads back to this gateway",
    )


def engine_silent(deployment: str, silence: float) -> ApiError:
    """The engine sent nothing for ``silence`` seconds."""
    return ApiError(504, "engine_silent", f"the engine of {deployment} was silent for {silence:g} s")


def overloaded() -> ApiError:
    """The gateway serves as many inference requests as it may."""
    return ApiError(503, "overloaded", "this gateway has too many requests: try again", retry_after=1)


def gateway_stopping() -> ApiError:
    """The gateway is stopping, and the request has not ended within the time that was left for it."""
    return ApiError(
        503,
        "gateway_stopping",
        "this gateway is being stopped and cannot finish the answer: send the request again",
        retry_after=1,
    )


def out_of_descriptors(reason: str) -> ApiError:
    """A process of sllm has as many file descriptors open as it may; no engine is to blame."""
    return ApiError(
        503,
        "out_of_descriptors",
        f"the request cannot be served now, for {reason}: try again",
        retry_after=1,
    )


def no_room(deployment: str, reason: str) -> ApiError:
    """This gateway or the worker has no room for another connection to the engine, which is not to blame."""
    return ApiError(
        503, "overloaded", f"no connection to {deployment} is free ({reason}): try again", retry_after=1
    )


def head_away(why: str) -> ApiError:
    """The head cannot be asked, so a control request cannot be decided; inference goes on."""
    return ApiError(
        503,
        "head_unavailable",
        f"the head cannot be reached ({why}): models go on serving, but cannot be changed or described now",
        retry_after=1,
    )


def too_many_followers(limit: int) -> ApiError:
    """So many clients follow the journal already."""
    sentence = f"{limit} clients follow the journal at this gateway already: ask for pages of it instead"
    return ApiError(503, "too_many_followers", sentence, retry_after=10.0)


def worker_away(why: str) -> ApiError:
    """The worker of an instance cannot be asked."""
    return ApiError(503, "worker_unavailable", f"the worker cannot be reached ({why})", retry_after=1)


def internal() -> ApiError:
    """The gateway itself failed; its log has the traceback."""
    return ApiError(500, "internal_error", "the gateway made a mistake: its log says which")
