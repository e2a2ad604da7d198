"""The control API: deployments, their rollouts, and nodes. The head decides all of it."""

from __future__ import annotations

from typing import Any

from quart import Quart, request

from sllm_actors.serving.messages import (
    DeleteDeployment,
    Deploy,
    DrainNode,
    PauseRollout,
    RemoveNode,
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

from .body import flag, read_json_text
from .control import Control


def serve_deployments(app: Quart, control: Control) -> None:
    """Add the routes for deployments.

    Args:
        app: The application; it has the converters of ``ids``.
        control: Asks the head.
    """

    @app.post("/deployments")
    async def deploy() -> Any:
        update, downtime = flag("update"), flag("allow_downtime")
        return await control.ask(Deploy(await read_json_text("the deployment"), update, downtime))

    @app.get("/deployments")
    async def describe_all() -> Any:
        return await control.ask(read_question(DescribeDeployments, request.args.items(multi=True)))

    @app.get("/deployments/<deployment:name>")
    async def describe(name: str) -> Any:
        return await control.ask(DescribeDeployment(name))

    @app.patch("/deployments/<deployment:name>")
    async def patch(name: str) -> Any:
        downtime = flag("allow_downtime")
        return await control.ask(UpdateDeployment(name, await read_json_text("the patch"), downtime))

    @app.delete("/deployments/<deployment:name>")
    async def delete(name: str) -> Any:
        return await control.ask(DeleteDeployment(name))

    @app.post("/deployments/<deployment:name>/pause")
    async def pause(name: str) -> Any:
        return await control.ask(PauseRollout(name))

    @app.post("/deployments/<deployment:name>/resume")
    async def resume(name: str) -> Any:
        return await control.ask(ResumeRollout(name, flag("allow_downtime")))

    @app.get("/status")
    async def status() -> Any:
        return await control.ask(read_question(DescribeCluster, request.args.items(multi=True)))


def serve_nodes(app: Quart, control: Control) -> None:
    """Add the routes for nodes; ``control`` asks the head."""

    @app.get("/nodes")
    async def describe_nodes() -> Any:
        return await control.ask(read_question(DescribeNodes, request.args.items(multi=True)))

    @app.post("/nodes/<node:name>/drain")
    async def drain(name: str) -> Any:
        return await control.ask(DrainNode(name))

    @app.post("/nodes/<node:name>/undrain")
    async def undrain(name: str) -> Any:
        return await control.ask(UndrainNode(name))

    @app.delete("/nodes/<node:name>")
    async def remove(name: str) -> Any:
        return await control.ask(RemoveNode(name))
