"""The cluster's own HTTP, on the head: how to join, and who is there."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from quart import Quart, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from .join import ClusterInfo
from .loopback import is_loopback, is_loopback_origin

Describe = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the cluster's document, ``{"nodes": [...], "deployments": [...]}``, or raises ``Unknown``."""

OPEN_PATHS = ("/cluster", "/health")


class Unknown(Exception):
    """The head cannot say now; one sentence says why."""


def cluster_app(info: ClusterInfo, describe: Describe, *, admin_key: str | None) -> Quart:
    """Make the app.

    Args:
        info: What a node needs to know in order to join; not a secret.
        describe: See ``Describe``.
        admin_key: Asked of everybody for everything but ``/cluster`` and ``/health``; None where only this
            machine can connect: then everything is open to programs, and nothing to web pages.
    """
    # It serves no files: both paths are given, so that none is looked for on disk.
    app = Quart("sllm_actors.cluster", static_folder=None, root_path="/", instance_path="/")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    _check_access(app, admin_key)
    _answer_errors(app)

    @app.get("/cluster")
    async def cluster() -> Response:
        return jsonify(attrs.asdict(info))

    @app.get("/health")
    async def health() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/workers")
    async def workers() -> Response:
        return jsonify(_workers(await describe()))

    @app.get("/workers/<path:name>")
    async def worker(name: str) -> Response:
        for each in _workers(await describe()):
            if name in (each["worker_id"], each["id"]):
                return jsonify(each)
        return _error(404, f"there is no worker {name}", "not_found")

    @app.get("/instances")
    async def instances() -> Response:
        return jsonify(_instances(await describe()))

    @app.get("/instances/<path:name>")
    async def instance(name: str) -> Response:
        for each in _instances(await describe()):
            if name == each["id"]:
                return jsonify(each)
        return _error(404, f"there is no instance {name}", "not_found")

    return app


def _check_access(app: Quart, admin_key: str | None) -> None:
    @app.before_request
    async def check() -> Response | None:
        if admin_key is None:
            origin = request.headers.get("origin")
            local = is_loopback(request.headers.get("host", ""))
            if local and (origin is None or is_loopback_origin(origin)):
                return None
            return _error(403, "this is open to programs on this machine only", "foreign_host")
        given = request.headers.get("authorization", "")
        if request.path in OPEN_PATHS or hmac.compare_digest(given.encode(), f"Bearer {admin_key}".encode()):
            return None
        return _error(401, "this needs the admin key: send it as `Authorization: Bearer KEY`", "invalid_key")


def _answer_errors(app: Quart) -> None:
    @app.errorhandler(Unknown)
    async def unknown(error: Unknown) -> Response:
        response = _error(503, str(error), "head_busy")
        response.headers["Retry-After"] = "1"
        return response

    @app.errorhandler(HTTPException)
    async def of_http(error: HTTPException) -> Response:
        if error.code == 404:
            return _error(
                404, "there is nothing here: the OpenAI API is at the gateway's port", "unknown_url"
            )
        if error.code is None or error.code >= 500:
            return _error(500, "the head could not answer: its log says why", "internal_error")
        return _error(error.code, error.description or error.name, "invalid_request")


def _workers(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [_worker(node) for node in document["nodes"] if node["role"] == "worker"]


def _instances(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**instance, "instance_id": instance["id"], "deployment": deployment["id"]}
        for deployment in document["deployments"]
        for instance in deployment["instances"]
    ]


def _worker(node: dict[str, Any]) -> dict[str, Any]:
    """Show a worker with the fields of both the multi-machine guide and Pylet."""
    up = node["state"] == "up"
    return {
        "id": node["name"],
        "gpu_units": node["gpus_total"],
        "status": "ready" if up else "offline",
        "worker_id": node["id"],
        "host": node["host"],
        "total_resources": {
            "cpu_cores": node["cpus"],
            "gpu_units": node["gpus_total"],
            "memory_mb": node["memory_total"] >> 20,
        },
        "available_resources": {
            "cpu_cores": node["cpus"],
            "gpu_units": node["gpus_free"],
            "memory_mb": node["memory_free"] >> 20,
        },
        "last_seen": node["since"],
        "labels": node["labels"],
    }


def _error(status: int, message: str, code: str) -> Response:
    kind = (
        "server_error" if status >= 500 else "not_found_error" if status == 404 else "invalid_request_error"
    )
    response = jsonify({"error": {"message": message, "type": kind, "param": None, "code": code}})
    response.status_code = status
    return response
