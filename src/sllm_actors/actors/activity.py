"""The sender that the running code acts for: an actor in its turn, its background work, or nobody known."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol

from attrs import evolve

from .identity import Address
from .network import Metadata

LONGEST_CHAIN: Final = 64
"""Actors that a call chain names at most. A longer chain drops its outermost actors: a cycle that leads back
to one of those is not noticed, and ends with the deadline of the ask."""


class Activity(Protocol):
    """A sender of messages, as refs see it."""

    @property
    def label(self) -> str:
        """The actor, as ``node/number``."""

    @property
    def address(self) -> Address | None:
        """The actor's address, which envelopes to other nodes name as their sender."""

    @property
    def tell_metadata(self) -> Metadata:
        """The metadata of a tell: the id of the request that is served; no call chain, since nobody waits."""

    @property
    def ask_metadata(self) -> Metadata:
        """The metadata of an ask: the request's id, and the chain of all who wait until it is answered."""


current: Final[ContextVar[Activity | None]] = ContextVar("current", default=None)
"""The sender that the running task acts for; None outside of actors."""

get_current: Final = current.get  # looked up once: it is called for each message


class Background:
    """Work that an actor started with ``start_soon``: the actor itself does not wait for it.

    If the handler took over an answer (``reply_later``) before it started this work, those who wait for
    that answer are taken to wait for the work.
    """

    __slots__ = ("_actor", "ask_metadata", "tell_metadata")

    def __init__(self, actor: Activity, metadata: Metadata, *, answers: bool) -> None:
        self._actor = actor
        self.tell_metadata = without_chain(metadata)
        self.ask_metadata = metadata if answers else self.tell_metadata

    @property
    def label(self) -> str:
        return self._actor.label

    @property
    def address(self) -> Address | None:
        return self._actor.address


def without_chain(metadata: Metadata) -> Metadata:
    """Return the metadata of a message that nobody waits for."""
    return evolve(metadata, call_chain=()) if metadata.call_chain else metadata


def with_caller(metadata: Metadata, label: str) -> Metadata:
    """Return the metadata of an ask that the actor ``label`` waits for."""
    chain = metadata.call_chain
    if len(chain) >= LONGEST_CHAIN:
        chain = chain[1 - LONGEST_CHAIN :]
    return Metadata(metadata.request_id, (*chain, label), metadata.extra)
