"""Passes an engine's answer on to a client: piece by piece, whole, or as one answer made of a stream."""

from __future__ import annotations

import json
from typing import Any

import anyio

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.headers import for_client, is_event_stream, is_plain_json

from .assembly import Assembly
from .client_response import ClientResponse
from .events import DONE, EventCutter, data_of
from .exchange import EngineBroke, Exchange, ResponseHead
from .model_name import with_model, with_model_in_events

HELD_WHOLE = 4 * 2**20
"""Bytes of an unstreamed answer that are held back until it is whole: if the engine breaks before, the client
gets an error, or the answer of another engine, and not a part of one."""


class Patience:
    """A cancel scope that ends when there was no progress for ``limit`` seconds.

    Attributes:
        scope: To be entered around the work; ``scope.cancelled_caught`` then tells whether time ran out.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._touched = anyio.current_time()
        self.scope = anyio.CancelScope(deadline=self._touched + limit)

    def progress(self) -> None:
        """Count from now on. Cheap enough for each chunk: the deadline is moved once a second at most."""
        now = anyio.current_time()
        if now - self._touched > 1.0:
            self._touched = now
            self.scope.deadline = now + self._limit


async def relay(
    exchange: Exchange,
    client: ClientResponse,
    *,
    patience: Patience,
    assembly: Assembly | None,
    limit: int,
    name: str | None = None,
) -> None:
    """Pass the response of an exchange on to a client, to its end.

    Args:
        exchange: The exchange, whose request was sent.
        client: The response to the client.
        patience: Told of each progress; the caller is in its scope.
        assembly: Makes one answer of a stream that the client did not ask for, or None.
        limit: The most bytes of an answer that has to be held in memory as a whole.
        name: What clients call the model, where the server has its own name for it; else None.

    Raises:
        EngineBroke: The engine broke; ``client.answered`` tells whether the client has a part of its answer.
        ApiError: The engine sent an error in a stream that was to become one answer; or it sent one document
            to a client that has the head of a stream already.
    """
    head = await exchange.head()
    patience.progress()
    if head.status == 200 and is_event_stream(head.headers):
        if assembly is None:
            await _relay_events(exchange, head, client, patience, name)
        else:
            await _relay_assembled(exchange, head, client, patience, assembly, limit)
    elif client.begun:
        whole = await _whole(exchange, patience, limit)
        raise errors.not_streamed() if head.status == 200 else as_error(head.status, whole)
    elif name is not None and is_plain_json(head.headers):
        await _relay_renamed(exchange, head, client, patience, name, limit)
    else:
        await _relay_whole(exchange, head, client, patience)


async def _relay_events(
    exchange: Exchange, head: ResponseHead, client: ClientResponse, patience: Patience, name: str | None
) -> None:
    await client.begin_events(head.headers)
    cutter = EventCutter()
    while data := await exchange.chunk():
        patience.progress()
        events = cutter.feed(data)
        events = events if name is None else with_model_in_events(events, name)
        await client.answer(events, midway=cutter.midway)
    await client.end(cutter.rest())


async def _relay_renamed(
    exchange: Exchange, head: ResponseHead, client: ClientResponse, patience: Patience, name: str, limit: int
) -> None:
    """Pass on a JSON answer with another name in it. It is held whole, since the name may come at its end."""
    body = with_model(await _whole(exchange, patience, limit), name)
    headers = [header for header in for_client(head.headers) if header[0] != b"content-length"]
    await client.begin(head.status, [*headers, (b"content-length", str(len(body)).encode())])
    await client.end(body)


async def _relay_whole(
    exchange: Exchange, head: ResponseHead, client: ClientResponse, patience: Patience
) -> None:
    held = bytearray()
    while data := await exchange.chunk():
        patience.progress()
        if client.begun:
            await client.answer(data)
            continue
        held += data
        if len(held) > HELD_WHOLE:
            await client.begin(head.status, for_client(head.headers))
            await client.answer(bytes(held))
            held.clear()
    if not client.begun:
        await client.begin(head.status, for_client(head.headers))
    await client.end(bytes(held))


async def _relay_assembled(
    exchange: Exchange,
    head: ResponseHead,
    client: ClientResponse,
    patience: Patience,
    assembly: Assembly,
    limit: int,
) -> None:
    cutter = EventCutter()
    received, done = 0, False
    while data := await exchange.chunk():
        patience.progress()
        received += len(data)
        if received > limit:
            raise EngineBroke(f"its answer has over {limit} bytes", final=True)
        for each in data_of(cutter.feed(data)):
            if each == DONE:
                done = True
            else:
                _add(assembly, each)
    if not done:
        raise EngineBroke("it ended its answer too early")
    body = json.dumps(assembly.document(), ensure_ascii=False).encode(errors="replace")
    headers = [
        (name, value)
        for name, value in for_client(head.headers)
        if name not in (b"content-type", b"content-length", b"cache-control")
    ]
    headers += [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await client.begin(200, headers)
    await client.end(body)


def _add(assembly: Assembly, data: bytes) -> None:
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        raise EngineBroke("an event of its stream is not JSON") from None
    if isinstance(chunk, dict):
        if chunk.get("error"):
            raise as_error(502, data)
        assembly.add(chunk)


async def _whole(exchange: Exchange, patience: Patience, limit: int) -> bytes:
    held = bytearray()
    while data := await exchange.chunk():
        patience.progress()
        held += data
        if len(held) > limit:
            raise EngineBroke(f"its answer has over {limit} bytes", final=True)
    return bytes(held)


def as_error(status: int, body: bytes) -> ApiError:
    """Return the error that an engine's answer describes, with its own ``error`` object unchanged.

    Args:
        status: The status of the answer; 502 for an error within a stream, which is replaced by the error's
            own ``code`` where that is a status.
        body: The answer, or the data of the event: JSON, if the engine is well-behaved.
    """
    detail: Any = None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        detail = document.get("error") or None
    if isinstance(detail, dict):
        code = detail.get("code")
        if status == 502 and isinstance(code, int) and 400 <= code <= 599:
            status = code
    elif detail is not None:
        detail = {"message": str(detail), "type": "engine_error", "param": None, "code": "engine_error"}
    return ApiError(status, "engine_error", f"the engine answered with status {status}", detail=detail)
