"""Lines for the terminal: in order, and never a reason to wait, whoever reads them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest
from attrs import frozen

from sllm_actors.observe.terminal import MOST_WAITING, LineWriter


@frozen
class Pipe:
    read: int
    write: int

    def lines(self) -> list[bytes]:
        return os.read(self.read, 1 << 20).splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    yield Pipe(read, write)
    for descriptor in (read, write):
        try:
            os.close(descriptor)
        except OSError:  # the test has closed it
            continue


def test_lines_come_in_the_order_in_which_they_were_said(pipe: Pipe) -> None:
    writer = LineWriter(pipe.write)
    for number in range(100):
        writer.say(f"line {number}")
    assert writer.flush(10)
    assert pipe.lines() == [b"line %d" % number for number in range(100)]


def test_a_character_that_the_encoding_lacks_is_written_as_an_escape(pipe: Pipe) -> None:
    writer = LineWriter(pipe.write)
    writer.say("café\udcff", encoding="ascii")
    assert writer.flush(10)
    assert pipe.lines() == [b"caf\\xe9\\udcff"]


def test_a_reader_that_is_stuck_holds_nobody_up_and_gets_what_there_was_room_for(pipe: Pipe) -> None:
    fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, 4096)
    writer = LineWriter(pipe.write)
    for number in range(2 * MOST_WAITING):
        writer.say(f"{number:099}")  # 100 bytes with its end
    assert not writer.flush(0.05)
    lines: list[bytes] = []
    while not writer.flush(0.01):
        lines += pipe.lines()
    lines += pipe.lines()
    assert MOST_WAITING <= len(lines) < 2 * MOST_WAITING
    assert lines == sorted(lines)
    writer.say("goes on")
    assert writer.flush(10)
    assert pipe.lines() == [b"goes on"]


def test_what_nobody_reads_or_has_room_for_is_dropped_without_a_word(pipe: Pipe) -> None:
    writer = LineWriter(pipe.write)
    os.close(pipe.read)
    writer.say("nobody hears this")
    assert writer.flush(10)
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device, by its name
        crowded = LineWriter(full.fileno())
        crowded.say("no room for this")
        assert crowded.flush(10)
