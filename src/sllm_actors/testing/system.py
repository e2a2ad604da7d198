"""An actor system that a test can trust to leave nothing behind."""

from __future__ import annotations

from types import TracebackType

from sllm_actors.actors import TEMPORARY, ActorSystem, ChildSpec

from .probe import TestProbe


class TestSystem(ActorSystem):
    """An ``ActorSystem`` that runs ``assert_no_leaks`` when its context ends without an error."""

    __test__ = False  # not a test case of pytest

    _probes = 0

    async def probe(self, name: str | None = None) -> TestProbe:
        """Start a probe, under that name if one is given."""
        self._probes += 1
        probe = TestProbe()
        await self.start(ChildSpec(f"probe-{self._probes}", lambda: probe, restart=TEMPORARY, name=name))
        return probe

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        swallowed = await super().__aexit__(exc_type, exc, tb)
        if exc is None:
            assert_no_leaks(self)
        return swallowed


def assert_no_leaks(system: ActorSystem) -> None:
    """Check that a system that was stopped and left holds no actor, name, ask, deadline, task or monitor.

    Raises:
        AssertionError: Something is left; the text says what, and how many.
    """
    found = system.statistics()
    left = {
        what: count
        for what in (
            "actors",
            "supervisors",
            "names",
            "queued_messages",
            "pending_asks",
            "deadlines",
            "jobs",
            "runners",
            "remote_monitors",
        )
        if (count := getattr(found, what))
    }
    if left:
        raise AssertionError(f"the actor system left behind: {left}")
