"""The head's HTTP API: how to join the cluster, and which workers and replicas there are."""

from __future__ import annotations

import hmac
from collections import Counter
from urllib.parse import urlencode

import attrs
from quart import Quart, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from sllm_actors.actors import ActorSystem, AskError
from sllm_actors.api_error import ApiError, method_not_allowed
from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.cluster.loopback import is_loopback_authority, is_loopback_origin

from .id_converter import IdConverter
from .messages import CONTROLLER, Done, Refusal
from .refusals import as_error
from .views.messages import (
    DescribeInstance,
    DescribeInstances,
    DescribeWorker,
    DescribeWorkers,
    Question,
)
from .views.parameters import read_question

OPEN_PATHS = ("/cluster", "/health")

PATIENCE = 10.0
"""Seconds that the controller may take for an answer; then a request fails with 503."""


def cluster_app(
    info: ClusterInfo, system: ActorSystem, *, admin_key: str | None, refused: Counter[str] | None = None
) -> Quart:
    """Make the app that serves the API.

    Args:
        info: What a node needs to know in order to join; not a secret.
        system: The head's actor system, in which the controller runs.
        admin_key: Must be sent with every request but those of ``/cluster`` and ``/health``. None where only
            this machine can connect: then all is open to programs here, but not to pages of web browsers.
        refused: Counts the requests that are refused for that, by the codes of their errors.
    """
    # It serves no files: both paths are given, so that none is looked for on disk.
    app = Quart("sllm_actors.cluster", static_folder=None, root_path="/", instance_path="/")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    app.url_map.merge_slashes = False
    app.url_map.converters |= {"id": IdConverter}
    _check_access(app, admin_key, Counter() if refused is None else refused)
    _answer_errors(app)

    async def ask(question: Question) -> Done:
        try:
            answer = await system.named(CONTROLLER).ask(question, timeout=PATIENCE)
        except AskError as error:
            raise ApiError(503, "head_busy", f"the head cannot say now: {error}", retry_after=1) from None
        if isinstance(answer, Refusal):
            raise as_error(answer)
        assert isinstance(answer, Done)
        return answer

    async def ask_list(kind: type[DescribeWorkers | DescribeInstances]) -> Response:
        page = await ask(read_question(kind, request.args.items(multi=True)))
        return _json(page.document, _link_to(page.next) if page.next else {})

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
        return await ask_list(DescribeWorkers)

    @app.get("/workers/<id:name>")
    async def worker(name: str) -> Response:
        return _json((await ask(DescribeWorker(name))).document)

    @app.get("/instances")
    async def instances() -> Response:
        return await ask_list(DescribeInstances)

    @app.get("/instances/<id:name>")
    async def instance(name: str) -> Response:
        return _json((await ask(DescribeInstance(name))).document)

    return app


def _json(text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, 200, headers, content_type="application/json")


def _link_to(cursor: str) -> dict[str, str]:
    """Return the header that says where the next page of the list is (RFC 8288)."""
    query = {name: text for name, text in request.args.items() if name != "cursor"} | {"cursor": cursor}
    return {"Link": f'<{request.path}?{urlencode(query)}>; rel="next"'}


def _check_access(app: Quart, admin_key: str | None, refused: Counter[str]) -> None:
    @app.before_request
    async def count() -> None:
        try:
            check()
        except ApiError as error:
            refused[error.code] += 1
            raise

    def check() -> None:
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
