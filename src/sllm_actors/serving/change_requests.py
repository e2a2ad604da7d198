"""Carrying through what people ask of the head: asking workers, writing to the store, and then the change."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Container
from typing import TypeAlias, get_args

from anyio import to_thread
from attrs import astuple, frozen

from sllm_actors.actors import Context, Reply

from . import answers, control
from .admission import Inspection, Proposal, admit, propose, propose_update
from .control import Change
from .deployment.document import MAX_DOCUMENT, may_name_zones, read_zones
from .inspection import ask_workers, whom_to_ask
from .loading import requests
from .loading.messages import (
    LoadDeployment,
    LoadingRequest,
    SleepDeployment,
    UnloadDeployment,
    WakeDeployment,
)
from .messages import (
    ControlAnswer,
    ControlChange,
    DeleteDeployment,
    Deploy,
    DrainNode,
    PauseRollout,
    Refusal,
    RemoveNode,
    ResumeRollout,
    UndrainNode,
    UpdateDeployment,
)
from .picture.events import Event
from .picture.picture import Picture
from .store.problem import StoreProblem
from .store.writer import StoreWriter

ChangeRequest: TypeAlias = ControlChange | LoadingRequest

# Of a deployment that exists.
_OF_KNOWN = (UpdateDeployment, DeleteDeployment, PauseRollout, ResumeRollout, *get_args(LoadingRequest))


@frozen
class ZonesRead:
    """What a request needs to know of time zones is in memory; its author waits for ``reply``."""

    request: Deploy | UpdateDeployment
    reply: Reply


@frozen
class Inspected:
    """What workers say of a proposal, whose author waits for ``reply``."""

    proposal: Proposal
    inspection: Inspection
    reply: Reply


@frozen
class Committed:
    """A change is on disk, or ``problem`` says why not; who asked for it waits for ``reply``."""

    change: Change
    reply: Reply
    problem: str = ""


class ChangeRequests:
    """What people have asked, and is under way. For the turns of the head's actor.

    While a deployment or node is being changed, the picture decides nothing else about it, and a second
    request about it is refused. What takes time runs in tasks, which end with a message to the actor itself:
    it is never lost to a full mailbox.

    Args:
        context: The actor's: it has to pass ``ZonesRead``, ``Inspected`` and ``Committed`` to ``go_on``.
        picture: The picture.
        writer: Writes changes.
        happen: Lets the picture take events, and carries out what follows.
        bound: The ids of nodes whose keys are known.
    """

    def __init__(
        self,
        context: Context,
        picture: Picture,
        writer: StoreWriter,
        happen: Callable[[tuple[Event, ...]], None],
        bound: Container[str],
    ) -> None:
        self._context = context
        self._picture = picture
        self._writer = writer
        self._happen = happen
        self._bound = bound

    def take(self, request: ChangeRequest) -> ControlAnswer | None:
        """Begin to carry out a request; return the answer if that is all, else answer later."""
        match request:
            case Deploy(document=text) | UpdateDeployment(patch=text):
                if len(text) <= MAX_DOCUMENT and may_name_zones(text):
                    self._context.start_soon(self._read_zones, request, text, self._context.reply_later())
                    return None
        return self._begin(request, None)

    async def _read_zones(self, request: Deploy | UpdateDeployment, text: str, reply: Reply) -> None:
        await to_thread.run_sync(read_zones, text)
        self._context.after(0.0, ZonesRead(request, reply))

    def _begin(self, request: ChangeRequest, reply: Reply | None) -> ControlAnswer | None:
        picture = self._picture
        if isinstance(request, _OF_KNOWN):
            seconds = picture.undecided(request.deployment, self._context.now())
            if seconds > 0:
                return answers.undecided(request.deployment, seconds)
        match request:
            case Deploy():
                return self._propose(propose(picture, request), reply)
            case UpdateDeployment():
                return self._propose(propose_update(picture, request), reply)
            case DeleteDeployment(name):
                return self._change(control.delete(picture, name))
            case PauseRollout(name):
                return self._change(control.pause(picture, name))
            case ResumeRollout(name, allow_downtime):
                return self._change(control.resume(picture, name, allow_downtime=allow_downtime))
            case LoadDeployment(name):
                return self._change(requests.load(picture, name))
            case UnloadDeployment(name, force):
                return self._change(
                    requests.unload(picture, name, force=force, wall=picture.wall(self._context.now()))
                )
            case SleepDeployment(name, level):
                return self._change(requests.put_to_sleep(picture, name, level))
            case WakeDeployment(name):
                return self._change(requests.wake(picture, name))
            case DrainNode(node):
                return self._change(control.drain(picture, node, draining=True))
            case UndrainNode(node):
                return self._change(control.drain(picture, node, draining=False))
            case RemoveNode(node):
                return self._change(control.remove(picture, node, self._bound))

    def go_on(self, news: ZonesRead | Inspected | Committed) -> None:
        """Go on with a request."""
        if isinstance(news, ZonesRead):
            if (answer := self._begin(news.request, news.reply)) is not None:
                news.reply.send(answer)
            return
        if isinstance(news, Committed):
            self._picture.release(news.change.subject)
            self._happen(() if news.problem else news.change.events)
            news.reply.send(answers.store_away(news.problem) if news.problem else news.change.answer)
            return
        uid, wall = secrets.token_hex(16), time.time()
        change = admit(self._picture, news.proposal, news.inspection, uid=uid, wall=wall)
        if isinstance(change, Change):
            if news.inspection.sizes:
                self._picture.take_size(news.proposal.spec, max(news.inspection.sizes.values()), wall)
            if (figures := news.inspection.gpu_figures) is not None:
                self._picture.take_figures(news.proposal.spec, figures, wall)
            self._context.start_soon(self._commit, change, news.reply)
        else:
            name = news.proposal.spec.id
            if isinstance(change, Refusal):
                self._picture.planner.effects.note(name, "deployment.refused", change.message)
            self._picture.release(name)
            self._happen(())
            news.reply.send(change)

    def _propose(self, proposal: Proposal | ControlAnswer, reply: Reply | None) -> ControlAnswer | None:
        if not isinstance(proposal, Proposal):
            return proposal
        if not self._picture.hold(proposal.spec.id):
            return answers.being_changed(proposal.spec.id)
        self._context.start_soon(self._inspect, proposal, reply or self._context.reply_later())
        return None

    async def _inspect(self, proposal: Proposal, reply: Reply) -> None:
        workers: dict[str, int] = {}
        everybody = True
        if proposal.new_engine:
            workers, everybody = whom_to_ask(self._picture.fleet)
        said = await ask_workers(self._context.system, workers, proposal.spec)
        problems = {node: each.problem for node, each in said.items()}
        sizes = {node: each.size for node, each in said.items() if each.size is not None}
        told = [each.gpu_figures for each in said.values() if each.gpu_figures is not None]
        figures = max(told, key=astuple, default=None)
        inspection = Inspection(everybody, len(workers), problems, proposal.typed, sizes, figures)
        self._context.after(0.0, Inspected(proposal, inspection, reply))

    def _change(self, change: Change | ControlAnswer) -> ControlAnswer | None:
        if not isinstance(change, Change):
            return change
        if not change.writes:
            self._happen(change.events)
            return change.answer
        if not self._picture.hold(change.subject):
            return answers.being_changed(change.subject)
        self._context.start_soon(self._commit, change, self._context.reply_later())
        return None

    async def _commit(self, change: Change, reply: Reply) -> None:
        problem = ""
        try:
            await self._writer.commit(change.writes)
        except StoreProblem as away:
            problem = str(away)
        self._context.after(0.0, Committed(change, reply, problem))
