"""An alarm rings once, at the earliest time that it was set to."""

from __future__ import annotations

from typing import Any

import pytest

from sllm_actors.actors import Actor, Alarm, ChildSpec
from sllm_actors.testing import ManualClock, TestSystem

pytestmark = pytest.mark.anyio


class Sleeper(Actor):
    """Sets its alarm as it is told, and notes when it rings."""

    def __init__(self, rings: list[float]) -> None:
        self._rings = rings

    async def started(self) -> None:
        self._alarm = Alarm(self.context, "ring")

    async def receive(self, message: Any) -> Any:
        if message == "ring":
            self._alarm.rang()
            self._rings.append(self.context.now())
        else:
            self._alarm.set(message[0], self.context.now())


@pytest.mark.parametrize(
    ("times", "rings"),
    [
        ([5.0], [5.0]),
        ([5.0, 3.0, 3.0, 9.0], [3.0]),  # whoever set it last is asked then, and sets it again
        ([5.0, None], []),
        ([None, 4.0], [4.0]),
        ([-1.0], [0.0]),
    ],
)
async def test_it_rings_once_at_the_earliest_time(times: list[float | None], rings: list[float]) -> None:
    rang: list[float] = []
    clock = ManualClock()
    began = clock.now()
    async with TestSystem(clock=clock) as system:
        sleeper = await system.start(ChildSpec("sleeper", lambda: Sleeper(rang)))
        for each in times:
            sleeper.tell((None if each is None else began + each,))
        for _ in range(12):
            await clock.advance(1.0)
    assert [each - began for each in rang] == rings
