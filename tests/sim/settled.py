"""What must hold when the last fault is mended and nobody does anything of his own any more."""

from __future__ import annotations

import anyio
import trio

from sllm_actors.actors import AskError, NodeId
from sllm_actors.actors.actor_cell import ActorCell
from sllm_actors.transport.peer_link import PeerLink
from sllm_actors.transport.streams.wire import STREAM_WINDOW

from .ledger import EPSILON
from .nodes import PROBE, SimNode
from .people import Ping
from .world import World

WITHIN = 20.0
"""Virtual seconds until all that must hold: a link's budget, a handshake that hangs, back-offs, some of them
one after the other; and half a megabyte that was queued, through a kernel's 4 KiB at 40 ms a round."""

PATIENCE = 60.0
"""Virtual seconds until slow actors must have handled what waits for them."""


def check_bounds(world: World) -> None:
    """I6, while the run goes on."""
    settings, ledger = world.settings, world.ledger
    for node in world.nodes.values():
        for cell in node.system._cells.values():
            if isinstance(cell, ActorCell) and not cell.dead:
                limits, mailbox = cell.spec.mailbox, cell.mailbox  # type: ignore[union-attr]
                if mailbox.held > limits.messages or mailbox.weight > limits.bytes:
                    ledger.violated("I6", f"{cell} holds {mailbox.held} messages, {mailbox.weight} bytes")
        node.network.check_lanes()
        for stream in node.transport._tunnels.streams():
            if sum(map(len, stream._unread or ())) > STREAM_WINDOW:
                ledger.violated("I6", f"{node.name} keeps more of {stream} than its window")
        for link in node.transport._peer_table.links.values():
            if link.unacknowledged > settings.control_messages:
                ledger.violated("I6", f"{node.name} keeps {link.unacknowledged} control messages")
            if link.lane is not None:
                outbox = link.lane.outbox
                if outbox.in_flight > settings.window or outbox.queued_bytes > settings.queue_bytes:
                    ledger.violated("I6", f"{node.name}: {outbox.in_flight} and {outbox.queued_bytes} bytes")
                if any(each > settings.receiver_window for each in outbox._by_receiver.values()):
                    ledger.violated("I6", f"{node.name}: a receiver has more than its window")


async def check_settled(world: World) -> None:
    """I9 and the ends of I4 to I6: wait until everything holds, but not for ever."""
    until = trio.current_time() + WITHIN
    wrong: list[tuple[str, str]] = []
    while trio.current_time() < until:
        wrong = _credits(world) + _monitors(world) + _engines(world) + _streams(world) + await _talk(world)
        if not wrong:
            return
        await anyio.sleep(0.25)
    for rule, text in wrong:
        world.ledger.violated(rule, text)


async def _talk(world: World) -> list[tuple[str, str]]:
    """I9: each pair can talk, both ways."""
    wrong: list[tuple[str, str]] = []

    async def one(node: SimNode, other: str) -> None:
        number = world.ledger.next_id()
        try:
            reply = await node.system.named(PROBE, NodeId(other)).ask(Ping(number), timeout=1.0)
        except AskError as error:
            wrong.append(("I9", f"{node.name} cannot talk to {other}: {error}"))
        else:
            if reply != Ping(number):
                wrong.append(("I5", f"{node.name} got {reply!r} from {other}"))

    async with anyio.create_task_group() as tasks:
        for node in world.nodes.values():
            for other in world.names:
                if other != node.name:
                    tasks.start_soon(one, node, other)
    return wrong


def _monitors(world: World) -> list[tuple[str, str]]:
    """I4: whoever watches somebody who is gone has been told."""
    wrong = []
    for (name, process, _), watch in world.ledger.watches.items():
        node = world.nodes.get(name)
        if watch.downs or watch.over or watch.target.incarnation is None:
            continue
        if node is None or node.process != process or watch.watcher.number not in node.system._cells:
            continue
        if not world.lives(watch):
            wrong.append(("I4", f"{watch.watcher} was never told that {watch.target} is down"))
        elif watch.target.node != name and node.system.incarnation != watch.life:
            wrong.append(("I4", f"{watch.watcher} began a new life without a Down of {watch.target}"))
    return wrong


