"""A network that keeps what is told to other nodes, and answers what is asked of them as a test says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from sllm_actors.actors import Address, Envelope, NodeId, Outcome, PeerDown, ReplyTo

T = TypeVar("T")


class RecordingNetwork:
    """One system's ``Network``.

    Attributes:
        told: What was told to each node, oldest first.
        lost: Nodes that nothing reaches.
        answer: Answers what is asked of a node; None leaves the question open.
        open: Questions that were left open.
    """

    def __init__(self) -> None:
        self.told: defaultdict[str, list[Any]] = defaultdict(list)
        self.asked: list[tuple[str, Any]] = []
        self.lost: set[str] = set()
        self.answer: Callable[[str, Any], Outcome] = lambda _node, _message: None
        self.open: list[tuple[Any, ReplyTo]] = []

    def last(self, node: str, kind: type[T]) -> T | None:
        """Return what was told to a node last, of a class."""
        return next((each for each in reversed(self.told[node]) if isinstance(each, kind)), None)

    def tell(self, envelope: Envelope) -> None:
        if envelope.target.node not in self.lost:
            self.told[envelope.target.node].append(envelope.message)

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        node, message = envelope.target.node, envelope.message
        self.asked.append((node, message))
        question = (message, reply_to)
        if node in self.lost:
            reply_to(PeerDown(node, "it is cut off"))
        elif (outcome := self.answer(node, message)) is not None:
            reply_to(outcome)
        else:
            self.open.append(question)
        return lambda: self.open.remove(question) if question in self.open else None

    def monitor(self, target: Address, watch: int) -> None:
        raise NotImplementedError

    def demonitor(self, target: Address, watch: int) -> None:
        raise NotImplementedError

    def down(self, peer: NodeId, watch: int, reason: str) -> None:
        raise NotImplementedError
