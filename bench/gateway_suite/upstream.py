"""An engine that does nothing: ``python upstream.py --port N`` or ``--socket PATH``.

It answers a chat with a fixed completion at once, or with a stream of fixed chunks, and costs far less than
any gateway. What a test wants of it is said in the prompt, which every gateway passes on unchanged:
``8 tokens 20 ms apart`` (of a stream), ``wait 500 ms`` (before an answer), or both. ``GET /latencies`` tells
by its own clock how long the streams with such waits took since the last time that was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
from collections import deque
from time import monotonic
from typing import Final, cast

import httptools
import uvloop

BACKLOG: Final = 4096
"""Connections that may wait to be accepted: a burst must not be refused here."""

TOKENS: Final = re.compile(rb"(\d+) tokens (\d+) ms apart")
WAIT: Final = re.compile(rb"wait (\d+) ms")
STREAM: Final = re.compile(rb'"stream"\s*:\s*true')


def answer(body: bytes) -> bytes:
    """Return a whole response of HTTP/1.1."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def framed(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(delta: bytes, finish: bytes = b"null") -> bytes:
    """Return one event of a streamed chat, as vLLM words it."""
    return framed(
        b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1767225600,"model":"bench",'
        b'"choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]}\n\n' % (delta, finish)
    )


COMPLETION: Final = answer(
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1767225600,"model":"bench","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"The gateway is all that this costs."},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":8,"total_tokens":32}}'
)
MODELS: Final = answer(b'{"object":"list","data":[{"id":"bench","object":"model","owned_by":"bench"}]}')
HEALTH: Final = answer(b'{"status":"ok"}')

BEGIN: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
FIRST: Final = BEGIN + event(b'{"role":"assistant","content":"One"}')
NEXT: Final = event(b'{"content":" more"}')
LAST: Final = event(b"{}", b'"stop"') + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"

KEPT: Final = 100_000
"""Streams whose times are kept."""

served: Final[deque[tuple[float, float, float]]] = deque(maxlen=KEPT)
"""Of each stream the seconds from when its request was here until the first chunk left; from that until the
last one left, for each chunk after the first; and until the end."""


def latencies() -> bytes:
    """Return the medians of ``served`` in milliseconds, as a response, and forget it."""
    names = ("ttft", "tpot", "e2e")
    medians = [statistics.median(each) * 1000 for each in zip(*served, strict=True)]
    served.clear()
    return answer(json.dumps(dict(zip(names, medians, strict=False))).encode())


class Upstream(asyncio.Protocol):
    """One connection of a gateway."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._url = b""
        self._body = b""
        self._left = self._tokens = 0
        self._due = self._came = self._began = 0.0
        self._interval = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        url, body = self._url, self._body
        self._url = self._body = b""
        if not url.endswith(b"/chat/completions"):
            self._transport.write(_other(url))
            return
        wait = WAIT.search(body)
        if STREAM.search(body):
            wished = TOKENS.search(body)
            self._left = self._tokens = int(wished[1]) if wished else 4
            self._interval = int(wished[2]) / 1000 if wished else 0.0
            self._came = monotonic()
            if wait is None:
                self._begin()
            else:
                self._timer = self._loop.call_later(int(wait[1]) / 1000, self._begin)
        elif wait is not None:
            self._timer = self._loop.call_later(int(wait[1]) / 1000, self._transport.write, COMPLETION)
        else:
            self._transport.write(COMPLETION)

    def _begin(self) -> None:
        self._left -= 1
        if self._left <= 0 or not self._interval:
            self._transport.write(FIRST + NEXT * max(0, self._left) + LAST)
            return
        self._began = monotonic()
        self._transport.write(FIRST)
        self._due = self._loop.time() + self._interval
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._left -= 1
        if self._left > 0:
            self._transport.write(NEXT)
            self._due += self._interval
            self._timer = self._loop.call_at(self._due, self._tick)
            return
        now = monotonic()
        self._transport.write(NEXT + LAST)
        served.append((self._began - self._came, (now - self._began) / (self._tokens - 1), now - self._came))


def _other(url: bytes) -> bytes:
    """Return the response to anything but a chat."""
    if url.endswith(b"/latencies"):
        return latencies()
    return MODELS if url.endswith(b"/models") else HEALTH


async def serve(port: int | None, socket: str | None) -> None:
    """Serve until the process is told to stop."""
    loop = asyncio.get_running_loop()
    if socket is None:
        server: asyncio.Server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=BACKLOG)
        print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    else:
        server = await loop.create_unix_server(Upstream, socket, backlog=BACKLOG)
    await server.serve_forever()


def main() -> None:
    """Read the arguments, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--port", type=int, help="of 127.0.0.1; 0: any free one, which is printed")
    place.add_argument("--socket", help="a path")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.socket))


if __name__ == "__main__":
    main()
