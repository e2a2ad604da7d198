"""Finds out what a request asks: reads its body, and resolves the deployment that it is for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from anyio import to_thread

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.bodies.request_fields import RequestFields
from sllm_actors.gateway.routing.asked import Asked, Stored
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.memory.poison import Poison
from sllm_actors.gateway.routing.route import Route
from sllm_actors.serving.messages import ServedModel

from .clients.budget import ByteBudget
from .clients.request_head import RequestHead
from .clients.upload import Upload
from .confirmations import StartTask
from .engines.request import EngineRequest
from .reading import READ_HERE, Reading, affinity_of, is_coded, prompt_of, read_request, read_upload
from .stored_responses import StoredResponses


class Resolving(Protocol):
    """A request that is resolved. It is told one of the two, once."""

    def understood(self, request: EngineRequest, route: Route, asked: Asked) -> None:
        """The body was read, and a deployment has that model."""

    def not_understood(self, error: ApiError) -> None:
        """The body cannot be read, no deployment has that model, or the request breaks engines."""


class Resolver:
    """See the module. Most requests hear the result before the method that takes them returns.

    A request is resolved in a task of its own where its body is large or compressed, so that the event loop
    does not wait for it, and where workers are asked for a response that it names.

    Args:
        board: The routes.
        poison: What engines have died of.
        stored: Which replicas have made the responses that requests may name.
        budget: Counts the bytes that all requests hold together.
        body_limit: The most bytes that a body may have when it is decoded.
        gateway: The random id of this gateway in the header ``X-Sllm-Hops``; see ``hops``.
        start: Starts the tasks.
        clock: Reads a monotonic clock, in seconds.
    """

    def __init__(
        self,
        board: Board,
        poison: Poison,
        stored: StoredResponses,
        budget: ByteBudget,
        *,
        body_limit: int,
        gateway: bytes,
        start: StartTask,
        clock: Callable[[], float],
    ) -> None:
        self._board = board
        self._poison = poison
        self._stored = stored
        self._budget = budget
        self._body_limit = body_limit
        self._gateway = gateway
        self._start = start
        self._clock = clock

    def resolve(self, head: RequestHead, body: bytes, resolving: Resolving) -> None:
        """Resolve a request whose body has come."""
        if len(body) > READ_HERE or is_coded(head):
            self._start(partial(self._read_in_thread, head, body, resolving))
            return
        try:
            reading = read_request(head, body, self._body_limit)
        except ApiError as error:
            resolving.not_understood(error)
        else:
            self._resolve(head, reading, resolving)

    def resolve_upload(self, head: RequestHead, upload: Upload, resolving: Resolving) -> None:
        """Resolve a request whose body is passed on as it comes."""
        try:
            reading = read_upload(upload)
        except ApiError as error:
            resolving.not_understood(error)
        else:
            self._resolve(head, reading, resolving)

    async def _read_in_thread(self, head: RequestHead, body: bytes, resolving: Resolving) -> None:
        room = self._body_limit if is_coded(head) else 0  # a few bytes may become that many
        if not self._budget.take(room):
            resolving.not_understood(errors.overloaded())
            return
        try:
            reading = await to_thread.run_sync(read_request, head, body, self._body_limit)
        except ApiError as error:
            resolving.not_understood(error)
            return
        finally:
            self._budget.give_back(room)
        self._resolve(head, reading, resolving)

    def _resolve(self, head: RequestHead, reading: Reading, resolving: Resolving) -> None:
        made = reading.destination.made or reading.fields.previous_response_id
        if made and self._stored.find(made) is None:
            self._start(partial(self._ask_workers, made, head, reading, resolving))
        else:
            self._find_route(made, head, reading, resolving)

    async def _ask_workers(
        self, made: str, head: RequestHead, reading: Reading, resolving: Resolving
    ) -> None:
        await self._stored.look_for(made)
        self._find_route(made, head, reading, resolving)

    def _find_route(
        self, made: str | None, head: RequestHead, reading: Reading, resolving: Resolving
    ) -> None:
        """Find the route of the model that a request names, or else of the response ``made``."""
        fields = reading.fields
        stored = self._holder_of(made) if made else None
        if fields.model:
            route = self._board.find(fields.model, fields.backend)
        else:
            route = None if stored is None else self._board.routes.get(stored.replica.deployment)
        if route is None or route.served is None:
            resolving.not_understood(self._missing(fields, made or "", stored))
            return
        if stored is not None and stored.replica.deployment != route.id:
            stored = None
        request = EngineRequest(head, reading, self._gateway)
        if self._is_poison(request, route.served):
            resolving.not_understood(errors.request_breaks_engines(route.id))
            return
        priority, session = -(fields.priority or 0), affinity_of(head, fields)
        asked = Asked(
            route.id,
            priority,
            session,
            prompt_of(fields),
            stored=stored,
            keep_alive=reading.keep_alive,
            flow=head.flow,
        )
        resolving.understood(request, route, asked)

    def _holder_of(self, made: str) -> Stored | None:
        """Return where the response with an id is stored; None if no replica is known to have it."""
        replica = self._stored.find(made)
        if replica is None:
            return None
        route = self._board.routes.get(replica.deployment)
        for upstream in () if route is None else route.ready:
            # An external server keeps what it has, however often its worker loses sight of it.
            if upstream.server is not None and upstream.id.key == replica.key:
                return Stored(made, upstream.id)
        return Stored(made, replica)

    def _missing(self, fields: RequestFields, made: str, stored: Stored | None) -> ApiError:
        if fields.model:
            return self._board.missing(fields.model, fields.backend)
        if stored is None:
            return errors.unknown_id(made)
        return errors.holder_gone(made, stored.replica.deployment)

    def _is_poison(self, request: EngineRequest, served: ServedModel) -> bool:
        if not self._poison.watches(served.id, served.uid):
            return False
        made = request.digest
        return made is not None and self._poison.refuses(served.id, served.uid, made, self._clock())
