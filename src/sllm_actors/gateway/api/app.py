"""The Quart application: everything but inference, that is models, health, deployments and instances."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import structlog
from attrs import frozen
from quart import Quart, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.routing import BaseConverter

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.api_error import ApiError, method_not_allowed
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.route import Route
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.serving.deployment.json_text import read_object
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.messages import (
    CONTROLLER,
    ControlAnswer,
    DeleteDeployment,
    Deploy,
    Describe,
    Done,
    Refusal,
    RefusalKind,
)

from .instances import Instances

log = structlog.get_logger()

STATUS_OF = {
    RefusalKind.INVALID: 400,
    RefusalKind.UNKNOWN: 404,
    RefusalKind.CONFLICT: 409,
    RefusalKind.TOO_LARGE: 413,
    RefusalKind.UNAVAILABLE: 503,
}
"""The HTTP status of each kind of refusal."""

HeadNode = Callable[[], NodeId | None]


@frozen
class Control:
    """Asks the head.

    Attributes:
        system: The node's actor system.
        head_node: Returns the head's node id, or None while there is no link to it.
        timeout: Seconds that the head has for its answer.
    """

    system: ActorSystem
    head_node: HeadNode
    timeout: float

    async def ask(self, question: Deploy | DeleteDeployment | Describe) -> Response:
        """Return the document that the head answers with, as a response.

        Its status is 202 for what has begun and ends by itself, else 200.

        Raises:
            ApiError: The head refused, or did not answer (503 ``head_unavailable``).
        """
        node = self.head_node()
        if node is None:
            raise errors.head_away("there is no link to it")
        try:
            answer = await self.system.named(CONTROLLER, node).ask(question, timeout=self.timeout)
        except AskError as error:
            raise errors.head_away(str(error)) from None
        if not isinstance(answer, Done | Refusal):
            raise errors.head_away(f"it answered with a {type(answer).__name__}")
        return _passed_on(answer)


def _passed_on(answer: ControlAnswer) -> Response:
    if isinstance(answer, Refusal):
        raise ApiError(
            STATUS_OF[answer.kind],
            answer.code,
            answer.message,
            answer.param,
            answer.retry_after,
            mistakes=tuple({"param": each.param, "message": each.message} for each in answer.mistakes),
        )
    return Response(answer.document, 202 if answer.pending else 200, content_type="application/json")


class _IdConverter(BaseConverter):
    """An id: anything, slashes included, also at its beginning (a model may be a path)."""

    regex = ".+?"
    part_isolating = False


def build_app(*, board: Board, control: Control, instances: Instances, settings: GatewaySettings) -> Quart:
    """Return the application.

    Args:
        board: The routes, for the lists of models.
        control: Asks the head.
        instances: Asks the workers.
        settings: The bounds of the gateway.
    """
    # The app serves no files. Both paths are given so that Quart does not look for them on the disk.
    app = Quart("sllm_actors.gateway", static_folder=None, root_path="/", instance_path="/")
    app.config["MAX_CONTENT_LENGTH"] = settings.document_limit
    app.url_map.merge_slashes = False
    app.url_map.converters["id"] = _IdConverter
    app.url_map.strict_slashes = False
    _answer_errors(app)
    _serve_models(app, board, control)
    _serve_deployments(app, control)
    _serve_instances(app, instances)
    return app


def _serve_models(app: Quart, board: Board, control: Control) -> None:
    @app.route("/*", methods=["OPTIONS"])
    async def options() -> Response:  # the server as a whole, `OPTIONS *`
        return Response("", 204, {"Allow": "DELETE, GET, HEAD, OPTIONS, POST"})

    @app.get("/health")
    async def health() -> Any:
        head = "down" if control.head_node() is None else "up"
        return {"status": "ok", "head": head, "deployments": len(board.routes)}

    @app.get("/v1/models")
    async def models() -> Any:
        return {"object": "list", "data": [_model(name, route) for name, route in board.listed()]}

    @app.post("/v1/chat/completions")
    @app.post("/v1/completions")
    @app.post("/v1/embeddings")
    async def inference() -> Any:
        # The ingress serves inference before it comes here, except a path with escapes. The routes are there
        # for other methods on them: Quart answers those with 405 and the right Allow.
        raise errors.not_found("the path of an inference request is written without escapes", "unknown_url")

    @app.get("/v1/models/<id:name>")
    async def model(name: str) -> Any:
        route = board.find(name)
        if route is None:
            raise errors.model_not_found(name)
        return _model(name, route)


def _model(name: str, route: Route) -> dict[str, Any]:
    created = 0 if route.served is None else int(route.served.created)
    return {"id": name, "object": "model", "created": created, "owned_by": "sllm"}


def _serve_deployments(app: Quart, control: Control) -> None:
    @app.post("/deployments")
    async def deploy() -> Any:
        try:
            data = await request.get_data()
            text = data if isinstance(data, str) else data.decode("utf-8-sig")
            if not isinstance(json.loads(text), dict):
                raise errors.bad_request("a deployment must be a JSON object", code="invalid_json")
        except (ValueError, RecursionError):
            raise errors.bad_request("the deployment is not JSON", code="invalid_json") from None
        return await control.ask(Deploy(text))

    @app.get("/deployments/<id:name>")
    async def describe(name: str) -> Any:
        return await control.ask(Describe(name))

    @app.delete("/deployments/<id:name>")
    async def delete(name: str) -> Any:
        return await control.ask(DeleteDeployment(name))

    @app.get("/status")
    async def status() -> Any:
        return await control.ask(Describe())


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
        return _passed_on(await instances.sleep(name, await _level()))

    @app.post("/instances/<id:name>/wake_up")
    async def wake_up(name: str) -> Any:
        return _passed_on(await instances.wake_up(name))


async def _level() -> int:
    """Return the ``level`` of a request's body; without a body it is 1."""
    data = await request.get_data()
    try:
        text = data if isinstance(data, str) else data.decode()
        body = read_object(text, "the body") if text else {}
    except ValueError as error:
        problem = str(error) if isinstance(error, DeploymentProblem) else "the body is not JSON"
        raise errors.bad_request(problem, code="invalid_json") from None
    level = body.get("level", 1)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= 2:
        raise errors.bad_request("the body must be a JSON object with a level of 0, 1 or 2", param="level")
    return level


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
        return _response(_of_http(error))

    @app.errorhandler(Exception)
    async def mistake(error: Exception) -> Response:
        log.error("request.mistake", path=request.path, exc_info=error)
        return _response(errors.internal())


def _of_http(error: HTTPException) -> ApiError:
    status = error.code or 500
    if isinstance(error, RequestEntityTooLarge):
        return errors.body_too_large(current_app.config["MAX_CONTENT_LENGTH"])
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
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body, error.status, headers)
