"""OTP's ``supervisor_SUITE`` (lib/stdlib), case by case, on real actors; each test has its case's name.

What is left out is listed in ``test_otp_cases.py``.
"""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    KILLED,
    NORMAL,
    ONE_FOR_ALL,
    PERMANENT,
    REST_FOR_ONE,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    ChildSpec,
    DeleteChild,
    Down,
    Failed,
    RemoteFailure,
    Restart,
    RestartChild,
    StartChild,
    StartFailed,
    Strategy,
    SupervisorSpec,
    TerminateChild,
)

from .otp import Crash, Exit, Script, Sleep, Suite, supervisor

pytestmark = pytest.mark.anyio


async def stop(suite: Suite) -> None:
    await suite.system.stop_child("sup")
    assert await suite.sup_ends() == SHUTDOWN


def reached_intensity(reason: object) -> bool:
    return isinstance(reason, Failed) and reason.type_name == "RestartIntensity"


# ---- start


async def test_sup_start_normal() -> None:
    async with supervisor() as suite:
        await stop(suite)


async def test_sup_start_ignore_child() -> None:
    script = Script()
    script.ignore.add("child1")
    async with supervisor() as suite:
        assert await suite.ask(StartChild(script.worker("child1"))) is None
        child2 = await suite.ask(StartChild(script.worker("child2")))
        assert await suite.children() == {"child1": None, "child2": child2}
        assert await suite.counts() == [2, 1, 0, 2]


async def test_sup_start_ignore_temporary_child() -> None:
    script = Script()
    script.ignore.add("child1")
    async with supervisor(script.worker("child1", TEMPORARY), script.worker("child2", TEMPORARY)) as suite:
        assert (await suite.children()).keys() == {"child2"}
        assert await suite.counts() == [1, 1, 0, 1]


async def test_sup_start_ignore_temporary_child_start_child() -> None:
    script = Script()
    script.ignore.add("child1")
    async with supervisor() as suite:
        assert await suite.ask(StartChild(script.worker("child1", TEMPORARY))) is None
        child2 = await suite.ask(StartChild(script.worker("child2", TEMPORARY)))
        assert await suite.children() == {"child2": child2}
        assert await suite.counts() == [1, 1, 0, 1]


@pytest.mark.parametrize("restart", [TEMPORARY, PERMANENT])
async def test_sup_start_ignore_child_start_child_simple(restart: Restart) -> None:
    """An actor's own supervisor is the counterpart of ``simple_one_for_one``."""
    script = Script()
    script.ignore.add("child1")
    async with supervisor() as suite:
        with pytest.raises(StartFailed, match="not needed"):
            await suite.probe.context.start_child(script.worker("child1", restart))
        await suite.probe.context.start_child(script.worker("child2", restart))
        assert script.log == ["+child2"]


async def test_sup_start_fail() -> None:
    script = Script()
    script.fail_always.add("child2")
    with pytest.raises(StartFailed, match="child 'child2': failed: RuntimeError: told to fail"):
        async with supervisor(script.worker("child1"), script.worker("child2")):
            pytest.fail("it must not have started")
    assert script.log == ["+child1", "-child1"]


