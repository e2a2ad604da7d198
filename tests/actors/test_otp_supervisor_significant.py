"""OTP's ``supervisor_SUITE``, last part: significant children, restart loops that hang, and names.

What is left out is listed in ``test_otp_cases.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from sllm_actors.actors import (
    NORMAL,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    ActorRef,
    AutoShutdown,
    ChildSpec,
    DeleteChild,
    RemoteFailure,
    Restart,
    RestartChild,
    StartChild,
    StartFailed,
    Strategy,
    SupervisorSpec,
    TerminateChild,
)

from .otp import Crash, Exit, Kill, Script, Suite, end, supervisor

pytestmark = pytest.mark.anyio

ANY, ALL = AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT


# ---- significant children


@pytest.mark.parametrize("mode", AutoShutdown)
async def test_nonsignificant_temporary(mode: AutoShutdown) -> None:
    script = Script()
    spec = script.worker("child1", TEMPORARY)
    async with supervisor(auto_shutdown=mode) as suite:
        await suite.ask(StartChild(spec))
        await suite.ask(TerminateChild("child1"))
        for how in (Kill(), Crash(), Exit(NORMAL)):
            await suite.ask(StartChild(spec))
            await suite.end_child("child1", how)
            await suite.sup_lives()
        assert script.starts["child1"] == 4


@pytest.mark.parametrize("mode", AutoShutdown)
async def test_nonsignificant_transient(mode: AutoShutdown) -> None:
    script = Script()
    async with supervisor(script.worker("child1", TRANSIENT), auto_shutdown=mode, max_restarts=5) as suite:
        await suite.ask(TerminateChild("child1"))
        await suite.ask(RestartChild("child1"))
        for how in (Kill(), Crash(), Exit(NORMAL)):
            await suite.end_child("child1", how)
            await suite.sup_lives()
        assert script.starts["child1"] == 4
        assert await suite.children() == {"child1": None}


def three(script: Script, restart: Restart) -> Iterator[ChildSpec]:
    yield script.worker("child1", restart, significant=True)
    yield script.worker("child2", restart, significant=True)
    yield script.worker("child3", restart)


@pytest.mark.parametrize("how", [Kill(), Crash(), Exit(NORMAL)])
async def test_significant_temporary(how: Kill | Crash | Exit) -> None:
    script = Script()
    async with supervisor(*three(script, TEMPORARY), auto_shutdown=ANY) as suite:
        await suite.ask(TerminateChild("child1"))
        await suite.sup_lives()
        await suite.end_child("child2", how)
        assert await suite.sup_ends() == SHUTDOWN
        assert script.log[-1] == "-child3"
    async with supervisor(*three(script, TEMPORARY), auto_shutdown=ALL) as suite:
        await suite.end_child("child1", how)
        await suite.sup_lives()
        await suite.end_child("child2", how)
        assert await suite.sup_ends() == SHUTDOWN


async def test_significant_transient() -> None:
    script = Script()
    async with supervisor(*three(script, TRANSIENT), auto_shutdown=ANY, max_restarts=5) as suite:
        await suite.ask(TerminateChild("child1"))
        await suite.sup_lives()
        await suite.ask(RestartChild("child1"))
        for how in (Kill(), Crash()):
            await suite.end_child("child1", how)
            await suite.sup_lives()
        await suite.end_child("child1", Exit(NORMAL))
        assert await suite.sup_ends() == SHUTDOWN
        assert script.starts == {"child1": 4, "child2": 1, "child3": 1}
    async with supervisor(*three(script, TRANSIENT), auto_shutdown=ALL) as suite:
        await suite.end_child("child1", Exit(NORMAL))
        await suite.sup_lives()
        await suite.end_child("child2", Exit(NORMAL))
        assert await suite.sup_ends() == SHUTDOWN


async def test_significant_simple() -> None:
    """An actor's own supervisor has no automatic shutdown, so it takes no significant child."""
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        with pytest.raises(StartFailed, match="no auto_shutdown"):
            await dynamic.start(script.worker("child1", TRANSIENT, significant=True))
        assert await dynamic.children() == {}


@pytest.mark.parametrize("mode", [ANY, ALL])
@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        (ONE_FOR_ONE, {"child2"}),
        (ONE_FOR_ALL, {"child1", "child2", "child3"}),
        (REST_FOR_ONE, {"child2", "child3"}),
    ],
)
async def test_significant_bystander(mode: AutoShutdown, strategy: Strategy, restarted: set[str]) -> None:
    script = Script()
    children = [script.worker(f"child{n}", TRANSIENT, significant=n != 2) for n in (1, 2, 3)]
    async with supervisor(*children, strategy=strategy, auto_shutdown=mode, max_restarts=5) as suite:
        await suite.end_child("child2", Kill())
        await suite.sup_lives()
        assert {child_id for child_id, starts in script.starts.items() if starts == 2} == restarted


