"""Who an actor is: the node it lives on, that node's incarnation, and a number never used twice there."""

from __future__ import annotations

from typing import NewType

from attrs import frozen

NodeId = NewType("NodeId", str)
"""Names a node of the cluster; a node keeps its id for ever, in its data directory."""

LOCAL_NODE = NodeId("local")
"""The node id of a system that is part of no cluster."""


@frozen(order=True)
class Incarnation:
    """One life of a node in the cluster; a later life compares greater.

    Attributes:
        counter: Persisted in the node's data directory, higher at each life.
        nonce: 64 random bits, so that two lives with the same counter (a copied or lost directory)
            are still told apart. Orders nothing meaningful, only makes the order total.
    """

    counter: int
    nonce: int

    def __str__(self) -> str:
        return f"{self.counter}.{self.nonce:016x}"


@frozen
class Address:
    """Where a ref points.

    Attributes:
        node: The node that the actor lives on.
        incarnation: The node's life that the ref was made in, or None for "whoever answers to this name
            when the message arrives". Always None together with a name, never None with a number.
        key: The actor's number (never used twice in one life of a node), or a registered name.
    """

    node: NodeId
    incarnation: Incarnation | None
    key: int | str

    def __str__(self) -> str:
        return f"{self.node}/{self.key}"