def _engines(world: World) -> list[tuple[str, str]]:
    """I11: an engine whose client has left was told."""
    return [
        ("I11", f"the engine of tunnel {number} was never told that its client has left")
        for number, engine in world.engines.items()
        if number in world.left_engines and not engine.closed
    ]


def _streams(world: World) -> list[tuple[str, str]]:
    """I13: each stream has ended, and what had it forgets it."""
    wrong = [("I13", f"{client} never ended") for client in world.clients if not client.over.is_set()]
    for node in world.nodes.values():
        tunnels = node.transport._tunnels
        if tunnels.open or tunnels.buffered:
            wrong.append(("I13", f"{node.name} keeps {tunnels.open} streams and {tunnels.buffered} bytes"))
    return wrong


def _credits(world: World) -> list[tuple[str, str]]:
    """I6: what one side has in flight, the other has consumed and not reported yet."""
    wrong = []
    for node in world.nodes.values():
        for name, link in node.transport._peer_table.links.items():
            there = world.nodes[name].transport._peer_table.links.get(NodeId(node.name))
            if link.open_lane is None or there is None or there.open_lane is None:
                wrong.append(("I9", f"{node.name} and {name} have no data lane"))
                continue
            mine, theirs = link.open_lane, there.open_lane
            if mine.epoch != theirs.epoch or link.peer.incarnation != world.nodes[name].system.incarnation:
                wrong.append(("I9", f"{node.name} and {name} have different lanes"))
            elif mine.outbox.queued_bytes or mine.outbox.complete != theirs.delivered:
                wrong.append(("I9", f"{node.name} has sent what {name} never got"))
            elif mine.outbox.in_flight != theirs._consumed:
                wrong.append(
                    ("I6", f"{node.name} counts {mine.outbox.in_flight} bytes, {name} {theirs._consumed}")
                )
            elif link.unacknowledged or _held(link):
                wrong.append(("I9", f"{node.name} has control messages that {name} never got"))
    return wrong


def _held(link: PeerLink) -> int:
    return link._fences.held


async def check_asks(world: World) -> None:
    """I5: each ask of a process that was not killed has had its outcome, once its deadline has passed."""
    asks = world.ledger.asks.values()
    last = max((question.deadline for question in asks if not question.outcome), default=0.0)
    await anyio.sleep_until(last + 2 * EPSILON)
    for number, question in world.ledger.asks.items():
        node = world.nodes.get(question.asker.node)
        if not question.outcome and node is not None and node.process == question.asker.process:
            world.ledger.violated("I5", f"ask {number} of {question.asker} to {question.target} never ended")


async def check_conserved(world: World) -> None:
    """I12: where nothing breaks, a tell is handled or a dead letter. I5: lanes keep no asks that are over."""
    with anyio.move_on_after(PATIENCE):
        while any(_mailboxes(node) for node in world.nodes.values()):  # noqa: ASYNC110 - virtual time is free
            await anyio.sleep(0.25)
    for node in world.nodes.values():
        for mailbox in _mailboxes(node):
            world.ledger.violated("I9", f"{node.name}: {mailbox}")
        for link in node.transport._peer_table.links.values():
            if link.lane is not None and link.lane.waiting:
                world.ledger.violated("I5", f"{node.name} keeps {link.lane.waiting} asks that are over")
    if not world.breaks:
        for number in world.ledger.vanished():
            if number not in world.ledger.asks:
                world.ledger.violated("I12", f"message {number} vanished")


def _mailboxes(node: SimNode) -> list[str]:
    return [
        f"{cell} still holds {cell.mailbox.held} messages"
        for cell in node.system._cells.values()
        if isinstance(cell, ActorCell) and cell.mailbox.held
    ]
