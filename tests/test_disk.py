"""A disk that does not answer holds up nobody, and what it says too late is put away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.dead_mount import dead_mount

from sllm_actors.disk import MOST_LOOKS, Disk, DiskSilent

pytestmark = pytest.mark.anyio


class Slow:
    """A FIFO: whoever opens it for reading waits until it is ``let_go``."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.opened: list[int] = []
        self.closed: list[int] = []

    def open(self) -> int:
        self.opened.append(os.open(self.path, os.O_RDONLY))
        return self.opened[-1]

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
        self.closed.append(descriptor)

    def let_go(self) -> None:
        os.close(os.open(self.path, os.O_RDWR | os.O_NONBLOCK))


@pytest.fixture
def slow(tmp_path: Path) -> Any:
    made = Slow(tmp_path / "slow")
    yield made
    made.let_go()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - it is a thread that is looked at
            await anyio.sleep(0.01)


async def test_what_a_call_returns_or_raises_comes_back(tmp_path: Path) -> None:
    disk = Disk()
    assert await disk.run(tmp_path, lambda: 7) == 7
    with pytest.raises(FileNotFoundError):
        await disk.run(tmp_path, (tmp_path / "nothing").stat)
    await disk.check(tmp_path / "nothing")  # it answers: there is none
    await disk.check("/proc/\0")


async def test_a_look_that_takes_too_long_is_given_up_with_a_sentence(slow: Slow) -> None:
    disk = Disk()
    with pytest.raises(DiskSilent) as caught:
        await disk.run(slow.path, slow.open, patience=0.1)
    sentence = f"{slow.path} has not answered for 0.1 s: is its disk or server away?"
    assert (str(caught.value), caught.value.strerror) == (sentence, sentence)


async def test_a_path_that_is_silent_is_not_looked_at_again_until_it_has_answered(slow: Slow) -> None:
    disk = Disk()
    with pytest.raises(DiskSilent):
        await disk.run(slow.path, slow.open, patience=0.1, undo=slow.close)
    with anyio.fail_after(60), pytest.raises(DiskSilent, match="still does not answer"):
        await disk.run(slow.path, slow.open, patience=3600)
    await disk.check(slow.path.parent)  # another path is
    slow.let_go()
    await until(lambda: slow.closed)
    assert await disk.run(slow.path, lambda: "here again") == "here again"


async def test_a_cancelled_look_is_left_and_what_it_opens_is_closed(slow: Slow) -> None:
    disk = Disk()
    with anyio.fail_after(60), anyio.move_on_after(0.1):
        await disk.run(slow.path, slow.open, patience=None, undo=slow.close)
    assert slow.opened == []
    slow.let_go()
    await until(lambda: slow.opened and slow.closed == slow.opened)


async def test_looks_are_bounded(slow: Slow) -> None:
    disk = Disk()

    async def look(number: int) -> None:
        await disk.run(f"path {number}", slow.open, patience=None, undo=slow.close)

    async with anyio.create_task_group() as tasks:
        for number in range(MOST_LOOKS):
            tasks.start_soon(look, number)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(DiskSilent, match=f"{MOST_LOOKS} other looks"):
            await disk.run("one more", lambda: 7, patience=0.1)
        tasks.cancel_scope.cancel()

    def let_go() -> bool:
        slow.let_go()
        return len(slow.closed) == len(slow.opened) > 0

    await until(let_go)
    assert await disk.run("one more", lambda: 7) == 7


async def test_more_looks_than_are_allowed_at_a_time_take_their_turns(tmp_path: Path) -> None:
    disk = Disk()
    done: list[int] = []

    async def look(number: int) -> None:
        done.append(await disk.run(tmp_path, lambda: number))

    async with anyio.create_task_group() as tasks:
        for number in range(5 * MOST_LOOKS):
            tasks.start_soon(look, number)
    assert sorted(done) == list(range(5 * MOST_LOOKS))


async def test_a_look_that_is_cancelled_before_its_thread_begins_counts_no_more(tmp_path: Path) -> None:
    disk = Disk()
    for _ in range(2 * MOST_LOOKS):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await disk.run(tmp_path, lambda: 7)
    assert await disk.run(tmp_path, lambda: 7) == 7


@pytest.mark.slow
async def test_the_last_thing_is_done_though_nobody_waits_for_it(slow: Slow) -> None:
    disk = Disk()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await disk.finish(lambda: slow.close(slow.open()))
    assert not slow.closed
    slow.let_go()
    await until(lambda: slow.closed)


async def test_a_mount_whose_server_is_away_is_given_up(tmp_path: Path) -> None:
    disk = Disk()
    with dead_mount(tmp_path / "away") as away, pytest.raises(DiskSilent, match="away/models"):
        await disk.check(away / "models", patience=0.2)
