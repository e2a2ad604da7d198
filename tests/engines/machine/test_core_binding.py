"""An engine that runs is moved to other cores, with all of its processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sllm_actors.engines.machine.core_binding import bind_family
from sllm_actors.engines.ownership.procfs import descendants

HERE = sorted(os.sched_getaffinity(0))

pytestmark = pytest.mark.skipif(len(HERE) < 2, reason="this machine has one core")

FAMILY = """
import os, subprocess, sys, threading
for _ in range(20):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.fixture
def engine() -> Iterator[tuple[int, int]]:
    """A process with threads, and its child."""
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate()


def cores_of(process: int) -> set[frozenset[int]]:
    threads = Path(f"/proc/{process}/task").iterdir()
    return {frozenset(os.sched_getaffinity(int(each.name))) for each in threads}


def test_all_threads_and_children_are_moved_and_moved_back(engine: tuple[int, int]) -> None:
    process, child = engine

    def family() -> list[int]:
        return [process, *descendants(process)]

    assert set(family()) == {process, child}
    for cores in (HERE[-1:], HERE):
        bind_family(family, cores)
        assert cores_of(process) == cores_of(child) == {frozenset(cores)}
    assert sorted(os.sched_getaffinity(0)) == HERE


def test_a_process_that_has_ended_is_passed_over(engine: tuple[int, int]) -> None:
    process, child = engine
    gone = subprocess.Popen(["true"])
    gone.wait()
    bind_family(lambda: [gone.pid, process], HERE[:1])
    assert (cores_of(process), cores_of(child)) == ({frozenset(HERE[:1])}, {frozenset(HERE)})


def test_what_starts_while_threads_are_moved_is_moved_too(engine: tuple[int, int]) -> None:
    looks = iter([[engine[0]], list(engine)])
    bind_family(lambda: next(looks), HERE[:1])
    assert cores_of(engine[1]) == {frozenset(HERE[:1])}


def test_cores_that_the_machine_does_not_have_change_nothing(engine: tuple[int, int]) -> None:
    bind_family(lambda: engine, [100_000])
    assert cores_of(engine[0]) == {frozenset(HERE)}
