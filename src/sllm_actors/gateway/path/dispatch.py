"""Serves one inference request: by a replica, by another one when that breaks, or after a hold."""

from __future__ import annotations

import itertools
from random import Random

import anyio
import structlog
from attrs import field, frozen

from sllm_actors.actors import ActorSystem, AskError
from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers, for_engine
from sllm_actors.gateway.hops import passed_on
from sllm_actors.gateway.routing.messages import HoldRefused, LeaveHold, NeedRouter, WaitForReplica
from sllm_actors.gateway.routing.route import Route, Upstream, choose
from sllm_actors.gateway.routing.router import RouterTools, router_name
from sllm_actors.serving.messages import GATEWAY

from .client_response import ClientResponse
from .exchange import EngineBroke, Exchange, NoRoom
from .inference_request import InferenceRequest
from .relay import Patience, relay
from .upstream import Connector, EngineConnection

log = structlog.get_logger()

CLOSE_SECONDS = 2.0
"""How long closing the connection to an engine may take; after that it is left to the system."""

ASK_SLACK = 5.0
"""Seconds beyond its deadline for which a hold is asked: the router's own refusal should come first."""


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


@frozen
class Dispatcher:
    """Serves requests by the routes on the board; it asks a router only where no replica can take a request.

    Attributes:
        system: The node's actor system.
        tools: What it shares with the routers.
        connector: Connects to engines.
        rng: The source of the draw between replicas.
        gateway: The random id of this gateway in the header ``X-Sllm-Hops``; see ``hops``.
    """

    system: ActorSystem
    tools: RouterTools
    connector: Connector
    rng: Random
    gateway: bytes
    _tickets: itertools.count[int] = field(factory=itertools.count, init=False)

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
        deadline = began + found.served.hold_timeout
        tried = Tried()
        while True:
            route = self.tools.board.routes.get(found.id)
            if route is None:
                raise errors.model_not_found(request.model)
            upstream = choose(route.ready, self.tools.in_flight.of, self.rng, tried.replicas)
            if upstream is None and tried.no_room and tried.error is not None:
                raise tried.error
            if upstream is None:
                await self._hold(route, request, deadline, tried)
                continue
            try:
                with self.tools.in_flight.request(upstream.id):
                    await self._attempt(route, upstream, request, client)
            except EngineBroke as broke:
                error = _error_of(route, broke)
                tried = tried.and_at(upstream, broke, error)
                if broke.unreached and upstream.server is not None:
                    deadline = min(deadline, began + upstream.server.connect_timeout)
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

    async def _hold(self, route: Route, request: InferenceRequest, deadline: float, tried: Tried) -> None:
        """Wait until a replica may be ready.

        Raises:
            ApiError: None was ready in time, or none is going to be.
        """
        ticket = next(self._tickets)
        router = self.system.named(router_name(route.id))
        wait = WaitForReplica(ticket, deadline, tried.replicas, tried.error)
        remaining = max(0.0, deadline - self.system.clock.now()) + ASK_SLACK
        log.info("request.held", request_id=request.id, deployment=route.id)
        answer = None
        try:
            if self.system.whereis(router_name(route.id)) is None:
                needed = NeedRouter(route.id)
                if await self.system.named(GATEWAY).ask(needed, timeout=remaining) is False:
                    raise errors.model_not_found(request.model)
            answer = await router.ask(wait, timeout=remaining)
        except AskError as error:
            log.warning("request.hold_failed", request_id=request.id, error=str(error))
        finally:
            if answer is None:  # the ask failed or was cancelled, and the router may still hold the request
                router.tell(LeaveHold(ticket))
        if answer is None:
            raise errors.router_away()
        if isinstance(answer, HoldRefused):
            raise _fresh(answer.error)


def _error_of(route: Route, broke: EngineBroke) -> ApiError:
    if isinstance(broke, NoRoom):
        return errors.no_room(route.id, str(broke))
    if broke.unreached:
        return errors.server_unreachable(route.id, str(broke))
    return errors.engine_broke(route.id, str(broke))


def _fresh(error: ApiError) -> ApiError:
    """Return a copy: one error object answers many requests, and a raised one carries its own traceback."""
    return ApiError(error.status, error.code, error.message, error.param, error.retry_after, error.detail)
