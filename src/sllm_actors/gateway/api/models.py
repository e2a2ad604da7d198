"""The models that clients may name: OpenAI's list of them, with how each is."""

from __future__ import annotations

from typing import Any, Final

from quart import Quart

from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.route import Route

_VALUES: Final = {"ready": "loaded", "asleep": "sleeping", "starting": "loading"}
"""What llama.cpp's server, and clients of it, call the states; all others are ``unloaded`` there."""


def serve_models(app: Quart, board: Board) -> None:
    """Add the routes that list models. They read the board only, so they wake no model.

    Args:
        app: The application; it has the converters of ``ids``.
        board: The routes.
    """

    @app.get("/models")  # where llama.cpp's server, which serves several models, has it
    @app.get("/v1/models")
    async def models() -> Any:
        return {"object": "list", "data": [_model(name, route) for name, route in board.listed()]}

    @app.get("/v1/models/<id:name>")
    async def model(name: str) -> Any:
        route = board.find(name)
        if route is None:
            raise board.missing(name)
        return _model(name, route)


def _model(name: str, route: Route) -> dict[str, Any]:
    served, state = route.served, route.status
    value = _VALUES.get(state, "unloaded")
    if state == "starting" and route.downloading:
        value = "downloading"
    entry: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": 0 if served is None else int(served.created),
        "owned_by": "sllm",
        "status": {"value": value, "state": state, "failed": state == "failed"},
        "aliases": [] if served is None else list(served.aliases),
    }
    if route.context_length:
        # vLLM's name for it, and that of gateways: clients look for one or the other.
        entry["max_model_len"] = entry["context_length"] = route.context_length
    return entry
