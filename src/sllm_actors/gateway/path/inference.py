"""What all inference requests of a gateway share: it begins each, and owns the few tasks that they need."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup
from attrs import evolve

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ConfirmEngine, EngineConfirmed
from sllm_actors.gateway import errors
from sllm_actors.gateway.access.guard import Guard
from sllm_actors.gateway.bodies.form import FormReader
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.hops import HEADER as HOPS
from sllm_actors.gateway.hops import refuse_loop
from sllm_actors.gateway.routing.asked import Asked
from sllm_actors.gateway.routing.balancer import Balancer
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.memory.poison import Poison
from sllm_actors.gateway.routing.route import Route
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.serving.messages import WORKER

from .attempt import Attempt
from .clients.budget import ByteBudget
from .clients.client import Client
from .clients.request_head import RequestHead
from .clients.upload import Upload
from .confirmations import Confirmations
from .deadlines import Rounds
from .engines.connector import Connector, OpenStream
from .exchange import Exchange
from .failover import CONFIRM_SECONDS, Failover, Rules
from .resolver import Resolver
from .stored_responses import StoredResponses

log = structlog.get_logger()

MESSAGES_PATH = b"/v1/messages"

SHORT_BODY = 64 * 2**10
"""A refused request whose body is announced as shorter is answered when that has come: then the connection
can be kept."""

LOOKS = 4
"""How often in each look period the queue is looked at."""


class Inference:
    """Serves inference requests.

    Nothing is served before ``running`` is entered, and all must have ended when it is left.

    Args:
        system: The node's actor system.
        board: The routes.
        balancer: Gives replicas to requests.
        open_stream: Reaches engines on other machines.
        poison: Which engines have died, and what of.
        guard: Judges who may use the gateway.
        settings: The bounds.
        gateway: The random id of this gateway in the header ``X-Sllm-Hops``; see ``hops``.
        workers: Returns the workers that are linked now.

    Attributes:
        under_way: How many requests are under way, those that wait included.
        stored: Which replicas have made the responses that later requests may name.
        resolver: Finds out what a request asks, once its body has come.
        stopping: Whether each further request is refused with ``gateway_stopping``.
        refused: How many requests were refused because of who asked, by the codes of their errors.
        clock: Reads the clock of the actor system, in seconds.
        now: What that clock showed a short time ago: at most a quarter of the look period.
    """

    def __init__(
        self,
        system: ActorSystem,
        board: Board,
        balancer: Balancer,
        open_stream: OpenStream,
        poison: Poison,
        guard: Guard,
        settings: GatewaySettings,
        gateway: bytes,
        workers: Callable[[], Iterable[NodeId]] = tuple,
    ) -> None:
        self.clock = system.clock.now
        self.now = 0.0
        self.board = board
        self.balancer = balancer
        self.settings = settings
        self.budget = ByteBudget(settings.held_bytes)
        self.stored = StoredResponses(system, workers)
        self.under_way = 0
        self.refused: Counter[str] = Counter()
        self.stopping = False
        self.connector: Connector
        self.resolver = Resolver(
            board,
            poison,
            self.stored,
            self.budget,
            body_limit=settings.body_limit,
            gateway=gateway,
            start=self.start,
            clock=self.clock,
        )
        self._system = system
        self._open_stream = open_stream
        self._gateway = gateway
        self._tells = logging.getLogger().isEnabledFor(logging.DEBUG)
        self._poison = poison
        self._guard = guard
        self._rules = Rules(
            settings.attempts, settings.restart_notice, settings.silence, has_died=poison.has_died
        )
        self._confirmations = Confirmations(self._ask_worker, self.start, self._died)
        patience = (settings.keep_alive_interval, settings.body_silence, settings.silence)
        self._rounds: Rounds[Exchange] = Rounds(min(patience))
        self._tasks: TaskGroup

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look at requests that take long, and run what they need, until the block is left."""
        async with anyio.create_task_group() as self._tasks:
            self.connector = Connector(
                self.settings.machine,
                self._open_stream,
                self.settings.connect_timeout,
                start=self.start,
                clock=lambda: self.now,
            )
            self.now = self.clock()
            self._tasks.start_soon(self._look)
            try:
                yield
            finally:
                self.connector.pool.close()
                self._tasks.cancel_scope.cancel()

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task of a request that cannot do without. A mistake in it costs that request alone."""
        self._tasks.start_soon(_alone, task)

    # ---- for the servers

    def takes(self, head: RequestHead) -> bool:
        """Say whether a request is one for engines."""
        return head.destination is not None

    def added_to_answer(self, head: RequestHead) -> Headers:
        """Return the headers that the answer to a request has beside those of whoever answers."""
        added = self.settings.cors.headers_for(head.headers)
        # Anthropic's libraries look for the id of a request there.
        return [*added, (b"request-id", head.id.encode())] if head.path.startswith(MESSAGES_PATH) else added

    def begin(self, head: RequestHead, client: Client) -> Exchange:
        """Begin a request whose head has come; a server then calls what ``RequestHandler`` has."""
        refusal = self.refusal(head)
        if refusal is None and self.under_way >= self.settings.requests:
            refusal = errors.overloaded()
        length = head.length
        if refusal is None and length > self.settings.body_limit:
            refusal = self._too_large(head)
        exchange = self._begin(head, client)
        if refusal is not None:
            short = b"transfer-encoding" not in head.named and length <= SHORT_BODY
            exchange.refuse(refusal, after_body=short and b"expect" not in head.named)
        return exchange

    def refusal(self, head: RequestHead) -> ApiError | None:
        """Return why a request, be it for an engine or not, is not served; None if it is."""
        if self.stopping:
            return errors.gateway_stopping()
        edition = self._guard.edition
        if head.admitted == edition:
            return None
        judged = self._guard.judge(head.path, head.headers, head.named)
        if isinstance(judged, ApiError):
            self.refused[judged.code] += 1
            return judged
        if HOPS in head.named and (loop := refuse_loop(head.headers, self._gateway)) is not None:
            return loop
        head.admitted, head.flow = edition, judged
        return None

    def _too_large(self, head: RequestHead) -> ApiError | None:
        limit = self.settings.upload_limit if head.is_form else self.settings.body_limit
        return errors.body_too_large(limit) if head.length > limit else None

    def _begin(self, head: RequestHead, client: Client) -> Exchange:
        self.under_way += 1
        exchange = Exchange(self, head, client)
        self._rounds.join(exchange, self.now)
        return exchange

    def give_up(self) -> None:
        """End every request under way, and refuse each later one, with the error ``gateway_stopping``."""
        self.stopping = True
        for exchange in self._rounds.members():
            exchange.give_up()

    # ---- for requests

    def upload(self, head: RequestHead, client: Client) -> Upload:
        """Return what takes a form while it comes.

        Raises:
            ApiError: See ``FormReader``.
        """
        kind = head.named[b"content-type"]
        announced = b"content-length" in head.named and b"transfer-encoding" not in head.named
        return Upload(
            FormReader(kind),
            kind,
            head.length if announced else None,
            client,
            limit=self.settings.upload_limit,
            budget=self.budget,
        )

    def excluding(self, asked: Asked, replicas: frozenset[ReplicaId]) -> Asked:
        """Return what a request asks that must not go to these replicas again."""
        return evolve(asked, tried=replicas)

    def failover(self, route: Route, began: float) -> Failover:
        """Return what decides after the first failure of a request that began at ``began``."""
        hold = 0.0 if route.served is None else route.served.hold_timeout
        return Failover(self._rules, route.id, began=began, hold_timeout=hold)

    def confirm(
        self, replicas: Collection[ReplicaId], then: Callable[[Mapping[ReplicaId, EngineConfirmed]], None]
    ) -> None:
        """Ask the workers of replicas whether these serve, and call ``then`` with what they have answered."""
        self._confirmations.confirm(replicas, then)

    def response_made(self, replica: ReplicaId, made: str) -> None:
        """Remember that a replica has made a response with an id."""
        self.stored.remember(made, replica, self._node_of(replica))

    def has_died(self, replica: ReplicaId) -> bool:
        """Return whether an engine is known to have ended by itself, perhaps before its worker says so."""
        return self._poison.has_died(replica)

    def broke(self, attempt: Attempt) -> None:
        """Remember that an attempt has broken: its engine may have died of the request."""
        self._poison.broke(attempt.upstream.id, attempt.request.digest, self.clock())

    def _died(self, replica: ReplicaId) -> None:
        self._poison.died(replica, self.clock())

    async def _ask_worker(self, replica: ReplicaId) -> EngineConfirmed | None:
        node = self._node_of(replica)
        if node is None:
            return None
        worker = self._system.named(WORKER, NodeId(node))
        try:
            answer: EngineConfirmed = await worker.ask(ConfirmEngine(replica), timeout=CONFIRM_SECONDS)
        except AskError as error:
            log.info("engine.not_confirmed", replica=str(replica), error=str(error))
            return None
        return answer

    def _node_of(self, replica: ReplicaId) -> str | None:
        route = self.board.routes.get(replica.deployment)
        found = () if route is None else (*route.ready, *route.leaving)
        return next((each.node for each in found if each.id == replica), None)

    def over(self, exchange: Exchange, head: RequestHead, status: int, began: float) -> None:
        """A request has ended."""
        self.under_way -= 1
        self._rounds.leave(exchange)
        if self._tells:
            log.debug("request.over", request_id=head.id, status=status, seconds=self.clock() - began)

    async def _look(self) -> None:
        while True:
            await anyio.sleep(self._rounds.period / LOOKS)
            now = self.now = self.clock()
            for exchange in self._rounds.due(now):
                try:
                    exchange.look(now)
                except Exception:
                    log.exception("request.mistake")
            self.connector.pool.close_idle(now)


async def _alone(task: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await task()
    except Exception:
        log.exception("request.mistake")
