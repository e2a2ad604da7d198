"""Has one request answered: takes a replica or waits for one, tries it there, and elsewhere when that fails.

What follows from a failure, the module ``failover`` decides; this does it. Balancer and attempt call one and
the same object, which holds no task, scope or timer: a request that waits costs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import EngineConfirmed
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.routing.asked import SERVED, Asked, Outcome
from sllm_actors.gateway.routing.lines.hold import Hold
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.route import Route, Upstream

from .answers.events import COMMENT, waiting
from .attempt import Attempt
from .engines.broke import EngineBroke
from .engines.request import EngineRequest
from .failover import AttemptEnd, Confirm, Decision, Deliver, Elsewhere, Fail, Failover, Linger
from .requester import Requester

if TYPE_CHECKING:
    from .inference import Inference

log = structlog.get_logger()


class Dispatch:
    """See the module. Times are in seconds by the clock of ``inference``.

    Args:
        requester: Hears what comes of it.
        inference: What all requests of the gateway share.
        request: The request.
        route: The route of its deployment.
        asked: What it asks of the balancer.
        began: When it came.

    Attributes:
        answer_limit: See ``attempt.Owner``.
    """

    __slots__ = (
        "_asked",
        "_attempt",
        "_began",
        "_counted",
        "_failover",
        "_held",
        "_hold",
        "_hold_began",
        "_inference",
        "_linger_until",
        "_over",
        "_paused",
        "_refusal",
        "_request",
        "_requester",
        "_rest",
        "_route",
        "_touched",
        "_until",
        "answer_limit",
    )

    def __init__(
        self,
        requester: Requester,
        inference: Inference,
        request: EngineRequest,
        route: Route,
        asked: Asked,
        began: float,
    ) -> None:
        self.answer_limit = inference.settings.answer_limit
        self._requester = requester
        self._inference = inference
        self._request = request
        self._route = route
        self._asked = asked
        self._began = began
        self._touched = began
        self._until = 0.0
        self._attempt: Attempt | None = None
        self._hold: Hold | None = None
        self._hold_began = self._held = 0.0
        self._failover: Failover | None = None
        self._refusal: ApiError | None = None
        self._rest = b""
        self._linger_until: float | None = None
        self._counted = False  # whether the replica counts the request
        self._over = self._paused = False

    @property
    def in_one_piece(self) -> bool:
        """Whether what comes is no stream, as most errors are."""
        return self._attempt is not None and self._attempt.in_one_piece

    @property
    def comment(self) -> bytes:
        """What tells a client that waits for a stream what its request waits for."""
        balancer, hold = self._inference.balancer, self._hold
        ahead = None if hold is None else balancer.ahead_of(hold)
        if hold is None or ahead is None:
            return COMMENT
        return waiting(ahead + 1, balancer.held(self._asked.deployment), balancer.expected_wait(hold))

    def start(self) -> None:
        """Begin; the requester may be told the end before this returns."""
        self._seek(self._asked)

    def stop(self) -> None:
        """End it: the requester hears no more of it."""
        if not self._over:
            self._over = True
            if self._attempt is not None:
                self._attempt.stop()
                self._attempt = None
            self._leave_hold()
            self._leave_replica(Outcome.LEFT)

    def let_flow(self, flow: Callable[[bytes], None]) -> None:
        """Pass whole events on to ``flow``, past the requester; see ``EngineConnection.let_flow``."""
        if self._attempt is not None and self._linger_until is None:
            self._attempt.let_flow(flow)

    def pause(self) -> None:
        """Read no more of the answer until ``resume``."""
        self._paused = True
        if self._attempt is not None:
            self._attempt.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._touched = self._inference.now
        if self._attempt is not None:
            self._attempt.resume()

    def look(self, now: float) -> None:
        """See whether the engine takes too long; not to be called while it is paused."""
        attempt = self._attempt
        if attempt is None:
            return
        if self._linger_until is not None and now >= self._linger_until:
            self._linger_until = None
            self._end(attempt, AttemptEnd.BROKE, "its replica is lost, and nothing more comes")
        elif not attempt.is_over:
            heard = max(self._touched, self._requester.flowed_at)
            if now - heard >= self._inference.settings.silence:
                self._end(attempt, AttemptEnd.SILENT, "")

    # ---- User: what the balancer says

    def granted(self, upstream: Upstream) -> None:
        """See ``User``."""
        self._counted = True
        if self._over:
            self._leave_replica(Outcome.LEFT)
            return
        if self._hold is not None:
            self._hold = None
            self._held += self._inference.clock() - self._hold_began
            self._requester.held(self._held)
        if self._attempt is not None:
            self._attempt.stop()
        refusal = None if self._failover is None else self._failover.refusal()
        if refusal is None:
            self._try(upstream)
        else:
            self._fail(refusal.error)

    def refused(self, error: ApiError) -> None:
        """See ``User``."""
        self._hold = None
        if self._over:
            return
        now = self._inference.clock()
        if self._failover is None or error.status == 404 or now < self._until:
            self._fail(error)  # no later wait would end better
        else:
            self._follow(self._failover.out_of_time(self._ready(), now))

    def lost(self, lost: Lost) -> None:
        """See ``User``."""
        attempt = self._attempt
        if self._over or attempt is None:
            return
        decision = self._failed().lost(
            attempt.upstream.id,
            lost,
            answered=self._requester.answered,
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
        return self._requester.in_stream

    def response_made(self, replica: ReplicaId, made: str) -> None:
        """See ``attempt.Owner``."""
        self._inference.response_made(replica, made)

    def attempt_progressed(self, attempt: Attempt, data: bytes) -> None:
        """See ``attempt.Owner``."""
        if attempt is self._attempt:
            self._touched = self._inference.now
            self._linger_until = None
            if data:
                if self._hold is not None:
                    self._leave_hold()
                if attempt.relay is not None:
                    self._requester.passed_on(attempt.relay, data)

    def attempt_progressed_sending(self, attempt: Attempt) -> None:
        """See ``attempt.Owner``."""
        if attempt is self._attempt:
            self._touched = self._inference.now

    def attempt_answered(self, attempt: Attempt, status: int, headers: Headers, body: bytes) -> None:
        """See ``attempt.Owner``."""
        if attempt is self._attempt:
            self._serve()
            self._requester.came(status, headers, body)

    def attempt_ended(self, attempt: Attempt, rest: bytes) -> None:
        """See ``attempt.Owner``."""
        if attempt is self._attempt:
            self._leave_hold()
            if self._requester.answered or not attempt.is_faulty:
                self._complete(attempt, rest)
                return
            self._rest, self._refusal = rest, None
            self._end(attempt, AttemptEnd.FAULTY, "it answered that it is broken")

    def attempt_broke(self, attempt: Attempt, problem: EngineBroke | ApiError) -> None:
        """See ``attempt.Owner``."""
        if attempt is not self._attempt:
            return
        if isinstance(problem, ApiError) and attempt.is_faulty and not self._requester.answered:
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

    # ---- inside

    def _seek(self, asked: Asked, until: float | None = None) -> None:
        """Take a replica, or let the request wait for one."""
        balancer, failover = self._inference.balancer, self._failover
        upstream = balancer.take(asked, self)
        if upstream is not None:
            self.granted(upstream)
            return
        now = self._inference.clock()
        if until is not None and failover is not None and until <= now:
            self._follow(failover.out_of_time(self._ready(), now))
            return
        self._hold_began = now
        log.info("request.held", request_id=self._request.head.id, deployment=asked.deployment)
        try:
            if until is None or failover is None:
                self._hold = balancer.hold(asked, self, began=self._began)
            else:
                self._until = until  # how long it waits after a failure, ``failover`` alone decides
                self._hold = balancer.hold(asked, self, latest=until, error=failover.error)
        except ApiError as error:
            self._fail(error)

    def _try(self, upstream: Upstream) -> None:
        self._touched = self._inference.now
        route = self._inference.board.routes.get(self._route.id, self._route)
        attempt = Attempt(self, self._inference.connector, self._request, route, upstream)
        self._attempt = attempt
        if self._inference.has_died(upstream.id):  # its worker has not said so yet
            self._end(attempt, AttemptEnd.UNREACHED, "its engine has died")
        else:
            if self._paused:
                attempt.pause()
            attempt.start()

    def _serve(self) -> None:
        """Take note that the answer is complete."""
        self._over = True
        self._attempt = None
        self._leave_hold()
        self._leave_replica(SERVED)

    def _complete(self, attempt: Attempt, rest: bytes) -> None:
        if attempt.relay is not None:
            self._serve()
            self._requester.completed(attempt.relay, rest)

    def _fail(self, error: ApiError) -> None:
        if not self._over:
            self.stop()
            self._requester.failed(error)

    def _end(self, attempt: Attempt, end: AttemptEnd, reason: str) -> None:
        """End the attempt, and do what follows."""
        server = attempt.upstream.server
        if end is not AttemptEnd.FAULTY:
            attempt.stop()
        if self._route.id not in self._inference.board.routes:
            reason = f"it was stopped, since its deployment was deleted ({reason})"
        self._warn(attempt, reason)
        blameless = end in (AttemptEnd.NO_ROOM, AttemptEnd.BAD, AttemptEnd.FAULTY)
        self._leave_replica(Outcome.LEFT if blameless else Outcome.BROKE)
        if end is AttemptEnd.BROKE:
            self._inference.broke(attempt)
        decision = self._failed().ended(
            attempt.upstream.id,
            end,
            reason,
            answered=self._requester.answered,
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
                self._linger(until)
            case Fail(error):
                self._fail(error)
            case None:
                pass

    def _linger(self, until: float) -> None:
        """Wait until then for a byte of the answer: each must come to ``attempt_progressed`` now."""
        self._linger_until = until
        if self._attempt is not None:
            self._attempt.let_flow(None)

    def _elsewhere(self, excluded: frozenset[ReplicaId], until: float, *, stay: bool) -> None:
        if stay and (self._asked.stored is not None or self._request.upload is not None):
            self._linger(until)  # such a request can be at one replica only
            return
        error = self._only_here()
        if error is not None:
            self._fail(error)
            return
        self._leave_hold()
        self._leave_replica(Outcome.LEFT)
        if not stay and self._attempt is not None:
            self._attempt.stop()
            self._attempt = None
        self._seek(self._inference.excluding(self._asked, excluded), until)

    def _only_here(self) -> ApiError | None:
        """Return the error of a request that no other replica can answer; None if another one can."""
        stored, upload = self._asked.stored, self._request.upload
        if stored is not None:
            return errors.engine_broke(self._asked.deployment, f"no other engine has {stored.made!r}")
        if upload is not None and not upload.repeatable:
            return errors.upload_broken_off(self._asked.deployment)
        return None

    def _confirmed(self, answers: Mapping[ReplicaId, EngineConfirmed]) -> None:
        if not self._over and self._failover is not None:
            decision = self._failover.confirmed(answers, self._inference.clock())
            if self._attempt is not None and not isinstance(decision, Deliver):
                self._inference.broke(self._attempt)
            self._follow(decision)

    def _failed(self) -> Failover:
        if self._failover is None:
            self._failover = self._inference.failover(self._route, self._began)
        return self._failover

    def _ready(self) -> tuple[ReplicaId, ...]:
        route = self._inference.board.routes.get(self._route.id)
        return () if route is None else tuple(upstream.id for upstream in route.ready)

    def _warn(self, attempt: Attempt, reason: str) -> None:
        log.warning(
            "request.engine_broke",
            request_id=self._request.head.id,
            replica=str(attempt.upstream.id),
            reason=reason,
            answered=self._requester.answered,
        )

    def _leave_replica(self, outcome: Outcome) -> None:
        if self._counted:
            self._counted = False
            self._inference.balancer.done(self, outcome)

    def _leave_hold(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            self._inference.balancer.leave(hold)
