"""The Quart application: everything but inference, as models, health, deployments, keys and instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from quart import Quart, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from sllm_actors.api_error import ApiError, method_not_allowed
from sllm_actors.gateway import errors
from sllm_actors.gateway.bodies.dialects import dialect_of
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.gateway.surface import methods_of

from .body import read_level
from .control import Control, passed_on
from .deployments import serve_deployments, serve_nodes
from .events import serve_events
from .ids import CONVERTERS
from .instances import Instances
from .keys import serve_keys
from .loading import serve_loading
from .models import serve_models
from .older import serve_older
from .openapi import DOCUMENT
from .pulls import PullClient, serve_pulls
from .query import refuse_unknown_parameters

log = structlog.get_logger()


def build_app(
    *,
    board: Board,
    control: Control,
    instances: Instances,
    pulls: PullClient,
    settings: GatewaySettings,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Quart:
    """Return the application.

    Args:
        board: The routes, for the lists of models.
        control: Asks the head.
        instances: Asks the workers about what they run.
        pulls: Asks the workers to bring model files.
        settings: The bounds of the gateway.
        is_stopping: Whether ``/health`` should say that no further requests are wanted.
    """
    # The app serves no files. Both paths are given so that Quart does not look for them on the disk.
    app = Quart("sllm_actors.gateway", static_folder=None, root_path="/", instance_path="/")
    app.config["MAX_CONTENT_LENGTH"] = settings.document_limit
    app.url_map.merge_slashes = False
    app.url_map.converters |= CONVERTERS
    app.url_map.strict_slashes = False
    _answer_errors(app)
    app.before_request(refuse_unknown_parameters)
    _serve_itself(app, board, control, is_stopping)
    serve_models(app, board)
    serve_deployments(app, control)
    serve_older(app, board, control)
    serve_nodes(app, control)
    serve_keys(app, control)
    serve_events(app, control, is_stopping)
    _serve_instances(app, instances)
    serve_pulls(app, pulls)
    serve_loading(app, board, control)
    return app


def _serve_itself(app: Quart, board: Board, control: Control, is_stopping: Callable[[], bool]) -> None:
    @app.route("/*", methods=["OPTIONS"])
    async def options() -> Response:  # the server as a whole, `OPTIONS *`
        return Response("", 204, {"Allow": "DELETE, GET, HEAD, OPTIONS, PATCH, POST"})

    @app.get("/health")
    async def health() -> Any:
        if is_stopping():
            raise errors.gateway_stopping()
        head = "down" if control.head_node() is None else "up"
        return {"status": "ok", "head": head, "deployments": len(board.routes)}

    @app.get("/openapi.json")
    async def openapi() -> Any:
        return DOCUMENT


def _serve_instances(app: Quart, instances: Instances) -> None:
    @app.get("/instances/<id:name>/logs")
    async def read_log(name: str) -> Any:
        chunk = await instances.read_log(name, _number("offset"), _number("limit"))
        return {
            "id": name,
            "offset": chunk.offset,
            "next_offset": chunk.next_offset,
            "text": chunk.text,
            "ended": chunk.ended,
        }

    @app.post("/instances/<id:name>/sleep")
    async def sleep(name: str) -> Any:
        return passed_on(await instances.sleep(name, await read_level()))

    @app.post("/instances/<id:name>/wake_up")
    async def wake_up(name: str) -> Any:
        return passed_on(await instances.wake_up(name))


def _number(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise errors.bad_request(f"{name} must be a number of bytes, not {text[:40]!r}", param=name)
    return int(text)


def _answer_errors(app: Quart) -> None:
    @app.errorhandler(ApiError)
    async def ours(error: ApiError) -> Response:
        return _response(error)

    @app.errorhandler(HTTPException)
    async def of_http(error: HTTPException) -> Response:
        if error.code == 404 and request.method == "OPTIONS":
            allowed = methods_of(request.path.encode())
            if allowed:
                return Response("", 200, {"Allow": ", ".join(allowed)})
        return _response(_of_http(error))

    @app.errorhandler(Exception)
    async def mistake(error: Exception) -> Response:
        log.error("request.mistake", path=request.path, exc_info=error)
        return _response(errors.internal())


def _of_http(error: HTTPException) -> ApiError:
    status = error.code or 500
    if isinstance(error, RequestEntityTooLarge):
        return errors.body_too_large(current_app.config["MAX_CONTENT_LENGTH"])
    if status == 404 and (allowed := methods_of(request.path.encode())):
        # Inference is served before it comes here, but for a path with escapes.
        if request.method in allowed:
            return errors.not_found(
                "the path of an inference request is written without escapes", "unknown_url"
            )
        return method_not_allowed(request.method, request.path, allowed)
    if status == 404:
        return errors.not_found(f"there is no {request.method} {request.path[:200]}", "unknown_url")
    if isinstance(error, MethodNotAllowed):
        return method_not_allowed(request.method, request.path, error.valid_methods or ())
    if status == 408:
        return errors.body_too_slow()
    if 400 <= status < 500:
        return ApiError(status, "invalid_request", error.description or "the request is invalid")
    return errors.internal()


def _response(error: ApiError) -> Response:
    dialect = dialect_of(request.path)
    headers = {name.decode(): value.decode() for name, value in dialect.headers(error)}
    return Response(dialect.body(error), error.status, headers)
