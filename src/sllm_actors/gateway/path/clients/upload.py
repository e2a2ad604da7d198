"""A form that is passed on while it comes: its bytes between the client and an engine. Pure.

The client is read no further while ``KEPT`` bytes wait, and again when they are taken. Until more than those
have been taken, they are kept for another engine; after that each byte is forgotten when it is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors
from sllm_actors.gateway.bodies.form import FormReader

from .budget import ByteBudget

KEPT = 2**20
"""Bytes of an upload that are kept, so that it can be sent again from its beginning."""


class Source(Protocol):
    """Where the bytes come from."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Sink(Protocol):
    """Whoever takes the bytes, with ``Upload.take``."""

    def more(self) -> None:
        """There may be something to take, or the upload has ended."""


class Upload:
    """See the module.

    Args:
        reader: What reads the beginning of the form.
        content_type: The header ``Content-Type``.
        length: How many bytes are announced; None if that is not known.
        source: The client.
        limit: The most bytes that it may have.
        budget: Counts the bytes that all requests hold together.

    Attributes:
        reader: As above.
        content_type: As above.
        length: As above.
        size: How many bytes have come.
        paused: Whether the client is not read just now.
        ended: Whether all have come.
        repeatable: Whether all that have come are still kept.
        heard: When something came last, or the client was not read.
    """

    __slots__ = (
        "_budget",
        "_limit",
        "_looked",
        "_next",
        "_pieces",
        "_sink",
        "_source",
        "_waited",
        "content_type",
        "ended",
        "heard",
        "length",
        "paused",
        "reader",
        "repeatable",
        "size",
    )

    def __init__(
        self,
        reader: FormReader,
        content_type: bytes,
        length: int | None,
        source: Source,
        *,
        limit: int,
        budget: ByteBudget,
    ) -> None:
        self.reader = reader
        self.content_type = content_type
        self.length = length
        self.size = 0
        self.ended = self.paused = False
        self.repeatable = True
        self.heard = self._looked = self._waited = 0.0
        self._source = source
        self._limit = limit
        self._budget = budget
        self._pieces: list[bytes] = []
        self._next = 0  # which piece is to be taken next
        self._sink: Sink | None = None

    # ---- for the client's side

    def begin(self, pieces: Sequence[bytes], now: float) -> None:
        """Take over what has come before the form could be passed on; the budget counts it already."""
        self._pieces = list(pieces)
        self.size = sum(map(len, pieces))
        self.heard = self._looked = now
        self.regulate()

    def add(self, data: bytes, now: float) -> ApiError | None:
        """Take the next piece; return the error if that is too much."""
        if self.size + len(data) > self._limit:
            return errors.body_too_large(self._limit)
        if not self._budget.take(len(data)):
            return errors.overloaded()
        self.size += len(data)
        self.heard = now
        self._pieces.append(data)
        if self._sink is not None:
            self._sink.more()
        self.regulate()
        return None

    def end(self) -> None:
        """Take note that all has come."""
        self.ended = True
        if self._sink is not None:
            self._sink.more()

    def is_too_slow(self, now: float, *, silence: float, timeout: float, rate: int) -> bool:
        """Return whether the client sends too slowly; to be asked regularly.

        Args:
            now: The time.
            silence: The seconds for which nothing may come.
            timeout: The seconds that ``rate`` bytes may take.
            rate: See ``timeout``. The time for which the client is not read does not count.
        """
        if self.ended or self.paused:
            self.heard = now
        else:
            self._waited += now - self._looked
        self._looked = now
        return now - self.heard >= silence or self._waited >= timeout * (1 + self.size // rate)

    def release(self) -> None:
        """Count its bytes no longer, and let the client be read; nothing is to be asked of it afterwards."""
        self._sink = None
        self._forget()
        self._let_come()

    # ---- for the engine's side

    def pour_into(self, sink: Sink) -> None:
        """Let all be taken from the beginning by ``sink``, which is told of more. Only while repeatable."""
        self._sink, self._next = sink, 0

    def leave(self, sink: Sink) -> None:
        """Let ``sink`` have no more: it has what it needs, or has failed."""
        if self._sink is sink:
            self._sink, self._next = None, 0

    def take(self) -> bytes | None:
        """Return the next piece, or None if there is none now."""
        if self._next == len(self._pieces):
            return None
        piece = self._pieces[self._next]
        self._next += 1
        if self.size > KEPT and self._next == len(self._pieces):
            self.repeatable = False
            self._forget()
        return piece

    def regulate(self) -> None:
        """Read the client, or do not, as much as there is to be taken."""
        if self.size <= KEPT or self._next == len(self._pieces):
            self._let_come()
        elif not self.paused:
            self.paused = True
            self._source.pause_reading()

    def _let_come(self) -> None:
        if self.paused:
            self.paused = False
            self._source.resume_reading()

    def _forget(self) -> None:
        self._budget.give_back(sum(map(len, self._pieces)))
        self._pieces.clear()
        self._next = 0