@pytest.mark.parametrize("significant", [True, False])
async def test_significant_escalation(significant: bool) -> None:
    script = Script()
    worker = script.worker("child1", TRANSIENT, significant=True, name="worker")
    inner = SupervisorSpec(
        "inner", auto_shutdown=ANY, children=(worker,), restart=TRANSIENT, significant=significant
    )
    async with supervisor(inner, auto_shutdown=ANY) as suite:
        suite.system.named("worker").tell(Exit(NORMAL))
        if significant:
            assert await suite.sup_ends() == SHUTDOWN
        else:
            await suite.sup_lives()
            assert await suite.children() == {"inner": None}


# ---- restarts that never succeed, or are not wanted


async def restart_loop(script: Script, ref: ActorRef, child_id: str) -> None:
    """Let a child fail, and each of its restarts, until it has been tried many times."""
    script.fail_always.add(child_id)
    tried = script.starts[child_id] + 50
    end(ref, Crash())
    while script.starts[child_id] < tried:
        await anyio.lowlevel.checkpoint()


async def refuses_while_it_restarts(suite: Suite, spec: ChildSpec) -> None:
    for message, words in (
        (StartChild(spec), "exists already"),
        (RestartChild(spec.id), "not down"),
        (DeleteChild(spec.id), "not down"),
    ):
        with pytest.raises(RemoteFailure, match=words):
            await suite.ask(message)


async def test_hanging_restart_loop_rest_for_one() -> None:
    """Unlike OTP's, those after a child that was terminated do not wait for it to be started again."""
    script = Script()
    children = [script.worker(f"child{n}", shutdown=0) for n in (1, 2, 3)]
    async with supervisor(*children, strategy=REST_FOR_ONE, max_restarts=10**6) as suite:
        child1 = await suite.ref("child1")
        await restart_loop(script, await suite.ref("child2"), "child2")
        await refuses_while_it_restarts(suite, children[1])
        found = await suite.children()
        assert (found["child1"], found["child3"]) == (child1, None)
        await suite.ask(TerminateChild("child2"))
        await anyio.wait_all_tasks_blocked()
        found = await suite.children()
        assert (found["child1"], found["child2"]) == (child1, None)
        assert found["child3"] is not None
        script.fail_always.clear()
        child2 = await suite.ask(RestartChild("child2"))
        await restart_loop(script, child2, "child2")
        await suite.system.stop_child("sup")
        assert await suite.sup_ends() == SHUTDOWN


async def test_hanging_restart_loop_simple() -> None:
    script = Script()
    async with supervisor() as suite:
        suite.system._own = SupervisorSpec("children", max_restarts=10**6)
        dynamic = await suite.dynamic()
        await restart_loop(script, await dynamic.start(script.worker("child1", shutdown=0)), "child1")
        assert list(await dynamic.children()) == ["child1"]
        await dynamic.stop("child1")
        assert await dynamic.children() == {}
        script.fail_always.clear()
        await restart_loop(script, await dynamic.start(script.worker("child1", shutdown=0)), "child1")
        suite.probe.monitor(dynamic.owner.ref)
        dynamic.owner.context.stop()
        assert (await suite.probe.next()).reason == NORMAL


@pytest.mark.parametrize("restart", [TRANSIENT, PERMANENT])
async def test_simple_one_for_one_restart_ignore(restart: Restart) -> None:
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        first = await dynamic.start(script.worker("child1", restart))
        end(first, Kill())
        await anyio.wait_all_tasks_blocked()
        second = (await dynamic.children())["child1"]
        assert second not in (None, first)
        script.ignore.add("child1")
        assert second is not None
        end(second, Kill())
        await anyio.wait_all_tasks_blocked()
        assert await dynamic.children() == {}


# ---- names


@pytest.mark.parametrize("what", ["kill_supervisor", "kill_worker", "exit_worker", "restart_worker"])
async def test_simple_global_supervisor(what: str) -> None:
    """Names are registered anew however their bearers have ended. Ours are of one node."""
    script = Script()
    backoff = script.worker("x").backoff
    middle = SupervisorSpec(
        "middle",
        ONE_FOR_ALL,
        3,
        60,
        children=(script.worker("child", name="server"),),
        name="sup2",
        backoff=backoff,
    )
    async with supervisor(middle, strategy=ONE_FOR_ALL, max_restarts=3) as suite:
        system = suite.system
        sup2, server = system.whereis("sup2"), system.whereis("server")
        assert sup2 is not None
        assert server is not None
        match what:
            case "kill_supervisor":
                end(sup2, Kill())
            case "kill_worker":
                end(server, Kill())
            case "exit_worker":
                end(server, Exit(NORMAL))
            case _:
                await sup2.ask(TerminateChild("child"), timeout=60)
                assert system.whereis("server") is None
                await sup2.ask(RestartChild("child"), timeout=60)
        await anyio.wait_all_tasks_blocked()
        assert system.whereis("server") not in (None, server)
        assert (system.whereis("sup2") == sup2) is (what != "kill_supervisor")
        await system.stop_child("sup")
        assert (system.whereis("sup2"), system.whereis("server")) == (None, None)
