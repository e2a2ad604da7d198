"""Instances' logs."""

from __future__ import annotations

from attrs import frozen


@frozen
class LogDocument:
    """A piece of an instance's log.

    Attributes:
        offset: Where the piece begins, in bytes from the beginning of the log.
        next_offset: Where the next piece begins.
        ended: The instance is gone, and nothing comes after this piece.
    """

    text: str = ""
    offset: int = 0
    next_offset: int = 0
    ended: bool = False
