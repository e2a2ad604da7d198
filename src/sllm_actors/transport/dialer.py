"""Keeps a link to whoever answers at one address: control lane, data lane, and both again when they break."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from sllm_actors.host_port import HostPort

from .backoff import DialBackoff
from .connection import Connection
from .data_lane import DataLane
from .errors import HandshakeFailed
from .hello import Code, Lane
from .lane_opener import LaneOpener, OpenedLane
from .link import LinkState
from .peer import NoLink
from .peer_link import PeerLink
from .settings import TransportSettings
from .unreachable import is_refused, why_unreachable

PASSING = {Code.CLOSED, Code.JOINING}
"""Failures that are reported and may pass by themselves: who hangs up may have been killed just then, and who
has no credential yet is about to get one."""

TRANSIENT = {Code.LINKED, Code.DOWN, Code.BUSY}
"""Refusals that nobody has to act upon: there is a link already, or a later life is about to begin."""

FARTHEST_AHEAD = 2**20
"""By how much the epoch of a data lane may be higher than that of the one before it here."""


class Dial:
    """One address that this node keeps dialling until ``close``.

    Attributes:
        address: ``HOST:PORT``, for reports.
        role: The role that must answer there; None for any.
        link: The link that was made to this address last, or None.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        opener: LaneOpener,
        settings: TransportSettings,
        chance: Callable[[], float],
        attach_control: Callable[[OpenedLane], tuple[PeerLink, Connection]],
        attach_data: Callable[[OpenedLane, PeerLink], DataLane],
        report: Callable[[NoLink], None],
        role: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.role = role
        self.address = str(HostPort(host, port))
        self.link: PeerLink | None = None
        self._opener = opener
        self._settings = settings
        self._chance = chance
        self._attach_control = attach_control
        self._attach_data = attach_data
        self._report_to = report
        self._reported = ""
        self._closed = False
        self._attempt = anyio.CancelScope()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def close(self) -> None:
        """Stop dialling, and end the link that was made here: the peer is lost at once, on both sides."""
        if self._closed:
            return
        self.stop()
        if self.link is not None and not self.link.down:
            self.link.say_goodbye("it is not wanted any more")
            self.link.apply(self.link.life.ended("this node closed the link"))

    def stop(self) -> None:
        """Stop dialling; a link that is open stays."""
        self._closed = True
        self._attempt.cancel()

    async def run(self) -> None:
        """Dial until closed."""
        backoff = DialBackoff(self._settings.reconnect_first, self._settings.reconnect_cap)
        async with anyio.create_task_group() as tasks:
            while not self._closed:
                opened = None
                with anyio.CancelScope() as self._attempt:
                    opened = await self._open_control()
                if opened is not None:
                    backoff.reset()
                    await self._stay(opened, tasks)
                if not self._closed:
                    with anyio.CancelScope() as self._attempt:
                        await anyio.sleep(backoff.pause(self._chance()))

    async def _open_control(self) -> OpenedLane | None:
        link = self.link
        if link is not None and not link.down and link.control is not None:
            return None  # the peer has dialled this node meanwhile, and that connection is the one that stays
        try:
            return await self._opener.dial(self.host, self.port, Lane.CONTROL, role=self.role)
        except TimeoutError:
            self._report(f"{self.address} did not finish the handshake in time")
        except OSError as error:
            self._report(f"{self.address} cannot be reached: {why_unreachable(error)}")
            if link is not None and is_refused(error):
                link.apply(link.life.unreachable(f"{self.address} refuses connections: its process is gone"))
        except HandshakeFailed as error:
            if error.code not in TRANSIENT:
                self._report(error.reason, refused=error.code not in PASSING)
        return None

    async def _stay(self, opened: OpenedLane, tasks: TaskGroup) -> None:
        self._reported = ""
        link, connection = self._attach_control(opened)
        if link is not self.link:
            self.link = link
            tasks.start_soon(self._keep_data, link)
        link.control_closed(connection, await connection.run())

    async def _keep_data(self, link: PeerLink) -> None:
        backoff = DialBackoff(self._settings.reconnect_first, self._settings.reconnect_cap)
        ahead = 1
        while link.life.state is not LinkState.DOWN:
            if link.outbound and link.control is not None and link.open_lane is None:
                opened = await self._open_data(link, link.epoch + ahead)
                # The peer may have seen later lanes than this node: opened there, refused or broken here.
                ahead = 1 if opened is not None else min(2 * ahead, FARTHEST_AHEAD)
                if opened is not None:
                    backoff.reset()
                    lane = self._attach_data(opened, link)
                    link.data_closed(lane, await lane.connection.run())
                    continue
            with anyio.move_on_after(backoff.pause(self._chance())):
                await link.ended.wait()

    async def _open_data(self, link: PeerLink, epoch: int) -> OpenedLane | None:
        try:
            return await self._opener.dial(self.host, self.port, Lane.DATA, epoch=epoch, peer=link.peer)
        except (OSError, HandshakeFailed):
            return None  # the control lane reports what is wrong

    def _report(self, sentence: str, *, refused: bool = False) -> None:
        if sentence != self._reported:
            self._reported = sentence
            self._report_to(NoLink(self.address, sentence, refused))
