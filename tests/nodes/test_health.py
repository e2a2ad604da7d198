"""A process answers its launcher from its loop, and only from there."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator

import anyio
import pytest

from sllm_actors.nodes.health import answering

pytestmark = [pytest.mark.anyio, pytest.mark.allow_blocking]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, int]]:
    launcher, theirs = socket.socketpair()
    with launcher:
        yield launcher, theirs.detach()


def has_answer(launcher: socket.socket) -> bool:
    return bool(select.select([launcher], [], [], 0)[0])


async def test_each_question_is_answered_while_the_loop_turns(pair: tuple[socket.socket, int]) -> None:
    launcher, descriptor = pair
    with answering(descriptor):
        for _ in range(3):
            launcher.send(b"?")
            with anyio.fail_after(60):
                await anyio.wait_readable(launcher)
            assert launcher.recv(10) == b"?"
    assert launcher.recv(10) == b""  # it was closed


async def test_a_loop_that_hangs_answers_nothing(pair: tuple[socket.socket, int]) -> None:
    launcher, descriptor = pair
    with answering(descriptor):
        launcher.send(b"?")
        time.sleep(0.2)  # noqa: ASYNC251 - this is the hang
        assert not has_answer(launcher)
        with anyio.fail_after(60):
            await anyio.wait_readable(launcher)


async def test_a_launcher_that_has_ended_or_reads_nothing_disturbs_nobody(
    pair: tuple[socket.socket, int],
) -> None:
    launcher, descriptor = pair
    launcher.setblocking(False)
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    with answering(descriptor):
        for _ in range(2000):
            try:
                launcher.send(1000 * b"?")
            except BlockingIOError:
                break
            await asyncio.sleep(0)
        launcher.close()
        for _ in range(10):
            await asyncio.sleep(0)
        assert errors == []
        assert not asyncio.get_running_loop().remove_reader(descriptor)  # it no longer looks there


async def test_a_node_that_nobody_asks_answers_nothing() -> None:
    with answering(None):
        await asyncio.sleep(0)
