"""Pulls over HTTP: the head says which workers are meant, and these are asked without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import anyio
from attrs import frozen
from quart import Quart, Response, jsonify

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.gateway import errors
from sllm_actors.serving.messages import WORKER
from sllm_actors.serving.pulls.messages import (
    CancelPull,
    DescribePull,
    PlanPull,
    PullModel,
    PullPlace,
    PullPlan,
    PullReport,
    PullState,
)
from sllm_actors.serving.pulls.ticket import TicketProblem, read_ticket, write_ticket

from .body import read_body, texts
from .control import Control

AT_A_TIME = 32
"""Workers that are asked at the same time for one request."""

Ask: TypeAlias = Callable[[str, str], PullModel | DescribePull | CancelPull]

_KEYS = ("model", "backend", "source")
_IMPORTANCE = (
    PullState.FAILED,
    PullState.AWAY,
    PullState.CANCELLED,
    PullState.ABSENT,
    PullState.DONE,
)


def serve_pulls(app: Quart, pulls: PullClient) -> None:
    """Add the routes for pulls; the app has the converters of ``ids``."""

    @app.post("/models/pull")
    async def begin_pull() -> Any:
        asked, cancel = _read(await read_body())
        plan = await pulls.plan(asked)
        return _answer(plan, await pulls.ask(plan, CancelPull if cancel else PullModel))

    @app.get("/models/pull/<id:name>")
    async def describe_pull(name: str) -> Any:
        plan = _plan(name)
        return _answer(plan, await pulls.ask(plan, DescribePull), status=200)

    @app.delete("/models/pull/<id:name>")
    async def cancel_pull(name: str) -> Any:
        plan = _plan(name)
        return _answer(plan, await pulls.ask(plan, CancelPull), status=200)


@frozen
class PullClient:
    """Asks head and workers about pulls.

    Attributes:
        system: The node's actor system.
        control: Asks the head.
        timeout: Seconds that each worker has for its answer.
    """

    system: ActorSystem
    control: Control
    timeout: float

    async def plan(self, asked: PlanPull) -> PullPlan:
        """Return which source and which workers are meant.

        Raises:
            ApiError: The head refused, or did not answer.
        """
        plan = await self.control.answer(asked)
        if not isinstance(plan, PullPlan):
            raise errors.head_away(f"it answered with a {type(plan).__name__}")
        return plan

    async def ask(self, plan: PullPlan, question: Ask) -> dict[str, PullReport]:
        """Return what each worker of a plan answers, by node id; one that does not is ``AWAY``."""
        said: dict[str, PullReport] = {}
        turns = anyio.Semaphore(AT_A_TIME)

        async def ask(place: PullPlace) -> None:
            worker = self.system.named(WORKER, NodeId(place.node))
            try:
                async with turns:
                    answer = await worker.ask(question(plan.backend, plan.source), timeout=self.timeout)
            except AskError as error:
                answer = PullReport(PullState.AWAY, reason=f"worker {place.name} does not answer: {error}")
            if not isinstance(answer, PullReport):
                why = f"worker {place.name} answered with a {type(answer).__name__}"
                answer = PullReport(PullState.AWAY, reason=why)
            said[place.node] = answer

        async with anyio.create_task_group() as asking:
            for place in plan.workers:
                asking.start_soon(ask, place)
        return said


def _answer(plan: PullPlan, said: dict[str, PullReport], *, status: int | None = None) -> Response:
    states = {each.state for each in said.values()}
    under_way = any(each.under_way for each in states)
    response = jsonify(
        {
            "id": write_ticket(plan),
            "backend": plan.backend,
            "source": plan.source,
            "state": (PullState.PULLING if under_way else _worst(states)).value,
            "workers": [_shown(place, said[place.node]) for place in plan.workers],
        }
    )
    response.status_code = status or (202 if under_way else 200)
    return response


def _worst(states: set[PullState]) -> PullState:
    return next((each for each in _IMPORTANCE if each in states), PullState.DONE)


def _shown(place: PullPlace, report: PullReport) -> dict[str, Any]:
    return {
        "node": place.node,
        "name": place.name,
        "state": report.state.value,
        "done": report.done,
        "total": report.total,
        "progress": report.progress or None,
        "reason": report.reason or None,
    }


def _plan(ticket: str) -> PullPlan:
    try:
        return read_ticket(ticket)
    except TicketProblem as problem:
        raise errors.not_found(str(problem)) from None


def _read(body: dict[str, Any]) -> tuple[PlanPull, bool]:
    """Return what the body of a request asks, and whether the pull is to be cancelled.

    Raises:
        ApiError: It is no such body.
    """
    unknown = sorted(body.keys() - {*_KEYS, "workers", "cancel"})
    if unknown:
        raise errors.bad_request(
            f"a pull has no {unknown[0][:40]}: it has {', '.join(_KEYS)}, workers and cancel",
            param=unknown[0][:40],
        )
    named = texts(body, _KEYS)
    if not named["model"]:
        raise errors.bad_request("the pull names no model: give the key model", param="model")
    cancel = body.get("cancel", False)
    if not isinstance(cancel, bool):
        raise errors.bad_request("cancel must be true or false", param="cancel")
    workers, everywhere = _workers(body.get("workers"))
    # Wherever it is under way: what would be chosen now may be another worker than before.
    everywhere = everywhere or (cancel and not workers)
    return PlanPull(**named, workers=workers, everywhere=everywhere), cancel


def _workers(value: object) -> tuple[tuple[str, ...], bool]:
    """Return the workers that are named, and whether all are meant."""
    if value in (None, "all"):
        return (), value == "all"
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise errors.bad_request(
            'workers must be a list of names or ids of workers, or "all"', param="workers"
        )
    return tuple(value), False
