"""The control API: deployments, their rollouts, and the draining of nodes. The head decides all of it."""

from __future__ import annotations

import json
from typing import Any

from quart import Quart, request

from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.board import Board
from sllm_actors.serving.deployment.json_text import read_object
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.spec import DEFAULT_BACKEND
from sllm_actors.serving.messages import (
    DeleteDeployment,
    Deploy,
    DrainNode,
    PauseRollout,
    ResumeRollout,
    UndrainNode,
    UpdateDeployment,
)
from sllm_actors.serving.views.messages import (
    DescribeCluster,
    DescribeDeployment,
    DescribeDeployments,
    DescribeNodes,
)
from sllm_actors.serving.views.parameters import read_question

from .body import flag, read_text
from .control import Control


def serve_deployments(app: Quart, board: Board, control: Control) -> None:
    """Add the routes for deployments.

    Args:
        app: The application; it has the converters of ``ids``.
        board: The routes, for requests that name a model and not a deployment.
        control: Asks the head.
    """

    @app.post("/deployments")
    async def deploy() -> Any:
        update, downtime = flag("update"), flag("allow_downtime")
        return await control.ask(Deploy(await _object("the deployment"), update, downtime))

    @app.get("/deployments")
    async def describe_all() -> Any:
        return await control.ask(read_question(DescribeDeployments, request.args.items(multi=True)))

    @app.get("/deployments/<deployment:name>")
    async def describe(name: str) -> Any:
        return await control.ask(DescribeDeployment(name))

    @app.patch("/deployments/<deployment:name>")
    async def patch(name: str) -> Any:
        downtime = flag("allow_downtime")
        return await control.ask(UpdateDeployment(name, await _object("the patch"), downtime))

    @app.delete("/deployments/<deployment:name>")
    async def delete(name: str) -> Any:
        return await control.ask(DeleteDeployment(name))

    @app.post("/deployments/<deployment:name>/pause")
    async def pause(name: str) -> Any:
        return await control.ask(PauseRollout(name))

    @app.post("/deployments/<deployment:name>/resume")
    async def resume(name: str) -> Any:
        return await control.ask(ResumeRollout(name, flag("allow_downtime")))

    @app.post("/update")
    async def update_by_model() -> Any:  # as ServerlessLLM has it
        name, patch = _meant(await _object("the update"), board)
        return await control.ask(UpdateDeployment(name, patch))

    @app.get("/status")
    async def status() -> Any:
        return await control.ask(read_question(DescribeCluster, request.args.items(multi=True)))


def serve_nodes(app: Quart, control: Control) -> None:
    """Add the routes for nodes; ``control`` asks the head."""

    @app.get("/nodes")
    async def describe_nodes() -> Any:
        return await control.ask(read_question(DescribeNodes, request.args.items(multi=True)))

    @app.post("/nodes/<id:name>/drain")
    async def drain(name: str) -> Any:
        return await control.ask(DrainNode(name))

    @app.post("/nodes/<id:name>/undrain")
    async def undrain(name: str) -> Any:
        return await control.ask(UndrainNode(name))


async def _object(what: str) -> str:
    """Return the text of the request's body, which must be a JSON object; the head reads what is in it.

    Raises:
        ApiError: It is none: 400 ``invalid_json``.
    """
    try:
        text = await read_text()
        if not isinstance(json.loads(text), dict):
            raise errors.bad_request(f"{what} must be a JSON object", code="invalid_json")
    except (ValueError, RecursionError):
        raise errors.bad_request(f"{what} is not JSON", code="invalid_json") from None
    return text


def _meant(text: str, board: Board) -> tuple[str, str]:
    """Return the id of the deployment that an older update is about, and the rest of the update as a patch.

    Raises:
        ApiError: The update names no model (400), or one that several deployments have (409).
    """
    try:
        body = read_object(text, "the update")
    except DeploymentProblem as problem:
        raise errors.bad_request(str(problem), param=problem.param, code="invalid_deployment") from None
    model, backend = body.pop("model", None), body.pop("backend", None)
    if not isinstance(model, str) or not model:
        raise errors.bad_request("the update names no model: give the key model", param="model")
    if backend is not None and not isinstance(backend, str):
        raise errors.bad_request("backend must be a text, as vllm", param="backend")
    served = [each.served for each in board.routes.values() if each.served is not None]
    ids = [each.id for each in served if model in (each.id, each.model) and backend in (None, each.backend)]
    if len(ids) > 1:
        raise errors.ambiguous_model(model, ids)
    return ids[0] if ids else f"{model}:{backend or DEFAULT_BACKEND}", json.dumps(body)
