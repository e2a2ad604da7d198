"""Somebody who can be measured, and how a program of somebody's is run."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx2
from attrs import frozen

from bench.harness.process_tree import end

from .target import Target

T = TypeVar("T")

LOOK = 0.05
STOP_BUDGET = 30.0


class SystemFailed(Exception):
    """A system cannot be measured; the text says why."""


@frozen
class System:
    """A system that runs.

    Attributes:
        name: Its row.
        target: How to ask it.
        version: Of what runs.
    """

    name: str
    target: Target
    version: str = ""


@contextmanager
def program(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; no process of it is left at the end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        try:
            process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise SystemFailed(f"{command[0]} could not be started: {error.strerror}") from error
    try:
        yield process
    finally:
        with suppress(subprocess.TimeoutExpired):
            end(process, within=STOP_BUDGET)


def wait_for(
    look: Callable[[], T | None], process: subprocess.Popen[bytes], log: Path, *, within: float, what: str
) -> T:
    """Return the first true result.

    Raises:
        SystemFailed: None came in time, or the program has ended; its last words are told.
    """
    deadline = time.monotonic() + within
    while not (result := look()):
        if process.poll() is not None:
            raise SystemFailed(f"it ended with status {process.returncode}: {last_words(log)}")
        if time.monotonic() > deadline:
            raise SystemFailed(f"not within {within:g} s: {what}: {last_words(log)}")
        time.sleep(LOOK)
    return result


def wait_to_answer(target: Target, process: subprocess.Popen[bytes], log: Path, *, within: float) -> None:
    """Wait until a chat is answered."""
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    body = {"model": target.model, "messages": [{"role": "user", "content": "answer at once"}]}

    def answers() -> bool:
        try:
            done = http.post(url, json=body, headers={"authorization": f"Bearer {target.key}"})
        except httpx2.HTTPError:
            return False
        return done.status_code == httpx2.codes.OK

    with httpx2.Client(trust_env=False, timeout=5) as http:
        wait_for(answers, process, log, within=within, what="a chat is answered")


def last_words(log: Path) -> str:
    """Return the last line of a program's output."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
