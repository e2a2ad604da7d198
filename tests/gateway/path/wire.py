"""A transport that only writes down what is done with it, for protocols that are tested without sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import define, field


@define(eq=False)
class Wire(asyncio.Transport):
    """See the module. Nothing is called back: a test does that itself."""

    written: bytearray = field(factory=bytearray)
    paused: bool = False
    closing: bool = False
    aborted: bool = False
    ended: bool = False
    unsent: int = 0

    def write(self, data: Any) -> None:
        assert not self.closing, "nothing may be written to a connection that is closed"
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_paused(self) -> bool:
        return self.paused

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]
