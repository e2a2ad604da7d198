"""An engine started by hand: the very program that sllm starts, without sllm."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import httpx2
from attrs import frozen

from bench.harness.process_tree import descendants, end
from sllm_actors.engines.environment import MARKER

from .cluster import Cluster, ClusterFailed, stream_tokens, wait_for

LOOK = 0.001
"""Seconds between two questions whether the engine is ready: they are answered in much less."""

WITHIN = 120.0
QUESTION = b"GET /health HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"


@frozen
class Program:
    """What sllm started: an engine that listens on a unix socket.

    Attributes:
        argv: Its program and arguments.
        env: Its environment.
        cwd: Its working directory.
        socket: Where it listened.
        tmpdir: Its folder for temporary files, which is made before it starts and gone after it.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    socket: str
    tmpdir: str

    @classmethod
    def of(cls, cluster: Cluster, address: str) -> Program:
        """Return the program of the engine of a cluster that listens on a unix socket.

        Raises:
            ClusterFailed: There is no such engine.
        """
        path = address.removeprefix("unix:")
        for process in descendants(cluster.pid):
            env = process.environ()
            if env.get(MARKER) == Path(path).name:
                return cls(tuple(process.cmdline()), env, process.cwd(), path, env["TMPDIR"])
        raise ClusterFailed(f"no engine is at {address}")

    def moved(self, folder: Path) -> Program:
        """Return the program with its socket and temporary files in another folder."""
        there = str(folder / "engine.sock"), str(folder / "tmp")

        def move(text: str) -> str:
            return text.replace(self.socket, there[0]).replace(self.tmpdir, there[1])

        env = {name: move(value) for name, value in self.env.items()}
        return Program(tuple(map(move, self.argv)), env, self.cwd, *there)


@frozen
class Bare:
    """What was measured of it: seconds from its start.

    Attributes:
        ready_s: Until it was ready.
        first_token_s: Until the first token came of a request that was sent then.
    """

    ready_s: float
    first_token_s: float


def start_bare(program: Program, model: str, folder: Path) -> Bare:
    """Start an engine, ask it for its first token as soon as it is ready, and end it.

    Args:
        program: What is started.
        model: The name by which the engine knows its model.
        folder: Made, for its socket, temporary files and output.
    """
    folder.mkdir()
    here = program.moved(folder)
    Path(here.tmpdir).mkdir()
    transport = httpx2.HTTPTransport(uds=here.socket)
    with (
        (folder / "engine.log").open("w") as output,
        httpx2.Client(transport=transport, base_url="http://engine", timeout=WITHIN) as http,
    ):
        began = time.monotonic()
        process = subprocess.Popen(
            here.argv,
            env=here.env,
            cwd=here.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            wait_for(lambda: _is_ready(process, here.socket), within=WITHIN, what="it is ready", pause=LOOK)
            ready = time.monotonic()
            tokens = stream_tokens(http, model, 2)
            next(tokens)
            ended = time.monotonic()
            list(tokens)
        finally:
            end(process, within=WITHIN)
    return Bare(ready - began, ended - began)


def _is_ready(process: subprocess.Popen[bytes], path: str) -> bool:
    if process.poll() is not None:
        raise ClusterFailed(f"the engine that was started by hand ended with status {process.returncode}")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WITHIN)
        try:
            connection.connect(path)
            connection.sendall(QUESTION)
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:  # it does not listen yet
            return False
