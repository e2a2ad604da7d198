"""The gateway's ASGI application: it serves inference itself, and gives everything else to the Quart app."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup
from attrs import define, field

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import access, errors
from sllm_actors.gateway.headers import Headers, request_id_of
from sllm_actors.gateway.hops import refuse_loop
from sllm_actors.gateway.settings import GatewaySettings

from .body import ClientLeft, drain, read_body
from .client_response import AnswerBroken, ClientResponse, Receive, Send
from .dispatch import Dispatcher
from .inference_request import parse_request
from .keep_alive import keep_alive

log = structlog.get_logger()

LAST_WORDS = 1
"""Seconds that clients get to read the error ``gateway_stopping`` before they are cut off."""

Scope = MutableMapping[str, Any]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

# No escapes and no dots: a path must not mean another one to an engine. The gateway itself lists the models.
_INFERENCE = re.compile(rb"/v1/(?!models(?:/|$))[A-Za-z0-9_/-]+")


@define
class Ingress:
    """The ASGI application of a gateway.

    Attributes:
        app: The Quart app, which serves everything but inference.
        dispatcher: Serves inference requests.
        settings: The bounds of the gateway.
        requests: How many inference requests are under way, those that wait included.
        given_up: Whether ``give_up`` was called: the gateway is at its end.
    """

    app: ASGI
    dispatcher: Dispatcher
    settings: GatewaySettings
    requests: int = 0
    given_up: bool = False
    _under_way: set[anyio.CancelScope] = field(factory=set, init=False, repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, to be called by the server.

        Raises:
            RuntimeError: The scope is not that of an HTTP request.
        """
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway does not serve {scope['type']}")
        headers: Headers = list(scope["headers"])
        request_id = request_id_of(headers) or secrets.token_hex(12)
        client = ClientResponse(send, request_id)
        with anyio.CancelScope() as under_way:
            self._under_way.add(under_way)
            if self.given_up:
                under_way.cancel()
            try:
                await self._serve(scope, headers, receive, client, request_id)
            finally:
                self._under_way.discard(under_way)
        if under_way.cancelled_caught:
            with anyio.move_on_after(LAST_WORDS / 2):
                await self._fail(client, errors.gateway_stopping(), request_id)

    def give_up(self) -> None:
        """End every request under way, and each later one, with the error ``gateway_stopping``.

        A stream gets it as its last event. A client has ``LAST_WORDS / 2`` seconds to take it.
        """
        self.given_up = True
        for under_way in self._under_way:
            under_way.cancel()

    async def _serve(
        self, scope: Scope, headers: Headers, receive: Receive, client: ClientResponse, request_id: str
    ) -> None:
        refusal = access.refuse(self.settings, scope["path"], headers) or refuse_loop(
            headers, self.dispatcher.gateway
        )
        if refusal is not None:
            log.info("request.refused", request_id=request_id, path=scope["path"], code=refusal.code)
            await client.fail(refusal)
        elif scope["method"] == "POST" and _INFERENCE.fullmatch(scope["raw_path"]):
            await self._infer(scope, headers, receive, client, request_id)
        else:
            await self.app(scope, receive, client.pass_on)

    async def _infer(
        self, scope: Scope, headers: Headers, receive: Receive, client: ClientResponse, request_id: str
    ) -> None:
        if self.requests >= self.settings.requests:
            await client.fail(errors.overloaded(), close=True)
            return
        self.requests += 1
        try:
            try:
                body = await read_body(receive, headers, self.settings)
            except ApiError as error:
                log.info("request.refused", request_id=request_id, path=scope["path"], code=error.code)
                whole = error.status == 413 and await drain(receive, headers, self.settings.body_limit)
                await client.fail(error, close=not whole)
                return
            except ClientLeft:
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, receive, client, request_id, tasks.cancel_scope)
                await self._answer(scope, headers, body, client, request_id, tasks)
                tasks.cancel_scope.cancel()
        finally:
            self.requests -= 1

    async def _answer(
        self,
        scope: Scope,
        headers: Headers,
        body: bytes,
        client: ClientResponse,
        request_id: str,
        tasks: TaskGroup,
    ) -> None:
        try:
            request = parse_request(request_id, scope["path"], scope["query_string"], headers, body)
            if request.stream:
                tasks.start_soon(self._keep_alive, client)
            await self.dispatcher.serve(request, client)
        except ApiError as error:
            log.info(
                "request.failed",
                request_id=request_id,
                path=scope["path"],
                status=error.status,
                code=error.code,
                reason=error.message,
            )
            await self._fail(client, error, request_id)
        except Exception:
            log.exception("request.mistake", request_id=request_id, path=scope["path"])
            await self._fail(client, errors.internal(), request_id)

    async def _keep_alive(self, client: ClientResponse) -> None:
        settings = self.settings
        await keep_alive(client, interval=settings.keep_alive_interval, patience=settings.silence)

    async def _fail(self, client: ClientResponse, error: ApiError, request_id: str) -> None:
        try:
            await client.fail(error)
        except AnswerBroken:
            # The server closes a connection whose response was not ended when the application returns.
            log.warning("request.cut_off", request_id=request_id, reason=error.message)


async def _watch(receive: Receive, client: ClientResponse, request_id: str, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not client.ended:
        log.info("request.client_left", request_id=request_id)
        scope.cancel()
