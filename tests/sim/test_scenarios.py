"""Single faults, one at a time, on a clock that jumps: what nodes are told, and when."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import permutations

import anyio
import pytest
import trio
from anyio.abc import ByteStream
from tests.tunnels import open_tunnel
from trio.testing import MockClock

from sllm_actors.actors import TEMPORARY, ActorRef, ChildSpec, Down, NodeId, PeerDown
from sllm_actors.testing import TestProbe
from sllm_actors.testing.sim_run import deterministic
from sllm_actors.testing.sim_stream import SimStream
from sllm_actors.transport.link import LinkState

from .faults import Faults
from .nodes import PORT, PROBE, SimNode
from .people import Ping
from .world import World

pytestmark = pytest.mark.trio


Clusters = Callable[..., AbstractAsyncContextManager[World]]

WORLDS = range(int(os.environ.get("SLLM_SIM_WORLDS", "3")))
"""Each scenario is played in these worlds (latencies, sizes, who dials whom, in which order tasks run)."""


@pytest.fixture(params=WORLDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Clusters]:
    with deterministic(request.param):
        yield partial(running, request.param)


@asynccontextmanager
async def running(seed: int, *, kernels_patience: float | None = None) -> AsyncIterator[World]:
    """A few nodes that are linked, whose actors do nothing by themselves."""
    world = World(seed)
    world.quiet = True
    if kernels_patience is not None:
        world.net.user_timeout = kernels_patience
    async with anyio.create_task_group() as background:
        background.start_soon(world.net.run)
        async with anyio.create_task_group() as processes:
            faults = Faults(world, processes)
            for name in world.names:
                await faults.start(name)
            await linked(world)
            yield world
            for node in world.nodes.values():
                node.stop.set()
        background.cancel_scope.cancel()
    assert world.ledger.violations == []


async def linked(world: World) -> None:
    """Wait until each node is linked with each other one."""
    with trio.fail_after(10):
        while not all(is_linked(world, *pair) for pair in permutations(world.names, 2)):  # noqa: ASYNC110
            await anyio.sleep(0.01)


def is_linked(world: World, one: str, other: str) -> bool:
    link = world.nodes[one].transport._peer_table.links.get(NodeId(other))
    return link is not None and link.life.state is LinkState.UP and link.open_lane is not None


async def watcher(node: SimNode) -> TestProbe:
    probe = TestProbe()
    await node.system.start(ChildSpec("watcher", lambda: probe, restart=TEMPORARY))
    return probe


def afar(world: World) -> ActorRef:
    """Return the probe of n1, by its name, as n0 sees it."""
    return world.nodes["n0"].system.named(PROBE, NodeId("n1"))


def both_ways() -> tuple[tuple[str, str], tuple[str, str]]:
    return ("n0", "n1"), ("n1", "n0")


@pytest.mark.slow
async def test_a_silence_shorter_than_the_budget_is_noticed_by_nobody(
    autojump_clock: MockClock, cluster: Clusters
) -> None:
    async with cluster() as world:
        lives = {name: node.system.incarnation for name, node in world.nodes.items()}
        probe = await watcher(world.nodes["n0"])
        probe.monitor(afar(world))
        with world.net.stalled(*both_ways()):
            await anyio.sleep(0.5 * world.settings.budget)
        await anyio.sleep(3 * world.settings.budget)
        await probe.expect_nothing()
        assert await afar(world).ask(Ping(1), timeout=1.0) == Ping(1)
        assert {name: node.system.incarnation for name, node in world.nodes.items()} == lives


@pytest.mark.slow
@pytest.mark.parametrize("ways", [both_ways(), both_ways()[:1], both_ways()[1:]], ids=["both", "to", "from"])
async def test_a_silence_longer_than_the_budget_is_one_down_within_it_and_a_link_again_afterwards(
    autojump_clock: MockClock, cluster: Clusters, ways: tuple[tuple[str, str], ...]
) -> None:
    async with cluster() as world:
        budget = world.settings.budget
        probe = await watcher(world.nodes["n0"])
        probe.monitor(afar(world))
        before = world.nodes["n0"].system.incarnation, world.nodes["n1"].system.incarnation
        began = trio.current_time()
        with world.net.stalled(*ways):
            down = await probe.expect(Down, timeout=3 * budget)
            # Where only n1 hears nothing, it closes the link, and n0 tries in vain for a budget more.
            most = 2.5 if ways == both_ways()[:1] else 1.5
            assert 0.7 * budget <= trio.current_time() - began <= most * budget
            assert down.ref == afar(world)
            await anyio.sleep(2 * budget)
        await linked(world)
        assert await afar(world).ask(Ping(1), timeout=1.0) == Ping(1)
        await probe.expect_nothing()  # no second Down
        after = world.nodes["n0"].system.incarnation, world.nodes["n1"].system.incarnation
        assert any(new.counter > old.counter for old, new in zip(before, after, strict=True))


def lane_stream(world: World, lane: str) -> SimStream:
    """Return the end at n0 of a lane with n1."""
    link = world.nodes["n0"].transport._peer_table.links[NodeId("n1")]
    assert link.lane is not None
    connection = link.control if lane == "control" else link.lane.connection
    assert connection is not None
    stream = getattr(connection._stream, "_stream", connection._stream)
    assert isinstance(stream, SimStream)
    return stream


@pytest.mark.slow
async def test_a_silent_control_lane_is_noticed_within_the_budget_whatever_the_data_lane_carries(
    autojump_clock: MockClock,
    cluster: Clusters,
) -> None:
    async with cluster(kernels_patience=900.0) as world:
        budget = world.settings.budget
        probe = await watcher(world.nodes["n0"])
        probe.monitor(afar(world))
        world.net.forget(lane_stream(world, "control"))
        began = trio.current_time()
        with anyio.move_on_after(0.7 * budget):
            while True:
                assert await afar(world).ask(Ping(1), timeout=1.0) == Ping(1)
        await probe.expect(Down, timeout=3 * budget)
        assert 0.7 * budget <= trio.current_time() - began <= 1.5 * budget
        await linked(world)


@pytest.mark.slow
async def test_a_silent_data_lane_breaks_within_the_budget_of_what_was_sent_and_comes_back(
    autojump_clock: MockClock,
    cluster: Clusters,
) -> None:
    async with cluster() as world:
        budget = world.settings.budget
        probe = await watcher(world.nodes["n0"])
        probe.monitor(afar(world))
        world.net.forget(lane_stream(world, "data"))
        await anyio.sleep(10 * budget)  # nothing is under way: nothing is missed
        began = trio.current_time()
        with pytest.raises(PeerDown):
            await afar(world).ask(Ping(1), timeout=60.0)
        assert trio.current_time() - began <= 1.5 * budget
        await linked(world)
        assert await afar(world).ask(Ping(2), timeout=1.0) == Ping(2)
        await probe.expect_nothing()


class Engine(ByteStream):
    """The far end of a tunnel: takes what comes, says nothing, and notes when its connection is closed."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.got = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self.ended.wait()
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        self.got += item

    async def send_eof(self) -> None:
        self.ended.set()

    async def aclose(self) -> None:
        self.ended.set()


