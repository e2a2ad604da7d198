"""One inference request from its head to the end of its response.

It holds no task, scope or timer. The client's bytes come by the methods of ``RequestHandler``, what they ask
by those of ``Resolving``, the answer by those of ``Requester``, and the time by ``look``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import Headers, for_event_stream, with_hold, without_length
from sllm_actors.gateway.routing.asked import Asked
from sllm_actors.gateway.routing.route import Route

from .answers.events import COMMENT, held
from .answers.relays import Relay
from .clients.client import Client
from .clients.request_body import RequestBody
from .clients.request_head import RequestHead
from .clients.upload import Upload
from .dispatch import Dispatch
from .engines.request import EngineRequest

if TYPE_CHECKING:
    from .inference import Inference

log = structlog.get_logger()


class Stage(Enum):
    """How far a request is. ``REFUSED``: it is answered with an error once the rest of its body has come."""

    READING = auto()
    REFUSED = auto()
    ASKING = auto()
    OVER = auto()


# Names of their own: Python 3.11 finds a member of an enumeration only by calls.
READING, REFUSED, ASKING, OVER = Stage


class Exchange:
    """See the module. Times are in seconds by the clock of ``inference``.

    Args:
        inference: What all requests of the gateway share.
        head: The head of the request.
        client: Where the response goes.

    Attributes:
        answered: See ``Requester``.
        flowed_at: See ``Requester``.
    """

    __slots__ = (
        "_began",
        "_body",
        "_client",
        "_dispatch",
        "_events",
        "_flows",
        "_head",
        "_inference",
        "_midway",
        "_paused",
        "_refusal",
        "_stage",
        "_streamed",
        "_touched",
        "_upload",
        "_write_chunk",
        "_wrote",
        "answered",
        "flowed_at",
    )

    def __init__(self, inference: Inference, head: RequestHead, client: Client) -> None:
        self._inference = inference
        self._head = head
        self._client = client
        self._body = RequestBody(inference.settings.body_limit, inference.budget)
        self._stage = READING
        self._began = self._touched = self._wrote = inference.clock()
        self._dispatch: Dispatch | None = None
        self._refusal: ApiError | None = None
        self._upload: Upload | None = None  # a form of which not all has come
        self.answered = False
        self.flowed_at = 0.0
        self._write_chunk: Callable[[bytes], None]
        # Whether: the client wants a stream; the response is a stream of events, and what was sent last ends
        # within one; the client does not read; the answer flows as far as it can.
        self._streamed = self._events = self._midway = self._paused = self._flows = False

    # ---- RequestHandler

    def body(self, data: bytes) -> None:
        """See ``RequestHandler``."""
        if self._stage is READING:
            self._touched = self._inference.now
            refusal = self._body.add(data)
            if refusal is not None:
                self._fail(refusal if self._upload is None else self._too_late(refusal))
            elif self._body.size != self._head.length and self._head.is_form:
                self._form_came(data)
        elif self._upload is not None:
            refusal = self._upload.add(data, self._inference.now)
            if refusal is not None:
                self._fail(refusal)

    def body_ended(self) -> None:
        """See ``RequestHandler``."""
        if self._stage is REFUSED and self._refusal is not None:
            self._fail(self._refusal)
        elif self._stage is READING:
            self._stage, self._upload = ASKING, None
            self._touched = self._inference.now
            self._inference.resolver.resolve(self._head, self._body.whole(), self)
        elif self._upload is not None:
            self._upload.end()

    def client_left(self) -> None:
        """See ``RequestHandler``."""
        if self._stage is not OVER:
            log.info("request.client_left", request_id=self._head.id)
            self._client.ended = True
            self._finish(499)

    def pause(self) -> None:
        """See ``RequestHandler``."""
        self._paused = True
        self._touched = self._inference.now
        if self._dispatch is not None:
            self._dispatch.pause()

    def resume(self) -> None:
        """See ``RequestHandler``."""
        self._paused = False
        self._touched = self._inference.now
        if self._dispatch is not None:
            self._dispatch.resume()

    def give_up(self) -> None:
        """See ``RequestHandler``."""
        if self._stage is not OVER:
            self._fail(errors.gateway_stopping())

    def refuse(self, error: ApiError, *, after_body: bool) -> None:
        """Answer with an error: at once, or when the body, which is short, has come.

        A connection can be kept only after a whole request.
        """
        if after_body:
            self._stage, self._refusal = REFUSED, error
        else:
            self._fail(error)

    # ---- Resolving: what the request asks

    def understood(self, request: EngineRequest, route: Route, asked: Asked) -> None:
        """See ``Resolving``."""
        if self._stage is ASKING:
            if request.upload is None:
                self._body.replace(request.body)
            self._streamed = bool(request.fields.stream)
            dispatch = self._dispatch = Dispatch(self, self._inference, request, route, asked, self._began)
            if self._paused:
                dispatch.pause()
            dispatch.start()

    def not_understood(self, error: ApiError) -> None:
        """See ``Resolving``."""
        if self._stage is ASKING:
            self._fail(error)

    # ---- Requester: what comes of it

    @property
    def in_stream(self) -> bool:
        """See ``Requester``."""
        return self._client.begun

    def held(self, seconds: float) -> None:
        """See ``Requester``."""
        client = self._client
        if not client.begun:
            client.added = with_hold(client.added, seconds)
        elif self._events and not self._midway:
            client.write(held(seconds))

    def passed_on(self, relay: Relay, data: bytes) -> None:
        """See ``Requester``."""
        client = self._client
        if not client.begun:
            client.begin(relay.status, relay.headers, relay.length)
            self._events = relay.events
        self.answered = True
        self._midway = relay.midway
        self._wrote = self._inference.now
        client.write(data)
        if relay.flows and not self._flows:
            self._let_flow()

    def came(self, status: int, headers: Headers, body: bytes) -> None:
        """See ``Requester``."""
        self._client.respond(status, headers, body)
        self._finish(status)

    def completed(self, relay: Relay, rest: bytes) -> None:
        """See ``Requester``."""
        client = self._client
        if client.begun:
            client.end(rest)
        elif relay.events:
            client.begin(relay.status, relay.headers)
            client.end(rest)
        else:
            client.respond(relay.status, relay.headers, rest)
        self._finish(relay.status)

    def failed(self, error: ApiError) -> None:
        """See ``Requester``."""
        self._fail(error)

    # ---- time

    def look(self, now: float) -> None:
        """See whether something takes too long; called every ``Inference.look_period``."""
        settings = self._inference.settings
        if self._stage is READING:
            if now - self._touched >= settings.body_silence or now - self._began >= settings.body_timeout:
                self._fail(errors.body_too_slow())
        elif self._stage is REFUSED:
            self.body_ended()
        elif self._upload is not None and self._is_too_slow(self._upload, now):
            self._fail(errors.body_too_slow())
        elif self._paused:
            if now - self._touched >= settings.silence:
                log.warning("request.cut_off", request_id=self._head.id, reason="the client does not read")
                self._client.cut_off()
                self._finish(499)
        elif self._dispatch is not None:
            self._dispatch.look(now)
            wrote = max(self._wrote, self.flowed_at)
            if self._stage is not OVER and now - wrote >= settings.keep_alive_interval:
                self._comment(now)

    # ---- inside

    def _form_came(self, data: bytes) -> None:
        """Take note of a piece of a form that has not come to its end; pass it on if it names its model."""
        upload = self._upload
        try:
            if upload is None:
                upload = self._upload = self._inference.upload(self._head, self._client)
            upload.reader.feed(data)
        except ApiError as error:
            self._fail(error)
            return
        if upload.reader.is_routable:
            self._stage = ASKING
            upload.begin(self._body.give(), self._inference.now)
            self._inference.resolver.resolve_upload(self._head, upload, self)

    def _too_late(self, refusal: ApiError) -> ApiError:
        """Return why a form whose model is not known yet is refused."""
        limit = self._inference.settings.body_limit
        return errors.model_too_late(limit) if refusal.status == 413 else refusal

    def _is_too_slow(self, upload: Upload, now: float) -> bool:
        if upload.paused:
            self._client.leave_if_gone()  # nobody would notice before it is read again
        settings = self._inference.settings
        silence, timeout = settings.body_silence, settings.body_timeout
        return upload.is_too_slow(now, silence=silence, timeout=timeout, rate=settings.body_limit)

    def _let_flow(self) -> None:
        """Let chunks with whole events pass straight from the engine's connection to the client's."""
        self._flows = True
        write = self._client.chunk_writer()
        if write is not None and self._dispatch is not None:
            self._write_chunk = write
            self._dispatch.let_flow(self._flowed)

    def _flowed(self, chunk: bytes) -> None:
        self.flowed_at = self._inference.now
        self._write_chunk(chunk)

    def _comment(self, now: float) -> None:
        """Tell a client that waits for a stream that its connection lives, unless something else comes."""
        client = self._client
        if not self._streamed or self._midway:
            return
        if not client.begun:
            if self._dispatch is None or self._dispatch.in_one_piece:
                return  # which cannot follow on a comment
            self._events = True
            client.begin(200, for_event_stream([]))
        if self._events:
            self._wrote = now
            client.write(COMMENT if self._dispatch is None else self._dispatch.comment)

    def _fail(self, error: ApiError) -> None:
        """End the response with an error: all of it, or the last event of a stream."""
        if self._stage is OVER:
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

    def _stop(self) -> None:
        if self._dispatch is not None:
            self._dispatch.stop()
            self._dispatch = None

    def _finish(self, status: int) -> None:
        if self._stage is OVER:
            return
        self._stage = OVER
        self._stop()
        self._body.release()
        if self._upload is not None:
            self._upload.release()
            self._upload = None
        self._inference.over(self, self._head, status, self._began)
