"""The head's HTTP API: how to join the cluster, and which workers and replicas there are."""

from __future__ import annotations

import hmac
import json
from typing import Any

import attrs
from quart import Quart, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from sllm_actors.actors import ActorSystem, AskError
from sllm_actors.api_error import ApiError, method_not_allowed
from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.cluster.loopback import is_loopback_authority, is_loopback_origin

from .messages import CONTROLLER, Done
from .views.messages import DescribeInstances, DescribeWorkers

OPEN_PATHS = ("/cluster", "/health")

PATIENCE = 10.0
"""Seconds that the controller may take for an answer; then a request fails with 503."""


def cluster_app(info: ClusterInfo, system: ActorSystem, *, admin_key: str | None) -> Quart:
    """Make the app that serves the API.

    Args:
        info: What a node needs to know in order to join; not a secret.
        system: The head's actor system, in which the controller runs.
        admin_key: Must be sent with every request but those of ``/cluster`` and ``/health``. None where only
            this machine can connect: then all is open to programs here, but not to pages of web browsers.
    """
    # It serves no files: both paths are given, so that none is looked for on disk.
    app = Quart("sllm_actors.cluster", static_folder=None, root_path="/", instance_path="/")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    _check_access(app, admin_key)
    _answer_errors(app)

    async def ask(question: DescribeWorkers | DescribeInstances) -> list[dict[str, Any]]:
        try:
            answer = await system.named(CONTROLLER).ask(question, timeout=PATIENCE)
        except AskError as error:
            raise ApiError(503, "head_busy", f"the head cannot say now: {error}", retry_after=1) from None
        assert isinstance(answer, Done)
        document: list[dict[str, Any]] = json.loads(answer.document)
        return document

    @app.route("/*", methods=["OPTIONS"])
    async def options() -> Response:  # the server as a whole, `OPTIONS *`
        return Response("", 204, {"Allow": "GET, HEAD, OPTIONS"})

    @app.get("/cluster")
    async def cluster() -> Response:
        return jsonify(attrs.asdict(info))

    @app.get("/health")
    async def health() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/workers")
    async def workers() -> Response:
        return jsonify(await ask(DescribeWorkers()))

    @app.get("/workers/<path:name>")
    async def worker(name: str) -> Response:
        for each in await ask(DescribeWorkers()):
            if name in (each["worker_id"], each["id"]):
                return jsonify(each)
        raise ApiError(404, "not_found", f"there is no worker {name}")

    @app.get("/instances")
    async def instances() -> Response:
        return jsonify(await ask(DescribeInstances()))

    @app.get("/instances/<path:name>")
    async def instance(name: str) -> Response:
        for each in await ask(DescribeInstances()):
            if name == each["id"]:
                return jsonify(each)
        raise ApiError(404, "not_found", f"there is no instance {name}")

    return app


def _check_access(app: Quart, admin_key: str | None) -> None:
    @app.before_request
    async def check() -> None:
        if admin_key is None:
            origin = request.headers.get("origin")
            local = is_loopback_authority(request.headers.get("host", ""))
            if not local or (origin is not None and not is_loopback_origin(origin)):
                raise ApiError(403, "foreign_host", "this is open to programs on this machine only")
            return
        given = request.headers.get("authorization", "")
        known = hmac.compare_digest(given.encode(), f"Bearer {admin_key}".encode())
        if request.path not in OPEN_PATHS and not known:
            sentence = "this needs the admin key: send it as `Authorization: Bearer KEY`"
            raise ApiError(401, "invalid_key", sentence)


def _answer_errors(app: Quart) -> None:
    @app.errorhandler(ApiError)
    async def ours(error: ApiError) -> Response:
        return _response(error)

    @app.errorhandler(HTTPException)
    async def of_http(error: HTTPException) -> Response:
        if error.code == 404:
            sentence = "there is nothing here: the OpenAI API is at the gateway's port"
            return _response(ApiError(404, "unknown_url", sentence))
        if isinstance(error, MethodNotAllowed):
            allowed = error.valid_methods or ()
            return _response(method_not_allowed(request.method, request.path, allowed))
        if error.code is None or error.code >= 500:
            return _response(ApiError(500, "internal_error", "the head could not answer: its log says why"))
        return _response(ApiError(error.code, "invalid_request", error.description or error.name))


def _response(error: ApiError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body, error.status, headers)
