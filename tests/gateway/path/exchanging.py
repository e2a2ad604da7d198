"""Requests between played clients and played engines: all between them is real, but for the wires."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

from attrs import define, field
from tests.gateway.kit import replica
from tests.gateway.path.wire import Wire
from tests.gateway.routing.balancing import SMOL, Bench

from sllm_actors.actors import NodeId
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ConfirmEngine, EngineConfirmed, OpenEngine, ReplicaReport
from sllm_actors.gateway.access.guard import Guard
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.path.clients.http1 import chunk
from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.engines.connection import EngineConnection
from sllm_actors.gateway.path.engines.connector import Connector
from sllm_actors.gateway.path.exchange import Exchange
from sllm_actors.gateway.path.inference import Inference
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.memory.keys import KnownKeys
from sllm_actors.gateway.routing.memory.poison import Poison
from sllm_actors.gateway.settings import GatewaySettings

Task = Coroutine[Any, Any, None]


@define(eq=False)
class Client:
    """Takes a response, and fails if it is not one response in its order.

    ``chunks``: pieces that came with the framing of chunks. ``looks``: how often it was looked for.
    """

    begun: bool = False
    ended: bool = False
    was_cut_off: bool = False
    status: int = 0
    headers: Headers = field(factory=list)
    added: Headers = field(factory=list)
    body: bytes = b""
    chunks: int = 0
    read: bool = True
    looks: int = 0

    def begin(self, status: int, headers: Headers, length: int | None = None) -> None:
        assert not self.begun
        assert not self.ended
        self.begun, self.status, self.headers = True, status, [*headers, *self.added]

    def write(self, data: bytes) -> None:
        assert self.begun
        assert not self.ended
        assert data
        self.body += data

    def chunk_writer(self) -> Callable[[bytes], None]:
        assert self.begun
        return self._write_chunk

    def _write_chunk(self, framed: bytes) -> None:
        size, _, rest = framed.partition(b"\r\n")
        assert framed == chunk(rest[: int(size, 16)])
        self.chunks += 1
        self.write(rest[:-2])

    def end(self, data: bytes = b"") -> None:
        assert self.begun
        assert not self.ended
        self.body += data
        self.ended = True

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.begin(status, headers, len(body))
        self.end(body)

    def pause_reading(self) -> None:
        assert self.read
        self.read = False

    def resume_reading(self) -> None:
        assert not self.read
        self.read = True

    def leave_if_gone(self) -> None:
        assert not self.read
        self.looks += 1

    def cut_off(self) -> None:
        assert not self.ended
        self.ended = self.was_cut_off = True


@define(eq=False)
class Asking:
    """A question to a worker, until it is answered."""

    replica: ReplicaId
    task: Task | None = None

    def __await__(self) -> Generator[Asking, EngineConfirmed | None, EngineConfirmed | None]:
        return (yield self)


class Play:
    """One gateway's path for inference, without a loop: time, workers and engines do what a test says.

    Attributes:
        wires: The connections to engines that were opened and not lost yet, with where they lead.
        questions: What workers were asked, and have not answered.
    """

    def __init__(self, **more: Any) -> None:
        bench = self.bench = Bench(restart_notice=10.0)
        settings = GatewaySettings(snapshot_path=Path("none"), machine="here", **more)
        self.board = Board()
        self.wires: list[tuple[ReplicaId, EngineConnection, Wire]] = []
        self.questions: list[Asking] = []
        self.deaths: list[Any] = []
        self.refusal: Exception | None = None
        self.poison = Poison("gateway-1", self.deaths.append)
        system: Any = self
        self.clock = self
        inference = self.inference = Inference(
            system,
            self.board,
            bench.balancer,
            self._open,
            self.poison,
            Guard(settings, KnownKeys()),
            settings,
            b"gateway",
        )
        inference.connector = Connector("here", self._open, 5.0, start=self.start_soon, clock=self.now)
        tasks: Any = self
        inference._tasks = tasks

    # ---- the actor system, its clock, and the task group of the inference

    def now(self) -> float:
        return self.bench.now

    def named(self, _name: str, _node: NodeId) -> Play:
        return self

    async def ask(self, question: ConfirmEngine, *, timeout: float) -> EngineConfirmed | None:
        assert timeout > 0
        return await Asking(question.id)

    def start_soon(self, task: Callable[..., Task], *arguments: Any) -> None:
        self._run(task(*arguments), None)

    def _run(self, task: Task, result: EngineConfirmed | None) -> None:
        try:
            asking = task.send(result)
        except StopIteration:
            return
        asking.task = task
        self.questions.append(asking)

    def _open(self, _node: NodeId, request: OpenEngine, protocol: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        wire = Wire()
        self.wires.append((request.id, protocol, wire))
        protocol.connection_made(wire)

    # ---- what a test does

    def replicas(self, *reports: ReplicaReport, **more: Any) -> None:
        self.board.publish(self.bench.route(*reports, **more))

    def ready(self, *numbers: int, **more: Any) -> None:
        """Let these replicas be ready, and no others."""
        self.replicas(*(at(number) for number in numbers), **more)

    def ask_for(
        self, *, stream: bool = False, body: bytes | None = None, ended: bool = True
    ) -> tuple[Exchange, Client]:
        """Begin a request."""
        if body is None:
            body = json.dumps({"model": "smol", "stream": stream, "messages": []}).encode()
        head = RequestHead("POST", b"/v1/chat/completions", b"", [(b"host", b"127.0.0.1")])
        assert self.inference.takes(head)
        client = Client()
        exchange = self.inference.begin(head, client)
        exchange.body(body)
        if ended:
            exchange.body_ended()
        return exchange, client

    def under_way(self) -> list[tuple[ReplicaId, EngineConnection, Wire]]:
        """Return the connections on which an answer is awaited, the oldest first."""
        return [each for each in self.wires if not each[2].closing and each[1]._caller is not None]

    def say(self, *pieces: bytes, at: int = 0) -> None:
        """Let an engine send bytes of its answer."""
        _, connection, wire = self.under_way()[at]
        for piece in pieces:
            if not wire.closing:
                connection.data_received(piece)

    def break_off(self, error: Exception | None = None, *, at: int = 0) -> None:
        """Let a connection to an engine be lost."""
        found = self.under_way()[at]
        self.wires.remove(found)
        found[1].connection_lost(error)

    def lose_closed(self) -> None:
        """Let those connections be lost that our side has closed, as a turn of the event loop does."""
        closed = [each for each in self.wires if each[2].closing]
        self.wires = [each for each in self.wires if not each[2].closing]
        for _, connection, _ in closed:
            connection.connection_lost(None)

    def confirm(self, answer: EngineConfirmed | None) -> None:
        """Let a worker answer the oldest question."""
        asking = self.questions.pop(0)
        assert asking.task is not None
        self._run(asking.task, answer)

    def wait(self, seconds: float) -> None:
        """Let time pass, and look at the requests."""
        self.bench.wait(seconds)
        self.inference.now = self.bench.now
        for exchange in self.inference._rounds.due(self.bench.now):
            exchange.look(self.bench.now)
        self.inference.connector.pool.close_idle(self.bench.now)


def at(number: int, deployment: str = SMOL, **more: Any) -> ReplicaReport:
    """Return a replica on another machine, so that only a stream leads there."""
    return replica(deployment, number=number, address="unix:/engine", **({"machine": "there"} | more))


def whole(status: int = 200, document: Any = None) -> bytes:
    """Return a whole answer."""
    body = json.dumps(document or {"hello": "there"}).encode()
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def event(data: bytes) -> bytes:
    text = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(text), text)


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXT = event(b'{"choices": [{"index": 0, "delta": {"content": "hello"}}]}')
STOP = event(b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}')
DONE = event(b"[DONE]")
END = b"0\r\n\r\n"
