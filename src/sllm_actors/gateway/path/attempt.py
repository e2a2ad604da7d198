"""One try to have a request answered by one replica: connect, send, and take the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.bodies.stream_end import COMMON_END
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.routing.route import Route, Upstream

from .answers.assembly import ASSEMBLIES
from .answers.identified import Identified
from .answers.relays import Relay, relay_for
from .clients.upload import Upload
from .engines.answer_head import AnswerHead
from .engines.broke import EngineBroke
from .engines.connection import EngineConnection
from .engines.connector import Connector
from .engines.request import EngineRequest
from .engines.sending import Sending
from .failover import FAULTY_STATUS

_MADE_HERE = frozenset([b"/v1/responses", b"/v1/responses/"])
"""The paths whose answers have ids that later requests name."""


class Owner(Protocol):
    """The dispatch that an attempt belongs to.

    After ``attempt_answered``, ``attempt_ended`` or ``attempt_broke`` it hears no more of the attempt.

    Attributes:
        in_stream: Whether the client has got the head of a stream of events.
        answer_limit: The most bytes of an answer that has to be held in memory as a whole.
    """

    @property
    def in_stream(self) -> bool: ...

    answer_limit: int

    def response_made(self, replica: ReplicaId, made: str) -> None:
        """A replica has made the response with the id ``made``."""

    def attempt_progressed(self, attempt: Attempt, data: bytes) -> None:
        """Something has come from the engine; ``data`` may be passed on, and may be empty."""

    def attempt_progressed_sending(self, attempt: Attempt) -> None:
        """The engine has taken a part of a body that is passed on as it comes."""

    def attempt_answered(self, attempt: Attempt, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer is there, and may be passed on."""

    def attempt_ended(self, attempt: Attempt, rest: bytes) -> None:
        """The answer is complete with ``rest``."""

    def attempt_broke(self, attempt: Attempt, problem: EngineBroke | ApiError) -> None:
        """No answer, or none that is complete, comes of this attempt."""


