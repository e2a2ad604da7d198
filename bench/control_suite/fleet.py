"""The simulated workers and gateways, and their links to the head's process."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgpack
from anyio.abc import Process

from sllm_actors.actors import Address, AskError, Envelope, Incarnation, NodeId
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.transport.codec import Codec
from sllm_actors.transport.envelope import EnvelopeCoder, decode_failure

from . import adapter
from .size import Size
from .wire import Kind, Lane
from .worker import SimReplica, SimWorker

ROOT = Path(__file__).parents[2]
HEAD = NodeId("head")
FLEET = (NodeId("fleet"), Incarnation(1, 0))

STARTS_AFTER = 0.02
"""Seconds from an order to STARTING."""

READY_AFTER = 0.1
"""Seconds from STARTING to READY, and from DRAINING to the end."""

TURN = 0.01
"""Seconds between two slices of beats."""


LAST_WORDS = 4000
"""Bytes of the output of the head's process that a failure quotes its last line from."""


class HeadFailed(Exception):
    """The head did not do what it was asked for; the text says why."""


class Fleet:
    """All workers and gateways. Made by ``open_fleet``.

    Attributes:
        workers: By node.
        unsettled: The nodes of the workers that lack their orders, or run something that is not ready.
        changed_at: When ``unsettled``, or what runs, changed last, by ``time.perf_counter``.
        started: How many replicas were started on an order.
        stopped: How many replicas were stopped on an order.
        running: How many replicas there are.
        beats: How many beats were sent.
        on_order: Called with the deployment of each replica that a worker is ordered to run.
    """

    def __init__(self, size: Size, folder: Path) -> None:
        self.size = size
        self.folder = folder
        self.workers = {
            worker.node: worker for worker in (_worker(f"w{n:04}", n, size) for n in range(size.workers))
        }
        self.gateways = {
            node: adapter.GatewaySpeech(node) for node in (f"g{n}" for n in range(size.gateways))
        }
        self.unsettled = set(self.workers)
        self.changed_at = time.perf_counter()
        self.started = self.stopped = self.running = self.beats = 0
        self.on_order: Callable[[str], None] | None = None
        self._life = 0
        self._process: Process | None = None
        self._lane: Lane | None = None
        self._hung_up = anyio.Event()
        self._met: asyncio.Future[None] | None = None
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        # The bytes of an envelope to a name are the same from every node: one coder does for all.
        self._coder = EnvelopeCoder(Codec(adapter.MESSAGES), FLEET, (HEAD, Incarnation(1, 0)), "head")

    # ---- the head's process

    @property
    def _said(self) -> Path:
        return self.folder / "head.out"  # warnings too: its log is beside it

    @property
    def has_head(self) -> bool:
        """Whether a head's process is joined to the fleet."""
        return self._lane is not None

    @property
    def socket(self) -> str:
        """Where the head finds the fleet."""
        return str(self.folder / "fleet.sock")

    def meet(self) -> Lane:
        """Make the fleet's end of a connection from a head."""
        self._lane = Lane(self._take, self._head_lost)
        self._hung_up = anyio.Event()
        return self._lane

    async def start_head(self) -> None:
        """Start the head's process in its next life; return when it takes frames. Nothing is linked yet."""
        self._life += 1
        self._met = self._loop.create_future()
        command = [sys.executable, "-m", "bench.control_suite.head", self.socket, str(self.folder)]
        with self._said.open("ab") as said:
            self._process = await anyio.open_process(
                [*command, str(self._life)], cwd=ROOT, stdin=None, stdout=said, stderr=said
            )
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(self._watch_start, self._process, self._met)
            await self._met
            waiting.cancel_scope.cancel()

    async def _watch_start(self, process: Process, met: asyncio.Future[None]) -> None:
        await process.wait()
        if not met.done():
            met.set_exception(self.head_has_ended())

    def head_has_ended(self) -> HeadFailed:
        """Return the failure that tells of it, with the last line that the head's process wrote."""
        with self._said.open("rb") as said:
            said.seek(max(0, self._said.stat().st_size - LAST_WORDS))
            lines = [line.strip(" |+-") for line in said.read().decode(errors="replace").splitlines()]
        return HeadFailed(
            f"the head's process has ended: {next(filter(None, reversed(lines)), 'it said nothing')}"
        )

    async def kill_head(self) -> None:
        """Kill the head's process, and wait until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                process.kill()
            await process.aclose()
        if self._lane is not None:
            self._lane.close()
            await self._hung_up.wait()

    def _head_lost(self) -> None:
        self._lane = None
        self._hung_up.set()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(self.head_has_ended())
        self._asked.clear()
        for worker in self.workers.values():
            self._unlink(worker)

    # ---- links

    def link_gateways(self) -> None:
        """Let the link of every gateway come up."""
        for node, gateway in self.gateways.items():
            self._send(Kind.UP, node, 0, msgpack.packb(["gateway", self._life, "10.255.0.1"]))
            self._tell(node, gateway.linked())

    def report_demand(self, node: str | None = None) -> int:
        """Let one gateway, or each, say what has changed of its clients' demand; return how much has."""
        changes = 0
        for each in self.gateways if node is None else (node,):
            said = self.gateways[each].report()
            changes += sum(len(difference.put) + len(difference.removed) for difference in said)
            self._tell(each, said)
        return changes

    def link(self, worker: SimWorker) -> None:
        """Let a worker's link come up, in a new life of the worker: its replicas live on."""
        worker.life += 1
        worker.linked = True
        up = ["worker", worker.life, worker.speech.inventory.host]
        self._send(Kind.UP, worker.node, 0, msgpack.packb(up))
        self._tell(worker.node, worker.speech.linked(worker))

    def lose(self, worker: SimWorker) -> None:
        """Let a worker's link be lost."""
        self._send(Kind.LOST, worker.node, 0, b"silent for 3 s")
        self._unlink(worker)

    def _unlink(self, worker: SimWorker) -> None:
        worker.linked = worker.ordered = False
        self._look_at(worker)

    # ---- frames

    def _send(self, kind: Kind, node: str, number: int, body: bytes) -> None:
        if self._lane is not None:
            self._lane.send(kind, node, number, body)

    def _tell(self, node: str, messages: Iterable[Any]) -> None:
        for message in messages:
            self._send(Kind.TELL, node, 0, self._encode(message))

    def _encode(self, message: Any) -> bytes:
        return self._coder.encode(Envelope(Address(HEAD, None, CONTROLLER), message))

    async def ask(self, message: Any, *, timeout: float) -> tuple[Any, float]:
        """Ask the head something from a gateway; return the answer and how many seconds it took."""
        began = time.perf_counter()
        body = await self._question(Kind.ASK, next(iter(self.gateways)), self._encode(message), timeout)
        if isinstance(body, AskError):
            raise HeadFailed(f"the head did not answer a {type(message).__name__}: {body}")
        came, raw = body
        return self._coder.decode_reply(raw), came - began

    async def measure(self) -> dict[str, Any]:
        """Return what the head's process has measured since ``begin``."""
        _, raw = await self._question(Kind.MEASURE, HEAD, b"", timeout=60)
        figures: dict[str, Any] = msgpack.unpackb(raw)
        return figures

    def begin(self) -> None:
        """Let the head's process begin to measure anew."""
        self._send(Kind.BEGIN, HEAD, 0, b"")

    async def _question(self, kind: Kind, node: str, body: bytes, timeout: float) -> Any:
        number = next(self._numbers)
        future = self._asked[number] = self._loop.create_future()
        self._send(kind, node, number, body)
        try:
            with anyio.fail_after(timeout):
                return await future
        except TimeoutError:
            raise HeadFailed(f"the head did not answer within {timeout:g} s") from None
        finally:
            self._asked.pop(number, None)

    def _take(self, kind: int, node: str, number: int, body: bytes) -> None:
        match kind:
            case Kind.READY:
                if self._met is not None and not self._met.done():
                    self._met.set_result(None)
            case Kind.REPLY | Kind.FAILURE:
                future = self._asked.get(number)
                if future is not None and not future.done():
                    found = (time.perf_counter(), body)
                    future.set_result(found if kind == Kind.REPLY else decode_failure(body))
            case _ if node in self.workers:
                self._to_worker(self.workers[node], kind, number, body)
            case _:
                self._tell(node, self.gateways[node].hear(self._coder.decode(body).message))

    # ---- what workers do

    def _to_worker(self, worker: SimWorker, kind: int, number: int, body: bytes) -> None:
        if not worker.linked:
            return
        heard = worker.speech.hear(worker, self._coder.decode(body).message)
        if kind == Kind.ASK:
            self._send(Kind.REPLY, worker.node, number, self._coder.encode_reply(heard.reply))
        self._tell(worker.node, heard.say)
        changed = [self._start(worker, key, order) for key, order in heard.start]
        changed += [
            self._stop(worker, worker.replicas[key]) for key in heard.stop if self._stoppable(worker, key)
        ]
        if heard.settled:
            worker.ordered = True
        if changed:
            self.say(worker, changed)
        elif heard.settled:
            self._look_at(worker)

    def _start(self, worker: SimWorker, key: ReplicaKey, order: Any) -> SimReplica:
        self.started += 1
        self.running += 1
        if self.on_order is not None:
            self.on_order(key.deployment)
        replica = worker.begin(key, order)
        self._later(STARTS_AFTER, worker, replica, ReplicaState.PENDING, ReplicaState.STARTING)
        self._later(STARTS_AFTER + READY_AFTER, worker, replica, ReplicaState.STARTING, ReplicaState.READY)
        return replica

    @staticmethod
    def _stoppable(worker: SimWorker, key: ReplicaKey) -> bool:
        return key in worker.replicas and worker.replicas[key].state is not ReplicaState.DRAINING

    def _stop(self, worker: SimWorker, replica: SimReplica) -> SimReplica:
        self.stopped += 1
        worker.become(replica, ReplicaState.DRAINING)
        self._later(READY_AFTER, worker, replica, ReplicaState.DRAINING, ReplicaState.STOPPED)
        return replica

    def _later(
        self, delay: float, worker: SimWorker, replica: SimReplica, state: ReplicaState, then: ReplicaState
    ) -> None:
        self._loop.call_later(delay, self._step, worker, replica, state, then)

    def _step(self, worker: SimWorker, replica: SimReplica, state: ReplicaState, then: ReplicaState) -> None:
        if replica.state is state and worker.replicas.get(replica.key) is replica:
            self.become(worker, replica, then)

    def become(self, worker: SimWorker, replica: SimReplica, state: ReplicaState) -> None:
        """Change a replica's state, and report it."""
        worker.become(replica, state)
        if state is ReplicaState.STOPPED:
            self.running -= 1
        self.say(worker, [replica])

    def say(self, worker: SimWorker, replicas: list[SimReplica]) -> None:
        """Report replicas that have changed."""
        self.changed_at = time.perf_counter()
        self._look_at(worker)
        said = worker.speech.changed(replicas)
        if worker.linked:
            self._tell(worker.node, said)

    def _look_at(self, worker: SimWorker) -> None:
        if worker.settled == (worker.node in self.unsettled):
            self.unsettled ^= {worker.node}
            self.changed_at = time.perf_counter()

    async def beat(self) -> None:
        """Send the beats of all nodes, spread over each ``BEAT`` seconds, until cancelled."""
        workers = list(self.workers.values())
        slices = max(1, round(adapter.BEAT / TURN))
        for turn in itertools.cycle(range(slices)):
            for node, gateway in () if turn else self.gateways.items():
                self._tell(node, [gateway.beat()])
            for worker in workers[turn::slices]:
                if worker.linked:
                    self.beats += 1
                    self._tell(worker.node, [worker.speech.beat()])
            await anyio.sleep(TURN)


def _worker(node: str, number: int, size: Size) -> SimWorker:
    return SimWorker(node, adapter.speech(node, number, size.gpus))


@asynccontextmanager
async def open_fleet(size: Size, folder: Path) -> AsyncIterator[Fleet]:
    """Open a fleet in a folder, without a head yet; leaving kills the head's process."""
    fleet = Fleet(size, folder)
    server = await asyncio.get_running_loop().create_unix_server(fleet.meet, fleet.socket)
    try:
        async with anyio.create_task_group() as beating:
            beating.start_soon(fleet.beat)
            yield fleet
            beating.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await fleet.kill_head()
            finally:
                server.close()
                await server.wait_closed()
