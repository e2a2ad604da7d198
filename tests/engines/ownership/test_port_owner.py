"""Who listens on an engine's port: real sockets of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from tests.engines.kit import alive
from tests.ports import free_port

from sllm_actors.engines.ownership.port_owner import NOBODY, PortOwner, PortTaken

LISTEN = """
import os, socket, sys, time
host, port, how = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, how == "shared")
s.bind((host, int(port)))
s.listen()
if how == "child" and os.fork():
    s.close()  # only the child has it
    time.sleep(3600)
if how == "daemon" and os.fork():
    os._exit(0)  # the child is an orphan, in a session of its own
if how == "daemon":
    os.setsid()
print("listening", flush=True)
time.sleep(3600)
"""

LEASH = """
import ctypes, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # it inherits its orphans
subprocess.Popen([sys.executable, "-I", "-S", "-c", *sys.argv[1:]])
time.sleep(3600)
"""


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def listener(port: int, host: str = "127.0.0.1", how: str = "") -> Iterator[int]:
    """Run a leash with a program that listens; yield the leash's pid."""
    argv = [sys.executable, "-I", "-S", "-c", LEASH, LISTEN, host, str(port), how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as leash:
        assert leash.stdout is not None
        try:
            assert leash.stdout.readline() == "listening\n"
            yield leash.pid
        finally:
            engines = psutil.Process(leash.pid).children(recursive=True)
            for process in engines:
                end(process)
            leash.kill()


def end(process: psutil.Process) -> None:
    """Kill it, and wait until it has closed its files: as a zombie it has."""
    process.kill()
    while alive(process.pid):
        time.sleep(0.001)


@pytest.mark.parametrize("how", ["", "child", "daemon"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_whatever_descends_from_the_leash_is_the_engine(port: int, host: str, how: str) -> None:
    with listener(port, host, how) as leash:
        owner = PortOwner(port, leash)
        assert [owner.look(), owner.look()] == ["", ""]
    assert owner.look() == NOBODY


def test_another_program_is_named(port: int) -> None:
    with listener(port) as leash, subprocess.Popen(["/bin/sleep", "60"]) as other:
        try:
            with pytest.raises(PortTaken) as taken:
                PortOwner(port, other.pid).look()
        finally:
            other.kill()
        (stranger,) = psutil.Process(leash).children()
        named = f": {stranger.name()} (process {stranger.pid})"
        assert str(taken.value) == f"another program listens on port {port}{named}"
        with pytest.raises(PortTaken):
            PortOwner(port, 2**22 + 1).look()  # the leash is gone


def test_one_that_comes_when_the_engine_has_closed_its_socket_is_seen(port: int) -> None:
    with listener(port) as leash:
        owner = PortOwner(port, leash)
        assert owner.look() == ""
        end(psutil.Process(leash).children()[0])
        assert owner.look() == NOBODY
        with listener(port), pytest.raises(PortTaken):
            owner.look()


def test_one_that_shares_the_port_with_the_engine_is_seen(port: int) -> None:
    with listener(port, how="shared") as leash:
        owner = PortOwner(port, leash)
        assert owner.look() == ""
        with listener(port, how="shared") as other:
            (stranger,) = psutil.Process(other).children()
            for _ in range(2):
                with pytest.raises(PortTaken, match=f"process {stranger.pid}"):
                    owner.look()
        assert owner.look() == ""


def test_one_that_takes_other_addresses_of_the_port_disturbs_nobody(port: int) -> None:
    with listener(port) as leash, listener(port, "127.0.0.2"), listener(port, "::1"):
        assert PortOwner(port, leash).look() == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_files_that_may_not_be_seen_are_said_to_be_hidden(port: int) -> None:
    with listener(port) as leash:
        look = (
            "import os, sys\n"
            "from sllm_actors.engines.ownership.port_owner import PortOwner\n"
            "port, leash = map(int, sys.argv[1:])\n"
            "assert PortOwner(port, leash).look() == ''\n"
            "os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
            "print(PortOwner(port, leash).look())\n"
        )
        argv = [sys.executable, "-c", look, str(port), str(leash)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        (engine,) = psutil.Process(leash).children()
        assert said == f"who listens on port {port} is hidden, as are the files of process {engine.pid}\n"
