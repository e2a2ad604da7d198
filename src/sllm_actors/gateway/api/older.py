"""The paths of ServerlessLLM's released server, for scripts that were written for it.

They name a model, and not a deployment. An answer has the ``status`` that it had there, and beside it what
today's path answers.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import anyio
from quart import Quart, Response

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.board import Board
from sllm_actors.serving.deployment.json_text import read_object
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.spec import DEFAULT_BACKEND
from sllm_actors.serving.messages import DeleteDeployment, Deploy, UpdateDeployment
from sllm_actors.serving.views.messages import DescribeDeployment

from .body import read_json_text
from .control import Control

GONE_WITHIN = 120.0
"""Seconds for which a request to delete is held until the deployment is gone; then it goes on by itself."""

LOOK_SECONDS = 0.2
"""Pause between two questions whether it is gone."""


def serve_older(app: Quart, board: Board, control: Control) -> None:
    """Add the older routes.

    Args:
        app: The application.
        board: The routes, for requests that name a model and not a deployment.
        control: Asks the head.
    """

    @app.post("/register")
    async def register() -> Any:
        return await _answer(await control.ask(Deploy(await read_json_text("the deployment"))), "ok")

    @app.post("/update")
    async def update_by_model() -> Any:
        body = await _read_body("the update")
        model, name = _taken(body, board, "the update")
        answer = await control.ask(UpdateDeployment(name, json.dumps(body)))
        return await _answer(answer, f"updated model {model}")

    @app.post("/delete")
    async def delete_by_model() -> Any:
        body = await _read_body("the deletion")
        model, name = _taken(body, board, "the deletion")
        if body.pop("lora_adapters", None):
            sentence = "adapters are not deleted one by one: update the model's backend_config.lora_modules"
            raise errors.bad_request(sentence, param="lora_adapters")
        for key in body:
            raise errors.bad_request(f"the deletion has no {key[:40]}: it has model", param=key[:40])
        try:
            await control.ask(DeleteDeployment(name))
        except ApiError as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise
            return {"status": f"deleted model {model}", "message": f"there was no deployment {name}"}
        document = {"deployment_id": name, "message": f"{name} is gone"}
        with anyio.move_on_after(GONE_WITHIN):
            await _until_gone(control, name)
            return document | {"status": f"deleted model {model}"}
        return document | {"status": f"deleting model {model}", "message": f"{name} is being deleted"}, 202


async def _until_gone(control: Control, name: str) -> None:
    """Return when the head does not know a deployment any more, or cannot say: then nobody waits for it."""
    while True:
        try:
            await control.ask(DescribeDeployment(name))
        except ApiError as refusal:
            if refusal.status == HTTPStatus.NOT_FOUND:
                return
            raise
        await anyio.sleep(LOOK_SECONDS)


async def _answer(response: Response, status: str) -> tuple[dict[str, Any], int]:
    """Return today's answer with the status that it had."""
    return json.loads(await response.get_data(as_text=True)) | {"status": status}, response.status_code


async def _read_body(what: str) -> dict[str, Any]:
    try:
        return read_object(await read_json_text(what), what)
    except DeploymentProblem as problem:
        raise errors.bad_request(str(problem), param=problem.param, code="invalid_deployment") from None


def _taken(body: dict[str, Any], board: Board, what: str) -> tuple[str, str]:
    """Take ``model`` and ``backend`` out of a body; return the model, and the id of the deployment meant.

    Raises:
        ApiError: The body names no model (400), or one that several deployments have (409).
    """
    model, backend = body.pop("model", None), body.pop("backend", None)
    if not isinstance(model, str) or not model:
        raise errors.bad_request(f"{what} names no model: give the key model", param="model")
    if backend is not None and not isinstance(backend, str):
        raise errors.bad_request("backend must be a text, as vllm", param="backend")
    served = [each.served for each in board.routes.values() if each.served is not None]
    ids = [each.id for each in served if model in (each.id, each.model) and backend in (None, each.backend)]
    if len(ids) > 1:
        raise errors.ambiguous_model(model, ids)
    return model, ids[0] if ids else f"{model}:{backend or DEFAULT_BACKEND}"
