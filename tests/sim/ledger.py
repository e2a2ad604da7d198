"""What a run has seen, and what must hold about it: the promises are checked as things happen.

The numbers of the invariants are those of ``docs/testing.md``. Nothing raises here: an exception inside an
actor would be one more crash. What is wrong is written down, and fails the run at its end.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict, deque

import trio
from attrs import define, field, frozen

from sllm_actors.actors import Address, Down, Incarnation, NodeDown, NodeId
from sllm_actors.testing.sim_run import process

KEPT = 4_000
EPSILON = 1e-3


@frozen
class Uid:
    """One incarnation of one actor, for ever: its node, which process of that node, which number there."""

    node: str
    process: int
    number: int

    def __str__(self) -> str:
        return f"{self.node}#{self.process}/{self.number}"


@define(eq=False)
class Watch:
    """One monitor."""

    watcher: Uid
    life: Incarnation
    target: Address
    linked: bool
    downs: int = 0
    over: bool = False


@define(eq=False)
class Question:
    """One ask."""

    asker: Uid
    target: str
    deadline: float
    paused: float
    outcome: str = ""


class Ledger:
    """See above.

    Attributes:
        violations: What went wrong, in sentences.
        tail: The last lines of the trace.
        counts: How often what happened.
        paused: Seconds for which each node has stood still.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.tail: deque[str] = deque(maxlen=KEPT)
        self.counts: Counter[str] = Counter()
        self.paused: defaultdict[str, float] = defaultdict(float)
        self.frozen_since: dict[str, float] = {}
        self.watches: dict[tuple[str, int, int], Watch] = {}
        self.asks: dict[int, Question] = {}
        self._hash = hashlib.blake2b(digest_size=12)
        self._ids = 0
        self._sent: Counter[tuple[Uid, str]] = Counter()
        self._last: dict[tuple[Uid, str, Uid], int] = {}
        self._messages: set[int] = set()
        self._received: set[int] = set()
        self._buried: set[int] = set()
        self._forbidden: dict[int, str] = {}
        self._lost: dict[tuple[str, Incarnation, str, Incarnation], float] = {}
        self._downs: dict[tuple[Uid, Uid], Watch] = {}

    @property
    def hash(self) -> str:
        """The trace so far, in a word."""
        return self._hash.hexdigest()

    def trace(self, *what: object) -> None:
        """Write a line of the trace."""
        line = f"{trio.current_time():10.6f} {process.get():3} {' '.join(map(str, what))}"
        self._hash.update(line.encode())
        self.tail.append(line)

    def violated(self, rule: str, text: str) -> None:
        """Write down that a promise was broken."""
        self.trace("VIOLATED", rule, text)
        if len(self.violations) < 20:
            self.violations.append(f"{rule} at {trio.current_time():.6f}: {text}")

    def next_id(self) -> int:
        """Return a number for a message."""
        self._ids += 1
        return self._ids

    def stood_still(self, node: str) -> float:
        """Return for how long a node has not run, up to now."""
        since = self.frozen_since.get(node)
        return self.paused[node] + (trio.current_time() - since if since is not None else 0.0)

    # -- messages (I1 to I3, I12) ---------------------------------------------------------------

    def sends(self, sender: Uid, life: Incarnation, target: Address) -> tuple[int, int]:
        """A message goes out: return its id, and its place in the order of its sender and target."""
        key = sender, name_of(target)
        self._sent[key] += 1
        number = self.next_id()
        self._messages.add(number)
        if target.incarnation is not None and self.is_lost(
            sender.node, life, target.node, target.incarnation
        ):
            self._forbidden[number] = "its sender knew that life to be down (I3)"
        self.trace("send", number, sender, name_of(target))
        return number, self._sent[key]

    def receives(self, number: int, place: int, sender: Uid, name: str, receiver: Uid) -> None:
        """A message is handled."""
        self.counts["received"] += 1
        self.counts["from afar"] += sender.node != receiver.node
        self.trace("recv", number, sender, receiver)
        if number in self._received:
            self.violated("I1", f"message {number} of {sender} came twice to {receiver}")
        self._received.add(number)
        if number in self._forbidden:
            self.violated(
                "I3/I5", f"message {number} of {sender} came to {receiver}: {self._forbidden[number]}"
            )
        key = sender, name, receiver
        if place <= self._last.get(key, 0):
            self.violated("I2", f"message {number} of {sender} to {name} came after a later one")
        self._last[key] = place
        watch = self._downs.get((receiver, sender))
        if watch is not None and number:
            self.violated("I4", f"message {number} of {sender} came to {receiver} after its Down")

    def arrives(self, node: str, life: Incarnation, peer: str, origin: Incarnation | None) -> None:
        """The transport hands something over."""
        if origin is not None and self.is_lost(node, life, peer, origin):
            self.violated("I3", f"{node} {life} got a message from {peer} {origin}, which is down")

    def buried(self, number: int) -> None:
        """A message is a dead letter."""
        self.counts["buried"] += 1
        self._buried.add(number)

    def vanished(self) -> list[int]:
        """Return the messages that nobody handled and nobody counted as dead letters."""
        return sorted(self._messages - self._received - self._buried)

    def peer_lost(self, node: str, life: Incarnation, peer: str, origin: Incarnation, reason: str) -> None:
        """A node declares a life of a peer down."""
        self.counts["peers lost"] += 1
        self.trace("lost", node, life, peer, origin, reason)
        if self.is_lost(node, life, peer, origin):
            self.violated("I4", f"{node} {life} lost {peer} {origin} twice")
        self._lost[node, life, peer, origin] = trio.current_time()

    def is_lost(self, node: str, life: Incarnation, peer: str, origin: Incarnation) -> bool:
        """Tell whether that life of a node has declared that life of a peer down."""
        return (node, life, peer, origin) in self._lost

    def was_ever_lost(self, node: str, peer: NodeId, origin: Incarnation) -> bool:
        """Tell whether any life of a node has declared that life of a peer down."""
        return any((n, p, o) == (node, peer, origin) for n, _, p, o in self._lost)

    # -- monitors (I4) -------------------------------------------------------------------------

    def watches_now(self, key: tuple[str, int, int], watch: Watch) -> None:
        """A monitor begins; its ``Down`` may be under way already."""
        self.counts["monitors"] += 1
        self.watches[key] = watch
        self.trace("monitor", watch.watcher, name_of(watch.target), watch.linked)

    def gets_down(self, watch: Watch, down: Down, *, target_lives: bool, uid: Uid | None) -> None:
        """A ``Down`` is handled."""
        watch.downs += 1
        kind = type(down.reason).__name__
        self.counts[f"Down {kind}"] += 1
        self.trace("down", watch.watcher, name_of(watch.target), down.reason)
        if watch.over:
            self.violated("I4", f"{watch.watcher} got a Down that it had taken back")
        if watch.downs > 1:
            self.violated("I4", f"{watch.watcher} got Down of {name_of(watch.target)} {watch.downs} times")
        if watch.target.incarnation is None:
            return
        if isinstance(down.reason, NodeDown):
            lost = self.was_ever_lost(watch.watcher.node, watch.target.node, watch.target.incarnation)
            if watch.linked and not lost:
                self.violated("I4", f"{watch.watcher} got NodeDown of {name_of(watch.target)}, never lost")
        elif target_lives:
            self.violated("I4", f"{watch.watcher} got {kind} of {name_of(watch.target)}, which lives")
        elif uid is not None:
            self._downs[watch.watcher, uid] = watch

    # -- asks (I5) -----------------------------------------------------------------------------

    def asks_now(self, number: int, asker: Uid, target: Address, timeout: float) -> Question:
        """An ask begins."""
        deadline = trio.current_time() + timeout
        question = Question(asker, name_of(target), deadline, self.stood_still(asker.node))
        self.asks[number] = question
        return question

    def answered(self, number: int, question: Question, outcome: str) -> None:
        """An ask ends."""
        self.counts[f"ask {outcome}"] += 1
        self.trace("ask", number, question.asker, outcome)
        if question.outcome:
            self.violated("I5", f"ask {number} ended as {question.outcome} and as {outcome}")
        question.outcome = outcome
        late = trio.current_time() - question.deadline
        late -= self.stood_still(question.asker.node) - question.paused
        if late > EPSILON:
            self.violated("I5", f"ask {number} of {question.asker} ended {late:.3f} s late ({outcome})")
        if outcome in {"MailboxFull", "CallCycle"}:
            if number in self._received:
                self.violated("I5", f"ask {number} was handled, and ended as {outcome}")
            self._forbidden[number] = f"it had ended as {outcome} (I5)"


def name_of(address: Address) -> str:
    life = "" if address.incarnation is None else f"@{address.incarnation.counter}"
    return f"{address}{life}"


@define
class Summary:
    """How a run went."""

    seed: int
    hash: str
    violations: list[str]
    counts: Counter[str] = field(factory=Counter)
    tail: list[str] = field(factory=list)
    cpu: float = 0.0