@pytest.mark.slow
@pytest.mark.parametrize(("here", "there"), [("n0", "n1"), ("n1", "n0")])
@pytest.mark.parametrize("fault", ["client", "process", "silence"])
async def test_an_engine_is_told_within_a_bound_when_nobody_reads_its_tunnel_any_more(
    autojump_clock: MockClock, cluster: Clusters, here: str, there: str, fault: str
) -> None:
    async with cluster() as world:
        budget, engine = world.settings.budget, Engine()

        async def open_engine(_peer: object, _request: object) -> ByteStream:
            return engine

        world.nodes[there].transport._tunnels._on_tunnel = open_engine
        near = world.nodes[here].transport

        async def request() -> None:
            tunnel = await open_tunnel(near, NodeId(there), Ping(1), timeout=1.0)
            async with tunnel:
                await tunnel.send(b"a request")
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request)
            with anyio.fail_after(2):
                while engine.got != b"a request":  # noqa: ASYNC110 - virtual time is free
                    await anyio.sleep(0.01)
            began = trio.current_time()
            match fault:
                case "client":
                    tasks.cancel_scope.cancel()
                case "process":
                    world.nodes.pop(here).kill()
                    world.net.process_died(here, (PORT,))
                    tasks.cancel_scope.cancel()
                case "silence":
                    world.net.stall(here, there)
                    world.net.stall(there, here)
            with anyio.CancelScope(shield=True):
                await engine.ended.wait()
            assert trio.current_time() - began < (1.5 * budget if fault == "silence" else 0.2 * budget)
            tasks.cancel_scope.cancel()
        if fault == "silence":
            world.net.heal(here, there)
            world.net.heal(there, here)
        await anyio.sleep(2 * budget)
        assert world.nodes[there].transport.statistics().tunnels == 0


async def test_a_process_that_is_killed_is_down_and_its_asks_end_at_once(
    autojump_clock: MockClock, cluster: Clusters
) -> None:
    async with cluster() as world:
        probe = await watcher(world.nodes["n0"])
        probe.monitor(afar(world))
        began = trio.current_time()

        async def ask() -> None:
            with pytest.raises(PeerDown):
                await afar(world).ask(Ping(1), timeout=60.0)

        world.net.stall("n0", "n1")  # so that it is not answered before
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(0.01)
            world.nodes.pop("n1").kill()
            world.net.heal("n0", "n1")
            world.net.process_died("n1", (PORT,))
        assert trio.current_time() - began < 1.5 * world.settings.budget
        await probe.expect(Down, timeout=2 * world.settings.budget)


@pytest.mark.slow
async def test_a_process_that_stands_still_too_long_begins_a_new_life_and_nobody_else_does(
    autojump_clock: MockClock,
    cluster: Clusters,
) -> None:
    async with cluster() as world:
        before = {name: node.system.incarnation.counter for name, node in world.nodes.items()}
        process = world.nodes["n1"].process
        probe, other = await watcher(world.nodes["n0"]), await watcher(world.nodes["n2"])
        probe.monitor(afar(world))
        other.monitor(world.nodes["n2"].system.named(PROBE, NodeId("n0")))
        world.freezer.freeze("n1")
        await anyio.sleep(3 * world.settings.budget)
        await probe.expect(Down)
        world.freezer.thaw("n1")
        await linked(world)
        assert await afar(world).ask(Ping(1), timeout=1.0) == Ping(1)
        assert world.nodes["n1"].process == process
        after = {name: node.system.incarnation.counter for name, node in world.nodes.items()}
        assert after == before | {"n1": before["n1"] + 1}
        await other.expect_nothing()


@pytest.mark.slow
async def test_connections_that_are_cut_are_made_again_and_no_monitor_hears_of_it(
    autojump_clock: MockClock,
    cluster: Clusters,
) -> None:
    async with cluster() as world:
        probe = await watcher(world.nodes["n0"])
        probe.monitor(afar(world))
        rng = random.Random(1)
        for _ in range(20):
            for stream in world.net.between("n0", "n1"):
                if rng.random() < 0.7:
                    world.net.cut(stream, both=rng.random() < 0.5)
            await anyio.sleep(rng.random() * 0.2 * world.settings.budget)
            await linked(world)
        await probe.expect_nothing()
        assert await afar(world).ask(Ping(1), timeout=1.0) == Ping(1)