class Attempt:
    """See ``Waiting`` and ``Caller`` for what it hears from connections.

    Args:
        owner: Hears how it goes.
        connector: Gives connections.
        request: What is sent.
        route: The route of the deployment.
        upstream: The replica.

    Attributes:
        request: As above.
        upstream: As above.
        relay: What relays the answer; None before its head has come.
    """

    __slots__ = (
        "_assembly",
        "_connection",
        "_connector",
        "_flow",
        "_is_sent",
        "_over",
        "_owner",
        "_paused",
        "_route",
        "_sending",
        "relay",
        "request",
        "upstream",
    )

    def __init__(
        self, owner: Owner, connector: Connector, request: EngineRequest, route: Route, upstream: Upstream
    ) -> None:
        self.upstream = upstream
        self.relay: Relay | None = None
        self._owner = owner
        self._connector = connector
        self.request = request
        self._route = route
        self._connection: EngineConnection | None = None
        self._flow: Callable[[bytes], None] | None = None
        self._sending: Sending | None = None
        self._over = self._is_sent = self._paused = False
        served = route.served
        kind = None
        if (
            served is not None
            and served.backend == "llamacpp"
            and not (request.fields.stream or request.is_form)
        ):
            kind = ASSEMBLIES.get(request.head.path.decode("latin-1"))
        self._assembly = None if kind is None else kind()

    @property
    def is_reached(self) -> bool:
        """Whether the engine may have got the request; see ``EngineConnection.reaches``."""
        return self._is_sent and (self._connection is None or self._connection.reaches)

    @property
    def is_faulty(self) -> bool:
        """Whether the answer may come from a broken engine: its worker is to confirm that it serves."""
        return self.upstream.server is None and self.relay is not None and self.relay.status in FAULTY_STATUS

    @property
    def in_one_piece(self) -> bool:
        """Whether an answer comes, and is no stream."""
        return self.relay is not None and not self.relay.events

    @property
    def is_over(self) -> bool:
        """Whether nothing more is told of it."""
        return self._over

    def start(self) -> None:
        """Begin, over a kept connection where there is one."""
        # An upload may not be there twice, in case that a kept connection is closed before it gets it.
        connection = None if self.request.upload is not None else self._connector.idle(self.upstream)
        if connection is None:
            self._connector.connect(self.upstream, self)
        else:
            self.connected(connection)

    def stop(self) -> None:
        """End it: a closed connection is what tells an engine to stop. The owner hears no more of it."""
        self._over = True
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def let_flow(self, flow: Callable[[bytes], None] | None) -> None:
        """Pass events on by a shorter way whenever that is possible; see ``EngineConnection.let_flow``."""
        self._flow = flow
        self._set_flow()

    def pause(self) -> None:
        """Read no more of the answer until ``resume``, be the connection made yet or not."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    # ---- Waiting

    def connected(self, connection: EngineConnection) -> None:
        """See ``connector.Waiting``."""
        if self._over:
            connection.abort()
            return
        if not connection.is_open:
            self.answer_broken(EngineBroke("it closed the connection without an answer"))
            return
        self._connection = connection
        if self.request.upload is not None:
            self._send_while_it_comes(connection, self.request.upload)
            return
        request, route, server = self.request, self._route, self.upstream.server
        try:
            body = request.body_for(route, server, assembled=self._assembly is not None)
        except ApiError as problem:
            self._break(problem)
            return
        if self._paused:
            connection.pause()
        self._is_sent = True
        connection.send(self, request.head_for(connection.target, route, server, len(body)), body)

    def _send_while_it_comes(self, connection: EngineConnection, upload: Upload) -> None:
        request, route, server = self.request, self._route, self.upstream.server
        if self._paused:
            connection.pause()
        self._is_sent = True
        sending = self._sending = Sending(
            upload,
            request.passing_for(upload, route, server),
            connection,
            progressed=lambda: self._owner.attempt_progressed_sending(self),
            failed=self._break,
        )
        sending.begin(self, partial(request.head_for, connection.target, route, server))

    def not_connected(self, problem: EngineBroke | ApiError) -> None:
        """See ``connector.Waiting``.

        An engine that got the request over a kept connection, and cannot be reached since, may have died of
        it.
        """
        if self._is_sent and isinstance(problem, EngineBroke) and not (problem.no_room or problem.external):
            problem = EngineBroke(f"it closed the connection without an answer; {problem}")
        self._break(problem)

    # ---- Caller

    def answer_came(self, head: AnswerHead, body: bytes) -> None:
        """See ``Caller``. This is how most plain answers come, so it is short."""
        if head.passed is not None and self._is_passed_on and head.status not in FAULTY_STATUS:
            if not self._over:
                self._over, self._connection = True, None
                self._owner.attempt_answered(self, head.status, head.passed, body)
            return
        self.answer_began(head.status, head.headers(len(body)))
        if body:
            self.answer_continued(body)
        self.answer_ended()

    @property
    def _is_passed_on(self) -> bool:
        """Whether an answer that is no stream reaches the client as it is."""
        inspected = self._assembly is not None or self.request.head.path in _MADE_HERE
        return not inspected and self.upstream.server is None and not self._owner.in_stream

    def answer_began(self, status: int, headers: Headers) -> None:
        """See ``Caller``."""
        if self._sending is not None and status >= 400:
            self._sending.stop()  # the engine has no use for the rest
        served = self._route.served
        external = self.upstream.server is not None
        self.relay = relay_for(
            status,
            headers,
            head=self.request.head,
            assembly=self._assembly,
            name=served.model if external and served is not None else None,
            in_stream=self._owner.in_stream,
            limit=self._owner.answer_limit,
        )
        if status == 200 and self.request.head.path in _MADE_HERE:
            self.relay = Identified(self.relay, partial(self._owner.response_made, self.upstream.id))
        self._owner.attempt_progressed(self, b"")

    def answer_continued(self, data: bytes) -> None:
        """See ``Caller``."""
        relay = self.relay
        if self._over or relay is None:
            return
        try:
            data = relay.feed(data)
        except (EngineBroke, ApiError) as problem:
            self._break(problem)
        else:
            if self._flow is not None:
                self._set_flow()
            self._owner.attempt_progressed(self, data)

    def answer_ended(self) -> None:
        """See ``Caller``."""
        relay = self.relay
        if self._over or relay is None:
            return
        self._connection = None
        try:
            rest = relay.end()
        except (EngineBroke, ApiError) as problem:
            self._break(problem)
        else:
            self._over = True
            self._owner.attempt_ended(self, rest)

    def answer_broken(self, broke: EngineBroke) -> None:
        """See ``Caller``; a connection that was kept for too long is replaced by a fresh one."""
        connection, self._connection = self._connection, None
        if broke.stale and not self._over:
            self._is_sent = connection is not None and connection.reaches
            self._connector.connect(self.upstream, self)
        else:
            self._break(broke)

    def _set_flow(self) -> None:
        if self._connection is not None:
            flows = self.relay is not None and self.relay.flows
            self._connection.let_flow(self._flow if flows else None, COMMON_END)

    def _break(self, problem: EngineBroke | ApiError) -> None:
        if not self._over:
            self.stop()
            self._owner.attempt_broke(self, problem)
