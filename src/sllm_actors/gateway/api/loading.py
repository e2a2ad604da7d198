"""Loading and unloading models over HTTP, also by the paths that llama.cpp's router has for it."""

from __future__ import annotations

from typing import Any

from quart import Quart, Response, jsonify

from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.board import Board
from sllm_actors.serving.loading.messages import (
    LoadDeployment,
    SleepDeployment,
    UnloadDeployment,
    WakeDeployment,
)

from .body import flag, read_body, read_level, texts
from .control import Control


def serve_loading(app: Quart, board: Board, control: Control) -> None:
    """Add the routes for loading; the app has the converters of ``ids``.

    Args:
        app: The application.
        board: The routes, for requests that name a model and not a deployment.
        control: Asks the head.
    """

    @app.post("/deployments/<deployment:name>/load")
    async def load(name: str) -> Any:
        return await control.ask(LoadDeployment(name))

    @app.post("/deployments/<deployment:name>/unload")
    async def unload(name: str) -> Any:
        return await control.ask(UnloadDeployment(name, flag("force")))

    @app.post("/deployments/<deployment:name>/sleep")
    async def sleep_deployment(name: str) -> Any:
        return await control.ask(SleepDeployment(name, await read_level()))

    @app.post("/deployments/<deployment:name>/wake")
    async def wake_deployment(name: str) -> Any:
        return await control.ask(WakeDeployment(name))

    @app.post("/models/load")
    async def load_model() -> Any:
        return _success(await control.ask(LoadDeployment(await _named(board))))

    @app.post("/models/unload")
    async def unload_model() -> Any:
        return _success(await control.ask(UnloadDeployment(await _named(board))))


def _success(answer: Response) -> Response:
    """Return what llama.cpp's router says; it does not wait either."""
    response = jsonify({"success": True})
    response.status_code = answer.status_code
    return response


async def _named(board: Board) -> str:
    """Return the id of the deployment that a request's ``model``, and perhaps ``backend``, mean.

    Raises:
        ApiError: There is no such model (404), or several deployments have it (409).
    """
    named = texts(await read_body(), ("model", "backend"))
    model, backend = named["model"], named["backend"]
    if not model:
        raise errors.bad_request("no model is named: give the key model", param="model")
    ids = [each for each in board.meant(model) if backend in ("", each.rpartition(":")[2])]
    if not ids:
        raise board.missing(model, backend)
    if len(ids) > 1:
        raise errors.ambiguous_model(model, ids)
    return ids[0]
