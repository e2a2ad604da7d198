"""The transport's clock: heartbeats go out and deadlines are checked, twice in each heartbeat's time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio
import structlog

from .link import lateness
from .peer_link import PeerLink

log = structlog.get_logger("sllm_actors.transport")


async def tick_forever(
    heartbeat: float, links: Callable[[], Iterable[PeerLink]], ticked: Callable[[float, float, bool], None]
) -> None:
    """Run until cancelled.

    A tick that comes late says that this process itself did not run: every deadline is moved by as much,
    because nothing could have been heard meanwhile.

    Args:
        heartbeat: Seconds between two heartbeats.
        links: Returns the links to look after.
        ticked: Told the time of each tick, for how many seconds this process did not run before it, and
            whether a heartbeat is due.
    """
    half = heartbeat / 2
    beat = False
    due = anyio.current_time() + half
    while True:
        await anyio.sleep_until(due)
        now = anyio.current_time()
        late = lateness(due, now, heartbeat)
        if late:
            log.warning("transport.stood_still", seconds=round(late, 3))
        beat = not beat
        ticked(now, late, beat)
        for link in list(links()):
            link.life.extend(late)
            if beat:
                link.heartbeat()
            link.tick(now)
        due = max(due + half, now)
