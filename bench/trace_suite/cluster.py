"""Workers, their GPUs, the replicas on them, and what is under way there."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from attrs import define, field

from .clock import Clock
from .profile import Model, Profile, Tier
from .workload import Request


class State(Enum):
    """What a replica is doing. In each state but ``GONE`` it has its GPU."""

    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    GONE = "gone"


@define(eq=False)
class Gpu:
    """One GPU: the replica that has it, and the model that was on it last (-1 for none)."""

    replica: Replica | None = None
    last: int = -1


@define(eq=False)
class Worker:
    """One worker.

    Attributes:
        number: Its place in the cluster.
        gpus: Its GPUs.
        disk: The models on its disk.
        memory: The models in its page cache, with their weights, the one that was used last at the end.
        read_until: When its disk has read what it is to read so far.
    """

    number: int
    gpus: list[Gpu]
    disk: set[int]
    memory: OrderedDict[int, int] = field(factory=OrderedDict)
    read_until: float = 0.0

    @property
    def free(self) -> int:
        """How many of its GPUs nobody has."""
        return sum(gpu.replica is None for gpu in self.gpus)


@define(eq=False)
class Replica:
    """One replica. Its engine takes any number of requests, and works at ``target`` of them, in order.

    Attributes:
        model: The index of its model.
        worker: Where it is.
        gpu: Which GPU it has.
        since: When it got its GPU.
        ready_at: When it is ready, or was.
        state: What it is doing.
        running: How many requests it works at.
        queue: Those that wait in its engine.
        idle_since: When its last request ended; before the first one, when it became ready.
    """

    model: int
    worker: Worker
    gpu: Gpu
    since: float
    ready_at: float
    state: State = State.STARTING
    running: int = 0
    queue: deque[Request] = field(factory=deque)
    idle_since: float = 0.0

    @property
    def load(self) -> int:
        """How many requests it has, those in its queue too."""
        return self.running + len(self.queue)


class Cluster:
    """All workers. A policy says what starts and stops; its methods are called when something has happened.

    Attributes:
        clock: The time.
        profile: What the machines are like.
        models: The models.
        workers: The workers.
        ready: By model: its replicas that are ready, the oldest first.
        starting: By model: its replicas that are starting.
        gpu_seconds: For how long GPUs were taken by replicas that are gone, together.
        switches: How often a GPU went from one model to another.
        starts: How many replicas were started.
    """

    def __init__(self, clock: Clock, profile: Profile, models: Sequence[Model], gpus: int) -> None:
        self.clock = clock
        self.profile = profile
        self.models = models
        everything = set(range(len(models))) if profile.pulled else set[int]()
        self.workers = [
            Worker(number, [Gpu() for _ in range(count)], set(everything))
            for number, count in enumerate(profile.workers(gpus))
        ]
        self.ready: list[list[Replica]] = [[] for _ in models]
        self.starting: list[list[Replica]] = [[] for _ in models]
        self.gpu_seconds = 0.0
        self.switches = self.starts = 0
        self.on_ready: Callable[[Replica], None] = lambda _: None
        self.on_gone: Callable[[Replica], None] = lambda _: None
        self.on_ended: Callable[[Replica, Request], None] = lambda _, __: None

    # ---- looking

    @property
    def free(self) -> int:
        """How many GPUs nobody has."""
        return sum(worker.free for worker in self.workers)

    def replicas(self) -> Iterator[Replica]:
        """Yield every replica that has a GPU."""
        for worker in self.workers:
            for gpu in worker.gpus:
                if gpu.replica is not None:
                    yield gpu.replica

    def tier(self, model: int, worker: Worker) -> Tier:
        """Return from where a worker would load a model."""
        if model in worker.memory:
            return Tier.MEMORY
        return Tier.DISK if model in worker.disk else Tier.HUB

    def start_time(self, model: int, worker: Worker) -> float:
        """Return how long a start would take now."""
        tier = self.tier(model, worker)
        wait = 0.0 if tier is Tier.MEMORY else max(0.0, worker.read_until - self.clock.now)
        return wait + self.profile.start(self.models[model], tier)

    def soonest(self, model: int) -> Worker | None:
        """Return the worker with a free GPU on which a start would take least; None if all are taken."""
        free = [worker for worker in self.workers if worker.free]
        return min(free, key=lambda each: (self.start_time(model, each), each.number), default=None)

    # ---- doing

    def start(self, model: int, worker: Worker) -> Replica:
        """Start a replica on a free GPU of a worker, on the one that had the model last if there is one."""
        self.starts += 1
        gpu = min((gpu for gpu in worker.gpus if gpu.replica is None), key=lambda each: each.last != model)
        self.switches += gpu.last not in (-1, model)
        now, tier = self.clock.now, self.tier(model, worker)
        ready_at = now + self.start_time(model, worker)
        if tier is not Tier.MEMORY:
            worker.read_until = ready_at - self.profile.init
        worker.disk.add(model)
        self._keep_in_memory(worker, model)
        replica = Replica(model, worker, gpu, now, ready_at)
        gpu.replica, gpu.last = replica, model
        self.starting[model].append(replica)
        self.clock.at(ready_at, lambda: self._become_ready(replica))
        return replica

    def stop(self, replica: Replica) -> None:
        """Let a replica end what it has, and stop; nothing may be sent to it any more."""
        if replica.state is State.STARTING:
            self.starting[replica.model].remove(replica)
        elif replica.state is State.READY:
            self.ready[replica.model].remove(replica)
        else:
            return
        replica.state = State.ENDING
        if not replica.load:
            self.clock.after(self.profile.stop, lambda: self._go(replica))

    def send(self, replica: Replica, request: Request) -> None:
        """Give a request to a replica that is ready."""
        replica.queue.append(request)
        self._work(replica)

    def close(self) -> float:
        """Return ``gpu_seconds`` with those of the replicas that are still there."""
        return self.gpu_seconds + sum(self.clock.now - replica.since for replica in self.replicas())

    # ---- inside

    def _keep_in_memory(self, worker: Worker, model: int) -> None:
        worker.memory[model] = self.models[model].weights
        worker.memory.move_to_end(model)
        while sum(worker.memory.values()) > self.profile.host_memory and len(worker.memory) > 1:
            worker.memory.popitem(last=False)

    def _become_ready(self, replica: Replica) -> None:
        if replica.state is State.STARTING:
            replica.state, replica.idle_since = State.READY, self.clock.now
            self.starting[replica.model].remove(replica)
            self.ready[replica.model].append(replica)
            self.on_ready(replica)

    def _work(self, replica: Replica) -> None:
        while replica.queue and replica.running < self.profile.target:
            request = replica.queue.popleft()
            replica.running += 1
            request.begun = self.clock.now
            seconds = self.profile.service(request.prompt, request.answer)
            self.clock.after(seconds, lambda request=request: self._end(replica, request))  # type: ignore[misc]

    def _end(self, replica: Replica, request: Request) -> None:
        replica.running -= 1
        replica.idle_since = request.ended = self.clock.now
        self._work(replica)
        if replica.state is State.ENDING and not replica.load:
            self.clock.after(self.profile.stop, lambda: self._go(replica))
        self.on_ended(replica, request)

    def _go(self, replica: Replica) -> None:
        replica.state = State.GONE
        replica.gpu.replica = None
        self.gpu_seconds += self.clock.now - replica.since
        self.on_gone(replica)