async def test_sup_start_map() -> None:
    """The defaults of a specification."""
    spec = ChildSpec("child1", Crash)  # type: ignore[arg-type]
    assert (spec.restart, spec.shutdown, spec.significant) == (PERMANENT, 5.0, False)
    assert SupervisorSpec("child3").shutdown == math.inf


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"shutdown": -1.0}, "shutdown"),
        ({"restart": PERMANENT, "significant": True}, "significant"),
    ],
)
def test_sup_start_map_faulty_specs(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ChildSpec("child1", Crash, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"max_restarts": -1}, "max_restarts"), ({"window": 0.0}, "window"), ({"shutdown": -1.0}, "shutdown")],
)
def test_sup_flags(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SupervisorSpec("sup", **wrong)


# ---- stop


async def test_sup_stop_infinity() -> None:
    script = Script()
    children = script.worker("child1", shutdown=math.inf), script.worker("child2", shutdown=math.inf)
    async with supervisor(*children) as suite:
        refs = [await suite.ref("child1"), await suite.ref("child2")]
        for ref in refs:
            suite.probe.monitor(ref)
        await suite.system.stop_child("sup")
        downs = [await suite.probe.expect(Down) for _ in range(3)]
        assert [(down.ref, down.reason) for down in downs] == [
            (refs[1], SHUTDOWN),
            (refs[0], SHUTDOWN),
            (suite.sup, SHUTDOWN),
        ]


async def test_sup_stop_timeout() -> None:
    script = Script()
    async with supervisor(script.worker("child1"), script.worker("child2", shutdown=0.1)) as suite:
        child2 = await suite.ref("child2")
        suite.probe.monitor(child2)
        child2.tell(Sleep())
        await anyio.wait_all_tasks_blocked()
        await suite.system.stop_child("sup")
        assert (await suite.probe.expect(Down)).reason == KILLED
        assert await suite.sup_ends() == SHUTDOWN
        assert script.log == ["+child1", "+child2", "-child1"]


async def test_sup_stop_brutal_kill() -> None:
    script = Script()
    async with supervisor(script.worker("child1"), script.worker("child2", shutdown=0)) as suite:
        suite.probe.monitor(await suite.ref("child2"))
        await suite.system.stop_child("sup")
        assert (await suite.probe.expect(Down)).reason == KILLED
        assert script.log == ["+child1", "+child2", "-child1"]


# ---- administration


async def test_child_adm() -> None:
    script = Script()
    spec = script.worker("child1")
    async with supervisor(spec) as suite:

        async def refused(message: object, words: str) -> None:
            with pytest.raises(RemoteFailure, match=words):
                await suite.ask(message)

        first = await suite.ref("child1")
        await refused(StartChild(spec), "exists already")
        await refused(DeleteChild("child1"), "not down")
        await refused(RestartChild("child1"), "not down")
        for message in (TerminateChild("child2"), RestartChild("child2"), DeleteChild("child2")):
            await refused(message, "no such child")
        assert await suite.ask(TerminateChild("child1")) is None
        assert await suite.ask(TerminateChild("child1")) is None
        assert await suite.children() == {"child1": None}
        assert await suite.counts() == [1, 0, 0, 1]
        second = await suite.ask(RestartChild("child1"))
        assert second != first
        await suite.ask(TerminateChild("child1"))
        assert await suite.ask(DeleteChild("child1")) is None
        await refused(RestartChild("child1"), "no such child")
        assert await suite.children() == {}
        assert await suite.ask(StartChild(spec)) is not None


async def test_child_specs() -> None:
    """What is no child's specification cannot be started, and what nobody knows is refused."""
    async with supervisor() as suite:
        with pytest.raises(RemoteFailure, match="takes no str"):
            await suite.ask("child1")
        suite.sup.tell("child1")
        assert suite.system.statistics().dead_letters_by_reason == {"a supervisor takes no such message": 1}


# ---- who is restarted


@pytest.mark.parametrize(
    ("restart", "how", "comes_back", "is_kept"),
    [
        pytest.param(PERMANENT, Exit(NORMAL), True, True, id="permanent_normal"),
        pytest.param(TRANSIENT, Exit(NORMAL), False, True, id="transient_normal"),
        pytest.param(TEMPORARY, Exit(NORMAL), False, False, id="temporary_normal"),
        pytest.param(PERMANENT, Exit(SHUTDOWN), True, True, id="permanent_shutdown"),
        pytest.param(TRANSIENT, Exit(SHUTDOWN), False, True, id="transient_shutdown"),
        pytest.param(TEMPORARY, Exit(SHUTDOWN), False, False, id="temporary_shutdown"),
        pytest.param(PERMANENT, Crash(), True, True, id="permanent_abnormal"),
        pytest.param(TRANSIENT, Crash(), True, True, id="transient_abnormal"),
        pytest.param(TEMPORARY, Crash(), False, False, id="temporary_abnormal"),
    ],
)
async def test_termination(restart: Restart, how: Exit | Crash, comes_back: bool, is_kept: bool) -> None:
    script = Script()
    async with supervisor(script.worker("child1", restart)) as suite:
        first = await suite.ref("child1")
        await suite.end_child("child1", how)
        children = await suite.children()
        assert ("child1" in children) is is_kept
        assert await suite.counts() == [int(is_kept), int(comes_back), 0, int(is_kept)]
        if comes_back:
            assert children["child1"] not in (None, first)
            assert await (await suite.ref("child1")).ask("alive", timeout=60) == "alive"


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
async def test_temporary_bystander(strategy: Strategy) -> None:
    script = Script()
    async with supervisor(
        script.worker("child1"), script.worker("child2", TEMPORARY), strategy=strategy, max_restarts=10
    ) as suite:
        await suite.end_child("child1", Exit(NORMAL))
        assert (await suite.children()).keys() == {"child1"}
        assert script.starts == {"child1": 2, "child2": 1}


@pytest.mark.slow
async def test_multiple_restarts() -> None:
    script = Script()
    async with supervisor(script.worker("child1"), max_restarts=1, window=0.2) as suite:
        for _ in range(3):
            await suite.end_child("child1", Crash())
            await anyio.sleep(0.25)
        assert script.starts["child1"] == 4
        await suite.end_child("child1", Crash())
        (await suite.ref("child1")).tell(Crash())
        assert reached_intensity(await suite.sup_ends())
