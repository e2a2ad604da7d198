"""Serves one inference request: by a replica, by another one when that breaks, or after a hold."""

from __future__ import annotations

from math import inf

import anyio
import structlog
from attrs import frozen

from sllm_actors.actors import ActorSystem
from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers, for_engine
from sllm_actors.gateway.hops import passed_on
from sllm_actors.gateway.routing.asked import Asked, Outcome
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.route import Route, Upstream
from sllm_actors.gateway.routing.router import RouterTools

from .client_response import ClientResponse
from .exchange import EngineBroke, Exchange, NoRoom
from .inference_request import InferenceRequest
from .relay import Patience, relay
from .upstream import Connector, EngineConnection

log = structlog.get_logger()

CLOSE_SECONDS = 2.0
"""How long closing the connection to an engine may take; after that it is left to the system."""


@frozen
class Tried:
    """The replicas that a request was tried on, in vain.

    Attributes:
        replicas: Their identities.
        error: What the last attempt failed with; None before the first.
        no_room: Whether the last attempt failed since no connection was free (``NoRoom``).
    """

    replicas: frozenset[ReplicaId] = frozenset()
    error: ApiError | None = None
    no_room: bool = False

    def and_at(self, upstream: Upstream, broke: EngineBroke, error: ApiError) -> Tried:
        """Return this and the failed attempt at ``upstream``; ``error`` is what a client is told of it."""
        return Tried(self.replicas | {upstream.id}, error, isinstance(broke, NoRoom))


class _Turn:
    """A request as the balancer calls it: it waits for a replica, or is under way at one."""

    def __init__(self) -> None:
        self._ended = anyio.Event()
        self._end: Upstream | ApiError | None = None

    def granted(self, upstream: Upstream) -> None:
        """See ``User``."""
        self._end = upstream
        self._ended.set()

    def refused(self, error: ApiError) -> None:
        """See ``User``."""
        self._end = error
        self._ended.set()

    def lost(self, lost: Lost) -> None:
        """See ``User``: the connection says so too, if it is so."""

    async def wait(self) -> Upstream:
        """Return the replica that the request goes to."""
        await self._ended.wait()
        if isinstance(self._end, Upstream):
            return self._end
        assert self._end is not None
        raise self._end


@frozen
class Dispatcher:
    """Serves requests by the routes on the board, at the replicas that the balancer gives them.

    Attributes:
        system: The node's actor system.
        tools: What it shares with the routers.
        connector: Connects to engines.
        gateway: The random id of this gateway in the header ``X-Sllm-Hops``; see ``hops``.
    """

    system: ActorSystem
    tools: RouterTools
    connector: Connector
    gateway: bytes

    async def serve(self, request: InferenceRequest, client: ClientResponse) -> None:
        """Serve a request to its end; the caller cancels this when the client has left.

        A request waits for a replica as long as the deployment's ``hold_timeout``, from when this is called,
        but for an external server that cannot be reached only as long as that server's ``connect_timeout``.
        It is tried on another replica only while its client has nothing of an answer, on at most
        ``GatewaySettings.attempts`` replicas, and never twice on one.

        Raises:
            ApiError: The request cannot be served, or its answer cannot be finished: ``client.fail`` tells
                the client in the way that is still possible.
        """
        found = self.tools.board.find(request.model, request.backend)
        if found is None or found.served is None:
            raise self.tools.board.missing(request.model)
        began = self.system.clock.now()
        latest = inf
        tried = Tried()
        while True:
            route = self.tools.board.routes.get(found.id)
            if route is None:
                raise errors.model_not_found(request.model)
            asked, turn = Asked(found.id, tried=tried.replicas), _Turn()
            upstream = self.tools.balancer.take(asked, turn)
            if upstream is None and tried.no_room and tried.error is not None:
                raise tried.error
            if upstream is None:
                upstream = await self._hold(asked, turn, began, latest, tried)
            outcome = Outcome.LEFT
            try:
                await self._attempt(route, upstream, request, client)
                outcome = Outcome.SERVED
            except EngineBroke as broke:
                if not isinstance(broke, NoRoom):
                    outcome = Outcome.BROKE
                error = _error_of(route, broke)
                tried = tried.and_at(upstream, broke, error)
                if broke.unreached and upstream.server is not None:
                    latest = min(latest, began + upstream.server.connect_timeout)
                log.warning(
                    "request.engine_broke",
                    request_id=request.id,
                    replica=str(upstream.id),
                    reason=str(broke),
                    answered=client.answered,
                )
                if client.answered or broke.final or len(tried.replicas) >= self.tools.settings.attempts:
                    raise error from None
            else:
                return
            finally:
                self.tools.balancer.done(turn, outcome)

    async def _attempt(
        self, route: Route, upstream: Upstream, request: InferenceRequest, client: ClientResponse
    ) -> None:
        settings = self.tools.settings
        assembly = request.assembly(route)
        connection = await self.connector.connect(upstream)
        patience = Patience(settings.silence)
        try:
            with patience.scope:
                exchange = Exchange(connection.stream)
                body = request.body_for(route, upstream.server, assembled=assembly is not None)
                headers = self._headers(request, upstream, connection)
                await exchange.send("POST", connection.prefix + request.target, headers, body)
                await relay(
                    exchange,
                    client,
                    patience=patience,
                    assembly=assembly,
                    limit=settings.answer_limit,
                    name=None if upstream.server is None or route.served is None else route.served.model,
                )
        finally:
            # A closed connection is what tells an engine to stop, so it is closed in a cancelled request too.
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await connection.stream.aclose()
        if patience.scope.cancelled_caught:
            raise errors.engine_silent(route.id, settings.silence)

    def _headers(
        self, request: InferenceRequest, upstream: Upstream, connection: EngineConnection
    ) -> Headers:
        own = {name for name, _ in connection.headers}
        headers: Headers = [
            (b"host", connection.host.encode()),
            *((name, value) for name, value in for_engine(request.headers) if name not in own),
            *connection.headers,
            (b"x-request-id", request.id.encode()),
            passed_on(request.headers, self.gateway),
            (b"connection", b"close"),
        ]
        if upstream.key:
            headers.append((b"authorization", f"Bearer {upstream.key}".encode()))
        return headers

    async def _hold(self, asked: Asked, turn: _Turn, began: float, latest: float, tried: Tried) -> Upstream:
        """Wait until a replica takes the request.

        Raises:
            ApiError: None did in time, or none is going to.
        """
        balancer = self.tools.balancer
        hold = balancer.hold(asked, turn, began=began, latest=latest, error=tried.error)
        try:
            return await turn.wait()
        except anyio.get_cancelled_exc_class():
            if not balancer.leave(hold) and hold.end is not None and isinstance(hold.end, Upstream):
                balancer.done(turn, Outcome.LEFT)
            raise


def _error_of(route: Route, broke: EngineBroke) -> ApiError:
    if isinstance(broke, NoRoom):
        return errors.no_room(route.id, str(broke))
    if broke.unreached:
        return errors.server_unreachable(route.id, str(broke))
    return errors.engine_broke(route.id, str(broke))
