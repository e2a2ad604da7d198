"""How a worker or gateway finds its cluster and stays in it.

It asks the head for the cluster's id and transport port, and keeps the answer on disk. The next start begins
with that, so the node serves although the head is away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import structlog
from anyio import to_thread

from sllm_actors.cluster.home import NodeHome, SetupProblem
from sllm_actors.cluster.join import ClusterInfo, NotAHead, find_cluster
from sllm_actors.files import FileProblem, put_aside, read_record, write_record
from sllm_actors.host_port import HostPort
from sllm_actors.observe.terminal import announce
from sllm_actors.transport import Dial, NoLink

from .settings import MemberSettings

LONGEST_RECORD = 4096
"""Bytes that the kept answer may have."""

TELL_AFTER = 3.0
"""Seconds for which the head must be away until a node that was in says so: a restart of it is no news."""

log = structlog.get_logger("sllm_actors.membership")


class JoinRefused(SetupProblem):
    """The head does not let this node in; one sentence says why and what to do."""


class Membership:
    """What this node knows of its cluster.

    Args:
        settings: The node's settings, which name the head's address.
        info: What the head answered, now or at an earlier start.
        cached: Whether it was at an earlier start.
        path: The file in which the answer is kept.

    Attributes:
        info: The cluster's id, and the port of the head's transport.
        joined: Whether the node was ever linked to the head, in an earlier life of the process too. From then
            on a refusal is only announced: what runs here goes on.
    """

    def __init__(self, settings: MemberSettings, info: ClusterInfo, *, cached: bool, path: Path) -> None:
        self.info = info
        self.joined = cached
        self._settings = settings
        self._path = path
        self._announced = False
        self._obstacle = self._told = ""
        self._obstructed = anyio.Event()
        self._refusal: str | None = None
        self._refused = anyio.Event()
        self._linked = anyio.Event()
        self._redial: Callable[[], None] = _nothing

    @property
    def head(self) -> HostPort:
        """Where the head's transport is."""
        return HostPort(self.info.host_seen_from(self._settings.head_host), self.info.transport_port)

    def dial_head(self, dial: Callable[[str, int, str], Dial]) -> None:
        """Keep a link to the head's transport, also when a head that is started anew has it at another port.

        Args:
            dial: ``Transport.dial``.
        """
        current = dial(self.head.host, self.head.port, "head")

        def redial() -> None:
            nonlocal current
            current.close()
            current = dial(self.head.host, self.head.port, "head")

        self._redial = redial

    def on_no_link(self, no_link: NoLink) -> None:
        """Take the transport's report that a dialled address gave no link; only the head's address counts."""
        if no_link.address != str(self.head):
            return
        if no_link.refused and not self.joined:
            self._refusal = no_link.reason
            self._refused.set()
        elif no_link.refused:
            self._tell(no_link.reason)
        elif not self.joined:
            announce(f"{self._settings.name}: waiting for the head: {no_link.reason}")
        else:
            self._obstacle = no_link.reason
            self._obstructed.set()

    def on_joined(self) -> None:
        """Take note that the head has let this node in, and keep ``info`` on disk.

        Where that cannot be written, a warning is logged: the next start has to ask the head again.
        """
        if not self._announced:
            announce(f"{self._settings.name}: joined the head at {self._where}")
        elif self._told:
            announce(f"{self._settings.name}: linked with the head again")
        self._obstacle = self._told = ""
        self.joined = self._announced = True
        self._linked.set()
        try:
            write_record(self._path, self.info, durable=True)
        except OSError as error:
            log.warning(
                "membership.not_written",
                path=str(self._path),
                reason=error.strerror or str(error),
                meaning="the next start has to find the head before anything runs",
            )

    async def wait_to_join(self, seconds: float) -> None:
        """Wait for so many seconds at most, in a node that was never in, until the head has let it in."""
        if not self.joined:
            with anyio.move_on_after(seconds):
                await self._linked.wait()

    async def watch(self) -> None:
        """Watch until cancelled, or until the node cannot go on as it is.

        Raises:
            JoinRefused: The head does not let this node in, which was never in.
            HeadMoved: The head's address has another cluster or transport port than was kept.
            NotAHead: Something that is no head answers at the head's address.
        """
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watch_refusal)
            watching.start_soon(self._watch_obstacle)
            watching.start_soon(self._follow_head)
            if self.joined:
                watching.start_soon(self._watch_move)

    async def _watch_refusal(self) -> None:
        await self._refused.wait()
        raise JoinRefused(self._refusal)

    async def _watch_obstacle(self) -> None:
        """Say what keeps a node from the head that was in before, if it does for a while."""
        while True:
            await self._obstructed.wait()
            self._obstructed = anyio.Event()
            await anyio.sleep(TELL_AFTER)
            if self._obstacle and self._obstacle != self._told:
                self._tell(self._obstacle)

    async def _follow_head(self) -> None:
        """While the head's transport cannot be reached, ask the head whether it is at another port now."""
        while True:
            await anyio.sleep(TELL_AFTER)
            if not self._obstacle:
                continue
            try:
                info = await find_cluster(
                    self._settings.head_host, self._settings.head_port, tell=_log_obstacle
                )
            except NotAHead as problem:
                log.info("head.away", reason=str(problem))
                continue
            if self._obstacle and info.cluster == self.info.cluster and info != self.info:
                self.info = info
                log.info("head.moved", address=str(self.head))
                self._redial()

    def _tell(self, reason: str) -> None:
        self._told = reason
        announce(f"{self._settings.name}: {reason}; what runs here goes on, and it tries again")

    async def _watch_move(self) -> None:
        """Compare what was kept with the head's answer, once, as soon as the head answers."""
        info = await find_cluster(self._settings.head_host, self._settings.head_port, tell=_log_obstacle)
        if info != self.info:
            self._path.unlink(missing_ok=True)
            raise HeadMoved(f"the head at {self._where} is not the one of the last time: joining anew")

    @property
    def _where(self) -> str:
        return str(HostPort(self._settings.head_host, self._settings.head_port))


