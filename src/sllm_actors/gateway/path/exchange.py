"""One inference request from its head to the end of its response.

It holds no task, scope or timer. Bytes of the client come by ``RequestHandler``'s methods, replicas by
``User``'s, the engine's answer by ``Owner``'s, and the time by ``look``. What follows from a failure, the
module ``failover`` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import EngineConfirmed
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers, for_event_stream, without_length
from sllm_actors.gateway.routing.asked import Asked, Outcome
from sllm_actors.gateway.routing.lines.holds import Hold
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.route import Route, Upstream

from .answers.events import COMMENT
from .attempt import Attempt
from .clients.client import Client
from .clients.request_body import RequestBody
from .clients.request_head import RequestHead
from .engines.broke import EngineBroke
from .engines.request import EngineRequest
from .failover import (
    AttemptEnd,
    Confirm,
    Decision,
    Deliver,
    Elsewhere,
    Fail,
    Failover,
    Linger,
)

if TYPE_CHECKING:
    from .inference import Inference

log = structlog.get_logger()


class Stage(Enum):
    """How far a request is. ``REFUSED``: it is answered with an error once the rest of its body has come."""

    READING = auto()
    REFUSED = auto()
    SEEKING = auto()
    ANSWERING = auto()
    OVER = auto()


class Exchange:
    """See the module. Times are in seconds by the clock of ``inference``.

    Args:
        inference: What all requests of the gateway share.
        head: The head of the request.
        client: Where the response goes.

    Attributes:
        answer_limit: See ``attempt.Owner``.
    """

    __slots__ = (
        "_answered",
        "_asked",
        "_attempt",
        "_began",
        "_body",
        "_client",
        "_counted",
        "_events",
        "_failover",
        "_head",
        "_hold",
        "_inference",
        "_linger_until",
        "_midway",
        "_paused",
        "_refusal",
        "_request",
        "_rest",
        "_route",
        "_stage",
        "_touched",
        "_wrote",
        "answer_limit",
    )

    def __init__(self, inference: Inference, head: RequestHead, client: Client) -> None:
        self.answer_limit = inference.settings.answer_limit
        self._inference = inference
        self._head = head
        self._client = client
        self._body = RequestBody(inference.settings.body_limit, inference.budget)
        self._stage = Stage.READING
        self._began = self._touched = self._wrote = inference.clock()
        self._request: EngineRequest | None = None
        self._route: Route | None = None
        self._asked: Asked | None = None
        self._attempt: Attempt | None = None
        self._hold: Hold | None = None
        self._failover: Failover | None = None
        self._refusal: ApiError | None = None
        self._rest = b""
        self._linger_until: float | None = None
        # Whether: a part of the answer was sent; the response is a stream of events, and what was sent last
        # ends within one; the client does not read; the replica counts the request.
        self._answered = self._events = self._midway = self._paused = self._counted = False

    # ---- RequestHandler

    def body(self, data: bytes) -> None:
        """See ``RequestHandler``."""
        if self._stage is Stage.READING:
            self._touched = self._inference.now
            refusal = self._body.add(data)
            if refusal is not None:
                self._fail(refusal)

    def body_ended(self) -> None:
        """See ``RequestHandler``."""
        if self._stage is Stage.REFUSED and self._refusal is not None:
            self._fail(self._refusal)
        elif self._stage is Stage.READING:
            self._stage = Stage.SEEKING
            self._touched = self._inference.now
            self._inference.read(self._head, self._body.whole(), self)

    def client_left(self) -> None:
        """See ``RequestHandler``."""
        if self._stage is not Stage.OVER:
            log.info("request.client_left", request_id=self._head.id)
            self._client.ended = True
            self._finish(499)

    def pause(self) -> None:
        """See ``RequestHandler``."""
        self._paused = True
        self._touched = self._inference.now
        if self._attempt is not None:
            self._attempt.pause()

    def resume(self) -> None:
        """See ``RequestHandler``."""
        self._paused = False
        self._touched = self._inference.now
        if self._attempt is not None:
            self._attempt.resume()

    def give_up(self) -> None:
        """See ``RequestHandler``."""
        if self._stage is not Stage.OVER:
            self._fail(errors.gateway_stopping())

    # ---- what is read

    def refuse(self, error: ApiError, *, after_body: bool) -> None:
        """Answer with an error: at once, or when the body, which is short, has come.

        A connection can be kept only after a whole request.
        """
        if after_body:
            self._stage, self._refusal = Stage.REFUSED, error
        else:
            self._fail(error)

    def understood(self, request: EngineRequest, route: Route, asked: Asked) -> None:
        """Go on: the body was read, and a deployment has that model."""
        if self._stage is Stage.SEEKING:
            self._body.replace(request.body)
            self._request, self._route, self._asked = request, route, asked
            self._seek(asked)

    def not_understood(self, error: ApiError) -> None:
        """End: the body cannot be read, or no deployment has that model."""
        if self._stage is Stage.SEEKING:
            self._fail(error)

    # ---- User: what the balancer says

    def granted(self, upstream: Upstream) -> None:
        """See ``User``."""
        self._counted = True
        if self._stage is Stage.OVER:
            self._leave_replica(Outcome.LEFT)
            return
        self._hold = None
        if self._attempt is not None:
            self._attempt.stop()
        self._try(upstream)

    def refused(self, error: ApiError) -> None:
        """See ``User``."""
        self._hold = None
        if self._stage is Stage.OVER:
            return
        if self._failover is None or error.status == 404:
            self._fail(error)
        else:
            self._follow(self._failover.out_of_time(self._ready(), self._inference.clock()))

    def lost(self, lost: Lost) -> None:
        """See ``User``."""
        attempt = self._attempt
        if self._stage is Stage.OVER or attempt is None:
            return
        decision = self._failed().lost(
            attempt.upstream.id,
            lost,
            answered=self._answered,
            now=self._inference.clock(),
            reached=attempt.is_reached,
        )
        if lost.died:
            self._inference.broke(attempt)
        self._warn(attempt, lost.reason)
        self._follow(decision)

    # ---- Owner: what the attempt says

    @property
    def in_stream(self) -> bool:
        """See ``attempt.Owner``."""
        return self._client.begun

    def attempt_progressed(self, attempt: Attempt, data: bytes) -> None:
        """See ``attempt.Owner``."""
        if attempt is self._attempt:
            self._touched = self._inference.now
            self._linger_until = None
            if data:
                self._leave_hold()
                self._pass_on(attempt, data)

    def attempt_answered(self, attempt: Attempt, status: int, headers: Headers, body: bytes) -> None:
        """See ``attempt.Owner``."""
        if attempt is self._attempt:
            self._leave_hold()
            self._leave_replica(Outcome.SERVED)
            self._client.respond(status, headers, body)
            self._finish(status)

    def attempt_ended(self, attempt: Attempt, rest: bytes) -> None:
        """See ``attempt.Owner``."""
        if attempt is self._attempt:
            self._leave_hold()
            if self._answered or not attempt.is_faulty:
                self._complete(attempt, rest)
                return
            self._rest, self._refusal = rest, None
            self._end(attempt, AttemptEnd.FAULTY, "it answered that it is broken")

    def attempt_broke(self, attempt: Attempt, problem: EngineBroke | ApiError) -> None:
        """See ``attempt.Owner``."""
        if attempt is not self._attempt:
            return
        if isinstance(problem, ApiError) and attempt.is_faulty and not self._answered:
            self._refusal = problem
            self._end(attempt, AttemptEnd.FAULTY, problem.message)
        elif isinstance(problem, ApiError):
            self._leave_replica(Outcome.LEFT)
            self._fail(problem)
        elif problem.no_room:
            self._end(attempt, AttemptEnd.NO_ROOM, str(problem))
        elif problem.unreached:
            self._end(attempt, AttemptEnd.UNREACHED, str(problem))
        elif problem.final:
            self._end(attempt, AttemptEnd.BAD, str(problem))
        else:
            self._end(attempt, AttemptEnd.BROKE, str(problem))

    # ---- time

    def look(self, now: float) -> None:
        """See whether something takes too long; called every ``Inference.look_period``."""
        settings = self._inference.settings
        if self._stage is Stage.READING:
            if now - self._touched >= settings.body_silence or now - self._began >= settings.body_timeout:
                self._fail(errors.body_too_slow())
            return
        if self._stage is Stage.REFUSED:
            self.body_ended()
            return
        silent = now - self._touched
        if self._paused:
            if silent >= settings.silence:
                log.warning("request.cut_off", request_id=self._head.id, reason="the client does not read")
                self._client.cut_off()
                self._finish(499)
            return
        if self._linger_until is not None and now >= self._linger_until and self._attempt is not None:
            self._linger_until = None
            self._end(self._attempt, AttemptEnd.BROKE, "its replica is lost, and nothing more comes")
        elif self._stage is Stage.ANSWERING and silent >= settings.silence and self._attempt is not None:
            self._end(self._attempt, AttemptEnd.SILENT, "")
        elif now - self._wrote >= settings.keep_alive_interval:
            self._comment(now)

    # ---- inside

    def _seek(self, asked: Asked, until: float | None = None) -> None:
        """Take a replica, or let the request wait for one."""
        balancer, failover = self._inference.balancer, self._failover
        self._stage = Stage.SEEKING
        upstream = balancer.take(asked, self)
        if upstream is not None:
            self.granted(upstream)
            return
        now = self._inference.clock()
        if until is not None and failover is not None and until <= now:
            self._follow(failover.out_of_time(self._ready(), now))
            return
        log.info("request.held", request_id=self._head.id, deployment=asked.deployment)
        try:
            if until is None:
                self._hold = balancer.hold(asked, self, began=self._began)
            else:
                self._hold = balancer.hold(asked, self, began=self._began, latest=until)
        except ApiError as error:
            self._fail(error)

    def _try(self, upstream: Upstream) -> None:
        request, route = self._request, self._route
        if request is None or route is None:
            raise RuntimeError("a replica was granted to a request that was not read")
        self._stage = Stage.ANSWERING
        self._touched = self._inference.now
        route = self._inference.board.routes.get(route.id, route)
        attempt = self._attempt = Attempt(self, self._inference.connector, request, route, upstream)
        if self._inference.has_died(upstream.id):  # its worker has not said so yet
            self._end(attempt, AttemptEnd.UNREACHED, "its engine has died")
        else:
            attempt.start()

    def _pass_on(self, attempt: Attempt, data: bytes) -> None:
        relay, client = attempt.relay, self._client
        if relay is None:
            return
        if not client.begun:
            client.begin(relay.status, relay.headers, relay.length)
            self._events = relay.events
        self._answered = True
        self._midway = relay.midway
        self._wrote = self._touched
        client.write(data)

    def _complete(self, attempt: Attempt, rest: bytes) -> None:
        relay, client = attempt.relay, self._client
        if relay is None:
            return
        self._leave_replica(Outcome.SERVED)
        if client.begun:
            client.end(rest)
        elif relay.events:
            client.begin(relay.status, relay.headers)
            client.end(rest)
        else:
            client.respond(relay.status, relay.headers, rest)
        self._finish(relay.status)

    def _end(self, attempt: Attempt, end: AttemptEnd, reason: str) -> None:
        """End the attempt, and do what follows."""
        server = attempt.upstream.server
        if end is not AttemptEnd.FAULTY:
            attempt.stop()
        self._warn(attempt, reason)
        blameless = end in (AttemptEnd.NO_ROOM, AttemptEnd.BAD, AttemptEnd.FAULTY)
        self._leave_replica(Outcome.LEFT if blameless else Outcome.BROKE)
        if end is AttemptEnd.BROKE:
            self._inference.broke(attempt)
        decision = self._failed().ended(
            attempt.upstream.id,
            end,
            reason,
            answered=self._answered,
            now=self._inference.clock(),
            connect_timeout=None if server is None else server.connect_timeout,
        )
        self._follow(decision)

    def _follow(self, decision: Decision | None) -> None:
        match decision:
            case Elsewhere(excluded, until, stay):
                self._elsewhere(excluded, until, stay=stay)
            case Confirm(replicas):
                self._inference.confirm(replicas, self._confirmed)
            case Deliver():
                if self._refusal is not None:
                    self._fail(self._refusal)
                elif self._attempt is not None:
                    self._complete(self._attempt, self._rest)
            case Linger(until):
                self._linger_until = until
            case Fail(error):
                self._fail(error)
            case None:
                pass

    def _elsewhere(self, excluded: frozenset[ReplicaId], until: float, *, stay: bool) -> None:
        asked = self._asked
        if asked is None:
            return
        self._leave_hold()
        self._leave_replica(Outcome.LEFT)
        if not stay and self._attempt is not None:
            self._attempt.stop()
            self._attempt = None
        self._seek(self._inference.excluding(asked, excluded), until)

    def _confirmed(self, answers: Mapping[ReplicaId, EngineConfirmed]) -> None:
        if self._stage is not Stage.OVER and self._failover is not None:
            decision = self._failover.confirmed(answers, self._inference.clock())
            if self._attempt is not None and not isinstance(decision, Deliver):
                self._inference.broke(self._attempt)
            self._follow(decision)

    def _failed(self) -> Failover:
        if self._failover is None:
            route = self._route
            if route is None:
                raise RuntimeError("a request failed that has no route")
            self._failover = self._inference.failover(route, self._began)
        return self._failover

    def _ready(self) -> tuple[ReplicaId, ...]:
        route = None if self._route is None else self._inference.board.routes.get(self._route.id)
        return () if route is None else tuple(upstream.id for upstream in route.ready)

    def _comment(self, now: float) -> None:
        """Tell a client that waits for a stream that its connection lives."""
        request, client = self._request, self._client
        if request is None or not request.fields.stream or self._midway:
            return
        if not client.begun:
            self._events = True
            client.begin(200, for_event_stream([]))
        if self._events:
            self._wrote = now
            client.write(COMMENT)

    def _fail(self, error: ApiError) -> None:
        """End the response with an error: all of it, or the last event of a stream."""
        if self._stage is Stage.OVER:
            return
        client, dialect = self._client, self._head.dialect
        log.info(
            "request.failed",
            request_id=self._head.id,
            path=self._head.path.decode("latin-1"),
            status=error.status,
            code=error.code,
            reason=error.message,
        )
        status = error.status
        self._stop()
        if not client.begun:
            client.respond(status, without_length(dialect.headers(error)), dialect.body(error))
        elif self._events and not self._paused:
            event = dialect.event(error)
            client.end(b"\n\n" + event if self._midway else event)
        else:
            log.warning("request.cut_off", request_id=self._head.id, reason=error.message)
            client.cut_off()
        self._finish(status)

    def _warn(self, attempt: Attempt, reason: str) -> None:
        log.warning(
            "request.engine_broke",
            request_id=self._head.id,
            replica=str(attempt.upstream.id),
            reason=reason,
            answered=self._answered,
        )

    def _leave_replica(self, outcome: Outcome) -> None:
        if self._counted:
            self._counted = False
            self._inference.balancer.done(self, outcome)

    def _leave_hold(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            self._inference.balancer.leave(hold)

    def _stop(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.stop()
        self._leave_hold()
        self._leave_replica(Outcome.LEFT)

    def _finish(self, status: int) -> None:
        if self._stage is Stage.OVER:
            return
        self._stage = Stage.OVER
        self._stop()
        self._body.release()
        self._inference.over(self, self._head, status, self._began)
