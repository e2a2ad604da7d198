"""The cluster's own HTTP, on the head: how to join, and who is there."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from quart import Quart, Response, jsonify, request

from .join import ClusterInfo

Describe = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the document of the whole cluster: ``{"nodes": [...], "deployments": [...]}``."""


def cluster_app(info: ClusterInfo, describe: Describe, *, admin_key: str | None) -> Quart:
    """Make the app.

    Args:
        info: What a node needs to know in order to join; not a secret.
        describe: See ``Describe``.
        admin_key: Asked of everybody for everything but ``/cluster`` and ``/health``; None where only this
            machine can connect.
    """
    app = Quart("sllm_actors.cluster")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

    @app.before_request
    async def check_key() -> Response | None:
        if admin_key is None or request.path in ("/cluster", "/health"):
            return None
        given = request.headers.get("authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {admin_key}".encode()):
            return None
        return _error(401, "this needs the admin key: send it as `Authorization: Bearer KEY`")

    @app.get("/cluster")
    async def cluster() -> Response:
        return jsonify(attrs.asdict(info))

    @app.get("/health")
    async def health() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/workers")
    async def workers() -> Response:
        return jsonify([_worker(node) for node in (await describe())["nodes"] if node["role"] == "worker"])

    @app.get("/workers/<node_id>")
    async def worker(node_id: str) -> Response:
        for node in (await describe())["nodes"]:
            if node["role"] == "worker" and node["id"] == node_id:
                return jsonify(_worker(node))
        return _error(404, f"there is no worker {node_id}")

    @app.get("/instances")
    async def instances() -> Response:
        return jsonify(
            [
                {**instance, "instance_id": instance["id"], "deployment": deployment["id"]}
                for deployment in (await describe())["deployments"]
                for instance in deployment["instances"]
            ]
        )

    @app.errorhandler(404)
    async def not_found(_: Exception) -> Response:
        return _error(404, "there is nothing here: the OpenAI API is at the gateway's port")

    @app.errorhandler(500)
    async def internal(_: Exception) -> Response:
        return _error(500, "the head could not answer: its log says why")

    return app


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


def _error(status: int, message: str) -> Response:
    response = jsonify(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    )
    response.status_code = status
    return response