class HeadMoved(Exception):
    """What was kept of the cluster is out of date: the node has to start again."""


async def find_membership(
    settings: MemberSettings, home: NodeHome, stopping: anyio.Event
) -> Membership | None:
    """Return what is known of the cluster: what was kept, or else what the head answers, however late.

    Args:
        settings: The node's settings, which name the head's address.
        home: The node's open directory, in which the answer is kept.
        stopping: Ends the waiting for the head when it is set; then None is returned.

    Raises:
        NotAHead: Something that is no head answers at the head's address.
        FileProblem: The file with the answer is damaged and cannot be renamed.
        HomeProblem: The old head was to be forgotten (``trust_new_head``), and that cannot be written.
    """
    path = home.path / "cluster.json"
    if kept := await to_thread.run_sync(_read_kept, path):
        await _trust(settings, home, kept)
        return Membership(settings, kept, cached=True, path=path)
    found: list[ClusterInfo] = []

    async def find(scope: anyio.CancelScope) -> None:
        found.append(
            await find_cluster(settings.head_host, settings.head_port, tell=_announcer(settings.name))
        )
        scope.cancel()

    async with anyio.create_task_group() as finding:
        finding.start_soon(find, finding.cancel_scope)
        await stopping.wait()
        finding.cancel_scope.cancel()
    if not found:
        return None
    await _trust(settings, home, found[0])
    return Membership(settings, found[0], cached=False, path=path)


@asynccontextmanager
async def watched(membership: Membership) -> AsyncIterator[None]:
    """Run ``Membership.watch`` while the body runs; what it raises cancels the body."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(membership.watch)
        yield
        tasks.cancel_scope.cancel()


async def _trust(settings: MemberSettings, home: NodeHome, info: ClusterInfo) -> None:
    if settings.trust_new_head:
        await to_thread.run_sync(home.forget_credential, info.cluster)
        log.info("head.forgotten", cluster=info.cluster, meaning="the head that answers next is believed")


def _read_kept(path: Path) -> ClusterInfo | None:
    try:
        return read_record(path, ClusterInfo, LONGEST_RECORD)
    except FileProblem as problem:
        put_aside(problem, "the head is asked where its cluster is")
        return None


def _announcer(name: str) -> Callable[[str], None]:
    return lambda sentence: announce(f"{name}: {sentence}")


def _nothing() -> None:
    """Stands for dialling again while nothing is dialled yet."""


def _log_obstacle(sentence: str) -> None:
    log.info("head.away", reason=sentence)
